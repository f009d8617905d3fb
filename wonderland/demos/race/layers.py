"""What happened to the weights, layer by layer, beside what was forgotten."""

import holoviews as hv
import numpy as np
import panel as pn

from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.race.entrants import METHODS
from wonderland.demos.race.matrix import strip_marks, strip_picture
from wonderland.demos.race.races import Race, Track
from wonderland.theme import Palette

WEIGHTS = {
    "leak": "‖ΔW Vₕ‖, change of the outputs for W's own leading inputs",
    "drift": "‖ΔW‖, how far the weights went",
    "shift": "root mean square ‖ΔW x‖, what the old tasks' inputs feel of it",
    "energy": "change of the neurons' hyperspherical energy, as a share of it",
}
"""The measures of a layer's weights since the present task began."""
LIMITS = {"leak": (1e-18, 1e3), "drift": (1e-2, 1e2), "shift": (1e-3, 1e2), "energy": (1e-18, 1e1)}
"""Limits of the logarithmic axis; an exact zero is drawn at the lower one."""


def by_layer(track: Track, weights: str) -> np.ndarray:
    """A measure of the weights at each seed's last point, mean over seeds, one number a layer."""
    held = track.last(weights)
    if weights == "energy":
        held = np.abs(held - 1)
    return held.mean(axis=0) if len(held) else np.zeros(0)


def layers_marks(race: Race, ink: Palette, weights: str) -> Marks:
    """The columns of both pictures: a digit for each layer of each method, and what each has forgotten."""
    methods, (low, high) = race.setting.methods, LIMITS[weights]
    digits: dict[str, list] = {"x": [], "y": [], "text": [], "ink": []}
    for row, method in enumerate(methods):
        track = race.of(method)
        held = np.clip(by_layer(track, weights), 3 * low, high) if track else np.zeros(0)
        for layer, value in enumerate(held.tolist()):
            entry = (value, -row - 0.06 - 0.17 * layer, str(layer + 1), METHODS[method].ink(ink))
            for column, part in zip(digits.values(), entry, strict=True):
                column.append(part)
    return strip_marks(race, ink, "forgetting") | {
        "layers": digits,
        "layer names": {
            "x": [low * 1.5] * len(methods),
            "y": [-row + 0.12 for row in range(len(methods))],
            "text": [METHODS[method].label for method in methods],
            "ink": [METHODS[method].ink(ink) for method in methods],
        },
        "layers frame": {
            "x": [low, high],
            "y": [-len(methods) + 0.3, 0.8],
            "ticks": [10.0**power for power in range(-15, 4, 5 if low < 1e-9 else 1) if low < 10.0**power < high],
        },
    }


def layers_pictures(canvas: Canvas) -> list[pn.pane.HoloViews]:
    """The weights, and what was forgotten, a row a method in both."""
    frame = canvas.marks["layers frame"]
    words = {"text_align": "left", "text_baseline": "bottom", "text_font_size": "13px"}
    left = canvas.picture(
        canvas.draw(hv.Labels, "layers", {"text_color": "ink"}, text_font_size="13px", text_font_style="bold"),
        canvas.draw(hv.Labels, "layer names", {"text_color": "ink"}, **words),
        xlim=tuple(frame["x"]),
        ylim=tuple(frame["y"]),
        frame="layers frame",
        logx=True,
        xticks=[1],
        yticks=(),
        height=360,
        title="the weights: layers 1, 2, 3",
    )
    return [left, strip_picture(canvas, "forgotten, mean of the old tasks, points", canvas.marks["measure frame"])]
