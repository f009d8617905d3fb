"""Every control of every demo, moved by keyboard or mouse: the page must show what Python computes for that state."""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import param
import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout

import wonderland
from tests.ui.reader import Reader
from wonderland import address
from wonderland.demos.base import Demo
from wonderland.demos.parameters import Choice, Matrix, Real
from wonderland.demos.several import Rates, Several
from wonderland.prose import chapters

PLACES = [(chapter.number, name) for chapter in chapters() for kind, name in chapter.parts if kind == "demo"]
PATIENCE = 60  # seconds: the first reader of a server waits for torch


@pytest.mark.parametrize(("number", "name"), PLACES)
def test_it_shows_what_python_computes(reader: Reader, number: int, name: str) -> None:
    kind = getattr(wonderland, name)
    reader.open(f"?chapter={number}")
    reader.page.locator(".bk-Canvas").first.wait_for()
    if kind.more:  # a chapter may have two demos
        buttons = reader.page.get_by_role("button", name="More controls", exact=True)
        buttons.first.wait_for()
        for button in buttons.all():
            button.click()
    moved = []
    for control in [*kind.controls, *kind.more]:
        parameter = kind.param[control]
        if isinstance(parameter, param.Event):
            continue  # what a button does is told by the tests of its own chapter
        if move(reader, parameter, twin_of(kind, reader.page.url).offered(control)):
            reader.expect_address(f"{control}=", PATIENCE)
            expect_twin(reader, kind)
            moved.append(control)
    assert moved


def move(reader: Reader, parameter: param.Parameter, offered: bool) -> bool:
    """Move one control to another value; say whether it is on the page in the present state.

    One that is offered in that state is given time to come.
    """
    label, page = parameter.label, reader.page
    if isinstance(parameter, Real):
        slider, box = reader.slider(label), page.get_by_role("textbox", name=label, exact=True)
        if not offered and not slider.or_(box).is_visible():
            return False
        try:
            slider.or_(box).wait_for(timeout=3_000)
        except PlaywrightTimeout:
            return False
        if box.count():
            reader.type(label, str(parameter.default * 2 or 1))
        else:
            at_end = float(slider.input_value()) >= float(slider.get_attribute("max"))
            reader.nudge(label, "ArrowLeft" if at_end else "ArrowRight")
    elif isinstance(parameter, Several | Rates):
        return False  # chosen one by one in the tests of their own chapter
    elif isinstance(parameter, Matrix):
        box = page.get_by_role("textbox", name=re.compile(f"^{re.escape(label)} row 1 column 1$"))
        box.fill("0.75")
        box.press("Enter")
    elif isinstance(parameter, param.Boolean):
        page.get_by_label(label, exact=True).click()
    elif isinstance(parameter, Choice):
        names = parameter.names or {str(value): value for value in parameter.objects}
        other = next(name for name, value in names.items() if value != parameter.default)
        page.get_by_role("button", name=other, exact=True).click()
    else:
        names = parameter.names or {str(value): value for value in parameter.objects}
        reader.choose(label, next(name for name, value in names.items() if value != parameter.default))
    return True


@lru_cache(1)  # a page is asked many times before it answers
def twin_of(kind: type[Demo], url: str) -> Demo:
    """The demo in the state of an address."""

    def made() -> Demo:
        twin = kind(dark=True)
        _, state, _ = address.decode(url.partition("?")[2])
        assert not address.apply(twin, state), url
        return twin

    # In a thread where no event loop runs, a demo computes all it shows before it goes on.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(made).result()


def expect_twin(reader: Reader, kind: type[Demo]) -> None:
    """Wait until picture and readouts are those of a demo in Python, set by the page's own address."""

    def differences() -> list[str]:
        twin = twin_of(kind, reader.page.url)
        marks = twin.marks(twin.result)
        on_page = {mark: found for mark, found in reader.found_of(marks).items() if found is not None}
        assert on_page
        wrong = [mark for mark, columns in on_page.items() if not same(columns, marks[mark])]
        shown = readouts(reader)
        return wrong + [one.label for one in twin.readouts(twin.result) if shown.get(one.label) != one.value]

    try:
        reader.wait_for(lambda: not differences(), reader.page.url, PATIENCE)
    except AssertionError as error:
        raise AssertionError(f"{reader.page.url}: {differences()} differ; {error}") from None


def readouts(reader: Reader) -> dict[str, str]:
    """Labels and values of the strip under the picture, all of one moment."""
    strip = reader.page.locator(".readouts > div")
    return dict(strip.evaluate_all("all => all.map(one => ['dt', 'dd'].map(tag => one.querySelector(tag).innerText))"))


def same(shown: dict, computed: dict) -> bool:
    """Whether the columns in the browser are those computed."""
    for name, column in computed.items():
        wanted = [part for entry in column for part in np.ravel(entry).tolist()]
        got = [part for entry in shown[name] for part in np.ravel(entry).tolist()]
        if len(wanted) != len(got):
            return False
        if all(isinstance(value, str) for value in wanted):
            if wanted != got:
                return False
        elif not np.allclose(np.array(got, float), np.array(wanted, float), rtol=1e-6, atol=1e-9, equal_nan=True):
            return False
    return True
