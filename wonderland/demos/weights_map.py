"""The pictures of a checkpoint: a map of all its layers, and one layer's singular values and energy."""

from collections.abc import Callable
from dataclasses import dataclass

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.palettes import interp_palette

from wonderland.backend.heatmap import sampled
from wonderland.backend.plan import Plan, Planned
from wonderland.backend.tensors import Skipped, Spectrum
from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.checkpoints import Alike, Listing, Rows
from wonderland.demos.weights_words import shortened
from wonderland.theme import Palette, mixed

CELLS = 64
"""Parts of a layer's directions that the map tells apart."""
LEVELS = 100
NAMED = 24
"""Layers that still have room for their names beside the map."""
BARS = 96
"""Singular values of one layer that are drawn; of more, every so many."""
LONGEST = 18
"""Letters of a name beside the map."""
MARGIN, LETTER = 0.03, 0.0205
"""What the names take of the narrowest picture's width, that on a phone: by itself, and a letter."""


@dataclass(frozen=True, eq=False)
class WeightsMeasure:
    """The spectra of a checkpoint so far, what a rule keeps of each layer, and the layer that is looked at.

    ``layer`` counts from 1. While spectra are being taken, `busy` is true. `alike` says how alike the inputs and
    outputs of each layer are, where there are data to measure that on; `shares` holds what the reader gave instead.
    """

    listing: Listing
    rows: Rows
    layer: int
    plan: Plan
    busy: bool
    alike: Alike | None
    shares: dict[str, float]

    @property
    def name(self) -> str:
        """The chosen layer's."""
        return self.listing.names[self.layer - 1]

    @property
    def row(self) -> Spectrum | Skipped | None:
        """What is known of the chosen layer yet."""
        return self.rows.get(self.name)

    @property
    def chosen(self) -> Planned | None:
        """What the plan does with it."""
        return self.planned.get(self.name)

    @property
    def planned(self) -> dict[str, Planned]:
        """The plan by tensor."""
        return {layer.name: layer for layer in self.plan.layers}


def map_marks(result: WeightsMeasure, ink: Palette) -> Marks:
    """Of the whole checkpoint."""
    names, count = result.listing.names, len(result.listing.names)
    levels = np.full((count, CELLS), -1, dtype=np.int8)
    cuts, places = [], {name: count - 1 - at for at, name in enumerate(names)}
    for name, row in result.rows.items():
        if isinstance(row, Spectrum):
            levels[places[name]] = np.rint(LEVELS * np.array(sampled(row, CELLS)))
    for name, layer in result.planned.items():
        cuts.append((layer.k / min(layer.m, layer.n), places[name]))
    here = places[result.name]
    labelled = list(names) if count <= NAMED else [result.name]
    labels = [shortened(name.removesuffix(".weight"), LONGEST) for name in labelled]
    share = MARGIN + LETTER * max(map(len, labels))
    at, bottom = [x for x, _ in cuts], np.array([y for _, y in cuts], dtype=float)
    return {
        "map": {"image": [levels], "x": [0.0], "y": [0.0], "dw": [1.0], "dh": [float(count)]},
        "cuts": {"x0": at, "y0": bottom, "x1": at, "y1": bottom + 1},
        "chosen layer": {"x0": [0.0], "y0": [here], "x1": [1.0], "y1": [here + 1]},
        "names": {
            "x": [-0.015] * len(labelled),
            "y": np.clip([places[name] + 0.5 for name in labelled], 0.03 * count, 0.97 * count),
            "text": labels,
            "ink": [ink.text if name == result.name else ink.muted for name in labelled],
        },
        "map frame": {"x": [-1.03 * share / (1 - share), 1.03], "y": [0.0, float(count)]},
    }


def layer_marks(row: Spectrum | Skipped | None, layer: Planned | None, ink: Palette) -> Marks:
    """Of the layer that is looked at."""
    sigma = row.sigma if isinstance(row, Spectrum) else np.zeros(1)
    energy = 100 * row.energy if isinstance(row, Spectrum) else np.zeros(2)
    k = layer.k if layer else 0
    count = len(sigma)
    edges = np.unique(np.linspace(0, count, min(count, BARS) + 1).astype(int))
    first, top = edges[:-1], 1.15 * float(sigma[0]) or 1.0
    gap = 0.1 * (edges[1:] - first)
    points = np.unique(np.linspace(0, count, min(count, 4 * BARS) + 1).astype(int))
    return {
        "layer bars": {
            "x0": first + 0.5 + gap, "y0": np.zeros(len(first)), "x1": edges[1:] + 0.5 - gap, "y1": sigma[first],
            "ink": np.where(first < k, ink.critical, ink.safe if layer else ink.neutral),
        },
        "layer boundary": {"x0": [k + 0.5], "y0": [0.0], "x1": [k + 0.5], "y1": [top]},
        "layer counts": {
            "x": [count + 0.5] * 2,
            "y": [0.94 * top, 0.85 * top],
            "text": [f"critical: {k:,}", f"safe: {count - k:,}"] if layer else ["", ""],
            "ink": [ink.critical, ink.safe],
        },
        "layer energy": {"x": points, "y": energy[points]},
        "layer now": {"x": [k], "y": [energy[k]]},
        "layer cut": {"x0": [k], "y0": [0.0], "x1": [k], "y1": [100.0]},
        "layer bars frame": {"x": [0.5, count + 0.5], "y": [0.0, top]},
        "layer energy frame": {"x": [0, count], "y": [0, 104]},
    }  # fmt: skip


def pictures(canvas: Canvas, on_tap: Callable[[float, float], None]) -> list[pn.viewable.Viewable]:
    """The map, which is tapped, and the chosen layer's values and energy."""
    ink = canvas.palette
    ramp = [ink.grid, *interp_palette([mixed(ink.panel, ink.original, 0.06), ink.original], LEVELS + 1)]
    dashed = {"color": ink.text, "line_dash": "dashed", "line_width": 1.5}
    small = {"text_font_size": "13px", "text_align": "right"}
    frame, bars, energy = (canvas.marks[name] for name in ("map frame", "layer bars frame", "layer energy frame"))
    heat = canvas.picture(
        canvas.draw(hv.Image, "map", cmap=ramp, clim=(-1.5, LEVELS + 0.5)),
        canvas.draw(hv.Segments, "cuts", color=ink.critical, line_width=2),
        canvas.draw(hv.Rectangles, "chosen layer", fill_alpha=0, line_color=ink.text, line_width=1.5),
        canvas.draw(hv.Labels, "names", {"text_color": "ink"}, **small),
        xlim=tuple(frame["x"]),
        ylim=tuple(frame["y"]),
        frame="map frame",
        xticks=[(0, "0"), (0.5, "50%"), (1, "100%")],
        yticks=(),
        grid=False,
        height=330,
        title="σ/σ₁ of every layer, strongest direction left; red: k",
        max_width=900,
        on_tap=on_tap,
    )
    heat.styles = {"grid-column": "1 / -1"}
    spectrum = canvas.picture(
        canvas.draw(hv.Rectangles, "layer bars", {"fill_color": "ink"}, line_color=None),
        canvas.draw(hv.Segments, "layer boundary", **dashed),
        canvas.draw(hv.Labels, "layer counts", {"text_color": "ink"}, **small),
        xlim=tuple(bars["x"]),
        ylim=tuple(bars["y"]),
        frame="layer bars frame",
        title="singular values of the chosen layer",
        height=230,
    )
    kept = canvas.picture(
        canvas.draw(hv.Segments, "layer cut", **dashed),
        canvas.draw(hv.Curve, "layer energy", color=ink.original, line_width=2),
        canvas.draw(hv.Points, "layer now", color=ink.original, size=8, line_color=None),
        xlim=tuple(energy["x"]),
        ylim=tuple(energy["y"]),
        frame="layer energy frame",
        title="energy that its first k hold, %",
        height=230,
    )
    return [heat, spectrum, kept]
