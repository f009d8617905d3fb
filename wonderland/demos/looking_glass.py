"""Chapter 1: a weight that is turned beside a weight that is added to."""

from dataclasses import dataclass

import holoviews as hv
import numpy as np
import panel as pn

from wonderland.demos.amounts import minus
from wonderland.demos.base import Claim, Demo, Readout
from wonderland.demos.canvas import Canvas, Columns, Marks
from wonderland.demos.parameters import Choice, Real, Whole
from wonderland.maths import orthogonal
from wonderland.maths.energy import pairwise_angles

NEURONS, INPUTS = 3, 2
LONGEST, LIMIT = 2.2, 2.5
"""Length of the longest arrow that any control reaches, and the limits of the pictures."""
PAIRS = np.triu_indices(NEURONS, 1)
# Cayley's S for a turn of the plane by 2·arctan(t) is t times this, and for one of three dimensions about the
# axis (1, 1, 1), which favors no neuron.
PLANE = np.array([[0.0, -1.0], [1.0, 0.0]])
SPACE = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / np.sqrt(3)
SUBSCRIPTS = "₁₂₃"


@dataclass(frozen=True)
class Geometry:
    """A small weight (3×2) with its lengths and angles, in degrees."""

    W: np.ndarray
    lengths: np.ndarray
    angles: np.ndarray
    """Between neurons 1 and 2, 1 and 3, 2 and 3."""
    column_lengths: np.ndarray
    column_angle: float
    singular_values: np.ndarray


@dataclass(frozen=True)
class GlassMeasure:
    """The weight, the weight turned by R, and the weight with BA added."""

    original: Geometry
    turned: Geometry
    added: Geometry
    R: np.ndarray
    determinant: float
    side: str
    angle: float

    def changes(self, of: Geometry) -> tuple[float, float]:
        """Largest change of a neuron's length, and of an angle between two neurons, in degrees."""
        return (
            float(np.abs(of.lengths - self.original.lengths).max()),
            float(np.abs(of.angles - self.original.angles).max()),
        )

    def spectrum_change(self, of: Geometry) -> float:
        """Largest change of a singular value."""
        return float(np.abs(of.singular_values - self.original.singular_values).max())


def measure_geometry(W: np.ndarray) -> Geometry:
    """Lengths and angles of the neurons, the rows of W, and of its columns."""
    return Geometry(
        W=W,
        lengths=np.linalg.norm(W, axis=1),
        angles=pairwise_angles(W)[PAIRS],
        column_lengths=np.linalg.norm(W, axis=0),
        column_angle=float(pairwise_angles(W.T)[0, 1]),
        singular_values=np.linalg.svd(W, compute_uv=False),
    )


def turned(W: np.ndarray, angle: float, side: str) -> tuple[np.ndarray, np.ndarray]:
    """W turned by an angle in degrees, and the rotation R that did it, made by Cayley's formula.

    On the right, W·R turns every neuron by the angle, counter-clockwise. On the left, R·W turns the space of the
    outputs by the same angle, which mixes the neurons.
    """
    t = np.tan(np.radians(angle) / 2)
    if side == "W·R":
        R = orthogonal.cayley(-t * PLANE)  # a row is turned by the transpose
        return W @ R, R
    R = orthogonal.cayley(t * SPACE)
    return R @ W, R


def weights(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """W (3×2) and BA (3×2, rank one) with ‖BA‖ = ‖W‖, drawn from a seed and scaled to fit the pictures."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((NEURONS, INPUTS))
    BA = rng.standard_normal((NEURONS, 1)) @ rng.standard_normal((1, INPUTS))
    BA *= np.linalg.norm(W) / np.linalg.norm(BA)
    # No neuron of W·R or R·W is longer than W's largest singular value.
    longest = max(np.linalg.norm(W, 2), np.linalg.norm(W + BA, axis=1).max())
    return W * LONGEST / longest, BA * LONGEST / longest


class LookingGlass(Demo):
    """W·R keeps every length and angle of the neurons; R·W and W + BA do not."""

    side = Choice(
        default="W·R",
        objects=["W·R", "R·W"],
        label="Side that R stands on",
        doc="W·R turns the inputs and every neuron rigidly; R·W mixes the neurons.",
    )
    angle = Whole(
        default=50,
        bounds=(-179, 179),
        step=1,
        label="Angle of R in degrees",
        doc="Cayley’s formula reaches every angle but half a turn.",
    )
    size = Real(
        default=0.5,
        bounds=(0, 1),
        step=0.05,
        label="Size of BA, ‖BA‖ / ‖W‖",
        doc="How large the added matrix is beside W, both in the Frobenius norm.",
    )
    seed = Whole(default=1, bounds=(0, 99), step=1, label="Seed", doc="Draws W and the direction of BA.")

    title = "The looking glass"
    wide = True
    controls = ("side", "angle", "size")
    more = ("seed",)
    code = (turned, measure_geometry, orthogonal.cayley)
    axes = {
        "side": ("W·R", "R·W"),
        "angle": range(-175, 176, 5),
        "size": [round(0.05 * i, 2) for i in range(21)],
        "seed": range(1, 5),
    }
    apart = (("side", "angle"), ("size",))

    def measure(self) -> GlassMeasure:
        W, BA = weights(self.seed)
        W_turned, R = turned(W, self.angle, self.side)
        return GlassMeasure(
            original=measure_geometry(W),
            turned=measure_geometry(W_turned),
            added=measure_geometry(W + self.size * BA),
            R=R,
            determinant=float(np.linalg.det(R)),
            side=self.side,
            angle=self.angle,
        )

    def marks(self, result: GlassMeasure) -> Marks:
        marks: dict[str, Columns] = {}
        for name, geometry in (("W", result.original), ("turned", result.turned), ("added", result.added)):
            marks |= _arrows(name, geometry.W)
        corner = {"x": [-LIMIT + 0.15], "y": [LIMIT - 0.3]}
        return marks | {
            "W name": corner | {"text": ["W"]},
            "turned name": corner | {"text": [result.side]},
            "added name": corner | {"text": ["W + BA"]},
        }

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        ink = canvas.palette
        axes = {"xlim": (-LIMIT, LIMIT), "ylim": (-LIMIT, LIMIT), "square": True}
        ticks = {"xticks": [-2, -1, 0, 1, 2], "yticks": [-2, -1, 0, 1, 2]}

        def ghost() -> hv.Element:
            return canvas.draw(hv.Segments, "W triangle", color=ink.original, line_width=1, alpha=0.55)

        def arrows(name: str, color: str) -> list[hv.Element]:
            return [
                canvas.draw(hv.Segments, f"{name} triangle", color=color, line_width=1.5, line_dash="dotted"),
                canvas.draw(hv.Segments, f"{name} arrows", color=color, line_width=2.5),
                canvas.draw(hv.Points, f"{name} heads", {"angle": "turn"}, marker="triangle", size=11, color=color),
                canvas.draw(hv.Labels, f"{name} labels", text_color=ink.text, text_font_size="14px"),
                canvas.draw(hv.Labels, f"{name} name", text_color=color, text_font_size="16px", text_align="left"),
            ]

        return [
            canvas.picture(*arrows("W", ink.original), title="pretrained", **axes, **ticks),
            canvas.picture(
                ghost(),
                *arrows("turned", ink.rotated),
                title="turned",
                hint="drag to turn",
                on_drag=self._on_drag,
                **axes,
                **ticks,
            ),
            canvas.picture(ghost(), *arrows("added", ink.lora), title="added to", **axes, **ticks),
        ]

    def readouts(self, result: GlassMeasure) -> list[Readout]:
        rows = [Readout("det R", f"{result.determinant:+.6f}")]
        for name, of, concept in ((result.side, result.turned, "rotated"), ("W + BA", result.added, "lora")):
            length, angle = result.changes(of)
            rows += [
                Readout(
                    f"{name}: lengths change by",
                    _change(length, "").lstrip("+"),
                    concept,
                    "ok" if length < 1e-9 else "off",
                ),
                Readout(
                    f"{name}: angles change by",
                    _change(angle, "°").lstrip("+"),
                    concept,
                    "ok" if angle < 1e-9 else "off",
                ),
            ]
        return rows

    def describe(self, result: GlassMeasure) -> str:
        def listed(of: Geometry) -> str:
            lengths = ", ".join(f"{value:.3f}" for value in of.lengths)
            angles = ", ".join(f"{value:.1f}°" for value in of.angles)
            return f"lengths {lengths}; angles between them {angles}"

        return (
            f"Three panels of {NEURONS} arrows, the neurons. W: {listed(result.original)}. {result.side} with R a turn "
            f"by {result.angle}°: {listed(result.turned)}. W + BA: {listed(result.added)}. "
            f"The determinant of R is {result.determinant:.6f}."
        )

    def details(self, result: GlassMeasure) -> str:
        cells = [_listed(of) for of in (result.original, result.turned, result.added)]
        rows = "".join(
            f"<tr><th scope='row'>{name}</th><td class='number'>{_shown(w, unit)}</td>"
            f"<td class='number'>{_shown(r, unit)}</td><td class='number'>{_change(r - w, unit)}</td>"
            f"<td class='number'>{_shown(b, unit)}</td><td class='number'>{_change(b - w, unit)}</td></tr>"
            for (name, unit, w), (_, _, r), (_, _, b) in zip(*cells, strict=True)
        )
        heads = "".join(f"<th class='number' scope='col'>{head}</th>" for head in _heads(result))
        return (
            "<div class='scroll'><table><thead><tr><th scope='col'>neurons&nbsp;w,<br>columns&nbsp;c</th>"
            f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
        )

    def claims(self, result: GlassMeasure) -> list[Claim]:
        sigma = ", ".join(f"{value:.3f}" for value in result.original.singular_values)
        added = ", ".join(f"{value:.3f}" for value in result.added.singular_values)
        change = result.spectrum_change(result.turned)
        return [
            Claim(
                "stable",
                "Stable training: orthogonality lets nothing explode and nothing vanish.",
                f"{result.side} has the singular values of W itself, {sigma}, to {change:.0e}: no worse, and no "
                f"better. Those of W + BA are {added}.",
                "partly" if change < 1e-9 else "fails",
            )
        ]

    def _on_drag(self, x: float, y: float, phase: str) -> None:
        pointer = np.degrees(np.arctan2(y, x))
        if phase == "start":
            self._aim = float(self.angle)
        elif phase == "move":
            self._aim += (pointer - self._pointer + 180) % 360 - 180
            low, high = self.param.angle.bounds
            self.angle = round(min(max(self._aim, low), high))
        self._pointer = pointer


def _arrows(name: str, W: np.ndarray) -> Marks:
    x, y = W.T
    start = np.zeros(len(W))
    # Labels stand a little beyond the tips.
    away = W + 0.3 * W / np.linalg.norm(W, axis=1, keepdims=True)
    i, j = PAIRS
    return {
        f"{name} arrows": {"x0": start, "y0": start, "x1": x, "y1": y},
        f"{name} heads": {"x": x, "y": y, "turn": np.arctan2(y, x) - np.pi / 2},
        f"{name} triangle": {"x0": x[i], "y0": y[i], "x1": x[j], "y1": y[j]},
        f"{name} labels": {"x": away[:, 0], "y": away[:, 1], "text": [f"w{index}" for index in SUBSCRIPTS]},
    }


def _listed(of: Geometry) -> list[tuple[str, str, float]]:
    """Every number of a geometry with its name and unit."""
    rows = [(f"‖w{SUBSCRIPTS[i]}‖", "", of.lengths[i]) for i in range(NEURONS)]
    pairs = zip(*PAIRS, of.angles, strict=True)
    rows += [(f"∠ w{SUBSCRIPTS[i]}, w{SUBSCRIPTS[j]}", "°", angle) for i, j, angle in pairs]
    rows += [(f"‖c{SUBSCRIPTS[i]}‖", "", of.column_lengths[i]) for i in range(INPUTS)]
    rows += [("∠ c₁, c₂", "°", of.column_angle)]
    return rows + [(f"σ{SUBSCRIPTS[i]}", "", of.singular_values[i]) for i in range(INPUTS)]


def _heads(result: GlassMeasure) -> tuple[str, ...]:
    return "W", result.side, "change", "W + BA", "change"


def _shown(value: float, unit: str) -> str:
    return f"{value:.1f}{unit}" if unit else f"{value:.3f}"


def _change(value: float, unit: str) -> str:
    """A change worth seeing with its sign, one of rounding as what it is."""
    if abs(value) < 1e-9:
        return "0" if value == 0 else f"{abs(value):.0e}{unit}"
    return minus(f"{value:+.1f}{unit}" if unit else f"{value:+.3f}")
