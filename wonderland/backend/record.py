"""Records a race, so that the page has one to show before the first click.

``python -m wonderland.backend.record`` writes ``wonderland/data/race.json``, in some minutes.
"""

import argparse
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import torch

from wonderland.backend.provenance import origin, written
from wonderland.backend.race import METHODS, RacePoint, RaceSettings, race

# Every method, and a course that has a task between the first and the last.
RECORDED = RaceSettings(
    tasks=("upright", "rotated", "permuted"), methods=tuple(METHODS), seeds=(0, 1, 2, 3, 4), every=20
)
# Significant digits that are written; the images to be judged by are no more than 445. Of the energy, whose change from
# 1 is looked at, more.
DIGITS = {"accuracy": 4, "energy": 6}
OTHER_DIGITS = 3
LAYERED = ("leak", "drift", "shift", "energy")
TARGET = Path(__file__).parent.parent / "data" / "race.json"


def record(settings: RaceSettings) -> dict[str, object]:
    """Run a race and return what is written of it: when, with what, its settings, and a curve a network.

    Raises
    ------
    ValueError
        If a curve diverges: such a race is no record.
    """
    points = list(race(settings))
    lost = next((point for point in points if point.diverged), None)
    if lost:
        raise ValueError(f"{lost.method}, seed {lost.seed}, diverged at step {lost.step}: choose a smaller lr.")
    order = [entrant.name for entrant in settings.methods]
    points.sort(key=lambda point: (order.index(point.method), point.seed))  # and for each as it came
    curves = [curve(list(group)) for _, group in groupby(points, lambda point: (point.method, point.seed))]
    return origin() | {"settings": settings.as_table(), "curves": curves}


def curve(points: Sequence[RacePoint]) -> dict[str, object]:
    """Points of one network as columns: ``accuracy`` has one a task, what is measured by layer has one a layer."""
    first = points[0]
    return {
        "method": first.method,
        "seed": first.seed,
        "task": [point.task for point in points],
        "step": [point.step for point in points],
        "loss": [_rounded(point.loss, OTHER_DIGITS) for point in points],
    } | {name: _columns(points, name) for name in ("accuracy", *LAYERED)}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: record every method over a course of three tasks, five seeds each."""
    parser = argparse.ArgumentParser(prog="python -m wonderland.backend.record", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=TARGET, help="default: %(default)s")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # so small a network trains fastest, and most alike everywhere, on one core
    made = record(RECORDED)
    curves = made.pop("curves")
    options.out.write_text(written(made, "curves", curves), encoding="utf-8")
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


def _columns(points: Sequence[RacePoint], name: str) -> list[list[float]]:
    digits = DIGITS.get(name, OTHER_DIGITS)
    return [
        [_rounded(value, digits) for value in column]
        for column in zip(*(getattr(p, name) for p in points), strict=True)
    ]


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


if __name__ == "__main__":
    main()
