"""How many directions of each layer to protect, and which, as a caller says it.

What a model's activations say of both is in ``wonderland.backend.calibration``.
"""

import numbers
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from wonderland.backend.constrained import Bases
from wonderland.backend.plain import weight_matrix, working
from wonderland.maths._check import integer, number

# How far the given directions may be from orthonormal, as the norm of VᵀV − I against that of I.
ORTHONORMAL = 1e-4

Keep = float | Mapping[str, float]
Given = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


def kept_rank(m: int, n: int, keep: float) -> int:
    """How many of an m×n weight's singular directions the fraction ``keep`` protects.

    Returns
    -------
    int
        keep·min(m, n) rounded to the nearest whole number (a half to the even one), but at least 1, so that
        something is protected, and at most min(m, n) − 1, so that something can be learned.

    Raises
    ------
    ValueError
        If keep is not strictly between 0 and 1, or the weight has one singular direction only.
    """
    check_keep(keep)
    directions = min(m, n)
    if directions < 2:
        raise ValueError(f"a {m}×{n} weight has no two singular directions, one to keep and one to free.")
    return _rounded(directions, keep)


def check_keep(keep: float) -> None:
    """Raise TypeError or ValueError unless ``keep`` is a number strictly between 0 and 1."""
    if number(keep, "keep", 0, 1, "it is the fraction of singular directions to protect") in (0, 1):
        nothing = "protected" if keep == 0 else "free to learn"
        raise ValueError(f"keep = {keep:g} leaves nothing {nothing}: choose a fraction between 0 and 1.")


def rank(directions: int, keep: float, there: str) -> int:
    """How many of a layer's directions ``keep`` protects: a fraction of them, or a number itself.

    Parameters
    ----------
    directions
        How many there are.
    keep
        Of an integer type: the number, 1 to directions − 1. Else a fraction; see :func:`kept_rank`.
    there
        For an error's message: what the directions are.

    Raises
    ------
    TypeError
        If keep is no number.
    ValueError
        If it is outside its range, or there are no two directions, one to keep and one to free.
    """
    if directions < 2:
        raise ValueError(f"{there}, and two are needed, one to keep and one to free. Leave it out of targets.")
    if not _is_count(keep):
        check_keep(keep)
        return _rounded(directions, keep)
    if keep == 0:
        raise ValueError(f"k = 0 leaves nothing protected: choose 1…{directions - 1}, or train the layer as it is.")
    if keep == directions:
        raise ValueError(f"k = {keep} leaves nothing free to learn: {there}; choose {directions - 1} or fewer.")
    return integer(keep, "k", 1, directions - 1, there)


def named_by(mapping: object, targets: Iterable[str] | None) -> Iterable[str] | None:
    """The targets, which by default are the names that a mapping by layer has."""
    return list(mapping) if targets is None and isinstance(mapping, Mapping) else targets


def per_layer(keep: Keep, names: Iterable[str]) -> dict[str, float]:
    """What to keep of each layer, spread from one value or checked to name just these layers.

    Raises
    ------
    TypeError
        If keep is no number.
    ValueError
        If a number is outside its range, or a mapping lacks a layer or names another.
    """
    names = list(names)
    if isinstance(keep, Mapping):
        _same_names(keep, names, "keep")
        return {name: keep[name] for name in names}
    if not _is_count(keep):
        check_keep(keep)
    return dict.fromkeys(names, keep)


def given_bases(basis: Mapping[str, Given], layers: Mapping[str, nn.Module]) -> dict[str, Bases]:
    """Check the given directions and make them orthonormal.

    Parameters
    ----------
    basis
        By layer: V_h (n×k, protected inputs), or the pair U_h (m×k_u), V_h (n×k_v); 0 columns protect
        nothing on that side. Columns orthonormal within 1e-4.
    layers
        The layers, by name; all must be in ``basis``, and no other.

    Raises
    ------
    TypeError
        If a basis is no tensor, or pair of them.
    ValueError
        If names differ, or a basis has the wrong size, is not finite or not orthonormal, or leaves nothing
        protected or nothing free.
    """
    _same_names(basis, list(layers), "basis")
    return {name: _given(f"basis[{name!r}]", basis[name], layer) for name, layer in layers.items()}


def _rounded(directions: int, keep: float) -> int:
    return min(max(round(keep * directions), 1), directions - 1)


def _is_count(keep: object) -> bool:
    return isinstance(keep, numbers.Integral) and not isinstance(keep, bool)


def _same_names(mapping: Mapping[str, object], names: list[str], what: str) -> None:
    for name in names:
        if name not in mapping:
            raise ValueError(f"{what} lacks the target {name!r}: give one for every target.")
    for name in mapping:
        if name not in names:
            raise ValueError(
                f"{what} names {name!r}, which is no target: the targets are {', '.join(map(repr, names))}."
            )


def _given(what: str, given: Given, layer: nn.Module) -> Bases:
    W = weight_matrix(layer)
    m, n = W.shape
    if isinstance(given, torch.Tensor):
        given = (W.new_zeros(m, 0), given)
    if not (isinstance(given, tuple) and len(given) == 2 and all(isinstance(one, torch.Tensor) for one in given)):
        raise TypeError(f"{what} is {type(given).__name__}: give a tensor V_h, or a pair of them, U_h and V_h.")
    bases = Bases(*(_orthonormal(what, one, size, W) for one, size in zip(given, (m, n), strict=True)))
    if not any(basis.shape[1] for basis in bases):
        raise ValueError(f"{what} has no columns, which leaves nothing protected: give at least one direction.")
    return bases


def _orthonormal(what: str, basis: torch.Tensor, size: int, W: torch.Tensor) -> torch.Tensor:
    if basis.ndim != 2 or len(basis) != size:
        raise ValueError(f"{what} has shape {tuple(basis.shape)}: give {size} rows, a column for each direction.")
    if basis.shape[1] >= size:
        raise ValueError(f"{what} has {basis.shape[1]} columns, which leaves nothing free: give {size - 1} or fewer.")
    if not basis.is_floating_point() or not torch.isfinite(basis).all():
        raise ValueError(f"{what} holds {basis.dtype} entries, or some are not finite: give finite real numbers.")
    basis = basis.detach().to(W.device, working(W.dtype))
    identity = torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device)
    with torch.autocast(W.device.type, enabled=False):
        error = (basis.mT @ basis - identity).norm()
    if error > ORTHONORMAL * identity.norm():
        raise ValueError(
            f"{what} has columns that are not orthonormal (off by {error:.2g}): take their torch.linalg.qr."
        )
    return torch.linalg.qr(basis).Q
