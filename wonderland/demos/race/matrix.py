"""The accuracy matrix: after each task, how well every task is known; and what is read off it."""

import holoviews as hv
import numpy as np
import panel as pn

from wonderland.backend import metrics
from wonderland.demos.canvas import Canvas, Columns, Marks
from wonderland.demos.race.entrants import METHODS
from wonderland.demos.race.races import Race, Track, center
from wonderland.theme import Palette, mixed

MEASURES = {
    "average accuracy": "average_accuracy",
    "backward transfer": "backward_transfer",
    "forward transfer": "forward_transfer",
    "forgetting": "forgetting",
}
"""By the name on the page, the backend's."""
SAID = {
    "average accuracy": "the mean of the last row: all tasks, once the last has been learned",
    "backward transfer": "the last row less the diagonal: what later tasks did to those before; below 0 is forgetting",
    "forward transfer": "just above the diagonal, less the accuracy before any learning: what a task finds done for it",
    "forgetting": "the best in each column so far less its last row, for every task but the newest",
}
LIMITS = {"average accuracy": (0, 100), "backward transfer": (-105, 40), "forward transfer": (-40, 60)}
LIMITS["forgetting"] = (-15, 105)


def learned(race: Race) -> int:
    """How many tasks the race on screen has come to, the present one included; 0 before it has begun."""
    reached = [int(track.task.max()) + 1 for method in race.setting.methods if (track := race.of(method))]
    return min(reached, default=0)


def values(track: Track, measure: str, count: int) -> np.ndarray:
    """A measure of the first `count` tasks, in percent, one for each seed that has not diverged."""
    if count < 2:
        return np.zeros(0)
    name = MEASURES[measure]
    made = []
    for seed, R, untrained in zip(track.seeds, *track.matrices(), strict=True):
        R = R[:count, :count]
        if seed in track.lost or not np.isfinite(R).all():
            continue
        if name == "forward_transfer":
            made.append(metrics.forward_transfer(R, untrained[:count]))
        else:
            made.append(getattr(metrics, name)(R))
    return 100 * np.array(made)


def matrix_marks(race: Race, ink: Palette, focus: str, measure: str) -> Marks:
    """The columns of both pictures: the matrix of the method in focus, and the measure of every method."""
    return _matrix(race, ink, focus, measure) | strip_marks(race, ink, measure)


def _matrix(race: Race, ink: Palette, focus: str, measure: str) -> Marks:
    tasks, track = race.setting.tasks, race.of(focus)
    count, reached = len(tasks), learned(race)
    R = 100 * center(track.matrices()[0]) if track else np.full((count, count), np.nan)
    color = METHODS[focus].ink(ink)
    rows, columns = (part.ravel() for part in np.indices((count, count)))
    held = R.ravel()
    known = np.isfinite(held)
    used = np.zeros((count, count), dtype=bool)
    if reached >= 2:
        used[:reached, :reached] = metrics.cells(MEASURES[measure], reached)
    outlined = np.flatnonzero(used.ravel())
    shades = [
        mixed(ink.panel, color, 0.75 * value / 100) if there else ink.panel
        for value, there in zip(held, known, strict=True)
    ]
    return {
        "cells": _boxes(rows, columns, 0.47) | {"ink": shades},
        "used cells": _boxes(rows[outlined], columns[outlined], 0.43),
        "cell values": {
            "x": columns.astype(float),
            "y": -rows.astype(float),
            "text": [f"{value:.0f}" if there else "" for value, there in zip(held, known, strict=True)],
        },
        "row names": {"x": [-0.62] * count, "y": -np.arange(count), "text": [f"after {task}" for task in tasks]},
        "column names": {"x": np.arange(count), "y": [0.62] * count, "text": list(tasks)},
        "matrix frame": {"x": [-1.95, count - 0.4], "y": [-count + 0.4, 1.0]},
    }


def strip_marks(race: Race, ink: Palette, measure: str) -> Marks:
    """One row a method: each seed's value, their mean, and its number."""
    reached = learned(race)
    methods = list(race.setting.methods)
    low, high = LIMITS[measure]
    made = [values(track, measure, reached) if (track := race.of(method)) else np.zeros(0) for method in methods]
    colors = [METHODS[method].ink(ink) for method in methods]
    dots: dict[str, list] = {"x": [], "y": [], "ink": []}
    for row, (own, color) in enumerate(zip(made, colors, strict=True)):
        dots["x"] += [float(value) for value in own]
        dots["y"] += [-row - 0.16] * len(own)
        dots["ink"] += [color] * len(own)
    there = [row for row, own in enumerate(made) if len(own)]
    means = [float(made[row].mean()) for row in there]
    return {
        "seeds of measure": dots,
        "means": {
            "x0": means,
            "y0": [-row - 0.36 for row in there],
            "x1": means,
            "y1": [-row + 0.04 for row in there],
            "ink": [colors[row] for row in there],
        },
        "zero": {"x0": [0.0], "y0": [-len(methods) + 0.4], "x1": [0.0], "y1": [0.5]},
        "measure names": {
            "x": [low] * len(methods),
            "y": [-row + 0.12 for row in range(len(methods))],
            "text": [
                f"{METHODS[method].label} {own.mean():.1f}" if len(own) else f"{METHODS[method].label} —"
                for method, own in zip(methods, made, strict=True)
            ],
            "ink": colors,
        },
        "measure frame": {"x": [low, high], "y": [-len(methods) + 0.3, 0.8]},
    }


def matrix_pictures(canvas: Canvas) -> list[pn.pane.HoloViews]:
    """The matrix, and the strip of every method's measure beside it."""
    ink = canvas.palette
    frames = canvas.marks["matrix frame"], canvas.marks["measure frame"]
    words = {"text_font_size": "13px", "text_color": ink.muted}
    matrix = canvas.picture(
        canvas.draw(hv.Rectangles, "cells", {"fill_color": "ink"}, line_color=ink.edge, line_width=1),
        canvas.draw(hv.Rectangles, "used cells", fill_alpha=0, line_color=ink.text, line_width=2.5),
        canvas.draw(hv.Labels, "cell values", text_color=ink.text, text_font_size="15px"),
        canvas.draw(hv.Labels, "row names", text_align="right", **words),
        canvas.draw(hv.Labels, "column names", **words),
        xlim=tuple(frames[0]["x"]),
        ylim=tuple(frames[0]["y"]),
        frame="matrix frame",
        bare=True,
        height=360,
        title="accuracy on each task, %",
    )
    return [matrix, strip_picture(canvas, "the measure: seeds, and their mean", frames[1])]


def strip_picture(canvas: Canvas, title: str, frame: Columns) -> pn.pane.HoloViews:
    """The picture of `strip_marks`."""
    ink = canvas.palette
    return canvas.picture(
        canvas.draw(hv.Segments, "zero", color=ink.edge, line_width=1.5),
        canvas.draw(hv.Points, "seeds of measure", {"fill_color": "ink"}, size=7, line_color=None, fill_alpha=0.55),
        canvas.draw(hv.Segments, "means", {"line_color": "ink"}, line_width=3),
        canvas.draw(
            hv.Labels,
            "measure names",
            {"text_color": "ink"},
            text_align="left",
            text_baseline="bottom",
            text_font_size="13px",
        ),
        xlim=tuple(frame["x"]),
        ylim=tuple(frame["y"]),
        frame="measure frame",
        yticks=(),
        height=360,
        title=title,
    )


def _boxes(rows: np.ndarray, columns: np.ndarray, half: float) -> Columns:
    return {"x0": columns - half, "y0": -rows - half, "x1": columns + half, "y1": -rows + half}
