"""Long work beside the page: a job computes in the pool, and a demo takes what has come, a few times a second."""

import asyncio
import os
from collections.abc import Callable, Iterator
from functools import cache, partial
from threading import Event
from typing import Any

import panel as pn

from wonderland.backend.cluster import VARIABLE, Cluster
from wonderland.backend.lanes import Processes, Threads
from wonderland.backend.pool import Job, Pool, Stream
from wonderland.demos import notebook

WORKERS = max(2, (os.cpu_count() or 1) // 2)
"""Jobs at work at once, for all readers of a process together; the others wait in line."""
CORES = 2
"""Threads that a race at work may use."""
PERIOD = 100
"""Milliseconds from one look at a job to the next: no more than ten updates a second."""
GRACE = 5
"""Seconds that a lost connection has to come back, as a browser makes it do, before its job ends."""

_loaded = Event()


class Worker:
    """Runs one job at a time for a demo.

    Parameters
    ----------
    on_news
        Called with what has come, in the demo's own session.
    on_end
        Called with None when the stream has ended, or with the error that ended it; not after `cancel`.
    on_place
        Called with the job's place in line when that changes: 1 for the next one, 0 when it is at work.
    """

    def __init__(
        self,
        on_news: Callable[[list[Any]], None],
        on_end: Callable[[BaseException | None], None],
        on_place: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._on_news, self._on_end, self._on_place = on_news, on_end, on_place
        self._job: Job | None = None
        self._place = 0
        self._rest: Callable[[], None] | None = None
        self._bound = False
        self._missed = 0  # looks in a row at which the reader was not there

    @property
    def busy(self) -> bool:
        """Whether a job is at work or in line."""
        return self._job is not None

    @property
    def place(self) -> int:
        """The job's place in line at the last look: 1 for the next one, 0 when it is at work or there is none."""
        return self._place

    def start(self, stream: Stream, afar: bool = False) -> None:
        """Begin a job in the place of the present one; return before it is done where something can come back.

        Parameters
        ----------
        stream
            Makes the stream of values.
        afar
            Whether it may be computed in another process, or on a cluster. It and its values are pickled then, and it
            must give the same values every time; `functools.partial` of a function of `wonderland.backend`, say.
        """
        self.cancel()
        if not returns():
            # In this very thread: it may be a worker itself, and the pool full of such as wait.
            self._job = beside().run(partial(_loading, stream))
            self._look()
            return
        self._job = away().submit(stream) if afar else beside().submit(partial(_loading, stream))
        if not self._bound and pn.state.curdoc:
            self._bound = True
            pn.state.on_session_destroyed(lambda _: self.cancel())  # nobody is left to look
        if self._rest is None:
            self._rest = _regularly(self._look)
        self._placed(self._job.place)

    def cancel(self) -> None:
        """End the present job, if there is one; nothing that it still computes will be heard of."""
        if self._job is not None:
            self._job.cancel()
            self._job = None
            self._place = 0

    def finish(self) -> None:
        """Wait for the present job, here and now."""
        if self._job is not None:
            self._job.error()
            self._look()

    def _look(self) -> None:
        if not pn.state.loaded:
            return  # changes made between sending a page and hearing that it stands are lost (panel 1.9.4, io.hold)
        self._missed = self._missed + 1 if _alone() else 0
        if self._job is not None and self._missed * PERIOD >= GRACE * 1000:
            self.cancel()
            self._on_end(ConnectionError("its reader was gone"))
        job = self._job
        if job is not None:
            done = job.done  # asked first: what comes after this line is taken at the next look
            self._placed(job.place)
            news = job.take()
            if news:
                self._on_news(news)
            if done and self._job is job:
                self._job = None
                self._on_end(job.error())
        if self._job is None and self._rest is not None:
            self._rest()
            self._rest = None

    def _placed(self, place: int) -> None:
        if place != self._place:
            self._place = place
            self._on_place(place)


def prepare(stream: Stream) -> None:
    """Load, where jobs afar are computed, what a stream like this one needs: a short one, run for nothing.

    For a demo that comes on screen or is set otherwise, so that the press of its button waits for nothing.
    """
    if served():
        away().prepare(stream)


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
    """Whether torch is loaded in this process, so that a step costs what it costs and no seconds more."""
    return _loaded.is_set()


def _alone() -> bool:
    """Whether the reader's connection is closed; a server takes its time to end a session for that."""
    context = pn.state.curdoc.session_context if served() else None
    return context is not None and context.session is not None and not context.session.connection_count


def _regularly(look: Callable[[], None]) -> Callable[[], None]:
    """Have a job looked at from now on; return what ends it."""
    if served():
        # Bokeh's own callback: each of Panel's turns the busy flag of the whole server twice, whatever it does.
        document = pn.state.curdoc
        return partial(document.remove_periodic_callback, document.add_periodic_callback(look, PERIOD))
    heard = False

    def look_when_heard() -> None:
        nonlocal heard
        before, heard = heard, not notebook.opening()
        if before and heard:  # for a whole period: what was said before it opened has gone out
            look()

    return pn.state.add_periodic_callback(look_when_heard, period=PERIOD).stop


@cache
def beside() -> Pool:
    """Where jobs compute that share something with the page: in threads of its own process."""
    return Pool(Threads(WORKERS))


@cache
def away() -> Pool:
    """Where all others compute: in processes beside the page's, or on the cluster that the environment names."""
    scheduler = os.environ.get(VARIABLE)
    return Pool(Cluster(scheduler) if scheduler else Processes(WORKERS))


def _loading(stream: Stream) -> Iterator[Any]:
    from wonderland import backend

    backend.warm()
    _loaded.set()
    yield from stream()
