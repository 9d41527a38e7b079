"""Interact: a command as if it were local, with live output, stdin, signals, a terminal."""

import contextlib
import datetime
import os
import queue
import signal
import sys
import termios
import threading
import tty

from connect import connect
from outcome import ClientError, exit_code, require
from remex.v1 import exec_pb2, exec_pb2_grpc

CHUNK_BYTES = 64 * 1024
# stdin on its way and not yet accepted; below 1 MiB, so that signals always get through.
WINDOW_BYTES = 256 * 1024


def run(args):
    """Runs the command and returns its exit code."""
    command = exec_pb2.Command(argv=args.argv, user=args.user)
    if args.timeout:
        command.timeout.FromTimedelta(datetime.timedelta(seconds=args.timeout))
    if args.terminal:
        columns, rows = os.get_terminal_size(0)
        command.terminal.CopyFrom(exec_pb2.Terminal(rows=rows, columns=columns))
    with connect(args) as channel, raw_terminal(args.terminal):
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        if command.user:
            require(stub, "user")
        requests = Requests(start=exec_pb2.StartRequest(command=command))
        forward_signals(requests, args.terminal)
        responses = stub.Interact(iter(requests))
        threading.Thread(target=requests.forward_stdin, daemon=True).start()
        return receive(responses, requests)


def receive(responses, requests, outputs=0):
    """Writes output as it comes; the exit code is in the last event. Leaves the command behind so many outputs."""
    for response in responses:
        requests.accepted(response.stdin_accepted_bytes)
        event = response.event
        match event.WhichOneof("kind"):
            case "output":
                write(event.output)
                outputs -= 1
                if outputs == 0:
                    print(f"client: left behind event {event.sequence}", file=sys.stderr)
                    return 0
            case "exited":
                return exit_code(event.exited.exit)
    raise ClientError("the server stopped telling what the command does")


def write(output):
    is_stderr = output.stream == exec_pb2.Output.STREAM_STDERR
    out = sys.stderr.buffer if is_stderr else sys.stdout.buffer
    out.write(output.data)
    out.flush()


class Requests:
    """The messages to be sent, in order: the start or the attach, then whatever is put."""

    def __init__(self, **first):
        self._queue = queue.SimpleQueue()
        self._moved = threading.Condition()
        self._accepted = 0
        self.put(**first)

    def put(self, **message):
        self._queue.put(exec_pb2.InteractRequest(**message))

    def __iter__(self):
        return iter(self._queue.get, None)

    def accepted(self, position):
        with self._moved:
            self._accepted = position
            self._moved.notify()

    def forward_stdin(self):
        sent = 0
        while data := os.read(0, CHUNK_BYTES):
            with self._moved:
                while sent - self._accepted >= WINDOW_BYTES:
                    self._moved.wait()
            self.put(stdin_chunk=exec_pb2.StdinChunk(offset=sent, data=data))
            sent += len(data)
        self.put(stdin_chunk=exec_pb2.StdinChunk(offset=sent, eof=True))


def forward_signals(requests, terminal):
    # Their numbers are Linux's, here and there.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: requests.put(signal=number))
    if terminal:
        signal.signal(signal.SIGWINCH, lambda *_: requests.put(resize=window_size()))


def window_size():
    columns, rows = os.get_terminal_size(0)
    return exec_pb2.WindowSize(rows=rows, columns=columns)


@contextlib.contextmanager
def raw_terminal(wanted):
    """Passes every key on, Ctrl-C too: the command's terminal does what is to be done."""
    if not wanted:
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
