"""``wonderland race``: a race on the command line, its settings by flags or from a file, its results as files."""

from __future__ import annotations

import csv
import io
import math
import os
import sys
import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wonderland.backend.race import RacePoint, RaceSettings

LAYERED = ("leak", "drift", "shift", "energy")
SETTINGS = ("tasks", "methods", "seeds", "steps", "every", "keep", "optimizer", "weight_decay", "scenario", "judged_on")
OUTPUTS = ("csv", "json", "picture")
BAR = 30
TENTH = BAR // 10
LARGEST_CONFIG = 100_000
# A race's settings lie three deep, a method's among the methods; what lies far deeper cannot even be shown.
DEEPEST = 10
TOO_DEEP = f"is not read: its lists or tables lie more than {DEEPEST} deep in one another"


def add_arguments(parser: ArgumentParser) -> None:
    """Give a parser the flags of a race; torch is not needed for it."""
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE.toml", help="settings by name, as in RaceSettings; flags go before it")
    add(
        "--tasks",
        nargs="+",
        metavar="TASK",
        help="the course, 2 to 5 tasks, the first already learned, of upright, rotated, permuted, mirrored, inverted, "
        "low, high, contradictory; default: upright rotated",
    )
    add(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help="who races, of full, l2sp, lora, oft, osft, osft-joint, osft-dense, osft-gradient, osft-random, gpm, "
        "replay, joint, frozen, with settings if wanted: lora:rank=4,lr=0.003,name=small; "
        "default: full lora oft osft gpm",
    )
    add("--seeds", nargs="+", type=int, metavar="SEED", help="default: 0")
    add("--steps", type=int, help="training steps on each task; default: 300")
    add("--every", type=int, help="steps from point to point; default: 10")
    add("--keep", type=float, help="fraction of each weight's directions to protect; default: 0.5")
    add("--optimizer", help="adamw (the default), momentum or sgd")
    add("--weight-decay", type=float, help="default: 0")
    add("--scenario", help="task (the default): answers within the task's classes; class: among all ten")
    add("--judged-on", help="test (the default), or validation, to choose settings by")
    add("--workers", type=int, default=1, help="methods that train at once, one core each; default: %(default)s")
    add("--csv", type=Path, metavar="FILE", help="write every point as a row")
    add("--json", type=Path, metavar="FILE", help="write the settings, the versions and every point")
    add("--picture", type=Path, metavar="FILE.svg", help="draw the curves")


def run(options: Namespace) -> int:
    """Run a race; progress goes to stderr, the table of its ends to stdout.

    Returns
    -------
    int
        0; 1 if a file could not be written in the end; 130 if it was interrupted: what was computed until then is
        written all the same.

    Raises
    ------
    TypeError, ValueError
        If a setting is wrong, or a file cannot be read or written; before anything is trained.
    """
    table = read_config(options.config) if options.config else {}
    table |= {name: value for name in SETTINGS if (value := getattr(options, name)) is not None}
    if options.methods:
        table["methods"] = [entrant(text) for text in options.methods]
    check_outputs(options, "config")

    import torch

    from wonderland.backend.picture import picture
    from wonderland.backend.race import from_table, race

    settings = from_table(table)
    stream = race(settings, options.workers)
    for line in _gives_way(settings):
        print(line, file=sys.stderr)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # so small networks train fastest, and as on the page, on one core each
    points: list[RacePoint] = []
    status = 0
    try:
        for point in _watched(stream, settings):
            points.append(point)
    except KeyboardInterrupt:
        status = 130
        print(f"\ninterrupted: {len(points)} points are kept.", file=sys.stderr)
    finally:
        stream.close()
        torch.set_num_threads(before)
    made = {
        "csv": lambda: as_csv(points, settings.tasks),
        "json": lambda: as_json(points, settings),
        "picture": lambda: picture(points, settings),
    }
    failed = hand_out(summary(points, settings), options, made)
    return status or failed


def read_config(path: Path) -> dict[str, object]:
    """Settings in a TOML file.

    Raises
    ------
    ValueError
        If it cannot be read, is too large or too deep, or is not TOML.
    """
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise ValueError(f"config = {path} has {path.stat().st_size:,} bytes: at most {LARGEST_CONFIG:,} are read.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"config = {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"config = {path} is not TOML: {error}.") from error
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"config = {path} {TOO_DEEP}.") from None
    except ValueError as error:  # of TOML, of numbers with thousands of digits
        raise ValueError(f"config = {path} is not TOML: {error}.") from error
    if _depth(table) > DEEPEST:
        raise ValueError(f"config = {path} {TOO_DEEP}.")
    return table


def entrant(text: str) -> dict[str, object]:
    """Read ``method:setting=value,…`` as a table.

    Raises
    ------
    ValueError
        If a setting has no value, or more than one.
    """
    method, _, rest = text.partition(":")
    table: dict[str, object] = {"method": method}
    for part in filter(None, rest.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"methods holds {text!r}, where {part!r} has no value: write {name}=….")
        name = name.strip()
        if name in table:
            raise ValueError(f"methods holds {text!r}, where {name} is given twice: give it once.")
        table[name] = _value(value.strip()) if name != "name" else value
    return table


def as_csv(points: Sequence[RacePoint], tasks: Sequence[str]) -> str:
    """Every point as a row, every number in full; NaN stays nan."""
    out = io.StringIO()
    layered = [f"{name}_{layer}" for name in LAYERED for layer in (1, 2, 3)]
    head = ["method", "seed", "task", "step", *(f"accuracy_{name}" for name in tasks), "loss", *layered, "diverged"]
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(head)
    for point in points:
        measured = [value for name in LAYERED for value in getattr(point, name)]
        own = (point.method, point.seed, point.task, point.step)
        rows.writerow([*own, *point.accuracy, point.loss, *measured, int(point.diverged)])
    return out.getvalue()


def as_json(points: Sequence[RacePoint], settings: RaceSettings) -> str:
    """The settings, the versions, and every point, every number in full; NaN becomes null."""
    from wonderland.backend.provenance import origin, written

    rows = [{name: _plain(value) for name, value in asdict(point).items()} for point in points]
    return written(origin() | {"settings": settings.as_table()}, "points", rows)


def summary(points: Sequence[RacePoint], settings: RaceSettings) -> str:
    """Where each method ends: accuracy on every task in percent, mean ± standard deviation over seeds."""
    last = {(point.method, point.seed): point for point in points}
    width = max(len(entrant.name) for entrant in settings.methods)
    column = max(15, *(len(name) + 2 for name in settings.tasks))
    lines = [" " * width + "".join(f"{name:>{column}}" for name in settings.tasks)]
    for method, group in groupby(last.values(), lambda point: point.method):
        ends = list(group)
        lost = sum(point.diverged for point in ends)
        kept = [point for point in ends if not point.diverged]
        cells = [_spread([100 * point.accuracy[at] for point in kept]) for at in range(len(settings.tasks))]
        note = f"   {lost} of {len(ends)} diverged" if lost else ""
        lines.append(f"{method:<{width}}" + "".join(f"{cell:>{column}}" for cell in cells) + note)
    return "\n".join(lines)


def _gives_way(settings: RaceSettings) -> Iterator[str]:
    """Say of each method where it trains with another setting than was asked for."""
    from wonderland.backend.methods import METHODS, OFT

    for entrant in settings.methods:
        asked = entrant.settings.get("block")
        if issubclass(METHODS[entrant.method], OFT) and (used := OFT.used(asked)) != asked:
            yield f"block of {entrant.name} = {asked} does not divide the inputs of every layer: {used} is used."


def _watched(stream: Iterator[RacePoint], settings: RaceSettings) -> Iterator[RacePoint]:
    """Hand the points on, and say on stderr how far they have come."""
    every_step = settings.steps * (len(settings.tasks) - 1)
    shown = -TENTH
    for point in stream:
        yield point
        done = max(point.task - 1, 0) * settings.steps + point.step
        share = done * BAR // every_step
        if share > shown if sys.stderr.isatty() else share // TENTH > shown // TENTH:
            shown = share
            text = f"[{'=' * share}{' ' * (BAR - share)}] {done:,} of {every_step:,} steps"
            if sys.stderr.isatty():
                print(f"\r{text}", end="\n" if share == BAR else "", file=sys.stderr, flush=True)
            else:
                print(text, file=sys.stderr, flush=True)


def check_outputs(options: Namespace, *read: str) -> None:
    """Check the files that shall be written, before anything is computed for them.

    Parameters
    ----------
    options
        What was typed: ``csv``, ``json`` and ``picture`` are files to write, where given.
    read
        The options that name a file to read.

    Raises
    ------
    ValueError
        If one of them cannot be written or would take another's place, or the picture is no SVG file.
    """
    taken: dict[str, str] = {}
    for name in (*read, *OUTPUTS):
        path = getattr(options, name)
        if path is None:
            continue
        if name in OUTPUTS:
            _check_writable(path)
        if os.path.exists(path) and not os.path.isfile(path):  # a folder to read, or a device, which keeps nothing
            continue
        place = os.path.realpath(path)
        if place in taken:
            raise ValueError(f"{taken[place]} and {name} = {path} are one file: give each a file of its own.")
        taken[place] = name
    if options.picture and options.picture.suffix != ".svg":
        raise ValueError(f"picture = {options.picture} is no .svg file: that is the format it is drawn in.")


def hand_out(table: str, options: Namespace, made: Mapping[str, Callable[[], str]]) -> int:
    """Print a table, then write the files that are asked for, each on its own: where one fails, the others stand.

    Parameters
    ----------
    table
        What goes to stdout.
    options
        What was typed: the files, by name.
    made
        What makes the content of each.

    Returns
    -------
    int
        0, or 1 if something could not be written: what, and why, is said on stderr.
    """
    status = 0
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(table.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:
        status = 1
        print(f"the table cannot be printed: {error.strerror}.", file=sys.stderr)
    for name, content in made.items():
        path = getattr(options, name)
        if path is None:
            continue
        try:
            path.write_text(content(), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            status = 1
            print(f"{name} = {path} cannot be written: {error.strerror}.", file=sys.stderr)
    return status


def _check_writable(path: Path) -> None:
    """Raise ValueError unless a file can be written there."""
    try:
        if path.is_dir() or not path.parent.is_dir():
            raise ValueError(f"{path} cannot be written: name a file in a folder that is there.")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise ValueError(f"{path} cannot be written: there is no right to.")
    except OSError as error:  # of a name that is too long
        raise ValueError(f"{path} cannot be written: {error.strerror}.") from None


def _depth(value: object) -> int:
    """How deep lists and tables lie in one another; without recursion, which depth would defeat."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, (dict, list))]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
