"""Races every method over every course, five seeds each, and writes the tables of ``docs/race.md``.

``python -m wonderland.backend.standings`` writes ``wonderland/data/standings.json``, in some minutes, and puts its
tables between the marks of ``docs/race.md``. With ``--tables`` it trains nothing and writes the tables anew.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

import torch

from wonderland.backend.methods import METHODS
from wonderland.backend.metrics import (
    accuracy_matrix,
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
)
from wonderland.backend.provenance import origin, written
from wonderland.backend.race import RacePoint, RaceSettings, race

SEEDS = (0, 1, 2, 3, 4)
STEPS = RaceSettings.steps
COURSES: dict[str, dict[str, object]] = {
    "rotated": {"tasks": ("upright", "rotated")},
    "permuted": {"tasks": ("upright", "permuted")},
    "mirrored": {"tasks": ("upright", "mirrored")},
    "inverted": {"tasks": ("upright", "inverted")},
    "0–4 → 5–9, told which": {"tasks": ("low", "high")},
    "0–4 → 5–9, not told": {"tasks": ("low", "high"), "scenario": "class"},
    "contradictory": {"tasks": ("upright", "contradictory")},
    "five tasks": {"tasks": ("upright", "rotated", "permuted", "mirrored", "inverted")},
}
MEASURES = ("average", "backward", "forward", "forgotten")
DATA = Path(__file__).parent.parent / "data" / "standings.json"
PAGE = Path(__file__).parent.parent.parent / "docs" / "race.md"
BEGIN, END = "<!-- tables: written by wonderland.backend.standings -->\n", "<!-- end of the tables -->"
DIGITS = 4


def standing(points: Iterable[RacePoint]) -> dict[str, object]:
    """Where one method ends over its seeds.

    Returns
    -------
    dict
        ``seeds`` that did not diverge, and as (mean, standard deviation) over them ``accuracy``, one for each task,
        and the four of ``MEASURES``, all 0 to 1.

    Raises
    ------
    ValueError
        If fewer than two seeds are left.
    """
    by_seed: dict[int, list[RacePoint]] = {}
    for point in points:
        by_seed.setdefault(point.seed, []).append(point)
    made = [accuracy_matrix(own) for own in by_seed.values() if not any(point.diverged for point in own)]
    if len(made) < 2:
        raise ValueError(f"{len(made)} of {len(by_seed)} seeds have not diverged: a spread needs two or more.")
    measured = {
        "average": [average_accuracy(R) for R, _ in made],
        "backward": [backward_transfer(R) for R, _ in made],
        "forward": [forward_transfer(R, untrained) for R, untrained in made],
        "forgotten": [forgetting(R) for R, _ in made],
    }
    last = zip(*(R[-1].tolist() for R, _ in made), strict=True)
    return {"seeds": len(made), "accuracy": [_spread(task) for task in last]} | {
        name: _spread(values) for name, values in measured.items()
    }


def tables(rows: Sequence[Mapping[str, object]]) -> str:
    """The standings as Markdown: the first and last task's accuracy course by course, then the five-task course."""
    long = list(COURSES)[-1]
    short = [course for course in COURSES if course != long]
    held = {(row["course"], row["method"]): row for row in rows}
    lines = ["| A after / B after, % | " + " | ".join(short) + " |", "|---|" + "---|" * len(short)]
    for method, kind in METHODS.items():
        cells = [" / ".join(_percent(value) for value in held[course, method]["accuracy"]) for course in short]
        lines.append(f"| {kind.label} | " + " | ".join(cells) + " |")
    names = COURSES[long]["tasks"]
    lines += ["", f"| {' → '.join(names)} | average | forgetting | backward | forward |", "|---|" + "---|" * 4]
    for method, kind in METHODS.items():
        row = held[long, method]
        cells = [_percent(row[name]) for name in ("average", "forgotten", "backward", "forward")]
        lines.append(f"| {kind.label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: race every method over every course, and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m wonderland.backend.standings", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=DATA, help="default: %(default)s")
    parser.add_argument("--page", type=Path, default=PAGE, help="default: %(default)s")
    parser.add_argument("--tables", action="store_true", help="train nothing: write the tables from the data at hand")
    options = parser.parse_args(argv)
    if not options.tables:
        torch.set_num_threads(1)  # so small a network trains fastest, and most alike everywhere, on one core
        options.out.write_text(_raced(), encoding="utf-8")
    rows = json.loads(options.out.read_text(encoding="utf-8"))["rows"]
    page = options.page.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    options.page.write_text(f"{before}{BEGIN}\n{tables(rows)}\n{END}{after}", encoding="utf-8")
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


def _raced() -> str:
    rows = []
    for course, given in COURSES.items():
        settings = RaceSettings(**given, methods=tuple(METHODS), seeds=SEEDS, steps=STEPS, every=STEPS)
        points = list(race(settings))
        for method in METHODS:
            own = [point for point in points if point.method == method]
            rows.append({"course": course, "method": method, **standing(own)})
        print(course, file=sys.stderr, flush=True)
    shared = RaceSettings(methods=tuple(METHODS), seeds=SEEDS).as_table()
    shared = {name: shared[name] for name in ("methods", "seeds", "steps", "keep", "optimizer")}
    return written(origin() | {"settings": shared, "courses": COURSES}, "rows", rows)


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return round(mean(values), DIGITS), round(stdev(values), DIGITS)


def _percent(spread: Sequence[float]) -> str:
    center, width = (100 * value for value in spread)
    return f"{center:.0f}±{width:.0f}"


if __name__ == "__main__":
    main()
