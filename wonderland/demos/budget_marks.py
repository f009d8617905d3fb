"""What chapter 10's second demo found, and its pictures' marks."""

from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np

from wonderland.demos.amounts import percent, size
from wonderland.demos.canvas import Marks
from wonderland.demos.placing import apart
from wonderland.maths.fitting import Choice
from wonderland.maths.holding import Setting
from wonderland.maths.memory import Cost, Run
from wonderland.maths.models import Model
from wonderland.theme import Palette

GIB = 2**30
SHORT = {"osft-peft": "OSFT, peft", "osft-mini": "mini_trainer", "osft-core": "OSFT as C", "full": "full"}
"""Names that find room in a column beside the points."""
SHAPES = {"boft": "square", "psoft": "triangle", "osft-peft": "square", "osft-mini": "triangle"}
"""Points of methods that share a color, other than circles."""
NAMED, RINGS = 0.36, 0.05
"""Of the points' picture: the share of its width for that column, and for the rings at either end."""
MOST, LONG = 5, 1e5
"""Steps from tick to tick; GiB that are written with a power of ten."""
ROOMY = 1000
"""GiB from which a logarithmic axis has room for fewer ticks: their numbers are longer."""
HEIGHT, LINE = 363, 17
"""Pixels of the frame's height, which is the same on every screen, and of a line of names."""


@dataclass(frozen=True)
class Row:
    """One method on the model; `why` says what is wrong where it cannot be built.

    `batch` is the largest that fits at these settings, `choices` every capacity of the method with its cost, and
    `best` the one that trains most of those that fit.
    """

    name: str
    concept: str
    cost: Cost | None = None
    batch: int = 0
    choices: tuple[Choice, ...] = ()
    best: Choice | None = None
    why: str = ""


@dataclass(frozen=True)
class BudgetMeasure:
    """What every method takes on one model, and what fits; `asked` is the length of sequence that was asked for."""

    name: str
    model: Model
    targets: str
    setting: Setting
    run: Run
    budget: int
    rows: dict[str, Row]
    typed: str
    asked: int

    def fits(self, row: Row) -> bool:
        """Whether a method fits as it is set."""
        return row.cost is not None and row.cost.memory.peak <= self.budget


def bar_marks(result: BudgetMeasure, ink: Palette) -> Marks:
    """A bar for every method, what is held all along and what comes and goes; a tick at what there is."""
    rows = [*result.rows.values()]
    y = -1.0 - np.arange(len(rows))
    bars = [(row, place) for row, place in zip(rows, y, strict=True) if row.cost]
    peaks = [row.cost.memory.peak / GIB for row, _ in bars]
    fixed = [row.cost.memory.fixed / GIB for row, _ in bars]
    colors = [getattr(ink, row.concept) for row, _ in bars]
    places = np.array([place for _, place in bars])
    most = max(peaks)
    have = result.budget / GIB
    end = 1.08 * max(most, have if have < 3 * most else 0)  # what is far more would flatten every bar
    return {
        "fixed": {"x0": [0.0] * len(bars), "y0": places - 0.42, "x1": fixed, "y1": places - 0.12, "ink": colors},
        "passing": {"x0": fixed, "y0": places - 0.42, "x1": peaks, "y1": places - 0.12, "ink": colors},
        "budgets": {
            "x0": [have] * len(rows),
            "y0": y - 0.48,
            "x1": [have] * len(rows),
            "y1": y - 0.06,
        },
        "rows": {"x": [0.0] * len(rows), "y": y, "text": [row.name for row in rows]},
        "needs": {
            "x": [end] * len(rows),
            "y": y,
            "text": [_need(result, row) for row in rows],
            "ink": [getattr(ink, row.concept if row.cost else "muted") for row in rows],
        },
        "bar frame": {"x": [0.0, end], "y": [y[-1] - 0.6, -0.4], "ticks": _ticks([0.0, end])},
    }


def point_marks(result: BudgetMeasure, ink: Palette) -> Marks:
    """Every capacity of every method: memory across, numbers trained up, both on logarithmic scales."""
    found = [(row, one) for row in result.rows.values() for one in row.choices if one.cost.trained]
    x = [one.cost.memory.peak / GIB for _, one in found]
    y = [float(one.cost.trained) for _, one in found]
    ways = [[one for one in row.choices if one.cost.trained] for row in result.rows.values()]
    inside = [one.cost.memory.peak <= result.budget for _, one in found]
    now = [(method, row) for method, row in result.rows.items() if row.cost and row.cost.trained]
    peaks = [row.cost.memory.peak / GIB for _, row in now]
    trained = [float(row.cost.trained) for _, row in now]
    low, high = log10(min(y + trained)), log10(max(y + trained))
    spare = 0.5 + 0.04 * (high - low)  # for rings and names
    low, high = low - spare, high + spare
    left, most = min(x + peaks), max(x + peaks)
    have = result.budget / GIB
    right = max(most, have if have < 2 * most else 0)  # what is far more stands nowhere
    width = (log10(right / left) or 1.0) / (1 - 2 * RINGS - NAMED)
    limits = [left / 10 ** (RINGS * width), left * 10 ** ((1 - RINGS) * width)]
    start = left * 10 ** (width * (1 - RINGS - NAMED))  # nothing but names stands to the right of it
    line = (high - low) * LINE / HEIGHT
    places = 10.0 ** apart([log10(number) for number in trained], line, low + line / 2, high - line / 2)
    colors = [getattr(ink, row.concept) for _, row in now]
    there = [have] if have <= right else []
    return {
        "settings": {
            "x": x,
            "y": y,
            "ink": [getattr(ink, row.concept) for row, _ in found],
            "shape": [SHAPES.get(one.method, "circle") for _, one in found],
            "alpha": [0.95 if fits else 0.12 for fits in inside],
        },
        "ways": {
            "xs": [[one.cost.memory.peak / GIB for one in way] for way in ways],
            "ys": [[float(one.cost.trained) for one in way] for way in ways],
            "ink": [getattr(ink, row.concept) for row in result.rows.values()],
        },
        "here": {"x": peaks, "y": trained, "ink": colors},
        "leaders": {"x0": peaks, "y0": trained, "x1": [start] * len(now), "y1": places, "ink": colors},
        "here names": {
            "x": [start * 10 ** (0.01 * width)] * len(now),
            "y": places,
            "text": [SHORT.get(method, row.name.partition(",")[0]) for method, row in now],
            "ink": colors,
        },
        "budget": {
            "x0": there,
            "y0": [10.0 ** (low - 1)] * len(there),
            "x1": there,
            "y1": [10.0 ** (high + 1)] * len(there),
        },
        "point frame": {
            "x": limits,
            "y": [10.0**low, 10.0**high],
            "ticks": _log_ticks([limits[0], right * 10 ** (RINGS * width)]),
        },
    }


def _ticks(limits: list[float]) -> list[float]:
    """Round numbers within the limits, not below zero: few enough that they never meet, and two if they are long."""
    low, high = max(limits[0], 0), limits[1]
    power = 10.0 ** floor(log10((high - low) / MOST))
    step = next(digit * power for digit in (1, 2, 5, 10) if high - low <= MOST * digit * power)
    ticks = [float(f"{n * step:.6g}") for n in range(ceil(low / step), floor(high / step) + 1)]
    return ticks if high < LONG else [ticks[0], ticks[-1]]


def _log_ticks(limits: list[float]) -> list[float]:
    """Round numbers within the limits of a logarithmic axis, as few: 1, 2, 5, 10 and so on, or whole powers of ten."""
    low, high = limits
    rungs = range(floor(3 * log10(low)) - 3, ceil(3 * log10(high)) + 4)
    found = {rung: float(f"{(1, 2, 5)[rung % 3]}e{rung // 3}") for rung in rungs}
    found = {rung: tick for rung, tick in found.items() if low <= tick <= high}
    if len(found) < 2:
        return _ticks(limits)
    most = MOST if high < ROOMY else MOST - 2
    for stride in (1, *range(3, 3 * len(found) + 4, 3)):
        ticks = [tick for rung, tick in found.items() if rung % stride == 0]
        if len(ticks) <= most + 1:
            break
    return ticks if len(ticks) > 1 else [*found.values()][:: len(found) - 1]


def _need(result: BudgetMeasure, row: Row) -> str:
    if row.cost is None:
        return "cannot be built"
    needs = size(row.cost.memory.peak)
    return f"{needs} · {percent(row.cost.trained, result.model.parameters)}"
