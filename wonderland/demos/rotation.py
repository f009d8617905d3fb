"""Chapter 3: the maps of the plane that keep distances, and those that do not."""

from dataclasses import dataclass
from functools import cache

import holoviews as hv
import numpy as np
import panel as pn
import param
from scipy.spatial.distance import pdist

from wonderland.demos.base import Claim, Demo, Readout
from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.parameters import Real, Whole
from wonderland.maths import orthogonal

POINTS, SPREAD, SEED = 80, 1.2, 42
LIMIT = 4.5


@dataclass(frozen=True)
class RotationMeasure:
    """What one map did to the cloud; points are rows, p×2."""

    matrix: np.ndarray
    before: np.ndarray
    after: np.ndarray
    pair_before: float
    pair_after: float
    largest_error: float
    determinant: float


@cache
def cloud() -> np.ndarray:
    """The 80 points of the chapter, p×2: standard normal times 1.2, seed 42."""
    return np.random.default_rng(SEED).normal(size=(POINTS, 2)) * SPREAD


def measure_map(A: np.ndarray, X: np.ndarray) -> RotationMeasure:
    """Map the rows of X (p×2) by A (2×2) and compare every pairwise distance before and after."""
    Y = X @ A.T
    before, after = pdist(X), pdist(Y)
    return RotationMeasure(
        matrix=A,
        before=X,
        after=Y,
        pair_before=float(before[0]),
        pair_after=float(after[0]),
        largest_error=float(np.abs(after - before).max()),
        determinant=float(np.linalg.det(A)),
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
        "angle": range(0, 361, 5),
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
        return measure_map(self.matrix(), cloud())

    def marks(self, result: RotationMeasure) -> Marks:
        return {
            "before": _points(result.before),
            "after": _points(result.after),
            "pair before": _segment(result.before),
            "pair after": _segment(result.after),
            "hand": _hand(result.matrix),
        }

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        ink = canvas.palette
        axes = {"xlim": (-LIMIT, LIMIT), "ylim": (-LIMIT, LIMIT), "square": True}
        ticks = {"xticks": [-4, -2, 0, 2, 4], "yticks": [-4, -2, 0, 2, 4]}
        dots = {"size": 5, "line_color": None}
        dashed = {"line_dash": "dashed", "line_width": 2}

        def before() -> list[hv.Element]:
            return [
                canvas.draw(hv.Points, "before", color=ink.original, **dots),
                canvas.draw(hv.Segments, "pair before", color=ink.original, **dashed),
            ]

        def after() -> list[hv.Element]:
            return [
                canvas.draw(hv.Points, "after", color=ink.rotated, **dots),
                canvas.draw(hv.Segments, "pair after", color=ink.rotated, **dashed),
            ]

        hand = canvas.draw(hv.Segments, "hand", color=ink.muted, line_width=1.5)
        return [
            canvas.picture(*before(), title="original", **axes, **ticks),
            canvas.picture(hand, *after(), title="mapped — drag to turn", on_drag=self._on_drag, **axes, **ticks),
            canvas.picture(*before(), *after(), title="overlay", **axes, **ticks),
        ]

    def readouts(self, result: RotationMeasure) -> list[Readout]:
        kept = result.largest_error < 1e-9
        return [
            Readout("dashed pair, before", f"{result.pair_before:.6f}", "original"),
            Readout("dashed pair, after", f"{result.pair_after:.6f}", "rotated"),
            Readout("largest change, all pairs", f"{result.largest_error:.2g}", "text", "ok" if kept else "off"),
            Readout("det, the area factor", f"{result.determinant:+.4f}", "text"),
        ]

    def describe(self, result: RotationMeasure) -> str:
        return (
            f"Three panels: a cloud of {len(result.before)} points, the cloud after a {self.map}, and both overlaid. "
            f"The dashed pair is {result.pair_before:.6f} apart before and {result.pair_after:.6f} after; over all "
            f"pairs the largest change of distance is {result.largest_error:.2g}. The determinant is "
            f"{result.determinant:.4f}."
        )

    def claims(self, result: RotationMeasure) -> list[Claim]:
        kept = result.largest_error < 1e-9
        return [
            Claim(
                "distances",
                "Rotation preserves the distance between points.",
                f"This {self.map} changes the distances of all {len(result.before) * (len(result.before) - 1) // 2} "
                f"pairs by at most {result.largest_error:.2g}.",
                "holds" if kept else "fails",
                tested=self.map in ("rotation", "reflection"),
            )
        ]

    def _on_drag(self, x: float, y: float, phase: str) -> None:
        pointer = np.degrees(np.arctan2(y, x))
        if phase == "start":
            self._grip = self.angle - pointer
        elif self.map in ("rotation", "reflection", "low rank"):
            self.angle = round((pointer + self._grip) % 360)


def _points(X: np.ndarray) -> dict[str, np.ndarray]:
    return {"x": X[:, 0], "y": X[:, 1]}


def _segment(X: np.ndarray) -> dict[str, list[float]]:
    return {"x0": [X[0, 0]], "y0": [X[0, 1]], "x1": [X[1, 0]], "y1": [X[1, 1]]}


def _hand(A: np.ndarray) -> dict[str, list[float]]:
    """Where the x axis went, as the hand of a clock."""
    tip = A @ [LIMIT, 0]
    return {"x0": [0.0], "y0": [0.0], "x1": [tip[0]], "y1": [tip[1]]}
