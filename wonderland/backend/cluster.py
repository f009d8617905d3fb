"""A Dask cluster as what computes the jobs of a pool: ``WONDERLAND_SCHEDULER=tcp://…`` names its scheduler."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from threading import Lock, Thread
from typing import TYPE_CHECKING

from wonderland import __version__

if TYPE_CHECKING:
    from distributed import Client

VARIABLE = "WONDERLAND_SCHEDULER"
"""The variable of the environment that names a scheduler."""
CONNECT = 5.0
"""Seconds that a scheduler has to answer, and then until it is asked again."""
NEVER_INSTALLED = "0.0.0"
"""Version of a checkout, as ``wonderland`` has it."""
PATIENCE = 30.0
"""Seconds that a job waits for a cluster that has lost its last worker."""


class Cluster:
    """The workers of a Dask cluster, one job for each at a time.

    Each must have this package installed, in this version, and is asked for it before its first job. A job keeps to
    one worker; when that one ends, the scheduler gives what it was computing to another.

    Parameters
    ----------
    address
        Of the scheduler, ``tcp://host:8786`` say.
    """

    def __init__(self, address: str) -> None:
        self.name = f"The cluster at {address}"
        self.width = 1  # until there is a connection, which the first job makes
        self._address = address
        self._lock = Lock()
        self._client: Client | None = None
        self._refused: tuple[float, str] = (-CONNECT, "")
        self._jobs: Counter[str] = Counter()
        self._same: set[str] = set()
        self._empty_since: float | None = None

    @contextmanager
    def lane(self) -> Iterator[Executor]:
        """Lend the worker that has fewest jobs.

        Raises
        ------
        ConnectionError
            If there is no cluster, or none with a worker.
        """
        lane = _Lane(self)
        try:
            yield lane
        finally:
            lane.leave()

    def check(self) -> None:
        """Raise a ConnectionError where there has been no worker for half a minute."""
        if self.workers():
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = time.monotonic()
        elif time.monotonic() > self._empty_since + PATIENCE:
            raise ConnectionError(f"{self.name} has lost all its workers: start one there, then run it again.")

    def prepare(self, function: Callable, *values: object) -> None:
        """Have each worker call the function; without a cluster, the first job will say so."""
        try:
            executor = self.connected().get_executor(pure=False)
            for worker in self.workers():
                executor.submit(function, *values, workers=[worker])
        except ConnectionError:
            return

    def connected(self) -> Client:
        """The connection to the scheduler, made when it is first asked for, and anew when it is lost.

        Raises
        ------
        ConnectionError
            If there is no scheduler at the address.
        """
        with self._lock:
            if self._client is None or self._client.status in ("closed", "closing"):
                since, problem = self._refused
                if time.monotonic() > since + CONNECT:
                    try:
                        self._client = self._connect()
                    except ConnectionError as error:
                        self._refused = time.monotonic(), str(error)
                        raise
                else:
                    raise ConnectionError(problem)
            return self._client

    def workers(self) -> list[str]:
        """Addresses of the workers that are there now; the width follows their number."""
        client = self.connected()
        try:
            found = sorted(client.nthreads())
        except (OSError, TimeoutError, ValueError) as error:
            raise ConnectionError(f"{self.name} was lost: {error}.") from error
        self.width = max(1, len(found))
        return found

    def take(self, worker: str = "") -> str:
        """Count one job more for a worker: this one if it is still there, else the one that has fewest."""
        found = self.workers()
        if not found:
            raise ConnectionError(f"{self.name} has no workers: start one there, with `dask worker {self._address}`.")
        with self._lock:
            chosen = worker if worker in found else min(found, key=lambda each: self._jobs[each])
            self._jobs[chosen] += 1
        try:
            self._check_version(chosen)
        except ConnectionError:
            self.leave(chosen)
            raise
        return chosen

    def leave(self, worker: str) -> None:
        """Count one job less for a worker."""
        with self._lock:
            self._jobs[worker] -= 1

    def _check_version(self, worker: str) -> None:
        """Raise a ConnectionError if a worker has another version of this package, or none."""
        if worker in self._same:
            return
        # A function of Python's own: one of this package might not be there.
        theirs = self.connected().run(version, "wonderland", workers=[worker], on_error="return").get(worker)
        if isinstance(theirs, PackageNotFoundError):
            theirs = NEVER_INSTALLED
        if not isinstance(theirs, str):
            return  # the worker has ended meanwhile, which the job will hear of
        if theirs != __version__:
            raise ConnectionError(
                f"{self.name} has a worker, {worker}, with wonderland {theirs} where {__version__} is here: "
                "install the same there, and start it again."
            )
        self._same.add(worker)

    def _connect(self) -> Client:
        try:
            from distributed import Client
        except ModuleNotFoundError as error:
            raise ConnectionError(
                f"{VARIABLE} = {self._address} needs the package distributed: pip install 'wonderland[cluster]'."
            ) from error
        answer: Future = Future()

        def ask() -> None:
            try:
                answer.set_result(Client(self._address, timeout=CONNECT, set_as_default=False))
            except Exception as error:  # whoever waits gets it
                answer.set_exception(error)

        # In a thread of its own: to what takes a connection and is no scheduler, a Client listens for ever.
        Thread(target=ask, daemon=True).start()
        try:
            return answer.result(2 * CONNECT)
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            raise ConnectionError(
                f"{VARIABLE} = {self._address} cannot be reached: start `dask scheduler` there, or correct "
                f"the address, such as tcp://127.0.0.1:8786 ({str(error) or 'it does not answer as a scheduler'})."
            ) from error


class _Lane(Executor):
    """One worker, as far as it is there."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._worker = ""
        self._executor = cluster.connected().get_executor(pure=False, allow_other_workers=True)
        cluster.workers()  # so that the pool learns how many lanes there are

    def submit(self, function: Callable, /, *values: object) -> Future:
        """Send a call to the worker that has answered so far, or to another one when it is gone."""
        worker = self._cluster.take(self._worker)
        self.leave()
        self._worker = worker
        return self._executor.submit(function, *values, workers=[worker])

    def leave(self) -> None:
        if self._worker:
            self._cluster.leave(self._worker)
            self._worker = ""
