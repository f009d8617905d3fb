"""The tutorial's claims beside what was measured: the opening's cards and chapter 13's ledger."""

import html as _html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn
import panel_material_ui as pmui

import wonderland
from wonderland.comparison import comparison_html
from wonderland.demos.base import Claim
from wonderland.demos.fields import FieldError
from wonderland.demos.jobs import Worker
from wonderland.demos.race.record import recorded
from wonderland.maths import counting, orthogonal
from wonderland.theme import html

if TYPE_CHECKING:
    from wonderland.document import Document

_VERDICTS = {"holds": "It holds", "partly": "In part", "fails": "It does not hold", "open": "Not measured yet"}


@dataclass(frozen=True)
class Entry:
    """One claim of the tutorial, and where it is measured.

    `key` names it in the demos' own claims, and `settings` are those that measure it where the defaults do not; without
    a demo, `recorded` says what its source recorded.
    """

    key: str
    claim: str
    chapter: int
    demo: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    recorded: str = ""
    verdict: str = "open"


_BLOG = "the authors’ post on arXiv 2504.07097"

_STEPS = {"layer": "16×16", "k": 4, "rule": "two-sided", "steps": 100}

ENTRIES = (
    Entry("stable", "Training is stable: nothing explodes, nothing vanishes.", 1, "LookingGlass"),
    Entry("norm-angles", "It preserves norms and angles: True.", 2, "MatrixGarden"),
    Entry("rotation-det", "An orthogonal matrix is a rotation.", 2, "MatrixGarden"),
    Entry("distances", "Rotating the cloud preserves every distance.", 3, "RotationDemo"),
    Entry("energy", "OFT preserves the energy between activations.", 4, "EnergyDemo"),
    Entry("lora-energy", "LoRA nearly preserves the energy.", 4, "EnergyDemo"),
    Entry(
        "forgets",
        "Fine-tune every weight on a new task, and the old one is forgotten.",
        5,
        "FirstForgetting",
        {"revealed": True},
    ),
    Entry("grin", "The task lives in the critical directions.", 6, "SVDExplorer", {"source": "layer2", "k": 64}),
    Entry("osft-geometry", "OSFT preserves the geometry.", 7, "ProjectionDemo"),
    Entry("joint-rule", "The projection keeps updates out of the critical directions.", 8, "NumpyWarmup"),
    Entry("recompute", "Take a fresh SVD at every step.", 9, "OSFTStep", _STEPS | {"basis": "recomputed"}),
    Entry("adam", "Project the gradient, then use any optimizer.", 9, "OSFTStep", _STEPS | {"optimizer": "adam"}),
    Entry("oft-count", "OFT trains rank² parameters.", 10, "Calculator"),
    Entry("osft-count", "OSFT trains rank² parameters, with some overhead for the SVD.", 10, "Calculator"),
    Entry("reduction", "90%+ parameter reduction.", 10, "Calculator"),
    Entry("zero-forgetting", "Zero forgetting: forgetting is eliminated.", 11, "TrainingSim"),
    Entry("knowledge", "An orthogonal method keeps what the network knew.", 11, "TrainingSim"),
    Entry(
        "trace",
        "On TRACE, about 7 points over O-LoRA.",
        12,
        recorded="48.4 against 41.3 on TRACE with LLaMA-2-7B-Chat; on T5-Large over 5 tasks 75.9 against 75.8 "
        f"({_BLOG}).",
        verdict="partly",
    ),
    Entry(
        "steady",
        "Steady over 5, 10 and 15+ classification tasks.",
        12,
        recorded=f"5 and 15 tasks were tested: 75.9 over 5, 71.3 over 15 ({_BLOG}).",
        verdict="fails",
    ),
)


def ledger(document: "Document") -> pn.Column:
    """The claim ledger, filled from what this session's demos measured."""
    table = html(ledger_html(measured(document)), "prose")
    button = pmui.Button(
        label="Measure what is left", variant="outlined", visible=bool(_left(document)), margin=(0, 0, 30, 0)
    )
    problem = FieldError()

    def on_claims(news: list[dict[str, Claim]]) -> None:
        for claims in news:
            document.found |= claims
        table.object = ledger_html(measured(document))

    def on_end(error: BaseException | None) -> None:
        problem.text = f"It could not be measured: {error}" if error else ""
        button.param.update(label="Measure what is left", disabled=False, visible=bool(_left(document)))

    worker = Worker(on_claims, on_end)

    def on_click(_: object) -> None:
        left = _left(document)
        button.param.update(label=f"Measuring {len(left)} claims …", disabled=True)
        worker.start(lambda: map(measure, left))

    button.on_click(on_click)
    return pn.Column(table, button, problem, sizing_mode="stretch_width", margin=0)


def measured(document: "Document") -> dict[str, Claim]:
    """The claims measured in this session, by key: what the reader's own demos say now, else what the ledger asked."""
    found = dict(document.found)
    for demo in document.demos.values():
        if demo.result is not None:
            found |= {claim.key: claim for claim in demo.claims(demo.result) if claim.tested}
    return found


def _left(document: "Document") -> list[Entry]:
    found = measured(document)
    return [entry for entry in ENTRIES if entry.demo and entry.key not in found]


def measure(entry: Entry) -> dict[str, Claim]:
    """That one claim, by a demo of its own; the reader's stays as it is."""
    demo = getattr(wonderland, entry.demo)(**entry.settings)
    return {claim.key: claim for claim in demo.claims(demo.result) if claim.tested and claim.key == entry.key}


def ledger_html(claims: Mapping[str, Claim]) -> str:
    """The ledger as a table, with the claims that were measured, by key."""
    rows = "".join(_row(entry, claims.get(entry.key)) for entry in ENTRIES)
    return (
        '<div class="prose"><div class="scroll"><table class="ledger"><thead><tr><th scope="col">The claim</th>'
        '<th scope="col">What was measured</th><th scope="col">Verdict</th><th scope="col">Where</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></div>"
    )


def _row(entry: Entry, claim: Claim | None) -> str:
    if claim:
        text, verdict = _html.escape(claim.measured), claim.verdict
    elif entry.recorded:
        text, verdict = f'<span class="tag">recorded</span> {_html.escape(entry.recorded)}', entry.verdict
    else:
        text, verdict = "—", "open"
    return (
        f'<tr data-claim="{entry.key}"><th scope="row">{_html.escape(entry.claim)}</th><td>{text}</td>'
        f'<td class="verdict {verdict}">{_VERDICTS[verdict]}</td>'
        f'<td><a href="?chapter={entry.chapter}">chapter {entry.chapter}</a></td></tr>'
    )


def comparison(_: "Document") -> pn.pane.HTML:
    """The tutorial's comparison of the methods, corrected."""
    return html(f'<div class="prose">{comparison_html()}</div>', "prose")


def claims(_: "Document") -> pn.pane.HTML:
    """The three headline claims, each with its measured figure and the chapter that measures it."""
    full = counting.full(512, 256)
    oft = 1 - counting.oft(512, 256, block=16) / full
    osft = 1 - counting.osft_core(512, 256, 128) / full
    W = np.random.default_rng(0).normal(size=(64, 64))
    before = np.linalg.svd(W, compute_uv=False)
    after = np.linalg.svd(W @ orthogonal.haar(64, np.random.default_rng(1)), compute_uv=False)
    drift = np.abs(after / before - 1).max()
    cards = (
        (
            "90%+ parameter reduction",
            10,
            "original",
            f"{oft:.1%}",
            f"fewer parameters trained by OFT, blocks of 16, on a 512→256 layer; {osft:.1%} by OSFT, half protected.",
        ),
        (
            "stable training",
            1,
            "lora",
            f"{drift:.0e}".replace("e-0", "e-"),
            f"is the largest relative change of a singular value when a random 64×64 W becomes W·R. Its condition "
            f"number, {before[0] / before[-1]:,.0f}, stays too, good or bad.",
        ),
        _forgetting_card(),
    )
    return html(
        f'<div class="cards">{"".join(_card(*card) for card in cards)}</div>',
        "prose",
    )


def _forgetting_card() -> tuple[str, int, str, str, str]:
    try:
        race = recorded()
    except ValueError as error:
        return ("zero forgetting", 11, "safe", "not known", f"{error}")
    day = race.source.partition("recorded ")[2].partition(" by")[0]
    lost = {method: np.mean(race.of(method).forgotten) for method in ("full", "osft")}
    return (
        "zero forgetting",
        11,
        "safe",
        f"{lost['osft']:.1f} points",
        f"of its first task OSFT forgot in a race recorded {day} over {len(race.setting.tasks)} tasks of real digits, "
        f"{len(race.seeds)} seeds; full fine-tuning forgot {lost['full']:.1f}.",
    )


def _card(said: str, chapter: int, concept: str, figure: str, what: str) -> str:
    return (
        f'<a href="?chapter={chapter}" style="--concept: var(--w-{concept})"><p class="said">“{said}”</p>'
        f'<p class="figure">{figure}</p><p class="what">{what} Chapter {chapter} measures it.</p></a>'
    )
