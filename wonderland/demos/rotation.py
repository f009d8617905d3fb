"""Chapter 3: the maps of the plane that keep distances, and those that do not."""

from dataclasses import dataclass
from functools import cache

import holoviews as hv
import numpy as np
import panel as pn
import param
from scipy.spatial.distance import pdist

from wonderland.demos.amounts import many, plain
from wonderland.demos.base import Claim, Demo, Readout
from wonderland.demos.canvas import HINT, Canvas, Marks
from wonderland.demos.parameters import Real, Whole
from wonderland.maths import orthogonal

POINTS, SPREAD, SEED = 80, 1.2, 42
LIMIT = 4.5
TURNING = ("rotation", "reflection", "low rank")
"""The maps that have an angle; the others have an amount."""


@dataclass(frozen=True)
class RotationMeasure:
    """What one map did to the cloud; points are rows, p×2."""

    map: str
    matrix: np.ndarray
    before: np.ndarray
    after: np.ndarray
    pair_before: float
    pair_after: float
    largest_error: float
    determinant: float
    outside: int
    """Points that lie outside the pictures, beyond ±4.5."""


@cache
def cloud() -> np.ndarray:
    """The 80 points of the chapter, p×2: standard normal times 1.2, seed 42."""
    return np.random.default_rng(SEED).normal(size=(POINTS, 2)) * SPREAD


def measure_map(A: np.ndarray, X: np.ndarray, name: str) -> RotationMeasure:
    """Map the rows of X (p×2) by A (2×2), called `name`, and compare every pairwise distance before and after."""
    Y = X @ A.T
    before, after = pdist(X), pdist(Y)
    return RotationMeasure(
        map=name,
        matrix=A,
        before=X,
        after=Y,
        pair_before=float(before[0]),
        pair_after=float(after[0]),
        largest_error=float(np.abs(after - before).max()),
        determinant=float(np.linalg.det(A)),
        outside=int((np.abs(Y) > LIMIT).any(axis=1).sum()),
    )


class RotationDemo(Demo):
    """Orthogonal maps of the plane keep every pairwise distance; others do not."""

    map = param.Selector(
        default="rotation",
        objects=["rotation", "reflection", "shear", "scaling", "low rank"],
        label="Map",
        doc="Which linear map of the plane acts on the cloud.",
    )
    angle = Whole(
        default=45,
        bounds=(0, 360),
        step=1,
        label="Angle in degrees",
        doc="Angle of the rotation, of the mirror, or of the line that a low-rank map falls on.",
    )
    amount = Real(
        default=0.5,
        bounds=(-2, 2),
        step=0.1,
        label="Shear or stretch",
        doc="How far a shear slides, or by how much a scaling stretches one axis and shrinks the other.",
    )

    title = "The turning table"
    wide = True
    controls = ("map", "angle", "amount")
    code = (measure_map, orthogonal.rotation)
    axes = {
        "map": ("rotation", "reflection", "shear", "scaling", "low rank"),
        "angle": range(0, 361, 3),
        "amount": [round(-2 + 0.1 * n, 1) for n in range(41)],
    }

    def matrix(self) -> np.ndarray:
        """The chosen map, 2×2."""
        if self.map == "rotation":
            return orthogonal.rotation(self.angle)
        if self.map == "reflection":
            return orthogonal.reflection(self.angle)
        if self.map == "shear":
            return orthogonal.shear(self.amount)
        if self.map == "scaling":
            return orthogonal.scaling(2.0**self.amount, 2.0**-self.amount)
        return orthogonal.line_projection(self.angle)

    def measure(self) -> RotationMeasure:
        return measure_map(self.matrix(), cloud(), self.map)

    def marks(self, result: RotationMeasure) -> Marks:
        return {
            "before": _points(result.before),
            "after": _points(result.after),
            "pair before": _segment(result.before),
            "pair after": _segment(result.after),
            "ends before": _points(result.before[:2]),
            "ends after": _points(result.after[:2]),
            "hand": _hand(result.matrix),
            HINT: _line("drag to turn" if result.map in TURNING else "", LIMIT - 0.24),
            "outside": _line(f"{many(result.outside, 'point')} outside" if result.outside else "", 0.24 - LIMIT),
        }

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        ink = canvas.palette
        axes = {"xlim": (-LIMIT, LIMIT), "ylim": (-LIMIT, LIMIT), "square": True}
        ticks = {"xticks": [-4, -2, 0, 2, 4], "yticks": [-4, -2, 0, 2, 4]}
        dots = {"size": 5, "line_color": None}
        dashed = {"line_dash": "9 5", "line_width": 3}
        rings = {"size": 14, "fill_alpha": 0, "line_width": 2.5}
        words = {"text_font_size": "13px", "text_align": "left", "text_baseline": "middle", "text_color": ink.muted}

        def before() -> list[hv.Element]:
            return [
                canvas.draw(hv.Points, "before", color=ink.original, **dots),
                canvas.draw(hv.Segments, "pair before", color=ink.text, **dashed),
                canvas.draw(hv.Points, "ends before", line_color=ink.original, **rings),
            ]

        def after() -> list[hv.Element]:
            return [
                canvas.draw(hv.Points, "after", color=ink.rotated, **dots),
                canvas.draw(hv.Segments, "pair after", color=ink.text, **dashed),
                canvas.draw(hv.Points, "ends after", line_color=ink.rotated, **rings),
                canvas.draw(hv.Labels, "outside", **words),
            ]

        hint = canvas.draw(hv.Labels, HINT, **words)
        hand = canvas.draw(hv.Segments, "hand", color=ink.muted, line_width=1.5)
        return [
            canvas.picture(*before(), title="original", **axes, **ticks),
            canvas.picture(hand, *after(), hint, title="mapped", on_drag=self._on_drag, **axes, **ticks),
            canvas.picture(*before(), *after(), title="overlay", **axes, **ticks),
        ]

    def readouts(self, result: RotationMeasure) -> list[Readout]:
        kept = result.largest_error < 1e-9
        return [
            Readout("dashed pair, before", f"{result.pair_before:.6f}", "original"),
            Readout("dashed pair, after", f"{result.pair_after:.6f}", "rotated"),
            Readout("largest change, all pairs", plain(result.largest_error), "text", "ok" if kept else "off"),
            Readout("det, the area factor", f"{result.determinant:+.4f}", "text"),
        ]

    def describe(self, result: RotationMeasure) -> str:
        return (
            f"Three panels: a cloud of {len(result.before)} points, the cloud after a {result.map}, and both overlaid. "
            f"The dashed pair is {result.pair_before:.6f} apart before and {result.pair_after:.6f} after; over all "
            f"pairs the largest change of distance is {plain(result.largest_error)}. The determinant is "
            f"{result.determinant:.4f}. {result.outside} points of the image lie outside the pictures."
        )

    def claims(self, result: RotationMeasure) -> list[Claim]:
        if result.map not in ("rotation", "reflection"):  # what a shear does says nothing of rotations
            return []
        pairs, largest = len(result.before) * (len(result.before) - 1) // 2, plain(result.largest_error)
        return [
            Claim(
                "distances",
                "Rotation preserves the distance between points.",
                f"This {result.map} changes the distances of all {pairs:,} pairs by at most {largest}.",
                "holds" if result.largest_error < 1e-9 else "fails",
            )
        ]

    def offered(self, name: str) -> bool:
        """A map has an angle or an amount."""
        return (self.map in TURNING) == (name == "angle") if name in ("angle", "amount") else True

    def _controls(self) -> pn.Column:
        column = super()._controls()
        _, angle, amount, *_ = column

        def show(*_: object) -> None:
            """Offer only what does something to the map chosen."""
            angle.visible, amount.visible = self.offered("angle"), self.offered("amount")

        self.param.watch(show, "map")
        show()
        return column

    def _on_drag(self, x: float, y: float, phase: str) -> None:
        pointer = np.degrees(np.arctan2(y, x))
        if phase == "start":
            self._grip = self.angle - pointer
        elif phase == "move" and self.map in TURNING:
            self.angle = round((pointer + self._grip) % 360)


def _points(X: np.ndarray) -> dict[str, np.ndarray]:
    return {"x": X[:, 0], "y": X[:, 1]}


def _line(text: str, y: float) -> dict[str, list]:
    """A line of words from the left edge of a picture."""
    return {"x": [0.25 - LIMIT], "y": [y], "text": [text]}


def _segment(X: np.ndarray) -> dict[str, list[float]]:
    return {"x0": [X[0, 0]], "y0": [X[0, 1]], "x1": [X[1, 0]], "y1": [X[1, 1]]}


def _hand(A: np.ndarray) -> dict[str, list[float]]:
    """Where the x axis went, as the hand of a clock."""
    tip = A @ [LIMIT, 0]
    return {"x0": [0.0], "y0": [0.0], "x1": [tip[0]], "y1": [tip[1]]}
