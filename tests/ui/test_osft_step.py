"""Chapter 9 in a browser."""

import numpy as np

from tests.ui.reader import Reader
from wonderland.backend import one_core
from wonderland.backend.step import LayerRun, StepSettings
from wonderland.demos.amounts import minus

PATIENCE = 120  # seconds: the first reader of a server waits for torch


def losses(steps: int, **settings: object) -> list[float]:
    with one_core():
        records = LayerRun(StepSettings(**settings)).run(steps)
    return [records[0].loss_before, *(record.loss_after for record in records)]


def expect_losses(reader: Reader, steps: int, **settings: object) -> None:
    wanted = losses(steps, **settings)
    reader.wait_for(lambda: len(reader.column("loss", "y")) == steps + 1, f"{steps} steps", PATIENCE)
    reader.expect_column("loss", "y", wanted)
    reader.expect_column("loss", "x", range(steps + 1))


def open_ready(reader: Reader, query: str) -> Reader:
    """Open the chapter and wait until torch has drawn its first points."""
    reader.open(query)
    reader.wait_for(lambda: len(reader.column("loss", "y")), "torch", PATIENCE)
    return reader


def test_each_press_is_a_step(reader: Reader) -> None:
    open_ready(reader, "?chapter=9")
    expect_losses(reader, 1)
    reader.expect_readout("steps", "1")
    for taken in (2, 3):
        reader.press("Take a step")
        expect_losses(reader, taken)
        reader.expect_readout("steps", str(taken))
    with one_core():
        records = LayerRun(StepSettings()).run(3)
    last = records[-1]
    np.testing.assert_allclose(reader.column("right", "y")[1:], [np.log10(r.leak.right) for r in records], atol=1e-9)
    reader.expect_readout("‖ΔW Vₕ‖, protected inputs", minus(f"{last.leak.right:.1e}"))
    shown = reader.page.locator(".matrix").nth(3).inner_text().split()
    assert shown == [minus(f"{value:+.4f}") for value in last.weight_after.ravel()]
    reader.expect_address("steps=3")
    reader.press("Reset")
    reader.expect_readout("steps", "1")


def test_the_switches_and_the_layer(reader: Reader) -> None:
    open_ready(reader, "?chapter=9&steps=6")
    expect_losses(reader, 6)
    reader.choose("Trap 1: the rule", "two-sided")
    expect_losses(reader, 6, rule="two-sided")
    reader.press("adam")
    expect_losses(reader, 6, rule="two-sided", optimizer="adam")
    reader.press("nothing: train C")
    expect_losses(reader, 6, rule="two-sided", optimizer="adam", project="core")
    reader.press("the update")
    expect_losses(reader, 6, rule="two-sided", optimizer="adam", project="update")
    reader.press("recomputed")
    settings = {"rule": "two-sided", "optimizer": "adam", "project": "update", "basis": "recomputed"}
    expect_losses(reader, 6, **settings)
    reader.nudge("Cut-off k")
    expect_losses(reader, 6, **settings, k=2)
    reader.choose("Layer", "8×8")
    settings |= {"k": 2, "m": 8, "n": 8}
    expect_losses(reader, 6, **settings)
    reader.press("More controls")
    reader.type("Learning rate", "0.02")
    expect_losses(reader, 6, **settings, lr=0.02)
    reader.nudge("Random inputs", "ArrowRight", times=3)
    expect_losses(reader, 6, **settings, lr=0.02, samples=8)
    reader.type("Seed", "11")
    settings |= {"lr": 0.02, "samples": 8, "seed": 11}
    expect_losses(reader, 6, **settings)
    reader.nudge("Steps taken", "ArrowRight", times=2)
    expect_losses(reader, 8, **settings)
    reader.nudge("Steps taken", "ArrowLeft")
    expect_losses(reader, 7, **settings)


def test_many_steps_do_not_stop_the_page(reader: Reader) -> None:
    trap = {"m": 48, "n": 64, "k": 12, "samples": 100, "lr": 1.0, "rule": "two-sided"}
    open_ready(reader, "?chapter=9&layer=48×64&k=12&samples=100&lr=1&rule=two-sided")
    reader.nudge("N", "ArrowRight", times=2)
    reader.press("Run N steps")
    reader.wait_for(lambda: "of 103 …" in reader.readout("steps"), "the run", PATIENCE)
    reader.press("More controls")  # the page answers meanwhile
    reader.page.get_by_role("textbox", name="Learning rate", exact=True).wait_for()
    expect_losses(reader, 103, **trap)
    reader.expect_readout("steps", "103")
    assert reader.column("right", "y").max() < -10
    assert reader.readout("‖ΔW Vₕ‖, protected inputs") == minus(f"{10 ** reader.column('right', 'y')[-1]:.1e}")


def test_bad_input_is_answered_and_the_picture_stands(reader: Reader) -> None:
    open_ready(reader, "?chapter=9&steps=3&lr=fast")
    assert "Learning rate is “fast”" in reader.alert()
    expect_losses(reader, 3)
    reader.press("More controls")
    reader.type("Learning rate", "-1")
    reader.page.get_by_text("Learning rate = -1 is out of range").wait_for()
    reader.type("Learning rate", "0.2")
    expect_losses(reader, 3, lr=0.2)


def test_a_few_controls_then_the_pictures_then_the_others(new_reader) -> None:
    for width, height in ((390, 844), (768, 1024)):
        reader = new_reader(width=width, height=height)
        open_ready(reader, "?chapter=9")
        first = [reader.page.get_by_role("button", name="Take a step", exact=True), reader.slider("Steps taken")]
        others = [reader.slider("N"), reader.slider("Cut-off k"), reader.page.get_by_text("More controls")]
        for control in (*first, *others):
            control.wait_for()

        def placed(first=first, others=others, reader=reader, height=height) -> bool:
            meter, maps = (reader.page.locator(".bk-Canvas").nth(index).bounding_box() for index in (0, 3))
            press, slider = (control.bounding_box()["y"] for control in first)
            after = [control.bounding_box()["y"] for control in others]
            return (
                meter["y"] - press < height / 2  # both fit on the screen
                and slider < meter["y"]
                and min(after) > maps["y"] + maps["height"] - 1
            )

        reader.wait_for(placed, "a few controls, the pictures, the others")
        assert reader.page.evaluate("document.documentElement.scrollWidth") <= width
        for name in ("nothing: train C", "recomputed", "adam"):
            box = reader.page.get_by_role("button", name=name, exact=True).bounding_box()
            assert 0 < box["x"] < box["x"] + box["width"] < width


def test_beside_the_pictures_every_control_keeps_to_its_column(reader: Reader) -> None:
    open_ready(reader, "?chapter=9")
    choices = [
        reader.page.get_by_role("button", name=name, exact=True) for name in ("nothing: train C", "recomputed", "adam")
    ]
    for control in (*choices, reader.slider("Cut-off k")):
        control.wait_for()

    def beside() -> bool:
        meter, maps = (reader.page.locator(".bk-Canvas").nth(index).bounding_box() for index in (0, 3))
        ends = [box["x"] + box["width"] for box in (choice.bounding_box() for choice in choices)]
        return max(ends) < meter["x"] and (
            meter["y"] < reader.slider("Cut-off k").bounding_box()["y"] < maps["y"] + maps["height"]
        )

    reader.wait_for(beside, "controls in a column beside the pictures")
