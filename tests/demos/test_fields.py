"""Parameters that refuse bad numbers in plain words."""

import re

import numpy as np
import param
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wonderland.demos.fields import cell, field
from wonderland.demos.parameters import Matrix, Real, Whole


class Thing(param.Parameterized):
    share = Real(default=0.5, bounds=(0, 1), label="Share kept")
    count = Whole(default=3, bounds=(1, 10**12), label="Features")
    matrix = Matrix(default=np.eye(2), label="W")
    free = Real(default=1.0, label="Scale")
    cell = Real(default=1.0, bounds=(-1e6, 1e6), label="Cell")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("share", float("nan"), "Share kept is nan: give a number, 0…1."),
        ("share", float("inf"), "Share kept is inf"),
        ("share", "", "Share kept is empty"),
        ("share", "tea", "Share kept is “tea”"),
        ("share", -0.1, "Share kept = -0.1 is out of range: give a number, 0…1."),
        ("share", True, "Share kept is True"),
        ("share", None, "Share kept is None"),
        ("share", [1], "Share kept is"),
        ("count", 0, "Features = 0 is out of range: give a whole number, 1…1,000,000,000,000."),
        ("count", 10**13, "Features = 10,000,000,000,000 is out of range"),
        ("count", 10**4000, "Features = 10^4000 or so is out of range"),
        ("cell", -2e7, "Cell = -20,000,000 is out of range: give a number, -1,000,000…1,000,000."),
        ("free", 10**400, "Scale is 10^400 or so: give a number."),
        ("cell", 1e30, "Cell = 1e+30 is out of range"),
        ("count", 2.5, "Features is 2.5: give a whole number"),
        ("count", "2.5", "Features is “2.5”"),
        ("count", np.nan, "Features is nan"),
        ("matrix", [[1, np.nan]], "W, row 1, column 2 is nan"),
        ("matrix", [[1], [np.inf]], "W, row 2, column 1 is inf"),
        ("matrix", [1, 2], "W has shape (2,)"),
        ("matrix", [], "W has shape (0,)"),
        ("matrix", [["a"]], "W holds something that is not a number"),
    ],
)
def test_bad_values_are_refused_by_name(name: str, value: object, message: str) -> None:
    thing = Thing()
    before = getattr(thing, name)
    with pytest.raises(ValueError, match=re.escape(message)):
        setattr(thing, name, value)
    np.testing.assert_array_equal(getattr(thing, name), before)


def test_text_that_spells_a_number_is_read() -> None:
    thing = Thing(count="12,288", share=" .25 ", free="−2e3")
    assert (thing.count, thing.share, thing.free) == (12_288, 0.25, -2000)
    assert isinstance(thing.count, int)


def test_matrices_are_copied() -> None:
    given = np.ones((2, 3))
    thing = Thing(matrix=given)
    given[0, 0] = 7
    assert thing.matrix[0, 0] == 1


def test_a_text_field_keeps_the_last_good_value_and_says_why() -> None:
    thing = Thing()
    column = field(thing, "count")
    box, error = column[0], column[1]
    box.value = "a dozen"
    assert thing.count == 3
    assert box.error_state
    shown = error.__panel__() if hasattr(error, "__panel__") else error
    assert "Features is “a dozen”" in shown.object
    box.value = "12"
    assert thing.count == 12
    assert not box.error_state
    assert not shown.visible


def test_a_slider_follows_only_when_let_go_if_asked() -> None:
    thing = Thing()
    slider = field(thing, "share", throttled=True)
    slider.value = 0.7
    assert thing.share == 0.5
    with param.edit_constant(slider):
        slider.value_throttled = 0.7
    assert thing.share == 0.7
    thing.share = 0.1
    assert slider.value == 0.1


def test_every_widget_is_labelled() -> None:
    thing = Thing()
    assert field(thing, "share").label == "Share kept"
    assert field(thing, "matrix")[0].legend == "W"


def test_a_slider_follows_and_leads() -> None:
    thing = Thing()
    slider = field(thing, "share")
    thing.share = 0.25
    assert slider.value == 0.25
    slider.value = 0.75
    assert thing.share == 0.75
    slider.value = 0.25  # the last value sent is no echo: the reader may want it back
    assert thing.share == 0.25


def test_a_slider_that_repeats_what_it_was_sent_before_is_not_obeyed() -> None:
    thing = Thing()
    slider = field(thing, "share")
    for share in (0.1, 0.2, 0.3):
        thing.share = share
    slider.value = 0.1
    assert (thing.share, slider.value) == (0.3, 0.3)
    slider.value = 0.4
    assert thing.share == 0.4


def test_a_reader_may_go_back_where_they_just_were() -> None:
    thing = Thing()
    slider = field(thing, "share", throttled=True)
    for reached in (0.6, 0.7, 0.6):
        slider.value = 0.7  # the handle is ahead of what was last let go
        with param.edit_constant(slider):
            slider.value_throttled = reached
        assert thing.share == reached
        assert slider.value == 0.7


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.24942, "-0.2494"),
        (-0.024942, "-0.0249"),
        (0.00012345, "0.00012"),
        (-2.4942e-5, "-2e-05"),
        (2.4942e-17, "0"),
        (-12345.6, "-12346"),
        (1e6, "1e+06"),
        (-1e6, "-1e+06"),
    ],
)
def test_a_number_box_shows_what_it_has_room_for(value: float, text: str) -> None:
    assert cell(value) == text


@given(st.floats(-1e6, 1e6))
def test_a_number_box_is_never_too_narrow(value: float) -> None:
    assert len(cell(value)) <= 7
    assert float(cell(value)) == pytest.approx(value, rel=0.5, abs=1e-12)
