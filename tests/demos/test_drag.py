"""A drag on a picture, and one that turns out to scroll the page."""

import pytest
from bokeh.events import Pan, PanEnd, PanStart
from bokeh.plotting import figure

from wonderland import FirstForgetting, LookingGlass, ProjectionDemo, RotationDemo
from wonderland.demos.base import Demo
from wonderland.demos.drag import follow_drag
from wonderland.demos.rabbit_hole import RabbitHole

DRAGGED = [LookingGlass, RotationDemo, FirstForgetting, ProjectionDemo, RabbitHole]


def drag(demo: Demo, end: tuple[float, float], at: tuple[float, float] = (-9, 30)) -> dict[str, object]:
    """From (1, 0.2) to (0.7, 0.9) in the picture's units, 18 pixels up; let go at `end`, in pixels, which is `at`."""
    plot = figure()
    follow_drag(plot, demo._on_drag)
    for event in (
        PanStart(plot, sx=200, sy=300, x=1, y=0.2),
        Pan(plot, sx=200, sy=291, x=0.9, y=0.5),
        Pan(plot, sx=200, sy=282, x=0.7, y=0.9),
        PanEnd(plot, sx=end[0], sy=end[1], x=at[0], y=at[1]),
    ):
        plot._trigger_event(event)
    return {name: getattr(demo, name) for name in demo.state_names()}


@pytest.mark.parametrize("kind", DRAGGED)
def test_a_drag_stays_where_it_was_let_go(kind: type[Demo]) -> None:
    demo, moved = kind(), kind()
    before = {name: getattr(demo, name) for name in demo.state_names()}
    after = drag(demo, (200, 282))
    assert after != before
    for x, y, phase in ((1, 0.2, "start"), (0.9, 0.5, "move"), (0.7, 0.9, "move")):
        moved._on_drag(x, y, phase)
    assert after == {name: getattr(moved, name) for name in moved.state_names()}


@pytest.mark.parametrize("kind", DRAGGED)
def test_a_last_move_that_only_its_end_tells_of_counts(kind: type[Demo]) -> None:
    demo, moved = kind(), kind()
    after = drag(demo, (140, 282), at=(0.4, 0.8))
    for x, y, phase in ((1, 0.2, "start"), (0.9, 0.5, "move"), (0.7, 0.9, "move"), (0.4, 0.8, "move")):
        moved._on_drag(x, y, phase)
    assert after == {name: getattr(moved, name) for name in moved.state_names()}


@pytest.mark.parametrize("kind", DRAGGED)
def test_a_drag_that_the_browser_cancels_leaves_nothing(kind: type[Demo]) -> None:
    """It ends in the corner of the window, which is left of the picture and above it."""
    demo = kind()
    before = {name: getattr(demo, name) for name in demo.state_names()}
    assert drag(demo, (-40, -350)) == before
    assert drag(demo, (200, 282)) != before  # and the next drag goes its way
