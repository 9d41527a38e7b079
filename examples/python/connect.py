"""Channels to remexd: on this machine as they are, elsewhere over TLS."""

import pathlib

import grpc
import grpc.aio

from outcome import ClientError

# Run answers with up to 16 MiB of stdout and as much of stderr; grpcio takes 4 MiB unless it is told.
MAX_ANSWER_BYTES = 33 * 1024 * 1024
TLS = "https://"


def connect(args):
    """A channel to HOST:PORT or unix:/PATH, or over TLS to https://HOST:PORT."""
    return open_channel(grpc, args)


def connect_async(args):
    """The same for asyncio."""
    return open_channel(grpc.aio, args)


def open_channel(library, args):
    server = args.server.removeprefix(TLS)
    if args.server.startswith(TLS):
        return library.secure_channel(server, credentials(args), options=options(server))
    if args.ca or args.cert or args.key or args.token_file:
        raise ClientError(f"certificates and tokens are for TLS: --server {TLS}HOST:PORT")
    return library.insecure_channel(server, options=options(server))


def credentials(args):
    """What the server and we know each other by. Without --ca, the CAs that grpcio brings along are trusted."""
    tls = grpc.ssl_channel_credentials(read(args.ca), read(args.key), read(args.cert))
    if not args.token_file:
        return tls
    # Each call carries it, as `authorization: Bearer …`.
    token = grpc.access_token_call_credentials(read(args.token_file).decode().strip())
    return grpc.composite_channel_credentials(tls, token)


def read(file):
    return pathlib.Path(file).read_bytes() if file else None


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
