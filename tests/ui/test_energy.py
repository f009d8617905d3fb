"""Chapter 4 in a browser."""

import numpy as np
from scipy.spatial.distance import pdist

from tests.ui.reader import Reader
from wonderland.demos.energy import experiment, layer, updated


def energy(W: np.ndarray, s: int, half_space: bool) -> float:
    unit = W / np.linalg.norm(W, axis=1, keepdims=True)
    distances = pdist(np.vstack([unit, -unit]) if half_space else unit)
    return 2 * float((distances**-s if s else -np.log(distances)).sum())


def expect_state(reader: Reader, seed: int = 0, s: int = 1, half_space: bool = False, size: float = 0.5) -> None:
    """All three charts stand at these numbers."""
    images = experiment(seed)
    cosines = [1 - pdist(X, "cosine") for X in images.values()]
    reader.expect_column("tale bars", "x1", [np.abs(values).mean() for values in cosines])
    W, _ = layer(seed)
    X = images["original"]
    new = updated(seed, size).values()
    before = energy(W, s, half_space)
    changes = np.array([energy(V, s, half_space) / before - 1 for V in new]) * np.sign(before)
    for side, wanted in (("x0", np.minimum(changes, 0)), ("x1", np.maximum(changes, 0))):
        reader.expect_column("change bars", side, np.clip(wanted, -0.2, 0.2))
    outputs = [np.linalg.norm(X @ (V - W).T) / np.linalg.norm(X @ W.T) for V in new]
    reader.expect_column("outputs bars", "x1", outputs)
    reader.expect_readout(f"energy of W, s = {s}", f"{before:.4f}".replace("-", "−"))
    reader.expect_readout("OFT: the outputs move by", f"{outputs[0]:.0%}")


def test_regenerate_and_seed(reader: Reader) -> None:
    reader.open("?chapter=4")
    expect_state(reader)
    reader.press("Regenerate")
    expect_state(reader, seed=1)
    reader.expect_address("?chapter=4&seed=1$")
    reader.press("More controls")
    reader.type("Seed", "7")
    expect_state(reader, seed=7)
    reader.type("Seed", "none")
    assert "Seed is “none”" in reader.alert()
    expect_state(reader, seed=7)


def test_exponent_half_space_and_size(reader: Reader) -> None:
    reader.open("?chapter=4")
    reader.press("2")
    expect_state(reader, s=2)
    reader.press("0")
    expect_state(reader, s=0)
    reader.page.get_by_label("Half-space").click()
    expect_state(reader, s=0, half_space=True)
    reader.nudge("Every update’s ‖ΔW‖ / ‖W‖", "ArrowLeft", times=4)
    expect_state(reader, s=0, half_space=True, size=0.3)
    reader.expect_address("?chapter=4&s=0&half_space=True&size=0.3$")
    reader.press("Reset")
    expect_state(reader)
