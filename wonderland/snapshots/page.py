"""The file's page: the chapters in their order or one demo alone, with everything it needs inside."""

import base64
import html as _html
import re
from collections.abc import Mapping

from bokeh.resources import Resources

from wonderland.demos.base import Claim
from wonderland.document import LEVELS, TITLE, contents_html, header_html, sidebar_html, turn_html
from wonderland.ledger import claims, comparison, ledger_html
from wonderland.prose import Chapter
from wonderland.snapshots.cards import scoped
from wonderland.theme import ASSETS, DARK, LIGHT, stylesheet

# A browser that honors it asks no host for anything, whatever is in the file.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)
# Before anything is drawn: the theme that the reader chose, and that there is JavaScript.
_FIRST = """
(() => {
  const root = document.documentElement
  root.classList.add('js')
  try { root.dataset.theme = localStorage.getItem('wonderland-theme') === 'light' ? 'light' : 'dark' } catch {}
})()
"""


def book(parts: list[Chapter], cards: Mapping[str, str], found: Mapping[str, Claim]) -> str:
    """The chapters with their demos' cards and what the ledger measured."""
    body = "".join(_chapter(chapter, cards, found) for chapter in parts)
    return _page(
        TITLE if len(parts) > 1 or not parts[0].number else f"{parts[0].title} · {TITLE}",
        f'<header class="bar"><a class="title" href="#chapter-{parts[0].number}">{TITLE}</a>{_SWITCH}</header>'
        f'<div class="side"><details class="toc" open><summary>Contents</summary>{sidebar_html(parts[0].number)}'
        f'</details></div><main id="text" tabindex="-1">{body}</main>',
        {chapter.number for chapter in parts},
    )


def single(name: str, title: str, card: str) -> str:
    """One demo's card, for a frame in another page."""
    return _page(title, f'<main class="single" data-single="{name}">{_SWITCH}{card}</main>', set())


_SWITCH = '<button type="button" class="theme" hidden>Light</button>'


def _chapter(chapter: Chapter, cards: Mapping[str, str], found: Mapping[str, Claim]) -> str:
    pieces = [f'<div class="text">{header_html(chapter)}</div>']
    for kind, content in chapter.parts:
        if kind == "html":
            pieces.append(f'<div class="text"><div class="prose">{content}</div></div>')
        elif kind == "demo":
            pieces.append(cards[content])
        elif kind == "contents":
            pieces.append(f'<div class="text"><div class="contents">{contents_html()}</div></div>')
        elif kind == "ledger":
            note = '<p class="note-line"><span class="tag">measured when this file was written</span></p>'
            pieces.append(f'<div class="text">{note}{ledger_html(found)}</div>')
        else:
            made = {"claims": claims, "comparison": comparison}[kind](None)
            pieces.append(f'<div class="text">{made.object}</div>')
    pieces.append(f'<div class="text">{turn_html(chapter.number)}</div>')
    level = LEVELS.get(chapter.level, "")
    return f'<section class="chapter" id="chapter-{chapter.number}" data-level="{level}">{"".join(pieces)}</section>'


def _page(title: str, body: str, here: set[int]) -> str:
    body = re.sub(r'href="\?chapter=(\d+)[^"]*"', lambda match: _link(int(match[1]), here), body)
    bokeh = "\n".join(Resources(mode="inline", minified=True, components=["bokeh"]).js_raw)
    script = "".join((ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in ("stays-open", "snapshot"))
    return (
        f'<!DOCTYPE html>\n<html lang="en" data-theme="dark"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{_html.escape(title)}</title>'
        f"<style>{_styles()}</style><script>{_FIRST}</script></head><body>\n{body}\n"
        f"<script>{_inline(bokeh)}</script>\n<script>{_inline(script)}</script></body></html>\n"
    )


def _link(number: int, here: set[int]) -> str:
    return f'href="#chapter-{number}"' if number in here else 'aria-disabled="true"'


def _inline(script: str) -> str:
    """A script that may stand in a page."""
    return re.sub(r"</(script)", r"<\\/\1", script, flags=re.IGNORECASE)


def _styles() -> str:
    def theme(selector: str, values: Mapping[str, str]) -> str:
        return f"{selector} {{ {' '.join(f'{name}: {value};' for name, value in values.items())} }}\n"

    font = base64.b64encode((ASSETS / "fonts" / "stix-two-math.woff2").read_bytes()).decode()
    light = LIGHT.variables()
    return (
        f"@font-face {{ font-family: 'Wonderland Math'; src: url(data:font/woff2;base64,{font}) format('woff2'); }}\n"
        + theme(":root", DARK.variables())
        + theme(":root[data-theme='light']", light)
        + f"@media print {{ {theme(':root, :root[data-theme]', light)} }}\n"
        + scoped(stylesheet("demo"), ".demo")
        + scoped(stylesheet("prose"), ".text")
        + scoped(stylesheet("sidebar"), ".side")
        + stylesheet("snapshot")
    )
