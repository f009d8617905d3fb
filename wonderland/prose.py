"""Chapters in Markdown, with TeX mathematics, as HTML.

Mathematics becomes MathML here, in Python: browsers lay it out themselves, so nothing jumps when a script arrives,
screen readers read it, and it stands without JavaScript.
"""

import re
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

_SLOT = re.compile(r"^\[\[(demo \w+|claims|contents|ledger|comparison)\]\]$", re.MULTILINE)
_NOTE = re.compile(r"^\[\[note\]\] (.+)$", re.MULTILINE)
# A formula and the punctuation that touches it stay on one line.
_FORMULA = r'<span class="math inline">(?:(?!</math>).)*</math></span>'
_TOUCHING = re.compile(rf"[(“]?{_FORMULA}[.,;:)’”?!]+|[(“]{_FORMULA}", re.DOTALL)
_KEYS = {"title", "subtitle", "level", "motif", "promise"}


@dataclass(frozen=True)
class Chapter:
    """One chapter: its front matter, and its body in Markdown."""

    number: int
    title: str
    subtitle: str
    level: int
    motif: str
    promise: str
    body: str

    @cached_property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """The body as HTML pieces and slots in reading order, made when first asked for.

        A part is ``("html", text)``, ``("demo", class name)``, or a slot's name with an empty text.
        """
        parts, end = [], 0
        for slot in _SLOT.finditer(self.body):
            parts.append(("html", render(self.body[end : slot.start()])))
            kind, _, name = slot[1].partition(" ")
            parts.append((kind, name))
            end = slot.end()
        parts.append(("html", render(self.body[end:])))
        return tuple(part for part in parts if part != ("html", ""))


def mathml(tex: str, display: bool = False) -> str:
    """TeX mathematics as MathML."""
    made = convert(tex, display="block" if display else "inline")
    # A bar carries no side in Unicode; left stretchy, browsers pair it with its index and grow it.
    return re.sub(
        r"<mo[^>]*>(?:&#x02016;|‖)</mo>", _bar("‖"), re.sub(r"<mo[^>]*>(?:&#x0007C;|\|)</mo>", _bar("|"), made)
    )


def render(markdown: str) -> str:
    """Markdown with $…$ and $$…$$ as HTML."""
    body = _together(_markdown().render(_NOTE.sub(_note, markdown)))
    return body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")


@cache
def chapters() -> tuple[Chapter, ...]:
    """All chapters in reading order, the opening first."""
    folder = files("wonderland") / "chapters"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".md"))
    return tuple(parse(number, (folder / name).read_text(encoding="utf-8")) for number, name in enumerate(names))


def parse(number: int, text: str) -> Chapter:
    """Read one chapter file.

    Raises
    ------
    ValueError
        If the front matter lacks a key or holds an unknown one.
    """
    _, front, body = text.split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in front.strip().splitlines())
    if fields.keys() != _KEYS:
        raise ValueError(f"chapter {number} has the keys {sorted(fields)}: give exactly {sorted(_KEYS)}.")
    return Chapter(
        number=number,
        title=fields["title"],
        subtitle=fields["subtitle"],
        level=int(fields["level"]),
        motif=motif(fields["motif"]),
        promise=render(fields["promise"]).strip().removeprefix("<p>").removesuffix("</p>"),
        body=body,
    )


def motif(name: str) -> str:
    """A chapter's line drawing, as inline SVG."""
    return (files("wonderland") / "chapters" / "motifs" / f"{name}.svg").read_text(encoding="utf-8")


def _bar(sign: str) -> str:
    return f'<mo stretchy="false" lspace="0" rspace="0">{sign}</mo>'


def _together(text: str) -> str:
    return _TOUCHING.sub(lambda found: f'<span style="white-space: nowrap">{found[0]}</span>', text)


def _note(match: re.Match) -> str:
    return f'<aside class="note">{_together(_markdown().renderInline(match[1]))}</aside>\n'


@cache
def _markdown() -> MarkdownIt:
    def dollars(content: str, options: dict) -> str:
        if options["display_mode"]:
            return f'<span class="display" tabindex="0">{mathml(content, display=True)}</span>'
        return mathml(content)

    return MarkdownIt("commonmark", {"html": True}).enable("table").use(dollarmath_plugin, renderer=dollars)
