"""A client that sends a command and waits to be killed.

    hold.py HOST PORT fin|rst

The command is in the environment, as COMMAND, lest the client's own arguments look like it. Its end is then told with FIN, or, if it asked the kernel not to linger, with RST.
"""
import os
import socket
import struct
import sys

host, port, end = sys.argv[1:]
client = socket.create_connection((host, int(port)))
if end == 'rst':
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
client.sendall(os.environ['COMMAND'].encode('utf-8'))
client.recv(1)
