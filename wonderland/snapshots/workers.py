"""Cards made by several processes at once: demos know nothing of one another, and Python computes in one thread."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

import wonderland
from wonderland.snapshots.cards import card
from wonderland.snapshots.figures import pictures
from wonderland.snapshots.record import Recording, plan, record

MOST = 4
"""Processes at once: one demo takes a fifth of the time of all, so that more would wait for it."""
# Not by multiprocessing, which would run a reader's script once more where it has no `if __name__ == "__main__"`.
# Ctrl-C is the parent's, which ends its workers.
_COMMAND = f"""
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = json.loads(sys.argv[1])
from {__name__} import serve
serve()
"""
_STATE = "."


def recorded(recording: Recording, on_state: Callable[[], object]) -> str:
    """Walk a demo and make its card."""
    record(recording, on_state)
    return card(recording, pictures(recording))


def recorded_aside(names: Iterable[str], on_state: Callable[[str], object]) -> dict[str, str]:
    """The cards of demos as they are at first, made in processes beside this one.

    Parameters
    ----------
    names
        The demos' classes; those that take longest had better come first.
    on_state
        Called for each state recorded, with the name of its demo, from several threads. If it raises, so does this.

    Raises
    ------
    RuntimeError
        If a process ends before its demos are recorded; it says why on its standard error.
    """
    waiting: SimpleQueue[str] = SimpleQueue()
    for name in (names := list(names)):
        waiting.put(name)
    width = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MOST)
    workers = [_begin() for _ in range(min(width, len(names)))]
    cards: dict[str, str] = {}

    def drive(worker: subprocess.Popen) -> None:
        try:
            while True:
                name = waiting.get_nowait()
                cards[name] = _ask(worker, name, on_state)
        except Empty:
            worker.stdin.close()

    try:
        with ThreadPoolExecutor(len(workers) or 1) as threads:
            driving = [threads.submit(drive, worker) for worker in workers]
            try:
                for one in driving:
                    one.result()
            except BaseException:
                for worker in workers:  # else their threads would go on
                    worker.kill()
                raise
    finally:
        for worker in workers:
            with worker:  # closes its pipes and waits for its end
                pass
    return cards


def serve() -> None:
    """Record the demos that are named on the standard input, a line each, and answer on the standard output."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answers:
        sys.stdout = sys.stderr  # whatever prints does not print between the answers
        for line in sys.stdin:
            recording = plan(getattr(wonderland, line.strip())())
            html = recorded(recording, lambda: print(_STATE, file=answers, flush=True))
            print(json.dumps(html), file=answers, flush=True)


def _begin() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def _ask(worker: subprocess.Popen, name: str, on_state: Callable[[str], object]) -> str:
    """One demo's card from a process."""
    try:
        print(name, file=worker.stdin, flush=True)
        for line in worker.stdout:
            if line != f"{_STATE}\n":
                return json.loads(line)
            on_state(name)
    except BrokenPipeError:
        pass  # it has ended; why, it has said itself
    raise RuntimeError(f"{name} could not be recorded: its process ended with {worker.wait()}.")
