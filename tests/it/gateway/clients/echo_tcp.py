"""A client of echo over TCP: what it sends comes back, upper-cased.

    echo_tcp.py HOST PORT FOLDER TEXT...
"""
import socket
import sys

host, port, folder, *texts = sys.argv[1:]
client = socket.create_connection((host, int(port)))
for number, text in enumerate(texts):
    message = text.encode('utf-8')
    client.send(message)
    reply = b''
    while len(reply) < len(message):
        data = client.recv(1024)
        assert data, 'the end, in the middle of a reply'
        reply += data
    with open(f'{folder}/{number}', 'wb') as file:
        file.write(reply)
client.close()
