"""A state goes into the address and comes back the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wonderland
from wonderland import ProjectionDemo, RotationDemo, address
from wonderland.demos.rotation import RotationDemo as Rotation
from wonderland.prose import chapters

MAPS = Rotation.param.map.objects


@settings(deadline=None, max_examples=30)
@given(map=st.sampled_from(MAPS), angle=st.integers(0, 360), amount=st.integers(-20, 20))
def test_state_survives_the_address(map: str, angle: int, amount: int) -> None:
    demo = RotationDemo(map=map, angle=angle, amount=amount / 10)
    number, state, problems = address.decode(address.encode(3, demo))
    assert (number, problems) == (3, [])
    other = RotationDemo()
    assert address.apply(other, state) == []
    assert (other.map, other.angle, other.amount) == (map, angle, amount / 10)
    np.testing.assert_array_equal(other.result.after, demo.result.after)


def test_defaults_are_left_out() -> None:
    assert address.encode(3, RotationDemo()) == "?chapter=3"
    assert address.encode(12, None) == "?chapter=12"


@pytest.mark.parametrize("text", ["14", "-1", "1.5", "nan", "", "²", "9" * 5000, "x"])
def test_a_chapter_that_is_not_there(text: str) -> None:
    number, state, problems = address.decode(f"?chapter={text}&angle=3")
    assert (number, state) == (0, {})
    assert "1…13" in problems[0]


def test_an_endless_address_is_refused() -> None:
    number, _, problems = address.decode("?chapter=3&map=" + "x" * 10_000)
    assert number == 0
    assert "10,015 characters" in problems[0]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"angle": "nan"}, "Angle in degrees is “nan”: give a whole number, 0…360."),
        ({"angle": "inf"}, "Angle in degrees is “inf”"),
        ({"angle": "361"}, "out of range: give a whole number, 0…360"),
        ({"angle": "-1"}, "out of range"),
        ({"angle": "12.5"}, "give a whole number"),
        ({"angle": ""}, "empty"),
        ({"amount": "1e400"}, "Shear or stretch is inf"),
        ({"map": "teapot"}, "give one of rotation"),
        ({"result": "1"}, "“result” is no control"),
        ({"dark": "True"}, "“dark” is no control"),
        ({"name": "x"}, "“name” is no control"),
        ({"__class__": "x"}, "is no control"),
    ],
)
def test_bad_state_is_reported_and_left(state: dict[str, str], message: str) -> None:
    demo = RotationDemo()
    before = demo.result
    problems = address.apply(demo, state)
    assert len(problems) == 1
    assert message in problems[0]
    assert demo.result is before


def test_each_demo_of_a_chapter_gets_its_own() -> None:
    demos = [RotationDemo(), ProjectionDemo()]
    demos[0].param.update(map="shear", amount=0.7)
    demos[1].gx = 1.5
    number, state, problems = address.decode(address.encode(3, *demos))
    assert (number, problems) == (3, [])
    assert address.shared(state | {"tea": "two"}, demos) == [
        {"map": "shear", "amount": "0.7", "tea": "two"},
        {"gx": "1.5"},
    ]


def test_the_demos_of_a_chapter_share_no_name() -> None:
    for chapter in chapters():
        kinds = [getattr(wonderland, name) for kind, name in chapter.parts if kind == "demo"]
        names = [name for kind in kinds for name in kind.state_names()]
        assert len(names) == len(set(names)), chapter.title
