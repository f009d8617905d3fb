import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland.backend import metrics
from wonderland.backend.methods import METHODS as BACKEND_METHODS
from wonderland.backend.race import RacePoint
from wonderland.backend.settings import LEARNING_RATES, OPTIMIZERS, tuned_rate
from wonderland.backend.tasks import TASKS as BACKEND_TASKS
from wonderland.demos.race import entrants, races
from wonderland.theme import DARK, LIGHT

SEEDS = (3, 4)
SETTING = races.Setting(("upright", "rotated", "mirrored"), ("full", "osft"), SEEDS, steps=20)


def point(method, seed, task, step, accuracy, diverged=False, layer=1.0):
    rest = dict.fromkeys(("leak", "drift", "shift", "energy"), (layer, 2.0, 3.0))
    return RacePoint(method, seed, task, step, accuracy, 0.5, **rest, diverged=diverged)


def course(method="full", seed=3, shift=0.0):
    """A network's way over three tasks, by hand."""
    ways = [
        (0, 0, (0.1, 0.2, 0.3)),
        (1, 0, (0.9, 0.2, 0.3)),
        (1, 10, (0.7, 0.5, 0.3)),
        (1, 20, (0.6, 0.8, 0.4)),
        (2, 0, (0.6, 0.8, 0.4)),
        (2, 10, (0.5, 0.7, 0.6)),
        (2, 20, (0.4, 0.5, 0.9)),
    ]
    return [point(method, seed, task, step, tuple(a - shift for a in way)) for task, step, way in ways]


def test_the_page_knows_the_backends_methods_tasks_and_rates():
    assert list(entrants.METHODS) == list(BACKEND_METHODS)
    assert tuple(entrants.TASKS) == BACKEND_TASKS
    assert entrants.OPTIMIZERS == OPTIMIZERS
    assert entrants.LEARNING_RATES == LEARNING_RATES
    for optimizer in OPTIMIZERS:
        assert entrants.tuned()[optimizer] == {method: tuned_rate(method, optimizer) for method in BACKEND_METHODS}
    assert BACKEND_METHODS["lora"].options["rank"].default == races.RANK
    assert BACKEND_METHODS["oft"].options["block"].default == races.BLOCK


@pytest.mark.parametrize("ink", [DARK, LIGHT], ids=["dark", "light"])
def test_no_two_methods_look_alike(ink):
    looks = {(runner.ink(ink), runner.dash) for runner in entrants.METHODS.values()}
    assert len(looks) == len(entrants.METHODS)
    without_shade = {(runner.concept, runner.dash) for runner in entrants.METHODS.values()}
    assert len(without_shade) == len(entrants.METHODS)
    concepts = {name: runner.concept for name, runner in entrants.METHODS.items()}
    assert (concepts["full"], concepts["lora"], concepts["oft"]) == ("critical", "lora", "original")
    assert {concepts[name] for name in concepts if name.startswith("osft") or name == "gpm"} == {"safe"}


def test_points_grow_tracks_whatever_their_order(race):
    track = race.of("full")
    np.testing.assert_array_equal(track.task, [0, 1, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(track.step, [0, 0, 10, 20, 0, 10, 20])
    np.testing.assert_array_equal(track.along(20), [-20, 0, 10, 20, 20, 30, 40])
    np.testing.assert_allclose(track.accuracy[0, :, 0], [0.1, 0.9, 0.7, 0.6, 0.6, 0.5, 0.4])
    np.testing.assert_allclose(track.accuracy[1] - track.accuracy[0], -0.1)
    np.testing.assert_allclose(track.forgotten, [50, 50])
    shuffled = races.Race(SETTING).extended(course("full", 4, 0.1)[::-1]).extended(course("full", 3)[::-1])
    np.testing.assert_array_equal(shuffled.of("full").accuracy, track.accuracy)


@given(st.integers(0, 14), st.integers(0, 14))
@settings(deadline=None, max_examples=30)
def test_points_may_come_in_any_portions(first, second):
    points = course("full", 3) + course("full", 4, 0.1)
    low, high = sorted((first, second))
    whole = races.Race(SETTING).extended(points)
    grown = races.Race(SETTING)
    for part in (points[:low], points[low:high], points[high:]):
        grown = grown.extended(part)
    for name in races.Track.MEASURES:
        np.testing.assert_array_equal(getattr(grown.tracks["full"], name), getattr(whole.tracks["full"], name))


def test_matrices_are_the_backends(race):
    R, untrained = race.of("full").matrices()
    for seat, seed in enumerate(SEEDS):
        own = course("full", seed, 0.1 * seat)
        expected, before = metrics.accuracy_matrix(own)
        np.testing.assert_allclose(R[seat], expected)
        np.testing.assert_allclose(untrained[seat], before)
    np.testing.assert_allclose(R[0], [[0.9, 0.2, 0.3], [0.6, 0.8, 0.4], [0.4, 0.5, 0.9]])


def test_a_moment_shows_what_was_there_by_then(race):
    then = race.upto(30)
    assert then.of("osft").step.tolist() == [0, 0, 10, 20, 0, 10]
    R, untrained = then.of("osft").matrices()
    np.testing.assert_allclose(R[0, 2], [0.5, 0.7, 0.6])  # so far
    np.testing.assert_allclose(untrained[0], [0.1, 0.2, 0.3])
    at_start = race.upto(0)
    assert np.isnan(at_start.of("osft").matrices()[0][0, 1:]).all()
    np.testing.assert_allclose(at_start.of("osft").forgotten, [0, 0])


def test_how_much_has_been_run(race):
    assert race.share == pytest.approx(1)
    assert race.reached == 40
    half = races.Race(SETTING).extended(course("full"))
    assert half.share == pytest.approx(0.5)  # of two methods one is done
    assert races.Race(SETTING).share == 0
    assert races.Race(SETTING).reached == 0
    assert race.upto(10).reached == 10


def test_a_diverged_network_ends_and_the_others_go_on():
    points = course("full", 3) + course("full", 4, 0.1)[:3]
    points += [point("full", 4, 1, 13, (math.nan,) * 3, diverged=True)]
    race = races.Race(SETTING).extended(points)
    track = race.of("full")
    assert track.lost == {4: (1, 13)}
    assert 13 not in track.step  # it has no numbers
    np.testing.assert_allclose(track.forgotten, [50])
    np.testing.assert_allclose(track.last("accuracy"), [[0.4, 0.5, 0.9]])
    np.testing.assert_allclose(races.center(track.accuracy[..., 0])[-3:], [0.6, 0.5, 0.4])
    assert race.upto(12).of("full").lost == {}
    assert race.upto(13).of("full").lost == {4: (1, 13)}
    assert race.chosen(["full"], [3]).of("full").lost == {}


def test_a_race_of_which_every_network_diverged_has_nothing_to_say():
    race = races.Race(SETTING).extended(
        [
            *course("full", 3)[:2],
            point("full", 3, 1, 1, (math.nan,) * 3, diverged=True),
            *course("full", 4)[:2],
            point("full", 4, 1, 2, (math.nan,) * 3, diverged=True),
        ]
    )
    assert race.of("full").forgotten.shape == (0,)
    assert race.reached == 40  # none is left to wait for


def test_some_methods_and_seeds_are_chosen(race):
    one = race.chosen(["osft"], [4, 9])
    assert (one.setting.methods, one.setting.seeds) == (("osft",), (4,))
    np.testing.assert_array_equal(one.of("osft").accuracy, race.of("osft").accuracy[1:])
    everything = race.chosen(["gpm"], [9])
    assert (everything.setting.methods, everything.seeds) == (SETTING.methods, SEEDS)


@pytest.mark.parametrize(
    ("change", "covered"),
    [
        ({}, True),
        ({"methods": ("osft",), "seeds": (4,)}, True),
        ({"seeds": (3, 4, 5)}, False),
        ({"methods": ("full", "lora")}, False),
        ({"steps": 40}, False),
        ({"tasks": ("upright", "mirrored", "rotated")}, False),
        ({"keep": 0.6}, False),
        ({"optimizer": "sgd"}, False),
        ({"scenario": "class"}, False),
        ({"rates": {"full": 0.1}}, False),
        ({"rates": {"lora": 0.1}}, True),  # which does not race
        ({"rank": 4, "block": 8}, True),
        ({"rank": 4, "methods": ("lora",)}, False),
    ],
)
def test_what_a_race_covers(change, covered):
    assert SETTING.covers(races.replace(SETTING, **change)) is covered


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6))
def test_center_and_spread_are_numpys_where_all_is_there(values):
    column = np.array(values)[:, None]
    np.testing.assert_allclose(races.center(column)[0], np.mean(values), atol=1e-12)
    np.testing.assert_allclose(races.spread(column)[0], np.std(values, ddof=1), atol=1e-12)
    holed = np.vstack([column, [[np.nan]]])
    np.testing.assert_allclose(races.center(holed)[0], np.mean(values), atol=1e-12)
    np.testing.assert_allclose(races.spread(holed)[0], np.std(values, ddof=1), atol=1e-12)
    assert np.isnan(races.center(np.full((2, 1), np.nan))[0])
