"""What a method holds and computes, against layers really built and really run."""

from dataclasses import replace

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft.tuners.boft import layer as boft_layer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.peers import MiniTrainerOSFT
from wonderland.backend.osft import constrain
from wonderland.maths.holding import METHODS, Setting

LAYERS = [(60, 44), (44, 60), (48, 48)]
TOKENS = 7
PEFT = {
    "lora": lambda s: peft.LoraConfig(r=s.rank),
    "oft": lambda s: peft.OFTConfig(r=s.block * s.by_count, oft_block_size=s.block * (not s.by_count)),
    "boft": lambda s: peft.BOFTConfig(boft_block_size=s.boft_block, boft_n_butterfly_factor=s.boft_factors),
    "psoft": lambda s: peft.PsoftConfig(r=s.psoft_rank),
    "osft-peft": lambda s: peft.OSFConfig(effective_rank=s.keep),
}
SETTINGS = [Setting(3, 4, 4, 1, 5, 0.25), Setting(2, 2, 2, 2, 3, 0.75, by_count=True)]
RUN = [SETTINGS[0], replace(SETTINGS[1], boft_factors=1)]  # more factors need the kernel


@pytest.fixture(autouse=True)
def plain_boft(monkeypatch, request):
    """Let BOFT do without its CUDA kernel, which it would compile: run with one factor, or build with more."""
    setting = getattr(request.node, "callspec", None) and request.node.callspec.params.get("setting")
    if setting and setting.boft_factors > 1:
        monkeypatch.setattr(boft_layer, "_FBD_CUDA", object())
    else:
        monkeypatch.setattr(boft_layer, "get_fbd_cuda", lambda: None)


def built(method: str, n: int, m: int, setting: Setting, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(n, m, bias=False, dtype=dtype))
    if method == "full":
        return base
    if method == "osft-core":
        return constrain(base, keep=setting.keep)
    if method == "osft-mini":
        return MiniTrainerOSFT(base[0].weight.detach(), max(1, int(min(n, m) * setting.keep)))
    config = PEFT[method](setting)
    config.target_modules = {"0"}
    return peft.get_peft_model(base, config)


def held(module: nn.Module) -> tuple[int, int, int, int]:
    buffers = list(module.buffers())
    return (
        sum(p.numel() for p in module.parameters() if p.requires_grad),
        sum(p.numel() for p in module.parameters() if not p.requires_grad),
        sum(b.numel() for b in buffers if b.is_floating_point()),
        sum(b.numel() for b in buffers if not b.is_floating_point()),
    )


def kept(module: nn.Module, tokens: int, n: int, dtype: torch.dtype = torch.float32) -> int:
    """Bytes that the module keeps of a forward pass of so many tokens, its own numbers and small whole ones aside."""
    own = {t.untyped_storage().data_ptr() for t in [*module.parameters(), *module.buffers()]}
    found = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own and tensor.is_floating_point():
            found[tensor.untyped_storage().data_ptr()] = tensor  # and keeps it, so that its place is not used again
        return tensor

    x = torch.randn(tokens, n, dtype=dtype, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(x)
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "m"), LAYERS)
@pytest.mark.parametrize("setting", SETTINGS, ids=["one", "two"])
def test_numbers_held_are_those_of_the_layer(method, n, m, setting):
    row = METHODS[method](n, m, setting)
    assert (row.trained, row.frozen, row.buffers, row.indices) == held(built(method, n, m, setting))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "m"), LAYERS)
@pytest.mark.parametrize("setting", RUN, ids=["one", "two"])
def test_numbers_kept_are_those_that_autograd_keeps(method, n, m, setting):
    row, module = METHODS[method](n, m, setting), built(method, n, m, setting)
    many, more = (kept(module, tokens, n) for tokens in (TOKENS, 2 * TOKENS))
    assert more - many == 4 * TOKENS * (row.reads * n + row.kept)
    assert 2 * many - more == 4 * row.once


@pytest.mark.parametrize("method", [name for name in METHODS if name != "osft-mini"])  # its trainer chooses the type
def test_bytes_kept_in_half_precision(method):
    """Adapters that raise their input keep it in float32."""
    n, m, setting = 60, 44, SETTINGS[0]
    row, module = METHODS[method](n, m, setting), built(method, n, m, setting, torch.bfloat16)
    many, more = (kept(module, tokens, n, torch.bfloat16) for tokens in (TOKENS, 2 * TOKENS))
    size = 4 if row.adapter and row.raises else 2
    assert more - many == size * TOKENS * (row.reads * n + row.kept)
    # What BOFT has of small parts is float32 even so.
    assert 2 * many - more == pytest.approx(size * (row.once + row.copied), rel=0.08)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "m"), LAYERS)
@pytest.mark.parametrize("setting", RUN, ids=["one", "two"])
def test_multiplications_are_those_that_torch_counts(method, n, m, setting):
    row, module = METHODS[method](n, m, setting), built(method, n, m, setting)

    def counted(tokens: int) -> int:
        x = torch.randn(tokens, n, requires_grad=True)
        with FlopCounterMode(display=False) as counter:
            module(x).sum().backward()
        return counter.get_total_flops() // 2

    many, more = counted(TOKENS), counted(2 * TOKENS)
    assert more - many == TOKENS * (row.forward + row.backward)
    if method not in ("osft-mini", "psoft"):  # whose projections come later; and whose solver the counter leaves out
        assert 2 * many - more == row.rebuilt


@pytest.mark.parametrize("method", [name for name in METHODS if name != "osft-mini"])  # its trainer chooses the type
def test_bytes_in_half_precision(method):
    """peft raises what it adds to float32; the rest has the weight's own type."""
    row, module = METHODS[method](60, 44, SETTINGS[0]), built(method, 60, 44, SETTINGS[0], torch.bfloat16)
    beside = 4 if row.adapter else 2
    assert sum(p.nbytes for p in module.parameters() if p.requires_grad) == beside * row.trained
    assert sum(p.nbytes for p in module.parameters() if not p.requires_grad) == 2 * row.frozen
    floats = sum(b.nbytes for b in module.buffers() if b.is_floating_point())
    assert floats == beside * row.buffers
    assert sum(b.nbytes for b in module.buffers() if not b.is_floating_point()) == 8 * row.indices


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 60), st.integers(2, 60), st.floats(0.01, 0.99))
def test_the_engine_holds_what_is_said_in_every_shape(n, m, keep):
    setting = Setting(keep=keep)
    row = METHODS["osft-core"](n, m, setting)
    assert (row.trained, row.frozen, row.buffers, row.indices) == held(built("osft-core", n, m, setting))


@settings(deadline=None, max_examples=200)
@given(st.integers(2, 300), st.integers(2, 300), st.floats(0.01, 0.99))
def test_the_engine_takes_less_than_full_fine_tuning_in_training(n, m, keep):
    """With AdamW: four times what is trained, and the rest once; square weights, and small roundings aside."""
    row, whole = (METHODS[name](n, n, Setting(keep=keep)) for name in ("osft-core", "full"))
    assert 4 * row.trained + row.buffers <= 4 * whole.trained
    assert row.trained < METHODS["osft-mini"](n, n, Setting(keep=keep)).trained or n < 4


@pytest.mark.parametrize(
    ("method", "setting", "problem"),
    [
        ("lora", Setting(rank=0), "rank = 0 is outside 1…"),
        ("psoft", Setting(psoft_rank=45), "psoft_rank = 45 is outside 1…44"),
        ("boft", Setting(boft_block=7), "in_features = 60 is not divisible by"),
        ("osft-peft", Setting(keep=0.01), "keep = 0.01 protects none of 44 directions"),
        ("osft-core", Setting(keep=1.5), "keep = 1.5 is outside 0…1"),
    ],
)
def test_what_cannot_be_built_is_said(method, setting, problem):
    with pytest.raises(ValueError, match=problem):
        METHODS[method](60, 44, setting)


def test_one_direction_cannot_be_parted():
    with pytest.raises(ValueError, match="one singular direction"):
        METHODS["osft-core"](60, 1, Setting())
