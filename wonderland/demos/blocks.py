"""The four blocks of a matrix gradient, seen in the singular bases of its weight, and which of them a rule removes."""

from dataclasses import dataclass
from functools import lru_cache

import holoviews as hv
import numpy as np
import panel as pn

from wonderland import backend
from wonderland.demos.canvas import Canvas, Marks
from wonderland.maths import energy, subspace
from wonderland.theme import Palette

STEP = 0.1
"""Length of the step that tries a rule out, that of the weight being 1."""
SIDES = ("protected", "free")
_SIDE_NAMES = {
    "x": [0.5, 1.5, -0.1, -0.1],
    "y": [-0.1, -0.1, 1.5, 0.5],
    "text": [f"{side} {end}" for end in ("inputs", "outputs") for side in SIDES],
    "angle": [0, 0, np.pi / 2, np.pi / 2],
}
_CELL = 0.76  # side of the square that holds all of the gradient's energy; a cell's side is 1


@dataclass(frozen=True)
class BlockMeasure:
    """A gradient G (n×n) in the singular bases of the weight, and what each rule does to it.

    Parameters
    ----------
    size, k
        n, and how many directions are protected on each side.
    shares
        Share of ‖G‖² in each block of UᵀGV, output side first: "protected-free" and so on.
    removed
        Share of ‖G‖² that each rule removes.
    pull
        Share of ‖G·V_h‖ that each rule leaves to act on the protected inputs; 0 where nothing is protected.
    inputs, outputs
        ‖ΔW·V_h‖ / ‖W‖ and ‖U_hᵀ·ΔW‖ / ‖W‖ of a step along what each rule leaves: every protected triplet is kept
        where both are zero.
    angles
        Largest change of the angle between two neurons in that step, in degrees.
    """

    size: int
    k: int
    shares: dict[str, float]
    removed: dict[str, float]
    pull: dict[str, float]
    inputs: dict[str, float]
    outputs: dict[str, float]
    angles: dict[str, float]


@dataclass(frozen=True)
class EngineMeasure:
    """A step of the OSFT engine along the same gradient, all as shares of ‖W‖.

    Parameters
    ----------
    inputs, outputs
        ‖ΔW·V_h‖ and ‖U_hᵀ·ΔW‖.
    apart
        How far it ended from the step that the two-sided rule takes.
    """

    inputs: float
    outputs: float
    apart: float


@lru_cache(maxsize=128)
def measure_blocks(size: int, k: int, seed: int) -> BlockMeasure:
    """Draw a weight and a gradient, both size×size and Gaussian, protect k directions, and try every rule.

    Raises
    ------
    ValueError
        If k is outside 0…size.
    """
    rng = np.random.default_rng(seed)
    W, G = rng.standard_normal((2, size, size))
    split = subspace.split(W, k)
    total, scale = np.linalg.norm(G), np.linalg.norm(W)
    pull = np.linalg.norm(G @ split.V_h)
    angles = energy.pairwise_angles(W)
    measured: dict[str, dict[str, float]]
    measured = {"removed": {}, "pull": {}, "inputs": {}, "outputs": {}, "angles": {}}
    for rule in subspace.RULES:
        left = subspace.project(G, split, rule)
        length = np.linalg.norm(left)
        moved = W - left * (STEP * scale / length) if length > 1e-9 * total else W
        measured["removed"][rule] = float(1 - (length / total) ** 2)
        measured["pull"][rule] = float(np.linalg.norm(left @ split.V_h) / pull) if k else 0.0
        leak = subspace.leak(moved, split)
        measured["inputs"][rule], measured["outputs"][rule] = leak.right / float(scale), leak.left / float(scale)
        measured["angles"][rule] = float(np.abs(energy.pairwise_angles(moved) - angles).max())
    blocks = subspace.blocks(G, split)
    return BlockMeasure(size, k, shares={name: value / total**2 for name, value in blocks.items()}, **measured)


@lru_cache(maxsize=128)
def measure_engine(size: int, k: int, seed: int) -> EngineMeasure:
    """Let the engine take the same step: it trains C alone, and C’s gradient is all it has of G.

    Raises
    ------
    ValueError
        If k is outside 1…size − 1, where there is nothing to protect or nothing to train.
    """
    from wonderland.backend.step import core_step  # torch, which the page does not wait for

    rng = np.random.default_rng(seed)
    W, G = rng.standard_normal((2, size, size))
    split, scale = subspace.split(W, k), float(np.linalg.norm(W))
    ruled = subspace.project(G, split, "two-sided")
    rate = STEP * scale / float(np.linalg.norm(ruled))
    with backend.one_core():
        moved = core_step(W, G, k, rate)
    leak = subspace.leak(moved, split)
    apart = np.linalg.norm(W - rate * ruled - moved)
    return EngineMeasure(leak.right / scale, leak.left / scale, float(apart) / scale)


def block_picture(canvas: Canvas) -> pn.pane.HoloViews:
    """The picture of what `block_marks` gives."""
    ink = canvas.palette
    words = {"text_font_size": "13px", "text_align": "center", "text_baseline": "middle"}
    return canvas.picture(
        canvas.draw(hv.Rectangles, "cells", color=ink.page, line_color=ink.edge),
        canvas.draw(
            hv.Rectangles,
            "blocks",
            fields={"fill_color": "ink", "line_color": "ink", "fill_alpha": "alpha"},
            line_width=2,
        ),
        canvas.draw(hv.Labels, "shares", fields={"text_color": "ink"}, **words),
        canvas.draw(hv.Labels, "sides", fields={"angle": "angle"}, text_color=ink.muted, **words),
        title="a matrix — where ‖G‖² lies",
        xlim=(-0.2, 2.02),
        ylim=(-0.2, 2.02),
        square=True,
        bare=True,
    )


def block_marks(matrix: BlockMeasure, rule: str, ink: Palette) -> Marks:
    """Four cells, in each a square whose area is that block's share of the energy: amber if removed, green if kept."""
    names = [f"{out}-{by}" for out in SIDES for by in SIDES]
    middle = np.array([(column + 0.5, 1.56 - row) for row in range(2) for column in range(2)])
    half = _CELL / 2 * np.sqrt([matrix.shares[name] for name in names])
    taken = [name in subspace.removed_blocks(rule) for name in names]
    inks = [ink.lora if gone else ink.safe for gone in taken]
    return {
        "cells": _boxes(np.floor(middle) + 0.5, np.full(4, 0.49)),
        "blocks": _boxes(middle, half) | {"ink": inks, "alpha": [0.12 if gone else 0.85 for gone in taken]},
        "shares": {
            "x": middle[:, 0],
            "y": middle[:, 1] - 0.48,
            "text": [
                f"{percent(matrix.shares[name])} {'removed' if gone else 'kept'}"
                for name, gone in zip(names, taken, strict=True)
            ],
            "ink": inks,
        },
        "sides": _SIDE_NAMES,
    }


def _boxes(middle: np.ndarray, half: np.ndarray) -> dict[str, np.ndarray]:
    (x, y) = middle.T
    return {"x0": x - half, "y0": y - half, "x1": x + half, "y1": y + half}


def sketch(rule: str) -> str:
    """The four blocks as a small drawing: amber if removed, green if kept."""
    cells = "".join(
        f'<rect x="{12 * column}" y="{12 * row}" width="10" height="10" rx="1.5" '
        f'fill="var(--w-{"lora" if f"{out}-{by}" in subspace.removed_blocks(rule) else "safe"})"/>'
        for row, out in enumerate(SIDES)
        for column, by in enumerate(SIDES)
    )
    style = "vertical-align: middle; margin-right: 12px"
    return f'<svg width="22" height="22" style="{style}" aria-hidden="true">{cells}</svg>'


def percent(share: float) -> str:
    """A share with one decimal, and no minus before a zero."""
    return f"{round(100 * share, 1) + 0.0:.1f} %"
