"""The written file, opened from disk with the network off: what it shows is what Python computes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

import wonderland
from tests.snapshots.demos import Two
from wonderland.demos.base import Demo
from wonderland.demos.canvas import HINT
from wonderland.demos.training_sim import OWN
from wonderland.prose import chapters
from wonderland.snapshots.axes import Axis, axes_of
from wonderland.snapshots.record import put
from wonderland.theme import DARK, LIGHT

FIRST = {("TrainingSim", "step"): {"moment": 0}, ("TrainingSim", "reveal"): {"view": "prediction"}}
"""Where a button has nothing to do at the start: what is chosen first."""
DEMOS = [content for chapter in chapters() for kind, content in chapter.parts if kind == "demo"]
_DRAWN = """name => !document.querySelector(`#${name} .pictures:not([hidden]) [data-figure]:empty`)
  && document.getElementById(name).replay.figures.every((figure) => figure.views)"""
# What a demo shows: the columns and the limits of the figures on screen, its readouts, and its words on them.
_SHOWN = """name => {
  const figures = document.getElementById(name).replay.figures.filter((figure) => !figure.holder.closest('[hidden]'))
  const data = {}
  for (const figure of figures) for (const [source, mark] of figure.sources) {
    const held = source.data instanceof Map ? Object.fromEntries(source.data) : source.data
    const plain = (v) => ArrayBuffer.isView(v) ? Array.from(v, (x) => Number.isNaN(x) ? 'nan' : x) : v
    const columns = Object.entries(held).map(([key, column]) => [key, Array.from(plain(column), plain)])
    data[mark] = Object.fromEntries(columns)
  }
  const frames = figures.filter((f) => f.frame).map((f) => [
    f.frame, [f.plot.x_range.start, f.plot.x_range.end, f.plot.y_range.start, f.plot.y_range.end]])
  const readouts = [...document.querySelectorAll(`#${name} .readouts > div`)].map((row) =>
    [row.querySelector('dt').textContent, row.querySelector('dd').textContent])
  const described = document.querySelector(`#${name} .described`).getAttribute('aria-label')
  return { data, frames: Object.fromEntries(frames), readouts, described }
}"""


_CORNER = """async () => {
  const image = new Image()
  image.src = window.printed
  await image.decode()
  const context = Object.assign(document.createElement('canvas'), { width: 99, height: 99 }).getContext('2d')
  context.drawImage(image, 0, 0)
  return Array.from(context.getImageData(20, 20, 1, 1).data)
}"""


# Pairs of a note in the margin and what it lies upon, by the chapter's anchor.
_OVERLAPS = """() => [...document.querySelectorAll('section.chapter')].flatMap((chapter) => {
  const others = [...chapter.querySelectorAll('nav.turn, .demo, .scroll, .cards, .contents')]
  return [...chapter.querySelectorAll('.note')].flatMap((note) => {
    const { left, right, top, bottom } = note.getBoundingClientRect()
    const meets = (r) => left < r.right && r.left < right && top < r.bottom - 1 && r.top < bottom - 1
    return others.filter((el) => meets(el.getBoundingClientRect())).map((el) => [chapter.id, el.className])
  })
})"""
# What of the page is cut off at an edge, its own or the paper's.
_CUT = """() => [...document.querySelectorAll('main *')].filter((el) => el.offsetWidth
  && (el.getBoundingClientRect().right > innerWidth + 1
    || (el.matches('pre, .scroll, .values, .display') && el.scrollWidth > el.clientWidth + 1)))
  .map((el) => [el.tagName, el.className, el.closest('[data-demo]')?.id])"""
PAPER = 688
"""Width of what is printed on A4, in CSS pixels."""


class File:
    """A reader of a file on disk, who remembers every error and every request."""

    def __init__(self, browser: Browser, path: Path, width: int = 1400, **context: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 1000}, offline=True, **context)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.wrong: list[str] = []
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on(
            "request", lambda r: self.wrong.append(r.url) if not r.url.startswith(("file:", "data:")) else None
        )
        self.page.goto(path.as_uri())

    def ready(self) -> "File":
        """Wait until every picture is drawn."""
        self.page.wait_for_function("document.documentElement.dataset.ready === 'true'")
        return self

    def move(self, demo: str, number: int, axis: Axis, place: int) -> bool:
        """Move the control of an axis as a reader does; false where the page has none just now."""
        field = self.page.locator(f"#{demo} [data-axis='{number}']")
        if not field.count() or not field.is_visible():
            return False
        field.scroll_into_view_if_needed()
        if (select := field.locator("select")).count():
            select.select_option(str(place))
        elif (radio := field.locator(f"input[type=radio][value='{place}']")).count():
            radio.check(force=True)
        elif (box := field.locator("input[type=checkbox]")).count():
            box.set_checked(bool(axis.values[place][0]))
        else:
            slider = field.locator("input[type=range]")
            at = slider.evaluate("(el, place) => JSON.parse(el.dataset.places)[place]", place)
            slider.evaluate(
                "(el, at) => { el.value = at; el.dispatchEvent(new Event('input', { bubbles: true })) }", at
            )
        return True

    def shown(self, demo: str) -> dict[str, Any]:
        """What a demo shows now, as soon as its figures are drawn: data, frames, readouts and described."""
        self.page.wait_for_function(_DRAWN, arg=demo)
        return self.page.evaluate(_SHOWN, demo)

    def expect(self, demo: Demo) -> None:
        """Compare pictures, frames and words with what the demo says of its present state."""
        name = type(demo).__name__
        shown = self.shown(name)
        assert shown["readouts"] == [[r.label, r.value] for r in demo.readouts(demo.result)]
        assert shown["described"] == demo.describe(demo.result)
        marks = demo.marks(demo.result)
        for mark in marks.keys() - shown["data"].keys() - {HINT}:
            assert mark in shown["frames"], mark
            x, y = marks[mark]["x"], marks[mark]["y"]
            np.testing.assert_allclose(shown["frames"][mark], [*x, *y], rtol=1e-6, err_msg=mark)
        for mark, columns in shown["data"].items():
            assert columns.keys() == marks[mark].keys()
            for column, values in columns.items():
                _same(values, marks[mark][column], f"{name}, {mark}.{column}")

    def close(self) -> None:
        """Leave, and fail if there was an error, a warning or a request."""
        self.context.close()
        assert not self.wrong, self.wrong


def aside(function: Callable, *values: Any) -> Any:
    """Call where no event loop runs, as playwright's does here: a demo then finishes what it starts."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function, *values).result()


def made(name: str, **params: Any) -> Demo:
    """A demo that has finished what it starts with."""
    return aside(partial(getattr(wonderland, name), **params))


def _same(got: list, wanted: Any, what: str) -> None:
    assert len(got) == len(wanted), what
    if not len(wanted):
        return
    if isinstance(wanted[0], str):
        assert got == [str(word) for word in wanted], what
    elif np.ndim(wanted[0]) == 0:
        np.testing.assert_allclose(
            np.array(got, dtype=float), np.asarray(wanted, dtype=float), 1e-6, 1e-9, err_msg=what
        )
    else:
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(np.array(one, dtype=float), np.ravel(other), 1e-6, 1e-9, err_msg=what)


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wonderland.snapshot(tmp_path_factory.mktemp("book") / "rabbit-hole.html", progress=False)


@pytest.fixture
def open_file(browser: Browser) -> Iterator[Callable[..., File]]:
    files: list[File] = []

    def open_it(path: Path, width: int = 1400, **context: Any) -> File:
        files.append(File(browser, path, width, **context))
        return files[-1]

    yield open_it
    for file in files:
        file.close()


def test_every_control_of_every_demo(book: Path, open_file: Callable[..., File]) -> None:
    """Each control is walked from end to end while the others stand where the last one left them."""
    file = open_file(book).ready()
    rng = np.random.default_rng(0)
    for name in DEMOS:
        demo = made(name, dark=True)
        axes = axes_of(demo)
        file.expect(demo)
        for number, axis in enumerate(axes):
            places = {0, len(axis) - 1, int(rng.integers(len(axis)))}
            for place in sorted(places):
                if not file.move(name, number, axis, place):
                    continue
                at = file.page.evaluate("name => document.getElementById(name).replay.at", name)
                assert at[number] == place
                settings = {key: v for one, n in zip(axes, at, strict=True) for key, v in one.settings(n).items()}
                aside(put, demo, settings)
                if demo.problem:
                    assert file.page.locator(f"#{name} .problem").inner_text() == demo.problem
                else:
                    file.expect(demo)
        file.page.locator(f"#{name} .reset").click()
        aside(demo.reset)
        file.expect(demo)


def test_every_button_of_every_demo(book: Path, open_file: Callable[..., File]) -> None:
    file = open_file(book).ready()
    for name in DEMOS:
        demo = made(name, dark=True)
        for press in demo.presses:
            file.page.locator(f"#{name} .reset").click()
            aside(demo.reset)
            for number, axis in enumerate(axes_of(demo)):
                if (value := FIRST.get((name, press), {}).get(axis.spoken)) is not None:
                    assert file.move(name, number, axis, axis.values.index((value,)))
                    aside(put, demo, {axis.spoken: value})
            button = file.page.locator(f"#{name} [data-press='{press}']")
            assert button.is_enabled(), press
            button.click()
            aside(setattr, demo, press, True)
            file.expect(demo)


def test_the_views_of_the_race_have_controls_of_their_own(book: Path, open_file: Callable[..., File]) -> None:
    file = open_file(book).ready()
    demo = made("TrainingSim", dark=True)
    axes = {axis.spoken: (number, axis) for number, axis in enumerate(axes_of(demo))}
    for view, control in (("matrix", "focus"), ("matrix", "measure_of"), ("layers", "weights"), ("curves", "watched")):
        for name, place in (("view", demo.axes["view"].index(view)), (control, 1)):
            number, axis = axes[name]
            assert file.move("TrainingSim", number, axis, place)
            put(demo, axis.settings(place))
        file.expect(demo)
        assert file.page.locator("#TrainingSim .picture:visible").count() == 3
        others = set(OWN) - {own for own, of in OWN.items() if of == view} - {"revealed"}
        for other in others:
            assert not file.page.locator(f"#TrainingSim [data-axis='{axes[other][0]}']").is_visible()


def test_a_slider_between_two_values_goes_to_the_nearest(book: Path, open_file: Callable[..., File]) -> None:
    file = open_file(book).ready()
    slider = file.page.get_by_role("slider", name="Angle in degrees", exact=True)
    slider.evaluate("el => { el.value = 91; el.dispatchEvent(new Event('input', { bubbles: true })) }")
    demo = wonderland.RotationDemo(angle=90, dark=True)
    file.expect(demo)
    assert slider.get_attribute("aria-valuetext") == "90"
    slider.press("ArrowRight")
    demo.angle = 93
    file.expect(demo)
    slider.press("End")
    demo.angle = 360
    file.expect(demo)


@pytest.mark.parametrize("width", [1400, 390])
def test_both_themes_at_both_widths(book: Path, open_file: Callable[..., File], width: int) -> None:
    file = open_file(book, width).ready()
    assert file.page.evaluate("document.documentElement.scrollWidth") <= width
    file.page.get_by_role("button", name="Switch to the light theme").click()
    for name, ink in (("light", LIGHT), ("dark", DARK)):
        background = file.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == f"rgb({', '.join(str(int(ink.page[i : i + 2], 16)) for i in (1, 3, 5))})"
        for demo in DEMOS if width == 1400 else DEMOS[:1]:
            file.expect(made(demo, dark=name == "dark"))
        titles = file.page.evaluate(
            "[...document.querySelectorAll('[data-demo]')].flatMap((el) => el.replay.figures)"
            ".filter((f) => f.plot.title?.text).map((f) => f.plot.title.text_color)"
        )
        assert {ink.muted} == {title["value"] if isinstance(title, dict) else title for title in titles}
        if name == "light":
            file.page.reload()
            file.ready()
            assert file.page.evaluate("document.documentElement.dataset.theme") == "light"  # it is remembered
            file.page.get_by_role("button", name="Switch to the dark theme").click()


def test_a_control_may_choose_the_pictures(tmp_path: Path, open_file: Callable[..., File]) -> None:
    demo = Two(dark=True)
    file = open_file(demo.snapshot(tmp_path / "two.html", progress=False)).ready()
    file.expect(demo)
    assert file.page.locator(".picture:visible").count() == 1
    file.page.get_by_role("radio", name="bars").check(force=True)
    file.page.wait_for_function("document.querySelectorAll('[data-set=\"1\"] .drawn').length === 2")
    file.page.get_by_role("slider", name="A", exact=True).press("End")
    demo.param.update(view="bars", a=2)
    file.expect(demo)
    assert file.page.locator(".picture:visible").count() == 2
    file.page.get_by_role("radio", name="points").check(force=True)
    assert file.page.locator(".picture:visible").count() == 1
    assert file.shown("Two")["data"]["one"]["x"] == [2]


def test_contents_lead_to_the_chapters(book: Path, open_file: Callable[..., File]) -> None:
    file = open_file(book).ready()
    links = file.page.locator("a[href]").evaluate_all("els => els.map((el) => el.getAttribute('href'))")
    assert all(link.startswith(("#", "https://", "data:")) for link in links)
    ids = set(file.page.locator("[id]").evaluate_all("els => els.map((el) => '#' + el.id)"))
    assert {link for link in links if link.startswith("#")} <= ids
    contents = file.page.get_by_role("navigation", name="Chapters")
    for chapter in chapters():
        contents.locator(f"a[href='#chapter-{chapter.number}']").click()
        file.page.wait_for_function(
            "n => Math.abs(document.getElementById(`chapter-${n}`).getBoundingClientRect().top) < 120",
            arg=chapter.number,
        )
    ledger = file.page.locator(".ledger")
    assert "Not measured yet" not in ledger.inner_text()


def test_it_prints_every_picture(book: Path, open_file: Callable[..., File], tmp_path: Path) -> None:
    file = open_file(book).ready()
    count = file.page.locator(".pictures:not([hidden]) [data-figure]").count()
    file.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    file.page.emulate_media(media="print")
    images = file.page.locator("img.printed")
    assert images.count() == count > 20
    assert all(images.evaluate_all("els => els.map((el) => el.offsetHeight > 50)"))
    for selector in (".controls", ".bar", ".side", ".reset"):
        assert not file.page.locator(selector).first.is_visible(), selector
    assert file.page.locator("#RotationDemo .readouts").is_visible()
    colors = file.page.locator("#RotationDemo h2").evaluate("el => getComputedStyle(el).color")
    assert colors == f"rgb({', '.join(str(int(LIGHT.text[i : i + 2], 16)) for i in (1, 3, 5))})"
    file.page.emulate_media(media="screen")
    file.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert images.count() == 0
    file.expect(wonderland.RotationDemo(dark=True))
    file.page.evaluate(
        "addEventListener('beforeprint', () => { window.printed = document.querySelector('.printed').src })"
    )
    file.page.pdf(path=tmp_path / "book.pdf")
    assert (tmp_path / "book.pdf").stat().st_size > 500_000
    # The hole's rim, painted in the light theme although the reader reads in the dark one.
    assert min(file.page.evaluate(_CORNER)) > 150


def test_nothing_is_cut_off_on_paper_and_no_control_is_on_it(book: Path, open_file: Callable[..., File]) -> None:
    file = open_file(book, width=PAPER).ready()
    formulas = file.page.locator("#Budget .formulas")
    assert (formulas.count(), formulas.first.is_visible()) == (8, False)
    file.page.locator("#Budget .opening summary").nth(2).click()
    file.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    file.page.emulate_media(media="print")
    assert file.page.evaluate(_CUT) == []
    controls = file.page.locator("button, input, select, nav")
    assert [each.evaluate("el => el.outerHTML") for each in controls.all() if each.is_visible()] == []
    assert all(each.is_visible() for each in formulas.all())
    file.page.emulate_media(media="screen")
    file.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert [each.is_visible() for each in formulas.all()] == [n == 2 for n in range(8)]


@pytest.mark.parametrize("width", [1280, 1400, 2200])
def test_no_note_in_the_margin_lies_on_what_follows(book: Path, open_file: Callable[..., File], width: int) -> None:
    file = open_file(book, width).ready()
    assert file.page.locator(".note").count() > 10
    assert file.page.evaluate(_OVERLAPS) == []


@pytest.mark.parametrize("width", [1400, 390])
def test_without_javascript_it_can_be_read(book: Path, open_file: Callable[..., File], width: int) -> None:
    file = open_file(book, width=width, java_script_enabled=False)
    text = file.page.locator("main").inner_text()
    for name in DEMOS:
        demo = made(name)
        assert demo.describe(demo.result) in text, name
        assert demo.readouts(demo.result)[0].value in text
    assert text.count("need JavaScript") == len(DEMOS)
    assert file.page.locator("math").count() > 100
    for name in ("RotationDemo", "ProjectionDemo"):
        assert not file.page.locator(f"#{name} .controls .field").first.is_visible()
    file.page.emulate_media(media="print")
    assert not file.page.locator("#Budget .opening").is_visible()  # no script opens it


def test_one_demo_in_a_frame_tells_its_height(tmp_path: Path, browser: Browser, open_file: Callable[..., File]) -> None:
    wonderland.RotationDemo(map="shear", amount=1).snapshot(tmp_path / "rotation.html", progress=False)
    (tmp_path / "blog.html").write_text(
        "<!doctype html><iframe src='rotation.html' style='width: 100%'></iframe><script>\n"
        "addEventListener('message', (event) => {\n"
        "  const frame = document.querySelector('iframe')\n"
        "  if (event.source === frame.contentWindow && event.data.wonderland)\n"
        "    frame.style.height = event.data.height + 'px'\n"
        "})</script>"
    )
    file = open_file(tmp_path / "blog.html")
    inner = file.page.frame_locator("iframe")
    inner.locator(".bk-Canvas").first.wait_for()
    frame = file.page.frames[1]
    frame.wait_for_function("document.documentElement.dataset.ready === 'true'")
    file.page.wait_for_function("document.querySelector('iframe').offsetHeight > 400")
    assert frame.evaluate("document.documentElement.scrollHeight - innerHeight") <= 1
    assert inner.get_by_role("slider", name="Shear or stretch").get_attribute("aria-valuetext") == "1"
