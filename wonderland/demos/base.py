"""What every demo shares: a pure function of its parameters, drawn in one card."""

import html as _html
import inspect
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui
import param

import wonderland
from wonderland.demos import notebook
from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.fields import FieldError, field
from wonderland.demos.fold import fold
from wonderland.demos.jobs import served
from wonderland.demos.pace import Pace
from wonderland.demos.unseen import SelectKeys
from wonderland.demos.words import Claim, Readout, claims_html, described_html, readouts_html, source_of
from wonderland.theme import html, palette, stylesheet

__all__ = ["Claim", "Demo", "Readout", "source_of"]


class Demo(pn.viewable.Viewer):
    """A concept as a pure function of its parameters.

    A control changes a parameter, `measure` computes every number, and picture, readout, text alternative and claims
    are drawn from that one result.
    """

    result = param.Parameter(constant=True, doc="What `measure` returned last: a frozen dataclass.")
    problem = param.String(constant=True, doc="Why the present parameters cannot be measured, or nothing.")
    dark = param.Boolean(doc="Draw in the dark palette.")

    title: ClassVar[str] = ""
    controls: ClassVar[tuple[str, ...]] = ()
    """The parameters a reader moves, the few that matter most."""
    more: ClassVar[tuple[str, ...]] = ()
    """Further parameters, folded away."""
    below: ClassVar[tuple[str, ...]] = ()
    """The last of the controls: where there is no room beside the pictures they come after, with what is folded."""
    wide: ClassVar[bool] = False
    """Controls above the pictures instead of beside them, for three pictures in a row."""
    throttled: ClassVar[tuple[str, ...]] = ()
    """Parameters too slow to follow while a slider moves."""
    code: ClassVar[tuple[Callable | str, ...]] = ()
    """The functions that computed what is on screen, or their source, shown on demand."""
    axes: ClassVar[dict[str | tuple[str, ...], Iterable]] = {}
    """The values of each control that a recording of this demo holds, in every combination: keep them few.

    Parameters that move together have one entry, their names a tuple and so each of its values. What has none stays
    as it is.
    """
    apart: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Groups of axes that no mark and no number depends on together: a recording holds the combinations within each
    group instead of all. An axis in none of them goes with each."""
    presses: ClassVar[tuple[str, ...]] = ()
    """The buttons that a recording answers: they move along its axes."""

    def __init__(self, **params: Any) -> None:
        params.setdefault("dark", pn.config.theme == "dark")
        super().__init__(**params)
        self._canvas: Canvas | None = None
        self.pace = Pace()
        self.param.watch(self._on_controls, self.state_names())
        self.param.watch(self._update_theme, "dark")
        self._on_controls()
        if self.problem:  # there is no last good picture yet
            raise ValueError(self.problem)

    @classmethod
    def state_names(cls) -> list[str]:
        """The parameters that make up the demo's state, as in the page's address; a button is none."""
        own = {name: p for name, p in cls.param.objects("existing").items() if name not in Demo.param}
        return [name for name, p in own.items() if not (p.constant or isinstance(p, param.Event))]

    # What a demo defines

    def measure(self) -> Any:
        """Compute every number of the present state; raise ValueError where there is none."""
        raise NotImplementedError

    def marks(self, result: Any) -> Marks:
        """The columns of every mark in the pictures."""
        return {}

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        """The figures, drawn once on `canvas`."""
        return []

    def readouts(self, result: Any) -> list[Readout]:
        """The numbers under the picture."""
        return []

    def describe(self, result: Any) -> str:
        """The picture in words, with its present numbers."""
        raise NotImplementedError

    def details(self, result: Any) -> str:
        """Further HTML under the readouts, a table for instance."""
        return ""

    def claims(self, result: Any) -> list[Claim]:
        """What the tutorial claims here, against what this state measures."""
        return []

    def offered(self, name: str) -> bool:
        """Whether a control does anything in the present state."""
        return True

    def on_shown(self) -> None:
        """Called when the demo comes on screen: the place to start loading what it needs."""

    def beside(self) -> list[pn.viewable.Viewable]:
        """What stands under the controls besides, made once: the progress of long work, for instance."""
        return []

    # What it gets

    def reset(self) -> None:
        """Set every parameter back to its default."""
        self.pace.flush()  # or what is waiting would come after
        self.param.update(**{name: self.param[name].default for name in self.state_names()})

    def draw(self) -> list[pn.viewable.Viewable]:
        """The pictures of the present state in the present theme, drawn anew; `marks` feed them from then on."""
        self._canvas = Canvas(self.marks(self.result), palette(self.dark))
        return self.pictures(self._canvas)

    def words(self) -> dict[str, str]:
        """The words of the present state as HTML, block by block: described, readouts, details, claims."""
        result = self.result
        if result is None:
            return {}
        return {
            "described": described_html(self.describe(result)),
            "readouts": readouts_html(self.readouts(result)),
            "details": self.details(result),
            "claims": claims_html(self.claims(result)),
        }

    def listing(self) -> str:
        """The code that computed what is on screen."""
        return "\n\n".join(code if isinstance(code, str) else inspect.getsource(code) for code in self.code)

    def snapshot(self, path: str | Path, *, force: bool = False, progress: bool = True) -> Path:
        """Write this demo as one HTML file that needs no server; see `wonderland.snapshot`.

        It opens in the demo's present state.
        """
        return wonderland.snapshot(path, demo=self, force=force, progress=progress)

    def _on_controls(self, *_: object) -> None:
        try:
            result, problem = self.measure(), ""
        except ValueError as error:  # shown beside the controls; the last good picture stands
            result, problem = self.result, str(error)
        with param.edit_constant(self), pn.io.hold():
            self.param.update(result=result, problem=problem)
            if pn.state.loaded:
                self._redraw()
            elif "_card" in self.__dict__:
                # What changes between sending a page and hearing that it stands gets lost (panel 1.9.4).
                pn.state.onload(self._redraw)

    def _redraw(self) -> None:
        if self._canvas is None or self.result is None:
            return
        self._canvas.feed(self.marks(self.result))
        self._tell()

    def _tell(self) -> None:
        """Bring what stands beside the pictures up to date."""
        self._words.object = self._words_html()
        self._error.text = self.problem
        self.pace.set_out()

    def _update_theme(self, *_: object) -> None:
        if self._canvas is None:
            return
        self._card.styles = self._variables()
        for pane, fresh in zip(self._pictures, self.draw(), strict=True):
            pane.object = fresh.object  # in place: new panes would make the page jump
        self.pace.set_out()

    def _variables(self) -> dict[str, str]:
        return palette(self.dark).variables()

    # The card

    def __panel__(self) -> pn.Column:
        return self._card

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Any:
        if not pn.extension._loaded:
            return {"text/plain": notebook.needs_panel(f"{type(self).__name__}()")}
        data, metadata = super()._repr_mimebundle_(include, exclude)
        if "text/html" in data:  # not so where widgets of Jupyter carry the page
            data["text/html"] = notebook.mended(notebook.slimmed(data["text/html"]))
            for _, client in list(self._card._comms.values())[-1:]:  # this display's
                notebook.in_turn(client)
        return data, metadata

    @cached_property
    def _card(self) -> pn.Column:
        self._error = FieldError(text=self.problem)
        self._pictures = pn.Column(
            *self.draw(),
            sizing_mode="stretch_width",
            margin=0,
            css_classes=["pictures"],
            stylesheets=[stylesheet("demo")],
        )
        self._words = html(self._words_html(), "demo", css_classes=["words"])
        body = pn.Row(
            self._controls(),
            self._pictures,
            sizing_mode="stretch_width",
            margin=0,
            css_classes=["body", *self.arrangement()],
            stylesheets=[stylesheet("demo")],
        )
        return pn.Column(
            self._header(),
            body,
            self._words,
            self._code(),
            SelectKeys(),
            sizing_mode="stretch_width",
            margin=0,
            css_classes=["demo"],
            styles=self._variables(),
            stylesheets=[stylesheet("demo")],
        )

    def _header(self) -> pn.Row:
        heading = html(f"<h2>{_html.escape(self.title)}</h2>", "demo", css_classes=["heading"])
        return pn.Row(heading, self._reset_button(), sizing_mode="stretch_width", margin=0, css_classes=["header"])

    def _reset_button(self) -> pmui.Button:
        button = pmui.Button(label="Reset", variant="text", size="small", on_click=lambda _: self.reset(), margin=0)

        def on_theme(event: param.parameterized.Event) -> None:
            """In a notebook widgets take its theme, dark or light; the demo around them has to, too."""
            if not served():
                self.dark = event.new

        button.dark_theme = self.dark
        button.param.watch(on_theme, "dark_theme")
        return button

    def arrangement(self) -> list[str]:
        """How controls and pictures stand, as classes for the stylesheet."""
        return ["wide"] * self.wide + ["parted"] * bool(self.below)

    def _controls(self) -> pn.Column:
        widgets = [field(self, name, throttled=name in self.throttled) for name in self.controls]
        for name, widget in zip(self.controls, widgets, strict=True):
            kind = "press" if isinstance(self.param[name], param.Event) else "control"
            widget.css_classes = [*widget.css_classes, kind, *["below"] * (name in self.below)]
        if self.more:
            folded = pn.Column(
                *[field(self, name, throttled=name in self.throttled) for name in self.more],
                sizing_mode="stretch_width",
                margin=0,
            )
            widgets.append(fold("More controls", folded))
        return pn.Column(
            *widgets,
            *self.beside(),
            self._error,
            self.pace,
            margin=0,
            css_classes=["controls", *self.arrangement()],
            stylesheets=[stylesheet("demo")],
            sizing_mode="stretch_width",
        )

    def _code(self) -> pn.Column:
        if not self.code:
            return pn.Column(margin=0)
        text = html(
            f"<pre tabindex='0'><code>{_html.escape(self.listing())}</code></pre>", "demo", css_classes=["code"]
        )
        return fold("The code that computed this", text)

    def _words_html(self) -> str:
        return "".join(self.words().values())
