"""A client of raw with a connection for each command: it says that it has said all, and reads to the end.

    raw_to_end.py HOST PORT FOLDER COMMAND...
"""
import socket
import sys

host, port, folder, *commands = sys.argv[1:]
for number, command in enumerate(commands):
    with socket.create_connection((host, int(port))) as client, open(f'{folder}/{number}', 'wb') as file:
        client.sendall(command.encode('utf-8'))
        client.shutdown(socket.SHUT_WR)
        while data := client.recv(4096):
            file.write(data)
