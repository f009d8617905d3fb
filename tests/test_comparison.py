"""The corrected comparison of chapter 10."""

import re
from html.parser import HTMLParser

import pytest

from wonderland.comparison import METHODS, comparison, comparison_html
from wonderland.prose import chapters

CELLS = [
    (question, method, cell)
    for question, row in comparison().items()
    for method, cell in zip(METHODS, row, strict=True)
]


class Table(HTMLParser):
    """Counts tags, and notes the scopes of headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scopes: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        if tag == "th":
            self.scopes.append(dict(attrs)["scope"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_is_an_accessible_table():
    table = Table(comparison_html())
    assert not table.open
    assert table.tags.count("caption") == 1
    assert table.scopes == ["col"] * 3 + ["row"] * 5
    assert table.tags.count("td") == 1 + 3 * 5
    assert METHODS == ("OFT", "LoRA", "OSFT")


@pytest.mark.parametrize(("question", "method", "cell"), CELLS)
def test_a_correction_says_where(question, method, cell):
    text = comparison_html()
    assert cell.tale in text
    if not cell.corrected:
        assert (cell.chapter, cell.source) == (0, "")
        return
    assert f"<del>{cell.tale}</del>" in text
    assert f'<ins class="corrected">{cell.corrected}</ins>' in text
    assert f'href="?chapter={cell.chapter}"' in text
    assert 1 <= cell.chapter < len(chapters())


def test_what_is_corrected():
    corrected = {(question.split(";")[0], method) for question, method, cell in CELLS if cell.corrected}
    assert corrected == {
        ("Approach", "OSFT"),
        ("Preserves geometry", "OFT"),
        ("Preserves geometry", "OSFT"),
        ("Catastrophic forgetting", "OFT"),
        ("Catastrophic forgetting", "OSFT"),
        ("Parameters", "OFT"),
        ("Parameters", "OSFT"),
    }


def test_its_counts():
    text = comparison_html()
    numbers = re.findall(r"\d{1,3}(?:,\d{3})+|\b256\b", text)
    wanted = {512 * 256, 16**2, 512 * 15 // 2, 16 * (512 + 256), 128 * 769, (256 - 128) * (512 - 128)}
    assert {int(number.replace(",", "")) for number in numbers} == wanted
