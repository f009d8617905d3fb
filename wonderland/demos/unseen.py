"""JavaScript that teaches the page something once it is in a demo, with nothing to be seen of it."""

from panel.custom import JSComponent

from wonderland.theme import ASSETS

_NOTHING = """
    export function render () {
      const nothing = document.createElement('div')
      nothing.hidden = true
      return nothing
    }
"""


def unseen(name: str) -> str:
    """A script of the assets, as a component's module that draws nothing."""
    return (ASSETS / name).read_text(encoding="utf-8") + _NOTHING


class StaysOpen(JSComponent):
    """What a reader has opened in a demo's words stays open when they are written anew; see `stays_open`."""

    _esm = unseen("stays-open.js")

    def __init__(self) -> None:
        super().__init__(width=0, height=0, margin=0)


class SelectKeys(JSComponent):
    """A focused select opens by Enter, Space or an arrow, and tells a screen reader what its options are."""

    _esm = unseen("select-keys.js")

    def __init__(self) -> None:
        super().__init__(width=0, height=0, margin=0)


def stays_open(key: str, summary: str, content: str) -> str:
    """HTML that opens and closes, and is found again by its key, one of the demo's own.

    It closes at every change unless `StaysOpen` is in the demo.
    """
    return f'<stays-open key="{key}"><details><summary>{summary}</summary>{content}</details></stays-open>'
