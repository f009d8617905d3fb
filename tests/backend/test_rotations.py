import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland.backend.cosines import cosine_sine
from wonderland.backend.reflectors import reflectors
from wonderland.backend.rotations import CosineSine, Reflectors, rotation
from wonderland.maths.counting import core_rotation


def orthonormal(n, k, dtype=torch.float64):
    return torch.linalg.qr(torch.randn(n, k, dtype=torch.float64)).Q.to(dtype)


def whole(Q):
    """Q as a matrix: its transpose takes each unit vector in."""
    size = len(Q.Y) if isinstance(Q, Reflectors) else len(Q.X_h) + len(Q.X_f)
    return torch.cat(Q.into(torch.eye(size, dtype=Q[0].dtype)), 1)


def check(Q, basis, tolerance=1e-13):
    n, k = basis.shape
    full = whole(Q)
    torch.testing.assert_close(full.mT @ full, torch.eye(n).to(full), rtol=0, atol=tolerance)
    torch.testing.assert_close(full[:, :k] @ full[:, :k].mT, basis @ basis.mT, rtol=0, atol=tolerance)
    torch.testing.assert_close(Q.columns(), full[:, :k], rtol=0, atol=tolerance)
    x = torch.randn(3, n).to(full)
    protected, free = Q.into(x)
    assert (protected.shape, free.shape) == ((3, k), (3, n - k))
    torch.testing.assert_close(torch.cat([protected, free], 1), x @ full, rtol=0, atol=10 * tolerance)
    torch.testing.assert_close(Q.out(protected, free), x, rtol=0, atol=10 * tolerance)


def both(basis):
    return Reflectors(*reflectors(basis)), CosineSine(*cosine_sine(basis))


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 24), data=st.data())
def test_a_rotation_is_orthogonal_and_begins_with_the_span(n, data):
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    basis = orthonormal(n, data.draw(st.integers(0, n)))
    for Q in both(basis):
        check(Q, basis)


@pytest.mark.parametrize("k", [2, 5, 6, 7, 11])
@pytest.mark.parametrize("angles", ["none", "right", "few", "tiny", "nearly right", "equal"])
def test_spans_that_lie_along_the_axes_or_nearly_so(k, angles):
    """Cosines and sines that are zero, all but zero, or many times the same."""
    torch.manual_seed(3)
    n, r = 12, min(k, 12 - k)
    theta = {
        "none": torch.zeros(r),
        "right": torch.full((r,), torch.pi / 2),
        "few": torch.arange(r) % 2 * 0.7,
        "tiny": 10.0 ** -torch.arange(2, 2 + 3 * r, 3),
        "nearly right": torch.pi / 2 - 10.0 ** -torch.arange(2, 2 + 3 * r, 3),
        "equal": torch.full((r,), 0.3),
    }[angles].double()
    made = CosineSine(orthonormal(k, k), orthonormal(n - k, n - k), theta.cos(), theta.sin())
    basis = made.columns() @ orthonormal(k, k)
    check(CosineSine(*cosine_sine(basis)), basis)


@pytest.mark.parametrize("k", [3, 8, 15, 21])
def test_cosines_and_sines_are_those_of_scipy(k):
    torch.manual_seed(5)
    n = 24
    basis = orthonormal(n, k)
    whole_one = torch.linalg.qr(basis, mode="complete").Q
    _, theta, _ = scipy.linalg.cossin(whole_one.numpy(), p=k, q=k, separate=True)
    _, _, c, s = cosine_sine(basis)
    theta = torch.tensor(theta)
    torch.testing.assert_close(c.sort().values, theta.cos().sort().values, rtol=0, atol=1e-14)
    torch.testing.assert_close(s.sort().values, theta.sin().sort().values, rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.hypot(c, s), torch.ones_like(c), rtol=0, atol=1e-15)


@pytest.mark.parametrize("k", [30, 100, 170])
def test_a_basis_in_float32_is_met_in_float32(k):
    torch.manual_seed(7)
    basis = orthonormal(200, k, torch.float32)
    Q = rotation(basis)
    assert Q[0].dtype == torch.float32
    check(Q, basis, 3e-6)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 40), data=st.data())
def test_the_kind_that_multiplies_less_is_taken(n, data):
    k = data.draw(st.integers(0, n))
    basis = orthonormal(n, k)
    matrices = [sum(part.numel() for part in Q if part.ndim == 2) for Q in (*both(basis), rotation(basis))]
    assert matrices[2] == min(matrices) == core_rotation(n, k)[1]
