"""A client of every service over UDP: a datagram there, a datagram back.

    datagram.py HOST PORT BYTES FOLDER TEXT...

BYTES is how much it reads of the answer: what is longer, the kernel throws away.
"""
import socket
import sys

host, port, size, folder, *texts = sys.argv[1:]
client = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(60)
for number, text in enumerate(texts):
    client.sendto(text.encode('utf-8'), (host, int(port)))
    reply, address = client.recvfrom(int(size))
    assert address[:2] == (host, int(port)), address
    with open(f'{folder}/{number}', 'wb') as file:
        file.write(reply)
client.close()
