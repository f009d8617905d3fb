"""What a course of tasks leaves behind, in numbers: the accuracy matrix, and what is read off it.

R is T×T: R[i, j] is the accuracy on task j once task i has been learned, 0 to 1. NumPy alone; no torch here.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from wonderland.maths._check import choice, integer, matrix, vector

MEASURES = ("average_accuracy", "backward_transfer", "forward_transfer", "forgetting")


def accuracy_matrix(points: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Read the accuracy matrix off the points of one network.

    Parameters
    ----------
    points
        The :class:`~wonderland.backend.race.RacePoint` of one method and one seed, in any order; a task's row is
        that of its last step so far.

    Returns
    -------
    R : ndarray
        T×T; NaN in the rows of tasks not learned, or lost to a diverged run.
    untrained : ndarray
        Accuracy on each task, T, of the network before it had learned anything; NaN if there is no such point.

    Raises
    ------
    ValueError
        If there is no point, or points of more than one network.
    """
    points = sorted(points, key=lambda point: (point.task, point.step))
    networks = {(point.method, point.seed) for point in points}
    if len(networks) != 1:
        raise ValueError(f"these are points of {len(networks)} networks: give those of one method and one seed.")
    count = len(points[0].accuracy)
    R, untrained = np.full((count, count), np.nan), np.full(count, np.nan)
    for point in points:
        if point.task == 0:
            untrained[:] = point.accuracy
        elif point.step == 0:
            R[point.task - 1] = point.accuracy
        else:
            R[point.task] = point.accuracy
    return R, untrained


def average_accuracy(R: ArrayLike) -> float:
    """Mean accuracy over all tasks after the last, mean of R[T, j] (Lopez-Paz and Ranzato, arXiv 1706.08840, ACC).

    Raises
    ------
    TypeError, ValueError
        If R is no square matrix of two rows or more, of finite numbers.
    """
    return float(_checked(R)[-1].mean())


def backward_transfer(R: ArrayLike) -> float:
    """Mean of R[T, j] − R[j, j] over the tasks before the last: below 0, they are forgotten (arXiv 1706.08840, BWT).

    Raises
    ------
    TypeError, ValueError
        If R is no square matrix of two rows or more, of finite numbers.
    """
    R = _checked(R)
    return float((R[-1] - np.diag(R))[:-1].mean())


def forward_transfer(R: ArrayLike, untrained: ArrayLike) -> float:
    """Mean of R[j − 1, j] − b[j] over the tasks after the first (arXiv 1706.08840, FWT).

    What those before a task have done for it, against b, the accuracy of the network before it had learned
    anything.

    Raises
    ------
    TypeError, ValueError
        If R is no square matrix of two rows or more, or ``untrained`` no row of as many numbers.
    """
    R, b = _checked(R), vector(untrained, "untrained")
    if len(b) != len(R):
        raise ValueError(f"untrained has {len(b)} entries: give one for each of the {len(R)} tasks.")
    return float((np.diag(R, 1) - b[1:]).mean())


def forgetting(R: ArrayLike) -> float:
    """Mean of max_{i<T} R[i, j] − R[T, j] over the tasks before the last (Chaudhry et al., arXiv 1801.10112, F).

    How far each has fallen from the best it had been, from when it was learned on.

    Raises
    ------
    TypeError, ValueError
        If R is no square matrix of two rows or more, of finite numbers.
    """
    R = _checked(R)
    best = [R[j:-1, j].max() for j in range(len(R) - 1)]
    return float((best - R[-1, :-1]).mean())


def cells(measure: str, count: int) -> np.ndarray:
    """Which cells of a T×T accuracy matrix a measure reads, T×T bool.

    Raises
    ------
    TypeError, ValueError
        If the measure is none of ``MEASURES``, or the count no whole number from 2 on.
    """
    choice(measure, "measure", MEASURES)
    count = integer(count, "count", 2, why="a course has two tasks or more")
    i, j = np.indices((count, count))
    last = i == count - 1
    return {
        "average_accuracy": last,
        "backward_transfer": (last | (i == j)) & (j < count - 1),
        "forward_transfer": j == i + 1,
        "forgetting": (i >= j) & (j < count - 1),
    }[measure]


def _checked(R: ArrayLike) -> np.ndarray:
    return matrix(R, "R", square=True, min_rows=2)
