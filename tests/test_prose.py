"""The chapters' files and how they become HTML."""

import re
from xml.etree import ElementTree

import pytest

import wonderland
from wonderland.prose import chapters, mathml, parse, render

FRONT = "---\ntitle: T\nsubtitle: S\nlevel: 1\nmotif: grin\npromise: P $x$.\n---\n"


def test_there_are_thirteen_chapters_in_three_levels_after_the_opening() -> None:
    levels = [chapter.level for chapter in chapters()]
    assert levels == [0] + [1] * 4 + [2] * 3 + [3] * 6
    assert [chapter.number for chapter in chapters()] == list(range(14))


def test_every_demo_of_the_package_has_its_place() -> None:
    placed = [name for chapter in chapters() for kind, name in chapter.parts if kind == "demo"]
    assert sorted(placed) == sorted(wonderland.__all__)


def test_every_slot_stands_where_the_document_needs_it() -> None:
    slots = {
        (chapter.number, kind) for chapter in chapters() for kind, _ in chapter.parts if kind not in ("html", "demo")
    }
    assert slots == {(0, "claims"), (0, "contents"), (10, "comparison"), (13, "ledger")}


@pytest.mark.parametrize("chapter", chapters(), ids=lambda chapter: str(chapter.number))
def test_chapters_are_whole(chapter: wonderland.prose.Chapter) -> None:
    text = "".join(content for kind, content in chapter.parts if kind == "html")
    assert "[[" not in text
    assert "$" not in re.sub(r"<math.*?</math>|<code>.*?</code>", "", text, flags=re.DOTALL)
    for formula in re.findall(r"<math.*?</math>", text, flags=re.DOTALL):
        ElementTree.fromstring(formula)  # well formed
        assert "\\" not in ElementTree.fromstring(formula).itertext()
    for link in re.findall(r'href="\?chapter=(\d+)', text):
        assert 1 <= int(link) <= 13
    ElementTree.fromstring(chapter.motif)
    assert chapter.promise


def test_the_author_is_credited_first_and_last() -> None:
    for number in (0, 13):
        text = "".join(content for _, content in chapters()[number].parts)
        assert "Frank La Vigne" in text


def test_mathematics_becomes_mathml() -> None:
    tree = ElementTree.fromstring(mathml(r"\lVert Qx \rVert = \lVert x \rVert"))
    names = [node.tag.split("}")[-1] for node in tree.iter()]
    assert names[0] == "math"
    assert "".join(tree.itertext()).replace(" ", "") == "‖Qx‖=‖x‖"
    bars = [node for node in tree.iter() if node.text == "‖"]
    assert [bar.get("stretchy") for bar in bars] == ["false"] * 4
    assert ElementTree.fromstring(mathml("x", display=True)).get("display") == "block"


def test_punctuation_stays_with_its_formula() -> None:
    assert re.search(r'nowrap"><span.*</math></span>,</span> and', render("rank $r$, and"), re.DOTALL)
    assert "nowrap" not in render("rank $r$ and")


def test_notes_tables_and_slots() -> None:
    chapter = parse(
        3, FRONT + "One $a$.\n\n[[note]] See *this*.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n[[demo X]]\n\nTwo.\n"
    )
    kinds = [kind for kind, _ in chapter.parts]
    assert kinds == ["html", "demo", "html"]
    assert '<aside class="note">See <em>this</em>.</aside>' in chapter.parts[0][1]
    assert '<div class="scroll"><table>' in chapter.parts[0][1]
    assert chapter.parts[1] == ("demo", "X")
    assert "<math" in chapter.promise


def test_front_matter_is_checked() -> None:
    with pytest.raises(ValueError, match="give exactly"):
        parse(1, "---\ntitle: T\nauthor: Hatter\n---\nText")
