"""The free block of a weight, named without any choice of vectors, by which two machines differ.

Protected directions U_h (m×k) span what they do whatever orthonormal vectors are taken. Here k of their rows are
taken to be the identity (the pivots of an LU decomposition, in ascending order), which leaves the others,
X ((m−k)×k), to name the span: m−k numbers a direction, the fewest that do. Of the span [I; X] follow an orthonormal
basis (QR with a positive diagonal), the reflectors of that basis, which never meet a sign in doubt, and so the whole of
Q = [U_h U⊥]: smooth in X, to the last digits the same everywhere. All of it is computed in float64.
"""

from typing import NamedTuple

import torch

from wonderland.backend.reflectors import columns, reflectors


class Side(NamedTuple):
    """Q = I − Y YTᵀ of the outputs or of the inputs, its rows in an order that has the pivots first."""

    order: torch.Tensor
    Y: torch.Tensor
    YT: torch.Tensor

    def protected(self) -> torch.Tensor:
        """Q's first k columns, m×k, the rows where they belong."""
        basis = torch.empty_like(self.Y)
        basis[self.order] = columns(self.Y, self.YT)
        return basis


def pivots(basis: torch.Tensor) -> torch.Tensor:
    """Which k rows of a basis (m×k, float64) make the best conditioned square: m truth values."""
    order = list(range(len(basis)))
    if basis.shape[1]:
        swaps = torch.linalg.lu_factor(basis).pivots - 1
        for i, j in enumerate(swaps.tolist()):
            order[i], order[j] = order[j], order[i]
    chosen = torch.zeros(len(basis), dtype=torch.bool, device=basis.device)
    chosen[order[: basis.shape[1]]] = True
    return chosen


def graph(basis: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """X ((m−k)×k) such that [I; X], the chosen rows first, spans what the basis (m×k) does."""
    return torch.linalg.solve(basis[chosen], basis[~chosen], left=False)


def side(chosen: torch.Tensor, X: torch.Tensor) -> Side:
    """Q from the rows that are pivots and X, which any number type may have rounded."""
    X = X.double()
    span = torch.cat([torch.eye(X.shape[1], dtype=X.dtype, device=X.device), X])
    basis, R = torch.linalg.qr(span)
    order = torch.cat([chosen.nonzero(), (~chosen).nonzero()]).flatten()
    return Side(order, *reflectors(basis * R.diagonal().sign()))


def free_block(W: torch.Tensor, left: Side, right: Side) -> torch.Tensor:
    """C = U⊥ᵀ W V⊥, (m−k_u)×(n−k_v), of a weight in float64."""
    return _inward(W, left, right)[left.Y.shape[1] :, right.Y.shape[1] :]


def with_free_block(W: torch.Tensor, C: torch.Tensor, left: Side, right: Side) -> torch.Tensor:
    """A weight in float64 with C in place of its own free block."""
    M = _inward(W, left, right)
    M[left.Y.shape[1] :, right.Y.shape[1] :] = C
    M = M - (M @ right.Y) @ right.YT.mT
    M = M - left.YT @ (left.Y.mT @ M)
    outward = torch.empty_like(M)
    outward[left.order[:, None], right.order] = M
    return outward


def _inward(W: torch.Tensor, left: Side, right: Side) -> torch.Tensor:
    """Q_Uᵀ W Q_V."""
    M = W[left.order[:, None], right.order]
    M = M - (M @ right.YT) @ right.Y.mT
    return M - left.Y @ (left.YT.mT @ M)
