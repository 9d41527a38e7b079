"""What came of a command or of a call, as the exit code that a shell would see."""

import grpc

from remex.v1 import exec_pb2

FAILURE = 255
CODE_OF_REASON = {"PROGRAM_NOT_FOUND": 127, "PROGRAM_NOT_EXECUTABLE": 126}


class ClientError(Exception):
    """A call that this client does not make, or whose answer it cannot use."""


def exit_code(exit):
    """The command's own code, 128+n if signal n ended it, 124 if its timeout did."""
    if exit.reason == exec_pb2.Exit.REASON_TIMEOUT:
        return 124
    if exit.reason in (exec_pb2.Exit.REASON_SELF, exec_pb2.Exit.REASON_SIGNAL):
        if exit.signal:
            return 128 + exit.signal
        if exit.code >= 0:
            return exit.code
    raise ClientError(f"the command was lost: {reason_name(exit)}")


def reason_name(exit):
    """Protobuf gives an enum's number; one of a later version has no name."""
    try:
        return exec_pb2.Exit.Reason.Name(exit.reason)
    except ValueError:
        return str(exit.reason)


def reason_of(error):
    """Why remexd refused, such as PROGRAM_NOT_FOUND; None if it was not remexd that did."""
    return dict(error.trailing_metadata() or ()).get("remex-reason")


def require(stub, feature):
    """A server that is older than a field drops it unseen, and would do something else than was asked for."""
    info = stub.GetServerInfo(exec_pb2.GetServerInfoRequest())
    if feature not in info.features:
        raise ClientError(f"the server is of version {info.version}, which has no {feature}")


def describe(error):
    """What to tell the user of an error, and the exit code for it."""
    if not isinstance(error, grpc.RpcError):
        return str(error), FAILURE
    reason = reason_of(error)
    text = f"{error.details()} ({reason or error.code().name})"
    return text, CODE_OF_REASON.get(reason, FAILURE)
