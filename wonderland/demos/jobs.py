"""Long work beside the page: a worker computes, and a demo takes what has come, a few times a second."""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import cache
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

import panel as pn

WORKERS = 2
"""Jobs at work at once, for all readers of a process together; the others wait in line."""
PERIOD = 100
"""Milliseconds from one look at a job to the next: no more than ten updates a second."""

_loaded = Event()


class Job:
    """A stream of values that a worker computes, and the way to end it early.

    Parameters
    ----------
    stream
        Makes the stream; called in the worker, as is everything the stream computes.
    pool
        Whose worker that is.
    """

    def __init__(self, stream: Callable[[], Iterable], pool: Executor) -> None:
        self._news: SimpleQueue = SimpleQueue()
        self._stop = Event()
        self._future = pool.submit(self._work, stream)

    @property
    def done(self) -> bool:
        """Whether no more will come."""
        return self._future.done()

    def take(self) -> list[Any]:
        """All that came since the last call, in order."""
        news = []
        while True:
            try:
                news.append(self._news.get_nowait())
            except Empty:
                return news

    def cancel(self) -> None:
        """End it: at once where it has not begun, else before the stream's next value."""
        self._future.cancel()
        self._stop.set()

    def error(self) -> BaseException | None:
        """What ended it, if not the end of its stream; waits until it is done."""
        return None if self._future.cancelled() else self._future.exception()

    def _work(self, stream: Callable[[], Iterable]) -> None:
        from wonderland import backend

        backend.warm()
        _loaded.set()
        with backend.one_core():
            for value in stream():
                if self._stop.is_set():
                    return
                self._news.put(value)


class Worker:
    """Runs one job at a time for a demo.

    Parameters
    ----------
    on_news
        Called with what has come, in the demo's own session.
    on_end
        Called with None when the stream has ended, or with the error that ended it; not after `cancel`.
    """

    def __init__(self, on_news: Callable[[list[Any]], None], on_end: Callable[[BaseException | None], None]) -> None:
        self._on_news, self._on_end = on_news, on_end
        self._job: Job | None = None
        self._looking = False
        self._bound = False

    @property
    def busy(self) -> bool:
        """Whether a job is at work or in line."""
        return self._job is not None

    def start(self, stream: Callable[[], Iterable]) -> None:
        """Begin a job in the place of the present one; return before it is done where something can come back."""
        self.cancel()
        if not returns():
            # In this very thread: it may be a worker itself, and the pool full of such as wait.
            self._job = Job(stream, _Here())
            self.finish()
            return
        self._job = Job(stream, _pool())
        if not self._bound and pn.state.curdoc:
            self._bound = True
            pn.state.on_session_destroyed(lambda _: self.cancel())  # nobody is left to look
        if not self._looking:
            self._looking = True
            self._clock = pn.state.add_periodic_callback(self._look, period=PERIOD)

    def cancel(self) -> None:
        """End the present job, if there is one; nothing that it still computes will be heard of."""
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def finish(self) -> None:
        """Wait for the present job, here and now."""
        if self._job is not None:
            self._job.error()
            self._look()

    def _look(self) -> None:
        if not pn.state.loaded:
            return  # changes made between sending a page and hearing that it stands are lost (panel 1.9.4, io.hold)
        job = self._job
        if job is not None:
            done = job.done  # asked first: what comes after this line is taken at the next look
            news = job.take()
            if news:
                self._on_news(news)
            if done and self._job is job:
                self._job = None
                self._on_end(job.error())
        if self._job is None and self._looking:
            self._looking = False
            self._clock.stop()


def returns() -> bool:
    """Whether an event loop will look again: under a server and in a notebook, not in a script."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return served()
    return True


def served() -> bool:
    """Whether a server's reader is on the other side."""
    return pn.state.curdoc is not None and pn.state.curdoc.session_context is not None


def ready() -> bool:
    """Whether torch is loaded, so that a step costs what it costs and no seconds more."""
    return _loaded.is_set()


class _Here(Executor):
    """Computes at once, in the thread that asks."""

    def submit(self, function: Callable, /, *values: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*values))
        except BaseException as error:  # as every Executor does: whoever asks for the result gets it
            future.set_exception(error)
        return future


@cache
def _pool() -> Executor:
    return ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="wonderland")
