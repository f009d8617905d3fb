"""What a method of the race is, and what it may know of the tasks before.

A new method is one subclass of :class:`Method`, entered in ``methods.METHODS`` under a name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch

from wonderland.backend import network
from wonderland.backend.network import Lesson
from wonderland.backend.osft import kept_rank
from wonderland.backend.stack import Batch, Stack, inputs
from wonderland.maths._check import choice, integer, number

# Keeps a method's own draws apart from those of the images, which are the same for every method.
SALT = 1_000_003


@dataclass(frozen=True)
class Option:
    """A setting that a method has beside its learning rate.

    Parameters
    ----------
    default
        An int, a float or a text; what is given must be of the same kind.
    low, high
        Smallest and largest number allowed.
    choices
        The texts allowed.
    doc
        What it is; ends the message on a value outside.
    """

    default: float | str
    low: float = 0
    high: float = 1e6
    choices: tuple[str, ...] = ()
    doc: str = ""

    def checked(self, value: object, name: str) -> float | str:
        """Return the value.

        Raises
        ------
        TypeError, ValueError
            If it is of the wrong type or outside the range.
        """
        if self.choices:
            return choice(value, name, self.choices)
        check = integer if isinstance(self.default, int) else number
        return check(value, name, self.low, self.high, self.doc)


class Factors(NamedTuple):
    """Full singular value decompositions of S weights m×n: U S×m×m, sigma S×min(m, n) descending, V S×n×n."""

    U: torch.Tensor
    sigma: torch.Tensor
    V: torch.Tensor


@dataclass(frozen=True, eq=False)
class Past:
    """What is known when a task begins: the networks as they are, and the tasks they have learned.

    Parameters
    ----------
    stack
        The S networks at the start of the task, float64, not to be written to.
    seeds
        Of the networks, S of them.
    lessons
        The tasks learned so far, oldest first.
    moments
        Of each layer, the mean of x xᵀ over the inputs x that it had from the old tasks, S×n×n; each task
        measured when it had just been learned, each counting the same.
    """

    stack: Stack
    seeds: tuple[int, ...]
    lessons: tuple[Lesson, ...] = ()
    moments: tuple[torch.Tensor, ...] = ()

    @cached_property
    def factors(self) -> tuple[Factors, ...]:
        """The singular value decomposition of each layer's weights."""
        made = (torch.linalg.svd(W) for W in self.stack.weights)
        return tuple(Factors(U, sigma, Vh.mT) for U, sigma, Vh in made)

    def after(self, stack: Stack, lesson: Lesson) -> "Past":
        """The past of the next task: the networks have become ``stack`` by learning ``lesson``."""
        stack = stack.to(torch.float64)
        new = [x @ x.mT / len(lesson.y) for x in inputs(stack, lesson.x.double())]
        count = len(self.lessons)
        if count:
            new = [(count * old + now) / (count + 1) for old, now in zip(self.moments, new, strict=True)]
        return Past(stack, self.seeds, (*self.lessons, lesson), tuple(new))

    def chosen(self, seats: Sequence[int]) -> "Past":
        """The same past for some of the networks."""
        index = torch.tensor(seats)
        moments = tuple(moment[index] for moment in self.moments)
        return Past(self.stack.chosen(seats), tuple(self.seeds[seat] for seat in seats), self.lessons, moments)

    def generators(self) -> list[torch.Generator]:
        """Sources of randomness for a method's own draws, one for each seed; anew for each task."""
        return [torch.Generator().manual_seed(seed * SALT + len(self.lessons)) for seed in self.seeds]


class Method:
    """A way to learn one more task; this one learns nothing.

    One object trains the networks of all seeds through one task. Everything is stacked: the weights W of a
    layer are S×m×n = S×out×in. A subclass says in :meth:`prepare` what is trained, and in :meth:`weights`
    (and :meth:`biases`) what the networks become by it; the rest may be left as it is.

    Parameters
    ----------
    past
        What is known when the task begins.
    settings
        The values of ``options``.
    keep
        Fraction of each weight's directions to protect, strictly between 0 and 1, if the method protects.
    dtype
        What it trains in; float32 by default.

    Attributes
    ----------
    start : Stack
        The networks at the start of the task, in ``dtype``.
    trained : list of torch.Tensor
        What the optimizer moves; each holds the S networks' parts along its first dimension.
    """

    label: ClassVar[str] = "frozen"
    """Its name as a reader sees it."""
    rates: ClassVar[Mapping[str, float]] = {}
    """Learning rates by optimizer, for a method whose rates are not among the tuned ones."""
    options: ClassVar[Mapping[str, Option]] = {}

    def __init__(self, past: Past, settings: Mapping[str, float | str], keep: float, dtype: torch.dtype | None = None):
        self.past = past
        self.start = past.stack.to(dtype or network.DTYPE)
        self.settings = settings
        self.keep = keep
        self.trained: list[torch.Tensor] = []
        self.prepare()

    def prepare(self) -> None:
        """Make what is trained, each by :meth:`train`."""

    def weights(self) -> tuple[torch.Tensor, ...]:
        """The weights that act now, S×m×n each; differentiable in what is trained."""
        return self.start.weights

    def biases(self) -> tuple[torch.Tensor, ...]:
        """The biases that act now, S×m each."""
        return self.start.biases

    def penalty(self) -> torch.Tensor | None:
        """What is added to each network's loss, S; None for nothing."""
        return None

    def batch(self, batch: Batch) -> Batch:
        """The images of a step, S×B×64: those of the task itself, unless others are added."""
        return batch

    def before_step(self) -> None:
        """Change the gradients, if the method does, before the optimizer sees them."""

    def after_step(self) -> None:
        """Change what the optimizer has made, if the method does."""

    def train(self, start: torch.Tensor) -> torch.Tensor:
        """Have a tensor trained, beginning from (a copy of) ``start``, S×…; return it."""
        self.trained.append(start.detach().clone().requires_grad_())
        return self.trained[-1]

    def ranks(self) -> list[int]:
        """How many directions of each layer ``keep`` protects."""
        return [kept_rank(*W.shape[1:], self.keep) for W in self.past.stack.weights]

    def stack(self) -> Stack:
        """The networks as they act now."""
        return Stack(tuple(self.weights()), tuple(self.biases()))

    @torch.no_grad()
    def exact(self) -> Stack:
        """The networks as they act now, put together in float64: what is trained is rounded, what is kept is not."""
        for exact, own in zip(self._twin.trained, self.trained, strict=True):
            exact.copy_(own)
        return self._twin.stack().detached()

    @cached_property
    def _twin(self) -> "Method":
        return type(self)(self.past, self.settings, self.keep, torch.float64)
