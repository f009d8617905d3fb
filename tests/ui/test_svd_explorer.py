"""Chapter 6 in a browser."""

import numpy as np

from tests.ui.reader import Reader
from wonderland.demos.spectra import layer, toy


def kept(sigma: np.ndarray, k: int) -> str:
    return f"{(sigma[:k] ** 2).sum() / (sigma**2).sum():.1%}"


def test_the_cutoff_moves_the_boundary(reader: Reader) -> None:
    sigma = toy(0).split.S
    reader.open("?chapter=6")
    reader.expect_column("bars", "y1", sigma)
    reader.expect_column("boundary", "x0", [2.5])
    ink = reader.data("bars")["ink"]
    assert ink == [ink[0]] * 2 + [ink[5]] * 4
    assert ink[0] != ink[5]
    reader.expect_readout("energy kept", kept(sigma, 2))
    reader.nudge("Rank cut-off k", times=2)
    reader.expect_column("boundary", "x0", [4.5])
    reader.expect_readout("energy kept", kept(sigma, 4))
    assert reader.data("bars")["ink"] == [ink[0]] * 4 + [ink[5]] * 2
    assert reader.data("counts")["text"] == ["critical: 4", "safe: 2"]
    assert reader.page.locator(".values .critical").count() == 4
    reader.wait_for(lambda: "k=4" in reader.page.url, "the cut-off in the address")
    reader.nudge("Rank cut-off k", "End")
    reader.expect_readout("critical", "6 of 6")


def test_regenerate_and_seed(reader: Reader) -> None:
    reader.open("?chapter=6")
    reader.expect_column("bars", "y1", toy(0).split.S)
    reader.press("Regenerate")
    reader.expect_column("bars", "y1", toy(1).split.S)
    reader.wait_for(lambda: "seed=1" in reader.page.url, "the seed in the address")
    reader.press("More controls")
    reader.type("Seed", "12")
    reader.expect_column("bars", "y1", toy(12).split.S)
    reader.type("Seed", "-1")
    assert "0…4,294,967,295" in reader.alert()
    reader.expect_column("bars", "y1", toy(12).split.S)
    reader.page.get_by_role("button", name="Reset", exact=True).first.click()  # the chapter's other demo has one, too
    reader.expect_column("bars", "y1", toy(0).split.S)


def test_a_layer_of_the_network(reader: Reader) -> None:
    reader.open("?chapter=6")
    reader.choose("Matrix", "layer 3, 10×128")
    source = layer(0, "layer3")
    reader.wait_for(lambda: len(reader.data("bars")["y1"]) == 10, "the trained layer", timeout=120)
    reader.expect_column("bars", "y1", source.split.S)
    reader.expect_column("accuracy", "y", 100 * source.accuracy)
    reader.expect_readout("accuracy at this rank", f"{source.accuracy[2]:.1%}")
    reader.nudge("Rank cut-off k", times=3)
    reader.expect_readout("accuracy at this rank", f"{source.accuracy[5]:.1%}")
    reader.expect_readout("energy kept", kept(source.split.S, 5))
    claim = reader.page.locator(".claim").inner_text()
    assert f"{source.accuracy[5]:.1%} instead of {source.accuracy[-1]:.1%}" in claim
    grin = reader.column("grin", "image")
    reader.nudge("Rank cut-off k", "End")
    reader.expect_readout("critical", "10 of 10")
    reader.wait_for(lambda: not np.array_equal(reader.column("grin", "image"), grin), "another grin")
    reader.expect_column("grin", "image", reader.column("W", "image"), atol=1)
    reader.choose("Matrix", "the toy, 6×6")
    reader.expect_readout("critical", "6 of 6")  # 10 came down to what the toy has
    reader.expect_column("bars", "y1", toy(0).split.S)


def test_an_address_beyond_the_matrix(reader: Reader) -> None:
    reader.open("?chapter=6&k=50")
    assert reader.alert() == "k = 50 is outside 1…6: a 6×6 matrix has 6 singular values."
    reader.expect_column("bars", "y1", toy(0).split.S)
    reader.nudge("Rank cut-off k", "Home")
    reader.expect_readout("critical", "1 of 6")
    reader.wait_for(lambda: not reader.page.get_by_role("alert").filter(has_text="outside").count(), "no alert")


def test_an_address_brings_its_layer(reader: Reader) -> None:
    source = layer(0, "layer2")
    reader.open("?chapter=6&source=layer2&k=50")
    reader.wait_for(lambda: len(reader.data("bars")["y1"]) == 128, "the trained layer", timeout=120)
    reader.expect_readout("critical", "50 of 128")
    reader.expect_column(
        "energy", "y", 100 * np.concatenate([[0], np.cumsum(source.split.S**2)]) / (source.split.S**2).sum()
    )
    assert reader.slider("Rank cut-off k").get_attribute("max") == "128"
