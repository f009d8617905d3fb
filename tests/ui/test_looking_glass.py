"""Chapter 1 in a browser."""

import numpy as np

from tests.ui.reader import Reader
from wonderland.demos.looking_glass import weights


def turned(W: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    return W @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def expect_arrows(reader: Reader, mark: str, W: np.ndarray) -> None:
    reader.expect_column(f"{mark} arrows", "x1", W[:, 0])
    reader.expect_column(f"{mark} arrows", "y1", W[:, 1])


def test_angle_and_size(reader: Reader) -> None:
    reader.open("?chapter=1")
    W, BA = weights(1)
    expect_arrows(reader, "W", W)
    expect_arrows(reader, "turned", turned(W, 50))
    expect_arrows(reader, "added", W + 0.5 * BA)
    reader.nudge("Angle of R in degrees", "ArrowLeft", times=2)
    expect_arrows(reader, "turned", turned(W, 48))
    reader.nudge("Size of BA, ‖BA‖ / ‖W‖", "ArrowRight", times=3)
    expect_arrows(reader, "added", W + 0.65 * BA)
    lengths = np.linalg.norm(W + 0.65 * BA, axis=1) - np.linalg.norm(W, axis=1)
    reader.expect_readout("W + BA: lengths change by", f"{np.abs(lengths).max():.3f}")
    reader.expect_readout("det R", "+1.000000")
    reader.expect_address("angle=48&size=0.65")


def test_the_other_side_and_another_weight(reader: Reader) -> None:
    reader.open("?chapter=1&angle=90")
    W, _ = weights(1)
    reader.press("R·W")
    reader.wait_for(lambda: reader.data("turned name")["text"] == ["R·W"], "the other name")
    axis = np.ones(3) / np.sqrt(3)
    quarter = np.array([np.cross(axis, column) + axis * (axis @ column) for column in W.T]).T  # Rodrigues at 90°
    expect_arrows(reader, "turned", quarter)
    reader.press("More controls")
    reader.nudge("Seed", "ArrowRight", times=2)
    expect_arrows(reader, "W", weights(3)[0])
    reader.press("W·R")
    expect_arrows(reader, "turned", turned(weights(3)[0], 90))
    reader.press("Reset")
    expect_arrows(reader, "turned", turned(W, 50))


def test_the_picture_itself_turns(reader: Reader) -> None:
    reader.open("?chapter=1&angle=0")
    W, _ = weights(1)
    expect_arrows(reader, "turned", W)
    frame = reader.picture(1)
    middle = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    reader.page.mouse.move(middle[0] + 80, middle[1])
    reader.page.mouse.down()
    for degrees in range(3, 61, 3):
        angle = np.deg2rad(degrees)
        reader.page.mouse.move(middle[0] + 80 * np.cos(angle), middle[1] - 80 * np.sin(angle))
    reader.page.mouse.up()
    slider = reader.slider("Angle of R in degrees")

    def agreed() -> bool:
        """The slider, the picture and the address all stand at the pointer's angle."""
        angle = int(slider.input_value())
        there = np.allclose(reader.column("turned arrows", "x1"), turned(W, angle)[:, 0])
        return 50 <= angle <= 70 and there and f"angle={angle}" in reader.page.url

    reader.wait_for(agreed, "the pointer's angle")
    reader.page.wait_for_timeout(500)  # nothing takes it back
    reader.wait_for(agreed, "the pointer's angle, still")
