"""A race as arrays: the recorded one, or a live one as far as it has come. No torch here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from wonderland.demos.race.entrants import METHODS

POINTS = 15
"""Points of a curve on each task, after its start."""
BY_LAYER = ("leak", "drift", "shift", "energy")
BLOCK, RANK = 32, 16
"""OFT's block and LoRA's rank by default, as in the backend."""


@dataclass(frozen=True)
class Setting:
    """What is raced: see `wonderland.backend.race.RaceSettings`.

    `rates` are the learning rates, by method, that are not the tuned ones.
    """

    tasks: tuple[str, ...] = ("upright", "rotated")
    methods: tuple[str, ...] = ("full", "osft")
    seeds: tuple[int, ...] = (0,)
    steps: int = 300
    keep: float = 0.5
    optimizer: str = "adamw"
    scenario: str = "task"
    rank: int = RANK
    block: int = BLOCK
    rates: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def every(self) -> int:
        """Steps from one point of a curve to the next."""
        return max(1, self.steps // POINTS)

    @property
    def total(self) -> int:
        """Steps of the whole course; its first task has been learned before."""
        return self.steps * (len(self.tasks) - 1)

    def as_table(self) -> dict[str, Any]:
        """The settings as the backend reads them."""
        own = {"lora": {"rank": self.rank}, "oft": {"block": self.block}}
        rates = {method: {"lr": rate} for method, rate in self.rates.items()}
        common = ("steps", "every", "keep", "optimizer", "scenario")
        return {
            "tasks": list(self.tasks),
            "methods": [{"method": each} | own.get(each, {}) | rates.get(each, {}) for each in self.methods],
            "seeds": list(self.seeds),
        } | {name: getattr(self, name) for name in common}

    def covers(self, other: "Setting") -> bool:
        """Whether a race with this setting holds the other's curves."""
        common = ("tasks", "steps", "keep", "optimizer", "scenario")
        return (
            all(getattr(self, name) == getattr(other, name) for name in common)
            and set(other.methods) <= set(self.methods)
            and set(other.seeds) <= set(self.seeds)
            and all(self.rates.get(method) == other.rates.get(method) for method in other.methods)
            and ("lora" not in other.methods or self.rank == other.rank)
            and ("oft" not in other.methods or self.block == other.block)
        )


@dataclass(frozen=True, eq=False)
class Track:
    """One method's way through a race, its S seeds together, at P points.

    Parameters
    ----------
    method, seeds
        Whose it is.
    task, step
        Of each point, P: the task being learned, counted from 0, and the steps taken on it. Task 0 is the network
        before it had learned anything.
    accuracy
        S×P×T, on each task of the course, 0 to 1; NaN where a network has no such point.
    loss
        S×P, on the task being learned, in nats.
    leak, drift, shift, energy
        S×P×L, layer by layer: see `wonderland.backend.race.RacePoint`.
    lost
        By seed the task and step at which its loss was beyond all bounds.
    """

    method: str
    seeds: tuple[int, ...]
    task: np.ndarray
    step: np.ndarray
    accuracy: np.ndarray
    loss: np.ndarray
    leak: np.ndarray
    drift: np.ndarray
    shift: np.ndarray
    energy: np.ndarray
    lost: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    MEASURES = ("accuracy", "loss", *BY_LAYER)

    @classmethod
    def empty(cls, method: str, seeds: tuple[int, ...], tasks: int, layers: int) -> "Track":
        """A track without points yet."""
        none = np.zeros(0, dtype=int)
        held = {name: np.zeros((len(seeds), 0, layers)) for name in BY_LAYER}
        return cls(method, seeds, none, none, np.zeros((len(seeds), 0, tasks)), np.zeros((len(seeds), 0)), **held)

    def extended(self, points: Sequence[Any]) -> "Track":
        """The track with further `RacePoint`s of its method; a diverged one ends its seed's curve."""
        keys = dict.fromkeys(zip(self.task.tolist(), self.step.tolist(), strict=True))
        keys |= dict.fromkeys((point.task, point.step) for point in points if not point.diverged)
        places = {key: place for place, key in enumerate(sorted(keys))}
        before = [places[key] for key in zip(self.task.tolist(), self.step.tolist(), strict=True)]
        grown = {}
        for name in self.MEASURES:
            old = getattr(self, name)
            new = np.full((len(old), len(places), *old.shape[2:]), np.nan)
            new[:, before] = old
            for point in points:
                if not point.diverged:
                    new[self.seeds.index(point.seed), places[point.task, point.step]] = getattr(point, name)
            grown[name] = new
        lost = {point.seed: (point.task, point.step) for point in points if point.diverged}
        task, step = np.array(list(places), dtype=int).reshape(-1, 2).T
        return replace(self, task=task, step=step, lost=self.lost | lost, **grown)

    def chosen(self, seeds: Sequence[int]) -> "Track":
        """The track of some of its seeds."""
        seats = [self.seeds.index(seed) for seed in seeds]
        held = {name: getattr(self, name)[seats] for name in self.MEASURES}
        lost = {seed: at for seed, at in self.lost.items() if seed in seeds}
        return replace(self, seeds=tuple(seeds), lost=lost, **held)

    def upto(self, at: float, steps: int) -> "Track":
        """The track as far as `at` steps along the course, the network before any learning with it."""
        shown = self.along(steps) <= at
        held = {name: getattr(self, name)[:, shown] for name in self.MEASURES}
        lost = {seed: (task, step) for seed, (task, step) in self.lost.items() if (task - 1) * steps + step <= at}
        return replace(self, task=self.task[shown], step=self.step[shown], lost=lost, **held)

    def along(self, steps: int) -> np.ndarray:
        """Steps along the course of each point, P; those before the second task are at 0 or below."""
        return (self.task - 1) * steps + self.step

    @property
    def begun(self) -> np.ndarray:
        """Which points are of a network that has learned the first task, P bool."""
        return self.task > 0

    @cached_property
    def now(self) -> np.ndarray:
        """For each seed its last point with numbers, S indices; −1 for one that has none."""
        there = np.isfinite(self.accuracy[..., 0]) & self.begun
        return np.where(there.any(axis=1), there.shape[1] - 1 - there[:, ::-1].argmax(axis=1), -1)

    def last(self, name: str) -> np.ndarray:
        """A measure at each seed's last point, S or S×…; without seeds that have diverged."""
        values = getattr(self, name)
        seats = [seat for seat, seed in enumerate(self.seeds) if seed not in self.lost and self.now[seat] >= 0]
        return values[seats, self.now[seats]]

    @property
    def forgotten(self) -> np.ndarray:
        """For each seed that has not diverged, points of the first task lost since it was learned."""
        first = self.accuracy[:, self.begun][:, :1, 0]
        kept = [seat for seat, seed in enumerate(self.seeds) if seed not in self.lost and self.now[seat] >= 0]
        return 100 * (first[kept, 0] - self.last("accuracy")[:, 0]) if first.size else np.zeros(0)

    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """The accuracy matrices so far, S×T×T, NaN where not learned, and the accuracies before any learning, S×T."""
        return self._matrices

    @cached_property
    def _matrices(self) -> tuple[np.ndarray, np.ndarray]:
        count = self.accuracy.shape[2]
        R = np.full((len(self.seeds), count, count), np.nan)
        untrained = np.full((len(self.seeds), count), np.nan)
        for place, (task, step) in enumerate(zip(self.task, self.step, strict=True)):
            values = self.accuracy[:, place]
            there = np.isfinite(values[:, 0])
            into = untrained if task == 0 else R[:, task if step else task - 1]
            into[there] = values[there]
        return R, untrained


@dataclass(frozen=True, eq=False)
class Race:
    """The tracks of one setting.

    Parameters
    ----------
    setting
        What is raced.
    tracks
        By method.
    origin
        "recorded" or "live".
    state
        "done", "running", or "cancelled" before the last step.
    source
        Where and when it was recorded, in words.
    """

    setting: Setting
    tracks: Mapping[str, Track] = field(default_factory=dict)
    origin: str = "live"
    state: str = "running"
    source: str = ""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds raced."""
        return self.setting.seeds

    @property
    def share(self) -> float:
        """How much of the race has been run, 0 to 1: of every method's course together."""
        if not self.tracks or not self.setting.total:
            return 0.0
        ran = [max(0, int(track.along(self.setting.steps).max(initial=0))) for track in self.tracks.values()]
        return sum(ran) / (self.setting.total * len(self.setting.methods))

    @property
    def reached(self) -> int:
        """Steps along the course that every method with a network left has taken."""
        ran = [
            int(track.along(self.setting.steps).max(initial=0))
            for track in self.tracks.values()
            if len(track.lost) < len(track.seeds)
        ]
        return min(ran, default=self.setting.total if self.tracks else 0)

    def of(self, method: str) -> Track | None:
        """One method's track, if it has begun."""
        track = self.tracks.get(method)
        return track if track is not None and track.begun.any() else None

    def extended(self, points: Iterable[Any]) -> "Race":
        """The race with further `RacePoint`s."""
        news: dict[str, list[Any]] = {}
        for point in points:
            news.setdefault(point.method, []).append(point)
        tracks = dict(self.tracks)
        for method, own in news.items():
            first = own[0]
            track = tracks.get(method) or Track.empty(method, self.seeds, len(first.accuracy), len(first.leak))
            tracks[method] = track.extended(own)
        return replace(self, tracks=tracks)

    def chosen(self, methods: Sequence[str], seeds: Sequence[int]) -> "Race":
        """The race of some of its methods and seeds alone, or of all where it has none of them."""
        methods = [method for method in METHODS if method in methods and method in self.setting.methods]
        methods = methods or list(self.setting.methods)
        seeds = [seed for seed in seeds if seed in self.seeds] or list(self.seeds)
        tracks = {method: self.tracks[method].chosen(seeds) for method in methods if method in self.tracks}
        return replace(self, setting=replace(self.setting, methods=tuple(methods), seeds=tuple(seeds)), tracks=tracks)

    def upto(self, at: float) -> "Race":
        """The race as it stood `at` steps along the course."""
        tracks = {method: track.upto(at, self.setting.steps) for method, track in self.tracks.items()}
        return replace(self, tracks=tracks)


def center(values: np.ndarray) -> np.ndarray:
    """Mean over seeds, the first axis, of those that have a number; NaN where none has."""
    there = np.isfinite(values)
    count = there.sum(axis=0)
    return np.where(count, np.where(there, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation over seeds, the first axis, n − 1 degrees of freedom; 0 for a single one."""
    there = np.isfinite(values)
    count = there.sum(axis=0)
    squares = np.where(there, values - center(values), 0) ** 2
    return np.sqrt(squares.sum(axis=0) / np.maximum(count - 1, 1))
