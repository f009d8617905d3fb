"""One recorded demo as HTML: native controls, room for its figures, and its words."""

import html as _html
import json
import re
from itertools import count, pairwise
from typing import Any

import param

from wonderland.demos.amounts import many, minus
from wonderland.demos.base import Demo
from wonderland.demos.parameters import Choice, shown
from wonderland.snapshots.axes import Axis
from wonderland.snapshots.figures import Picture
from wonderland.snapshots.pack import encoded, pack
from wonderland.snapshots.record import Recording

EVEN = 4
"""Values spaced more unevenly than so many times stand at equal distances on their slider."""
NO_SCRIPT = (
    '<noscript><p class="detail">The pictures need JavaScript, which draws them from the numbers that this file '
    "holds; without it, here they are in words.</p></noscript>"
)


_SERVE = "<code>wonderland serve --show</code>"


def card(recording: Recording, sets: list[list[Picture]]) -> str:
    """A demo's card in its starting state, and its record as a compressed block of data."""
    demo, name = recording.demo, type(recording.demo).__name__
    box, head = pack(recording)
    figures = [picture for pictures in sets for picture in pictures if picture.doc]
    data = encoded(box.bytes(head | {"figures": [{"doc": one.doc, "light": one.light} for one in figures]}))
    source = _html.escape(demo.listing())
    code = (
        '<details class="fold"><summary>The code that computed this</summary>'
        f'<pre tabindex="0"><code>{source}</code></pre></details>'
    )
    words = "".join(f'<div data-block="{block}">{html}</div>' for block, html in demo.words().items())
    kind = "".join(f" {name}" for name in demo.arrangement())
    return (
        f'<section class="demo" id="{name}" data-demo="{name}" aria-label="{_html.escape(demo.title)}">'
        f'<div class="header"><h2>{_html.escape(demo.title)}</h2><button type="button" class="reset" disabled>Reset'
        f'</button></div><div class="body{kind}">'
        f'<form class="controls{kind}">{_controls(recording)}'
        f'<p class="problem" role="alert" hidden></p></form>'
        f"{_pictures(sets, _first(recording))}</div>"
        f'{NO_SCRIPT}<noscript><p class="detail">{_html.escape(demo.describe(demo.result))}</p></noscript>'
        f'<div class="words">{words}</div>{code if source else ""}'
        f'<p class="live">{_live(recording, figures)}</p></section>'
        f'<script type="application/gzip" data-record="{name}">{data}</script>'
    )


def _controls(recording: Recording) -> str:
    demo = recording.demo
    place = {axis.names[0]: n for n, axis in enumerate(recording.axes)}
    pressed = {n for moves in recording.presses.values() for n in moves}
    made = []
    for name in _offered(demo):
        if name in recording.presses:
            text = _html.escape(demo.param[name].label)
            made.append(f'<button type="button" data-press="{name}" disabled>{text}</button>')
        elif name in place:
            n = place[name]
            axis = recording.axes[n]
            alone = len(axis.names) == 1 and not isinstance(demo.param[name], param.Boolean)
            if alone or n not in pressed:  # else its button is all the control there is
                control = _control(demo, axis, n)
                made.append(control.replace('"field', '"field below', 1) if name in demo.below else control)
    # Buttons that stand one behind the other share a line.
    return re.sub(r"(?:<button.*?</button>)+", r'<div class="buttons">\g<0></div>', "".join(made))


def _control(demo: Demo, axis: Axis, number: int) -> str:
    parameter = demo.param[axis.names[0]]
    texts = [_texts(demo, axis, n) for n in range(len(axis))]
    label, key = _html.escape(parameter.label), f"{type(demo).__name__}-{axis.names[0]}"
    about = f' title="{_html.escape(parameter.doc)}"' if parameter.doc else ""
    data = f'data-axis="{number}" data-name="{axis.names[0]}"'
    if isinstance(parameter, param.Boolean):
        checked = " checked" * axis.values[axis.start][0]
        places = json.dumps([axis.values.index((False,)), axis.values.index((True,))])
        return (
            f'<div class="field switch"{about} {data}><input type="checkbox" id="{key}" data-places="{places}" disabled'
            f'{checked}><label for="{key}">{label}</label></div>'
        )
    if isinstance(parameter, Choice) and len(axis.names) == 1:
        options = "".join(
            f'<label><input type="radio" name="{key}" value="{n}" disabled{" checked" * (n == axis.start)}>'
            f"<span>{_html.escape(text)}</span></label>"
            for n, text in enumerate(texts)
        )
        return f'<fieldset class="field choice"{about} {data}><legend>{label}</legend>{options}</fieldset>'
    if isinstance(parameter, param.Selector) or len(axis.names) > 1:
        options = "".join(
            f'<option value="{n}"{" selected" * (n == axis.start)}>{_html.escape(text)}</option>'
            for n, text in enumerate(texts)
        )
        return (
            f'<div class="field"{about} {data}><label for="{key}">{label}</label>'
            f'<select id="{key}" disabled>{options}</select></div>'
        )
    at = _along(axis)
    spaced = _html.escape(json.dumps(at)), _html.escape(json.dumps(texts, ensure_ascii=False))
    return (
        f'<div class="field slider"{about} {data}><label for="{key}">{label}</label> <output for="{key}">'
        f'{texts[axis.start]}</output><input type="range" id="{key}" min="{at[0]}" max="{at[-1]}" step="any" '
        f'value="{at[axis.start]}" data-places="{spaced[0]}" data-texts="{spaced[1]}" '
        f'aria-valuetext="{texts[axis.start]}" disabled></div>'
    )


def _along(axis: Axis) -> list[float]:
    """Where the values of a slider stand: at their own, or one step apart where those are spaced too unevenly."""
    values = [value for (value,) in axis.values]
    gaps = [after - before for before, after in pairwise(values)]
    even = bool(gaps) and min(gaps) > 0 and max(gaps) <= EVEN * sorted(gaps)[len(gaps) // 2]
    return values if even else list(range(len(values)))


def _texts(demo: Demo, axis: Axis, place: int) -> str:
    """A value as its control shows it, with what moves along."""
    (name, value), *rest = axis.settings(place).items()
    along = (f", {demo.param[other].label}: {_text(demo.param[other], one)}" for other, one in rest)
    return _text(demo.param[name], value) + "".join(along)


def _text(parameter: param.Parameter, value: Any) -> str:
    if isinstance(parameter, param.Selector) and not isinstance(parameter, param.Boolean):
        return next((str(name) for name, one in parameter.get_range().items() if one == value), str(value))
    return minus(shown(value)) if isinstance(value, int | float) else str(value)


def _pictures(sets: list[list[Picture]], start: int) -> str:
    """Room for every set of pictures, all but the one at the start out of sight."""
    figures, panes = count(), count()

    def room(picture: Picture) -> str:
        if picture.doc is None:
            style = f"<style>{scoped(picture.sheet, '.pane')}</style>" if picture.sheet else ""
            inner = f'<div data-pane="{next(panes)}">{picture.html}</div>'
            return f'<div class="pane" style="{picture.style}">{style}{inner}</div>'
        drawn = picture.attributes
        size = "aspect-ratio: 1" if drawn.get("aspect_ratio") else f"height: {drawn.get('height')}px"
        if drawn.get("max_width"):
            size += f"; max-width: {drawn['max_width']}px"
        return f'<div class="picture" data-figure="{next(figures)}" style="{size}; {picture.style}"></div>'

    return "".join(
        f'<div class="pictures" data-set="{number}"{" hidden" * (number != start)}>{"".join(map(room, pictures))}</div>'
        for number, pictures in enumerate(sets)
    )


def _first(recording: Recording) -> int:
    """The set of pictures that the starting state shows."""
    return list(recording.pictures).index(recording.drawn[0])


def _live(recording: Recording, figures: list[Picture]) -> str:
    """What this file cannot do, and where it can be done."""
    demo = recording.demo
    on_axes = {name for axis in recording.axes for name in axis.names}
    rest = [demo.param[name].label for name in _offered(demo) if name not in on_axes | recording.presses.keys()]
    if any("pan" in one.attributes.get("subscribed_events", {}).get("entries", ()) for one in figures):
        rest.append("dragging in the picture")
    words = f"Recorded: {many(recording.states, 'state')}, each computed by the code above."
    return f"{words} On the live page besides: {_html.escape(', '.join(rest) or 'what lies between')} — {_SERVE}."


def _offered(demo: Demo) -> list[str]:
    """The controls in their order; behind them those axes and buttons that a demo arranges by itself."""
    axes = (name for key in demo.axes for name in (key if isinstance(key, tuple) else (key,)))
    return list(dict.fromkeys((*demo.controls, *demo.more, *axes, *demo.presses)))


def scoped(sheet: str, scope: str) -> str:
    """A stylesheet that was written for a shadow root, for what lies inside `scope`."""
    own = f":host({scope})"
    sheet = sheet.replace(own, "&")
    sheet = re.sub(r":host\(([^)]*)\)", r"\1", sheet).replace(":host", "&")
    return f"{scope} {{\n{sheet}\n}}\n"
