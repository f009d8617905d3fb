"""Chapter 4: the tale's experiment and the energy of neurons, against sums written out by hand."""

import itertools
import re

import numpy as np
import pytest
from bokeh.plotting import figure
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland import EnergyDemo
from wonderland.demos.energy import UPDATES, experiment, layer, updated

seeds = st.integers(0, 999_999)
states = {"seed": seeds, "s": st.sampled_from([0, 1, 2]), "half_space": st.booleans(), "size": st.floats(0.05, 1)}


def mean_cosine(X: np.ndarray) -> float:
    pairs = itertools.permutations(X, 2)
    cosines = [abs(x @ y) / np.sqrt(x @ x) / np.sqrt(y @ y) for x, y in pairs]
    return sum(cosines) / len(cosines)


def energy(W: np.ndarray, s: int, half_space: bool) -> float:
    neurons = [w / np.sqrt(w @ w) for w in W]
    neurons += [-w for w in neurons] if half_space else []
    total = 0.0
    for one, two in itertools.permutations(neurons, 2):
        distance = np.sqrt(((one - two) ** 2).sum())
        total += distance**-s if s else -np.log(distance)
    return total


def test_defaults() -> None:
    demo = EnergyDemo()
    assert (demo.s, demo.half_space, demo.size, demo.seed) == (1, False, 0.5, 0)
    assert list(demo.result.tale) == ["original", "OFT", "random", "LoRA"]
    assert demo.marks(demo.result)["tale numbers"]["text"][0].strip() == f"{demo.result.tale['original'].energy:.4f}"


@given(seeds)
@settings(deadline=None, max_examples=10)
def test_the_tale_is_the_tutorials_experiment(seed: int) -> None:
    images = experiment(seed)
    X = images["original"]
    assert X.shape == (50, 8)
    maps = {name: np.linalg.lstsq(X, image, rcond=None)[0] for name, image in images.items()}
    np.testing.assert_allclose(maps["OFT"].T @ maps["OFT"], np.eye(8), atol=1e-10)
    assert np.linalg.matrix_rank(maps["LoRA"] - np.eye(8), tol=1e-10) == 4
    assert 0.1 < (maps["random"] - np.eye(8)).std() < 0.5
    rows = EnergyDemo(seed=seed).result.tale
    for name, row in rows.items():
        assert row.energy == pytest.approx(mean_cosine(images[name]), abs=1e-12)
        assert row.delta == pytest.approx(row.energy - rows["original"].energy, abs=1e-15)
        assert row.mark == ("OK" if abs(row.delta) < 0.01 else "~" if abs(row.delta) < 0.05 else "✗")
        assert row.update == pytest.approx(np.sqrt(((images[name] - X) ** 2).sum() / (X**2).sum()))
    assert abs(rows["OFT"].delta) < 1e-12


def test_the_tales_lora_is_ok_because_it_is_tiny() -> None:
    demo = EnergyDemo()
    marks = set()
    for seed in range(40):
        demo.seed = seed
        rows = demo.result.tale
        marks.add(rows["LoRA"].mark)
        assert rows["LoRA"].update < 0.2 * rows["random"].update
    assert marks == {"OK"}


@given(**states)
@settings(deadline=None, max_examples=25)
def test_every_number_is_what_the_sums_give(seed: int, s: int, half_space: bool, size: float) -> None:
    result = EnergyDemo(seed=seed, s=s, half_space=half_space, size=size).result
    W, _ = layer(seed)
    X = experiment(seed)["original"]
    before = energy(W, s, half_space)
    assert result.energy == pytest.approx(before, rel=1e-9)
    for name, new in updated(seed, size).items():
        row = result.updates[name]
        assert np.sqrt(((new - W) ** 2).sum()) == pytest.approx(size * np.sqrt((W**2).sum()))
        assert row.energy == pytest.approx(energy(new, s, half_space), rel=1e-9)
        assert row.change == pytest.approx((energy(new, s, half_space) - before) / abs(before), rel=1e-6, abs=1e-9)
        outputs, moved = (np.array([A @ x for x in X]) for A in (W, new))
        assert row.outputs == pytest.approx(np.sqrt(((moved - outputs) ** 2).sum() / (outputs**2).sum()))
        cosines = [np.corrcoef(np.hstack([Y, -Y])) for Y in (outputs, moved)]  # of mean zero: correlation is cosine
        assert row.cosine == pytest.approx(np.abs(cosines[1] - cosines[0]).max(), abs=1e-9)


@given(seeds, st.floats(0.05, 1))
@settings(deadline=None, max_examples=25)
def test_each_update_keeps_what_it_should(seed: int, size: float) -> None:
    W, _ = layer(seed)
    new = updated(seed, size)
    np.testing.assert_allclose(new["W·R (OFT)"] @ new["W·R (OFT)"].T, W @ W.T, atol=1e-9)
    np.testing.assert_allclose(new["R·W"].T @ new["R·W"], W.T @ W, atol=1e-9)
    U, sigma, Vt = np.linalg.svd(W)
    np.testing.assert_allclose(new["OSFT"] @ Vt[:4].T, U[:, :4] * sigma[:4], atol=1e-9)
    np.testing.assert_allclose(U[:, :4].T @ new["OSFT"], sigma[:4, None] * Vt[:4], atol=1e-9)
    assert np.linalg.matrix_rank(new["LoRA"] - W, tol=1e-9) == 4
    scale = new["louder neurons"] / W
    np.testing.assert_allclose(scale, scale[:, :1] @ np.ones((1, 8)), rtol=1e-6)
    assert scale.min() >= 1
    for half_space in (False, True):
        rows = EnergyDemo(seed=seed, size=size, half_space=half_space).result.updates
        kept = {name for name, row in rows.items() if abs(row.change) < 1e-9}
        assert kept == {"W·R (OFT)", "louder neurons"}
        assert rows["R·W"].cosine < 1e-9 < rows["W·R (OFT)"].cosine


def test_the_claims_are_judged_by_the_numbers() -> None:
    demo = EnergyDemo()
    claims = {claim.key: claim for claim in demo.claims(demo.result)}
    assert claims["energy"].verdict == "partly"
    assert f"{demo.result.updates['W·R (OFT)'].cosine:.2f}" in claims["energy"].measured
    assert claims["lora-energy"].verdict == "partly"  # 1.4%: marked ~
    assert f"{100 * demo.result.updates['LoRA'].change:+.2f}%".replace("-", "−") in claims["lora-energy"].measured


def test_bars_end_at_their_numbers_and_stay_in_the_picture() -> None:
    demo = EnergyDemo(s=2, size=1.0)
    for seed in range(20):
        demo.seed = seed
        marks = demo.marks(demo.result)
        bars = marks["change bars"]
        ends = np.where(np.abs(bars["x0"]) > np.abs(bars["x1"]), bars["x0"], bars["x1"])
        changes = np.array([demo.result.updates[name].change for name in UPDATES])
        np.testing.assert_allclose(ends, np.clip(changes, -0.2, 0.2), atol=1e-15)
        assert marks["change names"]["text"] == list(UPDATES)
        assert max(marks["outputs bars"]["x1"]) <= 1.25


def test_regenerate_draws_the_next() -> None:
    demo = EnergyDemo(seed=999_999)
    before = demo.result
    demo.param.trigger("regenerate")
    assert demo.seed == 0
    assert demo.result.tale["original"].energy != before.tale["original"].energy


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("s", 3, "3"),
        ("s", "one", "one"),
        ("size", 0, "= 0 is out of range: give a number, 0.05…1."),
        ("size", float("nan"), "is nan"),
        ("size", 1e12, "is out of range"),
        ("size", "", "is empty"),
        ("seed", -1, "Seed = -1"),
        ("seed", 10**12, "Seed = 1,000,000,000,000"),
        ("seed", "tea", "Seed is “tea”"),
        ("half_space", "yes", "half_space"),
    ],
)
def test_bad_input_is_refused_by_name(name: str, value: object, message: str) -> None:
    demo = EnergyDemo()
    before = demo.result
    with pytest.raises(ValueError, match=re.escape(message)):
        setattr(demo, name, value)
    assert demo.result is before


def test_the_title_says_that_it_shows_a_change() -> None:
    demo = EnergyDemo()
    demo.__panel__()
    titles = [plot.title.text for plot in demo._pictures.get_root().select({"type": figure})]
    assert "measured: change of the neurons’ energy" in titles
