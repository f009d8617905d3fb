import copy
import math
from types import MethodType

import numpy as np
import peft
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from wonderland.backend.constrained import Constrained
from wonderland.backend.layers import Dense, Held, Rotated
from wonderland.backend.osft import constrain, leak, merge, restore
from wonderland.maths.subspace import leak as leak_of
from wonderland.maths.subspace import split

MEASURES = ("joint", "right", "left", "triplet")
methods = pytest.mark.parametrize("method", ["core", "dense"])


@pytest.fixture
def model():
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(8, 12), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 6)).double()


def data(seed=3, samples=40):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(samples, width, generator=generator, dtype=torch.float64) for width in (8, 6))
    return x, y


def fit(model, steps, task=3):
    x, y = data(task)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
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


def trained(model):
    return [name for name, p in model.named_parameters() if p.requires_grad]


def state(model):
    """All that an error must leave alone: the modules themselves, their values, and what is frozen."""
    return (
        {name: id(module) for name, module in model.named_modules(remove_duplicate=False)},
        {name: value.clone() for name, value in model.state_dict().items()},
        {name: parameter.requires_grad for name, parameter in model.named_parameters()},
        {name: module.training for name, module in model.named_modules()},
    )


def assert_state(model, before):
    modules, values, grads, modes = state(model)
    assert (modules, grads, modes) == (before[0], before[2], before[3])
    assert values.keys() == before[1].keys()
    for name, value in values.items():
        if not value.is_meta:
            old = before[1][name]
            assert value.dtype == old.dtype
            assert torch.equal(*(one.reshape(-1).view(torch.uint8) for one in (value, old)))  # bytes: NaN is NaN


@methods
def test_a_model_learns_and_leaks_nothing(model, method):
    original = copy.deepcopy(model)
    constrain(model, 0.5, method=method)
    losses = fit(model, 100)
    assert losses[-1] < losses[0]
    for name in ("0", "3"):
        old = original.get_submodule(name).weight.detach().numpy()
        now = model.get_submodule(name).weight.detach().numpy()
        assert np.linalg.norm(now - old) > 0.1
        truth = leak_of(now, split(old, model.get_submodule(name).k))
        assert max(truth.joint, truth.right, truth.left, truth.triplet) < 1e-13
    assert worst(leak(model)) < 1e-13
    assert worst(leak(model, original)) < 1e-13


def test_without_the_constraint_the_same_training_leaks(model):
    before = copy.deepcopy(model)
    fit(model, 100)
    for name in ("0", "3"):
        now, old = (one.get_submodule(name).weight.detach().numpy() for one in (model, before))
        assert leak_of(now, split(old, 3)).right > 0.1


def test_peft_leaks_under_adam_where_this_does_not():
    """OSFConfig projects the gradient, which Adam then rescales entry by entry."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(64, 48, bias=False))
    x, y = torch.randn(256, 64), torch.randn(256, 48)
    peer = peft.get_peft_model(copy.deepcopy(base), peft.OSFConfig(target_modules=["0"], effective_rank=12))
    ours = constrain(copy.deepcopy(base), 12)
    leaks = []
    for model, weight in (
        (peer, lambda: peer.merge_and_unload()[0].weight),
        (ours, lambda: merge(ours)[0].weight),
    ):
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(100):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
        old, now = (W.detach().double().numpy() for W in (base[0].weight, weight()))
        leaks.append(leak_of(now, split(old, 12)).right / np.linalg.norm(now - old))
    assert leaks[0] > 0.1
    assert leaks[1] < 1e-5


@methods
def test_only_the_free_blocks_are_trained(model, method):
    original = copy.deepcopy(model)
    expected = model(data()[0])
    assert constrain(model, 0.5, method=method) is model
    torch.testing.assert_close(model(data()[0]), expected, rtol=0, atol=1e-13)
    assert trained(model) == (["0.C", "3.C"] if method == "core" else ["0.W", "3.W"])
    if method == "core":
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 8 * 4 + 3 * 9
    fit(model, 20)
    for name in ("0", "3"):
        assert torch.equal(model.get_submodule(name).bias, original.get_submodule(name).bias)
    assert torch.equal(model[1].weight, original[1].weight)
    # Thawing the whole model thaws no frozen part of a constrained layer.
    model.requires_grad_(True)
    assert not [name for name in trained(model) if name.endswith("bias") and not name.startswith("1")]


def test_biases_are_trained_if_asked_for(model):
    constrain(model, 0.5, train_bias=True)
    assert trained(model) == ["0.bias", "0.C", "3.bias", "3.C"]
    before = model[0].bias.detach().clone()
    fit(model, 5)
    assert not torch.equal(model[0].bias, before)
    bias = model[0].bias.detach().clone()
    assert torch.equal(merge(model)[0].bias, bias)


@pytest.mark.parametrize(("method", "k", "form"), [
    ("core", 1, Rotated), ("auto", 1, Rotated), ("core", 6, Rotated), ("auto", 6, Rotated), ("core", 10, Held),
    ("auto", 10, Held), ("dense", 1, Dense), ("dense", 10, Dense),
])  # fmt: skip
def test_the_method_names_the_form(method, k, form):
    model = constrain(nn.Sequential(nn.Linear(12, 12)), k, method=method)
    assert type(model[0]) is form
    assert torch.equal(model(input=torch.ones(1, 12)), model[0](input=torch.ones(1, 12)))


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(0.5, {"0": 4, "3": 3}), (2, {"0": 2, "3": 2}), ({"0": 0.9, "3": 1}, {"0": 7, "3": 1}), ({"3": 0.2}, {"3": 1})],
)
def test_keep_is_a_fraction_a_number_or_either_by_layer(model, keep, expected):
    constrain(model, keep)
    assert {name: layer.k for name, layer in model.named_modules() if isinstance(layer, Constrained)} == expected


@methods
def test_given_directions_are_protected(model, method):
    generator = torch.Generator().manual_seed(2)
    U, V, inputs = (
        torch.linalg.qr(torch.randn(*shape, generator=generator, dtype=torch.float64)).Q
        for shape in ((12, 2), (8, 5), (12, 3))
    )
    old = {name: model.get_submodule(name).weight.detach().clone() for name in ("0", "3")}
    constrain(model, basis={"0": (U, V), "3": inputs}, method=method)
    assert (model[0].k_u, model[0].k_v, model[3].k_u, model[3].k_v) == (2, 5, 0, 3)
    fit(model, 50)
    change = {name: model.get_submodule(name).weight.detach() - W for name, W in old.items()}
    assert (change["0"] @ V).norm() < 1e-13
    assert (U.mT @ change["0"]).norm() < 1e-13
    assert (change["3"] @ inputs).norm() < 1e-13
    assert min(change["0"].norm(), change["3"].norm()) > 0.1
    found = leak(model)
    assert worst(found) < 1e-13
    assert found["3"].left == found["3"].joint == 0


@methods
def test_leak_sees_what_the_protected_directions_lost(model, method):
    """Against a base that is a known step away: the four measures as NumPy computes them."""
    constrained = constrain(copy.deepcopy(model), 0.5, method=method)
    with torch.no_grad():
        model[0].weight += torch.randn(12, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    other = {"0": model[0].weight, "3": model[3].weight}
    for base in (model, other):
        found = leak(constrained, base)["0"]
        change = (constrained[0].weight - model[0].weight).detach()
        U, V = constrained[0].bases()
        assert found.right == pytest.approx((change @ V).norm().item())
        assert found.left == pytest.approx((U.mT @ change).norm().item())
        assert found.joint == pytest.approx((U.mT @ change @ V).norm().item())
        assert found.triplet == pytest.approx((change @ V).norm(dim=0).max().item())
        assert worst({"3": leak(constrained, base)["3"]}) < 1e-13


@pytest.mark.parametrize(("method", "part"), [("core", "M_hh"), ("dense", "A")])
def test_leak_sees_a_frozen_part_that_was_tampered_with(model, method, part):
    constrained = constrain(copy.deepcopy(model), 5, method=method)
    getattr(constrained[3], part).mul_(1.1)
    fit(constrained, 1)
    assert leak(constrained, model)["3"].left > 0.1
    assert worst({"0": leak(constrained, model)["0"]}) < 1e-13


@methods
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_merging_keeps_what_was_learned(method, dtype):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4, 6)).to(dtype)
    x, y = torch.randn(20, 3, 4, 4, dtype=dtype), torch.randn(20, 6, dtype=dtype)
    constrain(model, 0.5, method=method)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(50):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    expected = model(x).detach()
    assert merge(model) is model
    assert [type(module) for module in model] == [nn.Conv2d, nn.ReLU, nn.Flatten, nn.Linear]
    error = (model(x) - expected).norm() / expected.norm()
    assert error < (1e-6 if dtype == torch.float32 else 1e-14)
    assert trained(model) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert all(p.is_leaf for p in model.parameters())


@methods
def test_task_after_task(model, method):
    """Each is constrained against what the model knows by then, and more is kept as tasks go by."""
    for task, keep in enumerate((0.2, 0.5, {"0": 6, "3": 0.7})):
        before = copy.deepcopy(model)
        constrain(model, keep, method=method)
        losses = fit(model, 30, task)
        assert losses[-1] < losses[0]
        assert worst(leak(model, before)) < 1e-13
        merge(model)


def test_targets_choose_layers(model):
    constrain(model, 0.5, targets=["3"])
    assert type(model[0]) is nn.Linear
    assert list(leak(model)) == ["3"]
    assert trained(model) == ["3.C"]


def test_a_bar_is_shown_where_it_is_asked_for(model, capsys):
    constrain(copy.deepcopy(model))
    assert capsys.readouterr().err == ""
    constrain(model, progress=True)
    assert "splitting: 100%" in capsys.readouterr().err


def test_progress_is_told(model):
    told = []
    constrain(model, progress=lambda *what: told.append(what))
    assert told == [("0", 1, 2), ("3", 2, 2)]
    merge(model)
    before = state(model)

    def stop(name, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        constrain(model, progress=stop)
    assert_state(model, before)


def test_splits_are_looked_up_in_the_cache(model, tmp_path):
    first = constrain(copy.deepcopy(model), cache=tmp_path)
    files = sorted(tmp_path.rglob("*"))
    second = constrain(copy.deepcopy(model), cache=tmp_path)
    assert files
    assert sorted(tmp_path.rglob("*")) == files
    assert torch.equal(first[0].C, second[0].C)


def test_a_layer_in_two_places_stays_one_layer():
    torch.manual_seed(0)
    shared = nn.Linear(6, 6)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Sequential(shared))
    x = torch.randn(4, 6)
    expected = model(x)
    constrain(model, 0.5, targets=["2"])
    assert model[0] is model[2] is model[3][0]
    assert isinstance(model[0], Constrained)
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
    assert isinstance(block.linear1, Constrained)
    with torch.no_grad():
        block.linear1.C.normal_()
        block.linear2.C.normal_()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    learned = block(x)
    with torch.no_grad():
        torch.testing.assert_close(block.eval()(x), learned)
        torch.testing.assert_close(merge(block)(x), learned)


@methods
def test_a_language_model_is_constrained_but_for_its_tied_head(method):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, tie_word_embeddings=True, **sizes))
    before = copy.deepcopy(model)
    tokens = torch.randint(32, (2, 7))
    constrain(model, 0.5, method=method)
    assert len(leak(model)) == 2 * 7
    assert model.lm_head.weight is model.model.embed_tokens.weight
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    assert worst(leak(model, before)) < 1e-5
    with torch.no_grad():
        expected = model.eval()(input_ids=tokens).logits
        torch.testing.assert_close(merge(model)(input_ids=tokens).logits, expected, rtol=1e-5, atol=1e-5)


def test_the_learned_state_is_saved_and_loaded(model):
    other = constrain(copy.deepcopy(model), 0.5)
    constrain(model, 0.5)
    fit(model, 5)
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


def test_restoring_a_model_of_cores_changes_nothing(model):
    constrain(model)
    before = state(model)
    assert restore(model) is model
    assert_state(model, before)


def single_row():
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))


def with_entry(entry):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3))
    model[1].weight.data[0, 1] = entry
    return model


def of_type(dtype):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3))
    model[1].weight = nn.Parameter(model[1].weight.detach().to(dtype), requires_grad=False)
    return model


def tied(extra=()):
    embedding, head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
    head.weight = embedding.weight
    return nn.Sequential(embedding, *extra, head)


def quantised():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())

    class Quantised(nn.Linear):
        pass

    model[0].__class__ = Quantised
    return model


def computed():
    model = nn.Sequential(nn.Linear(4, 3))
    del model[0]._parameters["weight"]
    model[0].weight = torch.ones(3, 4)
    return model


def twice():
    shared = nn.Linear(4, 4)
    return nn.Sequential(shared, shared)


def tied_in_memory():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = nn.Parameter(model[0].weight.data.mT)
    return model


def with_bias(entry):
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].bias.data[1] = entry
    return model


def patched(layer):
    """As accelerate's hooks do it: a new forward on the layer, which calls the old one."""
    old = layer.forward
    layer.forward = lambda *args, **kwargs: old(*args, **kwargs)
    return layer


EYE = torch.eye(12, dtype=torch.float64)


@pytest.mark.parametrize(
    ("make", "arguments", "error", "message"),
    [
        (None, {"keep": math.nan}, ValueError, "keep = nan is outside 0…1"),
        (None, {"keep": math.inf}, ValueError, "keep = inf is outside 0…1"),
        (None, {"keep": -0.5}, ValueError, "keep = -0.5 is outside 0…1"),
        (None, {"keep": 1.5}, ValueError, "keep = 1.5 is outside 0…1"),
        (None, {"keep": 0.0}, ValueError, "keep = 0 leaves nothing protected"),
        (None, {"keep": 1.0}, ValueError, "keep = 1 leaves nothing free"),
        (None, {"keep": 0}, ValueError, "layer '0': k = 0 leaves nothing protected: choose 1…7"),
        (None, {"keep": 6}, ValueError, "layer '3': k = 6 leaves nothing free.*6×12 weight has 6"),
        (None, {"keep": -1}, ValueError, "layer '0': k = -1 is outside 1…7: a 12×8 weight has 8"),
        (None, {"keep": 10**30}, ValueError, "k = 10.30 or so is outside 1…7"),
        (None, {"keep": True}, TypeError, "keep = True is not a number"),
        (None, {"keep": "half"}, TypeError, "keep = 'half' is not a number"),
        (None, {"keep": {}}, ValueError, "targets is empty"),
        (None, {"keep": {"9": 0.5}}, ValueError, "targets names '9'"),
        (None, {"keep": {"0": 0.5}, "targets": ["0", "3"]}, ValueError, "keep lacks the target '3'"),
        (None, {"keep": {"0": 0.5, "3": 1}, "targets": ["3"]}, ValueError, "keep names '0', which is no target"),
        (None, {"keep": {"0": 0.5, "3": 2.5}}, ValueError, "layer '3': keep = 2.5 is outside"),
        (None, {"method": "fast"}, ValueError, "method = 'fast' is unknown: give one of auto, core, dense"),
        (None, {"method": None}, TypeError, "method = None is not text"),
        (None, {"train_bias": 1}, TypeError, "train_bias = 1 is not a switch"),
        (None, {"progress": 1}, TypeError, "progress = 1 is not True, False or a function"),
        (None, {"basis": "weights"}, ValueError, "basis = 'weights' is unknown"),
        (None, {"basis": {}}, ValueError, "targets is empty"),
        (None, {"basis": {"0": EYE[:8, :2]}, "targets": ["0", "3"]}, ValueError, "basis lacks the target '3'"),
        (None, {"basis": {"0": np.eye(8)[:, :2]}}, TypeError, r"basis\['0'\] is ndarray: give a tensor V_h, or a pair"),
        (None, {"basis": {"0": EYE[:7, :2]}}, ValueError, r"basis\['0'\] has shape \(7, 2\): give 8 rows"),
        (None, {"basis": {"0": EYE[:8, 0]}}, ValueError, r"basis\['0'\] has shape \(8,\)"),
        (None, {"basis": {"0": EYE[:8, :8]}}, ValueError, "8 columns, which leaves nothing free: give 7 or fewer"),
        (None, {"basis": {"0": EYE[:8, :0]}}, ValueError, "no columns, which leaves nothing protected"),
        (None, {"basis": {"0": 2 * EYE[:8, :2]}}, ValueError, "not orthonormal"),
        (None, {"basis": {"0": math.nan * EYE[:8, :2]}}, ValueError, "not finite"),
        (None, {"basis": {"0": EYE[:8, :2].long()}}, ValueError, "holds torch.int64 entries"),
        (None, {"basis": {"0": (EYE[:, :2], EYE[:8, :2], 3)}}, TypeError, "pair of them"),
        (None, {"targets": []}, ValueError, "targets is empty"),
        (None, {"targets": "0"}, TypeError, "targets = '0' is not a list"),
        (None, {"targets": 3}, TypeError, "targets = 3 is not a list"),
        (None, {"targets": [3]}, TypeError, "targets holds 3"),
        (None, {"targets": ["0", "9"]}, ValueError, "targets names '9'.*'0', '3'"),
        (None, {"targets": ["2"]}, TypeError, "targets names '2', a Tanh"),
        (None, {"targets": ["0", "0"]}, ValueError, "targets names '0' twice"),
        (twice, {"targets": ["0", "1"]}, ValueError, "targets names '1' twice, or by another name '0'"),
        (single_row, {}, ValueError, "layer '1': a 1×3 weight.*targets"),
        (lambda: with_entry(math.nan), {}, ValueError, "layer '1': 1 of its 9 weights are NaN or infinite"),
        (lambda: with_entry(math.inf), {}, ValueError, "layer '1': 1 of its 9 weights are NaN or infinite"),
        (lambda: of_type(torch.int8), {}, ValueError, "layer '1': its weight is torch.int8, quantised"),
        (lambda: of_type(torch.float8_e4m3fn), {}, ValueError, "layer '1': its weight is torch.float8_e4m3fn"),
        (lambda: of_type(torch.complex64), {}, ValueError, "layer '1': its weight is torch.complex64"),
        (lambda: with_entry(0).to("meta"), {}, ValueError, "layer '0': its weight is on the meta device"),
        (lambda: with_bias(math.nan), {}, ValueError, "layer '0': 1 of the 3 entries of its bias are NaN or infinite"),
        (lambda: nn.Sequential(nn.Linear(4, 4), patched(nn.Linear(4, 4))), {}, ValueError,
         "layer '1': its forward was replaced.*accelerate.hooks.remove_hook_from_module.*del layer.forward"),
        (tied_in_memory, {"targets": ["2"]}, ValueError, "'2', whose weight '0' and '2' share"),
        (quantised, {"targets": ["0"]}, TypeError, "targets names '0', a Quantised: only nn.Linear"),
        (computed, {}, ValueError, "layer '0': its weight is computed from other parameters"),
        (tied, {}, ValueError, "every layer of model shares its weight"),
        (lambda: tied([nn.Linear(4, 4)]), {"targets": ["2"]}, ValueError, "'2', whose weight '0' and '2' share"),
        (lambda: nn.Sequential(nn.ReLU()), {}, ValueError, "no nn.Linear"),
        (lambda: nn.Linear(4, 4), {}, ValueError, "lone nn.Linear"),
        (lambda: constrain(nn.Sequential(nn.Linear(4, 4))), {}, ValueError, "constrained or adapted already"),
    ],
)  # fmt: skip
def test_what_cannot_be_constrained_is_refused_and_left_as_it_was(model, make, arguments, error, message):
    model = make() if make else model
    before = state(model)
    with pytest.raises(error, match=message):
        constrain(model, **arguments)
    assert_state(model, before)


def test_tied_layers_are_left_alone_by_default():
    model = constrain(tied([nn.Linear(4, 4)]))
    assert list(leak(model)) == ["1"]
    assert model[0].weight is model[2].weight


@methods
def test_what_could_never_be_trained_is_not_made(model, method):
    before = state(model)
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"under torch\.inference_mode\(\) can never be"):
        constrain(model, method=method)
    assert_state(model, before)


def test_layers_tied_in_memory_are_left_alone_by_default():
    model = constrain(tied_in_memory())
    assert list(leak(model)) == ["1"]
    before = model[2].weight.clone()
    with torch.no_grad():
        model[0].weight += 1
    assert torch.equal(model[2].weight, before + 1)  # and tied they are still


def test_parameters_side_by_side_in_one_storage_are_not_tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    flat = torch.randn(40)
    for start, name in enumerate(("0.weight", "0.bias", "1.weight", "1.bias")):
        part = flat[20 * (start // 2) :][16 * (start % 2) :][: 16 - 12 * (start % 2)]
        model.get_submodule(name[0])._parameters[name[2:]] = nn.Parameter(part.view(4, -1).squeeze(1))
    assert list(leak(constrain(model))) == ["0", "1"]


@pytest.mark.parametrize(
    "undo",
    [
        lambda layer: delattr(layer, "forward"),
        lambda layer: setattr(layer, "forward", MethodType(nn.Linear.forward, layer)),
    ],
    ids=["deleted", "as accelerate undoes it"],
)
def test_a_patched_forward_cannot_discard_what_is_learned(model, undo):
    """Merged, such a layer would give what it gave before training; without the patch it gives what was learned."""
    x = data()[0]
    patched(model[0])
    old = model(x)
    with pytest.raises(ValueError, match="layer '0': its forward was replaced"):
        constrain(model)
    torch.testing.assert_close(model(x), old)
    undo(model[0])
    constrain(model)
    fit(model, 20)
    learned = model(x)
    merged = merge(model)(x)
    torch.testing.assert_close(merged, learned)
    assert (merged - old).norm() > 0.1 * old.norm()


@pytest.mark.parametrize("function", [constrain, merge, leak, restore])
@pytest.mark.parametrize("model", [None, "model", np.eye(3)], ids=["none", "text", "array"])
def test_what_is_no_model_is_refused(function, model):
    with pytest.raises(TypeError, match=r"model is .*torch\.nn\.Module"):
        function(model)


@pytest.mark.parametrize("function", [merge, leak, restore])
def test_an_unconstrained_model_is_refused(model, function):
    before = state(model)
    with pytest.raises(ValueError, match=r"no constrained layer|no layer to merge"):
        function(model)
    assert_state(model, before)


@pytest.mark.parametrize("function", [merge, leak])
@pytest.mark.parametrize("method", ["core", "dense"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_diverged_weight_is_refused_and_left_as_it_was(model, function, method, bad):
    constrain(model, method=method)
    with torch.no_grad():
        next(model[3].parameters())[0, 0] = bad
    before = state(model)
    with pytest.raises(ValueError, match=r"layer '3'.*NaN or infinite"):
        function(model)
    assert_state(model, before)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (lambda model: {"0": model[0].weight}, "base has no layer '3'"),
        (lambda model: nn.Sequential(nn.Linear(8, 12)), "base has no layer '3'"),
        (lambda model: {"0": model[0].weight, "3": model[0].weight}, "base, layer '3': a weight has shape"),
    ],
    ids=["mapping", "model", "shape"],
)
def test_a_base_of_another_model_is_refused(model, base, message):
    with pytest.raises(ValueError, match=message):
        leak(constrain(model), base(model))


@pytest.mark.parametrize("basis", ["weight", "given"])
def test_constraining_under_autocast_changes_nothing(basis):
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(40, 40))
    given = {"0": torch.linalg.qr(torch.randn(40, 20)).Q} if basis == "given" else "weight"
    base = copy.deepcopy(model)
    with torch.autocast("cpu", torch.bfloat16):
        constrain(model, 0.5, basis=given)
    torch.testing.assert_close(model[0].weight, base[0].weight, rtol=0, atol=1e-6)
