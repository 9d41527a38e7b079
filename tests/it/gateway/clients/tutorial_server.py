"""The tutorial's servers, as their readers write them: one a wire, with a thread for each client.

    tutorial_server.py WIRE [nodelay]

WIRE is json-header, length, ascii-length, raw, echo, udp-exec or udp-echo. Prints its port. The benchmark of the gateway
measures it, too.
"""
import json
import socket
import struct
import subprocess
import sys
import threading

wire = sys.argv[1]


def run(cmd):
    obj = subprocess.Popen(cmd.decode('utf-8'), shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return obj.communicate()


def answer(conn, cmd):
    if wire == 'echo':
        conn.send(cmd.upper())
        return
    stdout, stderr = run(cmd)
    size = len(stdout) + len(stderr)
    if wire == 'json-header':
        header = json.dumps({
            'filename': 'xxxxxxxx',
            'md5': 'abcdefg1234',
            'total_size': size,
        }).encode('utf-8')
        conn.send(struct.pack('i', len(header)))
        conn.send(header)
    elif wire == 'length':
        conn.send(struct.pack('i', size))
    elif wire == 'ascii-length':
        conn.send(str(size).encode('utf-8'))
        conn.recv(1024)
    if wire == 'raw':
        conn.send(stdout + stderr)
        return
    conn.send(stdout)
    conn.send(stderr)


def stream():
    server = socket.socket()
    server.bind(('127.0.0.1', 0))
    server.listen(128)
    print(server.getsockname()[1], flush=True)
    while True:
        conn, _ = server.accept()
        threading.Thread(target=serve, args=(conn,), daemon=True).start()


def serve(conn):
    if 'nodelay' in sys.argv:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        cmd = conn.recv(1024)
        if not cmd:
            break
        answer(conn, cmd)
    conn.close()


def datagrams():
    server = socket.socket(type=socket.SOCK_DGRAM)
    server.bind(('127.0.0.1', 0))
    print(server.getsockname()[1], flush=True)
    while True:
        data, address = server.recvfrom(1024)
        if wire == 'udp-echo':
            server.sendto(data.upper(), address)
        else:
            server.sendto(b''.join(run(data)), address)


datagrams() if wire.startswith('udp') else stream()
