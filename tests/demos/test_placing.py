import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland.demos.placing import apart, round_ticks

LOW, HIGH, GAP = 0.0, 100.0, 5.0


@given(st.lists(st.floats(-20, 120), max_size=8))
@settings(deadline=None, max_examples=40)
def test_labels_keep_their_distance_their_order_and_within_the_picture(values):
    placed = apart(values, GAP, LOW, HIGH)
    assert placed.shape == (len(values),)
    if values:
        assert placed.min() >= LOW - 1e-9
        assert placed.max() <= HIGH + 1e-9
    order = np.argsort(values, kind="stable")
    assert (np.diff(placed[order]) >= GAP - 1e-9).all()


def test_labels_with_room_stay_where_they_belong():
    np.testing.assert_allclose(apart([50, 10, 90], GAP, LOW, HIGH), [50, 10, 90])


def test_labels_that_would_overlap_move_evenly():
    np.testing.assert_allclose(apart([40, 42], GAP, LOW, HIGH), [38.5, 43.5])
    np.testing.assert_allclose(apart([100, 100], GAP, LOW, HIGH), [95, 100])


@pytest.mark.parametrize(
    ("last", "ticks"),
    [
        (3, [0, 1, 2, 3]),
        (10, [0, 2, 4, 6, 8, 10]),
        (20, [0, 5, 10, 15, 20]),
        (300, [0, 100, 200, 300]),
        (1000, [0, 200, 400, 600, 800, 1000]),
    ],
)
def test_ticks_are_round(last, ticks):
    assert round_ticks(last) == ticks


@given(st.integers(1, 100_000), st.integers(2, 10))
@settings(deadline=None, max_examples=40)
def test_ticks_are_few_and_do_not_pass_the_end(last, most):
    ticks = round_ticks(last, most)
    assert ticks[0] == 0
    assert len(ticks) <= most
    assert ticks[-1] <= last
    assert len(set(np.diff(ticks))) <= 1
