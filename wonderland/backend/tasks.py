"""What can be learned from the digits: each task is a change of the images, a choice of digits, a rule of labels."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from wonderland.backend.digits import load_digits, transform
from wonderland.maths._check import choice

DIGITS = tuple(range(10))
# One image in five of those to learn from is set aside to choose rates by.
SET_ASIDE = 5


@dataclass(frozen=True)
class Recipe:
    """How a task is made of the upright digits.

    Parameters
    ----------
    transform
        What happens to the images, one of ``digits.TRANSFORMS``.
    digits
        Which digits are shown.
    shift
        How far each label is moved on, modulo 10.
    """

    transform: str = "upright"
    digits: tuple[int, ...] = DIGITS
    shift: int = 0


# "contradictory" shows the upright images and calls each digit by the name of the next: who learns it has to
# unlearn "upright", so that the two accuracies can never add up to more than one.
RECIPES = {
    "upright": Recipe(),
    "rotated": Recipe("rotated"),
    "permuted": Recipe("permuted"),
    "mirrored": Recipe("mirrored"),
    "inverted": Recipe("inverted"),
    "low": Recipe(digits=DIGITS[:5]),
    "high": Recipe(digits=DIGITS[5:]),
    "contradictory": Recipe(shift=1),
}
TASKS = tuple(RECIPES)


class Images(NamedTuple):
    """Images as rows, N×64 float64, ink 0 to 1; and their labels, N int64, 0 to 9. Both are read-only."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True, eq=False)
class Task:
    """A task's images, split into three that share none.

    Parameters
    ----------
    name
        One of ``TASKS``.
    train
        Four in five of the images to learn from.
    validation
        The fifth: what rates and capacities are chosen by, never by ``test``.
    test
        What a race is judged by, and nothing else.
    classes
        The labels that occur.
    """

    name: str
    train: Images
    validation: Images
    test: Images
    classes: tuple[int, ...]

    @property
    def learnable(self) -> Images:
        """``train`` and ``validation`` together, in the order of the file: what a race learns from."""
        return _made(self.name)[0]


@cache
def task(name: str) -> Task:
    """Make a task; always the same.

    Raises
    ------
    TypeError, ValueError
        If the name is none of ``TASKS``.
    """
    learnable, test = _made(choice(name, "task", TASKS))
    aside = np.zeros(len(learnable.y), dtype=bool)
    for label in np.unique(learnable.y):
        aside[np.flatnonzero(learnable.y == label)[SET_ASIDE - 1 :: SET_ASIDE]] = True
    return Task(
        name,
        train=_locked(learnable.x[~aside], learnable.y[~aside]),
        validation=_locked(learnable.x[aside], learnable.y[aside]),
        test=test,
        classes=tuple(int(label) for label in np.unique(learnable.y)),
    )


@cache
def _made(name: str) -> tuple[Images, Images]:
    recipe, digits = RECIPES[name], load_digits()
    made = []
    for images, labels in ((digits.train_x, digits.train_y), (digits.test_x, digits.test_y)):
        shown = np.isin(labels, recipe.digits)
        x = transform(recipe.transform, images[shown]).reshape(-1, 64)
        made.append(_locked(x.copy(), (labels[shown] + recipe.shift) % 10))
    return made[0], made[1]


def _locked(x: np.ndarray, y: np.ndarray) -> Images:
    for part in (x, y):
        part.flags.writeable = False
    return Images(x, y)
