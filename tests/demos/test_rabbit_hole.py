"""The opening: squares down a hole."""

import re
import subprocess
import sys

import numpy as np
import pytest
from bokeh.models import ColumnDataSource, Plot
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland import address
from wonderland.demos.rabbit_hole import DEPTH, WITNESS, RabbitHole, descend, rabbit
from wonderland.theme import DARK, LIGHT

angles = st.floats(-45, 45)


def corner(degrees: float, square: int) -> complex:
    """Where the upper right corner of the first square lies in another one, in complex numbers."""
    t = np.deg2rad(degrees)
    step = np.exp(1j * t) / (np.cos(t) + abs(np.sin(t)))
    return (1 + 1j) * step**square


def source_of(demo: RabbitHole) -> ColumnDataSource:
    return demo.__panel__().get_root().select_one({"type": ColumnDataSource})


@settings(deadline=None, max_examples=40)
@given(angles)
def test_every_square_has_its_corners_on_the_sides_of_the_last(degrees: float) -> None:
    hole = descend(degrees)
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    for outer, inner in zip(hole.maps[:-1], hole.maps[1:], strict=True):
        seen_from_the_last = corners @ inner.T @ np.linalg.inv(outer).T
        np.testing.assert_allclose(np.abs(seen_from_the_last).max(axis=1), 1, atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(angles)
def test_every_square_is_a_turned_and_smaller_first_one(degrees: float) -> None:
    hole = descend(degrees)
    assert hole.determinant == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(hole.turn.T @ hole.turn, np.eye(2), atol=1e-12)
    for square, A in enumerate(hole.maps):
        x, y = A @ [1, 1]
        np.testing.assert_allclose(complex(x, y), corner(degrees, square), atol=1e-12)
    assert hole.witness_turn == pytest.approx(WITNESS * degrees, abs=1e-6)
    assert hole.witness_size == pytest.approx(abs(corner(degrees, WITNESS)) / np.sqrt(2), rel=1e-9)


def test_without_a_turn_nobody_has_fallen() -> None:
    hole = descend(0)
    np.testing.assert_array_equal(hole.maps, np.broadcast_to(np.eye(2), (DEPTH + 1, 2, 2)))


def test_the_rabbit_fits_into_his_square_and_is_one_closed_line() -> None:
    assert np.abs(rabbit()).max() < 1
    gaps = np.linalg.norm(rabbit() - np.roll(rabbit(), 1, axis=0), axis=1)
    assert gaps.max() < 0.08


def test_the_defaults() -> None:
    demo = RabbitHole()
    assert demo.turn == 5
    assert DEPTH == WITNESS
    assert [r.value for r in demo.readouts(demo.result)] == ["+1.000000", "150.0°", "9.06 %"]


@pytest.mark.parametrize("turn", [-45, -20, 0, 5, 33.5, 45])
def test_the_rabbit_stands_upright_in_his_square(turn: float) -> None:
    demo = RabbitHole(turn=turn)
    data = source_of(demo).data
    shape = np.array([data["xs"][-1], data["ys"][-1]]).T
    size = abs(corner(turn, DEPTH)) / np.sqrt(2)
    np.testing.assert_allclose(shape, size * rabbit(), atol=1e-5)
    assert np.abs(shape @ np.linalg.inv(demo.result.maps[-1]).T).max() < 1


def test_a_reset_stands_beside_the_slider() -> None:
    demo = RabbitHole(turn=-12)
    [reset] = demo.__panel__().select(lambda each: getattr(each, "label", "") == "Reset")
    reset.param.trigger("clicks")
    assert demo.turn == RabbitHole.param.turn.default


def test_the_picture_shows_what_was_measured() -> None:
    demo = RabbitHole(turn=7)
    source = source_of(demo)
    for square in (0, 1, 20):
        at = 3 * square  # a square and two lit corners for each ring
        x, y = source.data["xs"][at][0], source.data["ys"][at][0]
        assert complex(x, y) == pytest.approx(corner(7, square), abs=1e-5)
    demo.turn = -12
    x, y = source.data["xs"][9][0], source.data["ys"][9][0]
    assert complex(x, y) == pytest.approx(corner(-12, 3), abs=1e-5)


@pytest.mark.parametrize("degrees", [-30, 30])
def test_the_lit_corners_lie_between_a_square_and_the_next(degrees: float) -> None:
    demo = RabbitHole(turn=degrees)
    source = source_of(demo)
    outer, triangle = (np.array([source.data["xs"][i], source.data["ys"][i]]).T for i in (0, 1))
    assert any(np.allclose(triangle[0], vertex) for vertex in outer)
    next_square = np.array([source.data["xs"][3], source.data["ys"][3]]).T
    for vertex in triangle[1:]:
        assert np.isclose(np.abs(vertex).max(), 1, atol=1e-5)
        assert min(np.linalg.norm(next_square - vertex, axis=1)) < 1e-5


def test_both_palettes_and_no_other_colors_at_the_ends() -> None:
    demo = RabbitHole(dark=True)
    source = source_of(demo)
    dark = list(source.data["fill"])
    assert dark[-2:] == [DARK.lora, DARK.page]
    demo.dark = False
    assert source.data["fill"][-2:] == [LIGHT.panel, LIGHT.text]
    assert demo.__panel__().styles == LIGHT.variables()
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in [*dark, *source.data["line"]])
    demo.dark = True
    assert source.data["fill"] == dark


@settings(deadline=None, max_examples=40)
@given(st.floats(-30, 30).filter(lambda t: abs(t) > 2), st.floats(0.1, 1), st.floats(-40, 40))
def test_the_square_under_the_pointer_follows_it(turn: float, radius: float, moved: float) -> None:
    demo = RabbitHole(turn=turn)
    demo._on_drag(-radius, 0, "start")  # where the angle jumps from 180° to −180°
    for share, phase in ((0.5, "move"), (1, "move"), (1, "end")):
        angle = np.pi + np.deg2rad(share * moved)
        demo._on_drag(radius * np.cos(angle), radius * np.sin(angle), phase)
    square = np.clip(np.log(radius / 1.2) / np.log(abs(corner(turn, 1)) / np.sqrt(2)), 3, DEPTH)
    assert (demo.turn - turn) * square == pytest.approx(moved, abs=0.006 * square)


def test_dragging_turns_the_grabbed_square_and_stops_at_the_end() -> None:
    demo = RabbitHole(turn=5)
    radius = 1.2 * abs(corner(5, 12)) / np.sqrt(2)
    demo._on_drag(radius, 0, "start")
    for degrees in range(10, 361, 10):
        demo._on_drag(*(radius * np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])), "move")
    assert demo.turn == pytest.approx(5 + 360 / 12, abs=0.02)
    for degrees in range(10, 721, 10):
        demo._on_drag(*(radius * np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])), "move")
    assert demo.turn == 45


def test_dragging_where_all_squares_are_one() -> None:
    demo = RabbitHole(turn=0)
    demo._on_drag(0, 0, "start")
    demo._on_drag(0.5, 0.5, "move")
    assert demo.turn == pytest.approx(45 / DEPTH, abs=0.01)


@pytest.mark.parametrize(
    "value", ["", "down", "nan", float("nan"), float("inf"), 45.5, -46, 1e12, None, True, "1e400"], ids=repr
)
def test_a_turn_that_is_none_is_refused_in_words(value: object) -> None:
    demo = RabbitHole(turn=9)
    with pytest.raises(ValueError, match="Turn per square") as caught:
        demo.turn = value
    assert "-45…45" in str(caught.value)
    assert demo.turn == 9


def test_its_state_stands_in_the_address() -> None:
    demo = RabbitHole()
    assert address.apply(demo, {"turn": "-11.5"}) == []
    assert demo.turn == -11.5
    assert "turn=-11.5" in address.encode(0, demo)
    demo.reset()
    assert demo.turn == 5


def test_it_costs_a_visitor_one_figure_and_no_torch() -> None:
    code = """
import sys
from bokeh.models import GlyphRenderer, Plot
from wonderland import RabbitHole
root = RabbitHole().__panel__().get_root()
print(len(list(root.select({"type": Plot}))), len(list(root.select({"type": GlyphRenderer}))), "torch" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["1", "1", "False"], run.stderr


def test_it_can_be_shown_again_elsewhere() -> None:
    demo = RabbitHole()
    for _ in range(2):
        root = demo.__panel__().get_root()
        assert root.select_one({"type": Plot})
        demo.turn += 1
