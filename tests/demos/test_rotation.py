"""Chapter 3 without a browser."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland import RotationDemo
from wonderland.demos.rotation import LIMIT

MAPS = RotationDemo.param.map.objects
ANGLED = ["rotation", "reflection", "low rank"]


@pytest.mark.parametrize("name", MAPS)
def test_only_what_does_something_is_offered(name: str) -> None:
    demo = RotationDemo()
    _, angle, amount, *_ = demo.__panel__()[1][0]
    demo.map = name
    assert (angle.visible, amount.visible) == (name in ANGLED, name not in ANGLED)
    before = demo.result.after
    demo.param.update(**({"amount": -1.5} if angle.visible else {"angle": 200}))
    np.testing.assert_array_equal(demo.result.after, before)  # what is hidden is dead
    demo.param.update(**({"angle": 100} if angle.visible else {"amount": 1.1}))
    assert not np.array_equal(demo.result.after, before)


@pytest.mark.parametrize("name", MAPS)
def test_the_picture_asks_to_be_dragged_only_where_that_turns_it(name: str) -> None:
    demo = RotationDemo(map=name, angle=30)
    demo._on_drag(1, 0, "start")
    demo._on_drag(0, 1, "move")
    turned = demo.angle != 30
    assert turned == (name in ANGLED)
    assert demo.marks(demo.result)["hint"]["text"] == (["drag to turn"] if turned else [""])


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(MAPS), st.floats(-2, 2), st.integers(0, 360))
def test_points_outside_the_pictures_are_counted(name: str, amount: float, angle: int) -> None:
    demo = RotationDemo(map=name, amount=amount, angle=angle)
    marks = demo.marks(demo.result)
    outside = sum(abs(x) > LIMIT or abs(y) > LIMIT for x, y in zip(*marks["after"].values(), strict=True))
    assert demo.result.outside == outside
    text = {0: "", 1: "1 point outside"}.get(outside, f"{outside} points outside")
    assert marks["outside"]["text"] == [text]
    assert f"{outside} points of the image lie outside" in demo.describe(demo.result)


def test_a_scaling_by_two_throws_some_out_and_a_turn_none() -> None:
    assert RotationDemo(map="scaling", amount=2).result.outside > 0
    assert RotationDemo().result.outside == 0


def test_the_pair_has_rings_at_its_ends() -> None:
    demo = RotationDemo(map="shear")
    marks = demo.marks(demo.result)
    for when in ("before", "after"):
        pair, ends = marks[f"pair {when}"], marks[f"ends {when}"]
        np.testing.assert_array_equal(ends["x"], [pair["x0"][0], pair["x1"][0]])
        np.testing.assert_array_equal(ends["y"], [pair["y0"][0], pair["y1"][0]])


def test_the_words_speak_of_the_map_that_was_measured() -> None:
    demo = RotationDemo(map="shear")
    result = demo.result
    demo.map = "reflection"
    assert "after a shear" in demo.describe(result)
    assert demo.claims(result) == []  # a shear says nothing of rotations
    assert demo.claims(demo.result)[0].measured.startswith("This reflection")
