"""A client of json-header: one recv for the length, one for the header, then 1024 bytes at a time.

    json_header.py HOST PORT CHARSET FOLDER COMMAND...

Runs each command over one connection, and leaves the reply to the n-th in FOLDER/n, as it came, and in FOLDER/n.text,
decoded and in UTF-8. A second recv for the length or the header would be one too many for the clients out there.
"""
import hashlib
import json
import socket
import struct
import sys

host, port, charset, folder, *commands = sys.argv[1:]
client = socket.create_connection((host, int(port)))
for number, command in enumerate(commands):
    client.send(command.encode(charset))

    length = client.recv(4)
    assert len(length) == 4, length
    size = struct.unpack('i', length)[0]
    header = client.recv(size)
    assert len(header) == size, (len(header), size)
    header = json.loads(header.decode('ascii'))

    body = bytearray()
    while len(body) < header['total_size']:
        data = client.recv(1024)
        assert data, 'the end, in the middle of a reply'
        body += data
    assert len(body) == header['total_size'], (len(body), header)
    assert hashlib.md5(body).hexdigest() == header['md5'], header
    assert header['stdout_size'] + header['stderr_size'] == len(body), header

    with open(f'{folder}/{number}', 'wb') as file:
        file.write(body)
    with open(f'{folder}/{number}.text', 'w', encoding='utf-8', newline='') as file:
        file.write(body.decode(charset))
client.close()
