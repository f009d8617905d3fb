import copy
import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from wonderland.backend.constrained import Bases
from wonderland.backend.layers import FORMS, Dense, Held, Rotated, cheapest
from wonderland.backend.osft import restore
from wonderland.backend.plain import is_plain, weight_matrix
from wonderland.maths import subspace

# Units of rounding, as a fraction of ‖W‖: what a form may differ from the weight that it was made of, and what
# it may leak, by number type.
ROUNDING = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 2e-2}
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "decayed": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3),
    "foreach": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=True),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "fused sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, fused=True),
}

forms = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(11)


def linear(m, n, dtype=torch.float64, bias=True):
    return nn.Linear(n, m, bias=bias, dtype=dtype)


def singular(plain, k):
    """Leading singular directions of a layer's weight, from NumPy."""
    W = weight_matrix(plain).detach()
    U, _, Vt = np.linalg.svd(W.double().numpy())
    return Bases(*(torch.tensor(basis[:, :k].copy()) for basis in (U, Vt.T)))


def arbitrary(plain, k_u, k_v):
    sizes = weight_matrix(plain).shape
    return Bases(*(torch.linalg.qr(torch.randn(size, k).double()).Q for size, k in zip(sizes, (k_u, k_v), strict=True)))


def moved(W, bases, old):
    """Norms of what changed of an old weight in protected directions, and of all that changed."""
    change = W.detach().double() - old.double()
    return max((change @ bases.V).norm(), (bases.U.mT @ change).norm()), change.norm()


def fit(layer, optimizer, steps=200, dtype=torch.float64, clip=None, accumulate=1):
    x, y = torch.randn(40, layer.n, dtype=dtype), torch.randn(40, layer.m, dtype=dtype)
    optimizer = optimizer([p for p in layer.parameters() if p.requires_grad])
    for _ in range(steps):
        optimizer.zero_grad()
        for part in range(accumulate):
            nn.functional.mse_loss(layer(x[part::accumulate]), y[part::accumulate]).backward()
        if clip:
            nn.utils.clip_grad_norm_(layer.parameters(), clip)
        optimizer.step()


@forms
@settings(max_examples=25, deadline=None)
@given(m=st.integers(1, 12), n=st.integers(1, 12), bias=st.booleans(), own=st.booleans(), data=st.data())
def test_whatever_is_learned_the_protected_directions_stay(form, m, n, bias, own, data):
    plain = linear(m, n, bias=bias)
    if own:
        bases = singular(plain, data.draw(st.integers(0, min(m, n))))
    else:
        bases = arbitrary(plain, data.draw(st.integers(0, m)), data.draw(st.integers(0, n)))
    W = plain.weight.detach().clone()
    layer = FORMS[form](plain, bases)
    torch.testing.assert_close(layer.weight, W, rtol=0, atol=1e-13)
    parameter = layer.W if form == "dense" else layer.C
    assert [id(p) for p in layer.parameters()] == [id(parameter)]
    if form != "dense":
        assert parameter.numel() == layer.free == (m - bases.U.shape[1]) * (n - bases.V.shape[1])
    with torch.no_grad():
        parameter.add_(100 * torch.randn_like(parameter))
    now = layer.weight.detach()
    assert moved(now, bases, W)[0] < 1e-10
    # ... and the layer acts with that weight, on any number of leading dimensions.
    for shape in ((n,), (0, n), (2, 3, n)):
        x = torch.randn(shape, dtype=torch.float64)
        expected = nn.functional.linear(x, now, plain.bias)
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(layer.merged(), now, rtol=0, atol=1e-11)


@forms
@settings(max_examples=25, deadline=None)
@given(m=st.integers(1, 9), n=st.integers(1, 9), data=st.data())
def test_every_allowed_weight_can_be_learned_and_no_other(form, m, n, data):
    plain = linear(m, n)
    bases = arbitrary(plain, data.draw(st.integers(0, m)), data.draw(st.integers(0, n)))
    layer = FORMS[form](plain, bases)
    G = torch.randn(m, n, dtype=torch.float64)
    # The two-sided rule, written out.
    allowed = (torch.eye(m) - bases.U @ bases.U.mT) @ G @ (torch.eye(n) - bases.V @ bases.V.mT)
    layer.learn(plain.weight.detach() + G)
    torch.testing.assert_close(layer.weight.detach(), plain.weight.detach() + allowed, rtol=0, atol=1e-12)


@forms
@settings(max_examples=15, deadline=None)
@given(m=st.integers(2, 9), n=st.integers(2, 9), data=st.data())
def test_a_layer_knows_its_bases_and_what_it_keeps(form, m, n, data):
    plain = linear(m, n)
    bases = arbitrary(plain, data.draw(st.integers(0, m - 1)), data.draw(st.integers(0, n - 1)))
    layer = FORMS[form](plain, bases)
    fit(layer, OPTIMIZERS["sgd"], steps=3)
    own, W = layer.bases(), plain.weight.detach()
    for mine, given_ in zip(own, bases, strict=True):
        torch.testing.assert_close(mine @ mine.mT, given_ @ given_.mT, rtol=0, atol=1e-13)
        torch.testing.assert_close(mine.mT @ mine, torch.eye(mine.shape[1]).double(), rtol=0, atol=1e-13)
    for kept, old in zip(layer.kept(own), (own.U.mT @ W, W @ own.V), strict=True):
        torch.testing.assert_close(kept, old, rtol=0, atol=1e-13)


@forms
@pytest.mark.parametrize(("m", "n", "k"), [(24, 32, 5), (32, 24, 12), (2, 9, 1), (9, 2, 1), (16, 16, 14)])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_training_moves_the_weight_and_leaks_rounding_alone(form, m, n, k, dtype):
    plain = linear(m, n, dtype)
    old, bases, x = plain.weight.detach().clone(), singular(plain, k), torch.randn(7, n, dtype=dtype)
    layer = FORMS[form](plain, bases)
    scale = old.norm().item()
    start = (layer(x) - plain(x)).detach().norm() / plain(x).detach().norm()
    assert start < ROUNDING[dtype]
    fit(layer, OPTIMIZERS["decayed"], steps=100, dtype=dtype)
    leaked, all_of_it = moved(layer.merged(), bases, old)
    assert all_of_it > 0.03 * scale  # two directions are free at the least
    assert leaked < ROUNDING[dtype] * scale
    # What is used, what is read and what is merged is one weight.
    plain = layer.plain()
    assert plain.weight.dtype == dtype
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=ROUNDING[dtype] * max(1, plain(x).abs().max().item()))


@forms
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_any_optimizer_leaks_nothing(form, optimizer, dtype):
    plain = linear(20, 28, dtype)
    old, bases = plain.weight.detach().clone(), singular(plain, 8)
    layer = FORMS[form](plain, bases)
    fit(layer, OPTIMIZERS[optimizer], steps=300, dtype=dtype)
    leaked, all_of_it = moved(layer.merged(), bases, old)
    assert all_of_it > 0.3 * old.norm()
    assert leaked < ROUNDING[dtype] * old.norm()


@forms
def test_clipping_and_accumulation_leak_nothing(form):
    plain = linear(20, 28)
    old, bases = plain.weight.detach().clone(), singular(plain, 8)
    layer = FORMS[form](plain, bases)
    fit(layer, OPTIMIZERS["adam"], clip=0.01, accumulate=4)
    leaked, all_of_it = moved(layer.merged(), bases, old)
    assert all_of_it > 0.3 * old.norm()
    assert leaked < 1e-13 * old.norm()


def test_sgd_learns_the_same_weights_in_every_form():
    """Momentum and decay included, of the two-sided projection of the plain step."""
    plain = linear(12, 17)
    bases = arbitrary(plain, 3, 5)
    layers = {form: FORMS[form](copy.deepcopy(plain), bases) for form in FORMS}
    for layer in layers.values():
        torch.manual_seed(5)
        fit(layer, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01), steps=100)
    W = plain.weight.detach().clone()
    velocity = torch.zeros_like(W)
    torch.manual_seed(5)
    x, y = torch.randn(40, 17, dtype=torch.float64), torch.randn(40, 12, dtype=torch.float64)
    for _ in range(100):
        residual = x @ W.mT + plain.bias.detach() - y
        gradient = 2 * residual.mT @ x / residual.numel() + 0.01 * W
        velocity = 0.9 * velocity + gradient
        step = velocity - bases.U @ (bases.U.mT @ velocity)
        W = W - 0.05 * (step - step @ bases.V @ bases.V.mT)
    for layer in layers.values():
        torch.testing.assert_close(layer.weight.detach(), W, rtol=0, atol=1e-12)


@forms
def test_autocast_trains_full_weights_and_leaks_nothing(form):
    plain = linear(20, 28, torch.float32)
    old, bases = plain.weight.detach().clone(), singular(plain, 8)
    layer = FORMS[form](plain, bases)
    x, y = torch.randn(40, 28), torch.randn(40, 20)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(x)
            assert output.dtype == plain(x).dtype == torch.bfloat16
            loss = nn.functional.mse_loss(output.float(), y)
        loss.backward()
        optimizer.step()
    leaked, all_of_it = moved(layer.merged(), bases, old)
    assert all_of_it > 0.3 * old.norm()
    assert leaked < 1e-5 * old.norm()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.weight.dtype == torch.float32  # not rounded on the way


@forms
@pytest.mark.parametrize("own", [True, False])
def test_gradients_are_right_twice(form, own):
    plain = linear(5, 6)
    layer = FORMS[form](plain, singular(plain, 2) if own else arbitrary(plain, 2, 3), train_bias=True)
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    parameters = dict(layer.named_parameters())
    assert set(parameters) == {"bias", "W" if form == "dense" else "C"}

    def output(x, *values):
        return torch.func.functional_call(layer, dict(zip(parameters, values, strict=True)), x).tanh()

    assert torch.autograd.gradcheck(output, (x, *parameters.values()))
    assert torch.autograd.gradgradcheck(output, (x, *parameters.values()))


@forms
def test_activations_can_be_computed_anew_in_the_backward_pass(form):
    plain = linear(5, 6)
    layer = FORMS[form](plain, singular(plain, 2))
    fit(layer, OPTIMIZERS["fused"], steps=2)
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    gradients = []
    for run in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        layer.zero_grad()
        run(x).square().sum().backward()
        gradients.append(next(layer.parameters()).grad.clone())
    torch.testing.assert_close(*gradients)


@forms
def test_a_layer_used_twice_can_be_trained(form):
    plain = linear(6, 6)
    old, bases = plain.weight.detach().clone(), singular(plain, 2)
    layer = FORMS[form](plain, bases)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01, fused=True)
    for _ in range(20):
        optimizer.zero_grad()
        layer(layer(torch.randn(9, 6, dtype=torch.float64))).square().mean().backward()
        optimizer.step()
    leaked, all_of_it = moved(layer.merged(), bases, old)
    assert all_of_it > 0.1 * old.norm()
    assert leaked < 1e-13 * old.norm()


@forms
@pytest.mark.parametrize("way", ["state_dict", "deepcopy", "pickle", "assign"])
def test_copies_act_the_same_and_go_on_learning(form, way):
    plain = linear(6, 8)
    old, bases = plain.weight.detach().clone(), singular(plain, 3)
    layer = FORMS[form](copy.deepcopy(plain), bases)
    # One step, so that a dense layer has something to undo; a copy must not take it for restored.
    fit(layer, OPTIMIZERS["fused"], steps=1)
    if way == "deepcopy":
        other = copy.deepcopy(layer)
    elif way == "pickle":
        other = pickle.loads(pickle.dumps(layer))
    else:
        other = FORMS[form](plain, arbitrary(plain, 3, 3))  # of the same shapes
        buffer = io.BytesIO()
        torch.save(layer.state_dict(), buffer)
        buffer.seek(0)
        other.load_state_dict(torch.load(buffer, weights_only=True), assign=way == "assign")
    torch.testing.assert_close(other.weight, layer.weight, rtol=0, atol=1e-14)
    fit(other, OPTIMIZERS["adam"], steps=20)
    leaked, all_of_it = moved(other.merged(), bases, old)
    assert all_of_it > 0.1
    assert leaked < 1e-13
    assert moved(layer.merged(), bases, old)[1] < 0.9 * all_of_it  # the copy has its own numbers


@pytest.mark.parametrize("read", [
    lambda layer: layer.weight,
    lambda layer: layer.merged(),
    lambda layer: layer.state_dict()["W"],
    lambda layer: layer.plain().weight,
    lambda layer: layer(torch.eye(8).double()).mT - layer.bias[:, None],
    lambda layer: restore(nn.Sequential(layer))[0].W,
], ids=["weight", "merged", "state_dict", "plain", "forward", "restore"])  # fmt: skip
@pytest.mark.parametrize("optimizer", ["sgd", "fused", "foreach", "plain"])
def test_a_dense_weight_is_restored_before_it_is_read(optimizer, read):
    plain = linear(6, 8)
    old, bases = plain.weight.detach().clone(), singular(plain, 3)
    layer = Dense(plain, bases)
    layer(torch.randn(5, 8).double()).square().sum().backward()
    if optimizer == "plain":
        with torch.no_grad():
            layer.W -= 0.1 * layer.W.grad
    else:
        OPTIMIZERS[optimizer](layer.parameters()).step()
    assert moved(layer.W, bases, old)[0] > 1e-3  # the raw parameter has moved
    leaked, all_of_it = moved(read(layer), bases, old)
    assert leaked < 1e-14
    assert all_of_it > 1e-3


def test_a_dense_weight_is_restored_once_a_step():
    layer = Dense(linear(6, 8), arbitrary(linear(6, 8), 2, 2))
    before = layer.W._version
    x = torch.randn(5, 8).double()
    for _ in range(3):
        layer(x)
        _ = layer.weight
    assert layer.W._version == before
    fit(layer, OPTIMIZERS["fused"], steps=4, accumulate=5)
    # A fused optimizer does not count; so these are the restorations before steps 2, 3 and 4.
    assert layer.W._version == before + 3


def test_restoring_after_every_step_keeps_the_raw_weight_right():
    plain = linear(6, 8)
    old, bases = plain.weight.detach().clone(), singular(plain, 3)
    model = nn.Sequential(Dense(plain, bases))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    optimizer.register_step_post_hook(lambda *_: restore(model))
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(5, 8).double()).square().sum().backward()
        optimizer.step()
        assert moved(model[0].W, bases, old)[0] < 1e-14
    # What goes round autograd's count is undone by the same call.
    model[0].W.data.add_(1.0)
    assert moved(restore(model)[0].W, bases, old)[0] < 1e-13


def minimise(layer, x, y, search):
    optimizer = torch.optim.LBFGS(layer.parameters(), lr=0.5 if search is None else 1, line_search_fn=search)

    def closure():
        optimizer.zero_grad()
        loss = (layer(x) - y).square().mean()
        loss.backward()
        return loss

    for _ in range(20):
        optimizer.step(closure)


@forms
@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("way", ["itself", "deepcopy", "pickle"])
def test_lbfgs_finds_the_best_allowed_weight(form, search, way):
    """Its direction comes of gradients and weights of several passes, which have to be of what is free alone."""
    plain = linear(6, 8)
    old, bases = plain.weight.detach().clone(), singular(plain, 3)
    layer = FORMS[form](plain, bases)
    x, y = torch.randn(40, 8, dtype=torch.float64), torch.randn(40, 6, dtype=torch.float64)
    minimise(layer, x, y, search)
    if way != "itself":
        layer = copy.deepcopy(layer) if way == "deepcopy" else pickle.loads(pickle.dumps(layer))
        minimise(layer, x, y, search)
    # Least squares over C alone, in closed form.
    U, V = (torch.linalg.svd(basis).U[:, 3:] for basis in bases)
    kept = old - U @ (U.mT @ old @ V) @ V.mT
    C = torch.linalg.lstsq(x @ V, (y - plain.bias.detach() - x @ kept.mT) @ U).solution.mT
    torch.testing.assert_close(layer.weight.detach(), kept + U @ C @ V.mT, rtol=0, atol=1e-4)
    assert moved(layer.merged(), bases, old)[0] < 1e-13


def test_another_optimizer_does_not_disturb_a_backward_pass():
    """Restoring writes into W, which a graph may still need: so it waits for W itself to be moved."""
    layer, other = Dense(linear(6, 6), arbitrary(linear(6, 6), 2, 2)), linear(1, 6)
    x = torch.randn(5, 6).double().requires_grad_()
    optimizer = torch.optim.AdamW(other.parameters(), fused=True)
    y = layer(x)
    other(y.detach()).sum().backward()
    optimizer.step()
    (y + layer(x)).square().sum().backward()
    assert layer.W.grad.norm() > 0


@pytest.fixture
def mesh():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@forms
@pytest.mark.parametrize("optimizer", ["adam", "fused"])
def test_sharded_parameters_are_gathered_and_restored(form, optimizer, mesh):
    """As FSDP2 leaves them between steps: a DTensor in place of the parameter."""
    plain = linear(6, 8)
    old, bases = plain.weight.detach().clone(), singular(plain, 3)
    layer = FORMS[form](plain, bases)
    name, whole = next(layer.named_parameters())
    setattr(layer, name, nn.Parameter(distribute_tensor(whole.detach(), mesh, [Shard(0)])))
    sharded = getattr(layer, name)
    sharded.grad = distribute_tensor(torch.randn_like(whole), mesh, [Shard(0)])
    OPTIMIZERS[optimizer]([sharded]).step()
    if form == "dense":  # restored at once: a pass gathers the shards as they are
        assert moved(sharded.full_tensor(), bases, old)[0] < 1e-14
    for W in (layer.merged(), layer.plain().weight, layer.weight):
        leaked, all_of_it = moved(W, bases, old)
        assert leaked < 1e-14
        assert all_of_it > 0.01


@forms
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (2, 3), "stride": 2, "bias": False},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "padding_mode": "reflect"},
        {"kernel_size": 3, "padding": "same", "groups": 2},
        {"kernel_size": 1},
    ],
)
def test_a_convolution_is_constrained_as_its_matrix(form, options):
    plain = nn.Conv2d(4, 6, dtype=torch.float64, **options)
    x = torch.randn(5, 4, 8, 9, dtype=torch.float64)
    expected = plain(x).detach()
    old, bases = weight_matrix(plain).detach().clone(), singular(plain, 2)
    layer = FORMS[form](plain, bases)
    torch.testing.assert_close(layer(x), expected)
    target = torch.randn_like(expected)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.mse_loss(layer(x), target).backward()
        optimizer.step()
    leaked, all_of_it = moved(layer.merged(), bases, old)
    assert all_of_it > 0.1
    assert leaked < 1e-13
    merged = layer.plain()
    assert type(merged) is nn.Conv2d
    assert merged.weight.shape == layer.weight.shape == plain.weight.shape
    torch.testing.assert_close(merged(x), layer(x))
    assert repr(merged) == repr(plain)


@forms
def test_the_linear_layer_of_gpt2_is_constrained_transposed(form):
    plain = Conv1D(5, 7).double()
    x = torch.randn(3, 4, 7).double()
    expected = plain(x)
    bases = singular(plain, 2)
    assert bases.U.shape == (5, 2)
    layer = FORMS[form](plain, bases)
    torch.testing.assert_close(layer(x), expected)
    old = weight_matrix(plain).detach().clone()
    fit(layer, OPTIMIZERS["adam"], steps=20)
    assert moved(layer.merged(), bases, old)[0] < 1e-13
    merged = layer.plain()
    assert type(merged) is Conv1D
    assert merged.weight.shape == layer.weight.shape == (7, 5)
    torch.testing.assert_close(merged(x), layer(x))


def test_only_plain_layers_are_plain():
    class Own(nn.Linear):
        pass

    kinds = [nn.Linear(2, 2), nn.Conv2d(2, 2, 1), Conv1D(2, 2), Own(2, 2), nn.Conv1d(2, 2, 1), nn.Bilinear(2, 2, 2)]
    assert [is_plain(kind) for kind in kinds] == [True, True, True, False, False, False]


def test_blocks_that_are_zero_are_not_held():
    plain = linear(9, 8, torch.float32)
    layer = Rotated(plain, singular(plain, 3))
    assert layer.M_hf is None
    assert layer.M_fh is None
    other = Rotated(plain, arbitrary(plain, 3, 2))
    assert other.M_hf.shape == (3, 6)
    assert other.M_fh.shape == (6, 2)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e25, 1e30])
def test_blocks_of_very_small_and_very_large_weights_are_held(scale):
    """Where squares of float32 numbers are zero or infinite."""
    plain = linear(9, 8, torch.float32, bias=False)
    plain.weight.data *= scale
    layer = Rotated(plain, arbitrary(plain, 3, 2))
    error = (layer.merged().double() - plain.weight.double()).norm()
    assert error < 1e-5 * plain.weight.double().norm()


def test_a_part_of_a_state_leaves_the_rest_as_it_was():
    """The parameters alone, as adapters are often loaded; and a state that is refused."""
    plain = linear(8, 6)
    layer = Rotated(plain, arbitrary(plain, 0, 2))
    before = layer.merged()
    layer.load_state_dict({"C": layer.C.detach().clone()}, strict=False)
    with pytest.raises(RuntimeError, match="Missing key"):
        layer.load_state_dict(plain.state_dict())
    assert torch.equal(layer.merged(), before)


def test_a_state_is_taken_over_in_the_layers_own_type_and_size():
    plain = linear(8, 6, torch.float32)
    given_, own = Rotated(plain, arbitrary(plain, 3, 2)), Rotated(plain, singular(plain, 3)).bfloat16()
    assert own.M_hf is None
    with pytest.raises(RuntimeError, match="size mismatch"):
        own.load_state_dict(given_.state_dict())
    own = Rotated(plain, singular(plain, 2))
    other = Rotated(plain, arbitrary(plain, 2, 2))
    own.bfloat16().load_state_dict(other.state_dict())
    assert own.M_hf.dtype == own.M_fh.dtype == torch.bfloat16
    x = torch.randn(4, 6)
    torch.testing.assert_close(own(x.bfloat16()).float(), other(x), rtol=0, atol=0.1)


@forms
def test_a_layer_is_made_in_full_precision_under_autocast(form):
    plain = linear(12, 12, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        layer = FORMS[form](plain, singular(plain, 5))
    torch.testing.assert_close(layer.weight, plain.weight, rtol=0, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(m=st.integers(2, 40), n=st.integers(2, 40), data=st.data())
def test_given_directions_take_what_multiplies_less_too(m, n, data):
    k_u, k_v = data.draw(st.integers(1, m - 1)), data.draw(st.integers(1, n - 1))
    plain = linear(m, n, torch.float32, bias=False)
    bases = arbitrary(plain, k_u, k_v)
    held, rotated = (
        sum(part.numel() for part in form(plain, bases).state_dict().values() if part.ndim == 2)
        for form in (Held, Rotated)
    )
    assert cheapest("core", m, n, k_u, k_v, given=True) == ("held" if held < rotated else "rotated")


@settings(max_examples=30, deadline=None)
@given(m=st.integers(2, 40), n=st.integers(2, 40), share=st.floats(0.01, 0.99))
def test_the_core_forms_multiply_and_hold_what_their_rule_says(m, n, share):
    k = min(max(round(share * min(m, n)), 1), min(m, n) - 1)
    plain = linear(m, n, torch.float32, bias=False)
    bases = singular(plain, k)
    # A matrix multiplies as often as it has numbers; cosines and sines are vectors.
    count = {
        form.form: sum(part.numel() for part in form(plain, bases).state_dict().values() if part.ndim == 2)
        for form in (Held, Rotated)
    }
    cheaper = "held" if count["held"] < count["rotated"] else "rotated"
    assert cheapest("core", m, n, k, k) == cheapest("auto", m, n, k, k) == cheaper
    assert cheapest("dense", m, n, k, k) == "dense"


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 10_000), share=st.floats(0, 1))
def test_training_takes_less_memory_than_full_fine_tuning_for_every_k(n, share):
    """With AdamW: C, its gradient and two averages of it, and the form's frozen numbers."""
    k = min(max(round(share * n), 1), n - 1)
    p = n - k
    rotated = k * k + 2 * min(2 * n * k, k * k + p * p + 2 * min(k, p))
    frozen = n * n + 2 * n * p if cheapest("auto", n, n, k, k) == "held" else rotated
    assert frozen + 4 * p * p <= 4 * n * n


def test_the_leak_that_training_shows_without_a_constraint():
    """The same training of a plain layer: so the measures above can fail."""
    plain = linear(20, 28)
    old, bases = plain.weight.detach().clone(), singular(plain, 8)
    plain.m, plain.n = 20, 28
    fit(plain, OPTIMIZERS["adam"])
    assert moved(plain.weight, bases, old)[0] > 0.1 * old.norm()
    split = subspace.split(old.numpy(), 8)
    assert subspace.leak(plain.weight.detach().numpy(), split).right > 0.1 * old.norm()


@forms
def test_a_layer_prints_its_sizes_and_keeps_its_mode(form):
    plain = linear(4, 6).eval()
    layer = FORMS[form](plain, arbitrary(plain, 1, 2))
    assert not layer.training
    assert not layer.plain().training
    assert repr(layer) == f"{type(layer).__name__}(in_features=6, out_features=4, k=1×2, bias=True)"
    assert (layer.in_features, layer.out_features, layer.k, layer.form) == (6, 4, 2, form)


@forms
def test_a_layer_moves_and_changes_type_as_others_do(form):
    plain = linear(4, 6)
    layer = FORMS[form](plain, singular(plain, 2)).float()
    assert layer.weight.dtype == layer.merged().dtype == torch.float32
    x = torch.randn(3, 6)
    torch.testing.assert_close(layer(x), plain.float()(x))


@forms
def test_an_input_of_the_wrong_width_is_refused(form):
    plain = linear(4, 6)
    with pytest.raises(RuntimeError, match="shape"):
        FORMS[form](plain, singular(plain, 2))(torch.randn(6, 4).double())
