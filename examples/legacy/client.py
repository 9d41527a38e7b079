#!/usr/bin/env python3
"""The client of the old protocol as sockets are taught with it: one connection, one command after the other.

    client.py [--charset gbk] HOST:PORT COMMAND [COMMAND ...]

It reads the header with one recv and counts the body by total_size, as the clients do that cannot be changed.
"""

import argparse
import hashlib
import json
import socket
import struct
import sys


def ask(connection, command, charset):
    """Runs one command; returns the header and the body as sent."""
    connection.send(command.encode(charset))
    (length,) = struct.unpack("i", some(connection, 4))
    header = json.loads(some(connection, length).decode("utf-8"))
    body = b""
    while len(body) < header["total_size"]:
        body += some(connection, min(1024, header["total_size"] - len(body)))
    return header, body


def some(connection, size):
    """What one recv brings, at most size bytes; an empty one is the end of the connection, and would be for ever."""
    data = connection.recv(size)
    if not data:
        sys.exit("the server closed the connection in the middle of an answer")
    return data


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--charset", default="utf-8")
    parser.add_argument("server", metavar="HOST:PORT")
    parser.add_argument("commands", metavar="COMMAND", nargs="+")
    args = parser.parse_args()
    host, port = args.server.rsplit(":", 1)
    with socket.create_connection((host.strip("[]"), int(port))) as connection:
        for command in args.commands:
            header, body = ask(connection, command, args.charset)
            sys.stdout.write(body.decode(args.charset))
            if hashlib.md5(body).hexdigest() != header["md5"]:
                sys.exit("the body is not what the header says")


if __name__ == "__main__":
    main()
