"""Run: a command to its end, and its whole output in one answer."""

import sys

import grpc

from connect import connect
from outcome import exit_code
from remex.v1 import exec_pb2, exec_pb2_grpc


def capture(args):
    """Runs the command with our stdin, prints its output, and returns its exit code."""
    request = exec_pb2.RunRequest(
        command=exec_pb2.Command(argv=args.argv),
        stdin_data=sys.stdin.buffer.read(),
        max_output_bytes=args.max_bytes,
    )
    compression = grpc.Compression.Gzip if args.gzip else None
    with connect(args) as channel:
        answer = exec_pb2_grpc.ExecServiceStub(channel).Run(request, compression=compression)
    sys.stdout.buffer.write(answer.stdout_data)
    sys.stderr.buffer.write(answer.stderr_data)
    if answer.stdout_truncated or answer.stderr_truncated:
        total = answer.stdout_bytes_total + answer.stderr_bytes_total
        print(f"client: cut, of {total} bytes in all", file=sys.stderr)
    return exit_code(answer.exit)
