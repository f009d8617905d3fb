"""What is measured of a stack of networks: accuracy on every task, and how far their weights have gone where."""

from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy

from wonderland.backend.method import Past
from wonderland.backend.network import Lesson
from wonderland.backend.stack import Stack, scores

# Squared distance below which 2 − 2cos has lost half its digits to cancellation.
NEAR = 1e-4
# Images judged at once.
PART = 256


class Exam:
    """The images that all tasks of a course are judged by.

    Parameters
    ----------
    lessons
        The tasks of the course.
    """

    def __init__(self, lessons: Sequence[Lesson]):
        self._x = torch.cat([lesson.judge_x for lesson in lessons])
        self._y = torch.cat([lesson.judge_y for lesson in lessons])
        self._sizes = [len(lesson.judge_y) for lesson in lessons]
        self._closed = None
        if any(lesson.closed is not None for lesson in lessons):
            rows = [self._x.new_zeros(1, 10) if lesson.closed is None else lesson.closed for lesson in lessons]
            self._closed = torch.cat(rows).repeat_interleave(torch.tensor(self._sizes), dim=0).T

    def taken(self, stack: Stack, task: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Accuracy of the S networks on each of the T tasks, S×T, 0 to 1; and mean cross-entropy on one task, S."""
        # In parts that a core's own cache holds.
        made = torch.cat([scores(stack, x) for x in self._x.split(PART)], dim=2)
        made = made if self._closed is None else made + self._closed
        right = (made.max(dim=1).indices == self._y).double()
        accuracy = torch.stack([part.mean(dim=1) for part in right.split(self._sizes, dim=1)], dim=1)
        own, labels = made.split(self._sizes, dim=2)[task], self._y.split(self._sizes)[task]
        return accuracy, cross_entropy(own, labels.expand(len(own), -1), reduction="none").mean(dim=1)


class Ruler:
    """Measures weights against those at the start of a task.

    Parameters
    ----------
    past
        The networks at the start, and the tasks before it.
    ranks
        How many singular directions of each weight count as protected.
    """

    def __init__(self, past: Past, ranks: Sequence[int]):
        self._start = past.stack.weights
        self._V_h = [factors.V[..., :k] for factors, k in zip(past.factors, ranks, strict=True)]
        self._moments = past.moments
        self._energy = [energy(W) for W in self._start]

    def against(self, weights: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Leak, drift, shift and energy of each layer, S×layers each; see ``race.RacePoint``."""
        change = [W - old for W, old in zip(weights, self._start, strict=True)]
        felt = [((dW @ M) * dW).sum(dim=(1, 2)) for dW, M in zip(change, self._moments, strict=True)]
        rows = {
            "leak": [(dW @ V_h).norm(dim=(1, 2)) for dW, V_h in zip(change, self._V_h, strict=True)],
            "drift": [dW.norm(dim=(1, 2)) for dW in change],
            "shift": [square.clamp(min=0).sqrt() for square in felt],  # rounding may take zero below it
            "energy": [energy(W) / before for W, before in zip(weights, self._energy, strict=True)],
        }
        return {name: torch.stack(row, dim=1) for name, row in rows.items()}


def energy(W: torch.Tensor) -> torch.Tensor:
    """Hyperspherical energy Σ_{i≠j} ‖ŵ_i − ŵ_j‖⁻¹ of the rows of each of S weights m×n (arXiv 1805.09298, s = 1).

    As :func:`wonderland.maths.energy.hyperspherical_energy`, for many weights at once.
    """
    unit = W / W.norm(dim=2, keepdim=True)
    squared = torch.baddbmm(unit.new_full((1, 1, 1), 2.0), unit, unit.mT, alpha=-2)
    squared.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    if (squared.amin(dim=(1, 2)) < NEAR).any():
        squared = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist").square()
        squared.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    return squared.rsqrt_().sum(dim=(1, 2))
