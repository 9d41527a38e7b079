"""Start, in asyncio: the first lines of a command's output, and then the stream is broken off."""

import asyncio
import sys

from connect import connect_async
from outcome import reason_name
from remex.v1 import exec_pb2, exec_pb2_grpc


def head(args):
    return asyncio.run(head_async(args))


async def head_async(args):
    async with connect_async(args) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        execution_id = await print_head(stub, args.lines, args.argv)
        ended = await stub.Wait(exec_pb2.WaitRequest(execution_id=execution_id))
    print(f"client: ended, {reason_name(ended.execution.exit)}", file=sys.stderr)
    return 0


async def print_head(stub, lines, argv):
    """Prints so many lines of what argv writes to stdout, and returns the execution's id."""
    execution_id = ""
    call = stub.Start(exec_pb2.StartRequest(command=exec_pb2.Command(argv=argv)))
    try:
        async for response in call:
            event = response.event
            if event.HasField("started"):
                execution_id = event.started.execution_id
            if event.output.stream != exec_pb2.Output.STREAM_STDOUT:
                continue
            for line in event.output.data.splitlines(keepends=True):
                sys.stdout.buffer.write(line)
                lines -= line.endswith(b"\n")
                if lines == 0:
                    return execution_id
        return execution_id
    finally:
        # Leaving the loop does not end the call: until it is cancelled, or the channel closed, the command runs on.
        call.cancel()
        sys.stdout.flush()
