"""Several of a few names, in an order: a parameter that is text, and the widgets that edit it."""

from collections.abc import Callable, Mapping

import panel as pn
import panel_material_ui as pmui
import param

from wonderland.demos.fields import FieldError
from wonderland.demos.parameters import number, shown


class Several(param.String):
    """Some of `objects`, each once, as text: ``"full,osft"``.

    Their order counts, unless it is `fixed` to be that of `objects`.
    """

    __slots__ = ["fixed", "least", "most", "objects"]
    _slot_defaults = dict(param.String._slot_defaults, objects=(), least=1, most=None, fixed=False)

    def __init__(
        self, default: str, *, objects: tuple[str, ...], least: int, most: int, fixed: bool = False, **params: object
    ) -> None:
        self.objects, self.least, self.most, self.fixed = objects, least, most, fixed
        super().__init__(default=default, **params)

    def _validate(self, val: object) -> None:
        name = self.label or self.name or "value"
        if not isinstance(val, str):
            raise ValueError(f"{name} is {val!r}: give names with commas between them.")
        names = split(val)
        for each in names:
            if each not in self.objects:
                raise ValueError(f"{name} holds “{each[:40]}”: give some of {', '.join(self.objects)}.")
            if names.count(each) > 1:
                raise ValueError(f"{name} holds {each} twice: choose each once.")
        if not self.least <= len(names) <= self.most:
            held = f"holds {len(names)}" if names else "is empty"
            raise ValueError(f"{name} {held}: choose {self.least} to {self.most}.")

    def __set__(self, obj: object, val: object) -> None:
        if isinstance(val, str):
            names = split(val)
            if self.fixed:
                places = {name: place for place, name in enumerate(self.objects)}
                names.sort(key=lambda name: places.get(name, len(places)))
            val = ",".join(names)
        super().__set__(obj, val)


class Rates(param.String):
    """Learning rates by method, as text: ``"full=0.001,oft=0.01"``; who is left out has the default."""

    __slots__ = ["bounds", "objects"]
    _slot_defaults = dict(param.String._slot_defaults, objects=(), bounds=None)

    def __init__(self, *, objects: tuple[str, ...], bounds: tuple[float, float], **params: object) -> None:
        self.objects, self.bounds = objects, bounds
        super().__init__(default="", **params)

    def _validate(self, val: object) -> None:
        if not isinstance(val, str):
            raise ValueError(f"{self.label} are {val!r}: give text such as {self.objects[0]}=0.001.")
        for method, text in pairs(val).items():
            if method not in self.objects:
                raise ValueError(f"{self.label} name “{method[:40]}”: give some of {', '.join(self.objects)}.")
            number(text, f"Learning rate of {method}", bounds=self.bounds)


def split(text: str) -> list[str]:
    """The names in a text."""
    return [part for each in text.split(",") if (part := each.strip())]


def pairs(text: str) -> dict[str, str]:
    """The ``name=value`` in a text."""
    return {name.strip(): value for name, _, value in (part.partition("=") for part in split(text))}


def rates_of(text: str) -> dict[str, float]:
    """The learning rates in a text that a `Rates` parameter has accepted."""
    return {name: float(value) for name, value in pairs(text).items()}


def several_field(owner: param.Parameterized, name: str, make: Callable[..., pn.widgets.Widget]) -> pn.Column:
    """A widget with a list as its value for a `Several`, and beside it what is wrong with a choice."""
    widget, error = make(value=split(getattr(owner, name))), FieldError()

    def on_widget(event: param.parameterized.Event) -> None:
        try:
            setattr(owner, name, ",".join(event.new))
        except ValueError as problem:  # the last good choice still counts, and its picture stands
            error.text = str(problem)
        else:
            error.text = ""

    def on_owner(event: param.parameterized.Event) -> None:
        error.text = ""
        widget.value = split(event.new)

    widget.param.watch(on_widget, "value")
    owner.param.watch(on_owner, name)
    return pn.Column(widget, error, sizing_mode="stretch_width", margin=0)


def rates_field(owner: param.Parameterized, name: str, labels: Mapping[str, str]) -> pn.Column:
    """A text box for each method's rate, empty where the default counts."""
    error = FieldError()
    boxes = {
        method: pmui.TextInput(label=label, size="small", width=150, margin=(6, 10, 2, 0))
        for method, label in labels.items()
    }
    filling = False

    def on_box(method: str, text: str) -> None:
        if filling:
            return
        held = pairs(getattr(owner, name)) | {method: text.strip()}
        try:
            setattr(owner, name, ",".join(f"{each}={rate}" for each, rate in held.items() if rate))
        except ValueError as problem:
            error.text = str(problem)
            boxes[method].error_state = True
        else:
            fill()

    def fill(*_: object) -> None:
        nonlocal filling
        filling, held = True, rates_of(getattr(owner, name))
        for method, box in boxes.items():
            box.param.update(value=shown(held[method]) if method in held else "", error_state=False)
        error.text, filling = "", False

    for method, box in boxes.items():
        box.param.watch(lambda event, method=method: on_box(method, event.new), "value")
    owner.param.watch(fill, name)
    fill()
    return pn.Column(
        pn.FlexBox(*boxes.values(), sizing_mode="stretch_width", margin=0), error, sizing_mode="stretch_width", margin=0
    )
