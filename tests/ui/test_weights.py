"""Chapter 6's checkpoint in a browser."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.ui.reader import Reader
from tests.weights import GOOD
from wonderland.backend import race


def opened(reader: Reader) -> dict[str, np.ndarray]:
    """Wait until the digits' network is taken apart; its singular values by layer."""
    reader.open("?chapter=6")
    reader.wait_for(lambda: reader.readout("layers taken apart") == "3 of 3", "the spectra", timeout=120)  # torch first
    return {name: np.linalg.svd(W, compute_uv=False) for name, W in race.layer_weights(0).items()}


def held(sigma: np.ndarray, k: int) -> str:
    return f"{(sigma[:k] ** 2).sum() / (sigma**2).sum():.1%}"


def test_choosing_a_layer_by_tap_and_by_keyboard(reader: Reader) -> None:
    sigma = opened(reader)
    reader.wait_for(lambda: reader.column("cuts", "x0").size == 3, "three cuts")
    box = reader.picture(3)  # after the three of the fading cat
    reader.page.mouse.click(box["x"] + 0.7 * box["width"], box["y"] + 0.75 * box["height"])
    reader.expect_column("chosen layer", "y0", [0])
    reader.expect_address("layer=3")
    reader.expect_readout("its energy kept", held(sigma["layer3"], 8))
    reader.nudge("Layer", "ArrowLeft")
    reader.expect_column("chosen layer", "y0", [1])
    reader.choose("Layer by name", "layer1.weight")
    reader.expect_column("chosen layer", "y0", [2])
    reader.expect_column("layer bars", "y1", sigma["layer1"], atol=1e-5)
    assert reader.data("layer counts")["text"] == ["critical: 40", "safe: 24"]


def test_a_rule_moves_every_cut(reader: Reader) -> None:
    sigma = opened(reader)
    reader.choose("Choose k by", "number")
    reader.wait_for(lambda: reader.page.get_by_role("slider", name="k in every layer").is_visible(), "its slider")
    reader.page.get_by_role("slider", name="Share of energy to hold").wait_for(state="hidden")
    reader.expect_column("cuts", "x0", [16 / 64, 16 / 128, 9 / 10])
    reader.nudge("k in every layer", "ArrowLeft", times=12)
    reader.expect_column("cuts", "x0", [4 / 64, 4 / 128, 4 / 10])
    reader.expect_readout("numbers free to train", f"{(256 - 4) * (64 - 4):,}")
    reader.choose("Choose k by", "effective rank")
    reader.page.get_by_text("Effective rank stands in for it here").wait_for()
    with reader.page.expect_download() as download:
        reader.press("The plan as JSON")
    plan = json.loads(Path(download.value.path()).read_text())
    assert plan["rule"] == "effective-rank"
    assert set(plan["keep"]) == set(sigma)
    cuts = [k / len(sigma[name]) for name, k in plan["keep"].items()]
    reader.expect_column("cuts", "x0", cuts)


def test_the_paper_s_rule_measures_what_it_can_and_takes_what_it_cannot(reader: Reader, tmp_path: Path) -> None:
    opened(reader)
    reader.choose("Choose k by", "importance, the paper’s rule")
    reader.page.get_by_text("there is no such cosine").wait_for()
    reader.nudge("Mean share to protect", "Home")
    reader.expect_column("cuts", "x0", [6 / 64, 13 / 128, 1 / 10])  # a tenth of each
    box = reader.page.get_by_label("Share to keep of each layer, as JSON")
    assert not box.is_visible()

    save_file({f"layers.{i}.weight": torch.randn(20, 40) for i in range(4)}, tmp_path / "mine.safetensors")
    reader.page.locator("input[accept='.safetensors']").set_input_files(tmp_path / "mine.safetensors")
    reader.wait_for(lambda: reader.readout("layers taken apart") == "4 of 4", "the spectra", timeout=60)
    reader.page.get_by_text("None is given yet.").wait_for()
    reader.slider("Mean share to protect").wait_for(state="hidden")
    box.fill('{"layers.9": 0.5}')
    box.blur()
    assert "'layers.9', which is no layer of this checkpoint: the first are 'layers.0', " in reader.alert()
    box.fill('{"layers.0": 0.5, "layers.2": 0.25}')
    box.blur()
    reader.expect_column("cuts", "x0", [0.5, 0.25])
    reader.expect_readout("k of this layer", "10 of 20")
    reader.page.get_by_role("alert").filter(has_text="layers.9").wait_for(state="detached")
    (tmp_path / "shares.json").write_text('{"layers.0": 0.75, "layers.1": 0.75, "layers.2": 0.75}')
    reader.page.locator("input[accept='.json']").set_input_files(tmp_path / "shares.json")
    reader.expect_column("cuts", "x0", [0.75] * 3)
    assert "keep=0.75" in reader.page.get_by_role("link", name="on the scales of chapter 10").get_attribute("href")
    with reader.page.expect_download() as download:
        reader.press("The plan as JSON")
    assert json.loads(Path(download.value.path()).read_text())["keep"] == {f"layers.{i}": 15 for i in range(3)}


def test_the_way_to_the_calculator(reader: Reader) -> None:
    opened(reader)
    reader.open(reader.page.get_by_role("link", name="on the scales of chapter 10").get_attribute("href"))
    reader.page.get_by_role("heading", name="The scales").wait_for()
    reader.expect_readout("the layer’s total", f"{256 * 64:,}")


def test_ones_own_file(reader: Reader, tmp_path: Path) -> None:
    opened(reader)
    bad, good = tmp_path / "bad.safetensors", tmp_path / "mine.safetensors"
    bad.write_bytes(GOOD[:-1])
    tensors = {f"layers.{i}.weight": torch.randn(64, 48) for i in range(40)}
    save_file(tensors, good)
    chooser = reader.page.locator("input[accept='.safetensors']")
    chooser.set_input_files(bad)
    assert "bad.safetensors is truncated" in reader.alert()
    assert reader.readout("layers taken apart") == "3 of 3"
    chooser.set_input_files(good)
    reader.expect_readout("layers taken apart", "40 of 40")
    assert reader.page.get_by_role("combobox", name="Layer by name").inner_text() == "layers.0.weight"
    sigma = np.linalg.svd(tensors["layers.0.weight"].numpy(), compute_uv=False)
    reader.expect_column("layer bars", "y1", sigma, atol=1e-4)
    assert reader.column("map", "image").shape == (1, 40 * 64)
    reader.nudge("Layer", "End")
    reader.expect_column("chosen layer", "y0", [0])
    reader.expect_address("layer=40")


def test_on_a_phone(new_reader) -> None:
    reader = new_reader(width=390, height=844)
    opened(reader)
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= 390
    words = reader.page.locator(".described").last.get_attribute("aria-label")
    assert words.startswith("A heat map of the network that learned the digits: 3 layers")
