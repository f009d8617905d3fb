"""The race's controls: who runs, over what, seen how, and at which moment."""

from typing import Any

import panel as pn
import panel_material_ui as pmui

from wonderland.demos.base import Demo
from wonderland.demos.fields import FieldError, button, field
from wonderland.demos.fold import fold
from wonderland.demos.race import prediction
from wonderland.demos.race.entrants import METHODS, TASKS, tuned
from wonderland.demos.race.lessons import LESSONS, Lesson, lesson_of
from wonderland.demos.several import rates_field, several_field, split
from wonderland.theme import html, palette, stylesheet

_SMALL = {"size": "small", "margin": (4, 8, 4, 0)}


class RaceControls:
    """How a `TrainingSim` arranges its controls: the card's upper part, built once."""

    def _controls(self: Demo) -> pn.Column:
        return pn.Column(
            several_field(self, "course", self._course_widget),
            field(self, "seeds"),
            self._start(),
            _across(several_field(self, "methods", self._methods_widget)),
            _across(self._lessons()),
            _across(fold("More controls", self._more())),
            _across(self._viewing()),
            self._error,
            FieldError(text=self.spoiled),
            self.pace,
            margin=0,
            css_classes=["controls", "wide"],
            stylesheets=[stylesheet("demo"), _COLUMNS],
            sizing_mode="stretch_width",
        )

    def _course_widget(self: Demo, **params: Any) -> pmui.MultiChoice:
        return pmui.MultiChoice(
            label=self.param.course.label,
            description=self.param.course.doc,
            options=list(TASKS),
            delete_button=True,
            sizing_mode="stretch_width",
            margin=(8, 0),
            **params,
        )

    def _methods_widget(self: Demo, **params: Any) -> pmui.CheckBoxGroup:
        inks = {
            f"& .MuiFormControlLabel-root:nth-of-type({place})": {"color": runner.css}
            for place, runner in enumerate(METHODS.values(), 1)
        }
        return pmui.CheckBoxGroup(
            label=self.param.methods.label,
            options={runner.label: name for name, runner in METHODS.items()},
            inline=True,
            size="small",
            sizing_mode="stretch_width",
            margin=(0, 0, 4, 0),
            sx=inks,
            **params,
        )

    def _start(self: Demo) -> pn.Column:
        run = button(self, "run", variant="contained", **_SMALL)
        cancel = button(self, "cancel", **_SMALL)
        progress = html("", "demo")

        def update(*_: object) -> None:
            run.disabled, cancel.disabled = self.running, not self.running
            words = "On screen is another race: press Run the race for this one."
            other = f'<p class="detail asked" role="status">{words}</p>'
            progress.object = self.progress() or (other if self.result.asked and self.result.whole.tracks else "")

        update()
        self.param.watch(update, ["result", "running"])
        return pn.Column(pn.Row(run, cancel, self._motion, margin=0), progress, sizing_mode="stretch_width", margin=0)

    def _lessons(self: Demo) -> pn.Column:
        words = html("", "demo")

        def show(lesson: Lesson) -> None:
            # From the defaults: what an earlier lesson has turned must not stand in this one's way.
            fresh = {name: self.param[name].default for name in ("course", "optimizer", "rates", "keep", "steps")}
            self.param.update(**fresh | dict(lesson.state))

        def update(*_: object) -> None:
            found = lesson_of({name: getattr(self, name) for name in self.state_names()})
            words.object = f'<p class="detail" role="status">{found.words}</p>' if found else ""

        update()
        self.param.watch(update, "result")
        buttons = [
            pmui.Button(
                label=lesson.label, variant="outlined", on_click=lambda _, lesson=lesson: show(lesson), **_SMALL
            )
            for lesson in LESSONS
        ]
        say = html('<p class="detail">Try:</p>', "demo", sizing_mode=None, width=34)
        return pn.Column(
            pn.FlexBox(say, *buttons, align_items="center", sizing_mode="stretch_width", margin=0),
            words,
            sizing_mode="stretch_width",
            margin=0,
        )

    def _more(self: Demo) -> pn.Column:
        fields = [field(self, name) for name in self.more if name != "rates"]
        rates = rates_field(self, "rates", {name: runner.label for name, runner in METHODS.items()})
        said = html("", "demo")

        def update(*_: object) -> None:
            best = ", ".join(
                f"{METHODS[name].label} {rate:g}"
                for name, rate in tuned()[self.optimizer].items()
                if name in split(self.methods)
            )
            said.object = f'<p class="detail">Learning rates; where none is given, the tuned one: {best}.</p>'

        update()
        self.param.watch(update, ["optimizer", "methods"])
        return pn.Column(
            pn.FlexBox(*[pn.Column(each, width=240, margin=(0, 20, 0, 0)) for each in fields], margin=0),
            said,
            rates,
            sizing_mode="stretch_width",
            margin=0,
        )

    def _viewing(self: Demo) -> pn.Column:
        own = {
            "curves": pn.Row(field(self, "watched"), margin=0, width=250),
            "matrix": pn.FlexBox(
                _narrow(field(self, "focus")), _narrow(field(self, "measure_of")), gap="0 16px", margin=0
            ),
            "layers": pn.Row(field(self, "weights"), margin=0),
        }
        ranking = self._ranking()

        def update(*_: object) -> None:
            for name, part in own.items():
                part.visible = name == self.view
            ranking.visible = self.view == "prediction"
            self.param.watched.softbounds = (1, len(split(self.course)))

        update()
        self.param.watch(update, ["view", "course"])
        play, step = button(self, "play", **_SMALL), button(self, "step", **_SMALL)
        self.param.watch(lambda event: play.param.update(label="Pause" if event.new else "Play"), "playing")
        transport = pn.FlexBox(
            pn.Row(play, step, margin=0, width=160),
            pn.Column(field(self, "moment"), margin=0, min_width=230, styles={"flex": "1 1 230px"}),
            align_items="center",
            sizing_mode="stretch_width",
            margin=0,
        )
        views = pn.FlexBox(
            field(self, "view"),
            *own.values(),
            align_items="center",
            gap="0 26px",
            sizing_mode="stretch_width",
            margin=0,
        )
        return pn.Column(views, ranking, transport, sizing_mode="stretch_width", margin=0)

    def _ranking(self: Demo) -> pn.Column:
        def on_move(method: str, by: int) -> None:
            order = list(self.result.guessed)
            if method in order:
                self.guess = ",".join(prediction.moved(order, method, by))

        ranking = prediction.Ranking(
            on_move,
            legend="Who will know most of all tasks at the end? Put the best first.",
            sizing_mode="stretch_width",
        )
        reveal = button(self, "reveal", variant="contained", **_SMALL)
        note = html("", "demo")

        def update(*_: object) -> None:
            if self.result is None:
                return
            ink, result = palette(self.dark), self.result
            ranking.items = [[name, METHODS[name].label, METHODS[name].ink(ink)] for name in result.guessed]
            reveal.disabled = bool(result.measured) or bool(result.asked) or self.running
            call = "No such race has been run yet: press Run the race, and its order is set beside yours."
            note.object = f'<p class="detail">{call}</p>' if result.asked else ""

        update()
        self.param.watch(update, ["result", "dark", "running"])
        return pn.Column(ranking, pn.Row(reveal, note, margin=0), sizing_mode="stretch_width", margin=(4, 0))


def _narrow(widget: pmui.Select) -> pmui.Select:
    widget.param.update(width=200, sizing_mode=None)
    return widget


def _across(part: pn.Column) -> pn.Column:
    """Let a part of the controls take a row of its own."""
    part.styles = {"grid-column": "1 / -1"}
    return part


_COLUMNS = """
:host(.controls.wide) { grid-template-columns: minmax(0, 2fr) minmax(0, 1fr) minmax(0, 1fr); align-items: start; }
@media (max-width: 900px) { :host(.controls.wide) { grid-template-columns: minmax(0, 1fr); } }
"""
