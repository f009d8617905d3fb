import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wonderland.backend.metrics import (
    MEASURES,
    accuracy_matrix,
    average_accuracy,
    backward_transfer,
    cells,
    forgetting,
    forward_transfer,
)
from wonderland.backend.race import RacePoint, RaceSettings, race

# By hand: three tasks.
R = np.array([[0.9, 0.2, 0.1], [0.6, 0.8, 0.3], [0.7, 0.5, 0.95]])
UNTRAINED = np.array([0.1, 0.12, 0.08])

MATRICES = st.integers(2, 5).flatmap(lambda count: arrays(float, (count, count), elements=st.floats(0, 1)))


def test_by_hand():
    assert average_accuracy(R) == pytest.approx((0.7 + 0.5 + 0.95) / 3)
    assert backward_transfer(R) == pytest.approx(((0.7 - 0.9) + (0.5 - 0.8)) / 2)
    assert forward_transfer(R, UNTRAINED) == pytest.approx(((0.2 - 0.12) + (0.3 - 0.08)) / 2)
    assert forgetting(R) == pytest.approx(((0.9 - 0.7) + (0.8 - 0.5)) / 2)
    # A task that got better on the way is forgotten from where it was best.
    better = R.copy()
    better[1, 0] = 0.98
    assert forgetting(better) == pytest.approx(((0.98 - 0.7) + (0.8 - 0.5)) / 2)
    assert backward_transfer(better) == pytest.approx(backward_transfer(R))


@settings(deadline=None, max_examples=30)
@given(MATRICES)
def test_forgetting_is_at_least_the_backward_loss(R):
    assert forgetting(R) >= -backward_transfer(R) - 1e-12
    if len(R) == 2:
        assert forgetting(R) == pytest.approx(-backward_transfer(R), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(MATRICES, st.sampled_from(MEASURES), st.data())
def test_a_measure_reads_its_cells_and_no_others(R, measure, data):
    read = {
        "average_accuracy": average_accuracy,
        "backward_transfer": backward_transfer,
        "forward_transfer": lambda R: forward_transfer(R, np.zeros(len(R))),
        "forgetting": forgetting,
    }[measure]
    used = cells(measure, len(R))
    assert used.any()
    assert not used.all()
    others = np.where(used, R, data.draw(arrays(float, R.shape, elements=st.floats(0, 1))))
    assert read(others) == read(R)
    # And each of its cells counts, given room above every other one of its column.
    for i, j in np.argwhere(used):
        raised = R.copy()
        raised[i, j] = 2
        assert read(raised) != read(R)


def point(task, step, accuracy, seed=0):
    none = (0.0, 0.0, 0.0)
    return RacePoint("full", seed, task, step, accuracy, 1.0, none, none, none, none, math.isnan(accuracy[0]))


def test_the_matrix_is_read_off_the_points():
    points = [
        point(0, 0, (0.1, 0.12, 0.08)),
        point(1, 0, tuple(R[0])),
        point(1, 10, (0.5, 0.5, 0.5)),
        point(1, 20, tuple(R[1])),
        point(2, 0, tuple(R[1])),
        point(2, 20, tuple(R[2])),
    ]
    for order in (points, points[::-1]):
        made, untrained = accuracy_matrix(order)
        np.testing.assert_array_equal(made, R)
        np.testing.assert_array_equal(untrained, UNTRAINED)
    half, _ = accuracy_matrix(points[1:3])
    np.testing.assert_array_equal(half, [R[0], [0.5] * 3, [np.nan] * 3])
    lost, _ = accuracy_matrix([*points[:3], point(1, 11, (math.nan,) * 3)])
    assert np.isnan(lost[1:]).all()


def test_a_race_fills_the_matrix():
    course = ("upright", "rotated", "mirrored")
    points = list(race(RaceSettings(course, ("full",), (0,), steps=60, every=30)))
    made, untrained = accuracy_matrix(points)
    assert np.isfinite(made).all()
    assert made[0, 0] > 0.95
    assert (np.abs(untrained - 0.1) < 0.1).all()
    # Each task is best just after it was learned.
    assert (made.argmax(axis=0) == [0, 1, 2]).all()
    assert forgetting(made) > 0.1


@pytest.mark.parametrize("function", [average_accuracy, backward_transfer, forgetting])
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ([[1.0]], ValueError),
        ([[1.0, 2.0]], ValueError),
        ([[1.0, math.nan], [0, 1]], ValueError),
        ([], ValueError),
        ("R", (TypeError, ValueError)),
    ],
)
def test_a_bad_matrix_is_refused(function, bad, error):
    with pytest.raises(error, match="R"):
        function(bad)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="untrained has 2 entries: give one for each of the 3"):
        forward_transfer(R, [0.1, 0.1])
    with pytest.raises(ValueError, match="points of 0 networks"):
        accuracy_matrix([])
    with pytest.raises(ValueError, match="points of 2 networks"):
        accuracy_matrix([point(1, 0, (0.1, 0.2)), point(1, 0, (0.1, 0.2), seed=1)])
    with pytest.raises(ValueError, match="measure = 'luck' is unknown"):
        cells("luck", 3)
    with pytest.raises(ValueError, match="count = 1 is outside"):
        cells("forgetting", 1)
