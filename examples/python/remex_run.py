"""Runs a command through remexd as if it were local: output as it comes, stdin, signals, exit code."""

import argparse
import os
import queue
import signal
import sys
import threading
from pathlib import Path

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

sys.path.insert(0, str(Path(__file__).resolve().parent / "gen"))

from remex.v1 import exec_pb2, exec_pb2_grpc  # noqa: E402

CHUNK_BYTES = 64 * 1024
# stdin on its way and not yet accepted; kept small, so that signals always get through.
WINDOW_BYTES = 256 * 1024
FAILURE = 255
STATUS_OF_REASON = {"PROGRAM_NOT_FOUND": 127, "PROGRAM_NOT_EXECUTABLE": 126}


class Requests:
    """The messages to be sent, in order: the start, then whatever is put."""

    def __init__(self, start):
        self._queue = queue.SimpleQueue()
        self._moved = threading.Condition()
        self._accepted = 0
        self.put(start=start)

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
                self._moved.wait_for(lambda: sent - self._accepted < WINDOW_BYTES)
            self.put(stdin_chunk=exec_pb2.StdinChunk(data=data))
            sent += len(data)
        self.put(stdin_chunk=exec_pb2.StdinChunk(eof=True))


def run(server, argv):
    """Runs argv at server and returns the exit code."""
    start = exec_pb2.StartRequest(command=exec_pb2.Command(argv=argv))
    requests = Requests(start)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: requests.put(signal=number))

    options = [("grpc.enable_http_proxy", 0)]
    if server.startswith("unix:"):
        # grpcio would send the socket's path, escaped, which HTTP/2 refuses as an authority.
        options.append(("grpc.default_authority", "localhost"))
    with grpc.insecure_channel(server, options=options) as channel:
        responses = exec_pb2_grpc.ExecServiceStub(channel).Interact(iter(requests))
        threading.Thread(target=requests.forward_stdin, daemon=True).start()
        for response in responses:
            requests.accepted(response.stdin_accepted_bytes)
            event = response.event
            kind = event.WhichOneof("kind")
            if kind == "output":
                is_stderr = event.output.stream == exec_pb2.Output.STREAM_STDERR
                out = sys.stderr.buffer if is_stderr else sys.stdout.buffer
                out.write(event.output.data)
                out.flush()
            elif kind == "exited":
                return status_of(event.exited.exit)
    print("remex_run: the server stopped telling what the command does", file=sys.stderr)
    return FAILURE


def status_of(exit):
    """The exit code that a shell would see."""
    if exit.reason == exec_pb2.Exit.REASON_TIMEOUT:
        return 124
    if exit.reason in (exec_pb2.Exit.REASON_SELF, exec_pb2.Exit.REASON_SIGNAL):
        if exit.signal:
            return 128 + exit.signal
        if exit.code >= 0:
            return exit.code
    print(f"remex_run: {exec_pb2.Exit.Reason.Name(exit.reason)}", file=sys.stderr)
    return FAILURE


def reason_of(error):
    """Why the server refused, as a program can tell it; None if remex did not say."""
    status = rpc_status.from_call(error)
    info = ErrorInfo()
    for detail in status.details if status else ():
        if detail.Unpack(info) and info.domain == "remex":
            return info.reason
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="127.0.0.1:50051", metavar="HOST:PORT|unix:/PATH")
    parser.add_argument("argv", nargs="+", metavar="PROGRAM ARG")
    args = parser.parse_args()
    try:
        return run(args.server, args.argv)
    except grpc.RpcError as error:
        reason = reason_of(error)
        print(f"remex_run: {error.details()} ({reason or error.code().name})", file=sys.stderr)
        return STATUS_OF_REASON.get(reason, FAILURE)
    except BrokenPipeError:
        # Whoever read our output has gone; leaving the channel has ended the command.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main())
