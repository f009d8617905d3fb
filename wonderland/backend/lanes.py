"""What computes the jobs of a pool: threads of this process, or processes beside it. A cluster is in ``cluster``."""

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Lock, Thread
from typing import Protocol

NICENESS = 10
"""How far a process that trains stands back behind the one that answers the readers."""


class Lanes(Protocol):
    """What a pool asks of what computes.

    Attributes
    ----------
    name : str
        In words, as the beginning of a sentence.
    width : int
        Jobs at work at once.
    """

    name: str
    width: int

    def lane(self) -> AbstractContextManager[Executor]:
        """Give one job something that computes, for as long as it takes."""

    def check(self) -> None:
        """Raise an error if what is asked for will never come."""

    def prepare(self, function: Callable, *values: object) -> None:
        """Call a function in lanes, to load what it needs; whether it fails will be seen by the first job."""


class Here(Executor):
    """Computes at once, in the thread that asks."""

    def submit(self, function: Callable, /, *values: object) -> Future:
        """Call a function; the future is done."""
        future: Future = Future()
        try:
            future.set_result(function(*values))
        except Exception as error:  # as every Executor does: whoever asks for the result gets it
            future.set_exception(error)
        return future


class Threads:
    """The job's own thread: for streams that share something with the page.

    Parameters
    ----------
    width
        Jobs at work at once.
    """

    name = "The thread that computed"

    def __init__(self, width: int) -> None:
        self.width = width

    @contextmanager
    def lane(self) -> Iterator[Executor]:
        """Compute in the thread that asks."""
        yield Here()

    def check(self) -> None:
        """Nothing is ever asked for in vain."""

    def prepare(self, function: Callable, *values: object) -> None:
        """Call the function once: all threads share what it loads."""
        function(*values)


class Processes:
    """Processes beside this one, begun when they are needed, each for one job at a time.

    Python computes in one thread of a process at a time: beside a training thread, every answer to a reader would wait.

    Parameters
    ----------
    width
        How many.
    """

    name = "The process that trained"

    def __init__(self, width: int) -> None:
        self.width = width
        self._lock = Lock()
        self._idle: list[Executor] = []
        self._begun = 0

    @contextmanager
    def lane(self) -> Iterator[Executor]:
        """Lend a process; one that has broken down is not lent again."""
        with self._lock:
            process = self._idle.pop() if self._idle else self._begin()
        try:
            yield process
        except BrokenExecutor:
            with self._lock:
                self._begun -= 1
            process.shutdown(wait=False)
            raise
        except BaseException:
            self._back(process)
            raise
        self._back(process)

    def check(self) -> None:
        """A process that ends breaks its executor, which says so by itself."""

    def prepare(self, function: Callable, *values: object) -> None:
        """Begin the processes that are not there yet; each calls the function before its first job.

        If all are there, the one that would be lent next calls it; none, while all are lent.
        """
        with self._lock:
            missing = self.width - self._begun
            for _ in range(missing):
                self._idle.append(self._begin())
            for process in self._idle[-max(missing, 1) :]:
                with suppress(BrokenExecutor):  # whoever it is lent to will hear of it
                    process.submit(function, *values)

    def _back(self, process: Executor) -> None:
        with self._lock:
            self._idle.append(process)

    def _begin(self) -> Executor:
        self._begun += 1
        # Not by fork: the server has threads, and torch's do not survive it.
        spawned = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, spawned, initializer=_settle)


def _settle() -> None:
    """What a process does first: leave Ctrl-C to the server, stand back behind it, and end when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    atexit.register(os._exit, 0)  # a stream may be computing, and torch cannot be taken down beneath it
    Thread(target=_end_with_the_server, daemon=True).start()


def _end_with_the_server() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)  # it may be computing
