"""What is said of the race on screen: its numbers, its text alternative, the claims that it tests."""

from dataclasses import dataclass

import numpy as np

from wonderland.demos.base import Claim, Readout
from wonderland.demos.race import prediction
from wonderland.demos.race import words as race_words
from wonderland.demos.race.entrants import METHODS
from wonderland.demos.race.races import Race, Track
from wonderland.demos.race.tale import TALE_STEPS, tale_html

NEGLIGIBLE = 1.0
"""Percentage points of the first task whose loss may be called near-negligible."""


@dataclass(frozen=True, eq=False)
class SimMeasure:
    """The tale as far as it is told, and the race on screen.

    Parameters
    ----------
    tale
        Drawn performance by method, up to the present moment.
    whole
        The race on screen, its chosen methods and seeds, as far as it has been run.
    shown
        The same up to the present moment.
    asked
        The race that the controls ask for, in words, where it is not the one on screen.
    note
        What the view measures, where that has to be said.
    guessed
        The reader's order of the methods, best first.
    measured
        Average accuracy of each method at the end of the course; empty until it is there and may be seen.
    """

    tale: dict[str, np.ndarray]
    whole: Race
    shown: Race
    asked: str
    view: str
    note: str
    guessed: tuple[str, ...]
    measured: dict[str, float]

    @property
    def hidden(self) -> bool:
        """Whether the reader is still to say what they expect."""
        return self.view == "prediction" and not self.measured


def readouts(result: SimMeasure) -> list[Readout]:
    """The moment, and each method's accuracy on the first task and the present one; or how good the guess was."""
    if result.hidden:
        return [Readout("the order", "say first, then reveal", "muted")]
    if result.view == "prediction":
        measured = sorted(result.measured, key=lambda method: -result.measured[method])
        gap = prediction.compare(result.guessed, measured)
        return [
            Readout("pairs of methods you had right", f"{gap.pairs - gap.wrong} of {gap.pairs}"),
            Readout("Kendall’s τ of the two orders", f"{gap.tau:+.2f}"),
        ]
    race = result.shown
    if not race.tracks:
        return [Readout("the race", "not run yet", "muted")]
    first = race.setting.tasks[0]
    shown = [Readout("the moment", race_words.moment_words(race), "muted")]
    for track in _standing(race):
        now, runner = race_words.standing(track), METHODS[track.method]
        present = race.setting.tasks[int(track.task.max())]
        value = f"{now.first.mean():.1f} · {now.present.mean():.1f}%"
        shown.append(Readout(f"{runner.label}: {first} · {present}", value, runner.concept))
    return shown


def describe(result: SimMeasure) -> str:
    """The pictures in words."""
    ends = ", ".join(f"{name} {curve[-1]:.3f}" for name, curve in result.tale.items())
    told = len(result.tale["full"]) - 1
    words = f"The tale, drawn and not measured, up to step {told} of {TALE_STEPS}: {ends}. "
    if result.view == "prediction":
        return words + _order_words(result)
    race = result.shown
    if not race.tracks:
        return f"{words}No race has been run yet."
    said = []
    for track in _standing(race):
        now = race_words.standing(track)
        said.append(
            f"{METHODS[track.method].spoken} names {now.first.mean():.1f}% of the first task rightly, "
            f"{now.forgotten.mean():.1f} points less than before, and {now.present.mean():.1f}% of the present one"
        )
    lost = race_words.diverged(race)
    return (
        f"{words}The race, {race_words.state_words(race)}, {race_words.setting_words(race.setting)}, "
        f"{race_words.seeds_words(race.seeds)}, drawn as {result.view}, at {race_words.moment_words(race)}: "
        f"{'; '.join(said) or 'no step yet'}.{' ' + lost if lost else ''}"
    )


def details(result: SimMeasure) -> str:
    """The tale's values, how the race was had, and where everyone stands, as HTML."""
    race = result.shown
    if not race.tracks:
        return f'{tale_html(result.tale)}<p class="detail">No race has been run yet: press Run the race.</p>'
    tag = f'<span class="tag">{race_words.state_words(race)}</span>'
    source = f" ({race.source})" if race.source else ""
    call = f" The controls ask for {result.asked}: press Run the race." if result.asked else ""
    mean = ", mean ± standard deviation" if len(race.seeds) > 1 else ""
    lost = race_words.diverged(race)
    return (
        f"{tale_html(result.tale)}"
        + (f'<p class="detail">{result.note}</p>' if result.note else "")
        + f'<p class="detail">{tag} The race as run: {race_words.setting_words(race.setting)}; '
        f"{race_words.seeds_words(race.seeds)}{mean}{source}.{call}</p>"
        + (f'<p class="detail" role="status">{lost}</p>' if lost else "")
        + ("" if result.hidden else f'<div class="scroll">{race_words.table(race)}</div>')
    )


def claims(result: SimMeasure) -> list[Claim]:
    """What the whole race says of forgetting, once it has been run."""
    race = result.whole
    tracks = {method: race.of(method) for method in ("full", "osft", "oft")}
    lost = {method: track.forgotten for method, track in tracks.items() if track and len(track.forgotten)}
    if race.state == "running" or not race.reached or result.hidden or not {"full", "osft"} <= set(lost):
        return []
    what = race_words.what(race)
    osft, full = (race_words.standing(tracks[method]) for method in ("osft", "full"))
    mean = {method: float(values.mean()) for method, values in lost.items()}
    worst = float(lost["osft"].max())
    most = f" (at worst {worst:.1f})" if len(lost["osft"]) > 1 else ""
    near = mean["osft"] <= NEGLIGIBLE
    oft = f"OFT lost {mean['oft']:.1f}." if "oft" in lost else "OFT has not run here."
    kept = mean["osft"] < mean["full"] and mean.get("oft", 0.0) < mean["full"]
    return [
        Claim(
            "zero-forgetting",
            "OSFT: zero forgetting, catastrophic forgetting eliminated.",
            f"{what} OSFT went from {(osft.first + osft.forgotten).mean():.1f}% to {osft.first.mean():.1f}% on the "
            f"first task: {mean['osft']:.1f} points forgotten{most}, where full fine-tuning forgot "
            f"{mean['full']:.1f}.",
            "holds" if worst <= 0 else "partly" if near else "fails",
            tested=race.state != "cancelled",  # half a race says little of what is left at its end
        ),
        Claim(
            "knowledge",
            "Full fine-tuning forgets; an orthogonal method keeps what the network knew.",
            f"{what} Full fine-tuning lost {mean['full']:.1f} points of the first task while it learned the last to "
            f"{full.present.mean():.1f}%; OSFT lost {mean['osft']:.1f} and learned it to "
            f"{osft.present.mean():.1f}%. {oft}",
            "fails" if mean["osft"] >= mean["full"] else "holds" if near and kept else "partly",
            tested="oft" in lost and race.state != "cancelled",  # without it, it is said of one method alone
        ),
    ]


def _standing(race: Race) -> list[Track]:
    """The tracks with a network that has not diverged."""
    tracks = [track for method in race.setting.methods if (track := race.of(method))]
    return [track for track in tracks if len(track.lost) < len(track.seeds)]


def _order_words(result: SimMeasure) -> str:
    order = ", ".join(METHODS[method].label for method in result.guessed)
    if result.hidden:
        return f"Your order of the methods, best first: {order}. What was measured is not shown yet."
    measured = sorted(result.measured.items(), key=lambda item: -item[1])
    gap = prediction.compare(result.guessed, [method for method, _ in measured])
    came = ", ".join(f"{METHODS[method].label} {value:.1f}%" for method, value in measured)
    return (
        f"Your order of the methods, best first: {order}. As measured, by average accuracy over all tasks at the end: "
        f"{came}. Of {gap.pairs} pairs you had {gap.wrong} the wrong way round."
    )
