"""A client of json-header that writes byte by byte: bytewise.py HOST PORT FOLDER COMMAND..."""
import json
import socket
import struct
import sys

host, port, folder, *commands = sys.argv[1:]
client = socket.create_connection((host, int(port)))
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
stream = client.makefile('rb')
for number, command in enumerate(commands):
    for byte in command.encode('utf-8'):
        client.send(bytes([byte]))
    header = json.loads(stream.read(struct.unpack('i', stream.read(4))[0]))
    with open(f'{folder}/{number}', 'wb') as file:
        file.write(stream.read(header['total_size']))
