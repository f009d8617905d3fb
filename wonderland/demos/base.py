"""What every demo shares: a pure function of its parameters, drawn in one card."""

import ast
import html as _html
import inspect
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui
import param

from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.fields import FieldError, field
from wonderland.demos.pace import Pace
from wonderland.theme import html, palette, stylesheet

_QUIET = {
    "&.MuiToggleButton-root": {
        "border": 0,
        "padding": "4px 8px",
        "marginLeft": "-8px",
        "color": "var(--w-muted)",
        "whiteSpace": "nowrap",
    },
    "&.Mui-selected": {"backgroundColor": "transparent", "color": "var(--w-text)"},
}


@dataclass(frozen=True)
class Readout:
    """One number under the picture.

    `concept` names a color of the palette; `verdict` is "ok", "close" or "off" where the number is judged.
    """

    label: str
    value: str
    concept: str = "text"
    verdict: str = ""


@dataclass(frozen=True)
class Claim:
    """What the tutorial says beside what was measured here.

    `key` is the claim's name in the ledger; `verdict` is "holds", "partly" or "fails". `tested` is false in a state
    that does not put the claim to the test, a shear for what is said of rotations; the ledger leaves that out.
    """

    key: str
    tale: str
    measured: str
    verdict: str
    tested: bool = True


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
    wide: ClassVar[bool] = False
    """Controls above the pictures instead of beside them, for three pictures in a row."""
    throttled: ClassVar[tuple[str, ...]] = ()
    """Parameters too slow to follow while a slider moves."""
    code: ClassVar[tuple[Callable | str, ...]] = ()
    """The functions that computed what is on screen, or their source, shown on demand."""
    axes: ClassVar[dict[str, Iterable]] = {}
    """The values of each control that a recording of this demo holds."""

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
        self._words.object = self._words_html()
        self._error.text = self.problem
        self.pace.set_out()

    def _update_theme(self, *_: object) -> None:
        if self._canvas is None:
            return
        self._card.styles = self._variables()
        for pane, fresh in zip(self._pictures, self._drawn(), strict=True):
            pane.object = fresh.object  # in place: new panes would make the page jump
        self.pace.set_out()

    def _variables(self) -> dict[str, str]:
        return palette(self.dark).variables()

    def _drawn(self) -> list[pn.viewable.Viewable]:
        self._canvas = Canvas(self.marks(self.result), palette(self.dark))
        return self.pictures(self._canvas)

    # The card

    def __panel__(self) -> pn.Column:
        return self._card

    @cached_property
    def _card(self) -> pn.Column:
        self._error = FieldError(text=self.problem)
        self._pictures = pn.Column(
            *self._drawn(),
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
            css_classes=["body", "wide"] if self.wide else ["body"],
            stylesheets=[stylesheet("demo")],
        )
        return pn.Column(
            self._header(),
            body,
            self._words,
            self._code(),
            sizing_mode="stretch_width",
            margin=0,
            css_classes=["demo"],
            styles=self._variables(),
            stylesheets=[stylesheet("demo")],
        )

    def _header(self) -> pn.Row:
        heading = html(f"<h2>{_html.escape(self.title)}</h2>", "demo", css_classes=["heading"])
        reset = pmui.Button(label="Reset", variant="text", size="small", on_click=lambda _: self.reset(), margin=0)
        return pn.Row(heading, reset, sizing_mode="stretch_width", margin=0, css_classes=["header"])

    def _controls(self) -> pn.Column:
        widgets = [field(self, name, throttled=name in self.throttled) for name in self.controls]
        if self.more:
            folded = pn.Column(
                *[field(self, name, throttled=name in self.throttled) for name in self.more],
                sizing_mode="stretch_width",
                margin=0,
            )
            widgets.append(_fold("More controls", folded))
        return pn.Column(
            *widgets,
            *self.beside(),
            self._error,
            self.pace,
            margin=0,
            css_classes=["controls", "wide"] if self.wide else ["controls"],
            stylesheets=[stylesheet("demo")],
            sizing_mode="stretch_width",
        )

    def _code(self) -> pn.Column:
        if not self.code:
            return pn.Column(margin=0)
        source = "\n\n".join(code if isinstance(code, str) else inspect.getsource(code) for code in self.code)
        text = html(f"<pre tabindex='0'><code>{_html.escape(source)}</code></pre>", "demo", css_classes=["code"])
        return _fold("The code that computed this", text)

    def _words_html(self) -> str:
        result = self.result
        if result is None:
            return ""
        rows = "".join(
            f'<div class="{r.verdict}" style="--concept: var(--w-{_ink(r.concept)})">'
            f"<dt>{_html.escape(r.label)}</dt><dd>{_html.escape(r.value)}</dd></div>"
            for r in self.readouts(result)
        )
        claims = "".join(
            f'<div class="claim {c.verdict}"><p class="tale"><span>The tale</span>{_html.escape(c.tale)}</p>'
            f'<p class="measured"><span>Measured</span>{_html.escape(c.measured)}</p></div>'
            for c in self.claims(result)
        )
        words = _html.escape(self.describe(result))
        return (
            f'<p class="described" role="img" aria-label="{words}"></p>'
            f'<dl class="readouts">{rows}</dl>{self.details(result)}<div class="claims">{claims}</div>'
        )


def _ink(concept: str) -> str:
    """The color in which a concept can be read; neutral is a color for marks."""
    return "muted" if concept == "neutral" else concept


def source_of(module: str, name: str) -> str:
    """The source of a function or method, ``"LayerRun.step"`` say, read without importing its module.

    For code that needs torch, which a page does not wait for.
    """
    text = Path(find_spec(module).origin).read_text(encoding="utf-8")
    node: Any = ast.parse(text)
    for part in name.split("."):
        node = next(child for child in node.body if getattr(child, "name", None) == part)
    return textwrap.dedent(ast.get_source_segment(text, node, padded=True))


def _fold(label: str, content: pn.viewable.Viewable) -> pn.Column:
    """A disclosure: the content is built only when it is opened."""
    toggle = pmui.Toggle(label=label, size="small", margin=0, sx=_QUIET)
    body = pn.Column(margin=0, sizing_mode="stretch_width", visible=False)

    def on_toggle(event: param.parameterized.Event) -> None:
        if not body.objects:
            body.append(content)
        body.visible = event.new

    toggle.param.watch(on_toggle, "value")
    return pn.Column(toggle, body, sizing_mode="stretch_width", margin=0, css_classes=["fold"])
