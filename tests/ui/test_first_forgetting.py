"""Chapter 5 in a browser."""

import numpy as np

from tests.ui.reader import Reader
from wonderland.demos.first_forgetting import ROOM, SHAPES, STEPS
from wonderland.demos.race.record import recorded

_FRAME = """() => {
  const walk = (view) => view.frame ? view : (view.child_views || []).map(walk).find(Boolean)
  const figure = Bokeh.index.roots.map(walk).find(Boolean)
  const box = figure.el.getBoundingClientRect(), inner = figure.frame.bbox
  return [box.x + inner.left, box.y + inner.top, inner.width, inner.height]
}"""


def truth() -> tuple[np.ndarray, np.ndarray]:
    full = recorded().of("full")
    return tuple(100 * full.accuracy[:, full.task == 1, task].mean(axis=0) for task in (0, 1))


def test_shapes_sliders_and_reveal(reader: Reader) -> None:
    reader.open("?chapter=5")
    reader.expect_column("handles", "y", [97] * len(STEPS))
    assert len(reader.column("task A", "y")) == 0
    old, new = truth()
    for label, shape in (("Sags", "sag"), ("Falls at once", "at_once"), ("Falls late", "late"), ("Holds", "hold")):
        reader.press(label)
        reader.expect_column("handles", "y", [round(share * old[0]) for share in SHAPES[shape]])
    reader.press("Falls, comes back")
    guess = [round(share * old[0]) for share in SHAPES["back"]]
    reader.expect_column("handles", "y", guess)
    reader.press("More controls")
    for place, step in enumerate(STEPS):
        reader.nudge(f"Guess after {step} steps, %", "ArrowLeft", times=2)
        guess[place] -= 2
    reader.expect_column("handles", "y", guess)
    reader.expect_address(f"after_30={guess[0]}")
    reader.press("Reveal")
    reader.expect_column("task A", "y", old)
    reader.expect_column("task B", "y", new)
    full = recorded().of("full")
    steps = full.step[full.task == 1]
    gap = np.abs(np.interp(steps, [0, *STEPS], [old[0], *guess]) - old).mean()
    reader.expect_readout("your guess is off by, on average", f"{gap:.1f} points")
    reader.expect_address("revealed=True")
    reader.press("Reset")
    reader.expect_column("handles", "y", [97] * len(STEPS))
    reader.wait_for(lambda: len(reader.column("task A", "y")) == 0, "the hidden run")


def test_the_guess_is_drawn_on_the_picture(reader: Reader) -> None:
    reader.open("?chapter=5")
    reader.expect_column("handles", "y", [97] * len(STEPS))
    reader.picture()
    left, top, width, height = reader.page.evaluate(_FRAME)

    def place(step: float, percent: float) -> tuple[float, float]:
        return left + width * (step + 6) / (ROOM + 6), top + height * (1 - percent / 106)

    wanted = [80, 40, 30, 50, 60, 20]
    reader.page.mouse.move(*place(STEPS[0], wanted[0]))
    reader.page.mouse.down()
    for step, percent in zip(STEPS, wanted, strict=True):
        reader.page.mouse.move(*place(step, percent), steps=6)
    reader.page.mouse.up()
    reader.wait_for(lambda: abs(reader.column("handles", "y")[-1] - wanted[-1]) <= 2, "the last point")
    assert abs(reader.column("handles", "y")[0] - wanted[0]) <= 20
    values = reader.column("handles", "y")
    reader.expect_address(f"after_300={values[-1]:.0f}")
    reader.page.mouse.click(*place(180, 90))
    reader.wait_for(lambda: abs(reader.column("handles", "y")[3] - 90) <= 1, "the tapped point")


def test_the_address_restores_the_guess(reader: Reader) -> None:
    reader.open("?chapter=5&after_60=10&revealed=True&after_30=120")
    assert "Guess after 30 steps, % = 120 is out of range" in reader.alert()
    reader.expect_column("handles", "y", [97, 10, 97, 97, 97, 97])
    reader.expect_column("task A", "y", truth()[0])
