"""Command line: ``wonderland serve`` opens the book, ``wonderland race`` trains."""

import argparse
import errno
import socket
import sys
from collections.abc import Sequence
from importlib.resources import files

from wonderland import __version__
from wonderland.backend import command

DEFAULT_PORT = 5006
PORTS = range(1, 65536)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments after the program's name; those of the process when None.

    Raises
    ------
    SystemExit
        With status 2 and a message on a wrong argument, a file that cannot be had, or a port or address.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    if options.command == "race":
        try:
            status = command.run(options)
        except (TypeError, ValueError) as problem:
            parser.error(str(problem))
        if status:
            sys.exit(status)
        return
    if problem := _why_not(options.address, options.port):
        parser.error(problem)
    _serve(options.address, options.port, options.show)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wonderland", description="Down the Orthogonal Rabbit Hole.")
    parser.add_argument("--version", action="version", version=f"wonderland {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    serve = commands.add_parser("serve", help="serve the book to a browser")
    serve.add_argument("--port", type=_port, default=DEFAULT_PORT, help="default: %(default)s")
    serve.add_argument("--address", help="listen on this address alone; default: on every one")
    serve.add_argument("--show", action="store_true", help="open the book in a browser")
    race = commands.add_parser("race", help="train networks on one task after another, and see what they forget")
    command.add_arguments(race)
    return parser


def _port(text: str) -> int:
    # The length comes first: Python refuses to read a number of thousands of digits.
    if len(text) <= len(str(PORTS[-1])) and text.isascii() and text.isdecimal() and int(text) in PORTS:
        return int(text)
    raise argparse.ArgumentTypeError(
        f"port = {text} is outside {PORTS[0]}…{PORTS[-1]}: give a whole number there, such as {DEFAULT_PORT}."
    )


def _why_not(address: str | None, port: int) -> str | None:
    """Say why nothing can listen there, or None when something can."""
    problem = f"address = {address!r} is not one of this machine: give one that is, such as 127.0.0.1."
    if address == "":  # which the server would read as every interface
        return problem
    try:
        places = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):  # no such host, and no host can have such a name
        return problem
    for family, *_, place in places:
        try:
            socket.create_server(place, family=family).close()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"port = {port} is already in use: stop what listens there, or give another --port."
            if error.errno == errno.EACCES:
                return f"port = {port} needs an administrator's rights: give a --port in 1024…{PORTS[-1]}."
        else:
            problem = None  # one family is enough: many machines name an IPv6 address that they lack
    return problem


def _serve(address: str | None, port: int, show: bool) -> None:
    """Do what ``panel serve wonderland/app.py`` does, wherever the package is installed."""
    from panel.command import main as panel

    command = ["panel", "serve", str(files("wonderland") / "app.py"), "--port", str(port)]
    if address is not None:
        command += ["--address", address]
    if show:
        command += ["--show"]
    sys.argv = command  # the one place where Panel looks for its arguments
    panel()


if __name__ == "__main__":
    main()
