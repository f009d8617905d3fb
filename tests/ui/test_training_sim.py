"""Chapter 11 in a browser."""

import re

import numpy as np

from tests.ui.reader import Reader
from wonderland.backend import one_core
from wonderland.backend.race import RaceSettings, race
from wonderland.demos import races
from wonderland.demos.tale import tale

PATIENCE = 240  # seconds, on a machine that has other things to do
NOTE = "race note"


def note(reader: Reader) -> str:
    return reader.data(NOTE)["text"][0]


def percent(curve: races.Curve, name: str) -> np.ndarray:
    return 100 * getattr(curve, name)


def expect_curve(reader: Reader, mark: str, values: np.ndarray) -> None:
    """Wait until a race's curve, without the break behind it, has these values."""

    def there() -> bool:
        got = reader.column(mark, "y")[:-1]
        return got.shape == values.shape and bool(np.allclose(got, values, atol=1e-6))

    reader.wait_for(there, f"{mark}: {values}", PATIENCE)


def test_the_tale_is_told(reader: Reader) -> None:
    reader.open("?chapter=11&told=50")
    reader.expect_column("tale OSFT", "y", tale(np.arange(51))["OSFT"])
    reader.nudge("The tale, told up to step", "ArrowRight", times=3)
    reader.expect_column("tale full", "y", tale(np.arange(54))["full"])
    reader.expect_address("told=53")
    reader.press("Run simulation")
    reader.wait_for(lambda: len(reader.column("tale full", "y")) == 101, "the end of the tale", PATIENCE)
    reader.expect_column("tale full", "y", tale(np.arange(101))["full"])
    assert len(reader.column("arrow", "x0")) == 3


def test_with_less_motion_nothing_is_drawn_out(reader: Reader) -> None:
    reader.page.emulate_media(reduced_motion="reduce")
    reader.open("?chapter=11&told=10")
    reader.expect_column("tale OFT", "x", range(11))
    lengths = set()
    reader.page.wait_for_timeout(500)
    reader.press("Run simulation")

    def over() -> bool:
        lengths.add(len(reader.column("tale OFT", "x")))
        return 101 in lengths

    reader.wait_for(over, "the whole tale")
    assert lengths <= {11, 101}


def test_the_recorded_race_is_there_and_the_seed_chooses(reader: Reader) -> None:
    reader.open("?chapter=11")
    recorded = races.recorded()
    for method in races.METHODS:
        for letter in "AB":
            curve = percent(recorded.curve(method, 0), f"accuracy_{letter.lower()}")
            expect_curve(reader, f"{method} {letter}", curve)
    assert note(reader) == "recorded · rotated, seed 0"
    reader.nudge("Seed", "ArrowRight", times=2)
    expect_curve(reader, "osft A", percent(recorded.curve("osft", 2), "accuracy_a"))
    curve = recorded.curve("full", 2)
    reader.expect_readout("full, task A", f"{100 * curve.accuracy_a[0]:.1f} → {100 * curve.accuracy_a[-1]:.1f}%")
    reader.expect_address("seed=2")


def test_a_short_race_ends_as_the_backend_says(reader: Reader) -> None:
    reader.open("?chapter=11&steps=60&seed=3")
    details = reader.page.locator(".detail")
    reader.page.get_by_text("The controls ask for rotated, 50% protected, 60 steps, seed 3").wait_for()
    progress = reader.page.get_by_role("progressbar", name="Progress of the race")
    reader.press("Run the race")
    seen: set[str] = set()

    def over() -> bool:
        seen.update(progress.evaluate_all("found => found.map(bar => bar.getAttribute('value'))"))
        return note(reader) == "live · rotated, seed 3"

    reader.wait_for(over, "the end of the race", PATIENCE)
    assert seen - {"60"}  # its progress was shown on the way
    with one_core():
        points = list(race(RaceSettings(steps=60, seeds=(3,), every=2)))
    for method, name in races.NAMES.items():
        own = [point for point in points if point.method == method and point.task == 1]
        for task, letter in enumerate("AB"):
            values = np.array([100 * point.accuracy[task] for point in own])
            expect_curve(reader, f"{method} {letter}", values)
            reader.expect_readout(f"{name}, task {letter}", f"{values[0]:.1f} → {values[-1]:.1f}%")
    assert details.filter(has_text="60 steps; seed 3").count() == 1
    reader.expect_address("?chapter=11&steps=60&seed=3$")


def test_a_race_leaves_the_page_alive_and_can_be_cancelled(reader: Reader) -> None:
    reader.open("?chapter=11&steps=1000&seed=5")
    reader.press("Run the race")
    reader.wait_for(lambda: note(reader) == "live, running · rotated, seed 5", "the first points", PATIENCE)
    reader.nudge("The tale, told up to step", "ArrowLeft", times=4)
    reader.expect_column("tale OFT", "x", range(97))
    # Leaving the chapter lets the race go on, and the way back finds it.
    reader.page.get_by_role("link", name="The Little Door").first.click()
    reader.page.get_by_role("heading", name="The Little Door").wait_for()
    reader.page.go_back()
    reader.wait_for(lambda: note(reader) == "live, running · rotated, seed 5", "the race again", PATIENCE)
    reader.press("Cancel")
    cut = re.compile(r"live, cancelled at step (\d+) · rotated, seed 5")
    reader.wait_for(lambda: cut.match(note(reader)), "the cancelled race")
    reached = int(cut.match(note(reader))[1])
    assert 0 <= reached < 1000
    reader.page.wait_for_timeout(500)
    assert int(cut.match(note(reader))[1]) == reached  # nothing comes any more
    assert reader.page.get_by_role("progressbar", name="Progress of the race").count() == 0
    reader.press("Reset")
    expect_curve(reader, "full A", percent(races.recorded().curve("full", 0), "accuracy_a"))


def test_the_controls_of_the_race(reader: Reader) -> None:
    reader.open("?chapter=11&task=permuted&keep=0.75&steps=60&seed=9")
    asked = reader.page.get_by_text("The controls ask for")
    reader.page.get_by_text("permuted, 75% protected, 60 steps, seed 9: press Run the race").wait_for()
    reader.choose("Task B", "mirrored")
    reader.page.get_by_text("mirrored, 75% protected, 60 steps, seed 9: press").wait_for()
    reader.nudge("Share that OSFT protects", "ArrowLeft")
    reader.page.get_by_text("mirrored, 70% protected, 60 steps, seed 9: press").wait_for()
    reader.nudge("Training steps", "ArrowRight")
    reader.page.get_by_text("mirrored, 70% protected, 80 steps, seed 9: press").wait_for()
    reader.nudge("Seed", "ArrowRight")
    reader.page.get_by_text("mirrored, 70% protected, 80 steps, seed 10: press").wait_for()
    for part in ("task=mirrored", "keep=0.7", "steps=80", "seed=10"):
        reader.wait_for(lambda part=part: part in reader.page.url, part)
    assert asked.count() == 1
    expect_curve(reader, "full A", percent(races.recorded().curve("full", 0), "accuracy_a"))


def test_a_bad_address_is_answered(reader: Reader) -> None:
    reader.open("?chapter=11&steps=1e12&task=upright")
    assert "Training steps" in reader.alert()
    reader.page.get_by_text("Task B is “upright”").wait_for()
    expect_curve(reader, "full A", percent(races.recorded().curve("full", 0), "accuracy_a"))
