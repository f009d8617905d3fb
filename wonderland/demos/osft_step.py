"""Chapter 9: one OSFT step at a time, taken by torch, and a meter of what leaks into the protected directions."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import holoviews as hv
import numpy as np
import panel as pn
import param
from bokeh.palettes import interp_palette

from wonderland import backend
from wonderland.demos import jobs
from wonderland.demos.base import Claim, Demo, Readout, source_of
from wonderland.demos.canvas import Canvas, Columns, Marks, apart, round_ticks
from wonderland.demos.fields import Choice, Real, Whole
from wonderland.demos.step_track import Track
from wonderland.maths import subspace
from wonderland.theme import palette

if TYPE_CHECKING:
    from wonderland.backend.step import StepRecord, StepSettings


class Needle(NamedTuple):
    """One measure of the leak: its readout's label, its curve's name, and how that is drawn."""

    label: str
    short: str
    concept: str
    dash: str


LAYERS = {"3×3": (3, 3), "8×8": (8, 8), "16×16": (16, 16), "32×32": (32, 32), "48×64": (48, 64)}
LARGEST = 48
"""Singular values of the largest layer."""
MOST = 1000
"""Steps a run may take."""
AT_ONCE = 10
"""Steps that a press may compute before the page answers; more are computed by a worker."""
SHORTEST = 10
"""Steps that the axes show at least."""
ROOM = 1.14
"""How far the meter reaches beyond the last step, for the names of the needles."""
FLOOR = 1e-17
"""Below this the meter does not go: rounding."""
AT_REST = 1e-10
"""A needle below this has not moved."""
PRINTED = 6
"""Matrices up to this order are printed; larger ones are shown as maps alone."""
NEEDLES = {
    "joint": Needle("‖UₕᵀΔW Vₕ‖, the corner", "corner", "lora", "solid"),
    "right": Needle("‖ΔW Vₕ‖, protected inputs", "inputs", "critical", "solid"),
    "left": Needle("‖UₕᵀΔW‖, protected outputs", "outputs", "original", "dashed"),
    "triplet": Needle("‖W′v − σu‖, the worst", "triplet", "rotated", "dotted"),
}
HELD = {
    "joint": ("joint",),
    "two-sided": ("joint", "right", "left", "triplet"),
    "right-only": ("joint", "right", "triplet"),
    "none": (),
}
"""The needles that each rule is to keep at rest."""
MAPS = ("W", "gradient", "projected", "new W")
LEVELS = 127  # of color, either side of zero


@dataclass(frozen=True, eq=False)
class StepMeasure:
    """The run so far: its curves, and what its last step saw. Matrices are m×n."""

    asked: int
    """Steps asked for; fewer are there while a worker runs."""
    steps: np.ndarray
    """0…the steps taken; empty before torch is there."""
    loss: np.ndarray
    leaks: dict[str, np.ndarray]
    """The four needles after each of `steps`."""
    sigma: np.ndarray
    """Singular values of the weight that the last step began with."""
    matrices: dict[str, np.ndarray]
    """Of `MAPS`: the weight before the step, its gradient, what the rule leaves of it, the weight after."""
    settings: "StepSettings | None"

    @property
    def taken(self) -> int:
        """Steps taken so far."""
        return max(len(self.steps) - 1, 0)

    @property
    def held(self) -> float:
        """The largest of the needles that the rule is to keep at rest."""
        return max((float(self.leaks[needle][-1]) for needle in HELD[self.settings.rule]), default=float("nan"))


class OSFTStep(Demo):
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
        objects=["gradient", "update"],
        label="Trap 3: project the",
        doc="Gradient: the rule is applied before the optimizer. Update: to the step that the optimizer takes.",
    )
    optimizer = Choice(
        default="sgd", objects=["sgd", "momentum", "adam"], label="Optimizer", doc="As torch has it; momentum 0.9."
    )
    lr = Real(default=0.1, bounds=(1e-6, 100), step=1e-6, label="Learning rate", doc="Of the optimizer.")
    samples = Whole(
        default=5, bounds=(1, 1024), label="Random inputs", doc="Inputs and targets to learn, each Gaussian."
    )
    seed = Whole(default=0, bounds=(0, 2**32 - 1), label="Seed", doc="Of the weight, the inputs and the targets.")
    steps = Whole(default=0, bounds=(0, MOST), step=1, label="Steps taken", doc="The counter; it can be turned back.")

    title = "The lantern"
    controls = ("take", "run", "n", "steps", "layer", "k", "rule", "basis", "project", "optimizer")
    more = ("lr", "samples", "seed")
    throttled = ("steps",)
    code = (source_of("wonderland.backend.step", "LayerRun.step"), subspace.project, subspace.leak)
    axes = {"steps": range(21)}

    def __init__(self, **params: object) -> None:
        self._track: Track | None = None
        self._failure = ""
        self._worker = jobs.Worker(self._on_records, self._on_end)
        self._loader = jobs.Worker(lambda _: None, self._on_loaded)
        super().__init__(**params)
        self.param.watch(lambda _: self._go_on(1), "take")
        self.param.watch(lambda _: self._go_on(self.n), "run")

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
            raise ValueError(track.problem)
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
        return StepMeasure(
            asked=self.steps,
            steps=np.arange(taken + 1),
            loss=np.array(track.losses[: taken + 1]),
            leaks={name: np.array(values[: taken + 1]) for name, values in track.leaks.items()},
            sigma=np.linalg.svd(matrices["W"], compute_uv=False),
            matrices=matrices,
            settings=track.settings,
        )

    def _empty(self) -> StepMeasure:
        nothing = np.array([])
        return StepMeasure(self.steps, nothing, nothing, dict.fromkeys(NEEDLES, nothing), nothing, {}, None)

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

    def _on_controls(self, *events: param.parameterized.Event) -> None:
        moved = {event.name for event in events}
        count = min(LAYERS[self.layer])
        if moved == {"layer"} and self.k > count:
            self.k = count  # moved together, as by an address, a cut-off beyond the matrix is an error to report
        if "layer" in moved or not events:
            self.param.k.softbounds = (0, count)
        super()._on_controls(*events)

    # The card

    def marks(self, result: StepMeasure) -> Marks:
        ink = palette(self.dark)
        heights = {name: np.log10(np.maximum(values, FLOOR)) for name, values in result.leaks.items()}
        marks: dict[str, Columns] = {name: {"x": result.steps, "y": height} for name, height in heights.items()}
        top = max(2.0, *(np.ceil(height.max(initial=0)) for height in heights.values()))
        last = max(result.asked, SHORTEST)
        ends = heights if len(result.steps) else {}
        marks["needles"] = {
            "x": [result.taken + 0.012 * last] * len(ends),
            "y": apart([height[-1] for height in ends.values()], (top + 17.5) / 16, -17, top - 0.5),
            "text": [NEEDLES[name].short for name in ends],
            "ink": [getattr(ink, NEEDLES[name].concept) for name in ends],
        }
        marks["meter frame"] = {"x": [0, ROOM * last], "y": [-17.5, top], "ticks": round_ticks(last, 8)}
        marks["loss"] = {"x": result.steps, "y": result.loss}
        highest = 1.1 * result.loss.max(initial=0.9)
        marks["loss frame"] = {"x": [0, 1.05 * last], "y": [0, highest], "ticks": round_ticks(last, 5)}
        count = min(LAYERS[self.layer])
        at, k = np.arange(1, len(result.sigma) + 1), result.settings.k if result.settings else 0
        marks["sigma"] = {
            "x0": at - 0.4,
            "y0": np.zeros(len(at)),
            "x1": at + 0.4,
            "y1": result.sigma,
            "ink": [ink.critical if i <= k else ink.safe for i in at],
        }
        highest, ticks = 1.1 * result.sigma.max(initial=0.9), [1, *round_ticks(count)[1:]]
        marks["sigma frame"] = {"x": [0.4, count + 0.6], "y": [0, highest], "ticks": ticks}
        return marks | _maps(result)

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        ink = canvas.palette
        label = {"text_font_size": "13px"}
        meter = canvas.picture(
            *[
                canvas.draw(hv.Curve, name, color=getattr(ink, needle.concept), line_dash=needle.dash, line_width=2.5)
                for name, needle in NEEDLES.items()
            ],
            canvas.draw(hv.Labels, "needles", {"text_color": "ink"}, text_align="left", **label),
            xlim=(0, ROOM * SHORTEST),
            ylim=(-17.5, 2),
            xticks=[0],
            frame="meter frame",
            yticks=[(power, f"1e{power}" if power else "1") for power in range(-16, 51, 4)],
            xlabel="step",
            title="the leak meter",
            height=300,
            max_width=760,
        )
        loss = canvas.picture(
            canvas.draw(hv.Curve, "loss", color=ink.text, line_width=2),
            xlim=(0, SHORTEST),
            ylim=(0, 1.1),
            xticks=[0],
            frame="loss frame",
            xlabel="step",
            title="the loss",
            height=210,
        )
        sigma = canvas.picture(
            canvas.draw(hv.Rectangles, "sigma", {"fill_color": "ink"}, line_color=None),
            xlim=(0.4, 3.6),
            ylim=(0, 1),
            xticks=[0],
            frame="sigma frame",
            title="singular values of W, protected and free",
            height=210,
        )
        heat = {"cmap": interp_palette([ink.original, ink.panel, ink.critical], 255), "clim": (-LEVELS, LEVELS)}
        maps = canvas.picture(
            *[canvas.draw(hv.Image, f"map {name}", **heat) for name in MAPS],
            canvas.draw(hv.Labels, "map names", text_color=ink.muted, **label),
            xlim=(0, 1.1 * len(MAPS) - 0.1),
            ylim=(0, 1.18),
            bare=True,
            height=190,
            max_width=760,
        )
        for picture in (meter, maps):
            picture.styles = {"grid-column": "1 / -1"}
        return [meter, loss, sigma, maps]

    def readouts(self, result: StepMeasure) -> list[Readout]:
        if not len(result.steps):
            return [Readout("torch", "loading …", "muted")]
        running = result.taken < result.asked
        shown = [
            Readout("steps", f"{result.taken} of {result.asked} …" if running else f"{result.taken}"),
            Readout("loss", f"{result.loss[0]:.4f} → {result.loss[-1]:.4f}"),
        ]
        for name, needle in NEEDLES.items():
            value = float(result.leaks[name][-1])
            promised = result.taken and name in HELD[result.settings.rule]
            verdict = ("ok" if value < AT_REST else "off") if promised else ""
            shown.append(Readout(needle.label, f"{value:.1e}", needle.concept, verdict))
        return shown

    def describe(self, result: StepMeasure) -> str:
        if not len(result.steps):
            return "Torch is being loaded; then the leak meter, the loss and the matrices of the step are drawn here."
        s = result.settings
        needles = ", ".join(f"{needle.label} {result.leaks[name][-1]:.1e}" for name, needle in NEEDLES.items())
        return (
            f"Four needles of a leak meter, on a scale of powers of ten, over {result.taken} steps of a {s.m}×{s.n} "
            f"layer with {s.k} protected directions; rule {s.rule}, basis {s.basis}, the {s.project} projected, "
            f"optimizer {s.optimizer}, learning rate {s.lr:g}: {needles}. The loss went from {result.loss[0]:.4f} to "
            f"{result.loss[-1]:.4f}. The singular values run from {result.sigma[0]:.4f} to {result.sigma[-1]:.4f}."
        )

    def details(self, result: StepMeasure) -> str:
        if not result.matrices:
            return ""
        s = result.settings
        values = "".join(
            f'<li class="{concept}">σ<sub>{i}</sub> = {value:.4f} <span class="tag">{tag}</span></li>'
            for i, value in enumerate(result.sigma, 1)
            for concept, tag in (("critical", "protected") if i <= s.k else ("safe", "free"),)
        )
        figures = "".join(_figure(name, M) for name, M in result.matrices.items())
        note = "" if result.taken else "No step taken yet: press Take a step."
        if self.steps == MOST:
            note = f"The counter ends at {MOST:,}: turn it back, or press Reset."
        return (
            (f'<p class="detail">{note}</p>' if note else "") + f'<div class="figures">{figures}</div>'
            f'<ol class="values" tabindex="0" aria-label="Singular values">{values}</ol>'
        )

    def claims(self, result: StepMeasure) -> list[Claim]:
        if not result.taken or result.settings.rule == "none":
            return []
        s, held = result.settings, result.held
        kept, verdict = ("stayed at", "holds") if held < AT_REST else ("reached", "fails")
        after = f"{result.taken} step{'s' * (result.taken > 1)} of {s.optimizer}"
        what = f"After {after}, what the {s.rule} rule is to hold at rest {kept} {held:.1e}"
        claims = []
        if s.basis == "recomputed" and result.taken > 1:
            claims.append(
                Claim(
                    "recompute",
                    "At every step: compute the SVD, project the gradient, update.",
                    f"{what}, with the basis recomputed before each step.",
                    verdict,
                )
            )
        if s.basis == "fixed" and s.project == "gradient":
            claims.append(
                Claim(
                    "adam",
                    "Project the gradient, then let any optimizer take its step.",
                    f"{what}, with the gradient projected before it.",
                    verdict if verdict == "fails" else "partly",  # one optimizer is not any
                )
            )
        return claims


def _maps(result: StepMeasure) -> Marks:
    """The step's matrices side by side; weights share one scale of color, gradients another."""
    marks: dict[str, Columns] = {}
    for place, name in enumerate(MAPS):
        kin = [result.matrices[other] for other in MAPS if other in result.matrices and ("W" in other) == ("W" in name)]
        M = result.matrices.get(name, np.zeros((1, 1)))
        largest = max((np.abs(one).max() for one in kin), default=0) or 1.0
        levels = np.rint(LEVELS * M / largest).astype(np.int8)
        marks[f"map {name}"] = {"image": [levels[::-1]], "x": [1.1 * place], "y": [0.0], "dw": [1.0], "dh": [1.0]}
    there = [place for place, name in enumerate(MAPS) if name in result.matrices]
    marks["map names"] = {
        "x": [1.1 * place + 0.5 for place in there],
        "y": [1.09] * len(there),
        "text": [MAPS[place] for place in there],
    }
    return marks


def _figure(name: str, M: np.ndarray) -> str:
    m, n = M.shape
    norm = f"<figcaption>{name}, ‖·‖ = {np.linalg.norm(M):.4f}</figcaption>"
    if max(m, n) > PRINTED:
        return f"<figure>{norm}</figure>"
    cells = "".join(f"<span>{value:+.4f}</span>" for value in M.ravel())
    return f'<figure>{norm}<div class="matrix" style="grid-template-columns: repeat({n}, auto)">{cells}</div></figure>'
