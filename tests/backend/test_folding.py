import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wonderland.backend.constrained import Bases
from wonderland.backend.folding import Folded, folds
from wonderland.backend.layers import Held
from wonderland.backend.osft import constrain, leak

MANY = 80


def model(m, n, k, dtype=torch.float64, fold=True):
    torch.manual_seed(5)
    made = nn.Sequential(nn.Linear(n, m, dtype=dtype))
    constrain(made, keep=k, method="core", train_bias=True, fold=fold)
    assert isinstance(made[0], Held)
    return made


def passed(model, x):
    """What a pass gives: y, and the gradients of a loss by x, C and the bias."""
    x = x.detach().requires_grad_()
    y = model(x)
    y.tanh().sum().backward()
    return y.detach(), x.grad, *(parameter.grad for parameter in model.parameters())


def is_folded(model, x):
    def history(step):
        if step is not None:
            yield type(step).__name__
            for before, _ in step.next_functions:
                yield from history(before)

    return "FoldedBackward" in history(model(x).grad_fn)


@pytest.mark.parametrize(("m", "n", "k"), [(12, 12, 6), (10, 16, 7), (16, 10, 7)])
def test_a_folded_pass_is_the_same_pass(m, n, k):
    x = torch.randn(4, MANY, n, dtype=torch.float64)
    assert is_folded(model(m, n, k), x)
    assert not is_folded(model(m, n, k, fold=False), x)
    for one, other in zip(passed(model(m, n, k), x), passed(model(m, n, k, fold=False), x), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_gradients_are_right():
    P, U, V = (torch.randn(size, dtype=torch.float64) for size in ((5, 6), (5, 2), (6, 3)))
    x, C, bias = (torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((4, 6), (2, 3), (5,)))

    def output(x, C, bias):
        return Folded.apply(x, C, bias, (P + U @ C @ V.mT).detach(), U, V)

    assert torch.autograd.gradcheck(output, (x, C, bias))


@settings(max_examples=40, deadline=None)
@given(tokens=st.integers(1, 60), m=st.integers(2, 30), n=st.integers(2, 30), data=st.data())
def test_it_folds_where_that_multiplies_less(tokens, m, n, data):
    k = data.draw(st.integers(1, min(m, n) - 1))
    bases = Bases(*(torch.linalg.qr(torch.randn(size, k, dtype=torch.float64)).Q for size in (m, n)))
    held = Held(nn.Linear(n, m, bias=False), bases)
    x = torch.randn(tokens, n, requires_grad=True)
    with FlopCounterMode(display=False) as direct:
        held(x).sum().backward()
    with FlopCounterMode(display=False) as together:
        W = held.weight.detach()
        Folded.apply(x, held.C, None, W, held.U_perp, held.V_perp).sum().backward()
    assert folds(tokens, m, n, m - k, n - k) == (together.get_total_flops() < direct.get_total_flops())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_leaks(dtype):
    trained = model(24, 20, 12, dtype)
    x, y = torch.randn(MANY, 20, dtype=dtype), torch.randn(MANY, 24, dtype=dtype)
    old = trained[0].weight.detach().clone()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=0.01, weight_decay=0.1, fused=True)
    for _ in range(100):
        optimizer.zero_grad()
        assert is_folded(trained, x)
        nn.functional.mse_loss(trained(x), y).backward()
        optimizer.step()
    found = leak(trained)["0"]
    assert (trained[0].weight - old).norm() > 0.3 * old.norm()
    assert max(found.right, found.left) < (1e-5 if dtype == torch.float32 else 1e-13) * old.norm()


def test_few_vectors_and_low_precision_pass_as_ever():
    """W′ in bfloat16 would round away what C has learned."""
    float32, low = model(12, 12, 6, torch.float32), model(12, 12, 6, torch.bfloat16)
    many = torch.randn(MANY, 12)
    assert is_folded(float32, many)
    assert not is_folded(float32, many[:5])
    assert not is_folded(low, many.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_folded(float32, many)
