"""What a demo shows in each of its recorded states; no state is computed anywhere but by the demo itself."""

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import panel as pn
from param.parameterized import discard_events

from wonderland.demos.base import Demo
from wonderland.demos.canvas import HINT
from wonderland.snapshots.axes import Axis, Walk, axes_of, refuse_many, views_of

_TOKEN = re.compile(r"\s*[^\s<>]+|\s*[<>]|\s+")
TRIES = 12
"""States outside the recorded groups that are measured to see whether the groups are apart."""


@dataclass
class Piece:
    """A column of a mark, or a block of words: its distinct values, and which of them each state shows.

    `key` is ``("mark", name, column)``, ``("words", block)``, ``("pane", number)`` or ``("pictures",)``, which of the
    recording's sets of pictures is on screen. Where a state has no such mark, its number is −1.
    """

    key: tuple
    values: dict[Hashable, int] = field(default_factory=dict)
    ids: list[list[int]] = field(default_factory=list)

    @property
    def text(self) -> bool:
        """Whether it is words and no column."""
        return self.key[0] in ("words", "pane")


@dataclass
class Recording:
    """A demo walked through.

    Parameters
    ----------
    demo
        The demo, back at its start.
    axes, walks
        What it was moved along, and the combinations recorded, one walk a group of axes.
    records
        For each walk, the number of the record at every combination; below zero, −1 − the number of a problem.
    problems
        Why some combinations have no record, in words.
    pictures
        The sets of pictures: the marks that are on each, and a state that shows it.
    pieces
        What the records hold.
    presses
        For each button, the axes it moves and where from each place.
    """

    demo: Demo
    axes: list[Axis]
    walks: list[Walk]
    records: list[np.ndarray] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    pictures: dict[frozenset[str], dict[str, Any]] = field(default_factory=dict)
    pieces: dict[tuple, Piece] = field(default_factory=dict)
    presses: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    drawn: tuple[frozenset[str], list[pn.viewable.Viewable]] = (frozenset(), [])
    """The pictures of the starting state in the dark theme: their marks, and what was drawn."""

    @property
    def states(self) -> int:
        """How many combinations are measured: what two walks have in common, once."""
        return len({_key(walk.settings(index)) for walk in self.walks for index in walk.states()})

    def own(self, walk: Walk) -> set[int]:
        """The axes that are of no other walk."""
        return set(walk.view).difference(*(other.view for other in self.walks if other is not walk))


def plan(demo: Demo) -> Recording:
    """What is to be recorded of a demo that no reader looks at.

    Raises
    ------
    ValueError
        As `axes_of` and `views_of` do.
    """
    axes = axes_of(demo)
    views = views_of(demo, axes)
    start = {name: getattr(demo, name) for axis in axes for name in axis.names}
    walks = [Walk(demo, axes, view) for view in views]
    refuse_many(demo, axes, [len(walk.states()) for walk in walks], views)
    with discard_events(demo):
        demo.param.update(**start)
    return Recording(demo, axes, walks)


def record(recording: Recording, on_state: Callable[[], object] = lambda: None) -> None:
    """Walk the demo along its axes and note what it shows.

    Raises
    ------
    ValueError
        If groups of axes that are set apart meet in a mark or in a number.
    """
    demo, axes = recording.demo, recording.axes
    recording.drawn = in_theme(demo, True, lambda: (_marks(demo), flat(demo.draw())))
    start = {name: value for axis in axes for name, value in axis.settings(axis.start).items()}
    recording.pictures[recording.drawn[0]] = start
    panes = [picture for picture in recording.drawn[1] if isinstance(picture, pn.pane.HTML)]
    if panes:
        demo.__panel__()  # it keeps them up to date
    else:
        demo._canvas = None
    known: dict[Hashable, int | dict[tuple, int]] = {}
    for number, walk in enumerate(recording.walks):
        places = np.zeros(walk.shape, dtype=np.int32)
        count = 0
        for index in walk.states():
            settings = walk.settings(index)
            if (state := _key(settings)) not in known:
                known[state] = _measured(recording, settings, panes)
                on_state()
            if isinstance(entry := known[state], int):
                places[index] = -1 - entry
            else:
                _note(recording, number, entry)
                places[index] = count
                count += 1
        for index in np.ndindex(walk.shape):
            places[index] = places[walk.first(index)]
        recording.records.append(places)
    put(demo, start)
    _check(recording, panes)
    for name in demo.presses:
        recording.presses[name] = _moves(demo, axes, name)
    put(demo, start)


def _key(settings: dict[str, Any]) -> Hashable:
    return tuple(settings.values())


def _measured(recording: Recording, settings: dict[str, Any], panes: list[pn.pane.HTML]) -> int | dict[tuple, int]:
    """The number of each piece's value in a state, or of the problem that there is instead."""
    demo = recording.demo
    put(demo, settings)
    if demo.problem:
        return _problem(recording, demo.problem)
    found = shown(demo, panes)
    marks = frozenset(key[1] for key in found if key[0] == "mark")
    recording.pictures.setdefault(marks, settings)
    found["pictures",] = _frozen([float(list(recording.pictures).index(marks))])
    held = [len(ids) for ids in recording.pieces["pictures",].ids] if recording.pieces else [0] * len(recording.walks)
    numbers = {}
    for key, value in found.items():
        piece = recording.pieces.setdefault(key, Piece(key, ids=[[-1] * n for n in held]))
        numbers[key] = piece.values.setdefault(value, len(piece.values))
    return numbers


def _note(recording: Recording, walk: int, numbers: dict[tuple, int]) -> None:
    for key, piece in recording.pieces.items():
        piece.ids[walk].append(numbers.get(key, -1))


def flat(pictures: Iterable[pn.viewable.Viewable]) -> list[pn.viewable.Viewable]:
    """Pictures without the columns that some stand in."""
    return [one for each in pictures for one in (flat(each) if isinstance(each, pn.Column) else [each])]


def put(demo: Demo, settings: dict[str, Any]) -> None:
    """Set parameters and leave them so, whatever a change of one does to another."""
    demo.param.update(**settings)
    if any(getattr(demo, name) != value for name, value in settings.items()):
        demo.param.update(**settings)


def shown(demo: Demo, panes: list[pn.pane.HTML] = ()) -> dict[tuple, Hashable]:
    """What a demo shows now, by the keys of the pieces, each in a form that equals another's if it looks the same."""
    marks = [in_theme(demo, dark, lambda: demo.marks(demo.result)) for dark in (True, False)]
    found: dict[tuple, Hashable] = {}
    for mark, columns in marks[0].items():
        if mark == HINT:
            continue
        for name, column in columns.items():
            found["mark", mark, name] = _frozen(column, marks[1][mark][name])
    found |= {("words", block): tokens(html) for block, html in demo.words().items()}
    return found | {("pane", number): tokens(pane.object) for number, pane in enumerate(panes)}


def in_theme(demo: Demo, dark: bool, call: Callable[[], Any]) -> Any:
    """What a call gives while the demo is in a theme; nobody is told of it."""
    before = demo.dark
    with discard_events(demo):
        demo.dark = dark
        try:
            return call()
        finally:
            demo.dark = before


def _marks(demo: Demo) -> frozenset[str]:
    """The marks on the pictures of the present state."""
    return frozenset(demo.marks(demo.result).keys() - {HINT})


def tokens(text: str) -> tuple[str, ...]:
    """A text in pieces that come again in the next state's, each with the space before it."""
    return tuple(_TOKEN.findall(text))


def _frozen(dark: Any, light: Any = ()) -> Hashable:
    """A column as what it is and a tuple: numbers as bytes, words or pairs of words, rows of numbers, matrices."""
    if not len(dark):
        return "none", ()
    first = dark[0]
    if isinstance(first, str):
        pairs = zip(map(str, dark), map(str, light), strict=True)
        return "words", tuple(one if one == other else (one, other) for one, other in pairs)
    if np.ndim(first) == 0:
        return "numbers", np.asarray(dark, dtype=float).tobytes()
    if np.ndim(first) == 1:
        return "rows", tuple(np.asarray(row, dtype=float).tobytes() for row in dark)
    return "matrices", tuple((np.shape(M), np.asarray(M, dtype=float).tobytes()) for M in dark)


def _problem(recording: Recording, text: str) -> int:
    if text not in recording.problems:
        recording.problems.append(text)
    return recording.problems.index(text)


def _check(recording: Recording, panes: list[pn.pane.HTML]) -> None:
    """Measure some states that lie in no group and compare them with what is put together from the groups."""
    if len(recording.walks) == 1:
        return
    rng = np.random.default_rng(0)
    for _ in range(TRIES):
        at = [int(rng.integers(len(axis))) for axis in recording.axes]
        places = zip(recording.axes, at, strict=True)
        put(recording.demo, {name: value for axis, n in places for name, value in axis.settings(n).items()})
        made = composed(recording, at)
        if made is None or recording.demo.problem:
            continue
        for key, value in shown(recording.demo, panes).items():
            if made[key] != value:
                name = type(recording.demo).__name__
                raise ValueError(
                    f"{name}.apart does not hold: {' '.join(map(str, key[1:]))} depends on several groups."
                )


def composed(recording: Recording, at: list[int]) -> dict[tuple, Hashable] | None:
    """What a file shows at a place on every axis, put together from its records; None where one has none.

    Each piece, and of words each word, is that of the group in which it is not what it is at the start.
    """
    here, start = [], []
    for walk, records in zip(recording.walks, recording.records, strict=True):
        own = recording.own(walk)
        here.append(int(records[tuple(at[n] for n in walk.view)]))
        start.append(int(records[tuple(recording.axes[n].start if n in own else at[n] for n in walk.view)]))
    if min(here) < 0:
        return None
    made: dict[tuple, Hashable] = {}
    for key, piece in recording.pieces.items():
        values = list(piece.values)
        found = [piece.ids[view][number] for view, number in enumerate(here)]
        base = [piece.ids[view][number] for view, number in enumerate(start)]
        moved = [n for n, b in zip(found, base, strict=True) if n != b and n >= 0]
        if not moved and found[0] < 0:
            continue
        if len(set(moved)) > 1 and piece.text:
            made[key] = _merged([values[n] for n in moved], values[base[0]])
        else:
            made[key] = values[moved[0] if moved else base[0]]
    return made


def _merged(texts: list[tuple[str, ...]], base: tuple[str, ...]) -> tuple[str, ...]:
    """A text with every change that each of several has against one; the page's script does the same."""
    if all(len(text) == len(base) for text in texts):
        return tuple(next((t[n] for t in texts if t[n] != word), word) for n, word in enumerate(base))
    merged = base
    for first, last, new in sorted((_change(text, base) for text in texts), reverse=True):
        merged = merged[:first] + new + merged[last:]
    return merged


def _change(text: tuple[str, ...], base: tuple[str, ...]) -> tuple[int, int, tuple[str, ...]]:
    """The words of `base` that a text has others for: from where, to where, and which."""
    most = min(len(text), len(base))
    first = next((n for n in range(most) if text[n] != base[n]), most)
    same = next((n for n in range(most - first) if text[-1 - n] != base[-1 - n]), most - first)
    return first, len(base) - same, text[first : len(text) - same]


def _moves(demo: Demo, axes: list[Axis], name: str) -> dict[int, list[int]]:
    """Where a button leads from every place of each axis that it moves."""
    start = {name: value for axis in axes for name, value in axis.settings(axis.start).items()}
    moves: dict[int, list[int]] = {}
    for n, axis in enumerate(axes):
        to = []
        for place in range(len(axis)):
            put(demo, start | axis.settings(place))
            setattr(demo, name, True)
            last = axis.names == ("seed",) and place == len(axis) - 1  # a draw that was not recorded
            to.append(0 if last and axis.values[place][0] != demo.seed else axis.nearest(demo))
        if to != list(range(len(axis))):
            moves[n] = to
    if not moves:
        raise ValueError(f"{type(demo).__name__}.presses has {name!r}: it moves along none of the axes.")
    return moves
