"""A client of length: four bytes, little-endian (`i`) or big-endian (`!i`), then the output.

    length.py HOST PORT FORMAT FOLDER COMMAND...
"""
import socket
import struct
import sys

host, port, format, folder, *commands = sys.argv[1:]
client = socket.create_connection((host, int(port)))
for number, command in enumerate(commands):
    client.sendall(command.encode('utf-8'))

    length = client.recv(4)
    assert len(length) == 4, length
    left = struct.unpack(format, length)[0]
    with open(f'{folder}/{number}', 'wb') as file:
        while left:
            data = client.recv(min(left, 8192))
            assert data, 'the end, in the middle of a reply'
            file.write(data)
            left -= len(data)
client.close()
