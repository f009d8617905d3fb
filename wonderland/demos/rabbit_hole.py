"""The opening: nested squares, each the last one turned by an orthogonal map and shrunk."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import panel as pn
from bokeh.models import ColumnDataSource, Patches, Plot, Range1d

from wonderland.demos.base import Demo, Readout
from wonderland.demos.canvas import Columns
from wonderland.demos.drag import follow_drag
from wonderland.demos.fields import field
from wonderland.demos.parameters import Real
from wonderland.maths import orthogonal
from wonderland.theme import Palette, html, palette

DEPTH = 30
"""Squares drawn inside the first."""
WITNESS = 30
"""The square whose turn and size are read off: the Rabbit's."""
SQUARE = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
REACH = 1.006
"""Limit of both axes: Bokeh does not clear the outermost half pixel of a picture, so nothing is drawn there."""
LAMPLIGHT = 11
"""A square this many times smaller than the first lies in the full light of the lamp at the bottom."""
_SHALLOWEST = 3  # a grip nearer the rim would turn the hole too fast to aim

# The White Rabbit in profile, clockwise from his heel; a smooth curve is laid through these.
_RABBIT = np.array(
    [
        *[(-0.50, -0.80), (-0.58, -0.72), (-0.68, -0.75), (-0.78, -0.67), (-0.76, -0.55), (-0.66, -0.50)],
        *[(-0.60, -0.45), (-0.57, -0.22), (-0.42, 0.00), (-0.22, 0.12), (-0.04, 0.20), (0.06, 0.30)],
        *[(0.08, 0.42), (-0.06, 0.54), (-0.26, 0.72), (-0.36, 0.86), (-0.32, 0.93), (-0.20, 0.90)],
        *[(0.00, 0.74), (0.14, 0.58), (0.10, 0.72), (0.05, 0.88), (0.10, 0.96), (0.20, 0.90)],
        *[(0.28, 0.72), (0.30, 0.55), (0.42, 0.48), (0.54, 0.36), (0.62, 0.24), (0.60, 0.15)],
        *[(0.48, 0.09), (0.34, 0.06), (0.30, -0.02), (0.31, -0.20), (0.30, -0.42), (0.28, -0.60)],
        *[(0.36, -0.68), (0.44, -0.76), (0.40, -0.82), (0.24, -0.82), (0.14, -0.76), (0.12, -0.60)],
        *[(0.10, -0.46), (0.04, -0.42), (0.00, -0.52), (0.06, -0.66), (0.10, -0.76), (0.05, -0.82)],
        (-0.20, -0.82),
    ]
)

_BESIDE = """
:host { display: grid; grid-template-columns: minmax(0, 560px) minmax(200px, 290px);
  grid-template-rows: 1fr auto; gap: 0 40px; }
@media (max-width: 900px) { :host { grid-template-columns: minmax(0, 560px); grid-template-rows: auto; } }
"""
_QUIET = """
.readouts { border: 0; padding: 0 10px; }
@media (min-width: 901px) { .readouts { display: grid; } }
"""
# A finger that sets out sideways twists; one that sets out up or down still scrolls the page.
_FRAME = {"border-radius": "10px", "overflow": "hidden", "touch-action": "pan-y", "grid-row": "1 / 3"}


@dataclass(frozen=True)
class HoleMeasure:
    """The squares down the hole.

    Parameters
    ----------
    degrees
        The turn of each square against the last.
    turn
        The orthogonal map, 2×2.
    shrink
        How many times smaller each square is than the last.
    maps
        The composed maps: square j is the first one under maps[j], (DEPTH + 1)×2×2.
    determinant
        Determinant of `turn`.
    witness_turn
        Degrees that square `WITNESS` is turned by, full turns counted, read off the composed maps.
    witness_size
        Side of square `WITNESS`, that of the first being 1, read off its composed map.
    """

    degrees: float
    turn: np.ndarray
    shrink: float
    maps: np.ndarray
    determinant: float
    witness_turn: float
    witness_size: float


def descend(degrees: float) -> HoleMeasure:
    """Turn and shrink a square until each lies with its corners on the sides of the last.

    A square turned by θ is as wide as cos θ + |sin θ| times its side, so that is what it must shrink by.

    Parameters
    ----------
    degrees
        Turn θ of each square against the last, −45…45.
    """
    Q = orthogonal.rotation(degrees)
    shrink = 1 / (Q[0, 0] + abs(Q[1, 0]))
    maps = [np.eye(2)]
    for _ in range(DEPTH):
        maps.append(shrink * Q @ maps[-1])
    maps = np.array(maps)
    angles = np.unwrap(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    return HoleMeasure(
        degrees=degrees,
        turn=Q,
        shrink=float(shrink),
        maps=maps,
        determinant=float(np.linalg.det(Q)),
        witness_turn=float(np.degrees(angles[WITNESS])),
        witness_size=float(np.sqrt(np.linalg.det(maps[WITNESS]))),
    )


@cache
def rabbit(samples: int = 5) -> np.ndarray:
    """Outline of the White Rabbit, p×2, within the square: a Catmull–Rom curve, `samples` points a piece."""
    before, after, next_but_one = (np.roll(_RABBIT, -step, axis=0)[:, None] for step in (-1, 1, 2))
    here = _RABBIT[:, None]
    t = np.linspace(0, 1, samples, endpoint=False)[:, None]
    curve = 2 * here + (after - before) * t
    curve = curve + (2 * before - 5 * here + 4 * after - next_but_one) * t**2
    curve = curve + (3 * here - before - 3 * after + next_but_one) * t**3
    return 0.9 * (curve / 2).reshape(-1, 2)


class RabbitHole(Demo):
    """Nested squares, each the last one turned by an orthogonal map and shrunk."""

    turn = Real(
        default=5,
        bounds=(-45, 45),
        step=0.5,
        label="Turn per square, in degrees",
        doc="Angle between one square and the next; each is shrunk until it fits into the last.",
    )

    title = "The rabbit hole"
    controls = ("turn",)
    code = (descend,)
    axes = {"turn": np.arange(-45, 45.5, 0.5)}

    def measure(self) -> HoleMeasure:
        return descend(self.turn)

    def marks(self, result: HoleMeasure) -> dict[str, Columns]:
        return {"hole": _patches(result, palette(self.dark), self.dark)}

    def readouts(self, result: HoleMeasure) -> list[Readout]:
        return [
            Readout("det of each turn", f"{result.determinant:+.6f}"),
            Readout(f"square {WITNESS}, turned", f"{result.witness_turn:.1f}°", "original"),
            Readout(f"square {WITNESS}, size", f"{100 * result.witness_size:.3g} %", "rotated"),
        ]

    def describe(self, result: HoleMeasure) -> str:
        return (
            f"A spiral of {DEPTH + 1} nested squares with a rabbit at the bottom. Each square is the last one, "
            f"turned by {result.degrees:g} degrees and shrunk to {result.shrink:.3f} of its size. Square {WITNESS} is "
            f"turned by {result.witness_turn:.1f} degrees and has {100 * result.witness_size:.3g} percent of the first "
            f"one's size. The determinant of each turn is {result.determinant:+.6f}."
        )

    # This page is the first that every visitor opens, so the card is only what it needs: the picture, in plain Bokeh
    # since HoloViews takes longer than all the rest together, its one control and its words.

    @cached_property
    def _card(self) -> pn.Column:
        [self._picture] = self.draw()
        self._words = html(self._words_html(), "demo")
        self._words.stylesheets = [*self._words.stylesheets, _QUIET]
        slider = field(self, "turn")
        controls = pn.Column(
            slider, self._reset_button(), sizing_mode="stretch_width", margin=0, styles={"align-self": "end"}
        )
        return pn.Column(
            self._picture,
            controls,
            self._words,
            sizing_mode="stretch_width",
            margin=0,
            styles=self._variables(),
            stylesheets=[_BESIDE],
        )

    def draw(self) -> list[pn.viewable.Viewable]:
        """The picture, in plain Bokeh."""
        self._source = ColumnDataSource(self.marks(self.result)["hole"], name="hole")
        plot = Plot(
            x_range=Range1d(-REACH, REACH),
            y_range=Range1d(-REACH, REACH),
            toolbar_location=None,
            background_fill_alpha=0,
            border_fill_alpha=0,
            outline_line_color=None,
            min_border=0,
            sizing_mode="scale_width",
            aspect_ratio=1,
            styles=_FRAME,
        )
        glyph = Patches(xs="xs", ys="ys", fill_color="fill", line_color="line", line_width=0.7, line_join="round")
        plot.add_glyph(self._source, glyph)
        follow_drag(plot, self._on_drag)
        return [pn.pane.Bokeh(plot, margin=0)]

    def _redraw(self) -> None:
        if "_card" not in self.__dict__:
            return
        self._source.data = dict(self.marks(self.result)["hole"])
        self._words.object = self._words_html()
        pn.io.push_notebook(self._picture)

    def _update_theme(self, *_: object) -> None:
        if "_card" in self.__dict__:
            self._card.styles = self._variables()
            self._redraw()

    def _on_drag(self, x: float, y: float, phase: str) -> None:
        """Turn the square under the pointer with it; every square above it takes its share."""
        pointer = np.degrees(np.arctan2(y, x))
        if phase == "start":
            self._grip = _depth(np.hypot(x, y), self.result.shrink)
            self._twist = self.turn
        elif phase == "move":
            moved = (pointer - self._pointer + 180) % 360 - 180
            self._twist = float(np.clip(self._twist + moved / self._grip, -45, 45))
            self.turn = round(self._twist, 2)
        self._pointer = pointer


def _depth(radius: float, shrink: float) -> float:
    """Number of the square that lies at this distance from the middle."""
    if shrink > 1 - 1e-9:
        return DEPTH
    rim = 1.2  # between half the side of the first square and half its diagonal
    return float(np.clip(np.log(max(radius, 1e-9) / rim) / np.log(shrink), _SHALLOWEST, DEPTH))


def _patches(hole: HoleMeasure, ink: Palette, dark: bool) -> Columns:
    """The squares from the rim down, two lit corners over each, then the lamp and the rabbit."""
    squares = SQUARE @ hole.maps.transpose(0, 2, 1)
    outer, inner = squares[:-1], squares[1:]
    step = -1 if hole.turn[1, 0] >= 0 else 1
    lit = [np.stack([outer[:, i], inner[:, i], inner[:, (i + step) % 4]], axis=1) for i in (0, 2)]
    shapes = [shape for ring in zip(outer, *lit, strict=True) for shape in ring]
    # The Rabbit stands upright in his square however it is turned.
    shapes += [squares[-1], rabbit() * np.sqrt(np.linalg.det(hole.maps[-1]))]

    light = np.minimum(-np.log(hole.shrink) * np.arange(DEPTH) / np.log(LAMPLIGHT), 1)
    glowing, lamp, silhouette = (ink.lora, ink.lora, ink.page) if dark else (ink.rotated, ink.panel, ink.text)
    color = _ramp([ink.original, ink.original, ink.rotated, glowing], light)
    page = _rgb(ink.page)
    shade = _hex(page + (color - page) * (0.08 + 0.22 * light)[:, None])
    glow = _hex(page + (color - page) * (0.22 + 0.75 * light)[:, None])
    fill = [tint for pair in zip(shade, glow, strict=True) for tint in (pair[0], pair[1], pair[1])]
    line = [tint for tint in glow for _ in range(3)]
    return {
        "xs": [np.round(shape[:, 0], 5).tolist() for shape in shapes],
        "ys": [np.round(shape[:, 1], 5).tolist() for shape in shapes],
        "fill": [*fill, lamp, silhouette],
        "line": [*line, lamp, silhouette],
    }


def _ramp(colors: list[str], at: np.ndarray) -> np.ndarray:
    """Colors, p×3, at places 0…1 along a row of evenly spaced ones."""
    stops = np.array([_rgb(color) for color in colors])
    places = np.linspace(0, 1, len(colors))
    return np.stack([np.interp(at, places, stops[:, channel]) for channel in range(3)], axis=1)


def _rgb(color: str) -> np.ndarray:
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], dtype=float)


def _hex(rgb: np.ndarray) -> list[str]:
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in rgb.round().astype(int).tolist()]
