"""A client of json-header that fetches files under the name in the header: get.py HOST PORT FOLDER COMMAND..."""
import json
import os
import socket
import struct
import sys

host, port, folder, *commands = sys.argv[1:]
client = socket.create_connection((host, int(port)))
for command in commands:
    client.send(command.encode('utf-8'))
    header = json.loads(client.recv(struct.unpack('i', client.recv(4))[0]))
    path = os.path.join(folder, header['filename'])
    with open(path, 'wb') as file:
        size = 0
        while size < header['total_size']:
            data = client.recv(1024)
            file.write(data)
            size += len(data)
client.close()
