"""The tutorial's server, as its readers write it, but with a thread for each client.

    tutorial.py [nodelay]

Prints its port.
"""
import json
import socket
import socketserver
import struct
import subprocess
import sys


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        if 'nodelay' in sys.argv:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            cmd = self.request.recv(1024)
            if not cmd:
                break
            obj = subprocess.Popen(cmd.decode('utf-8'), shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            stdout = obj.stdout.read()
            stderr = obj.stderr.read()
            header = json.dumps({
                'filename': 'xxxxxxxx',
                'md5': 'abcdefg1234',
                'total_size': len(stdout) + len(stderr),
            }).encode('utf-8')
            self.request.send(struct.pack('i', len(header)))
            self.request.send(header)
            self.request.send(stdout)
            self.request.send(stderr)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server(('127.0.0.1', 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
