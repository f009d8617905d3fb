"""Counts and series against peft itself, built on small layers."""

import numpy as np
import peft
import pytest
import torch
from peft.tuners.boft import layer as boft_layer
from peft.tuners.oft.layer import OFTRotationModule
from torch import nn

from wonderland.maths.counting import (
    boft,
    boft_free,
    buffers_osft_factored,
    lora,
    oft,
    oft_block,
    osft_factored,
    psoft,
)
from wonderland.maths.memory import training_memory
from wonderland.maths.orthogonal import cayley, cayley_neumann, random_skew

LAYERS = [(64, 32), (32, 64), (48, 48)]


def adapted(n: int, m: int, config: peft.PeftConfig) -> nn.Module:
    """One linear layer n→m without bias, with the adapter on it."""
    config.target_modules = {"0"}
    return peft.get_peft_model(nn.Sequential(nn.Linear(n, m, bias=False)), config)


def trained(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(("n", "m"), LAYERS)
@pytest.mark.parametrize("rank", [1, 4, 16, 1000])
def test_lora(n, m, rank):
    assert trained(adapted(n, m, peft.LoraConfig(r=rank))) == lora(n, m, rank)


def test_peft_refuses_psoft_beyond_the_layer_s_rank():
    assert trained(adapted(24, 10, peft.PsoftConfig(r=10))) == psoft(10)
    with pytest.raises(ValueError, match="must be less than or equal"):
        adapted(24, 10, peft.PsoftConfig(r=11))


@pytest.mark.parametrize(("n", "m"), LAYERS)
@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("size", [1, 4, 16])
def test_oft(n, m, share, size):
    by_block = peft.OFTConfig(r=0, oft_block_size=size, block_share=share)
    by_count = peft.OFTConfig(r=size, oft_block_size=0, block_share=share)
    assert trained(adapted(n, m, by_block)) == oft(n, m, block=size, share=share)
    assert trained(adapted(n, m, by_count)) == oft(n, m, blocks=size, share=share)


@pytest.mark.parametrize(("n", "asked"), [(100, 16), (97, 16), (64, 100), (12, 5), (30, 4), (36, 24), (96, 95)])
def test_oft_that_does_not_divide(n, asked):
    with pytest.warns(UserWarning, match=r"Invalid `oft_block_size` .* Adjusted"):
        model = adapted(n, 8, peft.OFTConfig(r=0, oft_block_size=asked))
    assert model.base_model.model[0].oft_block_size["default"] == oft_block(n, asked)
    assert trained(model) == oft(n, 8, block=asked)
    with pytest.warns(UserWarning, match=r"Invalid `r` .* Adjusted"):
        model = adapted(n, 8, peft.OFTConfig(r=asked, oft_block_size=0))
    assert trained(model) == oft(n, 8, blocks=asked)


def test_oft_block_moves_as_peft_moves_it():
    layer = adapted(8, 8, peft.OFTConfig(r=0, oft_block_size=4)).base_model.model[0]
    for n in range(1, 121):
        for asked in range(1, 131):
            assert oft_block(n, asked) == layer.adjust_oft_parameters(n, asked)


def test_oft_takes_one_of_block_and_blocks():
    with pytest.raises(ValueError, match="only specify either"):
        peft.OFTConfig(r=4, oft_block_size=4)
    with pytest.raises(ValueError, match="block = 4, blocks = 4: give one of the two"):
        oft(64, 32, block=4, blocks=4)


@pytest.fixture
def uncompiled_boft(monkeypatch):
    """Let BOFT build its parameters without compiling its CUDA kernel, which counting does not need."""
    monkeypatch.setattr(boft_layer, "_FBD_CUDA", object())


@pytest.mark.usefixtures("uncompiled_boft")
@pytest.mark.parametrize(("n", "m"), LAYERS)
@pytest.mark.parametrize(("factors", "block"), [(1, 1), (1, 8), (2, 4), (2, 8), (3, 4)])
def test_boft(n, m, factors, block):
    config = peft.BOFTConfig(boft_block_size=block, boft_n_butterfly_factor=factors)
    model = adapted(n, m, config)
    assert trained(model) == boft(n, m, factors, block)
    # What steers is what the rotation feels: a symmetric change of a block leaves it alone.
    blocks = model.base_model.model[0].boft_R["default"]
    skew = blocks.shape[0] * blocks.shape[1] * len(torch.triu_indices(block, block, 1)[0])
    assert boft_free(n, m, factors, block) == skew
    layer = model.base_model.model[0]
    change = torch.randn(blocks[0].shape)
    symmetric = layer.cayley_batch(change + change.transpose(1, 2))
    assert torch.equal(symmetric, torch.eye(block).expand_as(symmetric))


@pytest.mark.usefixtures("uncompiled_boft")
@pytest.mark.parametrize(("n", "factors", "block"), [(60, 1, 8), (48, 3, 8), (48, 5, 2), (45, 2, 5), (60, 2, 5)])
def test_boft_refuses_what_peft_refuses(n, factors, block):
    with pytest.raises(ValueError, match=r"divisible|Invalid|even"):
        adapted(n, 8, peft.BOFTConfig(boft_block_size=block, boft_n_butterfly_factor=factors))
    with pytest.raises(ValueError, match=r"divisible|odd|outside"):
        boft(n, 8, factors, block)


@pytest.mark.parametrize(("n", "m"), LAYERS)
@pytest.mark.parametrize("share", [1, 8, 16, 31, 32])
def test_osft_factored_and_what_it_holds(n, m, share):
    layer = adapted(n, m, peft.OSFConfig(effective_rank=share)).base_model.model[0]
    assert sum(p.numel() for p in layer.osf_svd_params.parameters()) == osft_factored(n, m, share)
    assert sum(b.numel() for b in layer.buffers()) == buffers_osft_factored(n, m, share)
    assert layer.base_layer.weight.numel() == n * m


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_psoft(rank):
    assert trained(adapted(64, 32, peft.PsoftConfig(r=rank))) == psoft(rank)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.1)),
        ("sgd-momentum", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
    ],
)
def test_memory_is_what_torch_holds_after_a_step(name, build):
    model = adapted(64, 32, peft.LoraConfig(r=4))
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = build(weights)
    model(torch.ones(3, 64)).square().sum().backward()
    optimizer.step()
    held = [t for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t) and t.ndim]
    memory = training_memory(trained(model), 64 * 32, optimizer=name)
    assert memory.optimizer == sum(t.nbytes for t in held)
    assert memory.gradients == sum(p.grad.nbytes for p in weights)
    assert memory.weights == sum(p.nbytes for p in model.parameters())


@pytest.mark.parametrize("terms", range(1, 10))
def test_series_is_the_one_peft_computes(terms):
    S, rotate = _skew_and_module()
    got = rotate(terms=terms, series=True)
    assert np.allclose(cayley_neumann(S, terms), got, atol=1e-14)


def test_exact_branch_of_peft_is_the_transpose_of_ours():
    S, rotate = _skew_and_module()
    exact = rotate(terms=5, series=False)
    assert np.allclose(cayley(S).T, exact, atol=1e-7)  # its identity is float32
    assert not np.allclose(cayley(S), exact, atol=1e-2)


def _skew_and_module():
    """A skew matrix, and peft's rotation made of it."""
    n = 6
    S = random_skew(n, 0.4, np.random.default_rng(0))
    upper = torch.from_numpy(S[np.triu_indices(n, 1)])[None]
    module = OFTRotationModule(1, upper.shape[1], n, n).double()

    def rotate(terms: int, series: bool) -> np.ndarray:
        return module._cayley_batch(upper, n, series, terms)[0].numpy()

    return S, rotate
