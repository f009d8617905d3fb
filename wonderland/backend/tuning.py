"""Chooses each method's learning rate, by images that no race is judged by.

``python -m wonderland.backend.tuning`` races every method at every rate of ``RATES`` over ``COURSES``, learning
from the training images without those set aside for validation, and writes ``wonderland/data/tuning.json``: the
score of each, and the best. A score is the average accuracy over the tasks of a course once it is done (Lopez-Paz
and Ranzato, arXiv 1706.08840), on the validation images, mean over courses and seeds. The seeds are others than
those of the recorded race.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

import torch

from wonderland.backend.methods import METHODS
from wonderland.backend.provenance import origin, written
from wonderland.backend.race import race
from wonderland.backend.settings import OPTIMIZERS, TUNED, Entrant, RaceSettings

COURSES = (("upright", "rotated"), ("upright", "permuted"), ("low", "high"))
SEEDS = (1000, 1001)
STEPS = 300
RATES = {
    "adamw": (3e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 1e-2, 3e-2),
    "momentum": (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3),
    "sgd": (1e-2, 3e-2, 0.1, 0.3, 1.0),
}
# Settings that are chosen with the rate; the best of them is the method's default.
CHOICES = {"l2sp": [{"strength": strength} for strength in (0.001, 0.01, 0.1)]}


def tune(
    method: str,
    optimizer: str,
    rates: Sequence[float],
    courses: Sequence[tuple[str, ...]] = COURSES,
    seeds: Sequence[int] = SEEDS,
    steps: int = STEPS,
) -> list[dict[str, object]]:
    """Score a method at each rate.

    Returns
    -------
    list of dict
        ``lr``, the options that are chosen with it, and ``score``, 0 to 1, best first; a network that diverges
        scores 0.
    """
    entrants = [
        Entrant(method, f"{lr:g} {options}"[:40], lr=lr, options=options)
        for options in CHOICES.get(method, [{}])
        for lr in rates
    ]
    scores: dict[str, list[float]] = {entrant.name: [] for entrant in entrants}
    for course in courses:
        settings = RaceSettings(
            course, tuple(entrants), tuple(seeds), steps, every=steps, optimizer=optimizer, judged_on="validation"
        )
        for point in race(settings):
            if point.diverged:
                scores[point.method].append(0.0)
            elif (point.task, point.step) == (len(course) - 1, steps):
                scores[point.method].append(mean(point.accuracy))
    made = [{"lr": each.lr, **each.options, "score": round(mean(scores[each.name]), 5)} for each in entrants]
    return sorted(made, key=lambda row: -row["score"])


def sweep() -> Iterator[tuple[str, str, list[dict[str, object]]]]:
    """Tune every method with every optimizer; give each as (optimizer, method, rows) as soon as it is done."""
    for optimizer in OPTIMIZERS:
        for method in METHODS:
            rates = RATES[optimizer]
            # What trains nothing has no rate to choose.
            yield optimizer, method, tune(method, optimizer, rates[:1] if method == "frozen" else rates)


def chosen(method: str, rows: Sequence[dict[str, object]]) -> float:
    """The best rate among those scored with the method's default options."""
    options = METHODS[method].options
    own = [row for row in rows if all(row[name] == option.default for name, option in options.items() if name in row)]
    return max(own, key=lambda row: row["score"])["lr"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: tune every method with every optimizer, in some minutes."""
    parser = argparse.ArgumentParser(prog="python -m wonderland.backend.tuning", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=TUNED, help="default: %(default)s")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # so small a network trains fastest, and most alike everywhere, on one core
    scores: dict[str, dict[str, list[dict[str, object]]]] = {optimizer: {} for optimizer in OPTIMIZERS}
    for optimizer, method, rows in sweep():
        scores[optimizer][method] = rows
        best = ", ".join(f"{name} {value:g}" for name, value in rows[0].items())
        print(f"{optimizer} {method}: {best}", file=sys.stderr, flush=True)
    made = origin() | {
        "settings": {"courses": COURSES, "seeds": SEEDS, "steps": STEPS, "judged_on": "validation"},
        "chosen": {
            name: {method: chosen(method, rows) for method, rows in each.items()} for name, each in scores.items()
        },
    }
    lines = {f"{name} {method}": rows for name, each in scores.items() for method, rows in each.items()}
    options.out.write_text(written(made, "scores", lines), encoding="utf-8")
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
