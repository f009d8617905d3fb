"""How far the memory foretold is from memory measured: a record of real steps, told in words."""

import html
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import median
from typing import Any

from wonderland.demos.amounts import minus
from wonderland.maths.architectures import from_config, presets
from wonderland.maths.holding import Setting
from wonderland.maths.memory import Run, cost

RUN = ("dtype", "optimizer", "batch", "sequence", "checkpointing")


@dataclass(frozen=True)
class Measured:
    """One real step: what was run, the bytes measured at its peak, and those foretold."""

    model: str
    method: str
    run: Run
    measured: int
    foretold: int

    @property
    def error(self) -> float:
        """How much too high the foretelling is, as a share of what was measured."""
        return self.foretold / self.measured - 1


@cache
def record() -> dict[str, Any]:
    """The record as it is stored; see wonderland/data/README.md."""
    return json.loads((files("wonderland") / "data" / "memory.json").read_text(encoding="utf-8"))


@cache
def steps() -> tuple[Measured, ...]:
    """Steps of small models on the CPU."""
    held = record()
    models = {name: from_config(config) for name, config in held["models"].items()}
    settings = {name: value for name, value in held["settings"].items() if name != "targets"}
    return tuple(_measured(models, row, Setting(**settings), held["settings"]["targets"]) for row in held["rows"])


@cache
def elsewhere() -> tuple[Measured, ...]:
    """Runs of a large model on a GPU, as others recorded them."""
    return tuple(
        _measured(presets(), row, Setting(**row["setting"]), row["targets"]) for row in record()["elsewhere"]["rows"]
    )


@cache
def calibration_html() -> str:
    """How near the foretelling is, as a paragraph."""
    try:
        return _told()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        return f'<p class="moved">memory.json holds no record of memory measured: {html.escape(what)}.</p>'


def _told() -> str:
    held, found = record(), steps()
    errors = [abs(step.error) for step in found]
    worst = max(found, key=lambda step: abs(step.error))
    versions = ", ".join(f"{name} {version}" for name, version in held["versions"].items())
    others = minus(", ".join(f"{step.method} {step.error:+.0%}" for step in elsewhere()))
    where = held["elsewhere"]
    how = f"{worst.model} by {worst.method} in {worst.run.dtype}{', checkpointed' * worst.run.checkpointing}"
    text = (
        f"How near is the peak that is foretold? In {len(found)} runs of small models ({held['device']}) it was off by "
        f"{median(errors):.1%} in the median, and by {abs(worst.error):.1%} at most, {how}. Recorded "
        f"{held['recorded']}, {versions}. Beside {where['source']}: {others}. A GPU’s allocator, its context and its "
        "kernels’ workspace come on top."
    )
    return f'<p class="detail"><span class="tag">recorded</span> {html.escape(text)}</p>'


def _measured(models: dict[str, Any], row: dict[str, Any], setting: Setting, targets: str) -> Measured:
    run = Run(**{name: row[name] for name in RUN})
    foretold = cost(models[row["model"]], row["method"], setting, targets, run).memory.peak
    return Measured(row["model"], row["method"], run, row["measured"], foretold)
