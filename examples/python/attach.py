"""Interact: joins what runs on by itself, behind the event that was seen last, and may leave it again."""

import threading

from connect import connect
from remex.v1 import exec_pb2, exec_pb2_grpc
from run import Requests, forward_signals, receive


def attach(args):
    """Goes on behind args.after; returns the command's exit code, or 0 once args.outputs of its outputs were seen."""
    (execution_id,) = args.argv
    request = exec_pb2.AttachRequest(execution_id=execution_id, after_sequence=args.after)
    with connect(args) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        # Our stdin is the command's from its first byte: what it has of it already, the server passes over.
        requests = Requests(attach=request)
        forward_signals(requests, terminal=False)
        call = stub.Interact(iter(requests))
        threading.Thread(target=requests.forward_stdin, daemon=True).start()
        try:
            return receive(call, requests, args.outputs)
        finally:
            # Were the requests to end instead, that would be the end of the command's stdin.
            call.cancel()
