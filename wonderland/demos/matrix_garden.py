"""Chapter 2: an orthogonal matrix, and how to catch one that is not."""

from dataclasses import dataclass
from functools import cache

import holoviews as hv
import numpy as np
import panel as pn
import param

from wonderland.demos.amounts import minus, plain, scientific
from wonderland.demos.base import Claim, Demo, Readout
from wonderland.demos.canvas import Canvas, Columns, Marks
from wonderland.demos.parameters import Choice, Matrix, Real, Whole
from wonderland.maths import orthogonal
from wonderland.theme import Palette, mixed, palette

SMALLEST, LARGEST = 2, 8
VECTORS, DRAWS = 100, 200
STRICT = 1e-10
"""Below this error of QᵀQ − I a matrix is called orthogonal."""
NEAR_ONE = 0.01
"""A diagonal cell of QᵀQ this near 1 is green."""
HUGE = 1e6
ROTATION = "An orthogonal matrix has determinant ±1: it is a rotation."
# Mixed no further than this into the panel, both themes' text stays above 4.5:1 on every cell.
STRENGTH, GREEN = 0.55, 0.4


@dataclass(frozen=True)
class GardenMeasure:
    """What makes a square matrix orthogonal, measured; Q and QᵀQ are n×n."""

    Q: np.ndarray
    gram: np.ndarray
    error: float
    determinant: float
    singular_values: np.ndarray
    norm_change: float
    angle_change: float
    """In degrees; NaN where a vector has no image to measure an angle with."""
    moved: float
    """How far the repair moved Q, in the Frobenius norm."""
    origin: str
    """How Q was made, in words."""
    repair: str

    @property
    def is_orthogonal(self) -> bool:
        """Whether no cell of QᵀQ − I is as large as 1e-10."""
        return self.error < STRICT


class SquareMatrix(Matrix):
    """A square matrix of order 2…8, entries within ±1e6."""

    def _validate(self, val: object) -> None:
        super()._validate(val)
        if val is None:
            return
        array = np.asarray(val, dtype=float)
        name = self.label or self.name
        rows, columns = array.shape
        if rows != columns or not SMALLEST <= rows <= LARGEST:
            raise ValueError(
                f"{name} is {rows}×{columns}: give a square matrix, {SMALLEST}×{SMALLEST}…{LARGEST}×{LARGEST}."
            )
        if np.abs(array).max() > HUGE:
            row, column = np.argwhere(np.abs(array) > HUGE)[0]
            raise ValueError(
                f"{name}, row {row + 1}, column {column + 1} is {array[row, column]:g}: give a number, "
                f"−{HUGE:,.0f}…{HUGE:,.0f}."
            )


def measure_matrix(Q: np.ndarray, broken: np.ndarray, X: np.ndarray, origin: str, repair: str) -> GardenMeasure:
    """Measure Q (n×n), which was `broken` before its repair, on the random vectors in the rows of X (p×n)."""
    return GardenMeasure(
        Q=Q,
        gram=Q.T @ Q,
        error=orthogonal.orthogonality_error(Q),
        determinant=float(np.linalg.det(Q)),
        singular_values=np.linalg.svd(Q, compute_uv=False),
        norm_change=orthogonal.norm_change(Q, X),
        angle_change=orthogonal.angle_change(Q, X) if (X @ Q.T).any(axis=1).all() else np.nan,
        moved=float(np.linalg.norm(Q - broken)),
        origin=origin,
        repair=repair,
    )


@cache
def vectors(n: int) -> np.ndarray:
    """The random vectors that every n×n matrix is tried on, 100×n."""
    return np.random.default_rng(n).standard_normal((VECTORS, n))


@cache
def reflections(n: int) -> int:
    """How many of the first 200 seeds draw a reflection, det −1."""
    draws = (orthogonal.haar(n, np.random.default_rng(seed)) for seed in range(DRAWS))
    return sum(int(np.linalg.det(Q) < 0) for Q in draws)


class MatrixGarden(Demo):
    """A random, built, broken or repaired square matrix Q beside QᵀQ, which tells whether Q is orthogonal."""

    build = param.Selector(
        default="random (Haar)",
        objects=["random (Haar)", "exact Cayley", "five-term series"],
        label="Q is made by",
        doc="A fair draw from all orthogonal matrices, or a rotation made of a random skew matrix S.",
    )
    size = Whole(default=4, bounds=(SMALLEST, LARGEST), step=1, label="Size", doc="Rows and columns of Q.")
    norm = Real(
        default=0.3,
        bounds=(0, 1.5),
        step=0.05,
        label="‖S‖, for Cayley and the series",
        doc="Largest singular value of the skew matrix S that Cayley’s formula turns into Q.",
    )
    # An address is read in this order: a new draw drops an edit, and an edit drops a repair.
    seed = Whole(default=0, bounds=(0, 999_999), label="Seed", doc="Number of the draw.")
    shuffle = param.Event(label="Shuffle the cards", doc="Draw the next seed; an edit is dropped.")
    edited = SquareMatrix(
        default=None, allow_None=True, label="Q", doc="A matrix of your own, in place of the one that was drawn."
    )
    repair = Choice(
        default="as it is",
        objects=["as it is", "by QR", "polar factor"],
        label="Repair Q",
        doc="Straighten the columns one after the other (QR), or take the nearest orthogonal matrix (polar factor).",
    )

    title = "The Queen’s garden"
    wide = True
    controls = ("build", "size", "norm", "shuffle", "repair")
    more = ("edited", "seed")
    code = (measure_matrix, orthogonal.haar, orthogonal.cayley, orthogonal.cayley_neumann)
    axes = {
        "build": ("random (Haar)", "exact Cayley", "five-term series"),
        "size": range(SMALLEST, LARGEST + 1),
        "norm": (0, 0.3, 0.6, 0.9, 1.2, 1.5),
        "repair": ("as it is", "by QR", "polar factor"),
        "seed": range(4),
    }
    presses = ("shuffle",)

    def __init__(self, **params: object) -> None:
        super().__init__(**params)
        if self.edited is not None:
            self.size = len(self.edited)
        self.param.watch(self._on_change, ["build", "size", "norm", "seed", "edited", "repair"])
        self.param.watch(self._on_shuffle, "shuffle")

    def offered(self, name: str) -> bool:
        """A fair draw is made of no S."""
        return name != "norm" or self.build != "random (Haar)"

    def matrix_shown(self, name: str) -> np.ndarray:
        """The matrix that the number boxes show and change: Q as it stands in the picture."""
        return self.result.Q

    def built(self) -> np.ndarray:
        """Q as drawn or built, before any edit or repair, n×n."""
        rng = np.random.default_rng(self.seed)
        if self.build == "random (Haar)":
            return orthogonal.haar(self.size, rng)
        S = orthogonal.random_skew(self.size, self.norm, rng)
        return orthogonal.cayley(S) if self.build == "exact Cayley" else orthogonal.cayley_neumann(S)

    def measure(self) -> GardenMeasure:
        edited = self.edited is not None and len(self.edited) == self.size
        broken = self.edited if edited else self.built()
        repair = {"as it is": np.copy, "by QR": orthogonal.repair_qr, "polar factor": orthogonal.repair_polar}
        try:
            Q = repair[self.repair](broken)
        except ValueError as error:  # the library calls its argument A
            raise ValueError(str(error).replace("A is", "Q is", 1)) from None
        return measure_matrix(Q, broken, vectors(self.size), "edited by hand" if edited else self.build, self.repair)

    def marks(self, result: GardenMeasure) -> Marks:
        ink = palette(self.dark)
        green = np.eye(len(result.gram), dtype=bool) & (np.abs(result.gram - 1) <= NEAR_ONE)
        return {
            "Q cells": _cells(result.Q, ink),
            "Q numbers": _numbers(result.Q),
            "QTQ cells": _cells(result.gram, ink, green),
            "QTQ numbers": _numbers(result.gram),
        }

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        ink = canvas.palette
        frame = {"xlim": (0, 1), "ylim": (0, 1), "square": True, "bare": True}

        def map_of(name: str) -> list[hv.Element]:
            return [
                canvas.draw(
                    hv.Rectangles, f"{name} cells", fields={"fill_color": "ink"}, line_color=ink.panel, line_width=2
                ),
                canvas.draw(hv.Labels, f"{name} numbers", text_color=ink.text, text_font_size="13px"),
            ]

        return [
            canvas.picture(
                *map_of("Q"), title="Q: blue +, red −", hint="click to flip a sign", on_tap=self._on_tap, **frame
            ),
            canvas.picture(*map_of("QTQ"), title="QᵀQ — green: within 0.01 of 1", **frame),
        ]

    def readouts(self, result: GardenMeasure) -> list[Readout]:
        sigma = result.singular_values
        shown = [
            Readout("determinant", _signed(result.determinant)),
            Readout("largest error of QᵀQ − I", plain(result.error)),
            Readout(
                "orthogonal (error < 1e-10)",
                "yes" if result.is_orthogonal else "no",
                verdict="ok" if result.is_orthogonal else "off",
            ),
            Readout(f"‖x‖ changes by at most, {VECTORS} random x", f"{plain(100 * result.norm_change)}%"),
            Readout("angles change by at most", _degrees(result.angle_change)),
            Readout("singular values", f"{sigma[-1]:.4f}…{sigma[0]:.4f}"),
        ]
        if result.repair != "as it is":
            shown.append(Readout("the repair moved Q by", f"{result.moved:.4f}", "safe"))
        return shown

    def describe(self, result: GardenMeasure) -> str:
        n = len(result.Q)
        diagonal = ", ".join(f"{value:.3f}" for value in np.diag(result.gram))
        repaired = "" if result.repair == "as it is" else f", repaired ({result.repair})"
        return (
            f"Two heat maps of {n} by {n} numbers. Left Q, {result.origin}{repaired}; its determinant is "
            f"{result.determinant:.6f}. Right the product of Q transposed with Q: its diagonal is {diagonal}, and it "
            f"differs from the identity by at most {plain(result.error)}, so Q is "
            f"{'' if result.is_orthogonal else 'not '}orthogonal."
        )

    def claims(self, result: GardenMeasure) -> list[Claim]:
        lengths, angles = result.norm_change < STRICT, result.angle_change < STRICT
        kept = [
            Claim(
                "norm-angles",
                "“Preserves Norm: True. Preserves Angles: True.” — printed for every Q.",
                f"Over {VECTORS} random vectors this Q changes a length by at most "
                f"{plain(100 * result.norm_change)}% and an angle by at most {_degrees(result.angle_change)}.",
                "holds" if lengths and angles else "partly" if lengths or angles else "fails",
            )
        ]
        if not result.is_orthogonal:
            return kept
        kind = "a rotation" if result.determinant > 0 else "a reflection"
        this = f"This one has determinant {_signed(result.determinant)}: {kind}."
        if result.origin == "exact Cayley":
            found = Claim("rotation-det", ROTATION, f"{this} Cayley’s formula makes no other kind.", "holds")
        else:
            count = reflections(len(result.Q))
            share = f"Of the draws from seeds 0…{DRAWS - 1}, {count} of {DRAWS} are reflections."
            found = Claim("rotation-det", ROTATION, f"{this} {share}", "partly")
        return [*kept, found]

    def _on_change(self, *events: param.parameterized.Event) -> None:
        """Keep one meaning for every state: an edit sets the size; anything that draws anew drops the edit."""
        changed = {event.name for event in events}
        if "edited" in changed:
            if "repair" not in changed:
                self.repair = "as it is"  # what was edited is the repaired matrix
            if self.edited is not None:
                self.size = len(self.edited)
        elif self.edited is not None and (changed & {"build", "norm", "seed"} or len(self.edited) != self.size):
            self.edited = None

    def _on_shuffle(self, _: param.parameterized.Event) -> None:
        self.seed = (self.seed + 1) % (self.param.seed.bounds[1] + 1)

    def _on_tap(self, x: float, y: float) -> None:
        if not (0 <= x < 1 and 0 < y <= 1):
            return
        Q = self.result.Q.copy()
        row, column = int((1 - y) * len(Q)), int(x * len(Q))
        Q[row, column] *= -1
        self.edited = None if np.array_equal(Q, self.built()) else Q


def _signed(determinant: float) -> str:
    return minus(f"{determinant:+.6f}")


def _degrees(angle: float) -> str:
    return "none is left" if np.isnan(angle) else f"{plain(angle)}°"


def _cells(A: np.ndarray, ink: Palette, green: np.ndarray | None = None) -> Columns:
    """The unit square cut into the cells of A, row by row from the top, colored red to blue over −1…1."""
    n = len(A)
    row, column = np.divmod(np.arange(n * n), n)
    share = np.round(np.clip(A.ravel(), -1, 1) * STRENGTH, 2).tolist()
    inks = [mixed(ink.panel, ink.original if value > 0 else ink.critical, abs(value)) for value in share]
    for i in np.flatnonzero(green if green is not None else []):
        inks[i] = mixed(ink.panel, ink.safe, GREEN)
    return {"x0": column / n, "y0": 1 - (row + 1) / n, "x1": (column + 1) / n, "y1": 1 - row / n, "ink": inks}


def _numbers(A: np.ndarray) -> Columns:
    n = len(A)
    row, column = np.divmod(np.arange(n * n), n)
    text = [_decimals(value, bare=n > 6) for value in A.ravel()]
    return {"x": (column + 0.5) / n, "y": 1 - (row + 0.5) / n, "text": text}


def _decimals(value: float, bare: bool) -> str:
    """Three decimals; where cells are narrow, without the zero before the point; of large numbers what fits."""
    if abs(value) >= 1000:
        return minus(f"{value:.0f}" if abs(value) < 1e5 else scientific(value, 0))
    text = f"{value:.3f}".replace("-0.000", "0.000")
    if bare and abs(value) < 0.9995:
        text = text.replace("0.", ".", 1)
    return minus(text)
