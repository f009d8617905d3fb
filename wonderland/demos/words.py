"""What a demo says beside its picture: numbers, claims, the picture in words, and the code behind them, as HTML."""

import ast
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wonderland.demos.amounts import minus
from wonderland.theme import readable


@dataclass(frozen=True)
class Readout:
    """One number under the picture.

    `concept` names a color of the palette; `verdict` is "ok", "close" or "off" where the number is judged.
    """

    label: str
    value: str
    concept: str = "text"
    verdict: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", minus(self.value))


@dataclass(frozen=True)
class Claim:
    """What the tutorial says beside what was measured here.

    `key` is the claim's name in the ledger; `verdict` is "holds", "partly" or "fails". `tested` is false in a state
    that does not put the claim to the test, plain SGD for what is said of any optimizer; the ledger leaves that out.
    """

    key: str
    tale: str
    measured: str
    verdict: str
    tested: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "measured", minus(self.measured))


def described_html(text: str) -> str:
    """The picture in words, for those who do not see it."""
    return f'<p class="described" role="img" aria-label="{escape(text)}"></p>'


def readouts_html(readouts: Iterable[Readout]) -> str:
    """The strip of numbers under the picture."""
    rows = "".join(
        f'<div class="{one.verdict}" style="--concept: var(--w-{readable(one.concept)})">'
        f"<dt>{escape(one.label)}</dt><dd>{escape(one.value)}</dd></div>"
        for one in readouts
    )
    return f'<dl class="readouts">{rows}</dl>'


def claims_html(claims: Iterable[Claim]) -> str:
    """Cards of what is claimed, each beside what was measured."""
    cards = "".join(
        f'<div class="claim {one.verdict}"><p class="tale"><span>The tale</span>{escape(one.tale)}</p>'
        f'<p class="measured"><span>Measured</span>{escape(one.measured)}</p></div>'
        for one in claims
    )
    return f'<div class="claims">{cards}</div>'


def table_html(caption: str, words: tuple[str, ...], numbers: tuple[str, ...], rows: str) -> str:
    """A table that scrolls where it is wider than its room: heads of words, then heads of numbers, then its rows."""
    head = "".join(f'<th scope="col">{name}</th>' for name in words)
    head += "".join(f'<th scope="col" class="number">{name}</th>' for name in numbers)
    return (
        f'<div class="scroll" tabindex="0"><table class="tight"><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def source_of(module: str, name: str) -> str:
    """The source of a function or method, ``"LayerRun.step"`` say, read without importing its module.

    For code that needs torch, which a page does not wait for.
    """
    text = Path(find_spec(module).origin).read_text(encoding="utf-8")
    node: Any = ast.parse(text)
    for part in name.split("."):
        node = next(child for child in node.body if getattr(child, "name", None) == part)
    return textwrap.dedent(ast.get_source_segment(text, node, padded=True))
