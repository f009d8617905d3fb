"""The standard race, trained together and one network after another."""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.plain import plain_pretrain, plain_race
from wonderland.backend import network, warm
from wonderland.backend.lanes import Processes
from wonderland.backend.points import race_points
from wonderland.backend.pool import Pool
from wonderland.backend.race import RaceSettings, race
from wonderland.demos.training_sim import REST

SEEDS = (0, 1, 2)
AIM = 4.0


def timed(function: Callable[[], Any]) -> tuple[Any, np.ndarray]:
    """What a function returns, and its seconds: by the clock, and of work, which a busy machine blurs less."""
    start = time.perf_counter(), time.process_time()
    made = function()
    return made, np.array([time.perf_counter() - start[0], time.process_time() - start[1]])


def until(settings: RaceSettings, workers: int, task: int) -> None:
    """Run a race as far as its first point of a task."""
    stream = race(settings, workers)
    next(point for point in stream if point.task == task)
    stream.close()


def test_first_live_point(table: Callable[..., None]) -> None:
    """As on the page: networks begin to learn when new seeds have stood for a while, and Run is pressed."""
    pool = Pool(Processes(1))
    short = partial(RaceSettings, methods=("full",), steps=1)
    pool.prepare(partial(race_points, short(seeds=SEEDS).as_table()))
    time.sleep(20)
    table("Run → the first point of the second task, in a page's process", "s")
    for first, rest in ((50, 0.0), (60, 1.0), (70, 3.0)):
        seeds = tuple(range(first, first + len(SEEDS)))
        if rest:
            time.sleep(REST / 1000)
            pool.prepare(partial(race_points, short(seeds=seeds).as_table()))
            time.sleep(rest - REST / 1000)
        pressed = time.perf_counter()
        job = pool.submit(partial(race_points, RaceSettings(seeds=seeds).as_table()))
        while not any(point.task for point in job.take()):
            assert not job.done
            time.sleep(0.005)
        how = f"set {rest:g} s before" if rest else "not learned before (aim 0.5)"
        table(f"three new seeds, {how}", time.perf_counter() - pressed)
        job.cancel()
        time.sleep(2)  # until its process is free again


def test_race_speed(table: Callable[..., None]) -> None:
    warm(1)
    settings = RaceSettings(seeds=SEEDS)
    list(race(RaceSettings(seeds=SEEDS, steps=2), 2))  # what only the first race of a process pays for

    table("five methods × three seeds × 300 steps, a point every 10", "s", "s of work")
    whole = []
    for workers in (1, 2):
        cores = f"methods on {workers} of {os.cpu_count()} cores"
        network._trained.clear()
        table(
            f"the networks before they learn: first point of all, {cores}",
            *timed(partial(until, settings, workers, 0))[1],
        )
        table(
            f"the first task learned: first point of the second, {cores}",
            *timed(partial(until, settings, workers, 1))[1],
        )
        points, seconds = timed(lambda workers=workers: list(race(settings, workers)))
        table(f"the race where the first task is learned already, {cores} (aim on two: {AIM})", *seconds)
        network._trained.clear()
        again, seconds = timed(lambda workers=workers: list(race(settings, workers)))
        table(f"the race and the first task, {cores} (aim on two: {AIM})", *seconds)
        whole.append(seconds)
        assert again == points
    total, measured = np.zeros(2), {(p.method, p.seed): p for p in points if (p.task, p.step) == (1, settings.steps)}
    for seed in SEEDS:
        total += timed(partial(plain_pretrain, seed))[1]
    table("the first task, one network after another in plain torch, one core", *total)
    for (method, seed), end in measured.items():
        rate = next(settings.rate(entrant) for entrant in settings.methods if entrant.name == method)
        one = partial(plain_race, method, seed, rate, settings.steps, settings.every)
        made, seconds = timed(one)
        total += seconds
        # Rounding grows over 300 steps in float32; a few images on the line fall to their other side.
        assert made[-1][1] == pytest.approx(end.accuracy, abs=5.5 / 445), (method, seed)
    table("the race and the first task so, to the same ends, without leak, drift and energy", *total)
    table("times as fast, on one core and on two", *(total[0] / seconds[0] for seconds in whole))
