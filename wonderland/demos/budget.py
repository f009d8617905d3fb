"""Chapter 10: what each method takes on a whole model, and what fits."""

import os
from functools import lru_cache

import holoviews as hv
import panel as pn
import param

from wonderland.demos.amounts import exact, size
from wonderland.demos.base import Demo, Readout
from wonderland.demos.budget_marks import GIB, BudgetMeasure, Row, bar_marks, point_marks
from wonderland.demos.budget_tables import cost_table, fit_table, recipe_html
from wonderland.demos.calibration import calibration_html
from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.model_input import model_field, read_path
from wonderland.demos.parameters import Real, Whole
from wonderland.demos.unseen import StaysOpen
from wonderland.maths import fitting, memory, passes
from wonderland.maths.architectures import presets
from wonderland.maths.fitting import Choice
from wonderland.maths.holding import METHODS, Setting
from wonderland.maths.memory import Run
from wonderland.maths.models import TARGETS, Model
from wonderland.theme import palette

OWN = "your own file"
NAMES = {
    "full": ("full fine-tuning", "critical"),
    "lora": ("LoRA, rank {rank:,}", "lora"),
    "oft": ("OFT, blocks of {block:,}", "original"),
    "boft": ("BOFT, blocks of {boft_block:,}", "original"),
    "psoft": ("PSOFT, rank {psoft_rank:,}", "original"),
    "osft-peft": ("OSFT, peft, {keep:.0%} kept", "safe"),
    "osft-mini": ("OSFT, mini_trainer, {keep:.0%} kept", "safe"),
    "osft-core": ("OSFT as C, {keep:.0%} kept", "safe"),
}
"""What each method is called, with its capacity, and its concept."""


class Budget(Demo):
    """What fine-tuning a whole model takes by each method, and which settings fit into the memory there is."""

    model = param.Selector(
        default="Llama-3.2-3B", objects=[*presets(), OWN], label="Model", doc="By its config.json; no weight is read."
    )
    targets = param.Selector(
        default="all linear", objects=list(TARGETS), label="Layers", doc="That the methods act on."
    )
    budget = Whole(default=24, bounds=(1, 160), step=1, label="Memory you have, GiB", doc="Of one device.")
    lora_rank = Whole(default=16, bounds=(1, 10**6), label="LoRA rank", doc="Of each of its pairs.")
    oft_block = Whole(
        default=32, bounds=(1, 10**9), label="OFT blocks", doc="Moved to the nearest divisor of each layer’s inputs."
    )
    oft_by = param.Selector(
        default="size", objects=["size", "number"], label="OFT blocks are set by", doc="More blocks train less."
    )
    boft_size = Whole(default=8, bounds=(1, 10**9), label="Size of BOFT blocks", doc="It must divide every n.")
    psoft_rank = Whole(default=16, bounds=(1, 10**6), label="PSOFT rank", doc="Of its turning core.")
    osft_keep = Real(
        default=0.5, bounds=(0.05, 0.95), step=0.05, label="Share OSFT keeps", doc="Of each layer’s directions."
    )
    dtype = param.Selector(
        default="bfloat16", objects=list(passes.BYTES), label="Type of the weights", doc="Adapters stay float32."
    )
    optimizer = param.Selector(
        default="adamw", objects=list(passes.OPTIMIZERS), label="Optimizer of the training", doc="As torch has it."
    )
    batch = Whole(default=1, bounds=(1, passes.MAX_BATCH), label="Batch", doc="Sequences or images in one pass.")
    sequence = Whole(
        default=512, bounds=(1, passes.MAX_SEQUENCE), label="Tokens of a sequence", doc="An image has its own number."
    )
    checkpointing = param.Boolean(
        default=False, label="Gradient checkpointing", doc="Keep each block’s input alone, and compute it again."
    )
    method = param.Selector(default="lora", objects=list(METHODS), label="Method to type out", doc="As code to paste.")

    title = "Will it fit?"
    controls = ("model", "targets", "budget", "checkpointing")
    more = (
        "lora_rank", "oft_block", "oft_by", "boft_size", "psoft_rank", "osft_keep", "dtype", "optimizer", "batch",
        "sequence", "method",
    )  # fmt: skip
    code = (memory.cost_of, passes.kept, passes.work, fitting.largest_batch)
    axes = {
        "model": tuple(presets()),
        "targets": tuple(TARGETS),
        "budget": (8, 16, 24, 48, 80),
        "checkpointing": (False, True),
    }

    def __init__(self, **params: object) -> None:
        self._own: tuple[str, Model] | None = None
        super().__init__(**params)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Take a model of this machine: a config.json, or safetensors, of which the headers alone are read.

        Raises
        ------
        ValueError
            If there is no such file, or it is none of these or a bad one; the model stays as it was.
        """
        self._take(os.path.basename(path), read_path(path))

    def beside(self) -> list[pn.viewable.Viewable]:
        return [model_field(self._take), StaysOpen()]

    def _take(self, name: str, model: Model) -> None:
        self._own = (name, model)
        if self.model == OWN:
            self._on_controls()
        else:
            self.model = OWN

    def measure(self) -> BudgetMeasure:
        if self.model == OWN and self._own is None:
            raise ValueError("No file of yours is here yet: choose a config.json or a .safetensors file.")
        name, model = self._own if self.model == OWN else (self.model, presets()[self.model])
        setting = Setting(
            self.lora_rank, self.oft_block, self.boft_size, 1, self.psoft_rank, self.osft_keep, self.oft_by == "number"
        )
        # A model may read less than is asked for: a sequence goes as far as it can.
        longest = model.body.longest if model.body else 0
        sequence = min(self.sequence, longest or self.sequence)
        run = Run(self.dtype, self.optimizer, self.batch, sequence, self.checkpointing)
        budget = self.budget * GIB
        rows = {method: _row(model, method, setting, self.targets, run, budget) for method in METHODS}
        return BudgetMeasure(name, model, self.targets, setting, run, budget, rows, self.method, self.sequence)

    def marks(self, result: BudgetMeasure) -> Marks:
        ink = palette(self.dark)
        return {**bar_marks(result, ink), **point_marks(result, ink)}

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        ink, marks = canvas.palette, canvas.marks
        words = {"text_font_size": "13px", "text_baseline": "bottom"}
        bars, points = marks["bar frame"], marks["point frame"]
        made = [
            canvas.picture(
                canvas.draw(hv.Rectangles, "fixed", {"fill_color": "ink"}, line_color=None),
                canvas.draw(hv.Rectangles, "passing", {"fill_color": "ink"}, fill_alpha=0.45, line_color=None),
                canvas.draw(hv.Segments, "budgets", color=ink.text, line_width=1.5),
                canvas.draw(hv.Labels, "rows", text_color=ink.text, text_align="left", **words),
                canvas.draw(hv.Labels, "needs", {"text_color": "ink"}, text_align="right", **words),
                xlim=tuple(bars["x"]),
                ylim=tuple(bars["y"]),
                frame="bar frame",
                xticks=bars["ticks"],
                yticks=(),
                grid=False,
                height=400,
                max_width=900,
                xlabel="GiB at the peak of a step",
                title="full: all along; pale: within a step; %: trained",
            ),
            canvas.picture(
                canvas.draw(hv.Path, "ways", {"line_color": "ink"}, line_width=1.4, line_alpha=0.4),
                canvas.draw(
                    hv.Points,
                    "settings",
                    {"fill_color": "ink", "line_color": "ink", "fill_alpha": "alpha", "marker": "shape"},
                    size=7,
                ),
                canvas.draw(hv.Points, "here", {"line_color": "ink"}, size=14, fill_alpha=0, line_width=2),
                canvas.draw(hv.Segments, "leaders", {"line_color": "ink"}, line_alpha=0.5),
                canvas.draw(hv.Segments, "budget", color=ink.text, line_width=1.5),
                canvas.draw(hv.Labels, "here names", {"text_color": "ink"}, text_align="left", text_font_size="13px"),
                xlim=tuple(points["x"]),
                ylim=tuple(points["y"]),
                frame="point frame",
                xticks=points["ticks"],
                xformat="%g",
                logx=True,
                logy=True,
                height=440,
                max_width=900,
                xlabel="GiB at the peak of a step",
                ylabel="numbers trained",
                title="every capacity; filled: it fits; ring: as set",
            ),
        ]
        for pane in made:
            pane.styles = {**pane.styles, "grid-column": "1 / -1"}
        return made

    def readouts(self, result: BudgetMeasure) -> list[Readout]:
        def peak(method: str) -> str:
            row = result.rows[method]
            return size(row.cost.memory.peak) if row.cost else "cannot be built"

        fitting_now = sum(result.fits(row) for row in result.rows.values())
        return [
            Readout("parameters of the model", exact(result.model.parameters)),
            Readout("full fine-tuning needs", peak("full"), "critical"),
            Readout("LoRA needs", peak("lora"), "lora"),
            Readout("OFT needs", peak("oft"), "original"),
            Readout("OSFT as C needs", peak("osft-core"), "safe"),
            Readout(f"methods that fit into {result.budget // GIB:,} GiB", f"{fitting_now} of {len(result.rows)}"),
        ]

    def describe(self, result: BudgetMeasure) -> str:
        rows = "; ".join(
            f"{row.name}: cannot be built"
            if row.cost is None
            else f"{row.name} {size(row.cost.memory.peak)}, {exact(row.cost.trained)} trained, "
            f"{'fits' if result.fits(row) else 'does not fit'}"
            for row in result.rows.values()
        )
        return (
            f"Bars of the memory that each method takes on {result.name}, {exact(result.model.parameters)} parameters, "
            f"against {result.budget // GIB:,} GiB, and points for every capacity of each method on logarithmic "
            f"scales, memory across and numbers trained up. {rows}."
        )

    def details(self, result: BudgetMeasure) -> str:
        return cost_table(result) + calibration_html() + fit_table(result) + recipe_html(result)


def _row(model: Model, method: str, setting: Setting, targets: str, run: Run, budget: int) -> Row:
    text, concept = NAMES[method]
    if method == "oft" and setting.by_count:
        text = "OFT, {block:,} blocks"
    name = text.format(**vars(setting))
    # Every capacity is tried, whichever is set: of the setting, only how OFT counts its blocks matters.
    found = _choices(model, method, Setting(by_count=setting.by_count), targets, run)
    best = fitting.largest(found, budget)
    try:
        now = memory.cost(model, method, setting, targets, run)
        batch = fitting.largest_batch(model, method, setting, targets, run, budget)
    except ValueError as error:  # the other methods do not mind
        return Row(name, concept, choices=found, best=best, why=str(error))
    return Row(name, concept, now, batch, found, best)


@lru_cache(maxsize=256)
def _choices(model: Model, method: str, setting: Setting, targets: str, run: Run) -> tuple[Choice, ...]:
    return tuple(fitting.choices(model, method, setting, targets, run))
