"""Chapter 5: what will the old skill do? The reader's guess, then the recorded run."""

import html
from dataclasses import dataclass

import holoviews as hv
import numpy as np
import panel as pn
import param

from wonderland.demos.base import Claim, Demo, Readout
from wonderland.demos.canvas import HINT, Canvas, Marks
from wonderland.demos.parameters import Whole
from wonderland.demos.placing import apart
from wonderland.demos.race import record as race_record
from wonderland.demos.race.races import Race
from wonderland.theme import Palette, mixed, palette

STEPS = (30, 60, 120, 180, 240, 300)
"""Training steps at which the reader says what will be left; in between the guess is a straight line."""
SHAPES = {
    "hold": (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    "sag": (0.98, 0.96, 0.92, 0.88, 0.84, 0.8),
    "at_once": (0.4, 0.25, 0.2, 0.15, 0.15, 0.15),
    "late": (1.0, 1.0, 1.0, 0.9, 0.5, 0.3),
    "back": (0.7, 0.6, 0.7, 0.8, 0.9, 0.95),
}
"""Curves to start from, as shares of the accuracy before."""
ROOM = 364
"""Where the horizontal axis ends: the names of the curves stand behind the last step."""
NOTABLE = 10
"""A loss of so many points is called forgetting."""


@dataclass(frozen=True, eq=False)
class ForgettingMeasure:
    """The guess, and once it is revealed the run; accuracies in percent."""

    steps: np.ndarray
    guessed: tuple[int, ...]
    """The guess at each of `STEPS`."""
    guess: np.ndarray
    """The guess at each of `steps`."""
    revealed: bool
    runs: np.ndarray
    """Accuracy on task A of the recorded runs of full fine-tuning, a row for each seed; no row without a record."""
    old: np.ndarray
    """Their mean accuracy on task A at each of `steps`."""
    new: np.ndarray
    """Their mean accuracy on task B."""
    gap: float
    """Mean distance of the guess from `old`, in percentage points."""
    widest: float
    widest_at: int
    spoiled: str = ""
    """Why there is no recorded run; nothing of one is in the measure then."""


def compare(steps: np.ndarray, guess: np.ndarray, old: np.ndarray) -> tuple[float, float, int]:
    """Mean and largest distance of two curves over the same steps, and the step of the largest."""
    gaps = np.abs(guess - old)
    worst = int(gaps.argmax())
    return float(gaps.mean()), float(gaps[worst]), int(steps[worst])


def shaped(name: str) -> tuple[int, ...]:
    """A curve to start from, in percent: its shares of what the recorded runs knew before, of 100 without a record."""
    try:
        start = _first_stage(race_record.recorded())[1][:, 0].mean()
    except ValueError:
        start = 100.0
    return tuple(round(share * start) for share in SHAPES[name])


def _first_stage(race: Race) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Full fine-tuning on the course's second task: the steps, and in percent the accuracy on A and on B by seed."""
    track = race.of("full")
    own = track.task == 1
    return track.step[own], 100 * track.accuracy[:, own, 0], 100 * track.accuracy[:, own, 1]


def _after(steps: int) -> Whole:
    return Whole(
        default=97,
        bounds=(0, 100),
        step=1,
        label=f"Guess after {steps} steps, %",
        doc=f"How many of the old task's images will be named rightly after {steps} steps of the new one.",
    )


class FirstForgetting(Demo):
    """A network learns a second task in the plainest way: guess what becomes of the first, then look."""

    hold = param.Event(label="Holds", doc="Start from a curve that stays where it is.")
    sag = param.Event(label="Sags", doc="Start from a curve that slowly sinks.")
    at_once = param.Event(label="Falls at once", doc="Start from a curve that falls in the first steps.")
    late = param.Event(label="Falls late", doc="Start from a curve that holds for long and then falls.")
    back = param.Event(label="Falls, comes back", doc="Start from a curve that falls and recovers.")
    after_30 = _after(30)
    after_60 = _after(60)
    after_120 = _after(120)
    after_180 = _after(180)
    after_240 = _after(240)
    after_300 = _after(300)
    reveal = param.Event(label="Reveal", doc="Show what really happened.")
    revealed = param.Boolean(default=False, label="Revealed", doc="Whether the recorded run is shown.")

    title = "The old acquaintance"
    controls = ("hold", "sag", "at_once", "late", "back", "reveal")
    more = tuple(f"after_{steps}" for steps in STEPS)
    code = (compare,)
    axes = {
        tuple(f"after_{steps}" for steps in STEPS): [shaped(name) for name in SHAPES],
        "revealed": (False, True),
    }
    presses = (*SHAPES, "reveal")

    def __init__(self, **params: object) -> None:
        super().__init__(**params)
        self.param.watch(self._on_shape, list(SHAPES))
        self.param.watch(self._on_reveal, "reveal")

    def measure(self) -> ForgettingMeasure:
        guessed = tuple(getattr(self, name) for name in self.more)
        try:
            race = race_record.recorded()
        except ValueError as error:
            return _nothing(guessed, f"The recorded run is lost: {error}")
        steps, runs, learned = _first_stage(race)
        old = runs.mean(axis=0)
        guess = np.interp(steps, (0, *STEPS), (old[0], *guessed))
        gap, widest, at = compare(steps, guess, old)
        return ForgettingMeasure(
            steps=steps,
            guessed=guessed,
            guess=guess,
            revealed=self.revealed,
            runs=runs,
            old=old,
            new=learned.mean(axis=0),
            gap=gap,
            widest=widest,
            widest_at=at,
        )

    def marks(self, result: ForgettingMeasure) -> Marks:
        ink = palette(self.dark)
        shown = slice(None) if result.revealed else slice(0)  # nothing of the run is on the page before
        ends = [("guess", result.guess[-1], ink.text)]
        if result.revealed:
            ends += [("task A", result.old[-1], ink.critical), ("task B", result.new[-1], _second(ink))]
        names, heights, inks = (list(column) for column in zip(*ends, strict=True))
        return {
            "guess": {"x": [0, *STEPS], "y": [result.guess[0], *result.guessed]},
            "handles": {"x": list(STEPS), "y": list(result.guessed)},
            HINT: {"x": [0], "y": [5], "text": ["" if result.revealed else "drag your guess of task A"]},
            "start": {"x": [0], "y": [result.old[0]]},
            "runs A": _joined(result.steps, result.runs[shown]),
            "task A": {"x": result.steps[shown], "y": result.old[shown]},
            "task B": {"x": result.steps[shown], "y": result.new[shown]},
            "gaps": {
                "x0": result.steps[shown],
                "y0": result.guess[shown],
                "x1": result.steps[shown],
                "y1": result.old[shown],
            },
            "names": {"x": [STEPS[-1] + 9] * len(names), "y": apart(heights, 7, 3, 103), "text": names, "ink": inks},
        }

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        ink = canvas.palette
        bold = {"line_width": 2.5}
        picture = canvas.picture(
            canvas.draw(hv.Segments, "gaps", color=ink.muted, line_width=1, line_alpha=0.6),
            canvas.draw(hv.Curve, "runs A", color=ink.critical, line_width=1, line_alpha=0.4),
            canvas.draw(hv.Curve, "task B", color=_second(ink), line_dash="dashed", **bold),
            canvas.draw(hv.Curve, "task A", color=ink.critical, **bold),
            canvas.draw(hv.Curve, "guess", color=ink.text, line_width=2),
            canvas.draw(hv.Points, "start", color=ink.muted, size=8, line_color=None),
            canvas.draw(hv.Points, "handles", color=ink.text, size=13, line_color=ink.panel, line_width=2),
            canvas.draw(hv.Labels, "names", {"text_color": "ink"}, text_align="left", text_font_size="13px"),
            canvas.draw(hv.Labels, HINT, text_color=ink.muted, text_align="left", text_font_size="13px"),
            xlim=(-6, ROOM),
            ylim=(0, 106),
            xticks=[0, *STEPS],
            yticks=[0, 20, 40, 60, 80, 100],
            xlabel="training steps on the new task",
            ylabel="images named rightly, %",
            title="A: the old task; B: the new one",
            height=360,
            max_width=760,
            on_drag=self._on_drag,
            on_tap=lambda x, y: self._on_drag(x, y, "move"),
        )
        return [picture]

    def readouts(self, result: ForgettingMeasure) -> list[Readout]:
        shown = [
            Readout("before", "not known" if result.spoiled else f"{result.old[0]:.1f}%", "muted"),
            Readout("your guess at the end", f"{result.guessed[-1]}%"),
        ]
        if result.revealed:
            shown += [
                Readout("task A at the end", f"{result.old[-1]:.1f}%", "critical"),
                Readout("task B at the end", f"{result.new[-1]:.1f}%"),
                Readout("your guess is off by, on average", f"{result.gap:.1f} points"),
                Readout("at most", f"{result.widest:.1f} points, step {result.widest_at}"),
            ]
        return shown

    def describe(self, result: ForgettingMeasure) -> str:
        guess = ", ".join(f"{value}% after {step}" for step, value in zip(STEPS, result.guessed, strict=True))
        before = "" if result.spoiled else f", from {result.old[0]:.1f}% before it"
        words = (
            "A curve of the share of the old task's images that are named rightly while the network learns the new "
            f"task{before}. Your guess{_shape(result.guessed)}: {guess} steps. "
        )
        if result.spoiled:
            return words + result.spoiled
        if not result.revealed:
            return words + "What really happened is not shown yet."
        return words + (
            f"What really happened, recorded, mean of {len(result.runs)} seeds: the old task fell to "
            f"{result.old.min():.1f}% at step {result.steps[result.old.argmin()]:.0f} and ended at "
            f"{result.old[-1]:.1f}%, as the new one rose from {result.new[0]:.1f}% to {result.new[-1]:.1f}%. Your "
            f"guess is off by {result.gap:.1f} points on average, at most by {result.widest:.1f}, at step "
            f"{result.widest_at}."
        )

    def details(self, result: ForgettingMeasure) -> str:
        if result.spoiled:
            return f'<p role="alert">{html.escape(result.spoiled)}</p>'
        if not result.revealed:
            return (
                '<p class="detail">Task A, the old one: handwritten digits, upright. Task B, the new one: the same '
                "digits, turned by 90°.</p>"
            )
        race = race_record.recorded()
        seeds = ", ".join(map(str, race.seeds))
        half = result.steps[result.old < (result.old[0] + result.old.min()) / 2]
        learned = result.steps[result.new > (result.new[0] + result.new.max()) / 2]
        return (
            f'<p class="detail"><span class="tag">recorded</span> Full fine-tuning, seeds {seeds}; thick lines: their '
            "means. "
            f"Half of task A’s fall was over after {half[0]:.0f} steps, half of task B’s rise after {learned[0]:.0f}. "
            f"{_back(result)}({race.source}.)</p>"
        )

    def claims(self, result: ForgettingMeasure) -> list[Claim]:
        if not result.revealed:
            return []
        lost = result.old[0] - result.old[-1]
        each = result.runs[:, 0] - result.runs[:, -1]
        return [
            Claim(
                "forgets",
                "Fine-tune every weight on a new task, and the old one is forgotten.",
                f"Recorded: the old task went from {result.old[0]:.1f}% to {result.old[-1]:.1f}%, {lost:.1f} points "
                f"lost, the mean of {len(each)} seeds; from seed to seed it lost {min(each):.1f} to {max(each):.1f}.",
                "holds" if min(each) > NOTABLE else "partly" if lost > NOTABLE else "fails",
            )
        ]

    def _controls(self) -> pn.Column:
        column = super()._controls()
        buttons, rest = column[: len(self.controls)], column[len(self.controls) :]
        shapes, reveal = buttons[:-1], buttons[-1]

        def look(*_: object) -> None:
            chosen = tuple(getattr(self, name) for name in self.more)
            for name, shape in zip(SHAPES, shapes, strict=True):
                shape.variant = "contained" if shaped(name) == chosen else "outlined"
            reveal.disabled = self.revealed

        reveal.param.update(variant="contained", margin=(6, 8, 8, 0))
        look()
        self.param.watch(look, [*self.more, "revealed"])
        column[:] = [
            pn.FlexBox(*shapes, margin=0, sizing_mode="stretch_width"),
            pn.FlexBox(reveal, margin=0, sizing_mode="stretch_width"),
            *rest,
        ]
        return column

    def _on_shape(self, *events: param.parameterized.Event) -> None:
        self.param.update(**dict(zip(self.more, shaped(events[-1].name), strict=True)))

    def _on_reveal(self, *_: object) -> None:
        self.revealed = True

    def _on_drag(self, x: float, y: float, phase: str) -> None:
        if phase == "move":  # whichever point the pointer passes: a curve can be drawn in one sweep
            nearest = int(np.argmin([abs(x - step) for step in STEPS]))
            setattr(self, self.more[nearest], round(min(max(y, 0), 100)))


def _nothing(guessed: tuple[int, ...], why: str) -> ForgettingMeasure:
    """The guess alone, where there is no recorded run to reveal."""
    steps, guess = np.array([0, *STEPS]), np.array([guessed[0], *guessed])
    none = np.full(len(steps), np.nan)
    return ForgettingMeasure(
        steps, guessed, guess, False, np.zeros((0, len(steps))), none, none, np.nan, np.nan, 0, why
    )


def _shape(guessed: tuple[int, ...]) -> str:
    """The name of the button that draws this guess, if one does."""
    names = [FirstForgetting.param[name].label for name in SHAPES if shaped(name) == guessed]
    return f", “{names[0]}”" if names else ""


def _back(result: ForgettingMeasure) -> str:
    """What to say of a fall that was not the end."""
    lowest = int(result.old.argmin())
    risen = result.old[-1] - result.old[lowest]
    if risen < NOTABLE / 2:
        return ""
    return (
        f"A steady fall it was not: from its lowest, {result.old[lowest]:.1f}% at step {result.steps[lowest]:.0f}, "
        f"task A came back by {risen:.1f} points, though the network was shown none of its images. "
    )


def _joined(steps: np.ndarray, runs: np.ndarray) -> dict[str, np.ndarray]:
    """Several runs as one curve that breaks between them."""
    broken = np.column_stack([runs, np.full(len(runs), np.nan)])
    return {"x": np.tile(np.append(steps, np.nan), len(runs)), "y": broken.ravel()}


def _second(ink: Palette) -> str:
    """The shade of the second task, beside the color of full fine-tuning for the first."""
    return mixed(ink.critical, ink.text, 0.6)
