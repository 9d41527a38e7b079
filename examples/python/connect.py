"""Channels to remexd."""

import grpc
import grpc.aio

# Run answers with up to 16 MiB of stdout and as much of stderr; grpcio takes 4 MiB unless it is told.
MAX_ANSWER_BYTES = 33 * 1024 * 1024


def options(server):
    options = [
        ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
        # http_proxy in the environment is meant for the web.
        ("grpc.enable_http_proxy", 0),
    ]
    if server.startswith("unix:"):
        # grpcio would send the socket's path, escaped, which HTTP/2 refuses as an authority.
        options.append(("grpc.default_authority", "localhost"))
    return options


def connect(server):
    """A channel to HOST:PORT or unix:/PATH."""
    return grpc.insecure_channel(server, options=options(server))


def connect_async(server):
    """The same for asyncio."""
    return grpc.aio.insecure_channel(server, options=options(server))
