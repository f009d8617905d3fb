"""Orthogonal matrices as products of a few Householder reflectors, Q = I − Y T Yᵀ.

The compact WY form of R. Schreiber and C. Van Loan, "A storage-efficient WY representation for products of
Householder transformations" (SIAM J. Sci. Stat. Comput. 10, 1989): Q (m×m) takes 2mk numbers, and
4mk multiplications and additions to apply to a vector.
"""

import torch


def reflectors(basis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Y and YT (both m×k) of Q = I − Y T Yᵀ, whose first k columns are the basis (m×k) up to signs."""
    packed, tau = torch.geqrf(basis)
    Y = packed.tril(-1)
    Y.diagonal().fill_(1)
    # T⁻¹ = D⁻¹ + upper(YᵀY) with D = diag(τ); a reflector with τ = 0 is the identity.
    upper = tau[:, None] * (Y.mT @ Y).triu(1)
    T = torch.linalg.solve_triangular(upper, tau.diag(), upper=True, unitriangular=True)
    return Y, Y @ T


def columns(Y: torch.Tensor, YT: torch.Tensor) -> torch.Tensor:
    """The first k columns of Q = I − Y T Yᵀ."""
    k = Y.shape[1]
    first = -YT @ Y[:k].mT
    first.diagonal().add_(1)
    return first


def complement(basis: torch.Tensor) -> torch.Tensor:
    """Orthonormal columns (m×(m−k)) orthogonal to those of the basis (m×k)."""
    Y, YT = reflectors(basis)
    k = Y.shape[1]
    rest = -YT @ Y[k:].mT
    rest[k:].diagonal().add_(1)
    return rest
