import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wonderland import OSFTStep, address
from wonderland.backend.step import RULE_CHOICES, LayerRun, StepSettings
from wonderland.demos import jobs, step_track
from wonderland.demos.amounts import minus
from wonderland.demos.osft_step import LAYERS
from wonderland.demos.step_marks import AT_REST, FLOOR, HELD, MAPS, NEEDLES
from wonderland.theme import palette

CLOSE = {"rtol": 1e-5, "atol": 1e-6}  # the reader's own loop below computes in float32
TRAP = {"layer": "48×64", "k": 12, "samples": 100, "steps": 60}


@pytest.fixture
def demo():
    return OSFTStep()


def readouts(demo):
    return {readout.label: readout for readout in demo.readouts(demo.result)}


def drawn(seed, m=3, n=3, samples=5):
    """Weight, inputs and targets as a reader of the tutorial draws them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(n, m, bias=False), torch.randn(samples, n), torch.randn(samples, m)


def two_sided_run(seed, k, lr, steps):
    """W after each step of SGD on the two-sided projected gradient, in numpy."""
    layer, x, y = drawn(seed)
    W, x, y = (tensor.detach().double().numpy() for tensor in (layer.weight, x, y))
    U, _, Vt = np.linalg.svd(W)
    P, R = np.eye(3) - U[:, :k] @ U[:, :k].T, np.eye(3) - Vt[:k].T @ Vt[:k]
    weights = [W]
    for _ in range(steps):
        gradient = 2 * (x @ weights[-1].T - y).T @ x / y.size
        weights.append(weights[-1] - lr * P @ gradient @ R)
    return weights, x, y


def test_defaults_are_the_tutorials(demo):
    assert (demo.layer, demo.samples, demo.k, demo.rule, demo.optimizer, demo.lr, demo.steps) == (
        "3×3", 5, 1, "joint", "sgd", 0.1, 1,
    )  # fmt: skip
    assert (demo.basis, demo.project) == ("fixed", "gradient")


def test_before_the_first_step_the_weight_is_there(demo):
    demo.steps = 0
    layer, x, y = drawn(0)
    np.testing.assert_allclose(demo.result.matrices["W"], layer.weight.detach(), **CLOSE)
    assert list(demo.result.matrices) == ["W"]
    assert demo.result.loss[0] == pytest.approx(nn.functional.mse_loss(layer(x), y).item(), rel=1e-5)
    assert all(values[0] < 1e-14 for values in demo.result.leaks.values())
    assert demo.claims(demo.result) == []


@pytest.mark.parametrize("seed", [0, 7])
def test_a_press_takes_the_tutorials_step(demo, seed):
    demo.param.update(seed=seed, steps=0)
    demo.param.trigger("take")
    layer, x, y = drawn(seed)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    loss = nn.functional.mse_loss(layer(x), y)
    loss.backward()
    W, G = layer.weight.detach().clone(), layer.weight.grad.clone()
    U, S, Vh = torch.linalg.svd(W)
    projected = G - U[:, :1] @ (U[:, :1].T @ G @ Vh[:1].T) @ Vh[:1]
    layer.weight.grad = projected
    optimizer.step()
    for name, wanted in zip(MAPS, (W, G, projected, layer.weight.detach()), strict=True):
        np.testing.assert_allclose(demo.result.matrices[name], wanted, **CLOSE)
    np.testing.assert_allclose(demo.result.sigma, S, **CLOSE)
    after = nn.functional.mse_loss(layer(x), y).item()
    assert readouts(demo)["loss"].value == f"{loss.item():.4f} → {after:.4f}"
    assert readouts(demo)["steps"].value == "1"
    shown = demo.details(demo.result)
    assert f"{demo.result.matrices['new W'][2, 1]:+.4f}" in shown
    assert f"σ<sub>1</sub> = {float(S[0]):.4f}" in shown


def test_what_is_protected_goes_by_direction_and_not_by_rank(demo):
    """What is free may grow beyond what is protected: order tells nothing."""
    demo.param.update(layer="16×16", project="core", optimizer="adam", lr=0.05, k=1, steps=0)
    first = demo.result.sigma[0]
    np.testing.assert_allclose(demo.result.protected, [1] + [0] * 15, atol=1e-9)
    demo.steps = 200
    sigma, shares = demo.result.sigma, demo.result.protected
    kept = int(np.argmax(shares))
    assert kept > 0
    assert sigma[kept] == pytest.approx(first, rel=1e-5)
    np.testing.assert_allclose(shares, np.arange(16) == kept, atol=1e-4)
    assert f'σ<sub>{kept + 1}</sub> = {first:.4f} <span class="tag">protected' in demo.details(demo.result)
    inks = demo.marks(demo.result)["sigma"]["ink"]
    assert [at for at, ink in enumerate(inks) if ink == palette(demo.dark).critical] == [kept]
    # The joint rule lets the two mix: then the tag says how much of each is protected.
    demo.param.update(project="gradient", rule="joint", optimizer="sgd", lr=0.3, k=4)
    U, _, Vt = np.linalg.svd(demo.result.matrices["W"])
    U_0, _, Vt_0 = np.linalg.svd(OSFTStep(layer="16×16").result.matrices["W"])
    shares = (np.square(U_0[:, :4].T @ U).sum(axis=0) + np.square(Vt_0[:4] @ Vt.T).sum(axis=0)) / 2
    np.testing.assert_allclose(demo.result.protected, shares, atol=1e-6)
    assert ((shares > 0.02) & (shares < 0.98)).any()
    assert "% protected" in demo.details(demo.result)


def test_the_curves_are_the_run(demo):
    demo.param.update(rule="two-sided", k=2, lr=0.3, seed=3, steps=25)
    weights, x, y = two_sided_run(3, 2, 0.3, 25)
    np.testing.assert_allclose(demo.result.matrices["new W"], weights[-1], rtol=1e-6, atol=1e-7)
    losses = [np.mean((x @ W.T - y) ** 2) for W in weights]
    np.testing.assert_allclose(demo.result.loss, losses, rtol=1e-6)
    marks = demo.marks(demo.result)
    np.testing.assert_allclose(marks["loss"]["y"], losses, rtol=1e-6)
    np.testing.assert_array_equal(marks["loss"]["x"], range(26))


def test_rules_stand_from_the_weakest_to_the_strongest():
    held = [set(HELD[rule]) for rule in OSFTStep.param.rule.objects]
    assert all(weak < strong for weak, strong in pairwise(held))
    assert list(OSFTStep.axes["rule"]) == OSFTStep.param.rule.objects


@pytest.mark.parametrize("rule", RULE_CHOICES)
def test_the_meter_measures_the_run(demo, rule):
    demo.param.update(rule=rule, steps=15, layer="8×8", k=3)
    W0, W = demo._track.start, demo.result.matrices["new W"]
    U, S, Vt = np.linalg.svd(W0)
    D, U_h, V_h = W - W0, U[:, :3], Vt[:3].T
    wanted = {
        "joint": np.linalg.norm(U_h.T @ D @ V_h),
        "right": np.linalg.norm(D @ V_h),
        "left": np.linalg.norm(U_h.T @ D),
        "triplet": max(np.linalg.norm(W @ V_h[:, i] - S[i] * U_h[:, i]) for i in range(3)),
    }
    shown, marks = readouts(demo), demo.marks(demo.result)
    for name, value in wanted.items():
        assert demo.result.leaks[name][-1] == pytest.approx(value, rel=1e-6, abs=1e-13)
        assert marks[name]["y"][-1] == pytest.approx(np.log10(max(demo.result.leaks[name][-1], FLOOR)))
        verdict = shown[NEEDLES[name].label].verdict
        assert verdict == (("ok" if value < AT_REST else "off") if name in HELD[rule] else "")


@pytest.mark.parametrize(
    ("optimizer", "lr", "basis", "project", "leaks"),
    [
        ("sgd", 1.0, "fixed", "gradient", False),
        ("momentum", 0.1, "fixed", "gradient", False),
        ("adam", 0.01, "fixed", "gradient", True),
        ("adam", 0.01, "fixed", "update", False),
        ("sgd", 1.0, "recomputed", "gradient", True),
        ("adam", 0.01, "recomputed", "update", True),
    ],
)
def test_each_trap_costs_what_the_chapter_says(optimizer, lr, basis, project, leaks):
    demo = OSFTStep(**TRAP, rule="two-sided", optimizer=optimizer, lr=lr, basis=basis, project=project)
    assert (demo.result.held > 0.1) == leaks
    assert (demo.result.held < AT_REST) != leaks
    verdicts = {claim.key: claim.verdict for claim in demo.claims(demo.result)}
    if basis == "recomputed":
        assert verdicts == {"recompute": "fails"}
    elif project == "gradient":
        assert verdicts == {"adam": "fails" if leaks else "partly"}
    else:
        assert verdicts == {}
    for claim in demo.claims(demo.result):
        assert minus(f"{demo.result.held:.2g}") in claim.measured
        assert f"60 steps of {optimizer}" in claim.measured


def test_a_first_step_recomputes_nothing(demo):
    demo.param.update(basis="recomputed", steps=1)
    assert demo.claims(demo.result) == []  # the basis of the start is the basis before the first step


def test_one_step_more_costs_one_step(demo, monkeypatch):
    taken = []
    step = LayerRun.step
    monkeypatch.setattr(LayerRun, "step", lambda run: taken.append(run) or step(run))
    demo.steps = 30
    assert len(taken) == 29  # the first was taken before
    demo.param.trigger("take")
    assert (demo.steps, len(taken)) == (31, 30)
    demo.n = 9
    demo.param.trigger("run")
    assert (demo.steps, len(taken)) == (40, 39)
    demo.steps = 12
    assert len(taken) == 39  # turned back: remembered
    assert demo.result.taken == 12


def test_turning_back_shows_the_step_as_it_was(demo):
    demo.steps = 7
    seven = demo.result
    demo.steps = 20
    demo.steps = 7
    for name in MAPS:
        np.testing.assert_array_equal(demo.result.matrices[name], seven.matrices[name])
    np.testing.assert_array_equal(demo.result.loss, seven.loss)
    np.testing.assert_array_equal(demo.result.sigma, seven.sigma)


def test_a_run_too_large_to_remember_runs_anew(monkeypatch):
    monkeypatch.setattr(step_track, "BUDGET", 4 * 5 * 9 * 8)  # five steps of a 3×3 layer
    demo = OSFTStep(steps=20)
    demo.steps = 9
    nine = demo.result
    demo.steps = 20
    assert [demo._track.remembers(step) for step in (0, 1, 5, 6, 9, 19, 20, 21)] == [
        True, True, True, False, False, False, True, True,
    ]  # fmt: skip
    demo.steps = 9
    for name in MAPS:
        np.testing.assert_array_equal(demo.result.matrices[name], nine.matrices[name])


@given(st.lists(st.integers(0, 25), min_size=1, max_size=5), st.sampled_from(sorted(HELD)))
@settings(deadline=None, max_examples=15)
def test_any_way_to_a_step_shows_the_same(way, rule):
    demo = OSFTStep(rule=rule, optimizer="momentum")
    for steps in way:
        demo.steps = steps
    straight = OSFTStep(rule=rule, optimizer="momentum", steps=way[-1])
    np.testing.assert_array_equal(demo.result.loss, straight.result.loss)
    for name, M in straight.result.matrices.items():
        np.testing.assert_array_equal(demo.result.matrices[name], M)


def test_the_counter_ends(demo):
    demo.param.update(steps=995, n=100)
    demo.param.trigger("run")
    assert demo.steps == 1000
    demo.param.trigger("take")
    assert demo.steps == 1000
    assert "The counter ends at 1,000" in demo.details(demo.result)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_has_its_matrices(layer):
    demo = OSFTStep(layer=layer, steps=2)
    m, n = map(int, layer.split("×"))
    marks = demo.marks(demo.result)
    for name in MAPS:
        assert demo.result.matrices[name].shape == (m, n)
        (image,) = marks[f"map {name}"]["image"]
        assert image.shape == (m, n)
        assert np.abs(image).max() <= 127
    assert len(marks["sigma"]["y1"]) == min(m, n)
    assert ('<div class="matrix"' in demo.details(demo.result)) == (layer == "3×3")
    assert f"{np.linalg.norm(demo.result.matrices['gradient']):.4f}" in demo.details(demo.result)


def test_a_map_has_its_first_row_on_top(demo):
    demo.steps = 1
    G = demo.result.matrices["gradient"]
    largest = max(np.abs(G).max(), np.abs(demo.result.matrices["projected"]).max())
    (image,) = demo.marks(demo.result)["map gradient"]["image"]
    np.testing.assert_array_equal(image[::-1], np.rint(127 * G / largest))


def test_a_smaller_layer_takes_a_cut_off_with_it(demo):
    demo.layer = "16×16"
    demo.k = 12
    demo.layer = "8×8"
    assert (demo.k, demo.problem) == (8, "")
    assert demo.param.k.softbounds == (0, 8)


def test_a_cut_off_beyond_the_layer_is_answered_in_words(demo):
    demo.param.trigger("take")
    good = demo.result
    demo.k = 4
    assert demo.problem == "k = 4 is outside 0…3: a 3×3 matrix has 3 singular values."
    assert demo.result is good
    demo.k = 3
    assert demo.problem == ""


def test_a_run_that_diverges_is_answered_in_words(demo):
    demo.param.update(steps=5)
    good = demo.result
    demo.param.update(lr=100, rule="none", steps=500)
    assert demo.problem.startswith("Learning rate = 100 makes step ")
    assert demo.problem.endswith("choose a smaller one.")
    assert demo.result is good
    demo.param.update(lr=0.1)
    assert demo.problem == ""
    assert demo.result.taken == 500


def test_without_torch_the_card_waits(monkeypatch):
    monkeypatch.setattr(jobs, "served", lambda: True)
    monkeypatch.setattr(jobs, "ready", lambda: False)
    demo = OSFTStep(steps=3)
    assert demo.result.taken == 0
    assert readouts(demo)["torch"].value == "loading …"
    assert "loaded" in demo.describe(demo.result)
    marks = demo.marks(demo.result)
    assert all(len(marks[name]["x"]) == 0 for name in (*NEEDLES, "needles", "loss", "map names"))
    demo._card.get_root()  # it is drawn nevertheless
    monkeypatch.setattr(jobs, "ready", lambda: True)
    demo._on_loaded(None)
    assert demo.result.taken == 3
    demo._on_loaded(ImportError("no module torch"))
    assert demo.problem == "torch could not be loaded: no module torch"


def test_it_draws_itself(demo):
    demo._card.get_root()
    demo.steps = 3
    demo.dark = not demo.dark
    demo.layer = "8×8"
    assert demo.problem == ""


def test_the_address_keeps_the_run(demo):
    demo.param.update(
        layer="8×8",
        k=3,
        rule="two-sided",
        basis="recomputed",
        project="update",
        optimizer="adam",
        lr=0.02,
        seed=4,
        steps=6,
    )
    other = OSFTStep()
    assert address.apply(other, address.decode(address.encode(9, demo))[1]) == []
    assert (
        other.result.settings
        == demo.result.settings
        == StepSettings(8, 8, 5, 3, "two-sided", "recomputed", "update", "adam", 0.02, 4)
    )
    np.testing.assert_array_equal(other.result.matrices["new W"], demo.result.matrices["new W"])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("k", -1, r"Cut-off k = -1 is out of range: give a whole number, 0…48\."),
        ("k", 49, "Cut-off k = 49"),
        ("k", 1.5, "Cut-off k is 1.5"),
        ("n", 0, "N = 0"),
        ("n", 1001, "1…1,000"),
        ("steps", 10**12, "Steps taken = 1,000,000,000,000"),
        ("steps", math.nan, "Steps taken is nan"),
        ("lr", 0, "Learning rate = 0"),
        ("lr", -0.1, "Learning rate = -0.1"),
        ("lr", math.inf, "Learning rate is inf"),
        ("lr", "fast", "“fast”"),
        ("lr", True, "True"),
        ("samples", 0, "Random inputs = 0"),
        ("samples", 1025, "1…1,024"),
        ("seed", -1, "Seed = -1"),
        ("seed", 2**32, "Seed = 4,294,967,296"),
        ("seed", "", "Seed is empty"),
        ("layer", "4×4", "4×4"),
        ("rule", "left-only", "left-only"),
        ("basis", "none", "none"),
        ("project", "loss", "loss"),
        ("optimizer", "lion", "lion"),
    ],
)
def test_bad_input_is_refused(demo, name, value, message):
    before = getattr(demo, name)
    with pytest.raises(ValueError, match=message):
        setattr(demo, name, value)
    assert getattr(demo, name) == before
