"""The tale of chapter 11: four curves that were drawn, and not measured."""

import holoviews as hv
import numpy as np
import panel as pn

from wonderland.demos.canvas import Canvas, Columns
from wonderland.demos.placing import apart
from wonderland.theme import Palette

TALE_STEPS = 100
FORGETTING = 60
"""The step from which the tale's full fine-tuning falls."""
POINTED = 80
"""The step of the fall that an arrow points at."""
TALE_CONCEPTS = {"OFT": "original", "LoRA": "lora", "OSFT": "safe", "full": "critical"}
ROOM = 1.24
"""How far the horizontal axis reaches beyond the last step, for the names of the curves."""


def tale(s: np.ndarray) -> dict[str, np.ndarray]:
    """The tale's four curves at the steps s, 0…100: formulas, no training."""
    base = 0.5 + 0.4 * s / TALE_STEPS
    return {
        "OFT": base + 0.05 * np.sin(s / 10),
        "LoRA": base - 0.05 + 0.06 * np.sin(s / 8),
        "OSFT": base + 0.05 + 0.03 * np.sin(s / 12),
        "full": base - np.maximum(0, s - FORGETTING) / TALE_STEPS,
    }


def tale_marks(curves: dict[str, np.ndarray], ink: Palette) -> dict[str, Columns]:
    """The columns of every mark of the tale, as far as `curves` tell it."""
    told = len(curves["full"]) - 1
    at = np.arange(told + 1)
    ends = [curve[-1] for curve in curves.values()]
    marks: dict[str, Columns] = {f"tale {name}": {"x": at, "y": curve} for name, curve in curves.items()}
    marks["tale names"] = {
        "x": [told + 1.5] * len(ends),
        "y": apart(ends, 0.05, 0.32, 1.0),
        "text": list(curves),
        "ink": [getattr(ink, concept) for concept in TALE_CONCEPTS.values()],
    }
    marks["arrow"], marks["arrow name"] = _arrow(told)
    return marks


def tale_picture(canvas: Canvas) -> pn.pane.HoloViews:
    """The four curves and the arrow."""
    ink = canvas.palette
    label = {"text_align": "left", "text_font_size": "13px"}
    told = [
        canvas.draw(hv.Curve, f"tale {name}", color=getattr(ink, concept), line_width=2)
        for name, concept in TALE_CONCEPTS.items()
    ]
    picture = canvas.picture(
        *told,
        canvas.draw(hv.Segments, "arrow", color=ink.text, line_width=1.5),
        canvas.draw(hv.Labels, "arrow name", text_color=ink.text, text_font_size="13px", text_baseline="top"),
        canvas.draw(hv.Labels, "tale names", {"text_color": "ink"}, **label),
        xlim=(0, TALE_STEPS * ROOM),
        ylim=(0.3, 1.05),
        xticks=[0, 20, 40, 60, 80, 100],
        xlabel="step",
        ylabel="performance",
        title="the tale, an illustration",
        height=340,
    )
    picture.styles = {"order": "var(--late)"}  # on a phone the measured pictures stand next to the slider
    return picture


def tale_html(curves: dict[str, np.ndarray]) -> str:
    """The values at the ends of the curves."""
    values = "".join(
        f'<div style="--concept: var(--w-{TALE_CONCEPTS[name]})"><dt>{name}</dt><dd>{curve[-1]:.3f}</dd></div>'
        for name, curve in curves.items()
    )
    tag = '<span class="tag">the tale, an illustration</span>'
    told = len(curves["full"]) - 1
    return f'<p class="detail">{tag} The curves as drawn, at step {told}:</p><dl class="ends">{values}</dl>'


def _arrow(told: int) -> tuple[Columns, Columns]:
    """An arrow at the tale's forgetting, once the curve that it points at is there."""
    if told < POINTED:
        return {"x0": [], "y0": [], "x1": [], "y1": []}, {"x": [], "y": [], "text": []}
    x, y = POINTED, float(tale(np.array(POINTED))["full"])
    tip = {"x1": [x - 1] * 3, "y1": [y - 0.02] * 3}
    tail = {"x0": [x - 14, x - 3.6, x - 2], "y0": [y - 0.16, y - 0.03, y - 0.05]}
    return {**tail, **tip}, {"x": [x - 14], "y": [y - 0.17], "text": ["catastrophic forgetting"]}
