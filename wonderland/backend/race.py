"""The race: a network that knows the upright digits learns a second task, and forgets.

Everything a picture of it needs comes as one stream of :class:`RacePoint`. A new method is one entry of
``METHODS``.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from wonderland.backend.digits import TASKS, Digits, load_digits
from wonderland.backend.network import (
    LAYERS,
    MAX_SEED,
    accuracy,
    accuracy_at_rank,
    batch,
    layer_weights,
    linear_layers,
    pretrain,
    tensors,
    weight,
)
from wonderland.backend.osft import check_keep, constrain, kept_rank
from wonderland.maths._check import choice, integer, number, shown
from wonderland.maths.subspace import leak, split

__all__ = [
    "METHODS", "RACE_TASKS", "TASKS", "Digits", "Method", "RacePoint", "RaceSettings",
    "accuracy_at_rank", "layer_weights", "load_digits", "pretrain", "race",
]  # fmt: skip

MAX_STEPS = 10_000
MAX_SEEDS = 64
LEARNING_RATES = (1e-12, 1e12)
# A loss this high (nats) comes of weights that have run away; the worst network that still learns stays far below.
DIVERGED = 1e6
RACE_TASKS = tuple(task for task in TASKS if task != "upright")


@dataclass(frozen=True)
class Method:
    """A way to learn the second task.

    Parameters
    ----------
    prepare
        Takes the pretrained network and ``keep``, and leaves trainable what the method trains.
    lr
        Learning rate of Adam it does well with.
    """

    prepare: Callable[[nn.Module, float], object]
    lr: float


# Rates tried on the rotated digits, five seeds, judged by the same test images that the race shows: full 1e-4,
# 3e-4, 1e-3, 3e-3; osft 1e-3, 1.5e-3, 2e-3, 3e-3. Of those that learn task B to 90%, the one that keeps most of A.
METHODS = {
    "full": Method(lambda model, keep: model.requires_grad_(True), lr=1e-3),
    "osft": Method(constrain, lr=1.5e-3),
}


@dataclass(frozen=True)
class RaceSettings:
    """Who races, over what, and how long.

    Parameters
    ----------
    task
        Task B, one of ``RACE_TASKS``; task A is the upright digits.
    methods
        Names in ``METHODS``, each once.
    seeds
        One race for each: its network, and its order of images; 1 to 64 of them, 0 to 2³² − 1.
    steps
        Training steps, 1 to 10,000, of 64 images each. Every method of a seed sees the same images.
    keep
        Fraction of each weight's singular directions that is protected, strictly between 0 and 1. The leak
        is measured in these directions for every method, protecting or not.
    every
        Steps from one point of a curve to the next.
    lr
        Learning rate of Adam by method, 1e-12 to 1e12, where it shall differ from the one in ``METHODS``.

    Raises
    ------
    TypeError, ValueError
        If a setting is of the wrong type, unknown, or outside its range.
    """

    task: str = "rotated"
    methods: tuple[str, ...] = ("full", "osft")
    seeds: tuple[int, ...] = (0,)
    steps: int = 300
    keep: float = 0.5
    every: int = 10
    lr: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        choice(self.task, "task", RACE_TASKS)
        for method in _distinct(self.methods, "methods", len(METHODS)):
            choice(method, "method", tuple(METHODS))
        for seed in _distinct(self.seeds, "seeds", MAX_SEEDS):
            integer(seed, "seed", 0, MAX_SEED, "the seed of a race")
        integer(self.steps, "steps", 1, MAX_STEPS, "the number of training steps")
        check_keep(self.keep)
        integer(self.every, "every", 1, MAX_STEPS, "the number of steps from point to point")
        if not isinstance(self.lr, Mapping):
            raise TypeError(f"lr = {shown(self.lr)} is not a table: give rates by method, {{'full': 0.001}}.")
        for method, rate in self.lr.items():
            choice(method, "method", tuple(METHODS))
            number(rate, f"lr[{method!r}]", *LEARNING_RATES, "a learning rate is a positive number")

    def rate(self, method: str) -> float:
        """Learning rate of Adam that a method races with."""
        return self.lr.get(method, METHODS[method].lr)


@dataclass(frozen=True)
class RacePoint:
    """Where one method stands after so many steps.

    Parameters
    ----------
    method, seed, step
        Whose point it is; step 0 is the pretrained network.
    accuracy_a, accuracy_b
        On the test images of the old and the new task, 0 to 1.
    loss
        Mean cross-entropy on the test images of the new task, in nats.
    leak
        ‖ΔW V_h‖ (Frobenius) over all layers: change of the outputs for protected inputs.
    moved
        ‖ΔW‖ (Frobenius) over all layers, biases not counted.
    diverged
        True for the last point of a curve whose loss is NaN or above 10⁶ nats; all its measures are NaN.
    """

    method: str
    seed: int
    step: int
    accuracy_a: float
    accuracy_b: float
    loss: float
    leak: float
    moved: float
    diverged: bool = False


def race(settings: RaceSettings | None = None) -> Iterator[RacePoint]:
    """Run the race, giving each point as soon as it is reached.

    The methods take turns, so that their curves grow together; seeds follow one another. Dropping the
    iterator ends the race. The same settings give the same points.

    Yields
    ------
    RacePoint
        For every seed and method: one at step 0, one every ``every`` steps, one at the end.
    """
    settings = settings or RaceSettings()
    images, labels = tensors(settings.task)[:2]
    for seed in settings.seeds:
        generator = torch.Generator().manual_seed(seed)
        runners = [_Runner(method, seed, settings) for method in settings.methods]
        yield from (runner.point(0) for runner in runners)
        for step in range(1, settings.steps + 1):
            x, y = batch(images, labels, generator)
            due = step % settings.every == 0 or step == settings.steps
            for runner in runners:
                runner.train(x, y)
                if due or runner.diverged:
                    yield runner.point(step)
            runners = [runner for runner in runners if not runner.diverged]


class _Runner:
    """One method, learning."""

    def __init__(self, method: str, seed: int, settings: RaceSettings):
        self.method, self.seed, self.task = method, seed, settings.task
        self.diverged = False
        self.model = pretrain(seed)
        self._start = {name: weight(layer).copy() for name, layer in linear_layers(self.model).items()}
        self._splits = {name: split(W, kept_rank(*W.shape, settings.keep)) for name, W in self._start.items()}
        METHODS[method].prepare(self.model, settings.keep)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.Adam(trained, lr=settings.rate(method))

    def train(self, x: torch.Tensor, y: torch.Tensor) -> None:
        loss = nn.functional.cross_entropy(self.model(x), y)
        if not loss.item() < DIVERGED:  # NaN is not below it either
            self.diverged = True
            return
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def point(self, step: int) -> RacePoint:
        with torch.no_grad():
            (*_, a_x, a_y), (*_, b_x, b_y) = tensors("upright"), tensors(self.task)
            scores = self.model(b_x)
            loss = nn.functional.cross_entropy(scores, b_y).item()
            self.diverged |= not loss < DIVERGED
            if self.diverged:
                nothing = dict.fromkeys(("accuracy_a", "accuracy_b", "loss", "leak", "moved"), math.nan)
                return RacePoint(self.method, self.seed, step, **nothing, diverged=True)
            now = {name: weight(layer) for name, layer in linear_layers(self.model).items()}
            return RacePoint(
                self.method,
                self.seed,
                step,
                accuracy_a=accuracy(self.model(a_x), a_y),
                accuracy_b=accuracy(scores, b_y),
                loss=loss,
                leak=math.hypot(*(leak(now[name], self._splits[name]).right for name in LAYERS)),
                moved=math.hypot(*(float(np.linalg.norm(now[name] - self._start[name])) for name in LAYERS)),
            )


def _distinct(values: object, name: str, most: int) -> tuple:
    if not isinstance(values, tuple):
        raise TypeError(f"{name} = {shown(values)} is not a tuple: give ({shown(values)},) for one alone.")
    integer(len(values), f"len({name})", 1, most, "each is raced once")
    if len(set(values)) < len(values):
        raise ValueError(f"{name} = {shown(values)} holds one of them twice: name each once.")
    return values
