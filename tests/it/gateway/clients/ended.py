"""A client of raw whose requests end with NUL and whose replies end with EOT: ended.py HOST PORT FOLDER COMMAND..."""
import socket
import sys

host, port, folder, *commands = sys.argv[1:]
client = socket.create_connection((host, int(port)))
# All at once: what ends them keeps them apart.
client.sendall(b''.join(command.encode('utf-8') + b'\0' for command in commands))
replies = client.makefile('rb')
for number in range(len(commands)):
    reply = b''
    while not reply.endswith(b'\4'):
        byte = replies.read(1)
        assert byte, 'the end instead of a reply'
        reply += byte
    with open(f'{folder}/{number}', 'wb') as file:
        file.write(reply[:-1])
