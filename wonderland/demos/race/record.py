"""The recorded race, read and checked: a file is data, and is believed in nothing."""

import json
import math
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from wonderland.demos.race.entrants import METHODS, OPTIMIZERS, SCENARIOS, TASKS, tuned
from wonderland.demos.race.races import BLOCK, RANK, Race, Setting, Track

RECORD = Path(__file__).parents[2] / "data" / "race.json"
LARGEST = 300_000  # bytes of a record that are read


@cache
def recorded() -> Race:
    """The race that `python -m wonderland.backend.record` wrote.

    Raises
    ------
    ValueError
        If the file is not there or holds no such race.
    """
    return read(RECORD)


def read(path: Path) -> Race:
    """Read a recorded race.

    Raises
    ------
    ValueError
        If the file cannot be read, is too large, is no JSON, or lacks or garbles anything a race has; the message
        names it.
    """
    try:
        content = path.read_bytes() if (size := path.stat().st_size) <= LARGEST else b""
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}.") from error
    if size > LARGEST:
        raise ValueError(f"{path.name} has {size:,} bytes: a recorded race has at most {LARGEST:,}.")
    try:
        held = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or a number of thousands of digits
        raise ValueError(f"{path.name} is not JSON: {error}.") from error
    try:
        return _race(held)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path.name} holds no recorded race: {what}. Record it anew.") from error


def _race(held: dict[str, Any]) -> Race:
    versions, day = held["versions"], date.fromisoformat(held["recorded"])
    setting = _setting(held["settings"])
    curves = {(entry["method"], entry["seed"]): entry for entry in held["curves"]}
    wanted = [(method, seed) for method in setting.methods for seed in setting.seeds]
    if len(held["curves"]) != len(wanted) or set(curves) != set(wanted):
        got = sorted((str(method), str(seed)) for method, seed in curves)
        raise ValueError(f"its curves are {got}, and its settings ask for {wanted}")
    return Race(
        setting=setting,
        tracks={
            method: _track(method, [curves[method, seed] for seed in setting.seeds], setting)
            for method in setting.methods
        },
        origin="recorded",
        state="done",
        source=f"recorded {day.isoformat()} by wonderland.backend.record, torch {versions['torch']}, "
        f"NumPy {versions['numpy']}",
    )


def _setting(held: dict[str, Any]) -> Setting:
    entrants = {entrant["method"]: entrant for entrant in held["methods"]}
    for name, values, known in (("tasks", held["tasks"], TASKS), ("methods", list(entrants), METHODS)):
        strange = [value for value in values if value not in known]
        if strange:
            raise ValueError(f"its {name} hold {strange[0]!r}: not one of {', '.join(known)}")
    if not 2 <= len(set(held["tasks"])) == len(held["tasks"]):
        raise ValueError(f"its tasks are {held['tasks']}: not two or more, each once")
    if not 0 < held["keep"] < 1:
        raise ValueError(f"keep = {held['keep']} is outside 0…1")
    for name, known in (("optimizer", OPTIMIZERS), ("scenario", SCENARIOS)):
        if held[name] not in known:
            raise ValueError(f"its {name} is {held[name]!r}: not one of {', '.join(known)}")
    default = tuned()[held["optimizer"]]
    return Setting(
        tasks=tuple(held["tasks"]),
        methods=tuple(entrants),
        seeds=tuple(int(seed) for seed in held["seeds"]),
        steps=int(held["steps"]),
        keep=float(held["keep"]),
        optimizer=held["optimizer"],
        scenario=held["scenario"],
        rank=int(entrants.get("lora", {}).get("rank", RANK)),
        block=int(entrants.get("oft", {}).get("block", BLOCK)),
        rates={
            method: float(entrant["lr"]) for method, entrant in entrants.items() if entrant["lr"] != default[method]
        },
    )


def _track(method: str, entries: list[dict[str, Any]], setting: Setting) -> Track:
    read = [_curve(entry, setting) for entry in entries]
    task, step = read[0]["task"], read[0]["step"]
    for entry, other in zip(entries, read, strict=True):
        if not (np.array_equal(other["task"], task) and np.array_equal(other["step"], step)):
            raise ValueError(f"{_name(entry)} has other steps than the curve of seed {entries[0]['seed']}")
    held = {name: np.array([columns[name] for columns in read]) for name in Track.MEASURES}
    return Track(method, setting.seeds, task, step, **held)


def _curve(entry: dict[str, Any], setting: Setting) -> dict[str, np.ndarray]:
    name, tasks = _name(entry), len(setting.tasks)
    task, step = (np.array(entry[column], dtype=int) for column in ("task", "step"))
    if task.ndim != 1 or step.shape != task.shape:
        raise ValueError(f"{name} has steps of shape {step.shape} for tasks of shape {task.shape}")
    columns = {"task": task, "step": step}
    for column in Track.MEASURES:
        values = np.array(entry[column], dtype=float)
        if values.shape[-1:] != task.shape:
            raise ValueError(
                f"{name} has {values.shape[-1] if values.ndim else 0} values of {column} for {task.size} steps"
            )
        rows = {"loss": 1, "accuracy": tasks}.get(column, len(entry["leak"]))
        if values.size != rows * task.size or values.ndim > 2:
            raise ValueError(f"{name} has {values.shape[:-1]} rows of {column}, not {rows}")
        largest = 1.0 if column == "accuracy" else math.inf
        bad = ~(np.isfinite(values) & (values >= 0) & (values <= largest))
        if bad.any():
            raise ValueError(f"{name} has {values[bad][0]:g} among its values of {column}")
        columns[column] = values.T
    along = (task - 1) * setting.steps + step
    first = task.size > 1 and (task[0], step[0], task[1], step[1]) == (0, 0, 1, 0)
    if not first or task[-1] != tasks - 1 or along[-1] != setting.total or (np.diff(along[1:]) < 0).any():
        raise ValueError(f"{name} does not rise from step 0 to {setting.total}")
    return columns


def _name(entry: dict[str, Any]) -> str:
    return f"the curve of {entry['method']}, seed {entry['seed']}"
