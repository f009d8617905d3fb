"""Chapter 11 in a browser."""

import re

import numpy as np

from tests.ui.reader import Reader
from wonderland.backend import metrics, one_core
from wonderland.backend.race import RaceSettings, race
from wonderland.demos.race.races import Track
from wonderland.demos.race.record import recorded
from wonderland.demos.race.tale import tale

PATIENCE = 240  # seconds, on a machine that has other things to do
SHORT = "&course=upright,mirrored&methods=full,osft&seeds=2&steps=60"


def caption(reader: Reader) -> str:
    return reader.page.locator(".detail", has_text="The race as run").inner_text()


def state(reader: Reader) -> str:
    tag = reader.page.locator(".detail", has_text="The race as run").locator(".tag")
    return tag.inner_text(timeout=1000 * PATIENCE)  # the way back to a chapter builds its card anew


def first_task(track: Track) -> np.ndarray:
    """Mean accuracy on the first task along the course, in percent."""
    return 100 * track.accuracy[:, 1:, 0].mean(axis=0)


def expect_line(reader: Reader, mark: str, row: int, values: np.ndarray, patience: float = 20) -> None:
    """Wait until one line of a mark has these heights."""

    def there() -> bool:
        lines = reader.data(mark)["ys"]
        got = np.array(lines[row] if len(lines) > row else [], dtype=float)
        return got.shape == values.shape and bool(np.allclose(got, values, atol=1e-6, equal_nan=True))

    reader.wait_for(there, f"{mark}, line {row}: {values}", patience)


def test_the_recorded_race_is_there_before_the_first_click(reader: Reader) -> None:
    reader.open("?chapter=11")
    for row, method in enumerate(("full", "lora", "oft", "osft", "gpm")):
        expect_line(reader, "kept curves", row, first_task(recorded().of(method)))
    assert state(reader) == "recorded"
    now = recorded().of("osft").accuracy[:, -1]
    value = f"{100 * now[:, 0].mean():.1f} · {100 * now[:, 2].mean():.1f}%"
    reader.expect_readout("OSFT: upright · permuted", value)
    reader.expect_column("tale OSFT", "y", tale(np.arange(101))["OSFT"])


def test_tale_and_race_are_scrubbed_played_paused_and_stepped(reader: Reader) -> None:
    reader.open("?chapter=11&moment=50")
    osft = first_task(recorded().of("osft"))
    reader.expect_column("tale OSFT", "y", tale(np.arange(51))["OSFT"])
    expect_line(reader, "kept curves", 3, osft[:17])  # 300 of 600 steps: the end of one task is the start of the next
    reader.nudge("How much of the course is done, %", "ArrowRight", times=4)
    reader.expect_address("moment=54")
    expect_line(reader, "kept curves", 3, osft[:18])
    reader.press("Step")
    expect_line(reader, "kept curves", 3, osft[:19])
    reader.page.get_by_text("permuted, step 40 of 300").wait_for()
    reader.press("Play")
    reader.press("Pause")
    reader.page.get_by_role("button", name="Play", exact=True).wait_for()
    stood = len(reader.column("tale full", "y"))
    reader.page.wait_for_timeout(500)
    assert len(reader.column("tale full", "y")) - stood <= 4  # what was under way
    reader.press("Play")
    reader.wait_for(lambda: len(reader.column("tale full", "y")) == 101, "the end", PATIENCE)
    expect_line(reader, "kept curves", 3, osft)
    reader.page.get_by_role("button", name="Play", exact=True).wait_for()


def test_with_less_motion_nothing_is_drawn_out(reader: Reader) -> None:
    reader.page.emulate_media(reduced_motion="reduce")
    reader.open("?chapter=11&moment=10")
    reader.expect_column("tale OFT", "x", range(11))
    lengths = set()
    reader.page.wait_for_timeout(500)
    reader.press("Play")

    def over() -> bool:
        lengths.add(len(reader.column("tale OFT", "x")))
        return 101 in lengths

    reader.wait_for(over, "the whole tale")
    assert lengths <= {11, 101}


def test_the_views_and_what_they_measure(reader: Reader) -> None:
    reader.open("?chapter=11")
    expect_line(reader, "kept curves", 0, first_task(recorded().of("full")))
    reader.press("matrix")
    R = recorded().of("osft").matrices()[0]
    shown = [f"{100 * value:.0f}" for value in R.mean(axis=0).ravel()]
    reader.wait_for(lambda: reader.data("cell values")["text"] == shown, "OSFT's matrix")
    reader.choose("Matrix of", "full")
    reader.choose("Read off it", "forgetting")
    full = recorded().of("full").matrices()[0]
    means = [np.mean([100 * metrics.forgetting(R) for R in recorded().of(m).matrices()[0]]) for m in ("full", "osft")]
    reader.wait_for(lambda: reader.data("cell values")["text"][0] == f"{100 * full[:, 0, 0].mean():.0f}", "its matrix")
    reader.wait_for(lambda: len(reader.data("used cells")["x0"]) == 5, "the cells that forgetting reads")
    reader.wait_for(lambda: abs(reader.column("means", "x0")[0] - means[0]) < 1e-6, "full's forgetting")
    assert abs(reader.column("means", "x0")[3] - means[1]) < 1e-6
    reader.page.get_by_text("the best in each column so far").wait_for()
    reader.press("plane")
    last = 100 * recorded().of("full").accuracy[:, -1]
    reader.wait_for(lambda: len(reader.data("cloud")["x"]) == 25, "a point for every network")
    np.testing.assert_allclose(reader.column("cloud", "x")[:5], last[:, :2].mean(axis=1))
    np.testing.assert_allclose(reader.column("cloud", "y")[:5], last[:, 2])
    reader.press("layers")
    leak = recorded().of("full").leak[:, -1].mean(axis=0)
    reader.wait_for(lambda: len(reader.data("layers")["x"]) == 15, "three layers of five methods")
    np.testing.assert_allclose(reader.column("layers", "x")[:3], leak)
    reader.press("drift")
    drift = recorded().of("full").drift[:, -1].mean(axis=0)
    reader.wait_for(lambda: np.allclose(reader.column("layers", "x")[:3], drift), "the drift")
    reader.expect_address("view=layers")
    reader.expect_address("weights=drift")


def test_the_reader_says_first_and_then_sees_the_gap(reader: Reader) -> None:
    reader.open("?chapter=11&view=prediction")
    reader.page.get_by_text("say first, then reveal").wait_for()
    assert reader.page.locator("table").count() == 0
    for _ in range(4):
        reader.press("Move GPM up")
        reader.page.wait_for_timeout(200)
    reader.expect_address("guess=gpm%2Cfull%2Clora%2Coft%2Cosft")
    reader.press("Reveal")
    averages = {m: recorded().of(m).matrices()[0][:, -1].mean() for m in ("gpm", "full", "lora", "oft", "osft")}
    guess = list(averages)
    right = sum(averages[a] > averages[b] for at, a in enumerate(guess) for b in guess[at + 1 :])
    reader.expect_readout("pairs of methods you had right", f"{right} of 10")
    order = sorted(guess, key=lambda method: -averages[method])
    reader.expect_column("slopes", "y0", [0, -1, -2, -3, -4])
    reader.expect_column("slopes", "y1", [-order.index(method) for method in guess])


def test_a_lesson_sets_the_controls(reader: Reader) -> None:
    reader.open("?chapter=11")
    expect_line(reader, "kept curves", 0, first_task(recorded().of("full")))
    reader.press("Energy kept, task lost")
    energy = np.abs(recorded().of("full").energy[:, -1] - 1).mean(axis=0)
    reader.wait_for(lambda: len(reader.data("layers")["x"]) == 9, "three methods")
    np.testing.assert_allclose(reader.column("layers", "x")[:3], energy)
    reader.page.get_by_text("is what it kept what the old task needed").wait_for()
    assert reader.page.get_by_role("checkbox", name="LoRA").is_checked() is False
    reader.press("The basis")  # another view, and there fewer methods than when it was last seen
    expect_line(reader, "kept curves", 0, first_task(recorded().of("osft")))
    now = recorded().of("gpm").accuracy[:, -1]
    reader.expect_readout("GPM: upright · permuted", f"{100 * now[:, 0].mean():.1f} · {100 * now[:, 2].mean():.1f}%")
    pictures = reader.page.locator(".pictures .bk-Canvas").filter(visible=True)
    reader.wait_for(lambda: pictures.count() == 3, "the tale and the two pictures of the curves alone")
    reader.press("Labels that contradict")
    reader.page.get_by_text("The controls ask for upright → contradictory").wait_for()


def test_a_short_race_ends_as_the_backend_says(reader: Reader) -> None:
    reader.open(f"?chapter=11{SHORT}")
    reader.page.get_by_text("The controls ask for upright → mirrored, 60 steps a task").wait_for()
    progress = reader.page.get_by_role("progressbar", name="Progress of the race")
    reader.press("Run the race")
    seen: set[str] = set()

    def over() -> bool:
        seen.update(progress.evaluate_all("found => found.map(bar => bar.getAttribute('value'))"))
        return state(reader) == "live"

    reader.wait_for(over, "the end of the race", PATIENCE)
    assert seen - {"1.000"}  # its progress was shown on the way
    with one_core():
        points = list(race(RaceSettings(("upright", "mirrored"), ("full", "osft"), (0, 1), steps=60, every=4)))
    for row, (method, name) in enumerate((("full", "full"), ("osft", "OSFT"))):
        own = [[p for p in points if p.method == method and p.task == 1 and p.seed == seed] for seed in (0, 1)]
        values = np.mean([[100 * p.accuracy[0] for p in seed] for seed in own], axis=0)
        expect_line(reader, "kept curves", row, values)
        ends = np.mean([seed[-1].accuracy for seed in own], axis=0)
        reader.expect_readout(f"{name}: upright · mirrored", f"{100 * ends[0]:.1f} · {100 * ends[1]:.1f}%")
    assert "seeds 0, 1" in caption(reader)
    reader.nudge("How much of the course is done, %", "Home")
    reader.wait_for(lambda: len(reader.data("kept curves")["ys"][0]) == 1, "its start")


def test_a_race_leaves_the_page_alive_and_can_be_cancelled(reader: Reader) -> None:
    reader.open("?chapter=11&course=upright,mirrored&methods=full,osft,gpm,replay,joint&seeds=5&seed=5&steps=1000")
    reader.press("Run the race")
    reader.wait_for(lambda: state(reader) == "live, running", "the first points", PATIENCE)
    reader.nudge("How much of the course is done, %", "ArrowLeft", times=4)
    reader.expect_column("tale OFT", "x", range(97))
    # Leaving the chapter lets the race go on, and the way back finds it.
    reader.page.get_by_role("link", name="The Little Door").first.click()
    reader.page.get_by_role("heading", name="The Little Door").wait_for()
    reader.page.go_back()
    reader.wait_for(lambda: state(reader).startswith("live"), "the race again", PATIENCE)
    reader.press("Cancel")
    cut = re.compile(r"live, cancelled at step (\d+) of 1000")
    reader.wait_for(lambda: cut.match(state(reader)), "the cancelled race")
    reached = int(cut.match(state(reader))[1])
    assert 0 <= reached < 1000
    reader.page.wait_for_timeout(500)
    assert int(cut.match(state(reader))[1]) == reached  # nothing comes any more
    assert reader.page.get_by_role("progressbar", name="Progress of the race").count() == 0
    reader.press("Reset")
    expect_line(reader, "kept curves", 0, first_task(recorded().of("full")))


def test_a_learning_rate_that_runs_away_is_marked_and_said(reader: Reader) -> None:
    reader.open("?chapter=11&course=upright,rotated&methods=full,osft&seeds=2&steps=20&optimizer=sgd&rates=full%3D1e9")
    reader.press("Run the race")
    reader.page.get_by_text("full: 2 of 2 networks diverged").first.wait_for(timeout=1000 * PATIENCE)
    reader.wait_for(lambda: len(reader.data("kept lost")["x"]) == 2, "a cross for each")
    reader.wait_for(lambda: state(reader) == "live", "the others' end", PATIENCE)
    assert len(reader.data("kept curves")["ys"][1]) == 21


def test_controls_answer_beside_themselves(reader: Reader) -> None:
    reader.open("?chapter=11")
    expect_line(reader, "kept curves", 0, first_task(recorded().of("full")))
    for name in ("full", "LoRA", "OFT", "OSFT", "GPM"):
        reader.page.get_by_role("checkbox", name=name, exact=True).uncheck()
    assert "Methods is empty: choose 1 to 13" in reader.alert()
    expect_line(reader, "kept curves", 0, first_task(recorded().of("gpm")))  # the last good picture
    reader.page.get_by_role("checkbox", name="frozen").check()
    expect_line(reader, "kept curves", 0, first_task(recorded().of("frozen")))
    reader.page.get_by_role("alert").filter(has_text="Methods").wait_for(state="hidden")
    reader.press("More controls")
    reader.nudge("Training steps a task", "ArrowRight")
    reader.page.get_by_text("320 steps a task, 50% protected, seeds 0–4: press Run the race").wait_for()
    reader.page.get_by_role("status").get_by_text("On screen is another race").wait_for()
    reader.type("frozen", "fast")
    assert "Learning rate of frozen is “fast”" in reader.alert()


def test_a_bad_address_is_answered(reader: Reader) -> None:
    reader.open("?chapter=11&steps=0&course=upright&rank=500&methods=magic")
    said = " ".join(reader.page.get_by_role("alert").all_inner_texts())
    assert "Training steps a task = 0 is out of range" in said
    assert "holds 1: choose 2 to 5" in said
    assert "Rank of LoRA = 500 is out of range" in said
    assert "Methods holds “magic”" in said
    expect_line(reader, "kept curves", 0, first_task(recorded().of("full")))
