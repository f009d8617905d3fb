"""What a rule protects, by hand, and as the engine really does it."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from wonderland.backend import osft
from wonderland.backend.checkpoint import spectra
from wonderland.backend.headers import read_checkpoint
from wonderland.backend.plan import LEAST, RULES, planned, retained, target
from wonderland.backend.tensors import Spectrum


def row(sigma, name="a.weight", shape=None):
    return Spectrum(name, "F32", shape or (len(sigma), len(sigma)), "", np.array(sigma, float))


SIGMAS = st.lists(st.floats(0.01, 100), min_size=2, max_size=30).map(lambda values: sorted(values, reverse=True))


@given(SIGMAS, st.floats(0, 1))
def test_energy_is_held_by_no_fewer(sigma, share):
    (layer,) = planned([row(sigma)], "energy", share).layers
    squares = np.square(sigma)
    assert 1 <= layer.k < len(sigma)
    if layer.k > 1:
        assert squares[: layer.k - 1].sum() < share * squares.sum() * (1 + 1e-9)
    if layer.k < len(sigma) - 1:
        assert squares[: layer.k].sum() >= share * squares.sum() * (1 - 1e-9)
    assert layer.energy == pytest.approx(squares[: layer.k].sum() / squares.sum())


def test_number_is_the_same_wherever_there_is_room():
    plan = planned([row([3, 2, 1]), row([3, 2, 1, 0.5, 0.1], "b.weight")], "number", 4)
    assert plan.keep == {"a": 2, "b": 4}


@given(st.lists(SIGMAS, min_size=1, max_size=5), st.floats(LEAST, 1))
def test_effective_rank_by_the_formula(several, share):
    rows = [row(sigma, f"{i}.weight") for i, sigma in enumerate(several)]
    pulling = []
    for sigma in several:
        p = np.array(sigma) / sum(sigma)
        pulling.append(np.exp(-(p * np.log(p)).sum()) / len(sigma))
    for layer, sigma, each in zip(planned(rows, "effective-rank", share).layers, several, pulling, strict=True):
        wanted = (LEAST + each / np.mean(pulling) * (share - LEAST)) * len(sigma)
        assert abs(layer.k - np.clip(wanted, 1, len(sigma) - 1)) <= 0.5 + 1e-9


def test_counts():
    (layer,) = planned([row([3, 2, 1], shape=(3, 7))], "number", 2).layers
    assert (layer.m, layer.n, layer.free, layer.protected) == (3, 7, 1 * 5, 21 - 5)


@pytest.mark.parametrize(
    ("name", "shape", "wanted"),
    [
        ("model.layers.0.mlp.up_proj.weight", (4, 4), "model.layers.0.mlp.up_proj"),
        ("conv.weight", (4, 2, 3, 3), "conv"),
        ("conv1.weight", (4, 2, 3), ""),  # nn.Conv1d is none that the engine constrains
        ("lstm.weight_hh_l0", (4, 4), ""),
        ("model.embed_tokens.weight", (4, 4), ""),
        ("transformer.wte.weight", (4, 4), ""),
        ("weight", (4, 4), ""),
    ],
)
def test_targets(name, shape, wanted):
    assert target(row([4, 3, 2, 1], name, shape)) == wanted


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, 8)
        self.conv = nn.Conv2d(2, 8, 3)
        self.body = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8, bias=False))
        self.same = nn.Linear(8, 8)


@pytest.fixture
def net(tmp_path):
    torch.manual_seed(0)
    model = Net()
    path = tmp_path / "net.safetensors"
    save_file(model.state_dict(), path)
    return model, [each for each in spectra(read_checkpoint(path)) if isinstance(each, Spectrum)]


@pytest.mark.parametrize(("rule", "amount"), [("energy", 0.7), ("number", 3), ("effective-rank", 0.6)])
def test_the_engine_takes_the_plan(net, rule, amount):
    """Written as JSON and read back: the layers are constrained, and train exactly what the plan calls free."""
    model, rows = net
    table = json.loads(json.dumps(planned(rows, rule, amount).as_table()))
    assert set(table["keep"]) == {"conv", "body.0", "body.2", "same"}
    osft.constrain(model, keep=table["keep"], method="core")
    free = {layer["target"]: layer["free"] for layer in table["layers"]}
    for name in table["keep"]:
        layer = model.get_submodule(name)
        assert sum(p.numel() for p in layer.parameters() if p.requires_grad) == free[name]
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.body(torch.randn(4, 8)).square().sum().backward()
    optimizer.step()
    assert all(leak.right < 1e-5 for leak in osft.leak(model).values())


def test_retained_by_hand():
    """Of cosines 0.9, 0.6 and 0.3 the mean is 0.6, and so importance 1.5, 1 and 0.5."""
    assert retained({"a": 0.9, "b": 0.6, "c": 0.3}) == pytest.approx({"a": 1, "b": 0.8, "c": 0.45}, abs=2e-6)
    assert retained({"a": 0.9, "b": 0.6, "c": 0.3}, 0.2, 0.4) == pytest.approx({"a": 0.5, "b": 0.4, "c": 0.3})
    assert retained({"a": 0.9, "b": -0.3}, 0.1, 0.2) == pytest.approx({"a": 0.4, "b": 0.1})
    with pytest.raises(ValueError, match="the mean cosine of inputs and outputs is 0: importance needs one above 0"):
        retained({})


def test_measured_importance(net):
    model, rows = net
    model = nn.Sequential(model.same, nn.Tanh())
    shares = osft.adaptive_keep(model, [torch.randn(5, 8)])
    plan = planned(rows, "importance", shares={"same": shares["0"]})
    assert list(plan.keep) == ["same"]
    assert plan.layers[0].k == osft.kept_rank(8, 8, shares["0"])


@pytest.mark.parametrize(
    ("rule", "amount", "shares", "message"),
    [
        ("magic", None, None, "rule = 'magic' is unknown"),
        ("energy", 1.5, None, "energy = 1.5 is outside 0…1"),
        ("energy", float("nan"), None, "energy = nan is outside"),
        ("number", 0, None, "number = 0 is outside"),
        ("number", 2.5, None, "number = 2.5 is not a whole number"),
        ("effective-rank", 0.05, None, "effective-rank = 0.05 is outside 0.1…1"),
        ("importance", None, None, "needs the share of each layer"),
        ("importance", None, {"b": 0.5}, "'b', which is no layer"),
        ("importance", None, {"a": 1.0}, "protects all or nothing"),
        ("importance", None, {"a": "x"}, "is not a number"),
    ],
)
def test_bad_settings_are_answered(rule, amount, shares, message):
    with pytest.raises((TypeError, ValueError), match=message.replace("(", r"\(")):
        planned([row([3, 2, 1])], rule, amount, shares)


def test_nothing_to_plan():
    for rule in set(RULES) - {"importance"}:
        assert planned([], rule).keep == {}
