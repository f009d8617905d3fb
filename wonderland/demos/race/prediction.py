"""Say first who will do best; then see how far from it the race came out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import holoviews as hv
import panel as pn
import param
from panel.custom import JSComponent

from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.race.entrants import METHODS
from wonderland.demos.race.matrix import values
from wonderland.demos.race.races import Race
from wonderland.theme import Palette, mixed


@dataclass(frozen=True)
class Gap:
    """Two orders of the same methods, best first.

    Parameters
    ----------
    guessed, measured
        The orders.
    pairs, wrong
        How many pairs of methods there are, and how many of them the guess has the other way round.
    """

    guessed: tuple[str, ...]
    measured: tuple[str, ...]
    pairs: int
    wrong: int

    @property
    def tau(self) -> float:
        """Kendall's τ: 1 for the same order, −1 for the reverse, about 0 for a blind guess."""
        return 1 - 2 * self.wrong / self.pairs if self.pairs else 1.0


def compare(guessed: Sequence[str], measured: Sequence[str]) -> Gap:
    """Count the pairs of methods that the guess has the wrong way round."""
    place = {method: row for row, method in enumerate(measured)}
    wrong = sum(place[first] > place[second] for first, second in combinations(guessed, 2))
    count = len(guessed)
    return Gap(tuple(guessed), tuple(measured), count * (count - 1) // 2, wrong)


def averages(race: Race) -> dict[str, float]:
    """Mean accuracy over all tasks once the last has been learned, in percent, of the methods that came so far."""
    made = {
        method: values(track, "average accuracy", len(race.setting.tasks))
        for method in race.setting.methods
        if (track := race.of(method))
    }
    return {method: float(own.mean()) for method, own in made.items() if len(own)}


def ordered(guess: Sequence[str], methods: Sequence[str]) -> list[str]:
    """The methods as the guess has them, those it does not name behind."""
    named = [method for method in guess if method in methods]
    return named + [method for method in methods if method not in named]


def prediction_marks(guessed: Sequence[str], measured: dict[str, float], ink: Palette) -> Marks:
    """Two columns of names, the guess and what was measured, with a line for each method.

    `measured` is empty until it is revealed.
    """
    order = sorted(measured, key=lambda method: -measured[method])
    rows = {method: row for row, method in enumerate(order)}
    both = [method for method in guessed if method in rows]
    colors = {method: METHODS[method].ink(ink) for method in guessed}
    right = [
        (f"{rows[method] + 1}. {METHODS[method].label} {measured[method]:.1f}%", rows[method], colors[method])
        for method in both
    ]
    if not right:
        right = [(f"{row + 1}. ?", row, ink.muted) for row in range(len(guessed))]
    places = {method: row for row, method in enumerate(guessed)}
    return {
        "guessed names": {
            "x": [-0.04] * len(guessed),
            "y": [-row for row in range(len(guessed))],
            "text": [f"{METHODS[method].label} {row + 1}." for row, method in enumerate(guessed)],
            "ink": list(colors.values()),
        },
        "measured names": {
            "x": [1.04] * len(right),
            "y": [-row for _, row, _ in right],
            "text": [text for text, *_ in right],
            "ink": [color for *_, color in right],
        },
        "slopes": {
            "x0": [0.0] * len(both),
            "y0": [-places[method] for method in both],
            "x1": [1.0] * len(both),
            "y1": [-rows[method] for method in both],
            "ink": [colors[method] for method in both],
        },
        "heads": {"x": [-0.04, 1.04], "y": [0.9, 0.9], "text": ["your order", "as measured"]},
        "prediction frame": {"x": [-1.15, 2.3], "y": [-len(guessed) + 0.3, 1.4]},
    }


def prediction_pictures(canvas: Canvas) -> list[pn.pane.HoloViews]:
    """The two orders, and the lines between them: where two cross, that pair was guessed wrong."""
    ink = canvas.palette
    frame = canvas.marks["prediction frame"]
    words = {"text_font_size": "14px"}
    return [
        canvas.picture(
            canvas.draw(hv.Segments, "slopes", {"line_color": "ink"}, line_width=2.5),
            canvas.draw(hv.Labels, "guessed names", {"text_color": "ink"}, text_align="right", **words),
            canvas.draw(hv.Labels, "measured names", {"text_color": "ink"}, text_align="left", **words),
            canvas.draw(hv.Labels, "heads", text_color=mixed(ink.muted, ink.text, 0.3), **words),
            xlim=tuple(frame["x"]),
            ylim=tuple(frame["y"]),
            frame="prediction frame",
            bare=True,
            height=360,
            title="average accuracy at the end, best first",
            max_width=760,
        )
    ]


class Ranking(JSComponent):
    """A list whose entries the reader moves up and down, each by two labelled buttons.

    A press sends the entry and the direction to Python, which answers with the new list.
    """

    items = param.List(default=[], doc="Of each entry, best first: its name, its label, its color.")
    legend = param.String(default="", doc="What the list is.")

    _esm = """
    export function render({ model }) {
      const field = document.createElement('fieldset')
      let pressed = null
      const button = (name, label, way, sign, off) => {
        const made = document.createElement('button')
        made.type = 'button'
        made.textContent = sign
        made.disabled = off
        made.setAttribute('aria-label', `Move ${label} ${way}`)
        made.onclick = () => { pressed = [name, way]; model.send_msg({ name, way }) }
        made.dataset.key = `${name} ${way}`
        return made
      }
      const draw = () => {
        field.replaceChildren()
        const legend = document.createElement('legend')
        legend.textContent = model.legend
        const list = document.createElement('ol')
        model.items.forEach(([name, label, color], place) => {
          const entry = document.createElement('li')
          const text = document.createElement('span')
          text.textContent = label
          text.style.color = color
          const last = place === model.items.length - 1
          entry.append(button(name, label, 'up', '↑', place === 0), button(name, label, 'down', '↓', last), text)
          list.append(entry)
        })
        field.append(legend, list)
        if (!pressed) return
        const [name, way] = pressed
        const keys = [`${name} ${way}`, `${name} ${way === 'up' ? 'down' : 'up'}`]
        const found = keys.map((key) => field.querySelector(`[data-key="${key}"]`)).find((one) => one && !one.disabled)
        found?.focus()
      }
      draw()
      model.on('items', draw)
      return field
    }
    """

    _stylesheets = [
        """
        fieldset { border: 0; padding: 0; margin: 0; min-width: 0; }
        legend { font: 400 14px/1.5 Roboto, sans-serif; color: var(--w-muted); padding: 0; margin-bottom: 6px; }
        ol { margin: 0; padding: 0; list-style: none; counter-reset: place; display: grid;
          gap: 4px 24px; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); }
        li { counter-increment: place; display: flex; align-items: center; gap: 6px;
          font: 500 14px/1.4 Roboto, sans-serif; }
        li::before { content: counter(place) '.'; width: 1.6em; text-align: right; color: var(--w-muted);
          font-variant-numeric: tabular-nums; }
        button { width: 34px; height: 32px; border: 1px solid var(--w-edge); border-radius: 6px;
          background: var(--w-page); color: var(--w-text); font-size: 15px; cursor: pointer; }
        button:disabled { opacity: 0.35; cursor: default; }
        button:focus-visible { outline: 2px solid var(--w-original); }
        """
    ]

    def __init__(self, on_move: Callable[[str, int], None], **params: object) -> None:
        super().__init__(**params)
        self._on_move = on_move

    def _handle_msg(self, msg: dict) -> None:
        self._on_move(str(msg["name"]), -1 if msg["way"] == "up" else 1)


def moved(order: Sequence[str], method: str, by: int) -> list[str]:
    """An order with one method a place further up (−1) or down (1)."""
    order = list(order)
    at = order.index(method)
    to = min(max(at + by, 0), len(order) - 1)
    order.insert(to, order.pop(at))
    return order
