import html
import re

import panel as pn
import param
import pytest

from wonderland.demos.several import Rates, Several, rates_field, rates_of, several_field, split


class Owner(param.Parameterized):
    course = Several("a,b", objects=("a", "b", "c"), least=2, most=3, label="Course", doc="In order.")
    crew = Several("a", objects=("a", "b", "c"), least=1, most=3, fixed=True, label="Crew", doc="In no order.")
    rates = Rates(objects=("a", "b"), bounds=(1e-12, 1e12), label="Learning rates", doc="By name.")


@pytest.fixture
def owner():
    return Owner()


def test_the_order_is_kept_or_fixed(owner):
    owner.course = " c, a "
    assert owner.course == "c,a"
    owner.crew = "c,a"
    assert owner.crew == "a,c"
    assert split("") == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a", "Course holds 1: choose 2 to 3"),
        ("", "Course is empty: choose 2 to 3"),
        ("a,x", "Course holds “x”: give some of a, b, c"),
        ("a,a", "Course holds a twice"),
        (None, "Course is None"),
        (3, "Course is 3"),
        (["a", "b"], "give names with commas"),
        ("a,b," + "y" * 1000, "y{40}”"),
    ],
)
def test_what_cannot_be_chosen_is_refused(owner, value, message):
    with pytest.raises(ValueError, match=message):
        owner.course = value
    assert owner.course == "a,b"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x=1", "Learning rates name “x”"),
        ("a=fast", "Learning rate of a is “fast”"),
        ("a=0", "out of range"),
        ("a=1e13", "out of range"),
        ("a", "Learning rate of a is empty"),
        ("a=nan", "Learning rate of a is nan"),
        (7, "Learning rates are 7"),
    ],
)
def test_bad_rates_are_refused(owner, value, message):
    with pytest.raises(ValueError, match=message):
        owner.rates = value
    assert owner.rates == ""


def said(pane):
    """The words of a message beside a control."""
    return html.unescape(re.sub("<[^>]*>", "", pane.object))


def field(owner, name):
    made = []

    def make(**params):
        made.append(pn.widgets.MultiChoice(options=["a", "b", "c"], **params))
        return made[0]

    column = several_field(owner, name, make)
    return made[0], lambda: said(column[1])


def test_a_choice_that_is_refused_is_answered_beside_it_and_the_last_good_one_stands(owner):
    widget, error = field(owner, "course")
    assert widget.value == ["a", "b"]
    widget.value = ["b"]
    assert owner.course == "a,b"
    assert error() == "Course holds 1: choose 2 to 3."
    widget.value = ["b", "c"]
    assert (owner.course, error()) == ("b,c", "")
    owner.course = "c,b,a"
    assert widget.value == ["c", "b", "a"]


def test_going_back_to_what_stands_clears_the_message(owner):
    widget, error = field(owner, "course")
    widget.value = ["a"]
    assert error()
    widget.value = ["a", "b"]
    assert error() == ""


def test_rates_are_typed_one_by_one(owner):
    column = rates_field(owner, "rates", {"a": "A", "b": "B"})
    (box_a, box_b), error = column[0], column[1]
    box_a.value = "0.01"
    box_b.value = "2e-3"
    assert rates_of(owner.rates) == {"a": 0.01, "b": 0.002}
    box_a.value = "soon"
    assert "Learning rate of a is “soon”" in said(error)
    assert rates_of(owner.rates) == {"a": 0.01, "b": 0.002}
    box_a.value = ""
    assert rates_of(owner.rates) == {"b": 0.002}
    assert said(error) == ""
    owner.rates = ""
    assert box_b.value == ""
