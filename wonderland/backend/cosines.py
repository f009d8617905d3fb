"""The cosine–sine decomposition of an orthogonal matrix of which the first columns are given.

Let orthonormal columns (n×k) be protected directions, p = n − k and r = min(k, p). In suitable bases of their span and
of its complement the orthogonal matrix of both is

    Q = [X_h 0; 0 X_f] · [c −s; s c],   X_h (k×k) and X_f (p×p) orthogonal,

where the second factor turns r pairs of coordinates, one from either block, by angles with the cosines c and the sines
s, and leaves the others as they are (G. H. Golub and C. F. Van Loan, "Matrix Computations", 4th ed., 2013, §2.5.4).
"""

import torch

# Below this, cosines or sines get an SVD of their own: QR alone errs by some ε / length.
SHORT = 0.1


def cosine_sine(basis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """X_h (k×k), X_f (p×p), and c and s (r of each, none negative) for a basis (n×k), all in float64.

    In each block the coordinates that are turned come first. The first k columns of Q span what the basis does.
    After C. Van Loan, "Computing the CS and the generalized singular value decompositions" (Numer. Math. 46, 1985),
    with an eigendecomposition in place of its first SVD.
    """
    basis = torch.linalg.qr(basis.double()).Q  # whatever type it was orthonormal in
    n, k = basis.shape
    r = min(k, n - k)
    top, bottom = basis[:k], basis[k:]
    # A basis of the span in which the columns of both halves are orthogonal. Their lengths are c, ascending, and s;
    # QR takes the longest first, so that none is divided by a shorter one's length.
    turn = torch.linalg.eigh(top.mT @ top).eigenvectors
    X_f, S = torch.linalg.qr(bottom @ turn, mode="complete")
    X_h, C = torch.linalg.qr((top @ turn).flip(1))
    X_h, C = X_h.flip(1), C.flip(0, 1)
    c, s = C.diagonal().clone(), C.new_zeros(k)
    s[:r] = S.diagonal()
    first = k - int((s.abs() < SHORT).sum())
    if first < r:
        P, s[first:r], Q, c[first:] = _both(S[first:r, first:], C[first:, first:])
        X_f[:, first:r] @= P
        X_h[:, first:] @= Q
    few = int((c.abs() < SHORT).sum())
    P, c[:few], Q, s[:few] = _both(C[:few, :few], S[:few, :few])
    X_h[:, :few] @= P
    X_f[:, :few] @= Q
    X_h *= torch.where(c < 0, -1.0, 1.0)
    X_f[:, :r] *= torch.where(s[:r] < 0, -1.0, 1.0)
    length = torch.hypot(c, s)
    return X_h, X_f, (c / length)[:r].abs(), (s / length)[:r].abs()


def _both(short: torch.Tensor, long: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Orthogonal P and Q and lengths with short·Z = P diag and long·Z = Q diag, for the Z of short's SVD."""
    P, lengths, Zt = torch.linalg.svd(short)
    Q, R = torch.linalg.qr(long @ Zt.mT)
    return P, lengths, Q, R.diagonal()
