"""The race: networks that know one task learn others, and forget.

Everything a picture of it needs comes as one stream of :class:`RacePoint`.
"""

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import pairwise

import torch

from wonderland.backend.digits import Digits, load_digits
from wonderland.backend.measuring import Exam, Ruler
from wonderland.backend.method import Method, Past
from wonderland.backend.methods import METHODS
from wonderland.backend.network import (
    LAYERS,
    Lesson,
    accuracy_at_rank,
    layer_weights,
    lesson,
    pretrain,
    pretrained,
    untrained,
)
from wonderland.backend.osft import kept_rank
from wonderland.backend.points import RacePoint
from wonderland.backend.settings import Entrant, RaceSettings, from_table
from wonderland.backend.stack import Batch, losses
from wonderland.backend.tasks import TASKS
from wonderland.backend.turns import Turn, at_once, in_turn, turns
from wonderland.maths._check import integer

__all__ = [
    "METHODS", "TASKS", "Digits", "Entrant", "Method", "RacePoint", "RaceSettings",
    "accuracy_at_rank", "from_table", "layer_weights", "load_digits", "pretrain", "race",
]  # fmt: skip

# A loss this high (nats) comes of weights that have run away; the worst network that still learns stays far below.
DIVERGED = 1e6
MOMENTUM = 0.9
MAX_WORKERS = 64


def race(settings: RaceSettings | None = None, workers: int = 1) -> Iterator[RacePoint]:
    """Run the race, giving each point as soon as it is reached.

    The methods take turns, so that their curves grow together; the seeds of a method are trained as one
    batch. Dropping the iterator ends the race. The same settings give the same points.

    Parameters
    ----------
    settings
        The race; by default the standard one.
    workers
        How many methods may train at once, 1 to 64, each in a thread of its own that computes on one core. The
        points are the same.

    Yields
    ------
    RacePoint
        For every method and seed: one before anything is learned; then for each task after the first one at
        step 0, one every ``every`` steps, one at the end.

    Raises
    ------
    TypeError, ValueError
        If ``workers`` is no whole number in its range.
    """
    integer(workers, "workers", 1, MAX_WORKERS, "the number of threads")
    # A function of its own, so that a bad argument is refused by the call and not by the first next().
    return _raced(settings or RaceSettings(), workers)


def _raced(settings: RaceSettings, workers: int) -> Iterator[RacePoint]:
    lessons = [lesson(name, settings.scenario, settings.judged_on) for name in settings.tasks]
    exam = Exam(lessons)
    yield from _before(settings, exam)
    generators = [torch.Generator().manual_seed(seed) for seed in settings.seeds]
    start = pretrained(lessons[0], settings.seeds)
    with at_once(workers) as pool:
        side_by_side = pool.map if pool else map
        past = Past(untrained(settings.seeds), settings.seeds).after(start, lessons[0])
        runners = [_Runner(entrant, past, exam, settings) for entrant in settings.methods]
        for task, (known, learned) in enumerate(pairwise(lessons), 1):
            if task > 1:
                list(side_by_side(partial(_Runner.end, learned=known), runners))
            for points in side_by_side(partial(_Runner.begin, task=task), runners):
                yield from points
            for points in in_turn(pool, runners, turns(learned, generators, settings.steps, settings.every)):
                yield from points


class _Runner:
    """One method, learning with all its seeds at once."""

    def __init__(self, entrant: Entrant, past: Past, exam: Exam, settings: RaceSettings):
        self._entrant, self._past, self._exam, self._settings = entrant, past, exam, settings
        self.seconds = 0.0  # that its last turn took

    def begin(self, task: int) -> list[RacePoint]:
        """Prepare a task; give the points before its first step."""
        keep = self._settings.keep
        self._task = task
        self._running = [True] * len(self._past.seeds)
        # Where the others' seats are among all the seeds, should a network have diverged in a task before.
        self._seats = [self._settings.seeds.index(seed) for seed in self._past.seeds]
        if not self._seats:
            return []
        self._ruler = Ruler(self._past, [kept_rank(*W.shape[1:], keep) for W in self._past.stack.weights])
        entrant = self._entrant
        self._method = METHODS[entrant.method](
            self._past, entrant.settings, keep if entrant.keep is None else entrant.keep
        )
        self._optimizer = _optimizer(self._method.trained, self._settings, self._settings.rate(entrant))
        return self.points(0)

    def turn(self, turn: Turn, before: Future | None = None) -> list[RacePoint]:
        """Take a turn, after the one before it; give the points reached."""
        if before:
            before.result()
        begun = time.thread_time()
        points = self.train(turn.batches, turn.step)
        if turn.step + len(turn.batches) == turn.due:
            points += self.points(turn.due)
        self.seconds = time.thread_time() - begun
        return points

    def train(self, batches: Sequence[Batch], step: int) -> list[RacePoint]:
        """Take a step for each batch; give the points of networks that diverge."""
        points: list[RacePoint] = []
        if not any(self._running) or self._optimizer is None:
            return points
        for taken, batch in enumerate(batches, 1):
            if len(self._seats) < len(batch.y):
                batch = Batch(batch.x[self._seats], batch.y[self._seats], batch.closed)
            loss = losses(self._method.stack(), self._method.batch(batch))
            points += self._lost(loss, step + taken)
            penalty = self._method.penalty()
            self._optimizer.zero_grad()
            # Each network's gradient is its own: the sum hands every one of them the factor 1.
            (loss if penalty is None else loss + penalty).sum().backward()
            self._method.before_step()
            self._optimizer.step()
            self._method.after_step()
        return points

    @torch.no_grad()
    def points(self, step: int) -> list[RacePoint]:
        if not any(self._running):
            return []
        stack = self._method.stack()
        taken = self._exam.taken(stack, self._task)
        made = self._lost(taken[1], step)
        if any(self._running):
            measures = self._ruler.against(self._method.exact().weights)
            points = _points(self._entrant.name, self._past.seeds, self._task, step, taken, measures)
            made += [point for point, running in zip(points, self._running, strict=True) if running]
        return made

    def end(self, learned: Lesson) -> None:
        """Take the networks that have not diverged on to the next task."""
        seats = [seat for seat, running in enumerate(self._running) if running]
        if seats:
            self._past = self._past.chosen(seats).after(self._method.exact().chosen(seats), learned)
        else:
            self._past = Past(self._past.stack, ())

    def _lost(self, loss: torch.Tensor, step: int) -> list[RacePoint]:
        """Mark the networks whose loss is beyond all bounds; give their last points."""
        lost = [
            seat
            for seat, value in enumerate(loss.tolist())
            if self._running[seat] and not value < DIVERGED  # NaN is not below it either
        ]
        for seat in lost:
            self._running[seat] = False
        return [self._last(self._past.seeds[seat], step) for seat in lost]

    def _last(self, seed: int, step: int) -> RacePoint:
        none = (math.nan,) * len(LAYERS)
        return RacePoint(
            self._entrant.name,
            seed,
            self._task,
            step,
            accuracy=(math.nan,) * len(self._settings.tasks),
            loss=math.nan,
            leak=none,
            drift=none,
            shift=none,
            energy=none,
            diverged=True,
        )


def _optimizer(trained: Sequence[torch.Tensor], settings: RaceSettings, lr: float) -> torch.optim.Optimizer | None:
    """The optimizer of the settings, for what a method trains; None if that is nothing.

    All three work entry by entry: what happens in one network of a stack stays there.
    """
    if not trained:
        return None
    shared = {"lr": lr, "weight_decay": settings.weight_decay, "fused": True}
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(trained, **shared)
    return torch.optim.SGD(trained, momentum=MOMENTUM if settings.optimizer == "momentum" else 0, **shared)


def _before(settings: RaceSettings, exam: Exam) -> Iterator[RacePoint]:
    """The points of networks that have learned nothing: what forward transfer is counted from."""
    taken = exam.taken(untrained(settings.seeds), 0)
    still = torch.zeros(len(settings.seeds), len(LAYERS))
    measures = {"leak": still, "drift": still, "shift": still, "energy": still + 1}
    for entrant in settings.methods:
        yield from _points(entrant.name, settings.seeds, 0, 0, taken, measures)


def _points(
    method: str,
    seeds: Sequence[int],
    task: int,
    step: int,
    taken: tuple[torch.Tensor, torch.Tensor],
    measures: dict[str, torch.Tensor],
) -> list[RacePoint]:
    accuracy, loss = (part.tolist() for part in taken)
    columns = {name: [tuple(row) for row in values.tolist()] for name, values in measures.items()}
    return [
        RacePoint(
            method,
            seed,
            task,
            step,
            accuracy=tuple(accuracy[seat]),
            loss=loss[seat],
            **{name: rows[seat] for name, rows in columns.items()},
        )
        for seat, seed in enumerate(seeds)
    ]
