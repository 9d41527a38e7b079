"""What a disk holds after each part of the log that `flushed.py` has kept of it."""

import subprocess

from .flushed import BLOCK, ENTRY, FLUSH, FUA


def entries(path):
    """The log's entries, up to the last that is whole."""
    with open(path, "rb") as log:
        while len(head := log.read(ENTRY.size)) == ENTRY.size:
            kind, offset, length = ENTRY.unpack(head)
            data = log.read(length)
            if len(data) < length:
                return
            yield kind, offset, data


class Image:
    """The disk in the file at `path`, to which the log is given entry by entry."""

    def __init__(self, path):
        self.path = path
        self.unflushed = {}

    def take(self, kind, offset, data):
        blocks = {offset + at: data[at : at + BLOCK] for at in range(0, len(data), BLOCK)}
        if kind & 0xFFFF == FLUSH:
            self.put(self.path, self.unflushed)
            self.unflushed.clear()
        elif kind & FUA:
            # On the disk at once, and nothing else is for its sake.
            self.put(self.path, blocks)
            for at in blocks:
                self.unflushed.pop(at, None)
        else:
            self.unflushed |= blocks

    def after_a_cut(self, path, numbers):
        """Makes the file at `path` what a power cut leaves now: nothing that was not flushed, all of it, or any part."""
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", self.path, path], check=True)
        share = numbers.choice([0, 0.5, 1])
        self.put(path, {at: block for at, block in self.unflushed.items() if numbers.random() < share})

    @staticmethod
    def put(path, blocks):
        with open(path, "r+b") as disk:
            for at, block in blocks.items():
                disk.seek(at)
                disk.write(block)
