"""A reader in a real browser: opens the page, moves controls, and reads what is really on screen."""

import time
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request

from wonderland.address import decode
from wonderland.prose import chapters

_COLUMNS = """marks => {
  const columns = mark => {
    const found = []
    for (const doc of Bokeh.documents) for (const model of doc._all_models.values())
      if (model.name === mark && model.type === 'ColumnDataSource') found.push(model)
    if (!found.length) return null
    // After a change of theme the page still knows the figures that it replaced: the latest counts.
    const { data } = found.reduce((a, b) => Number(b.id.slice(1)) > Number(a.id.slice(1)) ? b : a)
    const entries = data instanceof Map ? [...data] : Object.entries(data)
    const plain = value => ArrayBuffer.isView(value) ? Array.from(value) : value
    return Object.fromEntries(entries.map(([name, column]) => [name, Array.from(column, plain)]))
  }
  return marks.map(columns)
}"""


class Reader:
    """One browser context at one width; it remembers every error and every request to another host."""

    def __init__(self, browser: Browser, server: str, width: int = 1400, height: int = 1000) -> None:
        self.server = server
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._on_request)

    def open(self, query: str = "") -> "Reader":
        """Go to an address, `"?chapter=3&angle=60"` say, and wait until its chapter and all its demos are there."""
        self.page.goto(f"{self.server}/app{query}")
        self.page.locator("header.chapter h1").wait_for()
        self.come_near(decode(query)[0])
        return self

    def come_near(self, number: int) -> None:
        """Scroll through a chapter, the opening aside, and back: a demo is built when a reader comes near it."""
        wanted = sum(kind == "demo" for kind, _ in chapters()[number].parts if number)
        demos, rooms = self.page.locator(".demo"), self.page.locator(".room")

        def there() -> bool:
            rooms.evaluate_all("rooms => rooms[0]?.scrollIntoView()")
            return demos.count() == wanted

        self.wait_for(there, f"{wanted} demos", timeout=40)
        self.page.locator("header.chapter h1").evaluate("heading => heading.scrollIntoView({ block: 'end' })")

    def data(self, mark: str) -> dict[str, list[Any]]:
        """The columns of one mark as the browser holds them."""
        return self.wait_for(lambda: self.found(mark), f"mark {mark!r}")

    def found(self, mark: str) -> dict[str, list[Any]] | None:
        """The same, or None where no picture on the page draws that mark just now."""
        return self.found_of([mark])[mark]

    def found_of(self, marks: Collection[str]) -> dict[str, dict[str, list[Any]] | None]:
        """The same of several marks, all of one moment."""
        return dict(zip(marks, self.page.evaluate(_COLUMNS, list(marks)), strict=True))

    def column(self, mark: str, name: str) -> np.ndarray:
        """One numeric column of one mark."""
        return np.array(self.data(mark)[name], dtype=float)

    def expect_column(self, mark: str, name: str, values: Any, atol: float = 1e-9) -> None:
        """Wait until a mark's column holds these values; fail with what it holds instead."""
        wanted = np.asarray(values, dtype=float)

        def there() -> bool:
            got = self.column(mark, name)
            return got.shape == wanted.shape and bool(np.allclose(got, wanted, rtol=1e-6, atol=atol))

        try:
            self.wait_for(there, f"{mark}.{name}")
        except AssertionError:
            raise AssertionError(f"{mark}.{name} is {self.column(mark, name)}, not {wanted}") from None

    def expect_address(self, part: str, timeout: float = 15.0) -> None:
        """Wait until the address holds, or with ``$`` at the end ends in, this."""
        if part.endswith("$"):
            there, what = lambda: self.page.url.endswith(part[:-1]), f"an address that ends in {part[:-1]!r}"
        else:
            there, what = lambda: part in self.page.url, f"{part!r} in the address"
        self.wait_for(there, what, timeout)

    def readout(self, label: str) -> str:
        """The value that stands under the picture beside this label."""
        return (
            self.page.locator(".readouts div", has=self.page.get_by_text(label, exact=True)).locator("dd").inner_text()
        )

    def expect_readout(self, label: str, value: str) -> None:
        """Wait until a readout says this."""
        try:
            self.wait_for(lambda: self.readout(label) == value, label)
        except AssertionError:
            raise AssertionError(f"{label!r} reads {self.readout(label)!r}, not {value!r}") from None

    def picture(self, index: int = 0) -> dict[str, float]:
        """Scroll to a picture and return its x, y, width and height, once the page around it stands still."""
        canvas = self.page.locator(".bk-Canvas").nth(index)
        canvas.scroll_into_view_if_needed()
        boxes = [None]

        def still() -> bool:
            self.page.wait_for_timeout(200)
            boxes.append(canvas.bounding_box())
            return boxes[-1] == boxes[-2]

        self.wait_for(still, "a page that stands still")
        return boxes[-1]

    def slider(self, label: str) -> Locator:
        """The slider with that label."""
        return self.page.get_by_role("slider", name=label, exact=True)

    def nudge(self, label: str, key: str = "ArrowRight", times: int = 1) -> None:
        """Move a slider by keyboard."""
        self.slider(label).focus()
        for _ in range(times):
            self.page.keyboard.press(key)

    def choose(self, label: str, option: str) -> None:
        """Choose an option of a select by keyboard; its list opens at the present value."""
        self.page.get_by_role("combobox", name=label).first.press("ArrowDown")
        options, wanted = self.page.get_by_role("option"), self.page.get_by_role("option", name=option, exact=True)
        self.page.get_by_role("option", selected=True).and_(self.page.locator(":focus")).wait_for()
        wanted.wait_for()
        self.page.keyboard.press("Home")
        for _ in range(options.count()):
            if wanted.and_(self.page.locator(":focus")).count():
                break
            self.page.keyboard.press("ArrowDown")
        self.page.keyboard.press("Enter")
        wanted.wait_for(state="hidden")

    def type(self, label: str, text: str) -> None:
        """Type into a labelled text field and leave it."""
        box = self.page.get_by_role("textbox", name=label, exact=True)
        box.fill(text)
        box.press("Enter")
        box.blur()

    def press(self, label: str) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=label, exact=True).click()

    def alert(self) -> str:
        """The text of the error that is shown."""
        alert = self.page.get_by_role("alert").filter(has_text=" ").first
        alert.wait_for()
        return alert.inner_text()

    def wait_for(self, ready: Callable[[], Any], what: str | Callable[[], str], timeout: float = 15.0) -> Any:
        """Wait until `ready()` is truthy and return it; else say what did not come, as it is then."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if found := ready():
                return found
            self.page.wait_for_timeout(40)
        seen = self.page.locator("header.chapter h1, .demo, [role=alert]").all_inner_texts()
        what = what() if callable(what) else what
        raise AssertionError(f"{what} did not come within {timeout:g} s; on screen: {seen}")

    def close(self) -> None:
        """Leave, and fail if the page made an error or asked another host."""
        self.context.close()
        assert not self.errors, self.errors
        assert not self.foreign, self.foreign

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.server, "data:", "blob:")):
            self.foreign.append(request.url)
