"""A gradient in the plane beside a critical line: its parts, its shape and its names on the picture."""

from dataclasses import dataclass

import numpy as np

from wonderland.demos.amounts import minus
from wonderland.demos.canvas import Columns
from wonderland.maths import orthogonal
from wonderland.theme import Palette

LIMIT = 3.0
"""Where the picture's axes end."""
SHORT = 0.02
"""An arrow below this length is none that could be seen."""
# Half of a name's width and height in the picture's units, on a phone, and the air around it.
_HALF_NAME, _AIR = np.array([0.7, 0.17]), 0.12


@dataclass(frozen=True)
class ArrowMeasure:
    """A gradient in the plane, taken apart along a critical direction.

    Parameters
    ----------
    degrees
        Angle of the critical line.
    direction
        Unit vector c along it.
    gradient, projection, safe
        g, its part along c, and what is left of it, each of 2 components.
    reduction
        1 − ‖safe‖ / ‖g‖, and 0 for a zero gradient.
    """

    degrees: float
    direction: np.ndarray
    gradient: np.ndarray
    projection: np.ndarray
    safe: np.ndarray
    reduction: float


def take_apart(g: np.ndarray, degrees: float) -> ArrowMeasure:
    """Split g (2 components) into its part along the line at this angle and the part across it."""
    c = orthogonal.rotation(degrees)[:, 0]
    projection = (c @ g) * c
    safe = g - projection
    length = np.linalg.norm(g)
    reduction = 1 - np.linalg.norm(safe) / length if length else 0.0
    return ArrowMeasure(degrees, c, g, projection, safe, float(reduction))


def segments(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Columns:
    """The columns of lines from point to point, each of 2 components."""
    ends = np.array(pairs, dtype=float).reshape(-1, 4)
    return {name: ends[:, i] for i, name in enumerate(("x0", "y0", "x1", "y1"))}


def arrow_shape(tip: np.ndarray) -> Columns:
    """Shaft and two barbs of an arrow from the origin; its tip is where the first segment ends."""
    length = np.linalg.norm(tip)
    barb = min(0.26, 0.4 * length) * tip / length if length else tip
    return segments([(0 * tip, tip), *((tip - orthogonal.rotation(turn) @ barb, tip) for turn in (28, -28))])


def arrow_names(arrow: ArrowMeasure, ink: Palette) -> Columns:
    """A name at each arrow and one at the critical line, where it covers no other name and as few lines as can be."""
    g, c = arrow.gradient, arrow.direction
    across, long = np.array([-c[1], c[0]]), np.linalg.norm(g) > 0.3
    free = -1.0 if c @ g > 0 else 1.0  # the end of the line that the gradient leaves free
    lost = long and np.linalg.norm(arrow.safe) < SHORT
    ends = [(-2 * LIMIT * c, 2 * LIMIT * c), *((0 * g, tip) for tip in (g, arrow.projection, arrow.safe))]
    along = np.linspace(0, 1, 60)[:, None]
    lines = np.concatenate([start + along * (end - start) for start, end in ends])
    wanted = [
        ("critical", _around(free * 2.3 * c, across), ink.critical, True),
        ("gradient", _around(g, g), ink.muted, long),
        ("projection", _around(arrow.projection, c), ink.lora, np.linalg.norm(arrow.projection) > 0.2),
        (
            "safe: none" if lost else "safe",
            _around(arrow.safe, arrow.safe),
            ink.safe,
            long and (lost or np.linalg.norm(arrow.safe) > 0.1),
        ),
    ]
    names: list[tuple[float, float, str, str]] = []
    for text, places, color, there in wanted:
        clear = (np.abs(places) + _HALF_NAME <= LIMIT).all(axis=1)
        for x, y, other, _ in names:
            clear &= (np.abs(places - (x, y)) > 2 * _HALF_NAME).any(axis=1) | (not other)
        covered = (np.abs(lines - places[:, None]) < _HALF_NAME).all(axis=2).sum(axis=1)
        best = np.argmin(np.where(clear, covered, np.inf))
        names.append((*places[best], text if there and clear.any() else "", color))
    x, y, texts, inks = zip(*names, strict=True)
    return {"x": list(x), "y": list(y), "text": list(texts), "ink": list(inks)}


def _around(tip: np.ndarray, onward: np.ndarray) -> np.ndarray:
    """Places for a name around the tip of an arrow, 24×2: straight onward first, then ever more to the sides."""
    turns = np.radians([sign * 15 * step for step in range(12) for sign in (1, -1)]) + np.arctan2(onward[1], onward[0])
    ways = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return tip + ways * (np.abs(ways) @ _HALF_NAME + _AIR)[:, None]


def pair(v: np.ndarray) -> str:
    """A vector of 2 components as text, to two decimals."""
    x, y = np.round(v, 2) + 0.0  # + 0.0 turns −0 into 0
    return minus(f"({x:.2f}, {y:.2f})")
