"""Who of a race trains when: the methods take turns, in one thread or in several at once."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch

from wonderland.backend.network import Lesson
from wonderland.backend.points import RacePoint
from wonderland.backend.stack import Batch

# Steps that one method takes before the next has its turn, at most: the images of so many are held at once.
TURN = 20


class Turn(NamedTuple):
    """Steps that every method takes in a row: the images of each, how many were taken before, and the next point."""

    batches: Sequence[Batch]
    step: int
    due: int


class Runner(Protocol):
    """What takes turns; ``seconds`` is what the last one took."""

    seconds: float

    def turn(self, turn: Turn, before: Future | None = None) -> list[RacePoint]:
        """Take a turn, once the one before it is over; give the points reached."""


def turns(learned: Lesson, generators: Sequence[torch.Generator], steps: int, every: int) -> Iterator[Turn]:
    """The turns of a task of so many steps, with a point every few: the same images for every method."""
    step = 0
    while step < steps:
        due = min(step - step % every + every, steps)
        yield Turn([learned.batch(generators) for _ in range(min(TURN, due - step))], step, due)
        step = min(step + TURN, due)


def in_turn(pool: Executor | None, runners: Sequence[Runner], turns: Iterable[Turn]) -> Iterator[list[RacePoint]]:
    """Let every method take each turn; give what each has reached, turn by turn in their order."""
    if pool is None:
        for turn in turns:
            yield from (runner.turn(turn) for runner in runners)
        return
    last: dict[Runner, Future] = {}
    under_way: deque[list[Future]] = deque()
    for turn in turns:
        # The longest first, or a thread would have the longest alone at the end.
        for runner in sorted(runners, key=lambda runner: -runner.seconds):
            last[runner] = pool.submit(runner.turn, turn, last.get(runner))
        under_way.append([last[runner] for runner in runners])
        # One turn ahead: a thread that is done with this one does not wait for the slowest.
        if len(under_way) > 1:
            yield from (future.result() for future in under_way.popleft())
    for futures in under_way:
        yield from (future.result() for future in futures)


@contextmanager
def at_once(workers: int) -> Iterator[Executor | None]:
    """Threads that compute on one core each; None for one alone, which is the caller's."""
    if workers == 1:
        yield None
        return
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, "race", torch.set_num_threads, (1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # the workers' choice would be that of every thread to come
