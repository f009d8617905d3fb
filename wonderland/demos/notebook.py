"""A demo as the output of a notebook's cell."""

import asyncio
import re
import threading
import time
from typing import Any

import panel as pn

from wonderland.theme import ASSETS

PATIENCE = 30
"""Seconds that a display is waited for: out of sight, or in a notebook without a reader, it may never open."""

_LONG = re.compile(r'"(?:[^"\\]|\\.){1000000,}"')
_missed: dict[str, float] = {}  # when each display was first found not to be open


def needs_panel(call: str) -> str:
    """What stands where `call` would show itself, before Panel was loaded in the notebook."""
    return f"To see {call} here, run import panel as pn; pn.extension(inline=True), and then this cell again."


def mended(html: str) -> str:
    """The output, with what Panel misses between a kernel and a display mended before it is drawn."""
    return f"<script>{(ASSETS / 'notebook.js').read_text(encoding='utf-8')}</script>{html}"


def in_turn(comm: Any) -> None:
    """Have what a display says heard by this thread, the kernel's own, one message after another.

    JupyterLab (from 4.4) gives every display a thread of the kernel. Panel (1.9.4) answers one message by several, so
    the answers of two threads would mix on their way to a display, which misreads everything from then on; and the
    values of a slider would overtake one another.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return  # no kernel
    home, handle = threading.get_ident(), comm._handle_msg

    def hear(message: dict) -> None:
        if threading.get_ident() == home:
            handle(message)
        else:
            loop.call_soon_threadsafe(handle, message)

    comm._handle_msg = hear  # looked up when the browser opens it


def slimmed(html: str) -> str:
    """The output with the widgets' program in it once.

    Without a network the program, 1.4 MB, is part of the output, and Panel (1.9.4) writes it down for every widget:
    10 to 20 MB a cell, which the reader's notebook would be saved with.
    """
    program = _LONG.search(html)
    if program is None:
        return html
    begin = "(function(root) {"
    return html.replace(program[0], "program").replace(begin, f"{begin}\n  const program = {program[0]};", 1)


def opening() -> bool:
    """Whether a display is on its way to the browser and has not been heard of.

    Panel (1.9.4) says what changes until then afterwards, but in any order: the last to come need not be the newest.
    """
    now = time.monotonic()
    closed = [ref for ref, (*_, comm) in pn.state._views.items() if comm is not None and comm._comm is None]
    since = [_missed.setdefault(ref, now) for ref in closed]
    return any(now - missed < PATIENCE for missed in since)
