"""The standard race, trained together and one network after another."""

import os
import time
from functools import partial

import pytest

from tests.plain import plain_race
from wonderland.backend import network, warm
from wonderland.backend.race import RaceSettings, race

SEEDS = (0, 1, 2)
AIM = 4.0


def timed(function):
    start = time.perf_counter()
    made = function()
    return made, time.perf_counter() - start


def test_race_speed(table):
    warm(1)
    settings = RaceSettings(seeds=SEEDS)
    network._trained.clear()
    stream = race(settings)
    start = time.perf_counter()
    next(stream)
    untrained = time.perf_counter() - start
    next(point for point in stream if point.task == 1)
    first = time.perf_counter() - start
    list(race(RaceSettings(seeds=SEEDS, steps=2)))  # what only the first race of a process pays for
    runs = {workers: timed(lambda workers=workers: list(race(settings, workers))) for workers in (1, 2)}
    assert runs[1][0] == runs[2][0]

    table("five methods × three seeds × 300 steps, a point every 10", "s")
    table("first point of all: the networks before they learn", untrained)
    table("first point of task B, after three networks have learned task A", first)
    for workers, (_, seconds) in runs.items():
        table(f"seeds in batches, methods on {workers} of {os.cpu_count()} cores (aim on two: {AIM})", seconds)
    ends = {(p.method, p.seed): p for p in runs[1][0] if (p.task, p.step) == (1, 300)}
    total = 0.0
    for entrant in settings.methods:
        for seed in SEEDS:
            one = partial(plain_race, entrant.method, seed, settings.rate(entrant), settings.steps, settings.every)
            points, seconds = timed(one)
            total += seconds
            _, accuracies, _ = points[-1]
            # Rounding grows over 300 steps; an image on the line may fall to its other side.
            assert accuracies == pytest.approx(ends[entrant.name, seed].accuracy, abs=2.5 / 445)
    table("one network after another in plain torch, one core, the same ends", total)
