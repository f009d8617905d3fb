import copy
import math
import warnings

import numpy as np
import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wonderland.backend import osft
from wonderland.backend.adapter_layers import CAYLEY, OFT, Adapter, Full, LoRA
from wonderland.backend.adapters import full, lora, merge, oft, trainable
from wonderland.maths import counting
from wonderland.maths.energy import hyperspherical_energy
from wonderland.maths.orthogonal import cayley, cayley_neumann, orthogonality_error

SHAPES = [(100, 64), (97, 10), (768, 768), (30, 7), (12, 40), (8, 8)]
METHODS = {
    "full": full,
    "lora": lambda model, **choices: lora(model, 3, **choices),
    "oft exact": lambda model, **choices: oft(model, 4, **choices),
    "oft series": lambda model, **choices: oft(model, 4, cayley="series", **choices),
}
PARTS = {"full": ["W", "bias"], "lora": ["A", "B"], "oft exact": ["skew"], "oft series": ["skew"]}


def small(dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return nn.Sequential(nn.Linear(8, 12), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 6)).to(dtype)


def data(seed=3, samples=40):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(samples, width, generator=generator, dtype=torch.float64) for width in (8, 6)]


def fit(model, steps=60):
    x, y = data()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02, weight_decay=0.1)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def scatter(model, scale=0.3, seed=1):
    """Move what is trained somewhere else."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += scale * torch.randn(parameter.shape, generator=generator).to(parameter)


def state(model):
    """All that an error must leave alone: the modules themselves, their values, and what is frozen."""
    return (
        {name: id(module) for name, module in model.named_modules(remove_duplicate=False)},
        {name: value.clone().double().numpy() for name, value in model.state_dict().items()},
        {name: parameter.requires_grad for name, parameter in model.named_parameters()},
    )


def peft_layer(n, m, config):
    """peft's layer and, apart from it, the plain one it was made of."""
    plain = nn.Sequential(nn.Linear(n, m))
    config.target_modules = {"0"}
    with warnings.catch_warnings():
        # It says that it moves a block to a divisor; so do we, in the documentation.
        warnings.filterwarnings("ignore", message="Invalid `oft_block_size`")
        theirs = peft.get_peft_model(copy.deepcopy(plain), config)
    return theirs, plain


@pytest.mark.parametrize(("n", "m"), SHAPES)
@pytest.mark.parametrize(("rank", "alpha"), [(1, None), (6, None), (4, 3.0)])
def test_lora_is_pefts(n, m, rank, alpha):
    torch.manual_seed(n)
    theirs, plain = peft_layer(n, m, peft.LoraConfig(r=rank, lora_alpha=alpha or 2 * rank))
    ours = lora(plain, rank, alpha)
    layer = theirs.base_model.model[0]
    scatter(ours)
    layer.lora_A["default"].weight.data = ours[0].A.data.clone()
    layer.lora_B["default"].weight.data = ours[0].B.data.clone()
    x = torch.randn(2, 5, n)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    assert trainable(ours) == theirs.get_nb_trainable_parameters()[0] == counting.lora(n, m, rank)


def test_lora_starts_as_peft_does():
    theirs, plain = peft_layer(400, 300, peft.LoraConfig(r=16))
    layer = lora(plain, 16)[0]
    A = theirs.base_model.model[0].lora_A["default"].weight
    for start in (A, layer.A):
        # Uniform in ±1/√n: the same bound, and the deviation that goes with it.
        assert 0.99 / 20 < start.abs().max() <= 1 / 20
        assert start.std().item() == pytest.approx(1 / 20 / math.sqrt(3), rel=0.02)
    assert not layer.B.any()


@pytest.mark.parametrize(("n", "m"), SHAPES)
@pytest.mark.parametrize("block", [16, 8, 7, 100, 96])
@pytest.mark.parametrize("transform", CAYLEY)
def test_oft_is_pefts(n, m, block, transform):
    if counting.oft_block(n, block) == 1:
        with pytest.raises(ValueError, match="comes to 1"):
            oft(nn.Sequential(nn.Linear(n, m)), block)
        return
    torch.manual_seed(n)
    series = transform == "series"
    theirs, plain = peft_layer(n, m, peft.OFTConfig(r=0, oft_block_size=block, use_cayley_neumann=series))
    ours = oft(plain, block, cayley=transform)
    scatter(ours, 0.02)
    # Its series acts with the transpose of what its exact transform acts with.
    sign = -1 if series else 1
    theirs.base_model.model[0].oft_R["default"].weight.data = sign * ours[0].skew.data
    x = torch.randn(2, 5, n)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ours(x), nn.functional.linear(x, ours[0].W, ours[0].bias))
    count = counting.oft(n, m, block=block)
    assert trainable(ours) == theirs.get_nb_trainable_parameters()[0] == count
    assert ours[0].block == counting.oft_block(n, block)
    merged = theirs.merge_and_unload()[0].weight
    torch.testing.assert_close(merge(ours)[0].weight, merged, rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(blocks=st.integers(1, 4), b=st.integers(2, 7), transform=st.sampled_from(CAYLEY), seed=st.integers(0, 2**32 - 1))
def test_each_block_is_the_cayley_transform_of_its_skew_matrix(blocks, b, transform, seed):
    rng = np.random.default_rng(seed)
    layer = OFT(nn.Linear(blocks * b, 3).double(), b, transform)
    skew = rng.normal(size=(blocks, b * (b - 1) // 2))
    layer.skew.data = torch.tensor(skew)
    R = layer.R.detach().numpy()
    assert R.shape == (blocks, b, b)
    for one, values in zip(R, skew, strict=True):
        Q = np.zeros((b, b))
        Q[np.triu_indices(b, 1)] = values
        expected = (cayley if transform == "exact" else cayley_neumann)(Q - Q.T)
        np.testing.assert_allclose(one, expected, rtol=1e-11, atol=1e-11)
    # The layer acts with W R.
    full_R = torch.block_diag(*layer.R)
    torch.testing.assert_close(layer.weight, layer.W @ full_R, rtol=1e-10, atol=1e-10)
    x = torch.tensor(rng.normal(size=(2, 3, blocks * b)))
    torch.testing.assert_close(layer(x), (x @ full_R.T) @ layer.W.T + layer.bias, rtol=1e-10, atol=1e-10)


def test_the_exact_transform_keeps_the_neurons_energy_and_the_series_does_not():
    energies = {}
    for transform in CAYLEY:
        model = oft(nn.Sequential(nn.Linear(24, 16).double()), 8, cayley=transform)
        before = hyperspherical_energy(model[0].W.numpy())
        scatter(model, 0.5)
        errors = [orthogonality_error(R) for R in model[0].R.detach().numpy()]
        changed = abs(hyperspherical_energy(model[0].weight.detach().numpy()) / before - 1)
        energies[transform] = max(errors), changed
    assert energies["exact"][0] < 1e-13
    assert energies["exact"][1] < 1e-6
    assert energies["series"][0] > 0.1
    assert energies["series"][1] > 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_turn_by_a_rotation_of_float32(dtype):
    model = oft(nn.Sequential(nn.Linear(64, 8, dtype=dtype)), 32)
    scatter(model)
    assert max(orthogonality_error(R) for R in model[0].R.detach().numpy()) < 1e-5
    x = torch.randn(3, 64, dtype=dtype, generator=torch.Generator().manual_seed(0))
    before = model(x)
    after = merge(model)(x)
    assert before.dtype == after.dtype == model[0].weight.dtype == dtype
    torch.testing.assert_close(after, before, rtol=0, atol=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_autocast_runs_and_teaches_every_parameter(method):
    model = METHODS[method](small(torch.float32))
    scatter(model, 0.1)
    x, y = (values.float() for values in data())
    with torch.autocast("cpu", torch.bfloat16):
        loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    torch.testing.assert_close(loss, nn.functional.mse_loss(model(x), y), rtol=0.05, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_those_of_the_weight_it_acts_with(method):
    model = METHODS[method](nn.Sequential(nn.Linear(8, 5)).double())
    scatter(model)
    layer, x = model[0], data(samples=4)[0]
    names = [name for name, _ in layer.named_parameters()]
    values = tuple(p.detach().clone().requires_grad_() for p in layer.parameters())

    def output(*values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(output, values)
    direct = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    through_weight = nn.functional.linear(x, layer.weight, layer.bias)
    folded = torch.autograd.grad(through_weight.square().sum(), list(layer.parameters()))
    for one, other in zip(direct, folded, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("method", METHODS)
def test_it_begins_where_the_model_was_learns_and_merges(method):
    model, x = small(), data()[0]
    original = copy.deepcopy(model)
    expected = model(x)
    assert METHODS[method](model) is model
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-14)
    losses = fit(model)
    assert losses[-1] < 0.9 * losses[0]
    trained = model(x)
    weights = [model[i].weight.detach().clone() for i in (0, 3)]
    assert merge(model) is model
    assert [type(module) for module in model] == [nn.Linear, nn.LayerNorm, nn.Tanh, nn.Linear]
    torch.testing.assert_close(model(x), trained, rtol=0, atol=1e-13)
    for i, learned in zip((0, 3), weights, strict=True):
        torch.testing.assert_close(model[i].weight.data, learned, rtol=0, atol=0)
        assert (model[i].weight - original[i].weight).norm() > 0.1
        assert model[i].weight.is_leaf
        assert model[i].weight.requires_grad
        assert model[i].bias.requires_grad
    # What the method does not train stands still, and the old weights were never written to but by full.
    if method != "full":
        assert all(torch.equal(model[i].bias, original[i].bias) for i in (0, 3))
        assert torch.equal(model[1].weight, original[1].weight)
        assert not model[1].weight.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_only_what_the_method_adds_is_trained(method):
    model = METHODS[method](small())
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    expected = {f"{i}.{part}" for i in (0, 3) for part in PARTS[method]}
    assert names == (expected | {"1.weight", "1.bias"} if method == "full" else expected)
    counts = {
        "full": 8 * 12 + 12 + 2 * 12 + 12 * 6 + 6,
        "lora": counting.lora(8, 12, 3) + counting.lora(12, 6, 3),
        "oft exact": counting.oft(8, 12, block=4) + counting.oft(12, 6, block=4),
    }
    assert trainable(model) == counts.get(method, counts["oft exact"])
    # Thawing the whole model thaws no frozen weight.
    if method != "full":
        model.requires_grad_(True)
        assert {name for name, _ in model.named_parameters()} == expected | {"1.weight", "1.bias"}


@pytest.mark.parametrize("method", METHODS)
def test_targets_choose_layers(method):
    model = METHODS[method](small(), targets=["3"])
    assert type(model[0]) is nn.Linear
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {f"3.{part}" for part in PARTS[method]}
    assert isinstance(model[3], Adapter)


@pytest.mark.parametrize("method", METHODS)
def test_task_after_task_of_any_method(method):
    model, x = small(), data()[0]
    ours = METHODS[method], merge
    for adapt, fold in (ours, (osft.constrain, osft.merge), ours):
        before = model(x)
        adapt(model)
        torch.testing.assert_close(model(x), before, rtol=0, atol=1e-12)
        fit(model, 5)
        fold(model)
        assert not torch.allclose(model(x), before)


@pytest.mark.parametrize("method", METHODS)
def test_copies_and_saved_states_hold_all_that_was_learned(method, tmp_path):
    model, other, x = METHODS[method](small()), METHODS[method](small()), data()[0]
    scatter(model)
    other.load_state_dict(model.state_dict())
    twin = copy.deepcopy(model)
    for same in (other, twin):
        assert torch.equal(same(x), model(x))
    scatter(twin)
    assert not torch.allclose(twin(x), model(x))


@pytest.mark.parametrize("method", METHODS)
def test_training_mode_and_random_numbers_are_left_alone(method):
    before = torch.get_rng_state()
    model = METHODS[method](small().eval())
    assert not any(module.training for module in model.modules())
    merge(model)
    assert not any(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_decides_where_lora_starts():
    first, again, other = (lora(small(), 2, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first[0].A, again[0].A)
    assert not torch.allclose(first[0].A, other[0].A)
    # ... and two layers of one model do not start alike.
    assert not torch.allclose(first[0].A[0, :8], first[3].A[0, :8])


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_in_two_places_stays_one_layer(method):
    shared = nn.Linear(8, 8)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    METHODS[method](model)
    assert model[0] is model[2]
    assert trainable(model) == trainable(nn.Sequential(model[0]))
    merge(model)
    assert type(model[0]) is nn.Linear
    assert model[0] is model[2]


def test_full_trains_tied_weights_and_keeps_them_tied():
    model = nn.ModuleDict(
        {"embed": nn.Embedding(10, 4), "inner": nn.Linear(4, 4), "head": nn.Linear(4, 10, bias=False)}
    )
    model["head"].weight = model["embed"].weight
    full(model)
    assert isinstance(model["inner"], Full)
    assert trainable(model) == 4 * 4 + 4 + 10 * 4
    merge(model)
    assert model["head"].weight is model["embed"].weight


def test_a_layer_of_one_output_can_be_adapted():
    for adapt, count in ((full, 13), (lambda model: lora(model, 1), 13), (lambda model: oft(model, 4), 18)):
        model = adapt(nn.Sequential(nn.Linear(12, 1)))
        assert trainable(model) == count
        assert merge(model)[0].weight.shape == (1, 12)


def test_a_layer_without_bias_stays_without():
    for method in METHODS.values():
        model = method(nn.Sequential(nn.Linear(8, 6, bias=False)))
        scatter(model)
        x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
        expected = model(x)
        assert merge(model)[0].bias is None
        torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)


def prime():
    return nn.Sequential(nn.Linear(97, 10))


def with_nan():
    model = small()
    model[3].weight.data[0, 1] = math.nan
    return model


def with_integers():
    model = small()
    model[3].weight = nn.Parameter(torch.ones(6, 12, dtype=torch.int8), requires_grad=False)
    return model


@pytest.mark.parametrize(
    ("make", "adapt", "error", "message"),
    [
        (small, lambda m: lora(m, 0), ValueError, "rank = 0 is outside 1…8: a 12×8 matrix"),
        (small, lambda m: lora(m, 7), ValueError, "layer '3': rank = 7 is outside 1…6: a 6×12 matrix has rank 6"),
        (small, lambda m: lora(m, -1), ValueError, "rank = -1 is outside"),
        (small, lambda m: lora(m, 10**30), ValueError, "rank = .* is outside"),
        (small, lambda m: lora(m, 2.0), TypeError, "rank = 2.0 is not a whole number"),
        (small, lambda m: lora(m, math.nan), TypeError, "rank = nan is not a whole number"),
        (small, lambda m: lora(m, True), TypeError, "rank = True"),
        (small, lambda m: lora(m, 2, alpha=0), ValueError, "alpha = 0 leaves nothing"),
        (small, lambda m: lora(m, 2, alpha=-1), ValueError, "alpha = -1 is outside"),
        (small, lambda m: lora(m, 2, alpha=math.inf), ValueError, "alpha = inf is outside"),
        (small, lambda m: lora(m, 2, alpha="2"), TypeError, "alpha = '2'"),
        (small, lambda m: lora(m, 2, seed=-1), ValueError, "seed = -1 is outside 0…4,294,967,295"),
        (small, lambda m: lora(m, 2, seed=None), TypeError, "seed = None"),
        (small, lambda m: oft(m, 0), ValueError, "block = 0 is outside 1…"),
        (small, lambda m: oft(m, 1), ValueError, "layer '0': block = 1 comes to 1"),
        (small, lambda m: oft(m, 4.0), TypeError, "block = 4.0 is not a whole number"),
        (small, lambda m: oft(m, True), TypeError, "block = True"),
        (small, lambda m: oft(m, 4, cayley="qr"), ValueError, "cayley = 'qr' is unknown: give one of exact, series"),
        (small, lambda m: oft(m, 4, cayley=None), TypeError, "cayley = None"),
        (
            lambda: nn.Sequential(nn.Linear(97, 10)),
            lambda m: oft(m, 16),
            ValueError,
            "layer '0': block = 16 comes to 1",
        ),
    ],
)
def test_a_bad_setting_is_refused_and_the_model_left_as_it_was(make, adapt, error, message):
    model = make()
    before = state(model)
    with pytest.raises(error, match=message):
        adapt(model)
    np.testing.assert_equal(state(model), before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("make", "choices", "error", "message"),
    [
        (small, {"targets": ["0", "9"]}, ValueError, "targets names '9'"),
        (small, {"targets": ["2"]}, TypeError, "targets names '2', a Tanh"),
        (small, {"targets": "0"}, TypeError, "targets = '0' is not a list"),
        (small, {"targets": []}, ValueError, "targets is empty"),
        (small, {"targets": ["0", "0"]}, ValueError, "twice"),
        (small, {"targets": [None]}, TypeError, "targets holds None"),
        (lambda: nn.Sequential(nn.Conv2d(4, 4, 3)), {"targets": ["0"]}, TypeError, "a Conv2d: only an nn.Linear"),
        (lambda: nn.Sequential(nn.Conv2d(4, 4, 3)), {}, ValueError, "no nn.Linear to adapt"),
        (nn.Tanh, {}, ValueError, "no .*Linear"),
        (lambda: nn.Linear(4, 4), {}, ValueError, "lone nn.Linear"),
        (with_nan, {}, ValueError, "layer '3': 1 of its 72 weights are NaN"),
        (with_integers, {}, ValueError, "layer '3': its weight is torch.int8"),
        (lambda: lora(small(), 2), {}, ValueError, "adapted already: merge"),
        (lambda: osft.constrain(small(), 0.5), {}, ValueError, "constrained or adapted already"),
    ],
)
def test_what_cannot_be_adapted_is_refused_and_left_as_it_was(method, make, choices, error, message):
    model = make()
    before = state(model)
    with pytest.raises(error, match=message):
        METHODS[method](model, **choices)
    np.testing.assert_equal(state(model), before)


@pytest.mark.parametrize("function", [*METHODS.values(), merge, trainable], ids=[*METHODS, "merge", "trainable"])
@pytest.mark.parametrize("model", [None, "model", np.eye(3)], ids=["none", "text", "array"])
def test_what_is_no_model_is_refused(function, model):
    with pytest.raises(TypeError, match=r"model is .*torch\.nn\.Module"):
        function(model)


def test_what_is_not_adapted_cannot_be_merged():
    model = small()
    before = state(model)
    with pytest.raises(ValueError, match="no layer to merge"):
        merge(model)
    np.testing.assert_equal(state(model), before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_diverged_layer_is_not_merged(method, bad):
    model = METHODS[method](small())
    with torch.no_grad():
        scatter(model, 0.1)
        list(model[3].parameters())[-1].flatten()[0] = bad
    before = state(model)
    with pytest.raises(ValueError, match=r"layer '3': .*NaN or infinite"):
        merge(model)
    np.testing.assert_equal(state(model), before)


def test_a_printed_model_tells_what_its_layers_are():
    assert "rank=2, scale=1.5" in repr(LoRA(nn.Linear(4, 3), 2, 3.0))
    assert "in_features=4, out_features=3, bias=True, block=2, cayley=exact" in repr(OFT(nn.Linear(4, 3), 2))
