"""A caller whose gRPC library was told to retry: a Wait and, behind it, a Run, and what came of them, a line each."""

import json
import sys

import grpc
from remex.v1 import exec_pb2, exec_pb2_grpc

RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 1,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def ending(finish):
    try:
        finish()
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


def main():
    socket, execution_id, shell = sys.argv[1:]
    config = {"methodConfig": [{"name": [{}], "retryPolicy": RETRY}]}
    options = [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.default_authority", "localhost"),
    ]
    with grpc.insecure_channel(f"unix:{socket}", options=options) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        wait = stub.Wait.future(exec_pb2.WaitRequest(execution_id=execution_id))
        # The library tells of a response's headers before its end only where that is a stream.
        run = channel.unary_stream(
            "/remex.v1.ExecService/Run",
            request_serializer=exec_pb2.RunRequest.SerializeToString,
            response_deserializer=exec_pb2.RunResponse.FromString,
        )(exec_pb2.RunRequest(command=exec_pb2.Command(shell=shell)))
        run.initial_metadata()
        print("headers", flush=True)
        print("Wait", ending(wait.result), flush=True)
        print("Run", ending(lambda: list(run)), flush=True)


main()
