"""A client of remexd in Python: runs a command as if it were local."""

import argparse
import os
import signal
import sys

import grpc

from attach import attach
from capture import capture
from head import head
from outcome import FAILURE, ClientError, describe
from run import run
from start import start


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser("run", help="run a command with live output, stdin and signals")
    verb.set_defaults(verb=run)
    verb.add_argument("--timeout", type=float, default=0, metavar="SECONDS")
    verb.add_argument("--terminal", action="store_true", help="give it a terminal like ours")
    verb.add_argument("--user", default="")

    verb = verbs.add_parser("capture", help="run a command to its end, then print its output")
    verb.set_defaults(verb=capture)
    verb.add_argument("--max-bytes", type=int, default=0, help="of stdout and stderr each, up to 16777216")
    verb.add_argument("--gzip", action="store_true", help="compress the request")

    verb = verbs.add_parser("head", help="print the first lines of stdout, and break off")
    verb.set_defaults(verb=head)
    verb.add_argument("--lines", type=int, default=10)

    verb = verbs.add_parser("start", help="start a command that runs on by itself, and print its id")
    verb.set_defaults(verb=start)

    for verb in verbs.choices.values():
        verb.add_argument("argv", nargs="+", metavar="PROGRAM ARG", help="behind --")

    verb = verbs.add_parser("attach", help="join what was started, with live output, stdin and signals")
    verb.set_defaults(verb=attach)
    verb.add_argument("--after", type=int, default=0, metavar="EVENT", help="the one that was seen last")
    verb.add_argument("--outputs", type=int, default=0, help="leave it alone again behind so many")
    verb.add_argument("argv", nargs=1, metavar="ID", help="behind --")

    for verb in verbs.choices.values():
        verb.add_argument(
            "--server", default="127.0.0.1:50051", metavar="HOST:PORT|https://HOST:PORT|unix:/PATH"
        )
        tls = verb.add_argument_group("over TLS")
        tls.add_argument(
            "--ca", metavar="FILE", help="the CAs that the server's certificate may be signed by"
        )
        tls.add_argument("--cert", metavar="FILE", help="our certificate")
        tls.add_argument("--key", metavar="FILE", help="its key")
        tls.add_argument("--token-file", metavar="FILE", help="our token")
    return parser.parse_args()


def main():
    args = parse()
    try:
        code = args.verb(args)
        sys.stdout.flush()
        sys.stderr.flush()
        return code
    except (grpc.RpcError, ClientError) as error:
        text, code = describe(error)
        print(f"client: {text}", file=sys.stderr)
        return code
    except BrokenPipeError:
        # Whoever read our output has gone; leaving the channel has ended the command.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        print(f"client: {error}", file=sys.stderr)
        return FAILURE


if __name__ == "__main__":
    # Not sys.exit(): a thread of grpcio that the interpreter stops on its way out may hold the lock that the end
    # of its call then waits for, in one of some hundred runs for ever.
    os._exit(main())
