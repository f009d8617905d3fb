import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wonderland.backend.osft import CoreLinear, constrain, kept_rank, leak, merge
from wonderland.maths.subspace import leak as leak_of
from wonderland.maths.subspace import project, split

MEASURES = ("joint", "right", "left", "triplet")
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "decayed": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.02),
}


@pytest.fixture
def model():
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(8, 12), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 6)).double()


def data(seed=3, samples=40):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(samples, width, generator=generator, dtype=torch.float64) for width in (8, 6))
    return x, y


def fit(model, optimizer, steps):
    x, y = data()
    optimizer = OPTIMIZERS[optimizer]([p for p in model.parameters() if p.requires_grad])
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def worst(leaks):
    return max(getattr(one, measure) for one in leaks.values() for measure in MEASURES)


def state(model):
    """All that an error must leave alone: the modules themselves, their values, and what is frozen."""
    return (
        {name: id(module) for name, module in model.named_modules(remove_duplicate=False)},
        {name: value.clone().numpy() for name, value in model.state_dict().items()},
        {name: parameter.requires_grad for name, parameter in model.named_parameters()},
    )


def assert_state(model, before):
    modules, values, grads = state(model)
    assert modules == before[0]
    assert grads == before[2]
    np.testing.assert_equal(values, before[1])


@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 12), n=st.integers(1, 12), bias=st.booleans(), data=st.data())
def test_whatever_the_core_holds_the_protected_triplets_stay(m, n, bias, data):
    k = data.draw(st.integers(0, min(m, n)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    linear = nn.Linear(n, m, bias=bias).double()
    W = rng.normal(size=(m, n))
    linear.weight.data = torch.tensor(W)
    core = CoreLinear(linear, k)
    assert core.C.shape == (m - k, n - k)
    core.C.data = torch.tensor(rng.normal(scale=100, size=(m - k, n - k)))
    U, S, Vt = np.linalg.svd(W)
    now = core.weight.detach().numpy()
    np.testing.assert_allclose(now @ Vt[:k].T, U[:, :k] * S[:k], atol=1e-11)
    np.testing.assert_allclose(U[:, :k].T @ now, S[:k, None] * Vt[:k], atol=1e-11)
    # ... and the layer acts with that weight, on any number of leading dimensions.
    x = torch.tensor(rng.normal(size=(2, 5, n)))
    shift = linear.bias.detach().numpy() if bias else 0.0
    np.testing.assert_allclose(core(x).detach().numpy(), x.numpy() @ now.T + shift, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 8), n=st.integers(1, 8), data=st.data())
def test_every_allowed_weight_can_be_reached(m, n, data):
    k = data.draw(st.integers(0, min(m, n)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    linear = nn.Linear(n, m, bias=False).double()
    linear.weight.data = torch.tensor(rng.normal(size=(m, n)))
    core = CoreLinear(linear, k)
    W = linear.weight.detach().numpy()
    update = project(rng.normal(size=(m, n)), split(W, k), "two-sided")
    core.C.data = core.U_perp.T @ torch.tensor(update) @ core.V_perp
    np.testing.assert_allclose(core.weight.detach().numpy(), W + update, atol=1e-12)


def test_a_step_of_sgd_on_the_core_is_the_two_sided_projection_of_the_dense_step(model):
    x, y = data()
    dense = copy.deepcopy(model)
    nn.functional.mse_loss(dense(x), y).backward()
    constrain(model, 0.5)
    nn.functional.mse_loss(model(x), y).backward()
    for name in ("0", "3"):
        core, linear = model.get_submodule(name), dense.get_submodule(name)
        W, G = linear.weight.detach().numpy(), linear.weight.grad.numpy()
        step = core.U_perp @ core.C.grad @ core.V_perp.T
        allowed = project(G, split(W, core.k), "two-sided")
        np.testing.assert_allclose(step.numpy(), allowed, atol=1e-14)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_any_optimizer_learns_and_leaks_nothing(model, optimizer):
    constrain(model, 0.5)
    start = {name: core.weight.detach().clone() for name, core in cores(model)}
    losses = fit(model, optimizer, 100)
    assert losses[-1] < losses[0]
    assert all((core.weight - start[name]).norm() > 0.1 for name, core in cores(model))
    assert worst(leak(model)) < 1e-13


def cores(model):
    return [(name, module) for name, module in model.named_modules() if isinstance(module, CoreLinear)]


def test_without_the_constraint_the_same_training_leaks(model):
    before = {name: model.get_submodule(name).weight.detach().clone().numpy() for name in ("0", "3")}
    fit(model, "adam", 100)
    for name, W in before.items():
        now = model.get_submodule(name).weight.detach().numpy()
        assert leak_of(now, split(W, 3)).right > 0.1


def test_only_the_cores_are_trained(model):
    original = copy.deepcopy(model)
    expected = model(data()[0])
    assert constrain(model, 0.5) is model
    torch.testing.assert_close(model(data()[0]), expected, rtol=0, atol=0)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["0.C", "3.C"]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 8 * 4 + 3 * 9
    fit(model, "decayed", 20)
    for name in ("0", "3"):
        assert torch.equal(model.get_submodule(name).W, original.get_submodule(name).weight)
        assert torch.equal(model.get_submodule(name).bias, original.get_submodule(name).bias)
    assert torch.equal(model[1].weight, original[1].weight)
    # Thawing the whole model thaws no frozen weight.
    model.requires_grad_(True)
    assert "W" not in {name.rpartition(".")[2] for name, _ in model.named_parameters()}


def test_leak_sees_a_weight_that_moved_where_it_must_not(model):
    constrain(model, 0.5)
    assert worst(leak(model)) < 1e-13
    core = model[0]
    parts = split(core.W.numpy(), core.k)
    # U⊥ is bent towards the first protected direction, so that the core writes there, by 3 along each.
    core.U_perp[:, 0] = torch.tensor(parts.U_h[:, 0])
    core.V_perp[:, 0] = torch.tensor(parts.V_h[:, 0])
    with torch.no_grad():
        core.C[0, 0] = 3.0
    found = leak(model)
    assert found["0"].joint == pytest.approx(3, abs=1e-12)
    assert found["0"].triplet == pytest.approx(3, abs=1e-12)
    assert worst({"3": found["3"]}) < 1e-13


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_the_leak_is_the_rounding_of_the_number_type(dtype, bound):
    torch.manual_seed(0)
    model = constrain(nn.Sequential(nn.Linear(20, 16, dtype=dtype)), 0.4)
    with torch.no_grad():
        model[0].C.normal_()
    assert model[0].weight.dtype == dtype
    assert worst(leak(model)) < bound


def test_merging_keeps_what_was_learned(model):
    constrain(model, 0.5)
    fit(model, "adam", 50)
    x = data()[0]
    expected = model(x)
    assert merge(model) is model
    assert [type(module) for module in model] == [nn.Linear, nn.LayerNorm, nn.Tanh, nn.Linear]
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-13)
    assert model[0].weight.is_leaf
    assert model[0].weight.requires_grad


def test_task_after_task(model):
    """A merged model is constrained anew, against what it knows now."""
    leaks = []
    for _ in range(3):
        constrain(model, 0.3)
        fit(model, "adam", 30)
        leaks.append(worst(leak(model)))
        merge(model)
    assert max(leaks) < 1e-13


def test_targets_choose_layers(model):
    constrain(model, 0.5, targets=["3"])
    assert type(model[0]) is nn.Linear
    assert list(leak(model)) == ["3"]
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["3.C"]


def test_a_layer_in_two_places_stays_one_layer():
    torch.manual_seed(0)
    shared = nn.Linear(6, 6)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Sequential(shared))
    x = torch.randn(4, 6)
    expected = model(x)
    constrain(model, 0.5, targets=["2"])
    assert model[0] is model[2] is model[3][0]
    assert isinstance(model[0], CoreLinear)
    torch.testing.assert_close(model(x), expected)
    merge(model)
    assert type(model[0]) is nn.Linear
    assert model[0] is model[2] is model[3][0]


def test_a_transformer_block_acts_with_its_learned_weights():
    """Attention reads weights past forward(): its projections are left alone, and what is read is W′."""
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, dtype=torch.float64)
    attention = block.self_attn.out_proj
    constrain(block, 0.5)
    assert block.self_attn.out_proj is attention
    assert isinstance(block.linear1, CoreLinear)
    with torch.no_grad():
        block.linear1.C.normal_()
        block.linear2.C.normal_()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    trained = block(x)
    with torch.no_grad():
        torch.testing.assert_close(block.eval()(x), trained)
        torch.testing.assert_close(merge(block)(x), trained)


def test_the_learned_state_is_saved_and_loaded(model):
    other = constrain(copy.deepcopy(model), 0.5)
    constrain(model, 0.5)
    fit(model, "sgd", 5)
    other.load_state_dict(model.state_dict())
    x = data()[0]
    torch.testing.assert_close(other(x), model(x), rtol=0, atol=0)
    assert worst(leak(other)) < 1e-13


def test_the_random_numbers_of_the_process_are_left_alone(model):
    before = torch.get_rng_state()
    merge(constrain(model, 0.5))
    assert torch.equal(torch.get_rng_state(), before)


def test_training_mode_is_kept(model):
    model.eval()
    constrain(model)
    assert not model[0].training
    merge(model)
    assert not model[0].training


@settings(max_examples=40, deadline=None)
@given(m=st.integers(2, 300), n=st.integers(2, 300), keep=st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_something_is_kept_and_something_is_free(m, n, keep):
    k = kept_rank(m, n, keep)
    directions = min(m, n)
    assert 1 <= k < directions
    assert k == kept_rank(n, m, keep)
    assert abs(k - keep * directions) <= 0.5 or k in (1, directions - 1)


def test_kept_rank_rounds():
    # 0.29·100 is 28.999999999999996 in float64.
    assert kept_rank(100, 200, 0.29) == 29
    assert [kept_rank(10, 10, keep) for keep in (0.01, 0.5, 0.54, 0.56, 0.99)] == [1, 5, 5, 6, 9]


def single_row():
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))


def with_nan():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3))
    model[1].weight.data[0, 1] = math.nan
    return model


def with_infinity():
    model = with_nan()
    model[1].weight.data[0, 1] = math.inf
    return model


@pytest.mark.parametrize(
    ("make", "arguments", "error", "message"),
    [
        (None, {"keep": math.nan}, ValueError, "keep = nan is outside 0…1"),
        (None, {"keep": math.inf}, ValueError, "keep = inf is outside 0…1"),
        (None, {"keep": -0.5}, ValueError, "keep = -0.5 is outside 0…1"),
        (None, {"keep": 50}, ValueError, "keep = 50 is outside 0…1"),
        (None, {"keep": 0}, ValueError, "keep = 0 leaves nothing protected"),
        (None, {"keep": 1.0}, ValueError, "keep = 1 leaves nothing free"),
        (None, {"keep": True}, TypeError, "keep = True is not a number"),
        (None, {"keep": "half"}, TypeError, "keep = 'half' is not a number"),
        (None, {"targets": []}, ValueError, "targets is empty"),
        (None, {"targets": "0"}, TypeError, "targets = '0' is not a list"),
        (None, {"targets": 3}, TypeError, "targets = 3 is not a list"),
        (None, {"targets": [3]}, TypeError, "targets holds 3"),
        (None, {"targets": ["0", "9"]}, ValueError, "targets names '9'.*'0', '3'"),
        (None, {"targets": ["2"]}, TypeError, "targets names '2', a Tanh"),
        (single_row, {}, ValueError, "layer '1': a 1×3 weight.*targets"),
        (with_nan, {}, ValueError, "layer '1': 1 of its 9 weights are NaN or infinite"),
        (with_infinity, {}, ValueError, "layer '1': 1 of its 9 weights are NaN or infinite"),
        (lambda: nn.Sequential(nn.ReLU()), {}, ValueError, "no nn.Linear"),
        (lambda: nn.Linear(4, 4), {}, ValueError, "lone nn.Linear"),
        (lambda: constrain(nn.Sequential(nn.Linear(4, 4))), {}, ValueError, "constrained already"),
    ],
)
def test_what_cannot_be_constrained_is_refused_and_left_as_it_was(model, make, arguments, error, message):
    model = make() if make else model
    before = state(model)
    with pytest.raises(error, match=message):
        constrain(model, **arguments)
    assert_state(model, before)


@pytest.mark.parametrize("function", [constrain, merge, leak])
@pytest.mark.parametrize("model", [None, "model", np.eye(3)], ids=["none", "text", "array"])
def test_what_is_no_model_is_refused(function, model):
    with pytest.raises(TypeError, match=r"model is .*torch\.nn\.Module"):
        function(model)


@pytest.mark.parametrize("function", [merge, leak])
def test_an_unconstrained_model_is_refused(model, function):
    before = state(model)
    with pytest.raises(ValueError, match="no constrained layer"):
        function(model)
    assert_state(model, before)


@pytest.mark.parametrize("function", [merge, leak])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_diverged_core_is_refused_and_left_as_it_was(model, function, bad):
    constrain(model)
    with torch.no_grad():
        model[3].C[0, 0] = bad
    before = state(model)
    with pytest.raises(ValueError, match=r"layer '3'.*NaN or infinite"):
        function(model)
    assert_state(model, before)


@pytest.mark.parametrize(("k", "error"), [(-1, ValueError), (4, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_rank_beyond_the_layer_is_refused(k, error):
    with pytest.raises(error, match=f"k = {k}"):
        CoreLinear(nn.Linear(5, 3), k)
