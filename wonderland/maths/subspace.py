"""Splitting a weight by its singular value decomposition, and what an update does to the two parts.

W is m×n = out×in, W = UΣVᵀ; U_h (m×k) and V_h (n×k) are the k protected directions, U⊥ and V⊥ the rest.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from wonderland.maths._check import MAX_ORDER, choice, generator, integer, matrix, shown, vector
from wonderland.maths.orthogonal import haar

_REMOVED = {
    "joint": ("protected-protected",),
    "right-only": ("protected-protected", "free-protected"),
    "two-sided": ("protected-protected", "protected-free", "free-protected"),
}
RULES = tuple(_REMOVED)
"""From the weakest to the strongest."""


@dataclass(frozen=True, eq=False)
class Split:
    """A weight W (m×n) as its full singular value decomposition, cut after k directions.

    Parameters
    ----------
    U
        Left singular vectors as columns, m×m.
    S
        Singular values, min(m, n) of them, descending.
    Vt
        Right singular vectors as rows, n×n.
    k
        Directions protected, 0…min(m, n).
    """

    U: np.ndarray
    S: np.ndarray
    Vt: np.ndarray
    k: int

    def __post_init__(self) -> None:
        _cutoff(self.k, self.shape)

    @property
    def U_h(self) -> np.ndarray:
        """Protected output directions as columns, m×k."""
        return self.U[:, : self.k]

    @property
    def V_h(self) -> np.ndarray:
        """Protected input directions as columns, n×k."""
        return self.Vt[: self.k].T

    @property
    def U_perp(self) -> np.ndarray:
        """Free output directions as columns, m×(m−k)."""
        return self.U[:, self.k :]

    @property
    def V_perp(self) -> np.ndarray:
        """Free input directions as columns, n×(n−k)."""
        return self.Vt[self.k :].T

    @property
    def sigma_h(self) -> np.ndarray:
        """Protected singular values, k of them, descending."""
        return self.S[: self.k]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the weight, (m, n)."""
        return len(self.U), len(self.Vt)


@dataclass(frozen=True)
class Leak:
    """How far a weight has moved where it was to stay; all zero in a run that protects perfectly.

    Parameters
    ----------
    joint
        ‖U_hᵀ ΔW V_h‖, Frobenius norm: all that the joint rule holds still.
    right
        ‖ΔW V_h‖: change of the outputs for protected inputs.
    left
        ‖U_hᵀ ΔW‖: change of the protected outputs, for any input.
    triplet
        max_i ‖W′v_i − σ_i u_i‖ over the protected triplets.
    """

    joint: float
    right: float
    left: float
    triplet: float


def split(W: ArrayLike, k: int) -> Split:
    """Split W (m×n) into its k strongest singular directions and the rest.

    Parameters
    ----------
    W
        The weight. Both bases are computed in full, so memory is m² + n².
    k
        Directions to protect. 0 protects none and min(m, n) all that carry a singular value; in an oblong W
        the |m − n| directions beyond those stay free.

    Returns
    -------
    Split
        Its arrays are read-only.

    Raises
    ------
    TypeError, ValueError
        If W is not a finite matrix, or `k` no integer in 0…min(m, n).
    """
    W = matrix(W, "W")
    k = _cutoff(k, W.shape)
    U, S, Vt = np.linalg.svd(W)
    for array in (U, S, Vt):
        array.setflags(write=False)
    return Split(U, S, Vt, k)


def project(G: ArrayLike, split: Split, rule: str) -> np.ndarray:
    """Take out of an update G (m×n) what a rule forbids.

    - "joint": G − U_h U_hᵀ G V_h V_hᵀ, the formula of OSFT (arXiv 2504.07097). It holds k² of the mn
      dimensions still, and no singular triplet.
    - "right-only": G (I − V_h V_hᵀ). Outputs for inputs in the span of V_h stay; with V_h taken from
      activations this is Gradient Projection Memory (arXiv 2103.09762).
    - "two-sided": (I − U_h U_hᵀ) G (I − V_h V_hᵀ). Every protected triplet stays exact.

    Parameters
    ----------
    G
        Gradient or update, of the split weight's shape.
    split
        The split weight.
    rule
        One of `RULES`.

    Returns
    -------
    ndarray
        m×n, a new array.

    Raises
    ------
    TypeError, ValueError
        If G is not a finite matrix of the weight's shape, or the rule is unknown.
    """
    G = matrix(G, "G", shape=_shape(split))
    rule = choice(rule, "rule", RULES)
    U_h, V_h = split.U_h, split.V_h
    if rule == "joint":
        return G - U_h @ (U_h.T @ G @ V_h) @ V_h.T
    right = G - (G @ V_h) @ V_h.T
    return right if rule == "right-only" else right - U_h @ (U_h.T @ right)


def blocks(G: ArrayLike, split: Split) -> dict[str, float]:
    """Energy (squared Frobenius norm) of each block of UᵀGV; together, that of G (m×n).

    Returns
    -------
    dict
        Keys "protected-protected", "protected-free", "free-protected", "free-free": output side first.

    Raises
    ------
    TypeError, ValueError
        If G is not a finite matrix of the weight's shape.
    """
    G, k = matrix(G, "G", shape=_shape(split)), split.k
    energy = (split.U.T @ G @ split.Vt.T) ** 2
    return {
        "protected-protected": float(energy[:k, :k].sum()),
        "protected-free": float(energy[:k, k:].sum()),
        "free-protected": float(energy[k:, :k].sum()),
        "free-free": float(energy[k:, k:].sum()),
    }


def removed_blocks(rule: str) -> tuple[str, ...]:
    """Keys of the `blocks` that a rule sets to zero.

    Raises
    ------
    TypeError, ValueError
        If the rule is not one of `RULES`.
    """
    return _REMOVED[choice(rule, "rule", RULES)]


def leak(W: ArrayLike, split: Split) -> Leak:
    """Measure how far a new weight W (m×n) has left the protected part of the split one.

    The old weight is not needed: W₀V_h = U_hΣ_h and U_hᵀW₀ = Σ_hV_hᵀ. For W = W₀ the four are rounding
    errors, some 1e-16 of ‖W₀‖.

    Parameters
    ----------
    W
        The weight now.
    split
        The weight before, split.

    Raises
    ------
    TypeError, ValueError
        If W is not a finite matrix of the split weight's shape.
    """
    W = matrix(W, "W", shape=_shape(split))
    U_h, V_h, sigma = split.U_h, split.V_h, split.sigma_h
    right = W @ V_h - U_h * sigma
    left = U_h.T @ W - sigma[:, None] * V_h.T
    return Leak(
        joint=float(np.linalg.norm(left @ V_h)),
        right=float(np.linalg.norm(right)),
        left=float(np.linalg.norm(left)),
        triplet=float(np.linalg.norm(right, axis=0).max(initial=0)),
    )


def energy_kept(sigma: ArrayLike, k: int) -> float:
    """Share of the squared Frobenius norm that the first k singular values carry, 0…1.

    Parameters
    ----------
    sigma
        Singular values, descending, not all zero.
    k
        How many to keep, 0…len(sigma).

    Raises
    ------
    TypeError, ValueError
        If `sigma` is no descending row of such values, or `k` no integer in range.
    """
    share = _shares(sigma)
    k = integer(k, "k", 0, len(share), f"there are {len(share)} singular values")
    return float((share[:k] ** 2).sum() / (share**2).sum())


def effective_rank(sigma: ArrayLike) -> float:
    """Effective rank: exp of the entropy of the singular values divided by their sum.

    From 1, one value alone, to len(sigma), all equal (O. Roy and M. Vetterli, "The effective rank: a measure
    of effective dimensionality", EUSIPCO 2007).

    Parameters
    ----------
    sigma
        Singular values, descending, not all zero.

    Raises
    ------
    TypeError, ValueError
        If `sigma` is no descending row of such values.
    """
    share = _shares(sigma)
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def rank_k(split_or_W: Split | ArrayLike, k: int) -> np.ndarray:
    """Best approximation of a weight by a matrix of rank k (Eckart and Young, 1936).

    Parameters
    ----------
    split_or_W
        A split weight, whatever its own k, or W (m×n) itself.
    k
        Rank, 0…min(m, n).

    Raises
    ------
    TypeError, ValueError
        If W is not a finite matrix, or `k` no integer in range.
    """
    if isinstance(split_or_W, Split):
        U, S, Vt = split_or_W.U, split_or_W.S, split_or_W.Vt
    else:
        U, S, Vt = np.linalg.svd(matrix(split_or_W, "W"), full_matrices=False)
    k = _cutoff(k, (len(U), Vt.shape[1]))
    return (U[:, :k] * S[:k]) @ Vt[:k]


def matrix_with_spectrum(sigma: ArrayLike, rng: np.random.Generator) -> np.ndarray:
    """Random square matrix with just these singular values, its singular vectors Haar-random.

    Parameters
    ----------
    sigma
        Singular values, descending, none negative; 1…4096 of them. They may all be zero.
    rng
        Source of randomness.

    Raises
    ------
    TypeError, ValueError
        If `sigma` is no such row of values, or `rng` no generator.
    """
    sigma, rng = _spectrum(sigma), generator(rng)
    n = integer(len(sigma), "len(sigma)", 1, MAX_ORDER)
    return (haar(n, rng) * sigma) @ haar(n, rng)


def _shape(split: object) -> tuple[int, int]:
    if not isinstance(split, Split):
        raise TypeError(f"split = {shown(split)} is not a Split: give split(W, k).")
    return split.shape


def _cutoff(k: object, shape: tuple[int, int]) -> int:
    m, n = shape
    count = min(m, n)
    values = "singular value" if count == 1 else "singular values"
    return integer(k, "k", 0, count, f"a {m}×{n} matrix has {count} {values}")


def _spectrum(sigma: ArrayLike) -> np.ndarray:
    sigma = vector(sigma, "sigma")
    if sigma.min() < 0:
        i = int(np.argmin(sigma))
        raise ValueError(f"sigma[{i}] = {sigma[i]:g} is negative: a singular value is 0 or more.")
    rising = np.flatnonzero(np.diff(sigma) > 0)
    if rising.size:
        i = int(rising[0])
        raise ValueError(f"sigma[{i + 1}] = {sigma[i + 1]:g} is above sigma[{i}] = {sigma[i]:g}: sort them descending.")
    return sigma


def _shares(sigma: ArrayLike) -> np.ndarray:
    """Singular values divided by their sum."""
    sigma = _spectrum(sigma)
    if sigma[0] == 0:
        raise ValueError(f"sigma = {shown(sigma.tolist())} is all zero: give at least one positive value.")
    return sigma / sigma.sum()
