"""Chapter 7: the part of a gradient that avoids a critical direction, for an arrow and for a matrix."""

from dataclasses import dataclass

import holoviews as hv
import numpy as np
import panel as pn
import param

from wonderland.demos import jobs
from wonderland.demos.amounts import minus
from wonderland.demos.arrow import LIMIT, ArrowMeasure, arrow_names, arrow_shape, pair, segments, take_apart
from wonderland.demos.base import Claim, Readout
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
from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.cutoff import CutOff
from wonderland.demos.parameters import Choice, Real, Whole
from wonderland.maths import subspace
from wonderland.theme import palette

REACH = 2.0
"""Largest component of the gradient."""
ROUNDING = 1e-9
"""Of ‖W‖: what has moved less has not moved."""
_DIRECTION = float(np.degrees(np.arctan2(0.5, 1)))


@dataclass(frozen=True)
class ProjectionMeasure:
    """Both views, and the rule chosen for the matrix.

    `engine` is None while torch is being loaded, and where k leaves nothing to protect or to train.
    """

    arrow: ArrowMeasure
    matrix: BlockMeasure
    rule: str
    engine: EngineMeasure | None


class ProjectionDemo(CutOff):
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
    k = Whole(
        default=8,
        bounds=(0, 40),
        softbounds=(0, 32),
        label="Protected directions k",
        doc="How many on each side of the weight. Choosing a smaller matrix brings it down to what that one has.",
    )
    size = Whole(default=32, bounds=(2, 40), label="Size of the matrix", doc="Rows, and as many columns.")
    seed = Whole(default=1, bounds=(0, 10**6), label="Seed", doc="Draws the weight and its gradient.")
    another = param.Event(label="Draw another", doc="Draw the next weight and gradient.")

    title = "The signpost"
    wide = True
    controls = ("gx", "gy", "direction", "rule", "k")
    more = ("size", "seed", "another")
    below = ("rule", "k")
    chooser = "size"
    code = (take_apart, subspace.project)
    axes = {
        "gx": np.arange(-4, 5) / 2,
        "gy": np.arange(-4, 5) / 2,
        "direction": range(0, 181, 20),
        "rule": subspace.RULES,
        "k": range(0, 33, 2),
    }
    apart = (("gx", "gy", "direction"), ("rule", "k"))

    @param.depends("another", watch=True)
    def _on_another(self) -> None:
        self.seed = (self.seed + 1) % (self.param.seed.bounds[1] + 1)

    def __init__(self, **params: object) -> None:
        self._loader = jobs.Worker(lambda _: None, lambda _: self._on_controls())
        super().__init__(**params)

    def on_shown(self) -> None:
        """Load torch, in a worker; the page does not wait for it."""
        if not (jobs.ready() or self._loader.busy):
            self._loader.start(tuple)

    def largest(self) -> int:
        return self.size

    def measure(self) -> ProjectionMeasure:
        g = np.array([self.gx, self.gy], dtype=float)
        matrix = measure_blocks(self.size, self.k, self.seed)
        engine = None
        if 0 < self.k < self.size and (jobs.ready() or not jobs.served()):
            engine = measure_engine(self.size, self.k, self.seed)
        return ProjectionMeasure(take_apart(g, self.direction), matrix, self.rule, engine)

    # The pictures

    def marks(self, result: ProjectionMeasure) -> Marks:
        ink, arrow = palette(self.dark), result.arrow
        along = 2 * LIMIT * arrow.direction
        return {
            "critical": segments([(-along, along)]),
            "connector": segments([(arrow.gradient, arrow.projection)]),
            "projection": arrow_shape(arrow.projection),
            "safe": arrow_shape(arrow.safe),
            "gradient": arrow_shape(arrow.gradient),
            "grip": {"x": [arrow.gradient[0]], "y": [arrow.gradient[1]]},
            "names": arrow_names(arrow, ink),
            **block_marks(result.matrix, result.rule, ink),
        }

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        ink = canvas.palette
        # The projection is a broad band under a thin gradient: where one lies on the other, both are seen.
        thin, broad = {"line_width": 2.5, "line_cap": "round"}, {"line_width": 7, "line_cap": "round"}
        words = {"text_font_size": "13px", "text_align": "center", "text_baseline": "middle"}
        ticks = [-2, 0, 2]
        arrows = canvas.picture(
            canvas.draw(hv.Segments, "critical", color=ink.critical, line_dash="10 6", line_width=2),
            canvas.draw(hv.Segments, "connector", color=ink.lora, line_dash="2 4", line_width=2),
            canvas.draw(hv.Points, "grip", size=26, color=ink.neutral, fill_alpha=0.22, line_color=None),
            canvas.draw(hv.Segments, "projection", color=ink.lora, **broad),
            canvas.draw(hv.Segments, "gradient", color=ink.neutral, **thin),
            canvas.draw(hv.Segments, "safe", color=ink.safe, line_width=3, line_cap="round"),
            canvas.draw(hv.Labels, "names", fields={"text_color": "ink"}, **words),
            title="an arrow",
            hint="drag its tip, or the line",
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
        elif phase == "end":
            return
        elif not self._turns_line:
            gx, gy = np.clip(pointer + self._offset, -REACH, REACH).round(2).tolist()
            self.param.update(gx=gx, gy=gy)
        elif np.hypot(x, y) > 0.05:  # in the very middle a line has no direction
            self.direction = round(float(degrees + self._offset) % 180, 1)

    # The words

    def readouts(self, result: ProjectionMeasure) -> list[Readout]:
        arrow, matrix = result.arrow, result.matrix
        return [
            Readout("gradient", pair(arrow.gradient), "neutral"),
            Readout("along the critical line", pair(arrow.projection), "lora"),
            Readout("safe update", pair(arrow.safe), "safe"),
            Readout("magnitude reduction", percent(arrow.reduction)),
            Readout(f"‖G‖² removed, {result.rule}", percent(matrix.removed[result.rule]), "lora"),
        ]

    def describe(self, result: ProjectionMeasure) -> str:
        arrow, matrix, rule = result.arrow, result.matrix, result.rule
        shares = "; ".join(
            f"{name.replace('-', ' outputs by ')} inputs {percent(share)}" for name, share in matrix.shares.items()
        )
        return (
            f"Left, a dashed critical line at {arrow.degrees:.1f} degrees and the gradient {pair(arrow.gradient)}; "
            f"its part along the line is {pair(arrow.projection)}, the safe update across it {pair(arrow.safe)}, "
            f"{100 * arrow.reduction:.1f} percent shorter than the gradient. Right, the energy of a {matrix.size} by "
            f"{matrix.size} gradient in four blocks, {matrix.k} directions being protected: {shares}. The {rule} rule "
            f"removes {' and '.join(subspace.removed_blocks(rule))}, {percent(matrix.removed[rule])} in all."
        )

    def details(self, result: ProjectionMeasure) -> str:
        matrix, chosen = result.matrix, ' style="font-weight: 600" aria-current="true"'
        step = f"<br><small>of ‖W‖, a step of {STEP:.0%}</small>"
        rows = ""
        for rule in subspace.RULES:
            cells = [percent(matrix.removed[rule]), "–", "–", "–"]  # where nothing is protected, the others are of none
            if matrix.k:
                moved = [minus(f"{share[rule]:.1g}") for share in (matrix.inputs, matrix.outputs)]
                cells[1:] = [percent(matrix.pull[rule]), *(moved if matrix.k < matrix.size else ["no step"] * 2)]
            rows += (
                f"<tr{chosen if rule == result.rule else ''}><td style='white-space: nowrap'>{sketch(rule)}{rule}</td>"
            )
            rows += "".join(f'<td class="number">{cell}</td>' for cell in cells) + "</tr>"
        return (
            '<div class="scroll"><table><thead><tr><th>rule</th><th class="number">‖G‖² removed</th>'
            '<th class="number">‖G·V<sub>h</sub>‖ left</th>'
            f'<th class="number">‖ΔW·V<sub>h</sub>‖{step}</th><th class="number">‖U<sub>h</sub>ᵀ·ΔW‖{step}</th>'
            "</tr></thead><tbody>"
            f"{rows}{self._engine_row(result)}</tbody></table></div>"
        )

    def _engine_row(self, result: ProjectionMeasure) -> str:
        engine, matrix, name = result.engine, result.matrix, f"<td>{sketch('two-sided')}the engine, training C</td>"
        if engine is None:
            why = "loading torch …"
            if not matrix.k:
                why = "has nothing to protect: it needs k = 1 or more"
            elif matrix.k == matrix.size:
                why = f"has nothing to train: it needs a k below the size, {matrix.size}"
            return f'<tr>{name}<td colspan="4">{why}</td></tr>'
        return (
            f'<tr>{name}<td colspan="2">{minus(f"{engine.apart:.0e}")} of ‖W‖ from the two-sided rule</td>'
            f'<td class="number">{minus(f"{engine.inputs:.1g}")}</td>'
            f'<td class="number">{minus(f"{engine.outputs:.1g}")}</td></tr>'
        )

    def claims(self, result: ProjectionMeasure) -> list[Claim]:
        tale = "OSFT preserves the geometry of what the model has learned."
        # Neither protecting nothing nor leaving nothing to learn, nor a rule that is another method's, tests OSFT.
        tested = 0 < result.matrix.k < result.matrix.size and result.rule != "right-only"
        return [Claim("osft-geometry", tale, *judged(result.matrix, result.rule), tested)]


def judged(matrix: BlockMeasure, rule: str) -> tuple[str, str]:
    """What a step under a rule keeps and moves, in words, and the verdict on whether it preserves the geometry."""
    step = f"step of {STEP:.0%} of ‖W‖"
    turned = f"turns two neurons against each other by up to {matrix.angles[rule]:.1f}°"
    if not matrix.k:
        return f"Nothing is protected, and each rule leaves all of the gradient: a {step} {turned}.", "fails"
    if matrix.k == matrix.size:
        return "Everything is protected, and each rule leaves no step to take: nothing moves, or learns.", "holds"
    inputs, outputs = matrix.inputs[rule], matrix.outputs[rule]
    if max(inputs, outputs) < ROUNDING:
        verdict = "holds" if matrix.angles[rule] < 1e-6 else "partly"
        kept = f"keeps every protected triplet, to {max(inputs, outputs):.1g} of ‖W‖"
    elif inputs < ROUNDING:
        kept = f"keeps what protected inputs are answered, to {inputs:.1g} of ‖W‖, as it is to do"
        verdict, kept = "partly", f"{kept}; what reaches protected outputs moves by {outputs:.1g}"
    else:
        kept = f"does not keep the protected triplets: what protected inputs are answered moves by {inputs:.1g} of ‖W‖"
        verdict, kept = "fails", f"{kept}, what reaches protected outputs by {outputs:.1g}"
    under = f"A {step} under the {rule} rule{', which is not OSFT’s' * (rule == 'right-only')}"
    return f"{under}, {matrix.k} of {matrix.size} directions being protected, {kept}. It {turned}.", verdict
