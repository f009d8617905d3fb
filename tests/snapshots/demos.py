"""Small demos that a test can count the states of."""

from dataclasses import dataclass

import holoviews as hv
import panel as pn
import param

from wonderland.demos.base import Demo, Readout
from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.parameters import Choice, Real, Whole
from wonderland.theme import palette


@dataclass(frozen=True)
class PairMeasure:
    a: float
    b: float


class Pair(Demo):
    """Two numbers that know nothing of each other, and one that both need."""

    a = Whole(default=1, bounds=(0, 9), step=1, label="A", doc="First.")
    b = Real(default=0.5, bounds=(0, 2), step=0.5, label="B", doc="Second.")
    seed = Whole(default=0, bounds=(0, 99), label="Seed", doc="Of both.")
    again = param.Event(label="Again", doc="The next seed.")

    title = "A pair"
    controls = ("a", "b", "again")
    more = ("seed",)
    axes = {"a": range(4), "b": (0, 0.5, 1), "seed": range(3)}
    apart = (("a",), ("b",))
    presses = ("again",)

    def __init__(self, **params: object) -> None:
        super().__init__(**params)
        self.param.watch(lambda _: setattr(self, "seed", self.seed + 1), "again")

    def measure(self) -> PairMeasure:
        return PairMeasure(self.a + 10 * self.seed, self.b + 10 * self.seed)

    def marks(self, result: PairMeasure) -> Marks:
        ink = palette(self.dark)
        return {
            "one": {"x": [result.a], "y": [0.0]},
            "two": {"x": [result.b], "y": [1.0], "ink": [ink.safe if result.b < 1 else ink.critical]},
        }

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        return [
            canvas.picture(
                canvas.draw(hv.Points, "one", color=canvas.palette.text),
                canvas.draw(hv.Points, "two", {"fill_color": "ink"}),
                xlim=(0, 40),
                ylim=(-1, 2),
            )
        ]

    def readouts(self, result: PairMeasure) -> list[Readout]:
        return [Readout("one", f"{result.a}"), Readout("two", f"{result.b:g}")]

    def describe(self, result: PairMeasure) -> str:
        return f"Two points, one at {result.a}{' or so' * (result.a % 2)}, the other at {result.b:g}. That is all."


class Entangled(Pair):
    """A pair whose second point needs the first number, too."""

    def marks(self, result: PairMeasure) -> Marks:
        return super().marks(result) | {"two": {"x": [result.a * result.b], "y": [1.0], "ink": ["#000000"]}}


class Choosy(Pair):
    """A pair that cannot be measured everywhere, and whose second number does nothing for a first of 0."""

    apart = ()

    def offered(self, name: str) -> bool:
        return name != "b" or self.a > 0

    def measure(self) -> PairMeasure:
        if self.a == 3:
            raise ValueError("A = 3 cannot be measured: give 0…2.")
        return super().measure() if self.a else PairMeasure(0, 0)


class Two(Pair):
    """A pair with two views, whose pictures have different marks."""

    view = Choice(default="points", objects=["points", "bars"], label="View", doc="Which pictures are shown.")

    axes = {"view": ("points", "bars"), "a": range(3)}
    apart = ()
    presses = ()

    def marks(self, result: PairMeasure) -> Marks:
        if self.view == "points":
            return super().marks(result)
        return {"other": {"x": [result.a], "y": [2.0]}}

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        if self.view == "points":
            return super().pictures(canvas)
        bars = [canvas.picture(canvas.draw(hv.Points, "other"), xlim=(0, 40), ylim=(-1, 3)) for _ in range(2)]
        return [bars[0], pn.Column(bars[1])]
