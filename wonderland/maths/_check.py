"""Checks of what a caller hands in, so that every error reads alike.

A message names the value given, the range allowed and what to do. A wrong type is a `TypeError`; a right
type with a value that means nothing (NaN, infinity, empty, out of range, too large) is a `ValueError`.
"""

import math
import numbers
import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

# Below this, products of two matrices and the squares of their entries still fit in float64.
LARGEST = 1e60
# A dense float64 matrix of this order fills 128 MiB.
MAX_ORDER = 4096
# The largest seed of NumPy's legacy generators and of many a library: one range for every seed.
MAX_SEED = 2**32 - 1


def shown(value: object) -> str:
    """Return `value` as text short enough for an error message."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() <= 60:
            return f"{value:,}"
        return f"{'-' if value < 0 else ''}10^{int(value.bit_length() * math.log10(2))} or so"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def integer(value: object, name: str, low: int = 0, high: int | None = None, why: str = "") -> int:
    """Return `value` as a Python int in low…high (no upper end if `high` is None).

    Parameters
    ----------
    value
        A Python or NumPy integer; a bool is not a number here.
    name
        What the message calls it.
    low, high
        Smallest and largest value allowed.
    why
        Ends the message: the reason for the range.

    Raises
    ------
    TypeError
        If `value` is not an integer.
    ValueError
        If it is outside the range.
    """
    span = f"{low:,}…{high:,}" if high is not None else f"{low:,} or more"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} = {value} is not a whole number: give an integer, {span}.")
    try:
        whole = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} = {shown(value)} is not a whole number: give an integer, {span}.") from None
    if whole < low or (high is not None and whole > high):
        raise ValueError(f"{name} = {shown(whole)} is outside {span}" + (f": {why}." if why else "."))
    return whole


def number(value: object, name: str, low: float = -LARGEST, high: float = LARGEST, why: str = "") -> float:
    """Return `value` as a finite Python float in low…high.

    Raises
    ------
    TypeError
        If `value` is not a real number (a bool is not one here).
    ValueError
        If it is NaN, infinite or outside the range.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} = {shown(value)} is not a number: give one in {low:g}…{high:g}.")
    if not low <= value <= high:
        reason = f": {why}." if why else ": give a finite number within it."
        raise ValueError(f"{name} = {shown(value)} is outside {low:g}…{high:g}{reason}")
    return float(value)


def flag(value: object, name: str) -> bool:
    """Return `value` if it is True or False.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} = {shown(value)} is not a switch: give True or False.")
    return bool(value)


def choice(value: object, name: str, options: Sequence[str]) -> str:
    """Return `value` if it is one of `options`.

    Raises
    ------
    TypeError
        If it is not text.
    ValueError
        If it is another text.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} = {shown(value)} is not text: give one of {', '.join(options)}.")
    if value not in options:
        raise ValueError(f"{name} = {shown(value)} is unknown: give one of {', '.join(options)}.")
    return value


def generator(rng: object) -> np.random.Generator:
    """Return `rng` if it is a NumPy random generator.

    Raises
    ------
    TypeError
        If it is anything else, a bare seed included.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng = {shown(rng)} is not a generator: give numpy.random.default_rng(seed).")
    return rng


def vector(value: ArrayLike, name: str) -> np.ndarray:
    """Return `value` as a finite float64 array of one dimension, not empty.

    Raises
    ------
    TypeError
        If the entries are not real numbers.
    ValueError
        If the shape is wrong, or an entry is NaN, infinite or beyond ±1e60.
    """
    return _array(value, name, ndim=1, wanted="one row of numbers")


def matrix(
    value: ArrayLike,
    name: str,
    *,
    square: bool = False,
    shape: tuple[int, int] | None = None,
    columns: int | None = None,
    min_rows: int = 1,
) -> np.ndarray:
    """Return `value` as a finite float64 matrix, not empty.

    Parameters
    ----------
    value
        Anything NumPy reads as two dimensions of real numbers.
    name
        What the message calls it.
    square
        Demand as many rows as columns.
    shape
        Demand exactly this shape, rows × columns.
    columns
        Demand this many columns.
    min_rows
        Demand at least this many rows.

    Returns
    -------
    ndarray
        `value` itself when it is already float64: do not write into it.

    Raises
    ------
    TypeError
        If the entries are not real numbers.
    ValueError
        If the shape is wrong, or an entry is NaN, infinite or beyond ±1e60.
    """
    array = _array(value, name, ndim=2, wanted="a matrix, rows × columns")
    rows, width = array.shape
    if square and rows != width:
        raise ValueError(f"{name} is {rows}×{width}: give a square matrix.")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} is {rows}×{width}: give a {shape[0]}×{shape[1]} matrix.")
    if columns is not None and width != columns:
        raise ValueError(f"{name} is {rows}×{width}: give a matrix with {columns} columns.")
    if rows < min_rows:
        raise ValueError(f"{name} is {rows}×{width}: give {min_rows} or more rows.")
    return array


def _array(value: ArrayLike, name: str, ndim: int, wanted: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{name} is no array ({error}): give {wanted}.") from None
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} holds {array.dtype} entries: give {wanted}, of real numbers.")
    if array.ndim != ndim or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: give {wanted}, not empty.")
    with np.errstate(over="ignore"):  # a longer float type may hold more than float64; refused below
        array = array.astype(np.float64, copy=False)
    # One pass decides the usual case: a NaN fails every comparison.
    if not np.abs(array).max() <= LARGEST:
        where = np.unravel_index(np.argmax(~(np.abs(array) <= LARGEST)), array.shape)
        index = ", ".join(str(i) for i in where)
        raise ValueError(f"{name}[{index}] = {array[where]:g} is outside ±{LARGEST:g}: give finite numbers within it.")
    return array
