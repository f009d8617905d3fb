"""A pool for long work that all readers share: a bounded number of jobs at work, the others in line.

A job is a stream of values. An ``Executor`` opens it somewhere and fetches what it has made, a part at a time; the
same lines serve this process, one beside it, and a machine of a cluster (see ``lanes``). If a stream is lost where it
was open, it is opened elsewhere and what had come is skipped: a stream must give the same values every time.
"""

import atexit
import math
import multiprocessing
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, CancelledError, Future, wait
from contextlib import suppress
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

from wonderland.backend import one_core
from wonderland.backend.lanes import Lanes

Stream = Callable[[], Iterable]

PART = 0.1
"""Seconds after which what has been computed is handed over; at least one value is."""
SILENCE = 1
"""Seconds after which a part without a value is handed over: what computes is never deaf for longer to its end."""
OPEN = 8
"""Streams kept open in one process."""
PATIENCE = 5
"""Seconds that the end of the program waits for a stream's."""
ABANDONED = 60
"""Seconds after which a stream ends whose values nobody takes."""
TRIES = 3
"""Times that a job is begun, should what computes it break down."""


class Part(NamedTuple):
    """The next values of a stream; whether they are the last; and the error that ended it, if one did."""

    values: list[Any]
    over: bool
    error: Exception | None = None


class Job:
    """A stream on its way: what has come of it, and the way to end it early.

    Parameters
    ----------
    stream
        Makes the stream; called where it is computed.
    pool
        Where it waits.
    """

    def __init__(self, stream: Stream, pool: "Pool") -> None:
        self._stream, self._pool = stream, pool
        self._key = uuid.uuid4().hex
        self._count = 0
        self._news: SimpleQueue = SimpleQueue()
        self._stop, self._done = Event(), Event()
        self._error: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether no more will come."""
        return self._done.is_set()

    @property
    def place(self) -> int:
        """Its place in line, the next one's being 1; 0 when it is at work or done."""
        return self._pool.place(self)

    def take(self) -> list[Any]:
        """All that came since the last call, in order."""
        news = []
        while True:
            try:
                news.append(self._news.get_nowait())
            except Empty:
                return news

    def cancel(self) -> None:
        """End it: at once where it is in line, else with the part that is at work."""
        self._stop.set()
        if self._pool.leave(self):
            self._done.set()

    def error(self) -> Exception | None:
        """What ended it, if not the end of its stream; waits until it is done."""
        self._done.wait()
        return self._error

    def run(self, lanes: Lanes) -> None:
        """Compute it, part by part; return when it is done, failed or cancelled."""
        try:
            self._run(lanes)
        except Exception as error:  # whoever waits for the job hears of it
            self._error = error
        self._done.set()

    def _run(self, lanes: Lanes) -> None:
        for _ in range(TRIES):
            try:
                with lanes.lane() as lane:
                    self._pool.fill()  # there may be more lanes, now that one is open
                    while part := self._part(lane.submit(advance, self._key, self._stream, self._count), lanes):
                        self._count += len(part.values)
                        for value in part.values:
                            self._news.put(value)
                        if part.error is not None:
                            raise part.error
                        if part.over:
                            return
                    lane.submit(forget, self._key)
                    return
            except BrokenExecutor:
                continue  # from the start, elsewhere
        raise self._lost(f"{lanes.name} broke down {TRIES} times, most likely for want of memory")

    def _part(self, future: Future, lanes: Lanes) -> Part | None:
        """Wait for a part; None if the job is cancelled."""
        while not wait([future], PART).done:
            if self._stop.is_set():
                future.cancel()
                return None
            lanes.check()
        if self._stop.is_set():
            return None
        try:
            return future.result()
        except BrokenExecutor:
            raise
        except CancelledError:
            raise self._lost(f"{lanes.name} was lost") from None
        except Exception as error:  # none of the stream's: those come with a part
            raise self._lost(f"{lanes.name} failed: {error}") from error

    def _lost(self, what: str) -> RuntimeError:
        return RuntimeError(f"{what}. What had come until then is kept, {self._count} values; the rest is lost.")


class Pool:
    """As many jobs at work as there are lanes; the others wait, first come, first served.

    Parameters
    ----------
    lanes
        What computes.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._lock = Lock()
        self._line: list[Job] = []
        self._working = 0

    def submit(self, stream: Stream) -> Job:
        """Put a stream in line; return at once."""
        job = Job(stream, self)
        with self._lock:
            self._line.append(job)
        self.fill()
        return job

    def run(self, stream: Stream) -> Job:
        """Compute a stream out of line, here and now; return when it is done."""
        job = Job(stream, self)
        job.run(self._lanes)
        return job

    def prepare(self, stream: Stream) -> None:
        """Have lanes load what a stream needs, by running it to its end for nothing; return at once."""
        Thread(target=self._lanes.prepare, args=(load, stream), daemon=True, name="wonderland-prepare").start()

    def place(self, job: Job) -> int:
        """A job's place in line, the next one's being 1; 0 if it does not wait."""
        with self._lock:
            return self._line.index(job) + 1 if job in self._line else 0

    def leave(self, job: Job) -> bool:
        """Take a job out of the line; return whether it was there."""
        with self._lock:
            waited = job in self._line
            if waited:
                self._line.remove(job)
        return waited

    def fill(self) -> None:
        """Begin the next jobs in line, as far as there are lanes."""
        with self._lock:
            while self._line and self._working < self._lanes.width:
                self._working += 1
                # It waits for a process or a cluster most of the time, and ends with the program.
                Thread(target=self._work, args=(self._line.pop(0),), daemon=True, name="wonderland-job").start()

    def _work(self, job: Job) -> None:
        job.run(self._lanes)
        with self._lock:
            self._working -= 1
        self.fill()


def advance(key: str, stream: Stream, start: int) -> Part:
    """Give the next values of a stream, as soon as there is one; all but the first wait for a few more.

    Parameters
    ----------
    key
        Whose stream it is.
    stream
        Makes it, should it not be open in this process.
    start
        How many of its values have come.
    """
    opened = _open.pop(key, None)
    if opened is None or opened.taken != start:
        opened = _Opened(stream, start)
    _open[key] = opened
    while len(_open) > OPEN:
        _open.popitem(last=False)[1].close()  # whoever asks for it again has it computed anew
    part = opened.take(PART if start else 0)
    if part.over:
        forget(key)
    return part


def forget(key: str) -> None:
    """End a stream that nobody waits for any more."""
    if opened := _open.pop(key, None):
        opened.close()


def load(stream: Stream) -> None:
    """Run a stream for nothing but what is loaded on the way, after the one that is being loaded; return at once.

    Of several that would wait for that, only the latest is run.
    """
    _wanted[:] = [stream]
    Thread(target=_load_wanted, daemon=True, name="wonderland-load").start()


def _load_wanted() -> None:
    with _loading:
        if _wanted:
            _Opened(_wanted.pop(), 0).join()


class _Opened:
    """A stream that computes in a thread of its own, and what nobody has taken yet."""

    def __init__(self, stream: Stream, skipped: int) -> None:
        self.taken = skipped
        self._made: SimpleQueue[Part] = SimpleQueue()
        self._until = math.inf
        self._thread = Thread(target=self._compute, args=(stream, skipped), daemon=True, name="wonderland-stream")
        self._thread.start()

    def take(self, seconds: float) -> Part:
        """Wait for a value, and so long for more; give none where none has come within a second."""
        self._until = math.inf
        parts = [Part([], False)]
        with suppress(Empty):
            parts.append(self._made.get(timeout=SILENCE))
            end = time.monotonic() + seconds
            while not parts[-1].over:
                parts.append(self._made.get(timeout=max(0, end - time.monotonic())))
        values = [value for part in parts for value in part.values]
        self.taken += len(values)
        self._until = time.monotonic() + ABANDONED
        return parts[-1]._replace(values=values)

    def close(self) -> None:
        """End it before its next value."""
        self._until = -math.inf

    def join(self, seconds: float | None = None) -> None:
        """Wait until it has ended."""
        self._thread.join(seconds)

    def _compute(self, stream: Stream, skipped: int) -> None:
        try:
            with one_core():
                for value in islice(stream(), skipped, None):
                    if time.monotonic() > self._until:
                        return
                    self._made.put(Part([value], False))
            self._made.put(Part([], True))
        except Exception as error:  # it goes to whoever takes the values
            self._made.put(Part([], True, error))


def _close_all() -> None:
    """End what computes before torch is taken down beneath it."""
    still = tuple(_open.values())  # which other threads go on changing
    for opened in still:
        opened.close()
    for opened in still:
        opened.join(PATIENCE)


_open: OrderedDict[str, _Opened] = OrderedDict()
_wanted: list[Stream] = []
_loading = Lock()
if multiprocessing.parent_process() is None:  # those beside a page end as ``lanes`` has it
    atexit.register(_close_all)
