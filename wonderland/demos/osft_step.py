"""Chapter 9: one OSFT step at a time, taken by torch, and a meter of what leaks into the protected directions."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import panel as pn
import param

from wonderland import backend
from wonderland.demos import jobs
from wonderland.demos.base import Claim, Readout, source_of
from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.cutoff import CutOff
from wonderland.demos.parameters import Choice, Real, Whole
from wonderland.demos.step_marks import (
    AT_REST,
    HELD,
    NEEDLES,
    StepMeasure,
    matrices_html,
    protected_share,
    step_marks,
    step_pictures,
)
from wonderland.demos.step_track import Track
from wonderland.maths import subspace
from wonderland.maths._check import MAX_SEED
from wonderland.theme import palette

if TYPE_CHECKING:
    from wonderland.backend.step import StepRecord, StepSettings


LAYERS = {"3×3": (3, 3), "8×8": (8, 8), "16×16": (16, 16), "32×32": (32, 32), "48×64": (48, 64)}
LARGEST = 48
"""Singular values of the largest layer."""
MOST = 1000
"""Steps a run may take."""
_PROJECTED = {
    "gradient": "the gradient projected",
    "update": "the update projected",
    "core": "only the free block C trained",
}
AT_ONCE = 10
"""Steps that a press may compute before the page answers; more are computed by a worker."""
MIXED = 0.01
"""A triplet's share of the protected directions that counts as rounding; what is mixed says how much."""


class OSFTStep(CutOff):
    """A linear layer learns by OSFT, a real torch step on each press, while four needles watch its protected part."""

    take = param.Event(label="Take a step", doc="Let torch take one step more.")
    run = param.Event(label="Run N steps", doc="Let torch take N steps more.")
    n = Whole(default=100, bounds=(1, MOST), label="N", doc="How many steps “Run N steps” takes.")
    layer = param.Selector(default="3×3", objects=list(LAYERS), label="Layer", doc="Outputs by inputs of the layer.")
    k = Whole(
        default=1,
        bounds=(0, LARGEST),
        softbounds=(0, 3),
        step=1,
        label="Cut-off k",
        doc="How many singular directions of W are protected, the strongest first.",
    )
    rule = param.Selector(
        default="joint",
        objects=list(HELD),
        label="Trap 1: the rule",
        doc="What is taken out of a gradient or an update.",
    )
    basis = Choice(
        default="fixed",
        objects=["fixed", "recomputed"],
        label="Trap 2: the basis",
        doc="Whether the protected directions are those of the weight at the start, or of the weight before each step.",
    )
    project = Choice(
        default="gradient",
        objects={"the gradient": "gradient", "the update": "update", "nothing: train C": "core"},
        label="Trap 3: project",
        doc="The gradient: the rule is applied before the optimizer. The update: to the step that the optimizer takes. "
        "Nothing: the engine trains the free block alone, which is the two-sided rule with the fixed basis.",
    )
    optimizer = Choice(
        default="sgd", objects=["sgd", "momentum", "adam"], label="Optimizer", doc="As torch has it; momentum 0.9."
    )
    lr = Real(default=0.1, bounds=(1e-6, 100), step=1e-6, label="Learning rate", doc="Of the optimizer.")
    samples = Whole(
        default=5, bounds=(1, 1024), label="Random inputs", doc="Inputs and targets to learn, each Gaussian."
    )
    seed = Whole(default=0, bounds=(0, MAX_SEED), label="Seed", doc="Of the weight, the inputs and the targets.")
    steps = Whole(default=1, bounds=(0, MOST), step=1, label="Steps taken", doc="The counter; it can be turned back.")

    title = "The lantern"
    controls = ("take", "run", "steps", "rule", "basis", "project", "optimizer", "n", "layer", "k")
    more = ("lr", "samples", "seed")
    below = ("n", "layer", "k")
    throttled = ("steps",)
    chooser = "layer"
    code = (source_of("wonderland.backend.step", "LayerRun.step"), subspace.project, subspace.leak)
    axes = {
        ("layer", "k"): (("3×3", 1), ("16×16", 4)),
        "rule": tuple(HELD),
        "basis": ("fixed", "recomputed"),
        "project": ("gradient", "update", "core"),
        "optimizer": ("sgd", "adam"),
        "steps": (0, 1, 2, 3, 4, 5, 10, 20, 50, 101),  # “Run N steps” leads from the first to the last
    }
    presses = ("take", "run")

    def __init__(self, **params: object) -> None:
        self._track: Track | None = None
        self._failure = ""
        self._worker = jobs.Worker(self._on_records, self._on_end)
        self._loader = jobs.Worker(lambda _: None, self._on_loaded)
        super().__init__(**params)
        self.param.watch(lambda _: self._go_on(1), "take")
        self.param.watch(lambda _: self._go_on(self.n), "run")

    def offered(self, name: str) -> bool:
        """The engine’s free block has its own rule and basis."""
        return name not in ("rule", "basis") or self.project != "core"

    def largest(self) -> int:
        return min(LAYERS[self.layer])

    def on_shown(self) -> None:
        """Load torch, in a worker; the page does not wait for it."""
        if not (jobs.ready() or self._loader.busy):
            self._loader.start(tuple)

    # The run

    def measure(self) -> StepMeasure:
        if self._failure:
            raise ValueError(self._failure)
        if jobs.served() and not jobs.ready():
            return self._empty()
        track = self._advanced()
        if track.problem and self.steps > track.taken:
            raise ValueError(track.problem.replace("lr = ", f"{self.param.lr.label} = "))
        return self._read(track, min(self.steps, track.taken))

    def _settings(self) -> "StepSettings":
        from wonderland.backend.step import StepSettings  # here: torch is not waited for

        m, n = LAYERS[self.layer]
        names = ("samples", "k", "rule", "basis", "project", "optimizer", "lr", "seed")
        return StepSettings(m, n, **{name: getattr(self, name) for name in names})

    def _advanced(self) -> Track:
        """The run of the present settings, with the steps that are asked for, or with a worker on its way there."""
        settings, track = self._settings(), self._track
        if track is None or track.settings != settings or not track.remembers(self.steps):
            self._worker.cancel()
            self._track = track = Track(settings)
        missing = self.steps - track.taken
        if missing <= 0 or track.problem or self._worker.busy:  # a worker that has ended looks here again
            return track
        if missing > AT_ONCE and jobs.served():
            self._worker.start(partial(track.stream, missing))
            return track
        try:
            with backend.one_core():
                for record in track.stream(missing):
                    track.add(record)
        except ValueError as error:
            track.problem = str(error)
        return track

    def _read(self, track: Track, taken: int) -> StepMeasure:
        record = track.record(taken)
        matrices = {"W": track.start}
        if record:
            matrices = {
                "W": record.weight_before,
                "gradient": record.gradient,
                "projected": record.projected,
                "new W": record.weight_after,
            }
        now = subspace.split(matrices["W"], track.settings.k)
        held = track.held if track.settings.held_basis == "fixed" else now
        return StepMeasure(
            asked=self.steps,
            steps=np.arange(taken + 1),
            loss=np.array(track.losses[: taken + 1]),
            leaks={name: np.array(values[: taken + 1]) for name, values in track.leaks.items()},
            sigma=now.S,
            protected=protected_share(now, held),
            matrices=matrices,
            settings=track.settings,
        )

    def _empty(self) -> StepMeasure:
        nothing = np.array([])
        return StepMeasure(self.steps, nothing, nothing, dict.fromkeys(NEEDLES, nothing), nothing, nothing, {}, None)

    def _go_on(self, steps: int) -> None:
        self.steps = min(self.steps + steps, MOST)

    def _on_records(self, records: list["StepRecord"]) -> None:
        for record in records:
            self._track.add(record)
        self._on_controls()

    def _on_end(self, error: BaseException | None) -> None:
        if error:
            self._track.problem = str(error)
        self._on_controls()

    def _on_loaded(self, error: BaseException | None) -> None:
        self._failure = f"torch could not be loaded: {error}" if error else ""
        self._on_controls()

    # The card

    def marks(self, result: StepMeasure) -> Marks:
        return step_marks(result, LAYERS[self.layer], palette(self.dark))

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        return step_pictures(canvas)

    def readouts(self, result: StepMeasure) -> list[Readout]:
        if not len(result.steps):
            return [Readout("torch", "loading …", "muted")]
        shown = [
            Readout("steps", _counted(result.taken, result.asked, self._worker.busy)),
            Readout("loss", f"{_size(result.loss[0])} → {_size(result.loss[-1])}"),
        ]
        for name, needle in NEEDLES.items():
            value = float(result.leaks[name][-1])
            promised = result.taken and name in HELD[result.settings.held_rule]
            verdict = ("ok" if value < AT_REST else "off") if promised else ""
            shown.append(Readout(needle.label, f"{value:.1e}", needle.concept, verdict))
        return shown

    def describe(self, result: StepMeasure) -> str:
        if not len(result.steps):
            return "Torch is being loaded; then the leak meter, the loss and the matrices of the step are drawn here."
        s = result.settings
        needles = ", ".join(f"{needle.label} {result.leaks[name][-1]:.1e}" for name, needle in NEEDLES.items())
        return (
            f"Four needles of a leak meter, on a scale of powers of ten, after {_number(result.taken, 'step')} of a "
            f"{s.m}×{s.n} layer with {_number(s.k, 'protected direction')}; rule {s.held_rule}, basis {s.held_basis}, "
            f"{_PROJECTED[s.project]}, optimizer {s.optimizer}, learning rate {s.lr:g}: {needles}. The loss went from "
            f"{_size(result.loss[0])} to {_size(result.loss[-1])}. The singular values run from "
            f"{result.sigma[0]:.4f} to {result.sigma[-1]:.4f}."
        )

    def details(self, result: StepMeasure) -> str:
        if not result.matrices:
            return ""
        values = "".join(
            f'<li class="{"critical" if share > 0.5 else "safe"}">σ<sub>{i}</sub> = {value:.4f} '
            f'<span class="tag">{_tag(share)}</span></li>'
            for i, (value, share) in enumerate(zip(result.sigma, result.protected, strict=True), 1)
        )
        note = ""
        if not result.taken:
            note = '<p class="detail">No step taken yet: press Take a step.</p>'
        elif self.steps == MOST:
            note = f'<p class="detail">The counter ends at {MOST:,}: turn it back, or press Reset.</p>'
        singular = f'<ol class="values" tabindex="0" aria-label="Singular values">{values}</ol>'
        return note + matrices_html(result) + singular

    def claims(self, result: StepMeasure) -> list[Claim]:
        if not result.taken or result.settings.held_rule == "none":
            return []
        s, held = result.settings, result.held
        kept, verdict = ("stayed at", "holds") if held < AT_REST else ("reached", "fails")
        after = f"{_number(result.taken, 'step')} of {s.optimizer}"
        what = f"After {after}, what the {s.held_rule} rule is to hold at rest {kept} {held:.2g}"
        claims = []
        if s.held_basis == "recomputed" and result.taken > 1:
            claims.append(
                Claim(
                    "recompute",
                    "At every step: compute the SVD, project the gradient, update.",
                    f"{what}, with the basis recomputed before each step.",
                    verdict,
                )
            )
        if s.held_basis == "fixed" and s.project == "gradient":
            claims.append(
                Claim(
                    "adam",
                    "Project the gradient, then let any optimizer take its step.",
                    f"{what}, with the gradient projected before it.",
                    verdict if verdict == "fails" else "partly",  # one optimizer is not any
                    tested=s.optimizer != "sgd",
                )
            )
        return claims


def _tag(share: float) -> str:
    if MIXED < share < 1 - MIXED:
        return f"{share:.0%} protected"
    return "protected" if share > 0.5 else "free"


def _counted(taken: int, asked: int, running: bool) -> str:
    if taken >= asked:
        return f"{taken}"
    return f"{taken} of {asked} …" if running else f"{taken} of {asked}"


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _size(loss: float) -> str:
    return f"{loss:.4f}" if loss < 1e6 else f"{loss:.2e}"
