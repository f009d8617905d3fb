"""One reader's page, without a browser."""

import html
from functools import partial

import panel as pn
import param
import pytest
from panel.util import edit_readonly

from wonderland import ledger
from wonderland.document import Document
from wonderland.prose import chapters
from wonderland.slot import Slot


def headings(document: Document) -> str:
    return document._main[0].object


def test_it_opens_at_the_beginning_or_where_the_address_says() -> None:
    assert chapters()[0].title in headings(Document())
    document = Document("?chapter=3&angle=120&map=reflection")
    assert chapters()[3].title in headings(document)
    demo = document.demo("RotationDemo")
    assert (demo.angle, demo.map) == (120, "reflection")


def test_only_what_is_on_screen_is_built() -> None:
    assert list(Document("?chapter=12").demos) == []
    assert list(Document("?chapter=3").demos) == ["RotationDemo"]


def test_moving_a_control_writes_the_address() -> None:
    document = Document("?chapter=3")
    document.demo("RotationDemo").angle = 200
    assert document._address.search == "?chapter=3&angle=200"
    document.demo("RotationDemo").reset()
    assert document._address.search == "?chapter=3"


def test_a_plain_link_finds_the_demo_as_it_was_left() -> None:
    document = Document("?chapter=3&angle=200")
    document._address.search = "?chapter=12"
    assert chapters()[12].title in headings(document)
    document._address.search = "?chapter=3"
    assert document.demo("RotationDemo").angle == 200
    assert document._address.search == "?chapter=3&angle=200"


def test_an_address_with_a_state_sets_it_and_the_rest_to_defaults() -> None:
    document = Document("?chapter=3&angle=200&amount=1.5")
    document._address.search = "?chapter=3&map=shear"
    demo = document.demo("RotationDemo")
    assert (demo.map, demo.angle, demo.amount) == ("shear", 45, 0.5)


def test_a_bad_address_is_answered_on_the_page() -> None:
    document = Document("?chapter=3&angle=ten")
    assert "Angle in degrees is “ten”" in document._main[1].object
    assert "<b>" not in Document("?chapter=3&map=<b>tea</b>")._main[1].object


def test_a_demo_is_built_once_the_reader_is_near() -> None:
    """Even a chapter's page costs little to open; what its demo loads waits, too."""
    shown: list[str] = []
    document = Document("?chapter=10")
    for demo in document.demos.values():
        demo.on_shown = partial(shown.append, type(demo).__name__)
    places = document._main.select(Slot)
    assert len(places) == len(document.demos) == 2
    assert not shown
    places[1].near = True
    assert shown == ["Budget"]
    assert len(document._main.select(Slot)) == 1
    places[0].near = True
    assert shown == ["Budget", "Calculator"]


def test_each_reader_has_demos_of_their_own() -> None:
    one, two = Document("?chapter=3"), Document("?chapter=3")
    one.demo("RotationDemo").angle = 1
    assert two.demo("RotationDemo").angle == 45


def test_the_theme_reaches_every_demo() -> None:
    document = Document("?chapter=3")
    document.page.dark_theme = False
    assert not document.demo("RotationDemo").dark
    assert not document.demo("EnergyDemo").dark


@pytest.mark.parametrize("number", range(14))
def test_the_sidebar_marks_the_present_chapter(number: int) -> None:
    document = Document(f"?chapter={number}")
    assert f'<a href="?chapter={number}" aria-current="page">' in document._sidebar.object
    assert document._sidebar.object.count("aria-current") == 1


def test_the_ledger_measures_what_is_left() -> None:
    document = Document("?chapter=3&map=reflection")
    document.chapter = 13
    table, button, _ = ledger.ledger(document)
    assert set(ledger.measured(document)) == {"distances"}
    assert "Not measured yet" in table.object
    button.clicks += 1
    claims = ledger.measured(document)
    assert set(claims) == {entry.key for entry in ledger.ENTRIES if entry.demo}
    assert "reflection" in claims["distances"].measured  # the reader's own
    assert list(document.demos) == ["RotationDemo"]
    assert claims["adam"].verdict == claims["recompute"].verdict == "fails"
    assert all(html.escape(claim.measured) in table.object for claim in claims.values())
    assert "Not measured yet" not in table.object
    assert not button.visible


def test_the_ledger_follows_the_reader() -> None:
    document = Document("?chapter=3&map=shear")
    assert "distances" not in ledger.measured(document)  # said of rotations: a shear does not test it
    document.demo("RotationDemo").map = "rotation"
    assert ledger.measured(document)["distances"].verdict == "holds"


@pytest.mark.parametrize(
    ("address", "key"), [("?chapter=8&k=0", "joint-rule"), ("?chapter=6&source=layer3&k=10", "grin")]
)
def test_a_state_that_tests_nothing_is_no_verdict(address: str, key: str) -> None:
    assert key not in ledger.measured(Document(address))


def test_every_measured_claim_has_its_row() -> None:
    document = Document()
    for name in {entry.demo for entry in ledger.ENTRIES if entry.demo}:
        document.demo(name)
    rows = {entry.key for entry in ledger.ENTRIES}
    assert set(ledger.measured(document)) <= rows
    assert all(claim.verdict in ("holds", "partly", "fails") for claim in ledger.measured(document).values())


def test_the_chapter_is_bounded() -> None:
    with pytest.raises(ValueError, match="chapter"), param.parameterized.discard_events(Document()):
        Document().chapter = 14


def test_no_page_follows_the_servers_busy_flag() -> None:
    """Every reader's every move turns it: each page that followed it would cost all readers time."""

    def followers() -> int:
        return len(pn.state.param.watchers.get("busy", {}).get("value", []))

    before = followers()
    document = Document()
    assert followers() == before
    with edit_readonly(pn.state):
        pn.state.busy = True
        try:
            assert document.page.busy is False
        finally:
            pn.state.busy = False
