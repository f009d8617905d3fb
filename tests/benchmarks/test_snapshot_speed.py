"""The book as a file: how large, how long to write, to open, and to answer a control."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from playwright.sync_api import Browser, Page

import wonderland
from wonderland.snapshots.axes import axes_of
from wonderland.snapshots.record import plan

CHANGES = 16
# A control is moved, and two frames later what it changed has been painted.
_CHANGE = """async ([name, axis, place]) => {
  const player = document.getElementById(name).replay
  const field = player.card.querySelector(`[data-axis="${axis}"]`)
  const input = field && !field.hidden && field.querySelector('input, select')
  if (!input) return false
  const range = input.type === 'range'
  const target = input.type === 'radio' ? field.querySelector(`input[value="${place}"]`) : input
  if (input.type === 'radio') target.checked = true
  else if (input.type === 'checkbox') target.checked = !target.checked
  else target.value = range ? JSON.parse(target.dataset.places)[place] : place
  target.dispatchEvent(new Event(range ? 'input' : 'change', { bubbles: true }))
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 0))))
  return true
}"""


class Clock:
    """What the page's own thread has worked so far, in ms of a processor: other work on the machine does not count."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def read(self) -> np.ndarray:
        """JavaScript alone; all of it, styles, layout and painting too."""
        found = {row["name"]: 1000 * row["value"] for row in self._session.send("Performance.getMetrics")["metrics"]}
        return np.array([found["ScriptDuration"], found["TaskDuration"]])


def test_the_book_as_a_file(browser: Browser, tmp_path: Path, table: Callable[..., None]) -> None:
    """Aims: 12 MB, 60 s to write, 3 s to the first picture, 17 ms of JavaScript a change."""
    path = tmp_path / "rabbit-hole.html"
    begin, spent = time.perf_counter(), time.process_time()
    wonderland.snapshot(path, progress=False)
    wrote, spent = time.perf_counter() - begin, time.process_time() - spent
    text = path.read_text(encoding="utf-8")
    table("what", "aim", "measured")
    table("size of the book, MB", "12", f"{path.stat().st_size / 1e6:.2f}")
    table("time to write it, s", "60", f"{wrote:.1f} ({spent:.1f} of a processor, load {os.getloadavg()[0]:.1f})")
    firsts, whole = [], []
    for _ in range(5):
        page = browser.new_context(viewport={"width": 1400, "height": 1000}, offline=True).new_page()
        begin = time.perf_counter()
        page.goto(path.as_uri(), wait_until="commit")
        page.locator(".bk-Canvas").first.wait_for()
        firsts.append(time.perf_counter() - begin)
        page.wait_for_function("document.documentElement.dataset.ready === 'true'")
        whole.append(time.perf_counter() - begin)
        page.context.close()
    table("opening → first picture, s", "3", f"{median(firsts):.2f}")
    table("opening → every picture, s", "", f"{median(whole):.2f}")
    page = browser.new_context(viewport={"width": 1400, "height": 1000}, offline=True).new_page()
    page.goto(path.as_uri())
    page.wait_for_function("document.documentElement.dataset.ready === 'true'")
    rng = np.random.default_rng(0)
    table("demo", "states; kB in the file", "ms of a processor a change, medians: control JavaScript, all")
    clock = Clock(page)
    for name, data in re.findall(r'data-record="(\w+)">([^<]*)<', text):
        demo = getattr(wonderland, name)()
        page.locator(f"#{name}").scroll_into_view_if_needed()
        rows = []
        for number, axis in enumerate(axes_of(demo)):
            waits = []
            for place in rng.integers(len(axis), size=CHANGES).tolist():
                before = clock.read()
                if not page.evaluate(_CHANGE, [name, number, place]):
                    break
                waits.append(clock.read() - before)
            if waits:
                script, task = np.median(waits, axis=0)
                rows.append(f"{axis.spoken} {script:.1f}, {task:.1f}")
        table(name, f"{plan(demo).states:,}; {len(data) / 1e3:,.0f}", "; ".join(rows))
    page.context.close()
