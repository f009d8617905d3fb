"""The singular values of a weight without its singular vectors, several times faster than LAPACK's own way.

LAPACK makes a matrix bidiagonal a column at a time, and half of that is memory read for one use. Here whole blocks of
columns and rows are cleared at once, which is matrix products, until a band of `WIDTH` remains; its values are the
roots of the eigenvalues of its Gram matrix, a band of the same width, taken in float64 (B. Großer and B. Lang,
"Efficient parallel reduction to bidiagonal form", Parallel Computing 25, 1999).
"""

import numpy as np
import torch
from scipy.linalg import eigvals_banded

# The band's width: wider is fewer passes over the matrix, and more work on the band.
WIDTH = 64
# Below this order LAPACK takes 30 ms or less, in float64.
SMALL = 384


def singular_values(W: torch.Tensor, overwrite: bool = False) -> np.ndarray:
    """All singular values of a matrix, descending, float64.

    Parameters
    ----------
    W
        m×n, float32 or float64, finite, not empty.
    overwrite
        Work in W's own memory, which saves a copy and leaves W spoiled.

    Returns
    -------
    ndarray
        min(m, n) values, right within a few ε·σ₁ of W's type and √ε·σ₁ of float64, 1e-7·σ₁ or so; infinite where
        float64 cannot hold them.
    """
    with torch.no_grad():
        A = W if overwrite else W.clone()
        # Lest squares overflow or vanish.
        largest = max(float(A.max()), -float(A.min()))
        if largest > 0:
            A /= largest
        if min(A.shape) < SMALL:
            sigma = torch.linalg.svdvals(A.double()).numpy()
        else:
            band = _banded(A if A.shape[0] >= A.shape[1] else A.mT)
            squares = eigvals_banded(band, lower=True, overwrite_a_band=True, check_finite=False)
            sigma = np.sqrt(np.maximum(squares[::-1], 0))
    with np.errstate(over="ignore"):  # a float64 may be so large that σ₁ is infinite
        return largest * sigma


def _banded(A: torch.Tensor) -> np.ndarray:
    """BᵀB, its diagonals as rows, of the upper band B = UᵀAV that a tall A is brought to; A is spoiled."""
    n = A.shape[1]
    band = np.zeros((WIDTH + 1, n))
    above = A.new_zeros(1, min(WIDTH, n), dtype=torch.float64)
    for first in range(0, n, WIDTH):
        width = min(WIDTH, n - first)
        R = _cleared(A[:, :width], A[:, width:])
        L = _cleared(A[:width, width:].mT, A[width:, width:].mT).mT
        # Block column: BᵀB is R'ᵀR' + L'ᵀL' on its diagonal, L' being the block above it, and LᵀR below.
        column = torch.cat([R.mT @ R + above.mT @ above, L.mT @ R]).numpy()
        for offset in range(min(WIDTH + 1, len(column))):
            diagonal = column.diagonal(-offset)
            band[offset, first : first + len(diagonal)] = diagonal
        above, A = L, A[width:, width:]
    return band


def _cleared(panel: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """R of panel = QR in float64; the rest becomes Qᵀ rest, in place.

    Q = I − V T Vᵀ of as many Householder vectors V as the panel has columns, T⁻¹ the upper half of VᵀV, its diagonal
    halved.
    """
    if not panel.numel():
        return panel.double()
    factor, scales = torch.geqrf(panel)
    count = len(scales)
    V = factor[:, :count].tril(-1)
    V.diagonal().fill_(1)
    V *= scales != 0  # a column that is cleared already needs no reflection
    inverse = (V.mT @ V).triu()
    inverse.diagonal().mul_(0.5).add_(scales == 0)
    if rest.numel():
        rest.addmm_(V, torch.linalg.solve_triangular(inverse.mT, V.mT @ rest, upper=False), alpha=-1)
    return factor[:count].triu().double()
