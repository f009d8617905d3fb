"""Command line: ``serve`` opens the book, ``snapshot`` writes it down, ``race`` trains, ``spectrum`` reads weights."""

import argparse
import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import wonderland
from wonderland import __version__
from wonderland.backend import command, spectrum_command
from wonderland.backend.headers import read_checkpoint

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
        With status 2 and a message on a wrong argument, a file that cannot be had, or a port or address; 130 if a race
        or a snapshot was interrupted.
    """
    options = _parser().parse_args(argv)
    commands = {"race": command.run, "spectrum": spectrum_command.run}
    if options.command in commands:
        try:
            status = commands[options.command](options)
        except (TypeError, ValueError) as problem:
            options.error(str(problem))
        if status:
            sys.exit(status)
        return
    if options.command == "snapshot":
        try:
            with _ended_in_order():
                make = wonderland.snapshot
                path = make(options.path, chapter=options.chapter, demo=options.demo, force=options.force)
        except (ValueError, OSError) as problem:
            options.error(str(problem))
        except KeyboardInterrupt:
            print("interrupted: nothing is written.", file=sys.stderr)
            sys.exit(130)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
        return
    if options.weights is not None:
        try:
            read_checkpoint(options.weights)
        except ValueError as problem:
            options.error(str(problem))
        os.environ["WONDERLAND_WEIGHTS"] = str(options.weights.resolve())  # as `panel serve` is told of them
    if problem := _why_not(options.address, options.port):
        options.error(problem)
    _serve(options.address, options.port, options.show)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wonderland", description="Down the Orthogonal Rabbit Hole: a book on orthogonal fine-tuning that answers."
    )
    parser.add_argument("--version", action="version", version=f"wonderland {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, help="what to do; COMMAND --help says more"
    )
    serve = commands.add_parser(
        "serve",
        help="serve the book to a browser",
        description="Serve the book on this machine until Ctrl-C ends it. For a class, see docs/serve.md.",
    )
    serve.add_argument("--port", type=_port, default=DEFAULT_PORT, help="where to listen; default: %(default)s")
    serve.add_argument("--address", help="listen on this address alone; default: on every one")
    serve.add_argument("--show", action="store_true", help="open the book in a browser")
    serve.add_argument("--weights", type=Path, metavar="PATH", help="a safetensors checkpoint that chapter 6 shows")
    snapshot = commands.add_parser(
        "snapshot",
        help="write the book as one HTML file that stays interactive",
        description="Write the book, some of its chapters or one demo as a single HTML file. It opens from disk with "
        "no server and no network, and its controls answer with what was computed when it was written.",
    )
    snapshot.add_argument("path", help="the file to write, such as rabbit-hole.html")
    what = snapshot.add_mutually_exclusive_group()
    what.add_argument(
        "--chapter", type=int, action="append", metavar="N", help="this chapter alone, 0 the opening; may be repeated"
    )
    what.add_argument("--demo", metavar="NAME", help=f"this demo alone: {', '.join(wonderland.__all__)}")
    snapshot.add_argument("--force", action="store_true", help="write over a file that exists")
    race = commands.add_parser(
        "race",
        help="train networks on one task after another, and see what they forget",
        description="Train small networks on real digits, by several methods, on one task after another, and print "
        "what each still knows of the earlier ones.",
    )
    command.add_arguments(race)
    spectrum = commands.add_parser(
        "spectrum",
        help="see the singular values of a checkpoint, layer by layer",
        description="Read a checkpoint in safetensors, one weight at a time, and print each layer's singular values "
        "and how many directions a rule would protect.",
    )
    spectrum_command.add_arguments(spectrum)
    for each in commands.choices.values():
        each.set_defaults(error=each.error)  # with the usage of what was asked for
    return parser


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM end what runs as Ctrl-C does, by an exception: what was begun is then removed."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
