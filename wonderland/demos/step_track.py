"""A run of one layer as far as it has come, for a counter that is turned on and back."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from wonderland.maths import subspace

if TYPE_CHECKING:
    from wonderland.backend.step import StepRecord, StepSettings

BUDGET = 4_000_000
"""Bytes of memory for what the steps saw; beyond it, turning back means running anew."""
NEEDLES = ("joint", "right", "left", "triplet")


class Track:
    """A deterministic `LayerRun` and the records of its steps.

    Parameters
    ----------
    settings
        What to train, and how to protect it.

    Attributes
    ----------
    held
        The weight at the start, cut after its protected directions.
    losses
        Mean squared error after 0, 1, 2, … steps.
    leaks
        The four measures of the leak after as many steps, by name.
    problem
        Why the run cannot go on, in words.
    """

    def __init__(self, settings: "StepSettings") -> None:
        from wonderland.backend.step import LayerRun

        self.settings = settings
        self._run = run = LayerRun(settings)
        self.start = W = run.layer.weight.detach().numpy().copy()
        x, y = run.inputs.numpy(), run.targets.numpy()
        self.losses = [float(np.mean((x @ W.T - y) ** 2))]
        self.leaks: dict[str, list[float]] = {name: [] for name in NEEDLES}
        self.held = subspace.split(W, settings.k)
        at_rest = subspace.leak(W, self.held)
        self._note(replace(at_rest, joint=0.0, right=0.0, left=0.0))  # nothing has been added: not even rounding
        self.problem = ""
        self._records: list[StepRecord | None] = []
        self._room = max(BUDGET // (4 * W.nbytes), 1)

    @property
    def taken(self) -> int:
        """Steps taken so far."""
        return len(self._records)

    def stream(self, steps: int) -> Iterator["StepRecord"]:
        """Take so many steps, one for each record asked for; `add` them in their order."""
        return (self._run.step() for _ in range(steps))

    def add(self, record: "StepRecord") -> None:
        """Note what a step did."""
        if self.taken > self._room:
            self._records[-1] = None
        self._records.append(record)
        self.losses.append(record.loss_after)
        self._note(record.leak)

    def record(self, step: int) -> "StepRecord | None":
        """What a step from 1 on saw and did, if it is still remembered."""
        return self._records[step - 1] if 1 <= step <= self.taken else None

    def remembers(self, step: int) -> bool:
        """Whether the run can be shown as it was after so many steps, or is still before them."""
        return step == 0 or step > self.taken or self.record(step) is not None

    def _note(self, leak: subspace.Leak) -> None:
        for name, values in self.leaks.items():
            values.append(getattr(leak, name))
