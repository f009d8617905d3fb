"""Parameters that refuse bad numbers in plain words."""

import math

import numpy as np
import param

from wonderland.maths import _check


def number(value: object, name: str, whole: bool = False, bounds: tuple | None = None) -> float | int:
    """`value` as a finite number within `bounds`; text that spells one is read.

    Raises
    ------
    ValueError
        With a message that names what was given and the range.
    """
    wanted = f"give {'a whole number' if whole else 'a number'}{_reach(bounds)}."
    if isinstance(value, str):
        text = value.strip().replace(",", "").replace("−", "-").replace("_", "")
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            given = f"“{value.strip()[:40]}”" if value.strip() else "empty"
            raise ValueError(f"{name} is {given}: {wanted}") from None
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise ValueError(f"{name} is {value!r}: {wanted}")
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an integer beyond what a float can hold
        finite = whole
    if not finite or (whole and value != int(value)):
        raise ValueError(f"{name} is {shown(value)}: {wanted}")
    low, high = bounds or (None, None)
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"{name} = {shown(value)} is out of range: {wanted}")
    return int(value) if whole else float(value)


def shown(value: float) -> str:
    """A number as it stands in a message or a text field: as long as anyone reads digits, written out."""
    if isinstance(value, int):
        return _check.shown(value)
    return f"{value:,.0f}" if 1e6 <= abs(value) < 1e16 else f"{value:g}"


def _reach(bounds: tuple | None) -> str:
    low, high = bounds or (None, None)
    if low is not None and high is not None:
        return f", {shown(low)}…{shown(high)}"
    if low is not None:
        return f", {shown(low)} or more"
    return f", {shown(high)} or less" if high is not None else ""


class Real(param.Number):
    """A finite real number; text that spells one is accepted."""

    whole = False

    def _validate(self, val: object) -> None:
        if val is None and self.allow_None:
            return
        number(val, self.spoken, self.whole, self.bounds)

    @property
    def spoken(self) -> str:
        """The name used in messages: the label, or the attribute's own name."""
        return self.label or self.name or "value"

    def __set__(self, obj: object, val: object) -> None:
        if isinstance(val, str):
            val = number(val, self.spoken, self.whole, self.bounds)
        super().__set__(obj, val)


class Whole(Real, param.Integer):
    """A whole number; text that spells one is accepted."""

    whole = True


class Matrix(param.Array):
    """A finite matrix of numbers, float64; nested lists are accepted."""

    def _validate(self, val: object) -> None:
        if val is None and self.allow_None:
            return
        name = self.label or self.name or "matrix"
        try:
            array = np.asarray(val, dtype=float)
        except (TypeError, ValueError):
            raise ValueError(f"{name} holds something that is not a number.") from None
        if array.ndim != 2 or not array.size:
            raise ValueError(f"{name} has shape {array.shape}: give a matrix with at least one row and column.")
        if not np.isfinite(array).all():
            row, column = np.argwhere(~np.isfinite(array))[0]
            raise ValueError(
                f"{name}, row {row + 1}, column {column + 1} is {array[row, column]}: give finite numbers."
            )

    def __set__(self, obj: object, val: object) -> None:
        self._validate(val)
        super().__set__(obj, None if val is None else np.array(val, dtype=float))


class Choice(param.Selector):
    """One of a few options, shown as a row of buttons."""
