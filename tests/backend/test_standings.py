import json
import math

import pytest

from wonderland.backend import standings as module
from wonderland.backend.methods import METHODS
from wonderland.backend.race import Entrant, RaceSettings, race


@pytest.fixture(scope="module")
def held():
    return json.loads(module.DATA.read_text())


def test_every_method_has_a_row_for_every_course(held):
    assert [(row["course"], row["method"]) for row in held["rows"]] == [
        (course, method) for course in module.COURSES for method in METHODS
    ]
    for row in held["rows"]:
        accuracy = [center for center, _ in row["accuracy"]]
        assert len(accuracy) == len(module.COURSES[row["course"]]["tasks"])
        assert row["average"][0] == pytest.approx(sum(accuracy) / len(accuracy), abs=2e-4)
        assert row["seeds"] == len(module.SEEDS)
        if len(accuracy) == 2:
            assert row["forgotten"][0] == pytest.approx(-row["backward"][0], abs=2e-4)


def test_the_settings_are_those_of_today(held):
    today = RaceSettings(methods=tuple(METHODS), seeds=module.SEEDS).as_table()
    assert held["settings"] == {name: today[name] for name in held["settings"]}
    assert held["courses"] == json.loads(json.dumps(module.COURSES))


def test_the_page_shows_what_was_measured(held):
    page = module.PAGE.read_text()
    assert page.split(module.BEGIN)[1].split(module.END)[0].strip() == module.tables(held["rows"]).strip()


def test_the_order_that_must_hold_holds(held):
    """Joint training above, frozen below, on every course where both tasks can be had at once."""
    for course in module.COURSES:
        average = {row["method"]: row["average"][0] for row in held["rows"] if row["course"] == course}
        if course == "contradictory":
            assert max(average.values()) <= 0.5 + 1e-9
            continue
        for method, value in average.items():
            assert value <= average["joint"] + 0.01, (course, method)


def test_a_standing_is_what_the_points_say():
    settings = RaceSettings(("upright", "rotated", "mirrored"), ("full",), (0, 1), steps=20, every=20)
    points = list(race(settings))
    made = module.standing(points)
    ends = [point.accuracy for point in points if (point.task, point.step) == (2, 20)]
    for at, (center, width) in enumerate(made["accuracy"]):
        one, other = (end[at] for end in ends)
        assert center == pytest.approx((one + other) / 2, abs=1e-4)
        assert width == pytest.approx(abs(one - other) / math.sqrt(2), abs=1e-4)


def test_what_has_diverged_has_no_standing():
    wild = race(RaceSettings(methods=(Entrant("full", lr=1e12),), seeds=(0, 1), steps=5))
    with pytest.raises(ValueError, match="0 of 2 seeds have not diverged"):
        module.standing(wild)
