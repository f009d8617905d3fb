"""Maps of the plane and of n dimensions: random, built, repaired and measured.

Points and vectors are the rows of X (p×n); a map A (m×n) acts on them as X @ A.T.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from wonderland.maths._check import MAX_ORDER, generator, integer, matrix, number
from wonderland.maths.energy import pairwise_angles, unit_rows

# Numbers held at once while pairs of points are differenced: 8 MB.
_BATCH = 1_000_000
_MAX_SKEW = 1e6
_MAX_TERMS = 20


def haar(n: int, rng: np.random.Generator) -> np.ndarray:
    """Random orthogonal n×n matrix, uniform over all of them (Haar measure).

    Q of the QR decomposition of a Gaussian matrix, its columns multiplied by the signs of R's diagonal:
    without the signs the distribution is not uniform (F. Mezzadri, arXiv math-ph/0609050).

    Parameters
    ----------
    n
        Order, 1…4096.
    rng
        Source of randomness.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an integer in range, or `rng` no generator.
    """
    n = integer(n, "n", 1, MAX_ORDER)
    return _signed_qr(generator(rng).standard_normal((n, n)))


def rotation(degrees: float) -> np.ndarray:
    """2×2 rotation, counter-clockwise; exact at multiples of 90°.

    Raises
    ------
    TypeError, ValueError
        If `degrees` is not a finite number.
    """
    c, s = _cos_sin(number(degrees, "degrees"))
    return np.array([[c, -s], [s, c]]) + 0.0  # + 0.0 turns −0 into 0


def reflection(degrees: float) -> np.ndarray:
    """2×2 reflection in the line through the origin at this angle; exact at multiples of 45°.

    Raises
    ------
    TypeError, ValueError
        If `degrees` is not a finite number.
    """
    c, s = _cos_sin(2 * number(degrees, "degrees"))
    return np.array([[c, s], [s, -c]]) + 0.0


def shear(amount: float) -> np.ndarray:
    """2×2 horizontal shear: (x, y) goes to (x + amount·y, y).

    Raises
    ------
    TypeError, ValueError
        If `amount` is not a finite number.
    """
    return np.array([[1.0, number(amount, "amount")], [0.0, 1.0]])


def scaling(x: float, y: float) -> np.ndarray:
    """2×2 scaling: x times along the first axis, y times along the second.

    Raises
    ------
    TypeError, ValueError
        If `x` or `y` is not a finite number.
    """
    return np.diag([number(x, "x"), number(y, "y")])


def line_projection(degrees: float) -> np.ndarray:
    """2×2 orthogonal projection onto the line through the origin at this angle: rank one.

    Raises
    ------
    TypeError, ValueError
        If `degrees` is not a finite number.
    """
    direction = np.array(_cos_sin(number(degrees, "degrees")))
    return np.outer(direction, direction) + 0.0


def random_skew(n: int, norm: float, rng: np.random.Generator) -> np.ndarray:
    """Random skew-symmetric n×n matrix, scaled to a given spectral norm.

    Parameters
    ----------
    n
        Order, 1…4096. For n = 1 zero is the only skew matrix, and the only norm.
    norm
        Largest singular value of the result, 0…1e6.
    rng
        Source of randomness.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.
    """
    n = integer(n, "n", 1, MAX_ORDER)
    norm = number(norm, "norm", 0, _MAX_SKEW)
    if n == 1 and norm:
        raise ValueError(f"norm = {norm:g} with n = 1: the only 1×1 skew matrix is 0, so give norm = 0.")
    G = generator(rng).standard_normal((n, n))
    S = G - G.T
    return S * (norm / np.linalg.norm(S, 2)) if norm else np.zeros((n, n))


def cayley(S: ArrayLike) -> np.ndarray:
    """Cayley transform (I + S)(I − S)⁻¹ of a skew-symmetric S: a rotation, det +1.

    Never a reflection, and never a turn by 180°: no finite S reaches it (OFT, arXiv 2306.07280).

    Parameters
    ----------
    S
        n×n, Sᵀ = −S, entries within ±1e6.

    Raises
    ------
    TypeError, ValueError
        If S is not finite, square and skew, or an entry is too large.
    """
    S = _skew(S)
    eye = np.eye(len(S))
    # The two factors commute, so the inverse may stand on the left, where solve wants it.
    return np.linalg.solve(eye - S, eye + S)


def cayley_neumann(S: ArrayLike, terms: int = 5) -> np.ndarray:
    """Truncated series of the Cayley transform, as peft's OFT computes it: only nearly orthogonal.

    (I + S)(I + S + … + S^(p−1)) with p = terms − 1, which for five terms is I + 2S + 2S² + 2S³ + S⁴. Its
    singular values are |1 − (iθ)^p| over the eigenvalues iθ of S. Two short cases follow peft 0.21.2 rather
    than the pattern: two terms give I + 2S, and three give what four give.

    Parameters
    ----------
    S
        n×n, Sᵀ = −S, entries within ±1e6.
    terms
        Terms kept, 1…20.

    Raises
    ------
    TypeError, ValueError
        If S is not finite, square and skew, an entry is too large, or `terms` is out of range.
    """
    S = _skew(S)
    terms = integer(terms, "terms", 1, _MAX_TERMS)
    eye = np.eye(len(S))
    if terms <= 2:
        return eye + 2 * (terms - 1) * S
    geometric = eye + S
    for _ in range(max(terms, 4) - 3):
        geometric = eye + S @ geometric
    return geometric + S @ geometric


def repair_qr(A: ArrayLike) -> np.ndarray:
    """Orthogonal Q of A = QR with R's diagonal positive: Gram–Schmidt on the columns of A.

    Parameters
    ----------
    A
        n×n, not singular.

    Raises
    ------
    TypeError, ValueError
        If A is not finite and square, or is singular: then Q is not unique.
    """
    A = matrix(A, "A", square=True)
    _refuse_singular(np.linalg.svd(A, compute_uv=False))
    return _signed_qr(A)


def repair_polar(A: ArrayLike) -> np.ndarray:
    """Orthogonal factor of A = QH, H positive definite: the orthogonal matrix nearest to A.

    Nearest in the Frobenius norm and every other unitarily invariant one (N. Higham, "Computing the polar
    decomposition — with applications", 1986).

    Parameters
    ----------
    A
        n×n, not singular.

    Raises
    ------
    TypeError, ValueError
        If A is not finite and square, or is singular: then the nearest one is not unique.
    """
    U, sigma, Vt = np.linalg.svd(matrix(A, "A", square=True))
    _refuse_singular(sigma)
    return U @ Vt


def orthogonality_error(Q: ArrayLike) -> float:
    """Largest entry of |QᵀQ − I|: zero if the columns of Q (m×n) are orthonormal.

    Raises
    ------
    TypeError, ValueError
        If Q is not a finite matrix.
    """
    Q = matrix(Q, "Q")
    return float(np.abs(Q.T @ Q - np.eye(Q.shape[1])).max())


def norm_change(A: ArrayLike, X: ArrayLike) -> float:
    """Largest relative change of length, |‖Ax‖ − ‖x‖| / ‖x‖, over the rows x of X (p×n).

    Raises
    ------
    TypeError, ValueError
        If A or X is not a finite matrix, their columns differ in number, or a row of X is zero.
    """
    unit = unit_rows(X, "X")
    A = matrix(A, "A", columns=unit.shape[1])
    return float(np.abs(np.linalg.norm(unit @ A.T, axis=1) - 1).max())


def angle_change(A: ArrayLike, X: ArrayLike) -> float:
    """Largest change of the angle between two rows of X (p×n, p ≥ 2), in degrees.

    Raises
    ------
    TypeError, ValueError
        If A or X is not a finite matrix, their columns differ in number, X has one row, or a row of X or its
        image under A is zero.
    """
    unit = unit_rows(X, "X", min_rows=2)
    A = matrix(A, "A", columns=unit.shape[1])
    moved = unit_rows(unit @ A.T, "X @ A.T")
    return float(np.abs(pairwise_angles(moved) - pairwise_angles(unit)).max())


def distance_change(A: ArrayLike, X: ArrayLike) -> float:
    """Largest absolute change of the distance between two rows of X (p×n, p ≥ 2), in the unit of X.

    Raises
    ------
    TypeError, ValueError
        If A or X is not a finite matrix, their columns differ in number, or X has one row.
    """
    X = matrix(X, "X", min_rows=2)
    A = matrix(A, "A", columns=X.shape[1])
    moved = X @ A.T
    rows = max(1, _BATCH // (len(X) * max(X.shape[1], moved.shape[1])))
    return max(
        float(np.abs(_distances(moved, i, i + rows) - _distances(X, i, i + rows)).max()) for i in range(0, len(X), rows)
    )


def _distances(X: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Distances from rows start…stop of X to all rows."""
    difference = X[start:stop, None] - X
    return np.sqrt(np.einsum("ijn,ijn->ij", difference, difference))


def _cos_sin(degrees: float) -> tuple[float, float]:
    """Cosine and sine, exact where they are 0 or ±1."""
    # fmod and the rest after whole quarter turns are exact, so 90° has cosine 0 and not 6e-17.
    degrees = math.fmod(degrees, 360)
    quarters = round(degrees / 90)
    rest = math.radians(degrees - 90 * quarters)
    c, s = math.cos(rest), math.sin(rest)
    return [(c, s), (-s, c), (-c, -s), (s, -c)][quarters % 4]


def _signed_qr(A: np.ndarray) -> np.ndarray:
    Q, R = np.linalg.qr(A)
    return Q * np.where(np.diag(R) < 0, -1.0, 1.0)


def _skew(S: ArrayLike) -> np.ndarray:
    S = matrix(S, "S", square=True)
    largest = np.abs(S).max()
    if largest > _MAX_SKEW:
        raise ValueError(f"S has an entry of size {largest:g}: give entries within ±{_MAX_SKEW:g}.")
    off = np.abs(S + S.T)
    if off.max() > 1e-12 * largest:
        i, j = np.unravel_index(np.argmax(off), off.shape)
        raise ValueError(
            f"S[{i}, {j}] = {S[i, j]:g} but S[{j}, {i}] = {S[j, i]:g}: give a skew matrix, Sᵀ = −S, such as (A − Aᵀ)/2."
        )
    return S


def _refuse_singular(sigma: np.ndarray) -> None:
    least = len(sigma) * np.finfo(float).eps * sigma[0]
    if sigma[-1] <= least:
        raise ValueError(
            f"A is singular: its smallest singular value is {sigma[-1]:.3g}, not above {least:.3g}, so no "
            "orthogonal matrix is the one to repair it to. Change a row or column that depends on the others."
        )
