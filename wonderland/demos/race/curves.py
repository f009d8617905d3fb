"""The race as curves: what is left of an old task, and how well the present one is learned."""

from dataclasses import dataclass

import holoviews as hv
import numpy as np
import panel as pn

from wonderland.demos.canvas import Canvas, Columns, Marks
from wonderland.demos.placing import apart, round_ticks
from wonderland.demos.race.entrants import METHODS
from wonderland.demos.race.races import Race, Track, center, spread
from wonderland.theme import Palette

ROOM = 1.6
"""How far the horizontal axis reaches beyond the last step, for the names of the curves."""
HEIGHT = 360
NAME = {"text_align": "left", "text_font_size": "13px"}


@dataclass(frozen=True, eq=False)
class Line:
    """A method's mean over seeds along the course, in percent, with its spread; NaN where a new task begins."""

    method: str
    x: np.ndarray
    y: np.ndarray
    spread: np.ndarray


def watched_line(track: Track, steps: int, task: int) -> Line:
    """Accuracy on one task of the course, from when the first had been learned."""
    shown = track.begun
    values = 100 * track.accuracy[:, shown, task]
    return Line(track.method, track.along(steps)[shown], center(values), spread(values))


def learned_line(track: Track, steps: int) -> Line:
    """Accuracy on whichever task is being learned, with a break before each."""
    x, y, width = [], [], []
    for task in range(1, track.accuracy.shape[2]):
        own = track.task == task
        values = 100 * track.accuracy[:, own, task]
        for column, part in ((x, track.along(steps)[own]), (y, center(values)), (width, spread(values))):
            column.extend((part, [np.nan]))
    return Line(track.method, *map(np.concatenate, (x, y, width)))


def curves_marks(race: Race, ink: Palette, watched: int) -> Marks:
    """The columns of both pictures: `watched` is the task of the left one, counted from 0."""
    steps = race.setting.steps
    tracks = [track for method in race.setting.methods if (track := race.of(method))]
    kept = [watched_line(track, steps, watched) for track in tracks]
    learned = [learned_line(track, steps) for track in tracks]
    total = race.setting.total
    marks: dict[str, Columns] = {
        "curves frame": {"x": [0, ROOM * total], "y": [0, 114], "ticks": round_ticks(total, 5)}
    }
    starts = [steps * task for task in range(len(race.setting.tasks) - 1)]
    marks["starts"] = {"x0": starts, "y0": [0.0] * len(starts), "x1": starts, "y1": [104.0] * len(starts)}
    marks["learning"] = {
        "x": [at + 0.02 * total for at in starts],
        "y": [108.0] * len(starts),
        "text": list(race.setting.tasks[1:]),
    }
    for kind, lines in (("kept", kept), ("learned", learned)):
        marks[f"{kind} bands"] = _bands(lines, ink)
        marks[f"{kind} curves"] = {
            "xs": [line.x for line in lines],
            "ys": [line.y for line in lines],
            "ink": [METHODS[line.method].ink(ink) for line in lines],
            "dash": [METHODS[line.method].dash for line in lines],
        }
        marks[f"{kind} names"] = _names(race, lines, ink)
        marks[f"{kind} lost"] = _lost(race, lines, ink)
    return marks


def curves_pictures(canvas: Canvas) -> list[pn.pane.HoloViews]:
    """What is left of the task that is watched; the task being learned."""
    ink = canvas.palette
    drawn = []
    for kind, title in (("kept", "the task watched, %"), ("learned", "the task being learned, %")):
        drawn.append(
            canvas.picture(
                canvas.draw(hv.Segments, "starts", color=ink.edge, line_width=1),
                canvas.draw(hv.Labels, "learning", text_color=ink.muted, **NAME),
                canvas.draw(hv.Polygons, f"{kind} bands", {"fill_color": "ink"}, line_color=None, fill_alpha=0.13),
                canvas.draw(hv.Path, f"{kind} curves", {"line_color": "ink", "line_dash": "dash"}, line_width=2.2),
                canvas.draw(hv.Scatter, f"{kind} lost", {"line_color": "ink"}, marker="x", size=11, line_width=2.5),
                canvas.draw(hv.Labels, f"{kind} names", {"text_color": "ink"}, **NAME),
                xlim=tuple(canvas.marks["curves frame"]["x"]),
                ylim=(0, 114),
                xticks=[0],
                frame="curves frame",
                yticks=[0, 20, 40, 60, 80, 100],
                xlabel="training step along the course",
                title=title,
                height=HEIGHT,
            )
        )
    return drawn


def last_point(line: Line) -> tuple[float, float] | None:
    """Where a line ends, if it has a point."""
    there = np.flatnonzero(np.isfinite(line.y))
    return (float(line.x[there[-1]]), float(line.y[there[-1]])) if len(there) else None


def _bands(lines: list[Line], ink: Palette) -> Columns:
    """One polygon for each unbroken piece of a line, mean ± standard deviation, within 0 and 100."""
    xs, ys, colors = [], [], []
    for line in lines:
        for piece in np.ma.clump_unmasked(np.ma.masked_invalid(line.y)):
            x, y, width = line.x[piece], line.y[piece], line.spread[piece]
            if len(x) > 1 and width.any():
                xs.append(np.concatenate([x, x[::-1]]))
                ys.append(np.clip(np.concatenate([y + width, (y - width)[::-1]]), 0, 100))
                colors.append(METHODS[line.method].ink(ink))
    return {"xs": xs, "ys": ys, "ink": colors}


def _names(race: Race, lines: list[Line], ink: Palette) -> Columns:
    ends = [(line, *end) for line in lines if (end := last_point(line))]
    # A cross at the end of a line wants room.
    return {
        "x": [x + (0.07 if race.tracks[line.method].lost else 0.02) * race.setting.total for line, x, _ in ends],
        "y": apart([y for *_, y in ends], 5.6, 2, 103),
        "text": [METHODS[line.method].label for line, *_ in ends],
        "ink": [METHODS[line.method].ink(ink) for line, *_ in ends],
    }


def _lost(race: Race, lines: list[Line], ink: Palette) -> Columns:
    """A cross for each network that diverged, at its step and at the height where its method's line was."""
    x, y, colors = [], [], []
    for line in lines:
        track = race.tracks[line.method]
        there = np.isfinite(line.y)
        for task, step in track.lost.values():
            at = (task - 1) * race.setting.steps + step
            before = there & (line.x <= at)
            if before.any():
                x.append(at)
                y.append(line.y[before][-1])
                colors.append(METHODS[line.method].ink(ink))
    return {"x": x, "y": y, "ink": colors}
