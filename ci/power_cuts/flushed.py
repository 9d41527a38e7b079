"""A disk that keeps what it is given in memory until it is flushed: what the kernel did not flush is lost in a power cut, but for
pieces at random. The kernel speaks NBD with it over a pair of sockets. It may keep a log of all that it is given, which `replay.py`
reads."""

import ctypes
import fcntl
import mmap
import os
import pathlib
import random
import socket
import struct
import threading
import time

# On x86-64.
FINIT_MODULE = 313
SET_SOCK, SET_BLKSIZE, DO_IT, SET_SIZE_BLOCKS, SET_FLAGS = 0xAB00, 0xAB01, 0xAB03, 0xAB07, 0xAB0A
HAS_FLAGS, SEND_FLUSH, SEND_FUA = 1, 4, 8
READ, WRITE, DISCONNECT, FLUSH = range(4)
FUA = 1 << 16
REQUEST, REPLY = struct.Struct(">IIQQI"), struct.Struct(">IIQ")
REQUEST_MAGIC, REPLY_MAGIC = 0x25609513, 0x67446698
BLOCK = 4096
# One piece in so many is on the disk at once, whatever came before it is not.
EARLY = 16


# What the log has: one of these with its flags of NBD, and behind it what is written.
ENTRY = struct.Struct(">IQI")


class Log:
    """Every write and flush in the order in which they are answered, and how many there are by now."""

    def __init__(self, path):
        self.file = open(path, "wb", buffering=0)
        # For all processes.
        self.length = mmap.mmap(-1, 8)

    def __len__(self):
        return int.from_bytes(self.length[:8], "little")

    def add(self, kind, offset, data):
        self.file.write(ENTRY.pack(kind, offset, len(data)) + data)
        self.length[:8] = (len(self) + 1).to_bytes(8, "little")


class Disk:
    def __init__(self, path, seed, log):
        self.file = os.open(path, os.O_RDWR)
        self.numbers = random.Random(seed)
        self.unflushed = {}
        self.log = log

    def read(self, offset, length):
        data = bytearray(os.pread(self.file, length, offset))
        for at in range(0, length, BLOCK):
            piece = self.unflushed.get(offset + at)
            if piece is not None:
                data[at : at + BLOCK] = piece
        return bytes(data)

    def write(self, offset, data):
        for at in range(0, len(data), BLOCK):
            self.unflushed[offset + at] = data[at : at + BLOCK]
            if self.numbers.randrange(EARLY) == 0:
                os.pwrite(self.file, self.unflushed.pop(offset + at), offset + at)
                os.fdatasync(self.file)

    def flush(self):
        for offset, piece in self.unflushed.items():
            os.pwrite(self.file, piece, offset)
        self.unflushed.clear()
        # To the file of the host, which nobody cuts the power of.
        os.fdatasync(self.file)

    def serve(self, link):
        while True:
            magic, kind, handle, offset, length = REQUEST.unpack(receive(link, REQUEST.size))
            assert magic == REQUEST_MAGIC
            answer = data = b""
            if kind & 0xFFFF == READ:
                answer = self.read(offset, length)
            elif kind & 0xFFFF == WRITE:
                data = receive(link, length)
                self.write(offset, data)
                if kind & FUA:
                    self.flush()
            elif kind & 0xFFFF == FLUSH:
                self.flush()
            else:
                return
            if self.log is not None and kind & 0xFFFF != READ:
                self.log.add(kind, offset, data)
            link.sendall(REPLY.pack(REPLY_MAGIC, 0, handle) + answer)


def receive(link, length):
    data = bytearray()
    while len(data) < length:
        more = link.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


def attach(path, module, seed, log):
    """Has the kernel use the file at `path` as such a disk; returns its name."""
    with open(module, "rb") as file:
        if ctypes.CDLL(None, use_errno=True).syscall(FINIT_MODULE, file.fileno(), b"", 0) != 0:
            raise OSError(ctypes.get_errno(), "cannot load nbd")
    kernel, ours = socket.socketpair()
    device = os.open("/dev/nbd0", os.O_RDWR)
    fcntl.ioctl(device, SET_BLKSIZE, BLOCK)
    fcntl.ioctl(device, SET_SIZE_BLOCKS, os.stat(path).st_size // BLOCK)
    fcntl.ioctl(device, SET_FLAGS, HAS_FLAGS | SEND_FLUSH | SEND_FUA)
    fcntl.ioctl(device, SET_SOCK, kernel.fileno())
    if os.fork() == 0:
        Disk(path, seed, log).serve(ours)
        os._exit(0)
    ours.close()
    threading.Thread(target=fcntl.ioctl, args=(device, DO_IT), daemon=True).start()
    # Until then it has no size, and nothing can be mounted.
    while pathlib.Path("/sys/block/nbd0/size").read_text().strip() == "0":
        time.sleep(0.01)
    return "/dev/nbd0"
