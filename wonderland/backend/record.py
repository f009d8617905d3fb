"""Records the default race, so that the page has one to show before the first click.

``python -m wonderland.backend.record`` writes ``wonderland/data/race.json``, in some minutes.
"""

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from wonderland import __version__
from wonderland.backend.race import RacePoint, RaceSettings, race

SEEDS = (0, 1, 2, 3, 4)
DIGITS = 6  # significant ones that are written; more would be rounding of the training itself
MEASURES = ("accuracy_a", "accuracy_b", "loss", "leak", "moved")
TARGET = Path(__file__).parent.parent / "data" / "race.json"


def record(settings: RaceSettings) -> dict[str, object]:
    """Run a race and return what is written of it: when, with what, its settings, and a curve a runner.

    Raises
    ------
    ValueError
        If a curve diverges: such a race is no record.
    """
    points = list(race(settings))
    lost = next((point for point in points if point.diverged), None)
    if lost:
        raise ValueError(f"{lost.method}, seed {lost.seed}, diverged at step {lost.step}: choose a smaller lr.")
    return {
        "recorded": datetime.now(UTC).date().isoformat(),
        "versions": {
            "wonderland": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
        "settings": asdict(settings) | {"lr": {method: settings.rate(method) for method in settings.methods}},
        "curves": [
            _curve(method, seed, list(group)) for (method, seed), group in groupby(sorted(points, key=_runner), _runner)
        ],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: record the default race over five seeds."""
    parser = argparse.ArgumentParser(prog="python -m wonderland.backend.record", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=TARGET, help="default: %(default)s")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # so small a network trains fastest, and most alike everywhere, on one core
    made = record(RaceSettings(seeds=SEEDS))
    options.out.write_text(_written(made), encoding="utf-8")
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


def _runner(point: RacePoint) -> tuple[str, int]:
    return point.method, point.seed


def _curve(method: str, seed: int, points: list[RacePoint]) -> dict[str, object]:
    measures = {name: [float(f"{getattr(point, name):.{DIGITS}g}") for point in points] for name in MEASURES}
    return {"method": method, "seed": seed, "step": [point.step for point in points], **measures}


def _written(made: dict[str, object]) -> str:
    """JSON with a line for each curve, so that a new record can be compared with the old one."""
    head = {name: value for name, value in made.items() if name != "curves"}
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    curves = ",\n".join(f"    {json.dumps(curve)}" for curve in made["curves"])
    return "{\n" + ",\n".join([*lines, f'  "curves": [\n{curves}\n  ]']) + "\n}\n"


if __name__ == "__main__":
    main()
