"""Chapter 11: the tale's curves, which were drawn, beside a race, which is run."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import holoviews as hv
import numpy as np
import panel as pn
import param
from panel.io.callbacks import PeriodicCallback

from wonderland.demos import jobs, races
from wonderland.demos.base import Claim, Demo, Readout, source_of
from wonderland.demos.canvas import Canvas, Marks, apart, round_ticks
from wonderland.demos.fields import button
from wonderland.demos.motion import Motion
from wonderland.demos.parameters import Real, Whole
from wonderland.demos.tale import TALE_STEPS, tale, tale_html, tale_marks, tale_picture
from wonderland.theme import html, palette

FRAMES = 20
"""Pictures of the tale's telling, ten a second."""
POINTS = 30
"""Points of a live curve after its start."""
ROOM = 1.24
"""How far the horizontal axis reaches beyond the last step, for the names of the curves."""
NEGLIGIBLE = 1.0
"""Percentage points of the old task whose loss may be called near-negligible."""
CONCEPTS = {"full": "critical", "osft": "safe"}


@dataclass(frozen=True, eq=False)
class SimMeasure:
    """The tale as far as it is told, and the race on screen."""

    tale: dict[str, np.ndarray]
    """Drawn performance by method, at the steps 0…told."""
    race: races.Race
    seed: int
    """The seed whose curves are drawn thick."""
    asked: str
    """The race the controls ask for, in words, where it is not the one on screen."""


class TrainingSim(Demo):
    """Four curves that were drawn, and beside them a real race: who learns a second task and remembers the first."""

    told = Whole(
        default=TALE_STEPS,
        bounds=(0, TALE_STEPS),
        step=1,
        label="The tale, told up to step",
        doc="How far the tale's curves are drawn.",
    )
    simulate = param.Event(label="Run simulation", doc="Draw the tale's curves from the start.")
    task = param.Selector(
        default=races.RACE_TASKS[0],
        objects=list(races.RACE_TASKS),
        label="Task B",
        doc="What happens to the digits for the second task; the first is the digits upright.",
    )
    keep = Real(
        default=0.5,
        bounds=(0.1, 0.9),
        step=0.05,
        label="Share that OSFT protects",
        doc="Of each weight's singular directions, the strongest first.",
    )
    steps = Whole(
        default=300, bounds=(20, 1000), step=20, label="Training steps", doc="Steps of Adam on task B, 64 images each."
    )
    seed = Whole(
        default=0,
        bounds=(0, 99),
        step=1,
        label="Seed",
        doc="Of the network's first weights and of the order of the images; the same for both methods.",
    )
    run = param.Event(label="Run the race", doc="Train both methods now, with the settings above.")
    cancel = param.Event(label="Cancel", doc="End the race that runs; what it has reached stays.")
    running = param.Boolean(default=False, constant=True, doc="Whether a race is running or waits in line.")

    title = "The caucus-race"
    wide = True
    controls = ("told", "simulate", "task", "keep", "steps", "seed")
    code = (tale, source_of("wonderland.backend.race", "race"))
    axes = {"told": range(0, TALE_STEPS + 1, 5), "seed": range(5)}

    def __init__(self, **params: object) -> None:
        self._race = races.recorded()
        self._coming: races.Race | None = None  # started, and without a point yet
        self._worker = jobs.Worker(self._on_points, self._on_end)
        self._motion = Motion(width=0, height=0, margin=0)
        self._clock: PeriodicCallback | None = None
        super().__init__(**params)
        self.param.watch(lambda _: self.start(), "run")
        self.param.watch(self._on_cancel, "cancel")
        self.param.watch(self._on_simulate, "simulate")

    # The race

    def run_now(self) -> races.Race:
        """Run the race here and now, without a server; return it."""
        self.start()
        self._worker.finish()
        return self._race

    def start(self) -> None:
        """Start the race that the controls ask for in the background; it takes the place of the one on screen.

        Where nothing would come back for the results, in a plain script, it has been run when this returns.
        """
        self._coming = races.Race(task=self.task, keep=self.keep, steps=self.steps)
        self._set_running(True)
        self._worker.start(partial(_race, self.task, self.keep, self.steps, self.seed))

    def reset(self) -> None:
        """Set every parameter back, end the race, and show the recorded one."""
        self._worker.cancel()
        self._race, self._coming = races.recorded(), None
        super().reset()
        self._set_running(False)

    def _on_cancel(self, *_: object) -> None:
        if self._worker.busy:
            self._worker.cancel()
            self._end("cancelled")

    def _on_points(self, points: list) -> None:
        self._race, self._coming = (self._coming or self._race).extended(points), None
        self._on_controls()

    def _on_end(self, error: BaseException | None) -> None:
        self._end("cancelled" if error else "done")
        if error:
            with param.edit_constant(self):
                self.problem = f"The race ended early: {error}"
            self._redraw()

    def _end(self, state: str) -> None:
        if self._coming is None:  # else the race before it is still on screen
            self._race = replace(self._race, state=state)
        self._coming = None
        self._set_running(False)

    def _set_running(self, running: bool) -> None:
        with param.edit_constant(self):
            self.running = running
        self._on_controls()

    # The tale

    def _on_simulate(self, *_: object) -> None:
        if self._clock:
            self._clock.stop()
        if jobs.returns() and not self._motion.reduced:
            self.told = 0
            self._clock = pn.state.add_periodic_callback(self._tell, period=jobs.PERIOD)
        else:
            self.told = TALE_STEPS

    def _tell(self) -> None:
        self.told = min(self.told + TALE_STEPS // FRAMES, TALE_STEPS)
        if self.told == TALE_STEPS and self._clock:
            self._clock.stop()
            self._clock = None

    # The measurement

    def measure(self) -> SimMeasure:
        race = self._race
        same = (self.task, self.keep, self.steps) == (race.task, race.keep, race.steps)
        shown = self.seed if same and self.seed in race.seeds else (race.seeds or (self.seed,))[0]
        asked = (
            ""
            if self.running or (same and shown == self.seed)
            else races.setting(self.task, self.keep, self.steps, self.seed)
        )
        return SimMeasure(tale(np.arange(self.told + 1)), race, shown, asked)

    def marks(self, result: SimMeasure) -> Marks:
        ink = palette(self.dark)
        marks = tale_marks(result.tale, ink)
        tips: list[tuple[str, float, float, str]] = []
        for method in races.METHODS:
            curve = result.race.curve(method, result.seed)
            others = [other for other in result.race.of(method) if other is not curve]
            for letter in "AB":
                name = f"accuracy_{letter.lower()}"
                marks[f"{method} {letter}"] = races.joined([curve] if curve else [], name)
                marks[f"{method} {letter}, other seeds"] = races.joined(others, name)
                if curve:
                    height = 100 * getattr(curve, name)[-1]
                    tips.append(
                        (f"{races.NAMES[method]} {letter}", curve.step[-1], height, getattr(ink, CONCEPTS[method]))
                    )
        steps = result.race.steps
        marks["race names"] = {
            "x": [step + 0.015 * steps for _, step, *_ in tips],
            "y": apart([height for *_, height, _ in tips], 7.5, 4, 102),
            "text": [name for name, *_ in tips],
            "ink": [color for *_, color in tips],
        }
        marks["race note"] = {"x": [0], "y": [116], "text": [_note(result)]}
        marks["race frame"] = {"x": [0, ROOM * steps], "y": [0, 120], "ticks": round_ticks(steps)}
        return marks

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        ink = canvas.palette
        label = {"text_align": "left", "text_font_size": "13px"}
        drawn = tale_picture(canvas)
        run = []
        for letter, dash in (("B", "dashed"), ("A", "solid")):
            for method, concept in CONCEPTS.items():
                line = {"color": getattr(ink, concept), "line_dash": dash}
                run.append(
                    canvas.draw(hv.Curve, f"{method} {letter}, other seeds", line_width=1, line_alpha=0.35, **line)
                )
                run.append(canvas.draw(hv.Curve, f"{method} {letter}", line_width=2.5, **line))
        ran = canvas.picture(
            *run,
            canvas.draw(hv.Labels, "race note", text_color=ink.muted, **label),
            canvas.draw(hv.Labels, "race names", {"text_color": "ink"}, **label),
            xlim=(0, 300 * ROOM),
            ylim=(0, 120),
            xticks=[0],
            frame="race frame",
            yticks=[0, 20, 40, 60, 80, 100],
            xlabel="training step on task B",
            ylabel="images named rightly, %",
            title="the race: task A solid, B dashed",
            height=340,
        )
        return [drawn, ran]

    def beside(self) -> list[pn.viewable.Viewable]:
        run, cancel = (
            button(self, name, size="small", margin=(4, 8, 4, 0), **look)
            for name, look in (
                ("run", {"variant": "contained", "color": "primary"}),
                ("cancel", {"variant": "outlined", "color": "primary"}),
            )
        )
        progress = html("", "demo")

        def update(*_: object) -> None:
            run.disabled, cancel.disabled = self.running, not self.running
            progress.object = races.progress(self._coming or self._race) if self.running else ""

        update()
        self.param.watch(update, ["result", "running"])
        return [pn.Row(run, cancel, self._motion, sizing_mode="stretch_width", margin=0), progress]

    def readouts(self, result: SimMeasure) -> list[Readout]:
        shown = []
        for method, concept in CONCEPTS.items():
            if curve := result.race.curve(method, result.seed):
                for letter in "AB":
                    first, last = (100 * getattr(curve, f"accuracy_{letter.lower()}")[at] for at in (0, -1))
                    shown.append(
                        Readout(f"{races.NAMES[method]}, task {letter}", f"{first:.1f} → {last:.1f}%", concept)
                    )
        return shown or [Readout("the race", "about to start", "muted")]

    def describe(self, result: SimMeasure) -> str:
        ends = ", ".join(f"{name} {curve[-1]:.3f}" for name, curve in result.tale.items())
        words = f"Two pictures. The tale, drawn and not measured, up to step {self.told} of {TALE_STEPS}: {ends}. "
        said = [
            f"{races.SPOKEN[method]} went from {curve.accuracy_a[0]:.1%} to {curve.accuracy_a[-1]:.1%} on the old "
            f"task and from {curve.accuracy_b[0]:.1%} to {curve.accuracy_b[-1]:.1%} on the new one"
            for method in races.METHODS
            if (curve := result.race.curve(method, result.seed))
        ]
        return f"{words}The race, {_note(result)}: {'; '.join(said) or 'no step yet'}."

    def details(self, result: SimMeasure) -> str:
        return f'{tale_html(result.tale)}{_caption(result)}<div class="scroll">{races.table(result.race)}</div>'

    def claims(self, result: SimMeasure) -> list[Claim]:
        race = result.race
        full, osft = race.of("full"), race.of("osft")
        if race.state == "running" or not race.reached or not (full and osft):
            return []
        what = races.what(race)
        before, after = (100 * np.mean([curve.accuracy_a[at] for curve in osft]) for at in (0, -1))
        lost, full_lost = (float(np.mean([curve.lost for curve in group])) for group in (osft, full))
        worst = max(curve.lost for curve in osft)
        spread = f" (at worst {worst:.1f})" if len(osft) > 1 else ""
        near = lost <= NEGLIGIBLE
        return [
            Claim(
                "zero-forgetting",
                "OSFT: zero forgetting, catastrophic forgetting eliminated.",
                f"{what} OSFT went from {before:.1f}% to {after:.1f}% on the old task: {lost:.1f} points "
                f"forgotten{spread}, where full fine-tuning forgot {full_lost:.1f}.",
                "holds" if worst <= 0 else "partly" if near else "fails",
            ),
            Claim(
                "knowledge",
                "Full fine-tuning forgets; an orthogonal method keeps what the network knew.",
                f"{what} Full fine-tuning lost {full_lost:.1f} points of the old task while it learned the new one to "
                f"{100 * races.mean(full, 'accuracy_b'):.1f}%; OSFT lost {lost:.1f} and learned it to "
                f"{100 * races.mean(osft, 'accuracy_b'):.1f}%. OFT has not run here.",
                "fails" if lost >= full_lost else "holds" if near else "partly",
            ),
        ]


def _race(task: str, keep: float, steps: int, seed: int) -> Iterable:
    from wonderland.backend.race import RaceSettings, race  # in the worker: torch is not waited for

    every = max(1, steps // POINTS)
    points = race(RaceSettings((races.OLD_TASK, task), races.METHODS, (seed,), steps, every, keep))
    return (point for point in points if point.task)  # what was before the first task is not shown


def _note(result: SimMeasure) -> str:
    race = result.race
    state = {"running": "live, running", "cancelled": f"live, cancelled at step {race.reached}"}.get(
        race.state, race.origin
    )
    return f"{state} · {race.task}, seed {result.seed}"


def _caption(result: SimMeasure) -> str:
    race = result.race
    tag = f'<span class="tag">{_note(result).partition(" · ")[0]}</span>'
    several = len(race.seeds) > 1
    seeds = f"seeds {', '.join(map(str, race.seeds))}, mean ± standard deviation" if several else f"seed {result.seed}"
    source = f" ({race.source})" if race.source else ""
    call = f" The controls ask for {result.asked}: press Run the race." if result.asked else ""
    what = races.setting(race.task, race.keep, race.steps)
    return f'<p class="detail">{tag} The race as run, {what}; {seeds}{source}.{call}</p>'
