"""Streams that can be sent to another process."""

import os
import signal
import time
from pathlib import Path


def counted(count, seconds=0.0):
    """0, 1, … with a pause after each."""
    for value in range(count):
        yield value
        time.sleep(seconds)


def where():
    """The process that computes, and how far it stands back."""
    yield os.getpid()
    yield os.nice(0)
    yield signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def failing(count):
    yield from range(count)
    raise ValueError("lr = 9 diverges")


def dying(count, times, folder):
    """Like `counted`; but `times` times, in the middle, the process is killed."""
    for value in range(count):
        yield value
        time.sleep(0.05)
        deaths = len(list(Path(folder).iterdir()))
        if value == count // 2 and deaths < times:
            (Path(folder) / str(deaths)).touch()
            os.kill(os.getpid(), signal.SIGKILL)


_heard = []


def hearing(word):
    """Every word that this process has heard, this one included."""
    _heard.append(word)
    yield list(_heard)


def silent():
    """Nothing, for ten minutes."""
    time.sleep(600)
    yield
