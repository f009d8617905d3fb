"""Which states of a demo a recording holds."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from param.parameterized import discard_events

from wonderland.demos.base import Demo

MOST = 20_000
"""States of one demo that a file holds at most."""
COMBINATIONS = 250_000
"""Combinations of its axes that are looked through: many may be one state, as where a control does nothing."""


@dataclass(frozen=True)
class Axis:
    """The recorded values of a parameter, or of several that move together.

    Parameters
    ----------
    names
        The parameters.
    values
        For every place on the axis a value of each.
    start
        The place of the demo's own state.
    """

    names: tuple[str, ...]
    values: tuple[tuple, ...]
    start: int

    def __len__(self) -> int:
        return len(self.values)

    @property
    def spoken(self) -> str:
        """The axis in a message."""
        return "/".join(self.names)

    def settings(self, place: int) -> dict[str, Any]:
        """The parameters at that place."""
        return dict(zip(self.names, self.values[place], strict=True))

    def nearest(self, demo: Demo) -> int:
        """The place that the demo's present state is at, or is nearest to where its parameters are numbers."""
        return _nearest(tuple(getattr(demo, name) for name in self.names), self.values)


def axes_of(demo: Demo) -> list[Axis]:
    """The axes of a demo; its present state is on them.

    Raises
    ------
    ValueError
        If an axis is none of the demo's parameters, or is empty.
    """
    axes = []
    for key, entries in demo.axes.items():
        names = key if isinstance(key, tuple) else (key,)
        for name in names:
            if name not in demo.state_names():
                raise ValueError(f"{type(demo).__name__}.axes has {name!r}: it is no parameter of the demo’s state.")
        values = [tuple(map(_plain, entry if isinstance(key, tuple) else (entry,))) for entry in entries]
        if not values:
            raise ValueError(f"{type(demo).__name__}.axes has no value for {'/'.join(names)}: give it some.")
        here = tuple(_plain(getattr(demo, name)) for name in names)
        if not any(_same(here, value) for value in values):
            values.append(here)
            if all(isinstance(value, int | float) for row in values for value in row):
                values.sort()
        axes.append(Axis(names, tuple(values), next(n for n, value in enumerate(values) if _same(here, value))))
    return axes


def views_of(demo: Demo, axes: list[Axis]) -> list[list[int]]:
    """The groups of axes whose combinations are recorded, as indices into `axes`.

    Raises
    ------
    ValueError
        If there are more combinations than are looked through, or a group names what is no axis.
    """
    place = {name: n for n, axis in enumerate(axes) for name in axis.names}
    for name in (name for group in demo.apart for name in group):
        if name not in place:
            raise ValueError(f"{type(demo).__name__}.apart has {name!r}: it is none of its axes.")
    groups = [{place[name] for name in group} for group in demo.apart]
    shared = set(range(len(axes))).difference(*groups)
    views = [sorted(group | shared) for group in groups] or [sorted(shared)]
    refuse_many(demo, axes, [math.prod(len(axes[n]) for n in view) for view in views], views, COMBINATIONS)
    return views


def refuse_many(demo: Demo, axes: list[Axis], counts: list[int], views: list[list[int]], most: int = MOST) -> None:
    """Raise ValueError if there are more states in the groups of axes than a file can hold, and say what to reduce.

    Where `most` is not `MOST`, what is counted are combinations, not all of which need be states.
    """
    if sum(counts) <= most:
        return
    what = "states to record" if most == MOST else f"combinations of its axes, where {most:,} are looked through"
    view = views[counts.index(max(counts))]
    longest = max((axes[n] for n in view), key=len)
    product = " × ".join(f"{axes[n].spoken} ({len(axes[n])})" for n in view)
    raise ValueError(
        f"{type(demo).__name__} has {sum(counts):,} {what}, {product}; a file holds at most {MOST:,} states of a demo. "
        f"Give {longest.spoken} fewer values than its {len(longest)} in {type(demo).__name__}.axes, or set it apart."
    )


class Walk:
    """Every combination of some axes, the others at their start.

    Parameters
    ----------
    demo
        Asked which controls do something where; it is moved without measuring anything.
    axes, view
        All axes, and which of them are combined.
    """

    def __init__(self, demo: Demo, axes: list[Axis], view: list[int]) -> None:
        self.axes, self.view = axes, view
        self.shape = tuple(len(axes[n]) for n in view)
        self.idle = {n: np.zeros(self.shape, dtype=bool) for n in view}
        """For every axis, where it does nothing."""
        with discard_events(demo):
            for index in np.ndindex(self.shape):
                for name, value in self.settings(index).items():
                    setattr(demo, name, value)
                for n in view:
                    self.idle[n][index] = not any(demo.offered(name) for name in axes[n].names)

    def settings(self, index: tuple[int, ...]) -> dict[str, Any]:
        """All parameters on the axes at a combination."""
        places = dict(zip(self.view, index, strict=True))
        settings: dict[str, Any] = {}
        for n, axis in enumerate(self.axes):
            settings |= axis.settings(places.get(n, axis.start))
        return settings

    def first(self, index: tuple[int, ...]) -> tuple[int, ...]:
        """The combination that stands for this one: what does nothing is where it started."""
        return tuple(self.axes[n].start if self.idle[n][index] else at for n, at in zip(self.view, index, strict=True))

    def states(self) -> list[tuple[int, ...]]:
        """The combinations that differ."""
        return [index for index in np.ndindex(self.shape) if self.first(index) == index]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _same(one: tuple, other: tuple) -> bool:
    return all(
        math.isclose(a, b, abs_tol=1e-9) if isinstance(a, float) or isinstance(b, float) else a == b
        for a, b in zip(one, other, strict=True)
    )


def _nearest(value: tuple, values: tuple[tuple, ...]) -> int:
    for place, recorded in enumerate(values):
        if _same(value, recorded):
            return place
    try:
        gaps = [math.dist(value, recorded) for recorded in values]
    except TypeError:
        raise ValueError(f"{value} is none of the recorded values.") from None
    return int(np.argmin(gaps))
