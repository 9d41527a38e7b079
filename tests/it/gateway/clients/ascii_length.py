"""A client of ascii-length: the length in decimal by itself, an acknowledgement or a nap, then the output.

    ascii_length.py HOST PORT wait|pause FOLDER COMMAND...
"""
import socket
import sys
import time

host, port, ack, folder, *commands = sys.argv[1:]
client = socket.create_connection((host, int(port)))
for number, command in enumerate(commands):
    client.send(command.encode('utf-8'))

    # All that one recv brings is the length: a byte of the output in it would be no digit, or make it another number.
    size = int(client.recv(1024).decode())
    if ack == 'wait':
        client.send('ready to receive'.encode('utf-8'))
    else:
        # So do these clients, and the server counts on it.
        time.sleep(0.3)

    body = bytearray()
    while len(body) < size:
        data = client.recv(1024)
        assert data, 'the end, in the middle of a reply'
        body += data
    assert len(body) == size, (len(body), size)
    with open(f'{folder}/{number}', 'wb') as file:
        file.write(body)
client.close()
