"""Chapter 6: the part of a matrix that is large, and the part that is needed."""

from dataclasses import replace
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
import param
from bokeh.palettes import interp_palette

from wonderland.demos import jobs
from wonderland.demos.base import Claim, Readout
from wonderland.demos.canvas import Canvas, Columns, Marks
from wonderland.demos.cutoff import CutOff
from wonderland.demos.parameters import Whole
from wonderland.demos.spectra import NOISE, SHAPES, SMALL_LOSS, TOY, Source, SVDMeasure, layer, measure_cut, toy
from wonderland.maths import subspace
from wonderland.maths._check import MAX_SEED
from wonderland.theme import palette

# Heat maps travel as whole levels, one byte a cell; full color is three root mean squares of W.
LEVELS, FULL_COLOR = 127, 3.0
# Bars that still have room for their value above them.
LABELLED = 10
# The claim holds while the cut costs SMALL_LOSS at most, and in part while it costs this at most.
LARGE_LOSS = 0.05


def _spoken(name: str) -> str:
    return "the toy" if name == "toy" else name.replace("layer", "layer ")


def _choices() -> dict[str, str]:
    return {f"{_spoken(name)}, {m}×{n}": name for name, (m, n) in SHAPES.items()}


class SVDExplorer(CutOff):
    """Singular values, critical and safe: how much of a matrix, and of its task, a cut-off keeps."""

    source = param.Selector(
        default="toy",
        objects=_choices(),
        label="Matrix",
        doc="The tutorial's toy, or a layer of the network that learned the digits.",
    )
    k = Whole(
        default=2,
        bounds=(1, None),
        softbounds=(1, 6),
        label="Rank cut-off k",
        doc="How many singular values are critical. Choosing a smaller matrix brings it down to what that one has.",
    )
    regenerate = param.Event(label="Regenerate", doc="Draw another toy, or train another network.")
    seed = Whole(
        default=0,
        bounds=(0, MAX_SEED),
        label="Seed",
        doc="Of the toy's noise, and of the network's start and order of images.",
    )

    title = "The fading cat"
    controls = ("source", "k", "regenerate")
    more = ("seed",)
    chooser, lowest = "source", 1
    code = (toy, layer, measure_cut, subspace.energy_kept, subspace.effective_rank, subspace.rank_k)
    axes = {"source": tuple(SHAPES), "k": (*range(1, 7), 8, 10, 12, 16, 24, 32, 48, 64, 96, 128)}

    _layer: Source | None = None
    _layer_key: tuple[int, str] | None = None
    _coming: tuple[int, str] | None = None

    def __init__(self, **params: Any) -> None:
        self._worker = jobs.Worker(self._on_layer, self._on_end)
        super().__init__(**params)

    def largest(self) -> int:
        return min(SHAPES[self.source])

    def measure(self) -> SVDMeasure:
        count = self.largest()
        if self.k > count:
            m, n = SHAPES[self.source]
            raise ValueError(f"k = {self.k:,} is outside 1…{count}: a {m}×{n} matrix has {count} singular values.")
        if self.source == "toy":
            return measure_cut("toy", toy(self.seed), self.k)
        if self._layer_key == (self.seed, self.source):
            return measure_cut(self.source, self._layer, self.k)
        if self._layer_key and self._layer_key[1] == self.source:
            return replace(measure_cut(self.source, self._layer, self.k), training=True)
        nothing = np.empty(0)
        return SVDMeasure(self.source, self.k, None, nothing, nothing, np.nan, np.zeros((1, 1)))

    def marks(self, result: SVDMeasure) -> Marks:
        ink = palette(self.dark)
        n, k, sigma = result.count, result.k, result.sigma
        # The toy's largest value keeps its scale from draw to draw.
        top = 1.15 * max(TOY[0] + NOISE, sigma.max(initial=0))
        place = np.arange(1, len(sigma) + 1)
        labelled = place if len(sigma) <= LABELLED else place[:0]
        percent = 100 * result.energy, 100 * result.accuracy
        now = [(name, curve[k], color) for name, curve, color in self._curves(percent) if len(curve)]
        return {
            "bars": {
                "x0": place - 0.4,
                "y0": np.zeros(len(sigma)),
                "x1": place + 0.4,
                "y1": sigma,
                "ink": np.where(place <= k, ink.critical, ink.safe),
            },
            "values": {
                "x": labelled,
                "y": sigma[: len(labelled)] + 0.03 * top,
                "text": [f"{value:.2f}" for value in sigma[: len(labelled)]],
            },
            "boundary": {"x0": [k + 0.5], "y0": [0.0], "x1": [k + 0.5], "y1": [top]},
            "counts": {
                "x": [n + 0.5] * 2,
                "y": [0.94 * top, 0.86 * top],
                "text": [f"critical: {k}", f"safe: {n - k}"],
                "ink": [ink.critical, ink.safe],
            },
            "energy": {"x": np.arange(len(percent[0])), "y": percent[0]},
            "accuracy": {"x": np.arange(len(percent[1])), "y": percent[1]},
            "cut": {"x0": [k], "y0": [0.0], "x1": [k], "y1": [100.0]},
            "now": {"x": [k] * len(now), "y": [y for _, y, _ in now], "ink": [color for *_, color in now]},
            "legend": {
                "x": [n] * len(now),
                "y": [6.0 + 10 * row for row in range(len(now))],
                "text": [f"{name} {y:.1f}%" for name, y, _ in now],
                "ink": [color for *_, color in now],
            },
            "W": _image(result.source.W if result.source else result.grin, result, x=0.0),
            "grin": _image(result.grin, result, x=1.1),
            "map names": {
                "x": [0.5, 1.6],
                "y": [1.09, 1.09],
                "text": ["W: blue +, red −", f"its rank-{k} grin"],
            },
            "note": {"x": [1.05], "y": [0.5], "text": ["" if result.source else "training the network …"]},
            "bars frame": {"x": [0.4, n + 0.6], "y": [0.0, top]},
            "curves frame": {"x": [0, n], "y": [0, 104]},
        }

    def _curves(self, percent: tuple[np.ndarray, np.ndarray]) -> list[tuple[str, np.ndarray, str]]:
        ink = palette(self.dark)
        return [("energy kept", percent[0], ink.original), ("accuracy", percent[1], ink.text)]

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        ink = canvas.palette
        small = {"text_font_size": "13px", "text_align": "right"}
        dashed = {"color": ink.text, "line_dash": "dashed", "line_width": 1.5}
        heat = {"cmap": interp_palette([ink.critical, ink.panel, ink.original], 255), "clim": (-LEVELS, LEVELS)}
        middle = {"text_font_size": "13px", "text_color": ink.muted}
        bars = canvas.picture(
            canvas.draw(hv.Rectangles, "bars", {"fill_color": "ink"}, line_color=None),
            canvas.draw(hv.Segments, "boundary", **dashed),
            canvas.draw(hv.Labels, "values", text_font_size="13px", text_color=ink.text, text_baseline="bottom"),
            canvas.draw(hv.Labels, "counts", {"text_color": "ink"}, **small),
            xlim=(0.4, 6.6),
            ylim=(0, 4.4),
            frame="bars frame",
            title="singular values",
            height=270,
        )
        curves = canvas.picture(
            canvas.draw(hv.Segments, "cut", **dashed),
            canvas.draw(hv.Curve, "energy", color=ink.original, line_width=2),
            canvas.draw(hv.Curve, "accuracy", color=ink.text, line_width=2),
            canvas.draw(hv.Points, "now", {"fill_color": "ink"}, size=8, line_color=None),
            canvas.draw(hv.Labels, "legend", {"text_color": "ink"}, **small),
            xlim=(0, 6),
            ylim=(0, 104),
            frame="curves frame",
            title="what rank k keeps, %",
            height=270,
        )
        maps = canvas.picture(
            canvas.draw(hv.Image, "W", **heat),
            canvas.draw(hv.Image, "grin", **heat),
            canvas.draw(hv.Labels, "map names", **middle),
            canvas.draw(hv.Labels, "note", **middle),
            xlim=(0, 2.1),
            ylim=(0, 1.18),
            bare=True,
            height=250,
        )
        maps.styles = {"grid-column": "1 / -1"}
        return [bars, curves, maps]

    def readouts(self, result: SVDMeasure) -> list[Readout]:
        if result.source is None:
            return [Readout("the network", "training …", "muted")]
        shown = [Readout("another network", "training …", "muted")] if result.training else []
        shown += [
            Readout("critical", f"{result.k} of {result.count}", "critical"),
            Readout("safe", f"{result.count - result.k} of {result.count}", "safe"),
            Readout("energy kept", f"{result.energy[result.k]:.1%}", "original"),
            Readout("effective rank", f"{result.effective_rank:.1f} of {result.count}"),
        ]
        if len(result.accuracy):
            shown += [
                Readout("accuracy at this rank", f"{result.accuracy[result.k]:.1%}"),
                Readout("accuracy of the whole", f"{result.accuracy[-1]:.1%}", "muted"),
                Readout("within a point of it from", f"k = {result.enough}", "lora"),
            ]
        return shown

    def describe(self, result: SVDMeasure) -> str:
        what = "toy" if result.name == "toy" else f"weight of {_spoken(result.name)}"
        if result.source is None:
            return f"The network is training; then the singular values of the {what} are drawn here."
        m, n = SHAPES[result.name]
        words = (
            f"Bars: the {result.count} singular values of the {m}×{n} {what}, from {result.sigma[0]:.3f} down to "
            f"{result.sigma[-1]:.3f}. A dashed boundary stands after the first {result.k}, which are critical, red; "
            f"the other {result.count - result.k} are safe, green. A curve shows the energy kept at each rank, here "
            f"{result.energy[result.k]:.1%}"
        )
        if len(result.accuracy):
            words += f", a second one the accuracy, here {result.accuracy[result.k]:.1%} of {result.accuracy[-1]:.1%}"
        if result.training:
            words += "; all this is of the last network, while another one trains"
        return f"{words}. Two heat maps show the weight and its best approximation of rank {result.k}."

    def details(self, result: SVDMeasure) -> str:
        items = "".join(
            f'<li class="{tag}">σ<sub>{i}</sub> = {value:.4f} <span class="tag">{tag}</span></li>'
            for i, value in enumerate(result.sigma, 1)
            for tag in ("critical" if i <= result.k else "safe",)
        )
        return f'<ol class="values" tabindex="0" aria-label="Singular values">{items}</ol>' if items else ""

    def claims(self, result: SVDMeasure) -> list[Claim]:
        if result.training or not len(result.accuracy):
            return []  # a toy has no task to lose
        lost = result.accuracy[-1] - result.accuracy[result.k]
        verdict = "holds" if lost <= SMALL_LOSS else "partly" if lost <= LARGE_LOSS else "fails"
        return [
            Claim(
                "grin",
                "The task lives in the critical directions; the safe ones do not matter to it.",
                f"Without the {result.count - result.k} safe directions of {_spoken(result.name)} the accuracy is "
                f"{result.accuracy[result.k]:.1%} instead of {result.accuracy[-1]:.1%}, with "
                f"{result.energy[result.k]:.1%} of the energy kept. Within a point of the whole it is from "
                f"k = {result.enough} of {result.count}, at {result.energy[result.enough]:.1%} of the energy.",
                verdict,
                tested=result.k < result.count,
            )
        ]

    def _on_controls(self, *events: param.parameterized.Event) -> None:
        super()._on_controls(*events)
        wanted = (self.seed, self.source)
        if self.source == "toy" or wanted == self._layer_key:
            self._coming = None
            self._worker.cancel()
        elif wanted != self._coming:
            self._coming = wanted
            self._worker.start(lambda: [layer(*wanted)])

    def _on_layer(self, news: list[Source]) -> None:
        self._layer, self._layer_key = news[-1], self._coming
        self._on_controls()

    def _on_end(self, error: BaseException | None) -> None:
        if error:
            self._coming = None
            with param.edit_constant(self):
                self.problem = f"The network could not be trained ({error}). Move a control to try again."
            self._redraw()

    @param.depends("regenerate", watch=True)
    def _on_regenerate(self) -> None:
        self.seed = self.seed + 1 if self.seed < MAX_SEED else 0


def _image(M: np.ndarray, result: SVDMeasure, x: float) -> Columns:
    """A matrix as one square of color, its first row on top."""
    W = result.source.W if result.source else np.ones((1, 1))
    scale = FULL_COLOR * np.sqrt(np.mean(W**2))
    levels = np.rint(LEVELS * np.clip(M / scale, -1, 1)).astype(np.int8)
    return {"image": [levels[::-1]], "x": [x], "y": [0.0], "dw": [1.0], "dh": [1.0]}
