from collections.abc import Iterator

import pytest
from bokeh.document import Document
from panel.io.state import set_curdoc, state

from wonderland import OSFTStep
from wonderland.demos import jobs
from wonderland.demos.fields import field
from wonderland.demos.pace import Pace


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Document]:
    monkeypatch.setattr(jobs, "served", lambda: True)
    with set_curdoc(Document()):
        yield state.curdoc


@pytest.fixture
def done() -> list[object]:
    return []


def test_without_a_browser_every_wish_is_granted_at_once(done: list[object]) -> None:
    pace = Pace()
    pace.set_out()
    for value in range(3):
        pace.do("slider", lambda value=value: done.append(value))
    assert done == [0, 1, 2]


@pytest.mark.usefixtures("served")
def test_while_a_picture_is_under_way_only_the_latest_wish_of_each_kind_is_kept(done: list[object]) -> None:
    pace = Pace()
    pace.do("slider", lambda: done.append("first"))
    assert done == ["first"]
    pace.set_out()
    for value in range(5):
        pace.do("slider", lambda value=value: done.append(value))
        pace.do("other", lambda value=value: done.append(-value))
    assert done == ["first"]
    pace.painted = 1
    assert done == ["first", 4, -4]
    pace.do("slider", lambda: done.append("next"))
    assert done[-1] == "next"


@pytest.mark.usefixtures("served")
def test_a_button_finds_the_slider_where_the_reader_left_it() -> None:
    demo = OSFTStep(n=3, steps=0)
    slider, run = field(demo, "n"), field(demo, "run")
    demo.pace.set_out()
    slider.value = 5
    assert demo.n == 3  # a picture is under way
    run.clicks += 1
    assert (demo.n, demo.steps) == (5, 5)


def test_a_browser_that_paints_nothing_is_not_waited_for_long(served: Document, done: list[object]) -> None:
    pace = Pace()
    pace.set_out()
    pace.do("slider", lambda: done.append("late"))
    (timer,) = served.session_callbacks
    pace._give_up()
    assert done == ["late"]
    pace._since -= 1
    pace.do("slider", lambda: done.append("on time"))
    assert done == ["late", "on time"]
    assert timer.callback is not None
