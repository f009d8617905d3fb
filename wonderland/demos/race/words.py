"""The race in words: its setting, how far it has come, where everyone stands."""

import html as _html
from dataclasses import dataclass

import numpy as np

from wonderland.demos.amounts import many, minus
from wonderland.demos.race.entrants import METHODS, SCENARIOS
from wonderland.demos.race.races import BLOCK, RANK, Race, Setting, Track


@dataclass(frozen=True, eq=False)
class Standing:
    """Where one method stands, one entry for each seed that has not diverged; accuracies and losses in percent.

    Parameters
    ----------
    first
        Accuracy on the first task now.
    forgotten
        Percentage points of it lost since it was learned.
    present
        Accuracy on the task being learned.
    average
        Mean accuracy over the tasks so far, the present one included.
    moved, leak
        ‖ΔW‖ and ‖ΔW V_h‖ over all layers, since the present task began.
    """

    first: np.ndarray
    forgotten: np.ndarray
    present: np.ndarray
    average: np.ndarray
    moved: np.ndarray
    leak: np.ndarray


def standing(track: Track) -> Standing:
    """Where a method that has begun stands at its last points."""
    task = int(track.task.max())
    accuracy = 100 * track.last("accuracy")
    return Standing(
        first=accuracy[:, 0],
        forgotten=track.forgotten,
        present=accuracy[:, task],
        average=accuracy[:, : task + 1].mean(axis=1),
        moved=np.linalg.norm(track.last("drift"), axis=1),
        leak=np.linalg.norm(track.last("leak"), axis=1),
    )


def course(tasks: tuple[str, ...]) -> str:
    """The tasks in a row."""
    return " → ".join(tasks)


def setting_words(setting: Setting) -> str:
    """What is raced; what stands at its default is left out."""
    said = [course(setting.tasks), many(setting.steps, "step") + " a task", f"{setting.keep:.0%} protected"]
    if setting.optimizer != "adamw":
        said.append({"sgd": "SGD", "momentum": "SGD with momentum"}[setting.optimizer])
    if setting.scenario != "task":
        said.append(SCENARIOS[setting.scenario])
    if setting.rank != RANK and "lora" in setting.methods:
        said.append(f"rank {setting.rank}")
    if setting.block != BLOCK and "oft" in setting.methods:
        said.append(f"blocks of {setting.block}")
    said += [
        f"{METHODS[method].label} at {rate:g}" for method, rate in setting.rates.items() if method in setting.methods
    ]
    return ", ".join(said)


def seeds_words(seeds: tuple[int, ...]) -> str:
    """The seeds of a race."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    run = seeds == tuple(range(seeds[0], seeds[-1] + 1))
    return f"seeds {seeds[0]}–{seeds[-1]}" if run and len(seeds) > 2 else f"seeds {', '.join(map(str, seeds))}"


def state_words(race: Race) -> str:
    """Whether a race was recorded, runs, has run, or was cancelled."""
    if race.state == "cancelled":
        return f"live, cancelled at step {race.reached} of {race.setting.total}"
    return "live, running" if race.state == "running" else race.origin


def what(race: Race) -> str:
    """Which race a sentence speaks of, and how it was had."""
    seeds = f"mean of {len(race.seeds)} seeds" if len(race.seeds) > 1 else f"seed {race.seeds[0]}"
    early = f", cancelled at step {race.reached}" if race.state == "cancelled" else ""
    kind = "Recorded" if race.origin == "recorded" else "Run live"
    return f"{kind} ({setting_words(race.setting)}{early}; {seeds}):"


def moment_words(race: Race) -> str:
    """Which step of which task the race on screen has come to."""
    steps, tasks, at = race.setting.steps, race.setting.tasks, race.reached
    task = min(at // steps, len(tasks) - 2) + 1
    return f"{tasks[task]}, step {at - (task - 1) * steps} of {steps}"


def progress(race: Race | None, seconds: float, place: int) -> str:
    """How far a race that runs has come, as HTML; `seconds` since its first point, `place` of those in line before."""
    if place:
        before = "yours is the next" if place == 1 else f"{place - 1} before yours"
        return f'<p class="detail" role="status">Other readers’ races are running: {before}.</p><progress></progress>'
    if race is None or not race.share:
        return '<p class="detail" role="status">The networks are learning the first task …</p><progress></progress>'
    share = race.share
    left = seconds * (1 - share) / share
    return (
        f'<p class="detail">{share:.0%} · {_seconds(left)} left</p>'
        f'<progress value="{share:.3f}" max="1" aria-label="Progress of the race"></progress>'
    )


def _seconds(left: float) -> str:
    return "under a second" if left < 1 else f"about {left:.0f} s" if left < 90 else f"about {left / 60:.0f} min"


def diverged(race: Race) -> str:
    """Which networks were lost, in a sentence; nothing if none was."""
    said = []
    for method in race.setting.methods:
        track = race.tracks.get(method)
        if track is not None and track.lost:
            task, step = min(track.lost.values())
            count = f"{len(track.lost)} of {many(len(track.seeds), 'network')}"
            where = f"first at step {step} of {race.setting.tasks[task]}"
            said.append(f"{METHODS[method].label}: {count} diverged, {where}")
    if not said:
        return ""
    return f"{'; '.join(said)}. Their curves end at the cross, and the others go on; a smaller learning rate helps."


def table(race: Race) -> str:
    """Where each method stands, over all seeds, as HTML."""
    rows = ""
    for method in race.setting.methods:
        track = race.of(method)
        if not track or len(track.lost) == len(track.seeds):
            continue
        now = standing(track)
        cells = [
            _spread(now.first),
            _spread(now.forgotten),
            _spread(now.present),
            _spread(now.average),
            _spread(now.moved),
            minus(f"{now.leak.max():.2g}"),
        ]
        columns = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        runner = METHODS[method]
        rows += f'<tr><th scope="row" style="color: {runner.css}">{_html.escape(runner.label)}</th>{columns}</tr>'
    heads = ("first task, %", "forgotten of it, points", "present task, %", "average, %", "‖ΔW‖", "‖ΔW Vₕ‖, largest")
    head = "".join(f'<th class="number" scope="col">{name}</th>' for name in heads)
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""


def _spread(values: np.ndarray) -> str:
    if not len(values):
        return "—"
    mean = f"{np.mean(values):.1f}"
    return f"{mean} ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else mean
