"""A path between two machines that delays packets, each by a time of its own, so that later ones overtake earlier ones.

    path.py DEVICE DEVICE

Creates both TUN devices, prints a line, and carries packets between them, wherever they are moved, until it is killed.
"""
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def device(name):
    end = os.open('/dev/net/tun', os.O_RDWR)
    fcntl.ioctl(end, TUNSETIFF, struct.pack('16sH22x', name.encode(), IFF_TUN | IFF_NO_PI))
    return end


def delay():
    """Most packets keep up, some are overtaken, a few come as late as one that was sent again."""
    dice = random.random()
    if dice < 0.01:
        return 0.25
    return random.uniform(0.002, 0.02) if dice < 0.1 else 0.001


here, there = (device(name) for name in sys.argv[1:])
print('ready', flush=True)
waiting, order = [], itertools.count()
while True:
    pause = max(0, waiting[0][0] - time.monotonic()) if waiting else None
    readable, _, _ = select.select([here, there], [], [], pause)
    now = time.monotonic()
    for end in readable:
        try:
            packet = os.read(end, 65536)
        except OSError:
            # A machine is gone.
            sys.exit()
        heapq.heappush(waiting, (now + delay(), next(order), there if end == here else here, packet))
    while waiting and waiting[0][0] <= now:
        _, _, end, packet = heapq.heappop(waiting)
        try:
            os.write(end, packet)
        except OSError:
            # The device is down, or on its way to the other machine.
            pass
