"""The spectrum of every weight of a checkpoint: read one at a time, bounded in memory, kept by checksum.

A file is mapped into memory and read in pieces, each let go once it is copied, so that of the file itself next to
nothing is held. The numbers of one weight are held once, as float32, and worked on in place.
"""

import math
import mmap
import os
import tempfile
import warnings
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch

from wonderland.backend import splitting
from wonderland.backend.headers import Checkpoint, Place
from wonderland.backend.spectrum import singular_values
from wonderland.backend.tensors import FLOATS, Skipped, Spectrum, sorted_out

DTYPES = dict(zip(FLOATS, (torch.float64, torch.float32, torch.float16, torch.bfloat16), strict=True))
# Bytes that are read at once.
PIECE = 2**20


def spectra(checkpoint: Checkpoint, cache: str | os.PathLike[str] | None = None) -> Iterator[Spectrum | Skipped]:
    """Take the spectrum of one tensor after another, in the natural order of their names, after those that have none.

    Parameters
    ----------
    checkpoint
        What :func:`wonderland.backend.headers.read_checkpoint` found.
    cache
        A folder to keep results in, made if need be: a file for each weight, named by its checksum. What was computed
        before an interruption is read from there the next time, whatever the weight is called and in whichever file.

    Yields
    ------
    Spectrum or Skipped
        Tensors without a matrix of numbers to take apart, with NaN or infinity in it, or in a file that cannot be had,
        are skipped with the reason.

    Raises
    ------
    ValueError
        If the cache is no folder.
    """
    folder = None if cache is None else _folder(cache)
    names, skipped = sorted_out(checkpoint)
    yield from skipped
    for name in names:
        place = checkpoint.tensors[name]
        try:
            yield _spectrum(name, place, folder)
        except (ValueError, OSError) as error:
            yield Skipped(name, place.info.dtype, place.info.shape, str(error))


def of_array(name: str, W: np.ndarray) -> Spectrum:
    """The spectrum of a weight (m×n, float64) that is at hand."""
    tensor = torch.from_numpy(W)
    return Spectrum(name, "F64", W.shape, splitting.checksum(tensor), singular_values(tensor))


def checksum(place: Place) -> str:
    """Fingerprint of a tensor in a file: that of ``wonderland.backend.splitting.checksum``."""
    digest = blake2b(f"{DTYPES[place.info.dtype]} {place.info.shape} ".encode(), digest_size=16)
    for piece in _pieces(place, 1):
        digest.update(piece)
    return digest.hexdigest()


def matrix(place: Place) -> torch.Tensor:
    """A tensor as its m×n matrix, float64 if it is stored so, else float32.

    Raises
    ------
    ValueError
        If there is NaN or infinity in it.
    """
    dtype, shape = DTYPES[place.info.dtype], place.info.shape
    m, n = shape[0], math.prod(shape[1:])
    W = torch.empty(m * n, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    done = bad = 0
    for piece in _pieces(place, dtype.itemsize):
        part = torch.frombuffer(piece, dtype=dtype)
        bad += part.numel() - int(part.isfinite().sum())
        W[done : done + part.numel()] = part
        done += part.numel()
    if bad:
        raise ValueError(f"holds NaN or infinity, in {bad:,} of its {m * n:,} entries")
    return W.view(m, n)


def _spectrum(name: str, place: Place, folder: Path | None) -> Spectrum:
    digest = checksum(place)
    path = folder and folder / f"{digest}.npy"
    shape = place.info.shape
    sigma = _read(path, min(shape[0], math.prod(shape[1:]))) if path else None
    if sigma is None:
        sigma = singular_values(matrix(place), overwrite=True)
        if path:
            _write(path, sigma)
    if not sigma[0] > 0:
        raise ValueError("is zero in every entry")
    if not np.isfinite(sigma[0]):
        raise ValueError("has a singular value larger than any number of 64 bits")
    return Spectrum(name, place.info.dtype, shape, digest, sigma)


def _pieces(place: Place, itemsize: int) -> Iterator[bytearray]:
    """The bytes of a tensor in pieces, each of whole numbers."""
    _, _, start, end = place.info
    step = PIECE // itemsize * itemsize
    with place.file.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        if len(mapped) < end:
            raise ValueError("is in a file that has become shorter since")
        for first in range(start, end, step):
            last = min(first + step, end)
            yield bytearray(mapped[first:last])
            if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
                page = first // mmap.PAGESIZE * mmap.PAGESIZE
                mapped.madvise(mmap.MADV_DONTNEED, page, last - page)


def _folder(cache: str | os.PathLike[str]) -> Path:
    folder = Path(cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cache = {str(folder)!r} cannot be a folder to keep results in: {error.strerror}.") from None
    return folder


def _read(path: Path, count: int) -> np.ndarray | None:
    """What a file of the cache holds; None, with a warning where there is a file, if that is no spectrum."""
    try:
        sigma = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (ValueError, OSError, EOFError) as error:
        sigma, reason = None, f"{type(error).__name__}: {error}"
    else:
        if (
            isinstance(sigma, np.ndarray) and sigma.shape == (count,) and sigma.dtype == np.float64
            and np.isfinite(sigma).all() and (np.diff(sigma) <= 0).all() and sigma[-1] >= 0
        ):  # fmt: skip
            return sigma
        reason = "it is not the spectrum of this weight"
    warnings.warn(f"the cached spectrum {path} cannot be used and is computed anew ({reason}).", stacklevel=4)
    return None


def _write(path: Path, sigma: np.ndarray) -> None:
    try:
        # Under another name first, so that no reader meets half a file.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            np.save(Path(folder) / path.name, sigma)
            os.replace(Path(folder) / path.name, path)
    except OSError as error:
        warnings.warn(f"the spectrum was not cached in {path} ({error}).", stacklevel=4)
