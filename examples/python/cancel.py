"""Reads a command's output in asyncio and breaks off: what ends the command is the call's cancel.

    cancel.py [--server HOST:PORT|unix:/PATH] LINES PROGRAM [ARG ...]

It prints the first LINES lines of stdout, and the command is gone.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parent / "gen"))

from remex.v1 import exec_pb2, exec_pb2_grpc  # noqa: E402


async def head(server, lines, argv):
    """Prints so many lines of what argv writes."""
    options = [("grpc.enable_http_proxy", 0)]
    if server.startswith("unix:"):
        # grpcio would send the socket's path, escaped, which HTTP/2 refuses as an authority.
        options.append(("grpc.default_authority", "localhost"))
    async with grpc.aio.insecure_channel(server, options=options) as channel:
        request = exec_pb2.StartRequest(command=exec_pb2.Command(argv=argv))
        call = exec_pb2_grpc.ExecServiceStub(channel).Start(request)
        try:
            async for response in call:
                output = response.event.output
                if output.stream != exec_pb2.Output.STREAM_STDOUT:
                    continue
                for line in output.data.splitlines(keepends=True):
                    sys.stdout.buffer.write(line)
                    lines -= line.endswith(b"\n")
                    if lines == 0:
                        return
        finally:
            # Leaving the loop does not end the call: until it is cancelled, or the channel closed, the command runs on.
            call.cancel()
            sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="127.0.0.1:50051", metavar="HOST:PORT|unix:/PATH")
    parser.add_argument("lines", type=int, metavar="LINES")
    parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="PROGRAM ARG")
    args = parser.parse_args()
    asyncio.run(head(args.server, args.lines, args.argv))


if __name__ == "__main__":
    main()
