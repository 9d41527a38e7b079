"""Start: a command that runs on without us, whatever becomes of its callers and of remexd."""

from connect import connect
from outcome import ClientError, require
from remex.v1 import exec_pb2, exec_pb2_grpc


def start(args):
    """Starts the command, prints its id, and leaves it alone."""
    request = exec_pb2.StartRequest(
        command=exec_pb2.Command(argv=args.argv),
        on_disconnect=exec_pb2.ON_DISCONNECT_DETACH,
        # For those who attach to it.
        stdin_open=True,
    )
    with connect(args) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        require(stub, "durable")
        for response in stub.Start(request):
            if response.event.HasField("started"):
                print(response.event.started.execution_id)
                return 0
    raise ClientError("the server did not start the command")
