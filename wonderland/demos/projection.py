"""Chapter 7: the part of a gradient that avoids a critical direction, for an arrow and for a matrix."""

from dataclasses import dataclass

import holoviews as hv
import numpy as np
import panel as pn
import param

from wonderland.demos import jobs
from wonderland.demos.base import Claim, Demo, Readout
from wonderland.demos.blocks import (
    STEP,
    BlockMeasure,
    EngineMeasure,
    block_marks,
    block_picture,
    measure_blocks,
    measure_engine,
    percent,
    sketch,
)
from wonderland.demos.canvas import Canvas, Columns, Marks
from wonderland.demos.parameters import Choice, Real, Whole
from wonderland.maths import orthogonal, subspace
from wonderland.theme import Palette, palette

LIMIT = 3.0
REACH = 2.0
"""Largest component of the gradient."""
_DIRECTION = float(np.degrees(np.arctan2(0.5, 1)))


@dataclass(frozen=True)
class ArrowMeasure:
    """A gradient in the plane, taken apart along a critical direction.

    Parameters
    ----------
    direction
        Unit vector c along the critical line.
    gradient, projection, safe
        g, its part along c, and what is left of it, each of 2 components.
    reduction
        1 − ‖safe‖ / ‖g‖, and 0 for a zero gradient.
    """

    direction: np.ndarray
    gradient: np.ndarray
    projection: np.ndarray
    safe: np.ndarray
    reduction: float


@dataclass(frozen=True)
class ProjectionMeasure:
    """Both views; `engine` is None while torch is being loaded, and where k leaves nothing to protect or to train."""

    arrow: ArrowMeasure
    matrix: BlockMeasure
    engine: EngineMeasure | None


def take_apart(g: np.ndarray, degrees: float) -> ArrowMeasure:
    """Split g (2 components) into its part along the line at this angle and the part across it."""
    c = orthogonal.rotation(degrees)[:, 0]
    projection = (c @ g) * c
    safe = g - projection
    length = np.linalg.norm(g)
    reduction = 1 - np.linalg.norm(safe) / length if length else 0.0
    return ArrowMeasure(c, g, projection, safe, float(reduction))


class ProjectionDemo(Demo):
    """What is left of a gradient that may not move along a critical direction."""

    gx = Real(default=0.5, bounds=(-REACH, REACH), step=0.1, label="Gradient x", doc="First component.")
    gy = Real(default=0.8, bounds=(-REACH, REACH), step=0.1, label="Gradient y", doc="Second component.")
    direction = Real(
        default=_DIRECTION,
        bounds=(0, 180),
        step=1,
        label="Critical line, in degrees",
        doc="Angle of the line that the update may not move along; at first that of (1, 0.5).",
    )
    rule = Choice(
        default="joint",
        objects=list(subspace.RULES),
        label="Rule for the matrix",
        doc="Which blocks of the matrix gradient are struck out.",
    )
    k = Whole(default=8, bounds=(0, 40), label="Protected directions k", doc="How many on each side of the weight.")
    size = Whole(default=32, bounds=(2, 40), label="Size of the matrix", doc="Rows, and as many columns.")
    seed = Whole(default=1, bounds=(0, 10**6), label="Seed", doc="Draws the weight and its gradient.")
    another = param.Event(label="Draw another", doc="Draw the next weight and gradient.")

    title = "The signpost"
    wide = True
    controls = ("gx", "gy", "direction", "rule", "k")
    more = ("size", "seed", "another")
    code = (take_apart, subspace.project)
    axes = {
        "gx": np.round(np.arange(-20, 21) / 10, 1),
        "gy": np.round(np.arange(-20, 21) / 10, 1),
        "direction": range(0, 181, 5),
        "rule": subspace.RULES,
        "k": range(0, 33, 4),
    }

    @param.depends("another", watch=True)
    def _on_another(self) -> None:
        self.seed += 1

    def __init__(self, **params: object) -> None:
        self._loader = jobs.Worker(lambda _: None, lambda _: self._on_controls())
        super().__init__(**params)

    def on_shown(self) -> None:
        """Load torch, in a worker; the page does not wait for it."""
        if not (jobs.ready() or self._loader.busy):
            self._loader.start(tuple)

    def measure(self) -> ProjectionMeasure:
        g = np.array([self.gx, self.gy], dtype=float)
        matrix = measure_blocks(self.size, self.k, self.seed)
        engine = None
        if 0 < self.k < self.size and (jobs.ready() or not jobs.served()):
            engine = measure_engine(self.size, self.k, self.seed)
        return ProjectionMeasure(take_apart(g, self.direction), matrix, engine)

    # The pictures

    def marks(self, result: ProjectionMeasure) -> Marks:
        ink, arrow = palette(self.dark), result.arrow
        along = 2 * LIMIT * arrow.direction
        return {
            "critical": _segments([(-along, along)]),
            "connector": _segments([(arrow.gradient, arrow.projection)]),
            "projection": _arrow(arrow.projection),
            "safe": _arrow(arrow.safe),
            "gradient": _arrow(arrow.gradient),
            "grip": {"x": [arrow.gradient[0]], "y": [arrow.gradient[1]]},
            "names": _names(arrow, ink),
            **block_marks(result.matrix, self.rule, ink),
        }

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        ink = canvas.palette
        shaft = {"line_width": 3, "line_cap": "round"}
        words = {"text_font_size": "13px", "text_align": "center", "text_baseline": "middle"}
        ticks = [-2, 0, 2]
        arrows = canvas.picture(
            canvas.draw(hv.Segments, "critical", color=ink.critical, line_dash="10 6", line_width=2),
            canvas.draw(hv.Segments, "connector", color=ink.lora, line_dash="2 4", line_width=2),
            canvas.draw(hv.Points, "grip", size=26, color=ink.neutral, fill_alpha=0.22, line_color=None),
            canvas.draw(hv.Segments, "projection", color=ink.lora, **shaft),
            canvas.draw(hv.Segments, "gradient", color=ink.neutral, **shaft),
            canvas.draw(hv.Segments, "safe", color=ink.safe, **shaft),
            canvas.draw(hv.Labels, "names", fields={"text_color": "ink"}, **words),
            title="an arrow — drag its tip, or the line",
            xlim=(-LIMIT, LIMIT),
            ylim=(-LIMIT, LIMIT),
            xticks=ticks,
            yticks=ticks,
            square=True,
            on_drag=self._on_drag,
        )
        return [arrows, block_picture(canvas)]

    def _on_drag(self, x: float, y: float, phase: str) -> None:
        """Take hold of the gradient's tip or of the critical line, whichever is nearer."""
        pointer, degrees = np.array([x, y]), np.degrees(np.arctan2(y, x))
        if phase == "start":
            arrow = self.result.arrow
            across = abs(arrow.direction[0] * y - arrow.direction[1] * x)
            self._turns_line = across < np.linalg.norm(pointer - arrow.gradient)
            self._offset = self.direction - degrees if self._turns_line else arrow.gradient - pointer
        elif not self._turns_line:
            gx, gy = np.clip(pointer + self._offset, -REACH, REACH).round(2).tolist()
            self.param.update(gx=gx, gy=gy)
        elif np.hypot(x, y) > 0.05:  # in the very middle a line has no direction
            self.direction = round(float(degrees + self._offset) % 180, 1)

    # The words

    def readouts(self, result: ProjectionMeasure) -> list[Readout]:
        arrow, matrix = result.arrow, result.matrix
        return [
            Readout("gradient", _pair(arrow.gradient), "neutral"),
            Readout("along the critical line", _pair(arrow.projection), "lora"),
            Readout("safe update", _pair(arrow.safe), "safe"),
            Readout("magnitude reduction", percent(arrow.reduction)),
            Readout(f"‖G‖² removed, {self.rule}", percent(matrix.removed[self.rule]), "lora"),
        ]

    def describe(self, result: ProjectionMeasure) -> str:
        arrow, matrix = result.arrow, result.matrix
        shares = "; ".join(
            f"{name.replace('-', ' outputs by ')} inputs {percent(share)}" for name, share in matrix.shares.items()
        )
        return (
            f"Left, a dashed critical line at {self.direction:.1f} degrees and the gradient {_pair(arrow.gradient)}; "
            f"its part along the line is {_pair(arrow.projection)}, the safe update across it {_pair(arrow.safe)}, "
            f"{100 * arrow.reduction:.1f} percent shorter than the gradient. Right, the energy of a {self.size} by "
            f"{self.size} gradient in four blocks, {self.k} directions being protected: {shares}. The {self.rule} rule "
            f"removes {' and '.join(subspace.removed_blocks(self.rule))}, {percent(matrix.removed[self.rule])} in all."
        )

    def details(self, result: ProjectionMeasure) -> str:
        matrix, chosen = result.matrix, ' style="font-weight: 600" aria-current="true"'
        rows = "".join(
            f"<tr{chosen if rule == self.rule else ''}><td style='white-space: nowrap'>{sketch(rule)}{rule}</td>"
            f'<td class="number">{percent(matrix.removed[rule])}</td>'
            f'<td class="number">{percent(matrix.pull[rule]) if self.k else "–"}</td>'
            f'<td class="number">{matrix.inputs[rule]:.1g}</td><td class="number">{matrix.outputs[rule]:.1g}</td></tr>'
            for rule in subspace.RULES
        )
        return (
            '<div class="scroll"><table><thead><tr><th>rule</th><th class="number">‖G‖² removed</th>'
            '<th class="number">‖G·V<sub>h</sub>‖ left</th><th class="number">‖ΔW·V<sub>h</sub>‖</th>'
            f'<th class="number">‖U<sub>h</sub>ᵀ·ΔW‖</th></tr></thead><tbody>'
            f"{rows}{self._engine_row(result)}</tbody></table></div>"
        )

    def _engine_row(self, result: ProjectionMeasure) -> str:
        engine, name = result.engine, f"<td>{sketch('two-sided')}the engine, training C</td>"
        if engine is None:
            why = "needs k = 1 or more, below the size" if not 0 < self.k < self.size else "loading torch …"
            return f'<tr>{name}<td colspan="4">{why}</td></tr>'
        return (
            f'<tr>{name}<td colspan="2">{engine.apart:.0e} of ‖W‖ from the two-sided rule</td>'
            f'<td class="number">{engine.inputs:.1g}</td><td class="number">{engine.outputs:.1g}</td></tr>'
        )

    def claims(self, result: ProjectionMeasure) -> list[Claim]:
        matrix, rule = result.matrix, self.rule
        off, turned = max(matrix.inputs[rule], matrix.outputs[rule]), matrix.angles[rule]
        kept = self.k > 0 and off < 1e-9
        return [
            Claim(
                "osft-geometry",
                "OSFT preserves the geometry of what the model has learned.",
                f"A step of {STEP:.0%} of ‖W‖ under the {rule} rule, {self.k} of {self.size} directions being "
                f"protected, moves the protected triplets by {off:.1g} of ‖W‖ and turns two neurons against each "
                f"other by up to {turned:.1f}°.",
                ("holds" if turned < 1e-6 else "partly") if kept else "fails",
            )
        ]


def _segments(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Columns:
    ends = np.array(pairs, dtype=float).reshape(-1, 4)
    return {name: ends[:, i] for i, name in enumerate(("x0", "y0", "x1", "y1"))}


def _arrow(tip: np.ndarray) -> Columns:
    """Shaft and two barbs of an arrow from the origin; its tip is where the first segment ends."""
    length = np.linalg.norm(tip)
    barb = min(0.26, 0.4 * length) * tip / length if length else tip
    return _segments([(0 * tip, tip), *((tip - orthogonal.rotation(turn) @ barb, tip) for turn in (28, -28))])


def _names(arrow: ArrowMeasure, ink: Palette) -> Columns:
    """A name beyond each arrow's tip, where it is clear of the others, and one beside the critical line."""
    c = arrow.direction
    across = np.array([-c[1], c[0]]) * (1 if c[0] >= 0 else -1)
    behind = -1.0 if c @ arrow.gradient > 0 else 1.0  # the end of the line that the gradient leaves free
    under = -1.0 if across @ arrow.gradient > 0 else 1.0  # and the side of it
    wanted = [
        ("critical", behind * 2.3 * c + 0.34 * across, ink.critical, np.inf),
        ("gradient", _beyond(arrow.gradient), ink.muted, np.linalg.norm(arrow.gradient)),
        ("safe", _beyond(arrow.safe), ink.safe, np.linalg.norm(arrow.safe)),
        ("projection", arrow.projection + 0.38 * under * across, ink.lora, np.linalg.norm(arrow.projection)),
    ]
    placed: list[np.ndarray] = []
    texts = []
    for text, place, _, length in wanted:
        clear = all(abs(place[0] - other[0]) > 1.4 or abs(place[1] - other[1]) > 0.3 for other in placed)
        texts.append(text if length > 0.3 and clear else "")
        placed.append(place)
    x, y = np.array(placed).T
    return {"x": x, "y": y, "text": texts, "ink": [color for _, _, color, _ in wanted]}


def _beyond(tip: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(tip)
    return tip * (1 + 0.34 / length) if length else tip


def _pair(v: np.ndarray) -> str:
    x, y = np.round(v, 2) + 0.0  # + 0.0 turns −0 into 0
    return f"({x:.2f}, {y:.2f})".replace("-", "−")
