"""A demo's pictures: its figures as BokehJS reads them, once, with what the light theme changes in them."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import panel as pn
from bokeh import __version__
from bokeh.document import Document
from bokeh.models import Plot, Title

from wonderland.demos.canvas import HINT
from wonderland.snapshots.record import Recording, flat, in_theme, put


@dataclass(frozen=True)
class Picture:
    """A picture as the file holds it: a figure, or HTML that the demo keeps up to date.

    Parameters
    ----------
    style
        Its own CSS.
    doc
        A Bokeh document in JSON, in the dark theme and without the data of its marks; None for HTML.
    light
        Rows of a model's id, a property, and its value in the dark and in the light theme.
    html, sheet
        The HTML and its stylesheet.
    """

    style: str
    doc: dict[str, Any] | None = None
    light: tuple[list, ...] = ()
    html: str = ""
    sheet: str = ""

    @property
    def attributes(self) -> dict[str, Any]:
        """The figure's properties, as far as they are not Bokeh's defaults."""
        return self.doc["roots"][0]["attributes"]


def pictures(recording: Recording) -> list[list[Picture]]:
    """The pictures of a recorded demo, each set in its order."""
    demo = recording.demo
    start = {name: getattr(demo, name) for settings in recording.pictures.values() for name in settings}
    found = []
    for marks, settings in recording.pictures.items():
        put(demo, settings)
        drawn = [
            recording.drawn[1]
            if dark and recording.drawn[0] == marks
            else in_theme(demo, dark, lambda: flat(demo.draw()))
            for dark in (True, False)
        ]
        demo._canvas = None  # what was drawn is followed no further
        found.append([_picture(*themes, marks) for themes in zip(*drawn, strict=True)])
    put(demo, start)
    return found


def _picture(dark: pn.viewable.Viewable, light: pn.viewable.Viewable, marks: Collection[str]) -> Picture:
    style = "; ".join(f"{name}: {value}" for name, value in (dark.styles or {}).items())
    if isinstance(dark, pn.pane.HTML):
        return Picture(style, html=dark.object, sheet="".join(s for s in dark.stylesheets if isinstance(s, str)))
    docs = _json(dark), _json(light)
    rows: list[list] = []
    for doc in docs:
        _empty(doc["roots"], marks)
    _differ(*(doc["roots"] for doc in docs), rows)
    return Picture(style, docs[0], tuple(rows))


def _json(picture: pn.viewable.Viewable) -> dict[str, Any]:
    root = picture.get_root()
    figure = root if isinstance(root, Plot) else root.select_one({"type": Plot})
    if figure is not root:
        root.children = []
    figure.stylesheets = []  # the page has its own
    if isinstance(figure.title, Title):
        figure.title.text = "".join(figure.title.tags)  # without the hint
    figure.renderers = [r for r in figure.renderers if getattr(r, "data_source", r).name != HINT]
    document = Document()
    document.add_root(figure)
    return {"version": __version__, "title": "", "roots": document.to_json(deferred=False)["roots"]}


def _differ(one: Any, other: Any, found: list[list]) -> None:
    """Collect what two drawings of the same figure do not have in common."""
    if isinstance(one, dict) and one.get("type") == "object" and "id" in one:
        for name in one.get("attributes", {}).keys() | other.get("attributes", {}).keys():
            values = one["attributes"][name], other["attributes"][name]
            if name != "name" and not _holds_models(values[0]):
                if values[0] != values[1]:
                    found.append([one["id"], name, *map(_set, values)])
            else:
                _differ(*values, found)
    elif isinstance(one, list):
        for pair in zip(one, other, strict=True):
            _differ(*pair, found)
    elif isinstance(one, dict) and "entries" in one:
        _differ(one["entries"], other["entries"], found)


def _holds_models(value: Any) -> bool:
    if isinstance(value, dict):
        return "id" in value or any(map(_holds_models, value.values()))
    return isinstance(value, list) and any(map(_holds_models, value))


def _set(value: Any) -> Any:
    """A value as BokehJS takes it when it is set."""
    return {k: v for k, v in value.items() if k != "type"} if isinstance(value, dict) else value


def _empty(value: Any, marks: Any) -> None:
    """Take the data of the marks out: the record holds it."""
    if isinstance(value, list):
        for item in value:
            _empty(item, marks)
    elif isinstance(value, dict):
        attributes = value.get("attributes")
        if value.get("name") == "ColumnDataSource" and attributes.get("name") in marks:
            attributes["data"] = {"type": "map", "entries": []}
        else:
            _empty(list(value.values()), marks)
