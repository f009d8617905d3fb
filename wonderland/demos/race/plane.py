"""The stability–plasticity plane: what is kept across, what is learned upward, one cloud a method."""

import holoviews as hv
import numpy as np
import panel as pn

from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.placing import apart
from wonderland.demos.race.entrants import METHODS
from wonderland.demos.race.races import Race, Track, center
from wonderland.theme import Palette


def place(track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Of each seed at each point, S×P, in percent: mean accuracy on the old tasks, and accuracy on the present one."""
    old, new = (np.full(track.loss.shape, np.nan) for _ in range(2))
    for task in range(1, track.accuracy.shape[2]):
        own = track.task == task
        old[:, own] = 100 * track.accuracy[:, own, :task].mean(axis=2)
        new[:, own] = 100 * track.accuracy[:, own, task]
    return old, new


def plane_marks(race: Race, ink: Palette) -> Marks:
    """The columns of the plane: the way of each method's mean on the present task, its seeds and its mean now."""
    ways: dict[str, list] = {"xs": [], "ys": [], "ink": [], "dash": []}
    cloud: dict[str, list] = {"x": [], "y": [], "ink": []}
    means: dict[str, list] = {"x": [], "y": [], "ink": []}
    names: list[str] = []
    for method in race.setting.methods:
        track = race.of(method)
        if not track:
            continue
        runner, (old, new) = METHODS[method], place(track)
        present = track.task == track.task.max()
        x, y = center(old[:, present]), center(new[:, present])
        there = np.isfinite(x)
        if not there.any():
            continue
        color = runner.ink(ink)
        ways["xs"].append(x[there])
        ways["ys"].append(y[there])
        ways["ink"].append(color)
        ways["dash"].append(runner.dash)
        last = track.now[(track.now >= 0) & ~np.isin(track.seeds, list(track.lost))]
        seats = np.flatnonzero((track.now >= 0) & ~np.isin(track.seeds, list(track.lost)))
        cloud["x"] += old[seats, last].tolist()
        cloud["y"] += new[seats, last].tolist()
        cloud["ink"] += [color] * len(seats)
        means["x"].append(float(x[there][-1]))
        means["y"].append(float(y[there][-1]))
        means["ink"].append(color)
        names.append(runner.label)
    right = [x > 62 for x in means["x"]]
    heights = np.array(means["y"], dtype=float)
    for side in (True, False):  # names on the left of points far right, so that none leaves the picture
        own = [row for row, at in enumerate(right) if at is side]
        heights[own] = apart([means["y"][row] for row in own], 5.2, 2, 103)
    labels = {
        "x": [x - 3 if far else x + 3 for x, far in zip(means["x"], right, strict=True)],
        "y": heights,
        "text": names,
        "ink": means["ink"],
    }
    return {
        "ways": ways,
        "cloud": cloud,
        "cloud means": means,
        "names left": {
            name: [v for v, far in zip(column, right, strict=True) if far] for name, column in labels.items()
        },
        "names right": {
            name: [v for v, far in zip(column, right, strict=True) if not far] for name, column in labels.items()
        },
    }


def plane_pictures(canvas: Canvas) -> list[pn.pane.HoloViews]:
    """The plane."""
    ink = canvas.palette
    # On a ground of their own: another method's dots may lie where a name has to stand.
    words = {"text_font_size": "13px", "background_fill_color": ink.panel, "background_fill_alpha": 0.75}
    return [
        canvas.picture(
            canvas.draw(hv.Path, "ways", {"line_color": "ink", "line_dash": "dash"}, line_width=1.4, line_alpha=0.7),
            canvas.draw(hv.Points, "cloud", {"fill_color": "ink"}, size=8, line_color=None, fill_alpha=0.35),
            canvas.draw(hv.Points, "cloud means", {"fill_color": "ink"}, size=13, line_color=ink.panel, line_width=2),
            canvas.draw(hv.Labels, "names left", {"text_color": "ink"}, text_align="right", **words),
            canvas.draw(hv.Labels, "names right", {"text_color": "ink"}, text_align="left", **words),
            xlim=(-3, 105),
            ylim=(-3, 107),
            xticks=[0, 20, 40, 60, 80, 100],
            yticks=[0, 20, 40, 60, 80, 100],
            xlabel="stability: old tasks, mean, %",
            ylabel="plasticity: the present task, %",
            title="up and right: learned, nothing lost",
            height=420,
            max_width=760,
        )
    ]
