"""How long a reader waits: for a control, for a page, for an import."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import param
import pytest
from bokeh.document import Document as BokehDocument
from bokeh.protocol import Protocol

import wonderland
from tests.ui.conftest import APP, await_answer
from tests.ui.reader import Reader
from wonderland.demos.base import Demo
from wonderland.demos.parameters import Real
from wonderland.document import Document
from wonderland.prose import chapters
from wonderland.slot import Slot

CHANGES = 40
_TIME_A_KEY = """async ([key, times]) => {
  const sources = Bokeh.documents.flatMap(doc => [...doc._all_models.values()])
    .filter(model => model.type === 'ColumnDataSource' && model.name)
  const active = (root) => root.activeElement?.shadowRoot ? active(root.activeElement.shadowRoot) : root.activeElement
  const slider = active(document)
  const waits = []
  for (let n = 0; n < times; n++) {
    const changed = new Promise(done => {
      const seen = () => done(performance.now())
      for (const source of sources) source.properties.data.change.connect(seen)
      setTimeout(() => done(null), 2000)
    })
    const start = performance.now()
    const setter = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set
    setter.call(slider, String(Number(slider.value) + Number(slider.step || 1) * (n % 2 ? -1 : 1)))
    slider.dispatchEvent(new Event('input', { bubbles: true }))
    slider.dispatchEvent(new Event('change', { bubbles: true }))
    const end = await changed
    if (end !== null) waits.push(end - start)
    await new Promise(done => setTimeout(done, 250)) // by then the last picture is painted
  }
  return waits
}"""


def continuous(kind: type[Demo]) -> list[str]:
    """The controls of a demo that a reader slides."""
    names = [*kind.controls, *kind.more]
    return [
        name for name in names if isinstance(kind.param[name], Real) and None not in (kind.param[name].bounds or [None])
    ]


def values(parameter: param.Parameter) -> list[float]:
    low, high = parameter.bounds
    span = np.linspace(low, high, CHANGES + 2)[1:-1]
    return [round(value) for value in span] if parameter.whole else list(span)


def test_python_part_of_a_change(table: Callable[..., None]) -> None:
    """Parameter set → the message to the browser ready, median over changes, ms; the aim is 15."""
    table("demo", "control", "median, ms", "largest, ms")
    protocol = Protocol()
    for name in wonderland.__all__:
        kind = getattr(wonderland, name)
        for control in continuous(kind):
            demo, document, waits = kind(), BokehDocument(), []
            document.add_root(demo.__panel__().get_root(document))
            events: list[object] = []
            document.on_change(events.append)
            for value in values(kind.param[control]):
                events.clear()
                start = time.perf_counter()
                setattr(demo, control, value)
                if events:
                    protocol.create("PATCH-DOC", [e for e in events if hasattr(e, "to_serializable")])
                waits.append((time.perf_counter() - start) * 1000)
            table(name, control, float(median(waits)), float(max(waits)))


def test_change_to_picture_in_the_browser(new_reader: Callable[..., Reader], table: Callable[..., None]) -> None:
    """A slider's input event → the picture's data replaced, median, ms; the aim is 50."""
    table("demo", "control", "median, ms", "90th percentile, ms", "changes seen")
    reader = new_reader()
    for chapter in chapters():
        for kind, name in chapter.parts:
            if kind != "demo":
                continue
            reader.open(f"?chapter={chapter.number}")
            reader.page.wait_for_timeout(1500)
            labels = {getattr(wonderland, name).param[c].label for c in continuous(getattr(wonderland, name))}
            for label in sorted(labels):
                slider = reader.slider(label)
                if not slider.count() or not slider.is_visible():
                    continue
                slider.focus()
                waits = reader.page.evaluate(_TIME_A_KEY, ["ArrowRight", 12])
                if waits:
                    table(name, label, float(median(waits)), float(np.percentile(waits, 90)), len(waits))


def test_opening(new_reader: Callable[..., Reader], server: str, table: Callable[..., None]) -> None:
    """Server start, navigation to the first picture, and Python's work for one more visitor."""
    table("what", "aim", "median")
    starts = []
    # From compiled modules, as every start but a reader's first.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", "import wonderland.document"], env=env, check=True)
    for n in range(5):
        command = [sys.executable, "-m", "panel", "serve", str(APP), "--port", str(5990 + n)]
        begin = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=env)
        await_answer(f"http://localhost:{5990 + n}/app", process)
        starts.append(time.perf_counter() - begin)
        process.terminate()
        process.wait()
    table("server start → first answer, s", "2", f"{median(starts):.2f}")
    for number in range(14):
        visits, demos = [], []
        for _ in range(6):  # of which the first loads what all others share
            begin = time.process_time()
            document = Document(f"?chapter={number}")
            document.page.server_doc(BokehDocument())
            visits.append((time.process_time() - begin) * 1000)
            begin = time.process_time()
            for slot in document._main.select(Slot):
                slot.near = True
            demos.append((time.process_time() - begin) * 1000)
        table(f"Python for one more visitor of chapter {number}, ms", "150", f"{median(visits[1:]):.0f}")
        table("and for its demos, when they are near, ms", "", f"{median(demos[1:]):.0f}")
    pictures = []
    for _ in range(5):
        reader = new_reader()
        begin = time.perf_counter()
        reader.page.goto(f"{server}/app")
        reader.page.locator(".bk-Canvas").first.wait_for()
        pictures.append(time.perf_counter() - begin)
    table("navigation → first picture, s", "2", f"{median(pictures):.2f}")


def test_import(table: Callable[..., None]) -> None:
    """`import wonderland` in a fresh interpreter; the aim is 1 s, without torch."""
    table("import", "median, s")
    for statement in ("pass", "import wonderland", "from wonderland import RotationDemo"):
        waits = []
        for _ in range(5):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            waits.append(time.perf_counter() - begin)
        table(f"`{statement}`", f"{median(waits):.2f}")


@pytest.mark.parametrize("number", range(1, 14))
def test_chapter_turns(new_reader: Callable[..., Reader], number: int, table: Callable[..., None]) -> None:
    """A link in the contents → the chapter's heading and its first picture."""
    table("chapter", "seconds")
    reader = new_reader().open()
    begin = time.perf_counter()
    link = reader.page.get_by_role("navigation", name="Chapters").get_by_role("link", name=re.compile(f"^{number} "))
    link.click()
    reader.page.locator("header.chapter h1", has_text=chapters()[number].title).wait_for()
    if any(kind == "demo" for kind, _ in chapters()[number].parts):
        reader.page.locator(".bk-Canvas").first.wait_for()
    table(number, f"{time.perf_counter() - begin:.2f}")
