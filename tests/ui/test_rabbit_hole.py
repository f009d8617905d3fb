"""The opening in a browser."""

from urllib.parse import parse_qs, urlsplit

import numpy as np

from tests.ui.reader import Reader
from wonderland.theme import LIGHT

SLIDER = "Turn per square, in degrees"


def vertex(degrees: float, square: int) -> complex:
    """The upper right corner of the first square, as it lies in another one."""
    t = np.deg2rad(degrees)
    return (1 + 1j) * (np.exp(1j * t) / (np.cos(t) + abs(np.sin(t)))) ** square


def is_turned(reader: Reader, degrees: float) -> bool:
    hole = reader.data("hole")
    return all(
        abs(complex(hole["xs"][3 * square][0], hole["ys"][3 * square][0]) - vertex(degrees, square)) < 2e-5
        for square in (1, 10, 29)
    )


def expect_turn(reader: Reader, degrees: float) -> None:
    reader.wait_for(lambda: is_turned(reader, degrees), f"squares turned by {degrees}°")


def turn_of(reader: Reader) -> float:
    """The turn in the page's address; a slider that was dragged past its steps would round it."""
    query = parse_qs(urlsplit(reader.page.url).query)
    return float(query.get("turn", ["5"])[0])


def middle(reader: Reader) -> tuple[float, float, float]:
    """Middle of the picture and half its side, in pixels."""
    box = reader.page.locator(".bk-Canvas").first
    box.scroll_into_view_if_needed()
    frame = box.bounding_box()
    assert abs(frame["width"] - frame["height"]) <= 1
    return frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2, frame["width"] / 2


def test_the_slider_twists_the_hole(reader: Reader) -> None:
    reader.open()
    expect_turn(reader, 5)
    reader.expect_readout("square 30, turned", "150.0°")
    reader.nudge(SLIDER, "ArrowRight", times=4)
    expect_turn(reader, 7)
    reader.expect_readout("square 30, turned", "210.0°")
    reader.expect_readout("square 30, size", f"{100 * abs(vertex(7, 30)) / np.sqrt(2):.3g} %")
    reader.expect_readout("det of each turn", "+1.000000")
    reader.wait_for(lambda: reader.page.url.endswith("?chapter=0&turn=7"), "the address")
    reader.nudge(SLIDER, "Home")
    expect_turn(reader, -45)


def test_the_picture_twists_under_the_pointer(reader: Reader) -> None:
    reader.open()
    expect_turn(reader, 5)
    x, y, half = middle(reader)
    radius = half * 1.2 * abs(vertex(5, 6)) / np.sqrt(2)  # the sixth square
    reader.page.mouse.move(x + radius, y)
    reader.page.mouse.down()
    for degrees in range(3, 61, 3):
        t = np.deg2rad(degrees)
        reader.page.mouse.move(x + radius * np.cos(t), y - radius * np.sin(t))
    reader.page.mouse.up()
    wanted = 5 + 60 / 6
    reader.wait_for(
        lambda: abs((turn := turn_of(reader)) - wanted) < 1 and is_turned(reader, turn), f"a twist to {wanted}°"
    )


def test_it_is_there_after_another_chapter_and_in_the_other_theme(reader: Reader) -> None:
    reader.open("?chapter=0&turn=-9")
    expect_turn(reader, -9)
    reader.page.locator("a[rel=next]").click()
    reader.page.locator("header.chapter h1", has_text="Looking Glass").wait_for()
    reader.page.locator("a[rel=prev]").click()
    reader.page.locator("header.chapter h1", has_text="Rabbit Hole").wait_for()
    reader.picture()  # the page stands still: the focus is nobody else's any more
    expect_turn(reader, -9)
    reader.nudge(SLIDER, "ArrowRight", times=2)
    expect_turn(reader, -8)
    middle(reader)
    reader.page.get_by_role("button", name="theme").click()
    reader.wait_for(lambda: reader.data("hole")["fill"][-1] == LIGHT.text, "the light palette")
    expect_turn(reader, -8)


def test_reset_goes_back(reader: Reader) -> None:
    reader.open("?chapter=0&turn=-9")
    expect_turn(reader, -9)
    reader.press("Reset")
    expect_turn(reader, 5)


def test_it_fits_a_phone(new_reader) -> None:
    reader = new_reader(390, 844)
    reader.open()
    expect_turn(reader, 5)
    x, _, half = middle(reader)
    assert x - half >= 0
    assert x + half <= 390
    assert half > 150


def test_an_address_that_turns_too_far_says_so(reader: Reader) -> None:
    reader.open("?chapter=0&turn=99")
    assert (
        reader.alert() == "From the address: Turn per square, in degrees = 99 is out of range: give a number, -45…45."
    )
    expect_turn(reader, 5)
