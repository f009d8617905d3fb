"""The labelled widgets that edit a demo's parameters."""

import html as _html
import time
from collections import deque
from collections.abc import Callable
from functools import partial

import panel as pn
import panel_material_ui as pmui
import param
from panel.custom import JSComponent

from wonderland.demos.parameters import Choice, Matrix, Real, number, shown
from wonderland.theme import html

_ECHO_SECONDS = 1.0
_SLIDER_STEPS = 2000  # beyond this many values a slider can no longer be aimed


class MatrixInput(JSComponent):
    """A matrix as a grid of labelled number boxes.

    Each box sends its text to Python, which answers with the new cells or with an error.
    """

    cells = param.List(default=[], doc="Rows of formatted numbers, as text.")
    legend = param.String(default="Matrix", doc="What the grid is called.")
    prefix = param.String(default="M", doc="Symbol before the row and column in each box's label.")

    _esm = """
    export function render({ model }) {
      const field = document.createElement('fieldset')
      const draw = () => {
        field.replaceChildren()
        const legend = document.createElement('legend')
        legend.textContent = model.legend
        field.append(legend)
        const grid = document.createElement('div')
        grid.className = 'grid'
        const columns = (model.cells[0] || []).length
        grid.style.gridTemplateColumns = `repeat(${columns}, minmax(74px, 1fr))`
        grid.style.maxWidth = `${columns * 105}px`
        model.cells.forEach((row, i) => row.forEach((text, j) => {
          const box = document.createElement('input')
          box.value = text
          box.inputMode = 'decimal'
          box.autocomplete = 'off'
          box.setAttribute('aria-label', `${model.prefix} row ${i + 1} column ${j + 1}`)
          box.onchange = () => model.send_msg({ row: i, column: j, text: box.value })
          grid.append(box)
        }))
        field.append(grid)
      }
      draw()
      const fill = () => {
        const boxes = field.querySelectorAll('input')
        const flat = model.cells.flat()
        if (boxes.length === flat.length) boxes.forEach((box, n) => { box.value = flat[n] })
        else draw()
      }
      model.on('cells', fill)
      model.on('msg:custom', fill)
      return field
    }
    """

    _stylesheets = [
        """
        :host { max-width: 640px; }
        fieldset { border: 0; padding: 0 0 4px; margin: 0; min-width: 0; overflow-x: auto; }
        legend { font: 500 13px/1.4 Roboto, sans-serif; color: var(--w-muted); padding: 0; margin-bottom: 4px; }
        .grid { display: grid; gap: 4px; }
        input { width: 100%; box-sizing: border-box; text-align: right; padding: 5px 6px; border-radius: 4px;
          font: 13px/1.4 ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace;
          font-variant-numeric: tabular-nums;
          color: var(--w-text); background: var(--w-page); border: 1px solid var(--w-edge); }
        input:focus-visible { outline: 2px solid var(--w-original); outline-offset: 0; }
        """
    ]

    def __init__(self, on_edit: Callable[[int, int, str], None], **params: object) -> None:
        super().__init__(**params)
        self._on_edit = on_edit

    def _handle_msg(self, msg: dict) -> None:
        self._on_edit(int(msg["row"]), int(msg["column"]), str(msg["text"]))
        self._send_msg("fill")  # a refused text gives way to the last good one


class FieldError(pn.viewable.Viewer):
    """The message beside a control, announced when it appears."""

    text = param.String(doc="What is wrong, or nothing.")

    def __init__(self, **params: object) -> None:
        super().__init__(**params)
        self._pane = html("", "demo", visible=False, css_classes=["field-error"])
        self.param.watch(self._update_pane, "text")
        self._update_pane()

    def _update_pane(self, *_: object) -> None:
        words = f'<p role="alert">{_html.escape(self.text)}</p>' if self.text else ""
        self._pane.param.update(object=words, visible=bool(self.text))

    def __panel__(self) -> pn.pane.HTML:
        return self._pane


def field(owner: param.Parameterized, name: str, *, throttled: bool = False) -> pn.viewable.Viewable:
    """A labelled widget for one parameter of a demo.

    Sliders for bounded numbers, a text field with its own message for the rest, buttons for few options.

    Parameters
    ----------
    owner
        The demo.
    name
        Name of the parameter.
    throttled
        Follow a slider only when it is let go: for parameters that are slow to measure.
    """
    parameter = owner.param[name]
    if isinstance(parameter, Matrix):
        return _matrix_field(owner, name)
    if isinstance(parameter, Real):
        low, high = parameter.get_soft_bounds()
        step = parameter.step or (1 if parameter.whole else 0.1)
        if low is None or high is None or (high - low) / step > _SLIDER_STEPS:
            return _text_field(owner, name)
        kind = pmui.IntSlider if parameter.whole else pmui.FloatSlider
        return _linked(kind, owner, name, throttled, step=step, margin=(6, 10, 14, 10))
    if isinstance(parameter, param.Event):
        return button(owner, name)
    if isinstance(parameter, param.Boolean):
        return pmui.Switch.from_param(parameter, label=parameter.label, margin=(4, 0))
    if isinstance(parameter, Choice):
        return pmui.RadioButtonGroup.from_param(
            parameter,
            label=parameter.label,
            color="primary",
            size="small",
            margin=(2, 10, 8, 10),
            sx={"& .MuiToggleButton-root": {"whiteSpace": "nowrap"}},
        )
    if isinstance(parameter, param.Selector):
        return pmui.Select.from_param(parameter, size="small", sizing_mode="stretch_width", margin=(8, 0))
    raise TypeError(f"{type(owner).__name__}.{name} is a {type(parameter).__name__}, which has no widget.")


def button(owner: param.Parameterized, name: str, **params: object) -> pmui.Button:
    """A button for an event of a demo; pressed, it finds every slider where the reader has left it."""

    def on_click(_: object) -> None:
        pace = getattr(owner, "pace", None)
        if pace:
            pace.flush()
        setattr(owner, name, True)

    look = {"variant": "outlined", "color": "primary", "margin": (4, 8, 8, 0)} | params
    return pmui.Button(label=owner.param[name].label, on_click=on_click, **look)


def _linked(
    kind: type, owner: param.Parameterized, name: str, throttled: bool, **params: object
) -> pn.viewable.Viewable:
    parameter = owner.param[name]
    low, high = parameter.get_soft_bounds()
    widget = kind(
        label=parameter.label,
        description=parameter.doc or "",
        start=low,
        end=high,
        value=getattr(owner, name),
        tooltips=False,  # the value stands in the label, which a bubble would cover
        sizing_mode="stretch_width",
        **params,
    )
    sent: deque[tuple[float, object]] = deque(maxlen=100)
    wished: list[object] = []  # what the reader asks for just now: no answer to the slider, which has moved on

    def on_widget(event: param.parameterized.Event) -> None:
        # While a drag sends many values, the browser's slider may answer with one that it was sent before; taken for
        # the reader's wish, it would throw the drag back.
        now = time.monotonic()
        if any(value == event.new and now - when < _ECHO_SECONDS for when, value in list(sent)[:-1]):
            widget.value = getattr(owner, name)
            return
        pace = getattr(owner, "pace", None)
        if pace:
            pace.do(name, partial(wish, event.new))
        else:
            wish(event.new)

    def wish(value: object) -> None:
        wished.append(value)
        try:
            setattr(owner, name, value)
        finally:
            wished.clear()

    def on_owner(event: param.parameterized.Event) -> None:
        if event.new not in wished and widget.value != event.new:
            sent.append((time.monotonic(), event.new))
            widget.value = event.new

    widget.param.watch(on_widget, "value_throttled" if throttled else "value")
    owner.param.watch(on_owner, name)
    # A range that depends on another control moves as the parameter's soft bounds.
    owner.param.watch(lambda e: widget.param.update(start=e.new[0], end=e.new[1]), name, what="softbounds")
    return widget


def _text_field(owner: param.Parameterized, name: str) -> pn.Column:
    """A number typed as text, so that every bad input can be answered in words."""
    parameter = owner.param[name]
    error = FieldError()
    box = pmui.TextInput(
        label=parameter.label,
        value=shown(getattr(owner, name)),
        size="small",
        sizing_mode="stretch_width",
        margin=(8, 0, 2, 0),
    )

    def on_text(event: param.parameterized.Event) -> None:
        try:
            setattr(owner, name, event.new)
        except ValueError as problem:
            error.text = str(problem)
            box.error_state = True
        else:
            error.text = ""
            box.error_state = False
            box.value = shown(getattr(owner, name))

    def on_value(event: param.parameterized.Event) -> None:
        box.param.update(value=shown(event.new), error_state=False)
        error.text = ""

    box.param.watch(on_text, "value")
    owner.param.watch(on_value, name)
    return pn.Column(box, error, sizing_mode="stretch_width", margin=0)


def cell(value: float) -> str:
    """A number in a box of seven characters: four digits, or as many as there is room for; rounding noise is 0."""
    if abs(value) < 1e-12:
        return "0"
    texts = [f"{value:.4g}", f"{value:.0f}"] if abs(value) >= 1e4 else [f"{value:.{digits}g}" for digits in (4, 3, 2)]
    return next((text for text in texts if len(text) <= 7), f"{value:.0e}")


def _matrix_field(owner: param.Parameterized, name: str) -> pn.Column:
    parameter = owner.param[name]
    error = FieldError()
    # A demo whose parameter only overrides a matrix that it computes says which one stands there now.
    shown = getattr(owner, "matrix_shown", partial(getattr, owner))

    def cells() -> list[list[str]]:
        return [[cell(value) for value in row] for row in shown(name)]

    def on_edit(row: int, column: int, text: str) -> None:
        label = f"{parameter.label}, row {row + 1}, column {column + 1}"
        try:
            matrix = shown(name).copy()
            matrix[row, column] = number(text, label, bounds=(-1e6, 1e6))
            setattr(owner, name, matrix)
        except ValueError as problem:
            error.text = str(problem)
        else:
            error.text = ""

    grid = MatrixInput(
        on_edit, cells=cells(), legend=parameter.label, prefix=parameter.label, sizing_mode="stretch_width"
    )
    watched = [name, "result"] if parameter.allow_None else [name]

    def refresh(*_: object) -> None:
        grid.cells, error.text = cells(), ""  # what was refused was said of another matrix

    owner.param.watch(refresh, watched)
    return pn.Column(grid, error, sizing_mode="stretch_width", margin=(6, 0))
