"""Chapter 3 in a browser."""

import numpy as np
from scipy.spatial.distance import pdist

from tests.ui.reader import Reader
from wonderland.demos.rotation import cloud


def turned(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return cloud() @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def test_the_slider_turns_the_cloud(reader: Reader) -> None:
    reader.open("?chapter=3&angle=60")
    reader.expect_column("after", "x", turned(60)[:, 0])
    reader.nudge("Angle in degrees", "ArrowRight", times=3)
    reader.expect_column("after", "x", turned(63)[:, 0])
    reader.expect_column("after", "y", turned(63)[:, 1])
    distance = f"{pdist(cloud())[0]:.6f}"
    reader.expect_readout("dashed pair, after", distance)
    reader.expect_address("angle=63")


def test_shear_changes_distances(reader: Reader) -> None:
    reader.open("?chapter=3")
    assert reader.slider("Shear or stretch").count() == 0  # it does nothing to a rotation
    reader.choose("Map", "shear")
    sheared = cloud() @ np.array([[1, 0], [0.5, 1]])
    reader.expect_column("after", "x", sheared[:, 0])
    reader.expect_readout("dashed pair, after", f"{pdist(sheared)[0]:.6f}")
    reader.slider("Angle in degrees").wait_for(state="hidden")
    reader.nudge("Shear or stretch", "ArrowLeft", times=5)
    reader.expect_column("after", "x", cloud()[:, 0])


def test_the_picture_itself_turns(reader: Reader) -> None:
    reader.open("?chapter=3&angle=0")
    reader.expect_column("after", "x", cloud()[:, 0])
    frame = reader.picture(1)
    middle = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    reader.page.mouse.move(middle[0] + 80, middle[1])
    reader.page.mouse.down()
    for step in range(1, 21):
        angle = np.deg2rad(step * 3)
        reader.page.mouse.move(middle[0] + 80 * np.cos(angle), middle[1] - 80 * np.sin(angle))
    reader.page.mouse.up()
    slider = reader.slider("Angle in degrees")

    def agreed() -> bool:
        """The slider, the picture and the address all stand at the pointer's angle."""
        angle = int(slider.input_value())
        there = np.allclose(reader.column("after", "x"), turned(angle)[:, 0])
        return 50 <= angle <= 70 and there and f"angle={angle}" in reader.page.url

    reader.wait_for(agreed, "the pointer's angle")
    reader.page.wait_for_timeout(500)  # nothing takes it back
    reader.wait_for(agreed, "the pointer's angle, still")


def test_reset_goes_back(reader: Reader) -> None:
    reader.open("?chapter=3&angle=200&map=reflection")
    reader.press("Reset")
    reader.expect_column("after", "x", turned(45)[:, 0])
    reader.wait_for(lambda: reader.page.url.endswith("?chapter=3"), "the plain address")
