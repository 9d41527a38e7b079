"""The tutorial's clients, as its readers write them.

    tutorial_client.py WIRE HOST PORT FOLDER COMMAND...

WIRE is as in tutorial_server.py. Leaves the reply to the n-th command in FOLDER/n, and a JSON header in FOLDER/n.header.
"""
import json
import socket
import struct
import sys

wire, host, port, folder, *commands = sys.argv[1:]
udp = wire.startswith('udp')
client = socket.socket(type=socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
client.connect((host, int(port)))


def body(size):
    data = b''
    while len(data) < size:
        got = client.recv(1024)
        assert got, 'the end, in the middle of a reply'
        data += got
    return data


for number, command in enumerate(commands):
    client.send(command.encode('utf-8'))
    if wire == 'json-header':
        size = struct.unpack('i', client.recv(4))[0]
        header = client.recv(size)
        with open(f'{folder}/{number}.header', 'wb') as file:
            file.write(header)
        reply = body(json.loads(header.decode('utf-8'))['total_size'])
    elif wire == 'length':
        reply = body(struct.unpack('i', client.recv(4))[0])
    elif wire == 'ascii-length':
        size = int(client.recv(1024).decode('utf-8'))
        client.send(b'ready')
        reply = body(size)
    else:
        reply = client.recv(65535 if udp else 1024)
    with open(f'{folder}/{number}', 'wb') as file:
        file.write(reply)
client.close()
