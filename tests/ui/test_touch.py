"""A finger on a picture: up and down scrolls the page, sideways drags, and never both."""

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page

CASES = [(0, 0), (1, 1), (3, 1), (5, 0), (7, 0)]  # chapter, and which of its pictures
_SCROLLED = """() => {
  let sum = window.scrollY
  const add = root => root.querySelectorAll('*').forEach(each => {
    sum += each.scrollTop
    if (each.shadowRoot) add(each.shadowRoot)
  })
  add(document)
  return sum
}"""


@pytest.mark.parametrize(("chapter", "picture"), CASES)
def test_a_finger_scrolls_or_drags(browser: Browser, server: str, chapter: int, picture: int) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{server}/app?chapter={chapter}")
    canvas = page.locator(".bk-Canvas").nth(picture)
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)

    before = swipe(page, canvas, 0, 0)
    up = swipe(page, canvas, 0, -90)
    assert up["scrolled"] > before["scrolled"] + 30
    down = swipe(page, canvas, 0, 90)
    assert down["scrolled"] < up["scrolled"] - 30
    aside = swipe(page, canvas, 80, 0)
    assert aside["scrolled"] == down["scrolled"]
    assert aside["state"] != before["state"]
    context.close()


def swipe(page: Page, canvas: Locator, dx: float, dy: float) -> dict[str, object]:
    """Draw a finger over a picture; how far the page is scrolled then, and the state in its address.

    What a scrolling finger moved before the browser knew goes back, if it takes a busy server a while.
    """
    found = state(page)
    box = canvas.bounding_box()
    x, y = box["x"] + 0.6 * box["width"], box["y"] + 0.45 * box["height"]
    session = page.context.new_cdp_session(page)
    if dx or dy:
        path = [(x + dx * step / 20, y + dy * step / 20) for step in range(21)]
        for at, (px, py) in enumerate(path):
            kind = "touchMove" if at else "touchStart"
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": px, "y": py}]})
            page.wait_for_timeout(16)
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(900)
    session.detach()
    for _ in range(50):
        if dx or state(page) == found:
            break
        page.wait_for_timeout(100)
    assert dx or state(page) == found
    return {"scrolled": page.evaluate(_SCROLLED), "state": state(page)}


def state(page: Page) -> str:
    """What the address says of the demo."""
    return "&".join(pair for pair in urlsplit(page.url).query.split("&") if not pair.startswith("chapter="))
