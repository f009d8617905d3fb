"""The page as a whole, in a browser."""

from collections.abc import Callable

import pytest

from tests.ui.reader import Reader
from wonderland.address import decode
from wonderland.prose import chapters

NUMBERS = range(14)
WIDTHS = (1400, 768, 390)
_OVERFLOW = """() => {
  const wide = []
  const look = (root) => { for (const el of root.querySelectorAll('*')) {
    if (el.classList.contains('main-content') && el.scrollWidth > el.clientWidth + 1) wide.push(el.scrollWidth)
    if (el.shadowRoot) look(el.shadowRoot) } }
  look(document)
  if (document.documentElement.scrollWidth > window.innerWidth) wide.push(document.documentElement.scrollWidth)
  return wide
}"""

_FOCUSED = """() => {
  let el = document.activeElement
  while (el.shadowRoot?.activeElement) el = el.shadowRoot.activeElement
  return el.textContent
}"""


def heading(reader: Reader) -> str:
    return reader.page.locator("header.chapter h1").inner_text()


@pytest.mark.parametrize("number", NUMBERS)
def test_every_chapter(reader: Reader, number: int) -> None:
    reader.open(f"?chapter={number}")
    assert heading(reader) == chapters()[number].title
    expect_mathematics(reader, number)
    expect_names_and_words(reader, number)
    for width in WIDTHS:
        reader.page.set_viewport_size({"width": width, "height": 900})
        reader.page.wait_for_timeout(200)  # laid out again, or being so
        reader.wait_for(lambda: reader.page.evaluate(_OVERFLOW) == [], f"a page of {width} px")


def expect_mathematics(reader: Reader, number: int) -> None:
    """Every formula of the chapter is there as MathML, laid out, and none is left as TeX."""
    formulas = reader.page.locator("math")
    written = sum(text.count("<math") for kind, text in chapters()[number].parts if kind == "html")
    assert formulas.count() == written
    heights = formulas.evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
    assert all(height > 5 for height in heights)
    prose = " ".join(reader.page.locator(".prose").all_inner_texts())
    assert "$" not in prose
    assert "\\" not in reader.page.locator(".prose p").first.inner_text()


def expect_names_and_words(reader: Reader, number: int) -> None:
    """Every control has a name, and every demo's picture is told in words with its numbers."""
    demos = [name for kind, name in chapters()[number].parts if kind == "demo"]
    if demos:
        reader.page.locator(".bk-Canvas").first.wait_for()
    tree = reader.page.locator("main").aria_snapshot()
    unnamed = [
        line for line in tree.splitlines() if line.strip() in {"- slider", "- textbox", "- combobox", "- switch"}
    ]
    assert not unnamed, tree
    described = reader.page.locator(".described").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert len(described) >= len(demos)
    for words in described:
        assert len(words) > 40
        assert any(character.isdigit() for character in words)


def test_it_is_dark_and_turns_light_without_losing_state(reader: Reader) -> None:
    reader.open("?chapter=3&angle=100")
    before = reader.column("after", "x")
    background = "e => getComputedStyle(e).backgroundColor"
    main = reader.page.locator("main")
    assert main.evaluate(background) == "rgb(13, 13, 15)"
    reader.press("Toggle theme")
    reader.wait_for(lambda: main.evaluate(background) == "rgb(250, 248, 243)", "the light theme")
    reader.expect_column("after", "x", before)
    reader.expect_address("angle=100")
    reader.nudge("Angle in degrees")
    reader.wait_for(lambda: "angle=101" in reader.page.url, "the next degree")
    reader.page.reload()
    reader.page.locator("header.chapter h1").wait_for()
    reader.wait_for(lambda: main.evaluate(background) == "rgb(250, 248, 243)", "the theme of the last visit")
    heading, color = reader.page.locator(".demo h2"), "e => getComputedStyle(e).color"
    text = main.evaluate("e => getComputedStyle(e).getPropertyValue('--w-text')")
    ink = tuple(int(text.strip()[at : at + 2], 16) for at in (1, 3, 5))
    reader.wait_for(lambda: heading.evaluate(color) == f"rgb{ink}", "the demo in that theme")
    assert reader.data("after")["x"]


def test_next_previous_contents_and_history(reader: Reader) -> None:
    reader.open()
    reader.page.get_by_role("link", name="Next Through the Looking Glass").click()
    reader.wait_for(lambda: heading(reader) == chapters()[1].title, "chapter 1")
    reader.expect_address("?chapter=1$")
    contents = reader.page.get_by_role("navigation", name="Chapters")
    contents.get_by_role("link", name=chapters()[3].title).focus()
    reader.page.keyboard.press("Enter")
    reader.wait_for(lambda: heading(reader) == chapters()[3].title, "chapter 3")
    here = contents.locator("[aria-current=page]")
    reader.wait_for(lambda: here.inner_text().endswith(chapters()[3].title), "the mark in the contents")
    reader.nudge("Angle in degrees", times=2)
    reader.wait_for(lambda: "angle=47" in reader.page.url, "47 degrees")
    reader.page.get_by_role("link", name="Previous The Queen’s Matrix Garden").click()
    reader.wait_for(lambda: heading(reader) == chapters()[2].title, "chapter 2")
    reader.page.go_back()
    reader.wait_for(lambda: heading(reader) == chapters()[3].title, "chapter 3 again")
    assert reader.slider("Angle in degrees").input_value() == "47"


def test_figures_that_arrive_while_the_page_grows(reader: Reader) -> None:
    reader.open("?chapter=3")
    reader.picture()
    reader.page.get_by_role("navigation", name="Chapters").get_by_role("link", name=chapters()[10].title).click()
    reader.wait_for(lambda: heading(reader) == chapters()[10].title, "chapter 10")
    reader.come_near(10)
    reader.wait_for(lambda: reader.page.locator(".bk-Canvas").count() == 3, "its figures")
    for index in range(3):
        assert reader.picture(index)["width"] > 300
    # Leaving asserts that there was no error on the way.


@pytest.mark.parametrize("how", ["scrolling", "by keyboard"])
def test_a_demo_is_built_when_the_reader_comes_near(new_reader: Callable[..., Reader], how: str) -> None:
    reader = new_reader(width=390, height=800)
    reader.page.goto(f"{reader.server}/app?chapter=10")
    cards, rooms = reader.page.locator(".demo"), reader.page.locator(".room")
    reader.wait_for(lambda: (cards.count(), rooms.count()) == (1, 1), "the first demo alone")
    reader.page.wait_for_timeout(500)
    assert (cards.count(), rooms.count()) == (1, 1)
    if how == "scrolling":
        rooms.evaluate_all("rooms => rooms[0].scrollIntoView()")
    else:
        reader.page.keyboard.press("Tab")
    reader.wait_for(lambda: (cards.count(), rooms.count()) == (2, 0), "the second demo")
    reader.slider("Memory you have, GiB").wait_for()


def test_the_keyboard_skips_to_the_text_and_lands_on_headings(reader: Reader) -> None:
    reader.open("?chapter=12")
    skip = reader.page.get_by_role("link", name="Skip to the text")
    skip.focus()
    reader.page.keyboard.press("Enter")
    reader.wait_for(lambda: reader.page.evaluate(_FOCUSED) == chapters()[12].title, "the heading")
    reader.page.get_by_role("link", name=f"Next {chapters()[13].title}").press("Enter")
    reader.wait_for(lambda: reader.page.evaluate(_FOCUSED) == chapters()[13].title, "the next heading")


def test_a_copied_address_restores_the_state(new_reader: Callable[..., Reader]) -> None:
    first = new_reader().open("?chapter=3")
    first.choose("Map", "reflection")
    first.nudge("Angle in degrees", "ArrowLeft", times=5)
    first.wait_for(lambda: "angle=40" in first.page.url and "map=reflection" in first.page.url, "the address")
    second = new_reader().open("?" + first.page.url.split("?")[1])
    second.expect_column("after", "x", first.column("after", "x"))
    assert second.slider("Angle in degrees").input_value() == "40"


def test_two_visitors_do_not_share_state(new_reader: Callable[..., Reader]) -> None:
    one, two = new_reader().open("?chapter=3"), new_reader().open("?chapter=3")
    before = two.column("after", "x")
    one.nudge("Angle in degrees", times=10)
    one.wait_for(lambda: "angle=55" in one.page.url, "55 degrees")
    two.page.wait_for_timeout(300)
    assert two.slider("Angle in degrees").input_value() == "45"
    two.expect_column("after", "x", before)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?chapter=99", "chapter “99”"),
        ("?chapter=-1", "chapter “-1”"),
        ("?chapter=Alice", "chapter “Alice”"),
        ("?chapter=3&angle=nan", "Angle in degrees is “nan”"),
        ("?chapter=3&angle=400", "Angle in degrees = 400 is out of range"),
        ("?chapter=3&angle=", "Angle in degrees is empty"),
        ("?chapter=3&map=teapot", "Map is “teapot”"),
        ("?chapter=3&cheshire=cat", "“cheshire” is no control"),
        ("?chapter=12&cheshire=cat", "“cheshire” is no control"),
        ("?chapter=3&angle=%FF", "is “\ufffd”: give"),
        ("?chapter=3&map=<script>alert(1)</script>", "Map is “<script>"),
    ],
)
def test_a_bad_address_is_answered_in_words(reader: Reader, query: str, message: str) -> None:
    reader.open(query)
    assert message in reader.alert()
    assert heading(reader) == chapters()[decode(query)[0]].title


def test_a_phone_starts_with_the_contents_closed(new_reader: Callable[..., Reader]) -> None:
    reader = new_reader(390, 844).open("?chapter=3")
    reader.page.get_by_role("button", name="Open drawer").wait_for()
    contents = reader.page.get_by_role("navigation", name="Chapters")
    reader.wait_for(lambda: not contents.is_visible(), "a closed drawer")
    reader.press("Open drawer")
    contents.get_by_role("link", name=chapters()[4].title).click()
    reader.wait_for(lambda: heading(reader) == chapters()[4].title, "chapter 4")
    reader.wait_for(lambda: not contents.is_visible(), "a closed drawer again")
