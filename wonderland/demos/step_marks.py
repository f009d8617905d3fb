"""What an OSFT step shows: the leak meter, the loss, the singular values, and the step's matrices."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.palettes import interp_palette

from wonderland.demos.amounts import minus
from wonderland.demos.canvas import Canvas, Columns, Marks
from wonderland.demos.placing import apart, round_ticks
from wonderland.maths import subspace
from wonderland.theme import Palette

if TYPE_CHECKING:
    from wonderland.backend.step import StepSettings


class Needle(NamedTuple):
    """One measure of the leak: its readout's label, its curve's name, and how that is drawn."""

    label: str
    short: str
    concept: str
    dash: str


SHORTEST = 10
"""Steps that the axes show at least."""
ROOM = 1.25
"""How far the meter reaches beyond the last step, for the names of the needles."""
FLOOR = 1e-17
"""Below this the meter does not go: rounding."""
AT_REST = 1e-10
"""A needle below this has not moved."""
PRINTED = 6
"""Matrices up to this order are printed; larger ones are shown as maps alone."""
NEEDLES = {
    "joint": Needle("‖UₕᵀΔW Vₕ‖, the corner", "corner", "lora", "solid"),
    "right": Needle("‖ΔW Vₕ‖, protected inputs", "inputs", "critical", "solid"),
    "left": Needle("‖UₕᵀΔW‖, protected outputs", "outputs", "original", "dashed"),
    "triplet": Needle("‖W′v − σu‖, the worst", "triplet", "rotated", "dotted"),
}
HELD = {
    "none": (),
    "joint": ("joint",),
    "right-only": ("joint", "right", "triplet"),
    "two-sided": ("joint", "right", "left", "triplet"),
}
"""The needles that each rule is to keep at rest, from the weakest rule to the strongest."""
MAPS = ("W", "gradient", "projected", "new W")
LEVELS = 127  # of color, either side of zero


@dataclass(frozen=True, eq=False)
class StepMeasure:
    """The run so far: its curves, and what its last step saw. Matrices are m×n."""

    asked: int
    """Steps asked for; fewer are there while a worker runs."""
    steps: np.ndarray
    """0…the steps taken; empty before torch is there."""
    loss: np.ndarray
    leaks: dict[str, np.ndarray]
    """The four needles after each of `steps`."""
    sigma: np.ndarray
    """Singular values of the weight that the last step began with."""
    protected: np.ndarray
    """How much of each one's two directions lies in those that are protected, 0 to 1."""
    matrices: dict[str, np.ndarray]
    """Of `MAPS`: the weight before the step, its gradient, what the rule leaves of it, the weight after."""
    settings: "StepSettings | None"

    @property
    def taken(self) -> int:
        """Steps taken so far."""
        return max(len(self.steps) - 1, 0)

    @property
    def held(self) -> float:
        """The largest of the needles that the rule is to keep at rest."""
        return max((float(self.leaks[needle][-1]) for needle in HELD[self.settings.held_rule]), default=float("nan"))


def protected_share(now: subspace.Split, held: subspace.Split) -> np.ndarray:
    """How much of each singular triplet's directions lies in the protected ones of another weight, 0 to 1.

    The mean of ‖U_hᵀu_i‖² and ‖V_hᵀv_i‖². A weight that learns may raise what is free above what is protected: the
    order of its singular values does not tell which is which.
    """
    rank = len(now.S)
    left = np.square(held.U_h.T @ now.U[:, :rank]).sum(axis=0)
    right = np.square(now.Vt[:rank] @ held.V_h).sum(axis=1)
    return (left + right) / 2


def step_marks(result: StepMeasure, shape: tuple[int, int], ink: Palette) -> Marks:
    """The columns of every mark: the needles, the loss, the singular values, and the maps of an m×n layer."""
    heights = {name: np.log10(np.maximum(values, FLOOR)) for name, values in result.leaks.items()}
    marks: dict[str, Columns] = {name: {"x": result.steps, "y": height} for name, height in heights.items()}
    top = max(2.0, *(np.ceil(height.max(initial=0)) for height in heights.values()))
    last = max(result.asked, SHORTEST)
    ends = heights if result.taken else {}
    marks["needles"] = {
        "x": [result.taken + 0.012 * last] * len(ends),
        "y": apart([height[-1] for height in ends.values()], (top + 17.5) / 16, -17, top - (top + 17.5) / 32),
        "text": [NEEDLES[name].short for name in ends],
        "ink": [getattr(ink, NEEDLES[name].concept) for name in ends],
    }
    marks["meter frame"] = {"x": [0, ROOM * last], "y": [-17.5, top], "ticks": round_ticks(last, 8)}
    marks["loss"] = {"x": result.steps, "y": result.loss}
    highest = 1.1 * result.loss.max(initial=0.9)
    marks["loss frame"] = {"x": [0, 1.05 * last], "y": [0, highest], "ticks": round_ticks(last, 5)}
    count = min(shape)
    at = np.arange(1, len(result.sigma) + 1)
    marks["sigma"] = {
        "x0": at - 0.4,
        "y0": np.zeros(len(at)),
        "x1": at + 0.4,
        "y1": result.sigma,
        "ink": [ink.critical if share > 0.5 else ink.safe for share in result.protected],
    }
    highest, ticks = 1.1 * result.sigma.max(initial=0.9), [1, *round_ticks(count)[1:]]
    marks["sigma frame"] = {"x": [0.4, count + 0.6], "y": [0, highest], "ticks": ticks}
    return marks | _maps(result)


def step_pictures(canvas: Canvas) -> list[pn.viewable.Viewable]:
    """The leak meter, the loss, the singular values, and the maps."""
    ink = canvas.palette
    label = {"text_font_size": "13px"}
    meter = canvas.picture(
        *[
            canvas.draw(hv.Curve, name, color=getattr(ink, needle.concept), line_dash=needle.dash, line_width=2.5)
            for name, needle in NEEDLES.items()
        ],
        canvas.draw(hv.Labels, "needles", {"text_color": "ink"}, text_align="left", **label),
        xlim=(0, ROOM * SHORTEST),
        ylim=(-17.5, 2),
        xticks=[0],
        frame="meter frame",
        yticks=[(power, f"1e{power}" if power else "1") for power in range(-16, 51, 4)],
        xlabel="step",
        title="the leak meter",
        height=300,
        max_width=760,
    )
    loss = canvas.picture(
        canvas.draw(hv.Curve, "loss", color=ink.text, line_width=2),
        xlim=(0, SHORTEST),
        ylim=(0, 1.1),
        xticks=[0],
        frame="loss frame",
        xlabel="step",
        title="the loss",
        height=210,
    )
    sigma = canvas.picture(
        canvas.draw(hv.Rectangles, "sigma", {"fill_color": "ink"}, line_color=None),
        xlim=(0.4, 3.6),
        ylim=(0, 1),
        xticks=[0],
        frame="sigma frame",
        title="singular values of W, protected and free",
        height=210,
    )
    heat = {"cmap": interp_palette([ink.critical, ink.panel, ink.original], 255), "clim": (-LEVELS, LEVELS)}
    maps = canvas.picture(
        *[canvas.draw(hv.Image, f"map {name}", **heat) for name in MAPS],
        canvas.draw(hv.Labels, "map names", text_color=ink.muted, **label),
        xlim=(0, 1.1 * len(MAPS) - 0.1),
        ylim=(0, 1.18),
        bare=True,
        height=190,
        max_width=760,
    )
    for picture in (meter, maps):
        picture.styles = {"grid-column": "1 / -1"}
    return [meter, loss, sigma, maps]


def matrices_html(result: StepMeasure) -> str:
    """The step's matrices in figures, and of larger ones the norms."""
    return f'<div class="figures">{"".join(_figure(name, M) for name, M in result.matrices.items())}</div>'


def _maps(result: StepMeasure) -> Marks:
    """The step's matrices side by side; weights share one scale of color, gradients another."""
    marks: dict[str, Columns] = {}
    for place, name in enumerate(MAPS):
        kin = [result.matrices[other] for other in MAPS if other in result.matrices and ("W" in other) == ("W" in name)]
        M = result.matrices.get(name, np.zeros((1, 1)))
        largest = max((np.abs(one).max() for one in kin), default=0) or 1.0
        levels = np.rint(LEVELS * M / largest).astype(np.int8)
        marks[f"map {name}"] = {"image": [levels[::-1]], "x": [1.1 * place], "y": [0.0], "dw": [1.0], "dh": [1.0]}
    there = [place for place, name in enumerate(MAPS) if name in result.matrices]
    marks["map names"] = {
        "x": [1.1 * place + 0.5 for place in there],
        "y": [1.09] * len(there),
        "text": [MAPS[place] if place else f"{MAPS[place]}: + blue" for place in there],
    }
    return marks


def _figure(name: str, M: np.ndarray) -> str:
    m, n = M.shape
    norm = f"<figcaption>{name}, ‖·‖ = {np.linalg.norm(M):.4f}</figcaption>"
    if max(m, n) > PRINTED:
        return f"<figure>{norm}</figure>"
    cells = "".join(f"<span>{minus(f'{value:+.4f}')}</span>" for value in M.ravel())
    return f'<figure>{norm}<div class="matrix" style="grid-template-columns: repeat({n}, auto)">{cells}</div></figure>'
