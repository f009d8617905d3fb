"""Singular values by bands, against LAPACK in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import svdvals

from wonderland.backend.spectrum import SMALL, WIDTH, singular_values
from wonderland.maths.subspace import matrix_with_spectrum


def error(W: torch.Tensor) -> float:
    """Largest error as a fraction of σ₁."""
    true = svdvals(W.double().numpy())
    return np.abs(singular_values(W) - true).max() / true[0]


@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, SMALL + 3 * WIDTH),
    st.integers(1, SMALL + 3 * WIDTH),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_any_shape(m, n, dtype):
    W = torch.randn(m, n, generator=torch.Generator().manual_seed(m), dtype=dtype)
    assert error(W) < 1e-6


@pytest.mark.parametrize("n", [SMALL, SMALL + 1, SMALL + WIDTH - 1, SMALL + WIDTH, 700])
@pytest.mark.parametrize("extra", [0, 1, WIDTH, 1000])
def test_where_blocks_end(n, extra):
    W = torch.randn(n + extra, n, generator=torch.Generator().manual_seed(n))
    assert error(W) < 1e-6
    assert np.allclose(singular_values(W.mT.contiguous()), singular_values(W), rtol=0, atol=1e-5 * W.shape[0] ** 0.5)


@pytest.mark.parametrize("largest", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("decades", [0.5, 6, 12])
def test_any_spectrum_and_size(largest, decades):
    rng = np.random.default_rng(0)
    sigma = np.logspace(0, -decades, 500)
    W = torch.from_numpy(largest * matrix_with_spectrum(sigma, rng))
    found = singular_values(W)
    assert np.abs(found / largest - sigma).max() < 1e-7
    assert (np.diff(found) <= 0).all()
    assert (found >= 0).all()
    assert error(W.float()) < 1e-6


@pytest.mark.parametrize("rank", [0, 1, 70, 450])
def test_few_directions_alone(rank):
    """Columns that are all zero, or cleared before their turn, need no reflection."""
    generator = torch.Generator().manual_seed(rank)
    W = torch.randn(600, rank, generator=generator) @ torch.randn(rank, 500, generator=generator)
    found = singular_values(W)
    assert np.abs(found - svdvals(W.double().numpy())).max() <= 1e-6 * found[0]
    assert (found[rank:] <= 1e-6 * found[0]).all()
    blocks = torch.zeros(600, 500)
    blocks[:rank, 100 : 100 + rank] = torch.eye(rank)[:, :400]
    assert np.allclose(singular_values(blocks), np.sort(svdvals(blocks.numpy()))[::-1], atol=1e-6)


def test_the_weight_stays_unless_it_may_go():
    W = torch.randn(500, 500, generator=torch.Generator().manual_seed(0))
    before = W.clone()
    found = singular_values(W)
    assert torch.equal(W, before)
    assert np.array_equal(singular_values(W, overwrite=True), found)
    assert not torch.equal(W, before)
