import dataclasses
import math
import pickle
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wonderland.backend.step import BASES, OPTIMIZERS, PROJECTIONS, RULE_CHOICES, LayerRun, StepSettings
from wonderland.maths.subspace import RULES

MEASURES = ("joint", "right", "left", "triplet")
# What each rule promises: the measures of the leak that it holds at zero.
HELD = {"joint": ("joint",), "two-sided": MEASURES, "right-only": ("joint", "right", "triplet"), "none": ()}
# The layer of the three traps; what no rule at all leaks in it is the yardstick.
TRAPS = {"m": 48, "n": 64, "k": 12, "samples": 100}
RATES = {"sgd": 1.0, "momentum": 0.1, "adam": 0.01}


@cache
def torn(optimizer, **choices):
    """The last record of 300 steps of the traps' layer."""
    run = LayerRun(StepSettings(**TRAPS, optimizer=optimizer, lr=RATES[optimizer], **choices))
    return run.run(300)[-1]


def held(record, rule):
    return max(getattr(record.leak, measure) for measure in HELD[rule])


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_the_first_step_is_the_one_of_the_tutorial(seed):
    """Written out in torch as a reader would: 3×3, five samples, squared error, SGD at 0.1, cut-off 1."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer = nn.Linear(3, 3, bias=False)
        x, y = torch.randn(5, 3), torch.randn(5, 3)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    before = layer.weight.detach().clone()
    loss = nn.functional.mse_loss(layer(x), y)
    loss.backward()
    G = layer.weight.grad.clone()
    U, S, Vh = torch.linalg.svd(before)
    u, v = U[:, :1], Vh[:1].T
    layer.weight.grad = G - u @ (u.T @ G @ v) @ v.T
    optimizer.step()

    record = LayerRun(StepSettings(seed=seed)).step()
    # The reader computes in float32.
    close = {"rtol": 1e-5, "atol": 1e-6}
    assert record.step == record.k == 1
    np.testing.assert_allclose(record.weight_before, before, **close)
    np.testing.assert_allclose(record.gradient, G, **close)
    np.testing.assert_allclose(record.singular_values, S, **close)
    np.testing.assert_allclose(record.projected, layer.weight.grad, **close)
    np.testing.assert_allclose(record.weight_after, layer.weight.detach(), **close)
    assert record.loss_before == pytest.approx(loss.item(), rel=1e-5)
    assert record.loss_after == pytest.approx(nn.functional.mse_loss(layer(x), y).item(), rel=1e-5)


sizes = st.integers(1, 10)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(m=sizes, n=sizes, samples=sizes, rule=st.sampled_from(RULE_CHOICES), seed=seeds, data=st.data())
def test_a_record_tells_one_step_of_descent(m, n, samples, rule, seed, data):
    k = data.draw(st.integers(0, min(m, n)))
    run = LayerRun(StepSettings(m, n, samples, k, rule, lr=0.05, seed=seed))
    X, Y = run.inputs.numpy(), run.targets.numpy()
    assert X.shape == (samples, n)
    assert Y.shape == (samples, m)
    W = None
    for number, record in enumerate(run.run(3), 1):
        assert record.step == number
        if W is not None:
            np.testing.assert_array_equal(record.weight_before, W)
        before, W = record.weight_before, record.weight_after
        assert before.shape == W.shape == (m, n)
        error = X @ before.T - Y
        assert record.loss_before == pytest.approx((error**2).mean(), rel=1e-12)
        assert record.loss_after == pytest.approx(((X @ W.T - Y) ** 2).mean(), rel=1e-12)
        np.testing.assert_allclose(record.gradient, 2 / (samples * m) * error.T @ X, atol=1e-12)
        np.testing.assert_allclose(record.singular_values, np.linalg.svd(before)[1], atol=1e-12)
        np.testing.assert_allclose(W, before - 0.05 * record.projected, atol=1e-12)
        if number == 1:
            U, _, Vt = np.linalg.svd(before)
            u, v = U[:, :k] @ U[:, :k].T, Vt[:k].T @ Vt[:k]
            G = record.gradient
            expected = {
                "joint": G - u @ G @ v,
                "two-sided": (np.eye(m) - u) @ G @ (np.eye(n) - v),
                "right-only": G @ (np.eye(n) - v),
                "none": G,
            }[rule]
            np.testing.assert_allclose(record.projected, expected, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(m=sizes, n=sizes, rule=st.sampled_from(RULES), seed=seeds, data=st.data())
def test_a_projected_update_keeps_what_its_rule_promises(m, n, rule, seed, data):
    k = data.draw(st.integers(0, min(m, n)))
    optimizer = data.draw(st.sampled_from([*OPTIMIZERS]))
    run = LayerRun(StepSettings(m, n, 20, k, rule, project="update", optimizer=optimizer, lr=0.01, seed=seed))
    assert max(held(record, rule) for record in run.run(30)) <= 1e-12


@pytest.mark.parametrize("rule", RULES)
def test_trap_one_adam_after_a_projected_gradient_leaks(rule):
    nothing, leaked = (held(torn("adam", rule=choice), rule) for choice in ("none", rule))
    assert leaked > 0.3 * nothing > 0.5


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_a_projected_gradient_is_enough_for_sgd_and_momentum(optimizer, rule):
    assert held(torn(optimizer, rule=rule), rule) <= 1e-12


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_trap_one_is_avoided_by_projecting_the_update(optimizer, rule):
    record = torn(optimizer, rule=rule, project="update")
    assert held(record, rule) <= 1e-12
    # It stood still there and nowhere else.
    assert np.linalg.norm(record.weight_after - LayerRun(StepSettings(**TRAPS)).step().weight_before) > 1


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_trap_two_a_recomputed_basis_protects_nothing(optimizer, rule):
    nothing = torn(optimizer, rule="none")
    leaked = torn(optimizer, rule=rule, basis="recomputed")
    assert held(leaked, rule) > 0.7 * held(nothing, rule)


@pytest.mark.parametrize("rule", RULE_CHOICES)
@pytest.mark.parametrize("basis", BASES)
def test_trap_three_momentum_behaves_like_sgd(rule, basis):
    # Momentum 0.9 goes ten times as far a step: with a tenth of the rate the two go the same way.
    sgd, momentum = torn("sgd", rule=rule, basis=basis), torn("momentum", rule=rule, basis=basis)
    for measure in MEASURES:
        one, other = getattr(sgd.leak, measure), getattr(momentum.leak, measure)
        assert other == pytest.approx(one, rel=0.1, abs=1e-12)


def test_the_joint_rule_holds_no_triplet():
    record = torn("sgd", rule="joint", project="update")
    assert record.leak.joint <= 1e-12
    assert min(record.leak.right, record.leak.left, record.leak.triplet) > 0.5


def test_for_sgd_gradient_update_and_core_are_one():
    by_gradient, *others = (torn("sgd", rule="two-sided", project=where) for where in PROJECTIONS)
    for other in others:
        np.testing.assert_allclose(by_gradient.weight_after, other.weight_after, atol=1e-11)


@pytest.mark.parametrize("rule", RULE_CHOICES)
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_core_keeps_every_triplet_whatever_the_switches_say(optimizer, rule, basis):
    record = torn(optimizer, rule=rule, basis=basis, project="core")
    assert max(getattr(record.leak, measure) for measure in MEASURES) <= 1e-12
    assert np.linalg.norm(record.weight_after - LayerRun(StepSettings(**TRAPS)).step().weight_before) > 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_without_a_rule_it_is_plain_torch(optimizer):
    choices = StepSettings(6, 5, 9, 2, "none", optimizer=optimizer, lr=0.03, seed=11)
    run = LayerRun(choices)
    layer = nn.Linear(5, 6, bias=False).double()
    layer.weight.data = run.layer.weight.detach().clone()
    plain = {
        "sgd": torch.optim.SGD(layer.parameters(), lr=0.03),
        "momentum": torch.optim.SGD(layer.parameters(), lr=0.03, momentum=0.9),
        "adam": torch.optim.Adam(layer.parameters(), lr=0.03),
    }[optimizer]
    for _ in range(25):
        plain.zero_grad()
        nn.functional.mse_loss(layer(run.inputs), run.targets).backward()
        plain.step()
    np.testing.assert_allclose(run.run(25)[-1].weight_after, layer.weight.detach().numpy(), atol=1e-13)


@pytest.mark.parametrize(("project", "optimizer"), [("gradient", "sgd"), ("update", "adam")])
def test_recomputed_directions_are_those_of_the_weight_now(project, optimizer):
    run = LayerRun(StepSettings(6, 5, 9, 2, "two-sided", "recomputed", project, optimizer, lr=0.5))
    for record in run.run(5):
        U, _, Vt = np.linalg.svd(record.weight_before)
        for change in (record.projected, record.weight_after - record.weight_before):
            assert np.linalg.norm(change) > 1e-3
            np.testing.assert_allclose(U[:, :2].T @ change, 0, atol=1e-13)
            np.testing.assert_allclose(change @ Vt[:2].T, 0, atol=1e-13)


def arrays(record):
    return {name: value for name, value in vars(record).items() if isinstance(value, np.ndarray)}


def test_the_seed_decides_everything():
    state = torch.get_rng_state()
    first, again, other = (LayerRun(StepSettings(seed=seed)).run(4) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_equal(dataclasses.asdict(one), dataclasses.asdict(two))
    assert not np.allclose(first[0].weight_before, other[0].weight_before)
    assert not np.allclose(first[0].gradient, other[0].gradient)


def test_a_record_stands_for_itself():
    run = LayerRun()
    first = run.step()
    kept = {name: value.copy() for name, value in arrays(first).items()}
    run.run(5)
    np.testing.assert_equal(arrays(first), kept)
    assert {value.dtype for value in arrays(first).values()} == {np.dtype(np.float64)}
    for value in arrays(first).values():
        with pytest.raises(ValueError, match="read-only"):
            value[0] = 1
    np.testing.assert_equal(arrays(pickle.loads(pickle.dumps(first))), kept)


@pytest.mark.parametrize("project", PROJECTIONS)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_a_diverging_step_says_so_and_keeps_the_last_good_weight(optimizer, project):
    run = LayerRun(StepSettings(optimizer=optimizer, project=project, lr=1e12))
    good = run.run(2)[-1].weight_after
    with pytest.raises(ValueError, match=r"lr = 1e\+12 makes step 3 diverge .*choose a smaller one"):
        run.step()
    np.testing.assert_array_equal(run.layer.weight.detach().numpy(), good)


def test_adam_steps_as_far_as_its_rate_and_stays_finite():
    first, *_, last = LayerRun(StepSettings(rule="none", optimizer="adam", lr=1e12)).run(20)
    np.testing.assert_allclose(np.abs(first.weight_after - first.weight_before), 1e12, rtol=1e-6)
    assert math.isfinite(last.loss_after)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"m": 0}, ValueError, "m = 0 is outside 1…64"),
        ({"n": 65}, ValueError, "n = 65 is outside 1…64"),
        ({"m": 10**12}, ValueError, "m = .* is outside 1…64"),
        ({"n": 10**5000}, ValueError, "n = .* is outside 1…64"),
        ({"m": 3.0}, TypeError, "m = 3.0 is not a whole number"),
        ({"m": math.nan}, TypeError, "m = nan is not a whole number"),
        ({"samples": 0}, ValueError, "samples = 0 is outside 1…1,024"),
        ({"samples": "five"}, TypeError, "samples = 'five' is not a whole number"),
        ({"k": 9, "m": 6, "n": 6}, ValueError, "k = 9 is outside 0…6: a 6×6 matrix has 6 singular values"),
        ({"k": 2, "m": 1}, ValueError, "k = 2 is outside 0…1: a 1×3 matrix has 1 singular value."),
        ({"k": -1}, ValueError, "k = -1 is outside 0…3"),
        ({"k": True}, TypeError, "k = True is not a whole number"),
        ({"rule": "both"}, ValueError, "rule = 'both' is unknown: .*two-sided"),
        ({"rule": None}, TypeError, "rule = None"),
        ({"basis": ""}, ValueError, "basis = ''"),
        ({"project": "weights"}, ValueError, "project = 'weights'"),
        ({"project": "core", "k": 0}, ValueError, "k = 0 leaves nothing to protect: .*1…2"),
        ({"project": "core", "k": 3}, ValueError, "k = 3 leaves nothing to train"),
        ({"optimizer": "lion"}, ValueError, "optimizer = 'lion'.*sgd, momentum, adam"),
        ({"lr": math.nan}, ValueError, "lr = nan is outside"),
        ({"lr": math.inf}, ValueError, "lr = inf is outside"),
        ({"lr": 0}, ValueError, "lr = 0 is outside"),
        ({"lr": -0.1}, ValueError, "lr = -0.1 is outside"),
        ({"lr": "fast"}, TypeError, "lr = 'fast'"),
        ({"lr": True}, TypeError, "lr = True"),
        ({"seed": -1}, ValueError, "seed = -1 is outside"),
        ({"seed": 2**32}, ValueError, "seed = .* is outside 0…4,294,967,295"),
        ({"seed": None}, TypeError, "seed = None"),
    ],
)
def test_a_bad_setting_is_refused(bad, error, message):
    with pytest.raises(error, match=message):
        StepSettings(**bad)


@pytest.mark.parametrize(
    ("n", "error"),
    [(0, ValueError), (-3, ValueError), (10**9, ValueError), (2.5, TypeError), (True, TypeError)],
)
def test_a_bad_number_of_steps_is_refused_and_none_is_taken(n, error):
    run = LayerRun()
    with pytest.raises(error, match="n = "):
        run.run(n)
    assert run.step().step == 1
