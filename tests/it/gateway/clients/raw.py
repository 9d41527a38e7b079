"""A client of raw: one recv is the reply.

    raw.py HOST PORT FOLDER COMMAND...
"""
import socket
import sys

host, port, folder, *commands = sys.argv[1:]
client = socket.create_connection((host, int(port)))
for number, command in enumerate(commands):
    client.send(command.encode('utf-8'))
    reply = client.recv(1024)
    assert reply, 'the end instead of a reply'
    with open(f'{folder}/{number}', 'wb') as file:
        file.write(reply)
client.close()
