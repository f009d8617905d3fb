"""The tensors of a checkpoint as a reader meets them: which have a spectrum, what it says, and why others have none."""

import math
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wonderland.backend.headers import BITS, Checkpoint, TensorInfo, plain
from wonderland.maths.subspace import effective_rank

# The number types whose numbers are the weight's own.
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The singular values σ (descending, float64) of one weight, taken as an m×n matrix.

    A convolution's weight is its matrix, out × everything else. ``checksum`` is that of
    ``wonderland.backend.splitting.checksum``: of the number type, the shape and the bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    checksum: str
    sigma: np.ndarray

    @property
    def m(self) -> int:
        """Rows, outputs."""
        return self.shape[0]

    @property
    def n(self) -> int:
        """Columns, inputs."""
        return math.prod(self.shape[1:])

    @cached_property
    def energy(self) -> np.ndarray:
        """Share of ‖W‖² that the first 0…min(m, n) directions hold."""
        squares = np.cumsum((self.sigma / self.sigma[0]) ** 2)
        return np.concatenate([[0.0], squares / squares[-1]])

    @cached_property
    def effective_rank(self) -> float:
        """Exponential of the entropy of σ/Σσ; see :func:`wonderland.maths.subspace.effective_rank`."""
        return effective_rank(self.sigma / self.sigma[0])


@dataclass(frozen=True)
class Skipped:
    """A tensor that has no spectrum to show, and why."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    reason: str


def sorted_out(checkpoint: Checkpoint) -> tuple[list[str], list[Skipped]]:
    """Names of the tensors that may have a spectrum, and those that have none, both in their natural order."""
    matrices, skipped = [], []
    for name in natural([*checkpoint.tensors, *checkpoint.missing]):
        if name in checkpoint.missing:
            skipped.append(Skipped(name, "", (), checkpoint.missing[name]))
            continue
        info = checkpoint.tensors[name].info
        if reason := why_skipped(info):
            skipped.append(Skipped(name, info.dtype, info.shape, reason))
        else:
            matrices.append(name)
    return matrices, skipped


def natural(names: list[str]) -> list[str]:
    """Names in the order in which people count: layer 2 before layer 10."""
    return sorted(names, key=lambda name: [(len(part), part) if part.isdigit() else (0, part)
                                           for part in re.split(r"([0-9]+)", name)])  # fmt: skip


def why_skipped(info: TensorInfo) -> str:
    """Say why a tensor has no spectrum to show, by what its header says; nothing if it may have one."""
    dtype, shape = info.dtype, info.shape
    if dtype[:1] == "F" and BITS.get(dtype, 16) < 16:
        return f"holds {dtype}, numbers whose scale is kept elsewhere: dequantise it first"
    if dtype not in FLOATS:
        whole = dtype[:1] in "UI" and dtype[1:].isdigit()
        kind = "integers" if whole else "truth values" if dtype == "BOOL" else "no real numbers that are known here"
        return f"holds {kind} ({plain(dtype, 20)})"
    if not math.prod(shape):
        return "is empty"
    if len(shape) < 2:
        return "is a row of numbers, no matrix" if shape else "is one number"
    if min(shape[0], math.prod(shape[1:])) == 1:
        return "is a matrix of one row or column, and has one direction only"
    return ""
