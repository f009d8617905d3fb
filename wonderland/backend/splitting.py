"""The leading singular directions of a weight, which a constrained layer protects: fast, checked, kept on disk.

For a large weight (m×n = out×in) the eigenvectors V of the Gram matrix WᵀW, or of WWᵀ if that is smaller, cost
a third of a full singular value decomposition, and U = W V Σ⁻¹. What this loses: the product rounds relatively
to σ₁², so that a triplet is wrong by some ε σ₁²/σ_i in W V and WᵀU, and nothing below √ε σ₁ is seen at all.
So `leading` takes this road only where that error stays below its tolerance, looks at the result, and takes
``torch.linalg.svd`` otherwise.
"""

import os
import tempfile
import warnings
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from wonderland.maths._check import integer

# Largest error of W V = U Σ and of WᵀU = V Σ, root mean square over the k columns, as a fraction of σ₁.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
# The Gram matrix costs some GRAM_ERROR·ε σ₁²/σ_i there: 2 measured at n = 1024, 3.3 at 4096.
GRAM_ERROR = 4
# Below this order LAPACK's SVD takes 10 ms or less.
SMALL = 384
# Block Krylov pays from this order on, where k is at most this share of it, and while its space stays below that.
LARGE, FEW, KRYLOV_SPACE = 1024, 1 / 64, 0.4
# Random combinations of columns that stand for all of them in a check.
PROBES = 16


class Leading(NamedTuple):
    """The k strongest singular triplets of an m×n weight: U (m×k), S (k, descending), V (n×k)."""

    U: torch.Tensor
    S: torch.Tensor
    V: torch.Tensor


def leading(W: torch.Tensor, k: int, cache: str | os.PathLike | None = None) -> Leading:
    """Split the k leading singular triplets off W.

    The same W gives the same result on the same machine; the largest entry of every column of V is positive.
    Which vectors span the directions of equal singular values is arbitrary, as in every such decomposition.

    Parameters
    ----------
    W
        The weight, m×n, on any device; half types are computed in float32.
    k
        How many triplets, 0 to min(m, n).
    cache
        A folder to keep results in, made if need be: a file for each weight's `checksum` and k. A file that
        cannot be used is computed anew, with a warning.

    Returns
    -------
    Leading
        float32, or float64 for such W. The columns of U and of V are orthonormal within 1e-5 (float32; largest
        entry of |UᵀU − I|), S is right within 1e-4·σ₁, and W V = U Σ, WᵀU = V Σ hold within `TOLERANCE`.

    Raises
    ------
    TypeError
        If W is no tensor of real floating-point numbers, or k no integer.
    ValueError
        If W is empty, not a matrix, without data, not finite or so large that σ₁ is not; k is out of range; or the
        cache is no folder.

    Notes
    -----
    Three roads. Order r = min(m, n) below 384: LAPACK. From 1024 on, for k ≤ r/64: block Krylov iteration on WᵀW
    (C. Musco and C. Musco, arXiv 1504.05477), until the residuals are small. Otherwise, and where that does not
    settle: the Gram matrix; where σ_k/σ₁ is too small for it (0.005 in float32), or the check fails, LAPACK.
    """
    W = _weight(W)
    m, n = W.shape
    k = integer(k, "k", 0, min(m, n), f"a {m}×{n} matrix has {min(m, n)} singular value{'s' * (min(m, n) > 1)}")
    path = None if cache is None else _folder(cache) / f"{checksum(W)}-{k}.safetensors"
    # Under autocast the products would round to 8 bits.
    with torch.no_grad(), torch.autocast(W.device.type, enabled=False):
        if path is None:
            return _split(W, k)
        found = _read(path, W, k)
        if found is None:
            found = _split(W, k)
            _write(path, found)
        return found


def checksum(W: torch.Tensor) -> str:
    """Fingerprint of a tensor: BLAKE2b of its number type, shape and bytes, 32 hexadecimal digits.

    Two tensors share it only if they are equal bit by bit, wherever they are stored.

    Raises
    ------
    TypeError
        If W is no tensor, or a sparse or quantised one.
    ValueError
        If W holds no data (device "meta").
    """
    W = _dense(W).detach()
    digest = blake2b(f"{W.dtype} {tuple(W.shape)} ".encode(), digest_size=16)
    digest.update(W.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _dense(W: object) -> torch.Tensor:
    if not isinstance(W, torch.Tensor):
        raise TypeError(f"W is {type(W).__name__}: give a torch.Tensor.")
    if W.layout != torch.strided or W.is_quantized:
        raise TypeError(f"W is {'quantised' if W.is_quantized else W.layout}: give a plain dense tensor.")
    if W.is_meta:
        raise ValueError("W is on the device 'meta' and holds no data: load the weight first.")
    return W


def _weight(W: object) -> torch.Tensor:
    W = _dense(W).detach()
    if not W.is_floating_point():
        raise TypeError(f"W holds {W.dtype}: give a weight of floating-point numbers; dequantise one of integers.")
    if W.ndim != 2 or W.numel() == 0:
        raise ValueError(f"W has shape {tuple(W.shape)}: give a matrix, out × in, not empty.")
    if not W.abs().max().isfinite():
        bad = int((~W.isfinite()).sum())
        raise ValueError(f"W: {bad} of its {W.numel()} entries are NaN or infinite: give finite ones.")
    return W if W.dtype == torch.float64 else W.float()


def _split(W: torch.Tensor, k: int) -> Leading:
    size = _size(W)
    U, S, V = _scaled_split(W / size, k)
    V, U = (part * _signs(V) for part in (V, U))
    S = S * size
    if not S.isfinite().all():
        raise ValueError(f"W has a singular value beyond {torch.finfo(S.dtype).max:.2g}: give a smaller W, or float64.")
    return Leading(U.contiguous(), S, V.contiguous())


def _size(W: torch.Tensor) -> torch.Tensor:
    """The largest entry of |W|, by which W is divided lest its squares overflow or vanish; 1 if all is zero."""
    largest = W.abs().max()
    return largest if largest > 0 else torch.ones_like(largest)


def _scaled_split(W: torch.Tensor, k: int) -> Leading:
    r = min(W.shape)
    if k and r >= SMALL:
        tall = W.shape[0] >= W.shape[1]
        A = W if tall else W.mT
        found = _krylov(A, k) if r >= LARGE and k <= FEW * r else None
        found = found or _gram(A, k)
        if found is not None:
            return found if tall else Leading(found.V, found.S, found.U)
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    return Leading(U[:, :k], S[:k], Vh[:k].mT)


def _gram(A: torch.Tensor, k: int) -> Leading | None:
    """Triplets of a tall A from the eigenvectors of AᵀA, or None where those cannot be accurate enough."""
    squares, V = torch.linalg.eigh(_squared(A))
    least = GRAM_ERROR * torch.finfo(A.dtype).eps / TOLERANCE[A.dtype]
    if not squares[-k] > least**2 * squares[-1]:
        return None
    V = V[:, -k:].flip(1)
    return _completed(A, V / V.norm(dim=0), A @ V, TOLERANCE[A.dtype])


def _krylov(A: torch.Tensor, k: int) -> Leading | None:
    """Triplets of a tall A from the Krylov space of AᵀA, or None where they have not settled."""
    (m, n), block = A.shape, k + 8  # a few vectors to spare: the last of a block settles last
    most = int(KRYLOV_SPACE * n)
    basis, image = A.new_empty(n, most), A.new_empty(m, most)
    new, size, next_look = A.mT @ _noise(A, m, block), 0, 2 * block
    while size + block <= most:
        # Twice: once leaves what rounding lets through.
        for _ in range(2):
            new = new - basis[:, :size] @ (basis[:, :size].mT @ new)
            new = torch.linalg.qr(new).Q
        basis[:, size : size + block], image[:, size : size + block] = new, A @ new
        size += block
        new = A.mT @ image[:, size - block : size]
        if size >= next_look:
            next_look = 1.3 * size
            _, Z = torch.linalg.eigh(_squared(image[:, :size]))
            Z = Z[:, -k:].flip(1)
            # Stricter, for here the last of the k columns holds nearly all of the error.
            found = _completed(A, basis[:, :size] @ Z, image[:, :size] @ Z, TOLERANCE[A.dtype] / 10)
            if found is not None:
                return found
    return None


def _completed(A: torch.Tensor, V: torch.Tensor, AV: torch.Tensor, tolerance: float) -> Leading | None:
    """U and S to orthonormal V, whose columns A takes to nearly orthogonal ones; None if they do not hold."""
    S, order = AV.norm(dim=0).sort(descending=True, stable=True)
    if not S[-1] > 0:
        return None
    U = _orthonormalised(AV[:, order] / S)
    found = None if U is None else Leading(U, S, V[:, order])
    return found if found is not None and _holds(A, found, tolerance) else None


def _orthonormalised(U: torch.Tensor) -> torch.Tensor | None:
    """The orthonormal matrix nearest to U, whose columns are nearly so: Newton–Schulz steps, two products each."""
    for _ in range(4):
        error = _squared(U)
        error.diagonal().sub_(1)
        row = error.norm(dim=1).max()
        if not row < 0.5:
            return None
        U = torch.addmm(U, U, error, alpha=-0.5)
        # Of the error a step leaves ¾ of its square, no entry of which exceeds this.
        if row**2 <= 8 * torch.finfo(U.dtype).eps:
            return U
    return None


def _squared(A: torch.Tensor) -> torch.Tensor:
    """AᵀA, its lower half multiplied out and mirrored: little more than half the work."""
    n = A.shape[1]
    G, step = A.new_empty(n, n), max(128, -(-n // 8))
    for i in range(0, n, step):
        j = min(i + step, n)
        torch.mm(A[:, i:].mT, A[:, i:j], out=G[i:, i:j])
        G[i:j, j:] = G[j:, i:j].mT
    return G


def _holds(W: torch.Tensor, parts: Leading, tolerance: float) -> bool:
    """Whether triplets are those of W, descending and orthonormal, judged by random combinations of their columns."""
    U, S, V = parts
    if (S[:-1] < S[1:]).any():
        return False
    z = _noise(W, len(S), PROBES)
    Uz, Vz, Sz = U @ z, V @ z, S[:, None] * z
    # A combination's mean square is the sum of those of the columns; a NaN fails the comparison.
    limit = tolerance * z.numel() ** 0.5
    residuals, errors = (W @ Vz - U @ Sz, W.mT @ Uz - V @ Sz), (U.mT @ Uz - z, V.mT @ Vz - z)
    return all(bool(r.norm() <= limit * S[0]) for r in residuals) and all(bool(e.norm() <= limit) for e in errors)


def _noise(like: torch.Tensor, *shape: int) -> torch.Tensor:
    """Gaussian numbers, the same at every call, without touching the process's random numbers."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=like.dtype).to(like.device)


def _signs(V: torch.Tensor) -> torch.Tensor:
    """The sign of each column's largest entry."""
    if not V.shape[1]:
        return V.new_ones(0)
    return V.gather(0, V.abs().argmax(dim=0, keepdim=True)).sign()


def _folder(cache: str | os.PathLike) -> Path:
    try:
        folder = Path(cache)
    except TypeError:
        raise TypeError(f"cache = {cache!r} is no path: give a folder.") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"cache = {str(folder)!r} is or crosses a file: give a folder.") from None
    return folder


def _read(path: Path, W: torch.Tensor, k: int) -> Leading | None:
    """What a file holds, if it is the split of W; None, with a warning where there is a file, otherwise."""
    if not path.exists():
        return None
    (m, n), reason = W.shape, "it is not the split of this weight"
    try:
        held = load_file(path, device=str(W.device))
        parts = Leading(held["U"], held["S"], held["V"])
        fits = [tuple(part.shape) for part in parts] == [(m, k), (k,), (n, k)]
        fits = fits and all(part.dtype == W.dtype for part in parts)
        size = _size(W)
        if fits and (k == 0 or _holds(W / size, parts._replace(S=parts.S / size), TOLERANCE[W.dtype])):
            return parts
    except (SafetensorError, KeyError, OSError) as error:
        reason = f"{type(error).__name__}: {error}"
    warnings.warn(f"the cached split {path} cannot be used and is computed anew ({reason}).", stacklevel=3)
    return None


def _write(path: Path, parts: Leading) -> None:
    try:
        # Under another name first, so that no reader meets half a file.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            save_file(parts._asdict(), Path(folder) / path.name)
            os.replace(Path(folder) / path.name, path)
    except (SafetensorError, OSError) as error:
        warnings.warn(f"the split was not cached in {path} ({error}).", stacklevel=3)
