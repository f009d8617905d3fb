"""How evenly directions are spread: angles, mean |cosine| and hyperspherical energy.

Neurons are the rows of W (m×n = out×in), points the rows of X (p×n); only their directions count.
"""

import numpy as np
from numpy.typing import ArrayLike

from wonderland.maths._check import flag, matrix, number

# Squared chord below which 2 − 2cos has lost half its digits to cancellation.
_NEAR = 1e-4
# Numbers held at once while close pairs are differenced: 8 MB.
_BATCH = 1_000_000
_MAX_S = 10.0


def unit_rows(W: ArrayLike, name: str = "W", min_rows: int = 1) -> np.ndarray:
    """Return the rows of W (m×n), each divided by its length.

    Rows as short as the smallest float64 are handled exactly like long ones.

    Parameters
    ----------
    W
        Rows to normalise, m×n.
    name
        What an error message calls them.
    min_rows
        Fewest rows accepted.

    Raises
    ------
    ValueError
        If W is not a finite matrix with `min_rows` rows, or a row is zero.
    """
    W = matrix(W, name, min_rows=min_rows)
    largest = np.abs(W).max(axis=1, keepdims=True)
    if not largest.all():
        row = int(np.argmin(largest))
        raise ValueError(f"{name}[{row}] is a zero row: it has no direction. Change it or leave it out.")
    scaled = W / largest
    return scaled / np.linalg.norm(scaled, axis=1, keepdims=True)


def pairwise_angles(W: ArrayLike) -> np.ndarray:
    """Angle between every two rows, in degrees, 0…180.

    Twice the arctangent of ‖ŵ_i − ŵ_j‖ / ‖ŵ_i + ŵ_j‖, which, unlike the arccosine, keeps its digits near
    0° and 180° (W. Kahan, "How futile are mindless assessments of roundoff in floating-point
    computation?", 2006).

    Parameters
    ----------
    W
        Rows to compare, m×n.

    Returns
    -------
    ndarray
        m×m, symmetric, zero on the diagonal.

    Raises
    ------
    ValueError
        If W is not a finite matrix, or a row is zero.
    """
    unit = unit_rows(W)
    apart, across = _squared_chords(unit, unit), _squared_chords(unit, -unit)
    return np.degrees(2 * np.arctan2(np.sqrt(apart), np.sqrt(across)))


def mean_abs_cosine(X: ArrayLike) -> float:
    """Mean |cosine| over ordered pairs of different rows: the tutorial's "energy".

    Parameters
    ----------
    X
        Rows to compare, p×n, p ≥ 2.

    Returns
    -------
    float
        In 0…1.

    Raises
    ------
    ValueError
        If X is not a finite matrix of two or more rows, or a row is zero.
    """
    unit = unit_rows(X, "X", min_rows=2)
    cosines = np.minimum(np.abs(unit @ unit.T), 1)
    np.fill_diagonal(cosines, 0)
    return float(cosines.sum() / (len(unit) * (len(unit) - 1)))


def hyperspherical_energy(W: ArrayLike, s: float = 1.0, half_space: bool = False) -> float:
    """Hyperspherical energy of the neurons of W: how evenly their directions fill the sphere.

    The sum over ordered pairs i ≠ j of ‖ŵ_i − ŵ_j‖^(−s), or of log ‖ŵ_i − ŵ_j‖^(−1) for s = 0 (minimum
    hyperspherical energy, arXiv 1805.09298, equation 1; OFT, arXiv 2306.07280, uses s = 1). The half-space
    form ("MHE in half space" of the same paper) gives each of the N neurons a virtual one opposite, and is
    the same sum over all 2N: a neuron and its own opposite, 2 apart, are a pair like any other.

    Parameters
    ----------
    W
        Neurons as rows, m×n, m ≥ 2. Their lengths do not matter.
    s
        Exponent, 0…10; 0 takes the logarithm.
    half_space
        Add −ŵ of every neuron.

    Returns
    -------
    float
        The energy; `inf` if two neurons have the same direction (or, in half space, opposite ones), for
        every s: that is the limit of the sum. Neurons within about 1e-154 count as the same.

    Raises
    ------
    TypeError
        If `s` is not a number or `half_space` no bool.
    ValueError
        If W is not a finite matrix of two or more rows, a row is zero, or `s` is out of range.

    Notes
    -----
    Chords come from the Gram matrix in float64, and from direct differences where 2 − 2cos < 1e-4. Memory
    is a few matrices of m×m (2m×2m in half space).
    """
    unit = unit_rows(W, min_rows=2)
    s = number(s, "s", 0, _MAX_S)
    if flag(half_space, "half_space"):
        unit = np.vstack([unit, -unit])
    squared = _squared_chords(unit, unit)
    # The diagonal is no pair: give it the distance whose term is zero.
    np.fill_diagonal(squared, np.inf if s else 1)
    with np.errstate(divide="ignore"):
        terms = squared ** (-s / 2) if s else -np.log(squared) / 2
    return float(terms.sum())


def _squared_chords(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """‖a_i − b_j‖² for unit rows a_i of A and b_j of B."""
    squared = 2 - 2 * (A @ B.T)
    near = np.argwhere(squared < _NEAR)
    for pairs in np.array_split(near, near.size * A.shape[1] // _BATCH + 1):
        i, j = pairs.T
        difference = A[i] - B[j]
        squared[i, j] = np.einsum("pn,pn->p", difference, difference)
    return squared
