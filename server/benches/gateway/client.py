"""The tutorial's client: for each line of stdin, PORT COUNT COMMAND, runs COMMAND so often, and prints the median in ns."""
import json
import socket
import struct
import sys
import time


def run(client, command):
    client.send(command)
    size = struct.unpack('i', client.recv(4))[0]
    header = json.loads(client.recv(size).decode('utf-8'))
    data = b''
    while len(data) < header['total_size']:
        data += client.recv(1024)


for line in sys.stdin:
    port, count, command = line.rstrip('\n').split(' ', 2)
    times = []
    with socket.create_connection(('127.0.0.1', int(port))) as client:
        for _ in range(int(count)):
            begin = time.perf_counter_ns()
            run(client, command.encode('utf-8'))
            times.append(time.perf_counter_ns() - begin)
    print(sorted(times)[len(times) // 2], flush=True)
