"""Chapter 11: the tale's curves, which were drawn, beside a race, which is run."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import panel as pn
import param
from panel.io.callbacks import PeriodicCallback

from wonderland.backend.points import race_points
from wonderland.demos import jobs
from wonderland.demos.base import Claim, Demo, Readout, source_of
from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.motion import Motion
from wonderland.demos.race import prediction, report
from wonderland.demos.race import words as race_words
from wonderland.demos.race.controls import RaceControls
from wonderland.demos.race.curves import curves_marks, curves_pictures
from wonderland.demos.race.layers import WEIGHTS, layers_marks, layers_pictures
from wonderland.demos.race.matrix import MEASURES, SAID, matrix_marks, matrix_pictures
from wonderland.demos.race.parameters import VIEWS, RaceParameters
from wonderland.demos.race.plane import plane_marks, plane_pictures
from wonderland.demos.race.races import Race, Setting
from wonderland.demos.race.record import recorded
from wonderland.demos.race.report import SimMeasure
from wonderland.demos.race.tale import TALE_STEPS, tale, tale_marks, tale_picture
from wonderland.demos.several import split
from wonderland.theme import palette

PICTURES: dict[str, Callable[[Canvas], list[pn.pane.HoloViews]]] = {
    "curves": curves_pictures,
    "matrix": matrix_pictures,
    "plane": plane_pictures,
    "layers": layers_pictures,
    "prediction": prediction.prediction_pictures,
}


OWN = {"watched": "curves", "focus": "matrix", "measure_of": "matrix", "weights": "layers", "revealed": "prediction"}
"""The controls of a single view, and of which."""
REST = 400
"""Milliseconds without a change after which networks learn their first task before they are asked to race."""


class TrainingSim(RaceControls, RaceParameters, Demo):
    """Four curves that were drawn, and beside them a real race: who learns new tasks and remembers the old."""

    running = param.Boolean(default=False, constant=True, doc="Whether a race is running or waits in line.")
    playing = param.Boolean(default=False, constant=True, doc="Whether the moment moves by itself.")

    title = "The caucus-race"
    wide = True
    controls = ("course", "methods", "seeds", "moment", "step", "reveal", "view")
    more = ("steps", "keep", "optimizer", "scenario", "rank", "block", "seed", "rates")
    code = (tale, source_of("wonderland.backend.race", "race"))
    axes = {
        "moment": [-(-100 * point // 30) for point in range(31)],  # as the recorded race has points
        "seeds": (1, 3, 5),
        "view": VIEWS,
        "watched": (1, 2, 3),
        "focus": ("full", "lora", "oft", "osft", "gpm"),
        "measure_of": tuple(MEASURES),
        "weights": tuple(WEIGHTS),
        "revealed": (False, True),
    }
    apart = (("watched",), ("focus",), ("measure_of",), ("weights",), ("revealed",))
    presses = ("step", "reveal")

    def __init__(self, **params: object) -> None:
        try:
            self._record, self.spoiled = recorded(), ""
        except ValueError as error:  # a race can still be run
            self._record, self.spoiled = Race(Setting(), state="done"), f"The recorded race is lost: {error}"
        self._live: Race | None = None
        self._coming: Race | None = None  # started, and not yet on its second task
        self._since = 0.0
        self._worker = jobs.Worker(self._on_points, self._on_end, lambda _: self._on_controls())
        self._motion = Motion(width=0, height=0, margin=0)
        self._clock: PeriodicCallback | None = None
        self._resting: Any = None
        self._views: dict[str, tuple[Canvas, list[pn.Column]]] = {}
        super().__init__(**params)
        self.param.watch(lambda _: self.start(), "run")
        self.param.watch(self._on_cancel, "cancel")
        self.param.watch(self._on_play, "play")
        self.param.watch(self._on_step, "step")
        self.param.watch(self._on_reveal, "reveal")
        self.param.watch(self._prepare_soon, ["course", "seeds", "seed", "scenario"])

    def offered(self, name: str) -> bool:
        return OWN.get(name, self.view) == self.view

    # The race

    def run_now(self) -> Race:
        """Run the race here and now, without a server; return it."""
        self.start()
        self._worker.finish()
        return self._live

    def start(self) -> None:
        """Start the race that the controls ask for in the background; it takes the place of the one on screen.

        Where nothing would come back for the results, in a plain script, it has been run when this returns.
        """
        setting = self.setting()
        self._stop()
        self._coming, self._since = Race(setting), 0.0
        self._set_running(True)
        self.param.update(moment=100, revealed=self.revealed or self.view == "prediction")
        self._worker.start(partial(race_points, setting.as_table(), jobs.CORES), afar=True)

    def _prepare_soon(self, *_: object) -> None:
        """When the reader's hand rests: other networks learn their first task while the reader looks for Run."""
        if not jobs.served():
            return
        if self._resting:
            pn.state.curdoc.remove_timeout_callback(self._resting)
        self._resting = pn.state.curdoc.add_timeout_callback(self._prepare, REST)

    def _prepare(self) -> None:
        self._resting = None
        if not self._worker.busy:  # it will be another's turn, and the race needs the machine
            self.on_shown()

    def on_shown(self) -> None:
        """Load what the race needs where it will run, and let its networks learn the first task there."""
        setting = self.setting()
        short = replace(setting, tasks=setting.tasks[:2], methods=("full",), steps=1)
        jobs.prepare(partial(race_points, short.as_table()))

    def reset(self) -> None:
        """Set every parameter back, end the race, and show the recorded one."""
        self._worker.cancel()
        self._stop()
        self._live = self._coming = None
        super().reset()
        self._set_running(False)

    def progress(self) -> str:
        """How far the race has come, as HTML; nothing where none runs."""
        if not self.running:
            return ""
        race = None if self._coming else self._live
        return race_words.progress(race, time.monotonic() - self._since, self._worker.place)

    def _on_cancel(self, *_: object) -> None:
        if self._worker.busy:
            self._worker.cancel()
            self._end("cancelled")

    def _on_points(self, points: list) -> None:
        if self._coming is None:
            self._live = self._live.extended(points)
        elif any(point.task for point in points):
            self._since = time.monotonic()
            self._live, self._coming = self._coming.extended(points), None
        else:  # the networks before they learn anything: the race on screen stays until there is something to draw
            self._coming = self._coming.extended(points)
        self._on_controls()

    def _on_end(self, error: BaseException | None) -> None:
        self._end("cancelled" if error else "done")
        if error:
            with param.edit_constant(self):
                self.problem = f"The race ended early: {error}"
            self._redraw()

    def _end(self, state: str) -> None:
        if self._coming is None:  # else the race before it is still on screen
            self._live = replace(self._live, state=state)
        self._coming = None
        self._set_running(False)

    def _set_running(self, running: bool) -> None:
        with param.edit_constant(self):
            self.running = running
        self._prepare_soon()  # for whatever has been set meanwhile
        self._on_controls()

    # The moment

    def _on_play(self, *_: object) -> None:
        if self.playing:
            self._stop()
        elif jobs.returns() and not self._motion.reduced:
            if self.moment == 100:
                self.moment = 0
            self._set_playing(True)
            self._clock = pn.state.add_periodic_callback(self._tick, period=jobs.PERIOD)
        else:
            self.moment = 100

    def _tick(self) -> None:
        self._on_step()
        if self.moment == 100:
            self._stop()

    def _on_step(self, *_: object) -> None:
        race = self.result.whole
        steps, total = race.setting.steps, race.setting.total
        points = {int(at) for track in race.tracks.values() for at in track.along(steps)}
        ahead = min((at for at in points if at > self.moment * total / 100), default=total)
        self.moment = -(-100 * ahead // total)

    def _stop(self) -> None:
        if self._clock:
            self._clock.stop()
            self._clock = None
        self._set_playing(False)

    def _set_playing(self, playing: bool) -> None:
        with param.edit_constant(self):
            self.playing = playing

    def _on_reveal(self, *_: object) -> None:
        self.revealed = True

    # The measurement

    def measure(self) -> SimMeasure:
        asked = self.setting()
        race, found = self._on_screen(asked)
        whole = race.chosen(asked.methods, asked.seeds)
        shown = whole if self.moment == 100 else whole.upto(self.moment * whole.setting.total / 100)
        guessed = prediction.ordered(split(self.guess), whole.setting.methods)
        seen = self.revealed and whole.state == "done" and found
        said = (
            ""
            if self.running or found
            else race_words.setting_words(asked) + f", {race_words.seeds_words(asked.seeds)}"
        )
        return SimMeasure(
            tale=tale(np.arange(self.moment * TALE_STEPS // 100 + 1)),
            whole=whole,
            shown=shown,
            asked=said,
            view=self.view,
            note=self._note(),
            guessed=tuple(guessed),
            measured=prediction.averages(whole) if seen else {},
        )

    def _note(self) -> str:
        if self.view == "matrix":
            return f"{self.measure_of.capitalize()}: {SAID[self.measure_of]}."
        return f"{self.weights.capitalize()}: {WEIGHTS[self.weights]}." if self.view == "layers" else ""

    def _on_screen(self, asked: Setting) -> tuple[Race, bool]:
        """The race to show, and whether it is the one that is asked for."""
        live = None if self._coming else self._live
        if live and (self.running or live.setting.covers(asked)):
            return live, live.setting.covers(asked)
        if self._record.tracks and self._record.setting.covers(asked):
            return self._record, True
        return self._live or self._record, False

    def marks(self, result: SimMeasure) -> Marks:
        ink = palette(self.dark)
        race = result.shown
        tasks = len(race.setting.tasks)
        own = {
            "curves": lambda: curves_marks(race, ink, min(self.watched, tasks) - 1),
            "matrix": lambda: matrix_marks(race, ink, self._focus(race), self.measure_of),
            "plane": lambda: plane_marks(race, ink),
            "layers": lambda: layers_marks(race, ink, self.weights),
            "prediction": lambda: prediction.prediction_marks(result.guessed, result.measured, ink),
        }[result.view]()
        return tale_marks(result.tale, ink) | own

    def _focus(self, race: Race) -> str:
        return self.focus if self.focus in race.setting.methods else race.setting.methods[0]

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        shown = _framed(PICTURES[self.view](canvas))
        self._views = {self.view: (canvas, shown)}
        return [tale_picture(canvas), *shown]

    def _redraw(self) -> None:
        """Feed the view on screen; draw it first where the reader has not seen it yet, and keep it for the way back."""
        if self._canvas is None:
            return
        marks = self.marks(self.result)
        if self.view not in self._views:
            canvas = Canvas(marks, palette(self.dark))
            self._views[self.view] = canvas, _framed(PICTURES[self.view](canvas))
            self._pictures.extend(self._views[self.view][1])
        for name, (canvas, shown) in self._views.items():
            for frame in shown:  # first: in a notebook a change of layout would paint a figure that is half fed
                frame.visible = name == self.view
            canvas.feed({mark: columns for mark, columns in marks.items() if mark in canvas.marks})
        self._tell()

    def _update_theme(self, *_: object) -> None:
        if self._canvas is None:
            return
        self._card.styles = self._variables()
        tale, *shown = self._pictures[0], *self._views[self.view][1]
        self._pictures[:] = [tale, *shown]  # the other views are drawn anew when they are next asked for
        fresh_tale, *fresh = self.draw()
        tale.object = fresh_tale.object
        for frame, drawn in zip(shown, fresh, strict=True):
            frame[0].object = drawn[0].object
        self._views[self.view] = self._canvas, shown
        self.pace.set_out()

    def readouts(self, result: SimMeasure) -> list[Readout]:
        return report.readouts(result)

    def describe(self, result: SimMeasure) -> str:
        return report.describe(result)

    def details(self, result: SimMeasure) -> str:
        return report.details(result)

    def claims(self, result: SimMeasure) -> list[Claim]:
        return report.claims(result)


def _framed(pictures: list[pn.pane.HoloViews]) -> list[pn.Column]:
    """Each picture in a column, which can be hidden and shown."""
    return [pn.Column(picture, sizing_mode="stretch_width", margin=0) for picture in pictures]
