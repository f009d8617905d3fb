import json
import math
from dataclasses import replace

import numpy as np
import pytest

from wonderland.backend import one_core
from wonderland.backend.race import METHODS as BACKEND_METHODS
from wonderland.backend.race import TASKS, RacePoint, RaceSettings, race
from wonderland.demos import races


@pytest.fixture
def held():
    """The recorded race, as JSON."""
    return json.loads(races.RECORD.read_text())


def read(tmp_path, held):
    path = tmp_path / "race.json"
    path.write_text(held if isinstance(held, str) else json.dumps(held))
    return races.read(path)


def test_the_record_is_the_default_race_over_five_seeds():
    recorded, default = races.recorded(), RaceSettings()
    assert (races.OLD_TASK, recorded.task) == default.tasks
    assert (recorded.keep, recorded.steps) == (default.keep, default.steps)
    assert recorded.seeds == (0, 1, 2, 3, 4)
    assert recorded.state == "done"
    assert recorded.origin == "recorded"
    assert recorded.reached == default.steps
    for curve in recorded.curves:
        np.testing.assert_array_equal(curve.step, np.arange(0, default.steps + 1, default.every))


def test_the_record_is_small_and_says_where_it_comes_from(held):
    assert races.RECORD.stat().st_size < races.LARGEST
    assert {"torch", "numpy", "python", "wonderland"} <= held["versions"].keys()
    assert held["recorded"] in races.recorded().source


def test_training_again_gives_what_was_recorded():
    """The first steps of two of its curves; another machine may round another image over the line."""
    with one_core():
        again = list(race(RaceSettings(seeds=(0,), steps=30)))
    for entrant in RaceSettings().methods:
        curve = races.recorded().curve(entrant.name, 0)
        for point in (point for point in again if point.method == entrant.name and point.task):
            at = list(curve.step).index(point.step)
            assert curve.accuracy_a[at] == pytest.approx(point.accuracy[0], abs=0.01)
            assert curve.accuracy_b[at] == pytest.approx(point.accuracy[1], abs=0.01)
            assert curve.loss[at] == pytest.approx(point.loss, rel=1e-3)
            assert curve.moved[at] == pytest.approx(math.hypot(*point.drift), rel=2e-3, abs=1e-9)


def test_names_agree_with_the_backend():
    assert {races.OLD_TASK, *races.RACE_TASKS} <= set(TASKS)
    assert set(races.METHODS) <= set(BACKEND_METHODS)


def drop(held, *keys):
    for key in keys[:-1]:
        held = held[key]
    del held[keys[-1]]


def put(held, *keys):
    *keys, last, value = keys
    for key in keys:
        held = held[key]
    held[last] = value


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda h: drop(h, "curves"), "there is no 'curves'"),
        (lambda h: drop(h, "settings", "keep"), "there is no 'keep'"),
        (lambda h: drop(h, "versions", "torch"), "there is no 'torch'"),
        (lambda h: put(h, "recorded", "yesterday"), "yesterday"),
        (lambda h: put(h, "settings", "tasks", 1, "upside down"), "'upside down'"),
        (lambda h: put(h, "settings", "tasks", 0, "mirrored"), "tasks are 'mirrored' and 'rotated': not upright"),
        (lambda h: h["settings"]["tasks"].append("mirrored"), "too many values"),
        (lambda h: put(h, "settings", "keep", 1.5), r"keep = 1\.5 is outside"),
        (lambda h: put(h, "settings", "steps", 310), "does not rise from step 0 to 310"),
        (lambda h: put(h, "curves", 0, "step", 3, 5), "does not rise"),
        (lambda h: put(h, "curves", 0, "accuracy", 0, 2, 1.2), r"1\.2 among its values of accuracy_a"),
        (lambda h: put(h, "curves", 0, "loss", 2, math.nan), "nan among its values of loss"),
        (lambda h: put(h, "curves", 0, "drift", 1, 2, math.inf), "inf among its values of moved"),
        (lambda h: put(h, "curves", 0, "leak", 0, 2, "much"), "much"),
        (lambda h: h["curves"][0]["loss"].pop(), "31 values of loss for 32 steps"),
        (lambda h: h["curves"][0]["leak"].pop(0) and h["curves"][0]["accuracy"].pop(), "not enough values"),
        (lambda h: h["curves"].pop(), r"and its settings ask for \[.*\('osft', 4\)"),
        (lambda h: put(h, "curves", 0, "method", "magic"), "its settings ask for"),
        (lambda h: put(h, "curves", None), "holds no recorded race"),
    ],
)
def test_a_spoiled_record_is_refused(held, tmp_path, spoil, message):
    spoil(held)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, held)


@pytest.mark.parametrize("text", ["", "{", "[1, 2"])
def test_what_is_no_json_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"race\.json is not JSON"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"race"'])
def test_json_that_is_no_race_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"race\.json holds no recorded race"):
        read(tmp_path, text)


def test_a_huge_file_is_not_read(tmp_path):
    with pytest.raises(ValueError, match="at most 300,000"):
        read(tmp_path, " " * (races.LARGEST + 1))


def point(method, step, a, diverged=False):
    rest = {"leak": (0.0, 3.0, 4.0), "drift": (2.0, 0.0, 0.0), "shift": (0.0,) * 3, "energy": (1.0,) * 3}
    return RacePoint(method, 7, 1, step, (a, 0.5), 1.0, **rest, diverged=diverged)


def test_points_grow_the_curves_of_their_methods():
    grown = races.Race("rotated", 0.5, 20).extended([point("full", 0, 0.9), point("osft", 0, 0.8)])
    grown = grown.extended([point("full", 10, 0.6), point("osft", 10, 0.7), point("full", 20, 0.5)])
    assert grown.seeds == (7,)
    np.testing.assert_array_equal(grown.curve("full", 7).step, [0, 10, 20])
    np.testing.assert_array_equal(grown.curve("full", 7).accuracy_a, [0.9, 0.6, 0.5])
    np.testing.assert_allclose(grown.curve("full", 7).moved, 2)
    np.testing.assert_allclose(grown.curve("full", 7).leak, 5)
    assert grown.curve("full", 7).lost == pytest.approx(40)
    assert grown.curve("osft", 7).lost == pytest.approx(10)
    assert grown.reached == 10
    assert grown.curve("osft", 8) is None


def test_a_diverged_point_ends_its_curve():
    grown = races.Race("rotated", 0.5, 20).extended([point("full", 0, 0.9), point("full", 5, math.nan, diverged=True)])
    np.testing.assert_array_equal(grown.curve("full", 7).step, [0])


def test_what_was_before_the_first_task_is_no_part_of_a_curve():
    grown = races.Race("rotated", 0.5, 20).extended([replace(point("full", 0, 0.1), task=0), point("full", 0, 0.9)])
    np.testing.assert_array_equal(grown.curve("full", 7).accuracy_a, [0.9])


def test_joined_curves_break_between_each_other():
    grown = races.Race("rotated", 0.5, 10).extended([point("full", 0, 0.9), point("full", 10, 0.6)])
    joined = races.joined([grown.curves[0]] * 2, "accuracy_a")
    np.testing.assert_array_equal(joined["x"], [0, 10, np.nan, 0, 10, np.nan])
    np.testing.assert_allclose(joined["y"], [90, 60, np.nan, 90, 60, np.nan])
    assert races.joined([], "accuracy_a")["x"].shape == (0,)
