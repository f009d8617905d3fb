"""Chapter 6 without a browser."""

import asyncio
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from wonderland.backend import race
from wonderland.demos import jobs, svd_explorer
from wonderland.demos.spectra import NOISE, SHAPES, TOY, Source, layer, toy
from wonderland.demos.svd_explorer import FULL_COLOR, LEVELS, SVDExplorer
from wonderland.theme import DARK, LIGHT

LAYERS = ("layer1", "layer2", "layer3")
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cut(W: np.ndarray, k: int) -> np.ndarray:
    """W's best approximation of rank k, by the eigenvectors of WᵀW instead of a singular value decomposition."""
    _, V = np.linalg.eigh(W.T @ W)
    strongest = V[:, ::-1][:, :k]
    return W @ strongest @ strongest.T


def test_starts_as_the_tutorial_does():
    demo = SVDExplorer()
    assert (demo.source, demo.k, demo.result.count) == ("toy", 2, 6)
    assert demo.param.k.get_soft_bounds() == (1, 6)
    assert TOY.tolist() == [3.5, 2.1, 1.3, 0.7, 0.25, 0.05]
    assert NOISE == 0.3


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_toy_is_a_matrix_with_the_noisy_spectrum(seed):
    source = toy(seed)
    sigma = np.sqrt(np.maximum(np.linalg.eigvalsh(source.W.T @ source.W)[::-1], 0))
    assert np.allclose(source.split.S, sigma, atol=1e-6)
    # Sorting never moves two rows of numbers further apart.
    assert np.abs(source.split.S - TOY).max() <= NOISE + 1e-12
    assert (np.diff(source.split.S) <= 0).all()


def test_toy_draws_again_what_would_fall_below_zero():
    seeds = range(100)
    first = np.array([TOY + np.random.default_rng(seed).uniform(-NOISE, NOISE, 6) for seed in seeds])
    below = (first < 0).any(axis=1)
    assert 30 <= below.sum() <= 65  # the tutorial's own toy: 67 of 144 draws, give or take three deviations
    for seed, draw in zip(seeds, first, strict=True):
        sigma = toy(seed).split.S
        assert sigma[-1] > 0
        good = draw[draw >= 0]
        assert np.isclose(sigma[:, None], good, atol=1e-9).any(axis=0).all()


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.integers(1, 6))
def test_what_a_cutoff_keeps(seed, k):
    result = SVDExplorer(seed=seed, k=k).result
    W = result.source.W
    assert np.allclose(result.grin, cut(W, k), atol=1e-6)
    assert math.isclose(result.energy[k], np.linalg.norm(cut(W, k)) ** 2 / np.linalg.norm(W) ** 2, rel_tol=1e-9)
    assert result.energy[0] == 0
    assert math.isclose(result.energy[-1], 1)
    assert math.isclose(result.effective_rank, np.exp(entropy(np.linalg.svd(W, compute_uv=False))), rel_tol=1e-9)


def test_regenerate_is_the_next_seed():
    demo = SVDExplorer()
    before = demo.result.sigma
    demo.regenerate = True
    assert demo.seed == 1
    assert not np.allclose(demo.result.sigma, before)
    assert np.array_equal(demo.result.sigma, toy(1).split.S)
    demo.reset()
    assert np.array_equal(demo.result.sigma, before)
    demo.seed = 2**32 - 1
    demo.regenerate = True
    assert demo.seed == 0


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_those_of_the_network(name):
    demo = SVDExplorer(source=name, k=3)
    W = race.layer_weights(0)[name]
    assert W.shape == SHAPES[name]
    assert np.array_equal(demo.result.source.W, W)
    assert np.allclose(demo.result.sigma**2, np.linalg.eigvalsh(W @ W.T)[::-1][: min(W.shape)], atol=1e-9)
    model, digits = race.pretrain(0), race.load_digits()
    images = torch.tensor(digits.test_x.reshape(-1, 64))
    for k in (1, 3, min(W.shape)):
        with torch.no_grad():
            model.get_submodule(name).weight.copy_(torch.from_numpy(cut(W, k)))
            right = (model(images).argmax(1).numpy() == digits.test_y).mean()
        assert math.isclose(demo.result.accuracy[k], right, abs_tol=1e-12)
    assert len(demo.result.accuracy) == min(W.shape) + 1


def test_enough_is_where_the_accuracy_stays_within_a_point():
    for name in LAYERS:
        result = SVDExplorer(source=name).result
        near = [whole >= result.accuracy[-1] - 0.01 for whole in result.accuracy]
        assert all(near[result.enough :])
        assert not near[result.enough - 1]


def test_bars_and_boundary():
    demo = SVDExplorer(k=4, dark=True)
    marks = demo.marks(demo.result)
    assert marks["bars"]["ink"].tolist() == [DARK.critical] * 4 + [DARK.safe] * 2
    assert np.array_equal(marks["bars"]["y1"], demo.result.sigma)
    assert marks["boundary"]["x0"] == marks["boundary"]["x1"] == [4.5]
    assert marks["counts"]["text"] == ["critical: 4", "safe: 2"]
    assert marks["values"]["text"] == [f"{value:.2f}" for value in demo.result.sigma]
    demo.dark = False
    assert demo.marks(demo.result)["bars"]["ink"].tolist() == [LIGHT.critical] * 4 + [LIGHT.safe] * 2


def test_toy_keeps_its_scale():
    demo = SVDExplorer()
    frames = set()
    for demo.seed in range(30):
        frame = demo.marks(demo.result)["bars frame"]
        frames.add((*frame["x"], *frame["y"]))
        assert frame["y"][1] > demo.result.sigma[0]
    assert len(frames) == 1


def test_pictures_of_the_weight_and_its_grin():
    demo = SVDExplorer(source="layer3", k=2)
    W = race.layer_weights(0)["layer3"]
    full = FULL_COLOR * np.sqrt((W**2).mean())
    marks = demo.marks(demo.result)
    for mark, wanted in (("W", W), ("grin", cut(W, 2))):
        (image,) = marks[mark]["image"]
        assert image.dtype == np.int8
        assert np.abs(image[::-1] / LEVELS * full - np.clip(wanted, -full, full)).max() <= full / LEVELS * 0.501


def test_every_value_is_listed_with_its_tag():
    demo = SVDExplorer(k=2)
    listed = demo.details(demo.result)
    assert listed.count('class="critical"') == 2
    assert listed.count('class="safe"') == 4
    for i, value in enumerate(demo.result.sigma, 1):
        assert f"σ<sub>{i}</sub> = {value:.4f}" in listed


def test_cutoff_follows_the_matrix():
    demo = SVDExplorer(source="layer1", k=64)
    assert demo.param.k.softbounds == (1, 64)
    demo.source = "layer3"
    assert (demo.k, demo.param.k.softbounds, demo.problem) == (10, (1, 10), "")
    demo.source = "layer2"
    assert (demo.k, demo.param.k.softbounds) == (10, (1, 128))
    demo.param.update(source="toy", k=7)  # together, as from an address: no silent change
    assert demo.problem == "k = 7 is outside 1…6: a 6×6 matrix has 6 singular values."
    assert demo.result.name == "layer2"  # the last good picture stands
    demo.k = 6
    assert not demo.problem
    assert demo.result.name == "toy"


def test_claim_is_about_a_task():
    assert SVDExplorer().claims(SVDExplorer().result) == []
    demo = SVDExplorer(source="layer1", k=2)
    accuracy = demo.result.accuracy
    (claim,) = demo.claims(demo.result)
    assert (claim.key, claim.verdict) == ("grin", "fails")
    assert f"{accuracy[2]:.1%} instead of {accuracy[-1]:.1%}" in claim.measured
    demo.k = demo.result.enough
    assert demo.claims(demo.result)[0].verdict == "holds"
    demo.k = int(np.flatnonzero((accuracy < accuracy[-1] - 0.01) & (accuracy >= accuracy[-1] - 0.05))[0])
    assert demo.claims(demo.result)[0].verdict == "partly"


def test_words_hold_the_numbers():
    demo = SVDExplorer(source="layer1", k=9)
    words = demo.describe(demo.result)
    for number in ("256×64", f"{demo.result.energy[9]:.1%}", f"{demo.result.accuracy[9]:.1%}", "other 55"):
        assert number in words
    assert {r.label: r.value for r in demo.readouts(demo.result)}["critical"] == "9 of 64"


def test_network_trains_beside_the_page(monkeypatch):
    calls = []

    def counted(seed: int, name: str) -> Source:
        calls.append((seed, name))
        return layer(seed, name)

    async def read() -> None:
        demo = SVDExplorer()
        assert demo.result.name == "toy"
        demo.source = "layer1"
        for demo.k in (3, 4, 5):
            assert demo.result.source is None  # nothing waited
        assert demo.readouts(demo.result)[0].value == "training …"
        assert demo.marks(demo.result).keys() == SVDExplorer().marks(SVDExplorer().result).keys()
        await until(lambda: demo.result.source)
        assert np.array_equal(demo.result.accuracy, layer(0, "layer1").accuracy)
        assert demo.result.k == 5

    monkeypatch.setattr(svd_explorer, "layer", counted)
    layer.cache_clear()
    asyncio.run(read())
    assert calls == [(0, "layer1")]  # once, however the cut-off moved meanwhile


def test_the_last_network_stands_while_another_trains():
    async def read() -> None:
        demo = SVDExplorer(source="layer3", k=5)
        await until(lambda: demo.result.source)
        before = demo.result
        demo.seed = 1
        assert demo.result.training
        assert demo.result.source is before.source
        assert demo.readouts(demo.result)[0].label == "another network"
        assert "of the last network" in demo.describe(demo.result)
        assert demo.claims(demo.result) == []
        await until(lambda: not demo.result.training)
        assert demo.result.source is layer(1, "layer3")
        assert len(demo.claims(demo.result)) == 1

    asyncio.run(read())


def test_a_reader_who_moves_on_gets_the_toy():
    async def read() -> None:
        demo = SVDExplorer(source="layer3")
        demo.source = "layer2"
        demo.source = "toy"
        assert not demo._worker.busy
        await asyncio.sleep(3 * jobs.PERIOD / 1000)  # time enough to hear of what was begun
        assert demo.result.source is toy(0)
        demo.source = "layer2"
        await until(lambda: demo.result.source)
        assert demo.result.count == 128

    asyncio.run(read())


def test_a_failed_training_is_said_and_tried_again(monkeypatch):
    def fails(seed: int, name: str) -> None:
        raise RuntimeError("no memory left")

    async def read() -> None:
        demo = SVDExplorer()
        with monkeypatch.context() as patch:
            patch.setattr(svd_explorer, "layer", fails)
            demo.source = "layer3"
            await until(lambda: demo.problem)
        assert "could not be trained (no memory left)" in demo.problem
        demo.k = 3
        await until(lambda: demo.result.source)
        assert (demo.problem, demo.result.count, demo.result.k) == ("", 10, 3)

    asyncio.run(read())


async def until(ready: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not ready():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("name", "value"),
    [("k", bad) for bad in (0, -1, 2.5, math.nan, math.inf, "two", "", True)]
    + [("seed", bad) for bad in (-1, 2**32, math.nan, "x", 0.5)]
    + [("source", "layer9")],
)
def test_bad_input_is_refused(name, value):
    demo = SVDExplorer()
    before = demo.result
    with pytest.raises(ValueError, match=r"Rank cut-off k|Seed|source"):
        setattr(demo, name, value)
    assert demo.result is before


@pytest.mark.parametrize("k", [7, 10**12])
def test_a_cutoff_beyond_the_matrix_is_explained(k):
    demo = SVDExplorer()
    before = demo.result
    demo.k = k
    assert demo.problem == f"k = {k:,} is outside 1…6: a 6×6 matrix has 6 singular values."
    assert demo.result is before
    with pytest.raises(ValueError, match="outside 1…6"):
        SVDExplorer(k=k)
