"""Calls over a Unix socket without an authority, and one with the option that remexd's log names: a line each."""

import sys

import grpc
from remex.v1 import exec_pb2, exec_pb2_grpc

NAMED = [("grpc.default_authority", "localhost")]


def main():
    (socket,) = sys.argv[1:]
    for options in (None, None, None, NAMED):
        with grpc.insecure_channel(f"unix:{socket}", options=options) as channel:
            try:
                exec_pb2_grpc.ExecServiceStub(channel).GetServerInfo(exec_pb2.GetServerInfoRequest())
                print("OK")
            except grpc.RpcError as error:
                print(error.code().name)


main()
