"""More readers who race than can be served at once."""

from collections.abc import Callable

from tests.ui.reader import Reader
from wonderland.demos.jobs import WORKERS

LONG = "?chapter=11&course=upright,rotated,permuted&methods=full,oft,osft,gpm&seeds=5&steps=1000"
PATIENCE = 180  # seconds
MISSED = 12  # seconds after which a reader who has left must be missed; Bokeh ends the session after 15 or more


def sees(reader: Reader, words: str, seconds: float = PATIENCE) -> None:
    reader.wait_for(lambda: reader.page.get_by_text(words).count(), words, seconds)


def test_who_waits_moves_up_when_another_reader_leaves(new_reader: Callable[..., Reader]) -> None:
    readers = [new_reader() for _ in range(WORKERS + 2)]
    for reader in readers:
        reader.page.set_default_timeout(1000 * PATIENCE)
        reader.open(LONG)
        reader.press("Run the race")
        reader.page.get_by_role("button", name="Cancel", exact=True, disabled=False).wait_for()
    *_, next_one, last = readers
    sees(next_one, "Other readers’ races are running: yours is the next.")
    sees(last, "Other readers’ races are running: 1 before yours.")
    readers[0].page.close()
    sees(last, "Other readers’ races are running: yours is the next.", MISSED)
    next_one.wait_for(lambda: not next_one.page.get_by_text("Other readers’ races").count(), "its turn")
    next_one.press("Cancel")
    last.wait_for(lambda: not last.page.get_by_text("Other readers’ races").count(), "its turn", PATIENCE)
    for reader in readers[1:]:
        if reader is not next_one:
            reader.press("Cancel")
