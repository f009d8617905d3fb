"""A race as curves: the recorded one, read and checked, or a live one as far as it has come. No torch here."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

RECORD = Path(__file__).parent.parent / "data" / "race.json"
OLD_TASK = "upright"
RACE_TASKS = ("rotated", "permuted", "mirrored")
METHODS = ("full", "osft")
NAMES = {"full": "full", "osft": "OSFT"}
SPOKEN = {"full": "full fine-tuning", "osft": "OSFT"}
MEASURES = ("accuracy_a", "accuracy_b", "loss", "leak", "moved")
LARGEST = 300_000  # bytes of a record that are read


@dataclass(frozen=True, eq=False)
class Curve:
    """One method's way through one race; the arrays have an entry for each point, step 0 first.

    Parameters
    ----------
    method, seed
        Whose it is.
    step
        Training steps taken.
    accuracy_a, accuracy_b
        On the test images of the old task and the new one, 0 to 1.
    loss
        Cross-entropy on the new task, in nats.
    leak, moved
        ‖ΔW V_h‖ and ‖ΔW‖, Frobenius, over all layers.
    """

    method: str
    seed: int
    step: np.ndarray
    accuracy_a: np.ndarray
    accuracy_b: np.ndarray
    loss: np.ndarray
    leak: np.ndarray
    moved: np.ndarray

    @property
    def lost(self) -> float:
        """Accuracy on the old task at the start less that at the end, in percentage points."""
        return 100 * float(self.accuracy_a[0] - self.accuracy_a[-1])


@dataclass(frozen=True, eq=False)
class Race:
    """Curves of one setting.

    Parameters
    ----------
    task, keep, steps
        What was raced: see `wonderland.backend.race.RaceSettings`.
    curves
        Every method's, seed by seed.
    origin
        "recorded" or "live".
    state
        "done", "running", or "cancelled" before the last step.
    source
        Where and when it was recorded, in words.
    """

    task: str
    keep: float
    steps: int
    curves: tuple[Curve, ...] = ()
    origin: str = "live"
    state: str = "running"
    source: str = ""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds raced, in order, each once."""
        return tuple(dict.fromkeys(curve.seed for curve in self.curves))

    @property
    def reached(self) -> int:
        """The last step that every curve has reached; 0 without curves."""
        return min((int(curve.step[-1]) for curve in self.curves), default=0)

    def curve(self, method: str, seed: int) -> Curve | None:
        """One method's curve of one seed, if it has begun."""
        return next((c for c in self.curves if (c.method, c.seed) == (method, seed)), None)

    def of(self, method: str) -> list[Curve]:
        """One method's curves, over all seeds."""
        return [curve for curve in self.curves if curve.method == method]

    def extended(self, points: Iterable[Any]) -> "Race":
        """The race with further `RacePoint`s at the ends of its curves.

        A diverged point has no numbers: it leaves its curve where it was. One before the first task is none of the
        race's.
        """
        curves = {(curve.method, curve.seed): curve for curve in self.curves}
        for point in points:
            if point.diverged or point.task == 0:
                continue
            key = point.method, point.seed
            old = curves.get(key)
            new = _measures(point.accuracy, point.loss, point.leak, point.drift) | {"step": point.step}
            grown = {name: np.append(getattr(old, name) if old else [], new[name]) for name in ("step", *MEASURES)}
            curves[key] = Curve(*key, **grown)
        return replace(self, curves=tuple(curves.values()))


@cache
def recorded() -> Race:
    """The default race over five seeds, as `python -m wonderland.backend.record` wrote it."""
    return read(RECORD)


def read(path: Path) -> Race:
    """Read a recorded race.

    Raises
    ------
    ValueError
        If the file is too large, is no JSON, or lacks or garbles anything a race has; the message names it.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path.name} has {size:,} bytes: a recorded race has at most {LARGEST:,}.")
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON: {error}.") from error
    try:
        return _race(held)
    except (KeyError, TypeError, ValueError) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path.name} holds no recorded race: {what}. Record it anew.") from error


def mean(curves: Iterable[Curve], name: str) -> float:
    """Mean over curves of a measure's last value."""
    return float(np.mean([getattr(curve, name)[-1] for curve in curves]))


def joined(curves: Iterable[Curve], name: str) -> dict[str, np.ndarray]:
    """Columns x, steps, and y, a measure of 0 to 1 in percent, of several curves as one that breaks between them."""
    curves = list(curves)
    x = [part for curve in curves for part in (curve.step, [np.nan])]
    y = [part for curve in curves for part in (100 * getattr(curve, name), [np.nan])]
    return {"x": np.concatenate(x or [[]]), "y": np.concatenate(y or [[]])}


def setting(task: str, keep: float, steps: int, seed: int | None = None) -> str:
    """What is raced, in words."""
    which = "" if seed is None else f", seed {seed}"
    return f"{task}, {keep:.0%} protected, {steps} steps{which}"


def what(race: Race) -> str:
    """Which race a sentence speaks of, and how it was had."""
    seeds = f"mean of {len(race.seeds)} seeds" if len(race.seeds) > 1 else f"seed {race.seeds[0]}"
    early = f", cancelled at step {race.reached}" if race.state == "cancelled" else ""
    kind = "Recorded" if race.origin == "recorded" else "Run live"
    return f"{kind} ({setting(race.task, race.keep, race.steps)}{early}; {seeds}):"


def progress(race: Race) -> str:
    """How far a race has come, as HTML."""
    if not race.curves:
        return '<p class="detail" role="status">The network is learning task A …</p><progress></progress>'
    share = race.reached / race.steps
    return (
        f'<p class="detail">{share:.0%} · step {race.reached} of {race.steps}</p>'
        f'<progress value="{race.reached}" max="{race.steps}" aria-label="Progress of the race"></progress>'
    )


def table(race: Race) -> str:
    """Where each method ends, over all seeds, as HTML."""
    rows = ""
    for method in METHODS:
        if curves := race.of(method):
            cells = [
                _spread([100 * c.accuracy_a[-1] for c in curves]),
                _spread([c.lost for c in curves]),
                _spread([100 * c.accuracy_b[-1] for c in curves]),
                _spread([c.moved[-1] for c in curves]),
                f"{max(c.leak[-1] for c in curves):.2g}",
            ]
            columns = "".join(f'<td class="number">{cell}</td>' for cell in cells)
            rows += f"<tr><th>{NAMES[method]}</th>{columns}</tr>"
    heads = ("A after, %", "A forgotten, points", "B after, %", "‖ΔW‖", "‖ΔW Vₕ‖, largest")
    head = "".join(f'<th class="number">{name}</th>' for name in heads)
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""


def _spread(values: list[float]) -> str:
    mean = f"{np.mean(values):.1f}"
    return f"{mean} ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else mean


def _race(held: dict[str, Any]) -> Race:
    settings, versions = held["settings"], held["versions"]
    day = date.fromisoformat(held["recorded"])
    (first, task), keep, steps = settings["tasks"], settings["keep"], settings["steps"]
    if first != OLD_TASK or task not in RACE_TASKS:
        raise ValueError(f"its tasks are {first!r} and {task!r}: not {OLD_TASK} and one of {', '.join(RACE_TASKS)}")
    if not 0 < keep < 1:
        raise ValueError(f"keep = {keep} is outside 0…1")
    curves = tuple(_curve(entry, steps) for entry in held["curves"])
    got = sorted((curve.method, curve.seed) for curve in curves)
    names = [entrant["name"] for entrant in settings["methods"]]
    wanted = sorted((method, seed) for method in names for seed in settings["seeds"])
    if got != wanted:
        raise ValueError(f"its curves are {got}, and its settings ask for {wanted}")
    return Race(
        task=task,
        keep=keep,
        steps=steps,
        curves=curves,
        origin="recorded",
        state="done",
        source=f"recorded {day.isoformat()} by wonderland.backend.record, torch {versions['torch']}, "
        f"NumPy {versions['numpy']}",
    )


def _measures(accuracy: Any, loss: Any, leak: Any, drift: Any) -> dict[str, Any]:
    """The page's measures: of two tasks, and over all layers."""
    accuracy_a, accuracy_b = accuracy
    leak, moved = (np.linalg.norm(layers, axis=0) for layers in (leak, drift))
    return dict(zip(MEASURES, (accuracy_a, accuracy_b, loss, leak, moved), strict=True))


def _curve(entry: dict[str, Any], steps: int) -> Curve:
    name = f"the curve of {entry['method']}, seed {entry['seed']}"
    raced = np.array(entry["task"]) == 1
    held = {column: np.array(entry[column], dtype=float) for column in ("step", "accuracy", "loss", "leak", "drift")}
    for column, values in held.items():
        if values.shape[-1:] != raced.shape:
            raise ValueError(
                f"{name} has {values.shape[-1] if values.ndim else 0} values of {column} for {raced.size} steps"
            )
    step, *rest = (values[..., raced] for values in held.values())
    columns = {"step": step, **_measures(*rest)}
    if step.ndim != 1 or not len(step) or step[0] != 0 or step[-1] != steps or (np.diff(step) <= 0).any():
        raise ValueError(f"{name} does not rise from step 0 to {steps}")
    for column, values in columns.items():
        largest = 1.0 if column.startswith("accuracy") else math.inf
        bad = ~(np.isfinite(values) & (values >= 0) & (values <= largest))
        if bad.any():
            raise ValueError(f"{name} has {values[bad][0]:g} among its values of {column}")
    return Curve(entry["method"], int(entry["seed"]), **columns)
