"""Chapter 10: what a method trains, and what it is said to train."""

import html
from dataclasses import dataclass

import holoviews as hv
import numpy as np
import panel as pn

from wonderland.demos.amounts import exact, many, percent, reduction, short, size
from wonderland.demos.base import Claim, Demo, Readout
from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.costs import FIELDS, Count, Layer, real_counts, smallest_k, tale_counts
from wonderland.demos.parameters import Real, Whole
from wonderland.demos.words import table_html
from wonderland.maths import counting, memory
from wonderland.theme import palette

PROMISED = 0.9
SPARE = 0.03
"""Of the logarithmic axis from 1 on, what it begins below it: a dot at one number stands clear of the edge."""


@dataclass(frozen=True)
class CalculatorMeasure:
    """Counts for one layer: the tutorial's, and those of what is really trained."""

    layer: Layer
    full: int
    tale: dict[str, Count]
    real: dict[str, Count]

    def share(self, key: str) -> float:
        """Trained numbers as a share of the layer's, of one of the real counts."""
        return self.real[key].trained / self.full


class Calculator(Demo):
    """What a method trains and holds for one layer, beside what it is said to train."""

    in_features = Whole(
        default=512, bounds=(1, counting.MAX_FEATURES), label=FIELDS["in_features"], doc="Columns of the weight."
    )
    out_features = Whole(
        default=256, bounds=(1, counting.MAX_FEATURES), label=FIELDS["out_features"], doc="Rows of the weight."
    )
    rank = Whole(
        default=16,
        bounds=(1, counting.MAX_FEATURES),
        label=FIELDS["rank"],
        doc="Of LoRA and PSOFT, and the number of blocks of the second OFT; a layer has none above its smaller side.",
    )
    block = Whole(
        default=16,
        bounds=(1, counting.MAX_FEATURES),
        label="OFT block size",
        doc="Moved to the nearest divisor of the inputs.",
    )
    keep = Real(
        default=0.5,
        bounds=(0, 1),
        step=0.01,
        label="Share of directions OSFT keeps",
        doc="Of the smaller of inputs and outputs, to the nearest whole number.",
    )
    boft_block = Whole(
        default=8, bounds=(1, counting.MAX_FEATURES), label=FIELDS["block"], doc="It must divide the inputs."
    )
    boft_factors = Whole(
        default=1,
        bounds=(1, 40),
        label=FIELDS["factors"],
        doc="Each after the first doubles what block size must divide.",
    )

    title = "The scales"
    controls = ("in_features", "out_features", "rank", "block", "keep")
    more = ("boft_block", "boft_factors")
    code = (tale_counts, real_counts, counting.oft_block, smallest_k)
    axes = {"rank": (4, 8, 16, 32, 64), "block": (4, 8, 16, 32, 64), "keep": tuple(n / 10 for n in range(11))}

    def measure(self) -> CalculatorMeasure:
        layer = Layer(**{name: getattr(self, name) for name in Layer.__dataclass_fields__})
        tale = tale_counts(layer)
        return CalculatorMeasure(layer, tale["full"].trained, tale, real_counts(layer))

    def marks(self, result: CalculatorMeasure) -> Marks:
        ink = palette(self.dark)
        rows = [*result.tale.values(), *result.real.values()]
        # One line a row, from the top; a line of heading before each of the two groups.
        y = np.array([-1 - i - (i >= len(result.tale)) for i in range(len(rows))], dtype=float)
        heads = [-0.2, -1.2 - len(result.tale)]
        colors = [getattr(ink, row.concept) for row in rows]
        end = 2.0 * max(float(row.trained) for row in rows)
        start = end**-SPARE
        there = [float(row.trained > 0) for row in rows]  # nothing has no place on a logarithmic scale
        return {
            "lines": {"x0": [start] * len(rows), "y0": y - 0.27, "x1": [end] * len(rows), "y1": y - 0.27},
            "bars": {
                "x0": [start] * len(rows),
                "y0": y - 0.27,
                "x1": [max(float(row.trained), start) for row in rows],
                "y1": y - 0.27,
                "ink": colors,
            },
            "dots": {
                "x": [max(float(row.trained), start) for row in rows],
                "y": y - 0.27,
                "ink": colors,
                "fill": [0.0] * len(result.tale) + there[len(result.tale) :],
                "edge": there,
            },
            "methods": {
                "x": [start] * len(rows),
                "y": y,
                "text": [_method(row) for row in rows],
            },
            "counts": {
                "x": [end] * len(rows),
                "y": y,
                "text": [
                    "—" if row.why else f"{short(row.trained)} · {percent(row.trained, result.full)}" for row in rows
                ],
                "ink": colors,
            },
            "heads": {"x": [start] * 2, "y": heads, "text": ["The tale counts", "Really trained"]},
            "full": {
                "x0": [float(result.full)] * len(rows),
                "y0": y - 0.48,  # no longer, so that the counts between them stay clear
                "x1": [float(result.full)] * len(rows),
                "y1": y - 0.06,
            },
            "frame": {"x": [start, end], "y": [y[-1] - 0.6, 0.5]},
        }

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        ink = canvas.palette
        words = {"text_font_size": "13px", "text_baseline": "bottom"}
        frame = canvas.marks["frame"]
        return [
            canvas.picture(
                canvas.draw(hv.Segments, "lines", color=ink.grid),
                canvas.draw(hv.Segments, "bars", {"line_color": "ink"}, line_width=4),
                canvas.draw(hv.Segments, "full", color=ink.text, line_width=1.5),
                canvas.draw(
                    hv.Points,
                    "dots",
                    {"fill_color": "ink", "line_color": "ink", "fill_alpha": "fill", "line_alpha": "edge"},
                    size=10,
                    line_width=2,
                ),
                canvas.draw(hv.Labels, "methods", text_color=ink.text, text_align="left", **words),
                canvas.draw(hv.Labels, "counts", {"text_color": "ink"}, text_align="right", **words),
                canvas.draw(hv.Labels, "heads", text_color=ink.muted, text_align="left", **words),
                xlim=tuple(frame["x"]),
                ylim=tuple(frame["y"]),
                frame="frame",
                logx=True,
                yticks=(),
                grid=False,
                height=510,
                title="numbers trained; the tick: the whole layer",
            )
        ]

    def readouts(self, result: CalculatorMeasure) -> list[Readout]:
        def saved(row: Count) -> str:
            return reduction(row.trained, result.full)

        return [
            Readout("the layer’s total", exact(result.full), "critical"),
            Readout("OFT’s reduction, the tale", saved(result.tale["oft"]), "muted"),
            Readout("OFT’s reduction", saved(result.real["oft"]), "original"),
            Readout("OSFT’s reduction, factored", saved(result.real["factored"]), "safe"),
            Readout("OSFT’s reduction, as C", saved(result.real["core"]), "safe"),
        ]

    def describe(self, result: CalculatorMeasure) -> str:
        def listed(rows: dict[str, Count]) -> str:
            return "; ".join(
                f"{row.method} {exact(row.trained)}, {percent(row.trained, result.full)}"
                for row in rows.values()
                if not row.why
            )

        layer = result.layer
        return (
            f"Bars on a logarithmic scale for a layer of {layer.in_features:,} inputs and {layer.out_features:,} "
            f"outputs. The tale counts {listed(result.tale)}. Really trained: {listed(result.real)}."
        )

    def details(self, result: CalculatorMeasure) -> str:
        notes = "".join(f'<p class="moved">{html.escape(note)}</p>' for note in notes_on(result))
        return f"{notes}{_counts_table(result)}{_memory_table(result)}"

    def claims(self, result: CalculatorMeasure) -> list[Claim]:
        layer, full = result.layer, result.full
        n, m, r = layer.in_features, layer.out_features, min(layer.rank, layer.least)
        oft, tale = result.real["oft"], result.tale["oft"]
        factored, core = (count(n, m, r) for count in (counting.osft_factored, counting.osft_core))
        few = [0 < result.share(key) <= 1 - PROMISED for key in ("oft", "factored", "core")]
        begins = [smallest_k(count, layer) for count in (counting.osft_factored, counting.osft_core)]
        return [
            Claim(
                "oft-count",
                f"OFT trains rank² numbers: {exact(tale.trained)}.",
                f"{oft.method} trains {exact(oft.trained)}, {percent(oft.trained, full)} of the layer.",
                "holds" if oft.trained == tale.trained else "fails",
            ),
            Claim(
                "osft-count",
                "OSFT trains rank² numbers, with some overhead for the SVD.",
                f"With k = {r:,} protected, the factored form trains {exact(factored)} "
                f"({percent(factored, full)} of the layer), and C {exact(core)} ({percent(core, full)}). With "
                f"{layer.keep:.0%} kept they train {percent(result.real['factored'].trained, full)} and "
                f"{percent(result.real['core'].trained, full)}.",
                "fails" if min(factored, core) > tale.trained else "partly",
            ),
            Claim(
                "reduction",
                "90%+ fewer parameters.",
                f"{oft.method}: {_fewer(oft, full)}. OSFT with {layer.keep:.0%} kept: "
                f"{_fewer(result.real['factored'], full)} factored, {_fewer(result.real['core'], full)} as C; they "
                "reach 90% from "
                f"{begins[0] / layer.least:.1%} and {begins[1] / layer.least:.1%} kept.",
                "holds" if all(few) else "partly" if any(few) else "fails",
            ),
        ]


def notes_on(result: CalculatorMeasure) -> list[str]:
    """What was moved, or could not be built, in words."""
    layer, notes = result.layer, []
    n = layer.in_features
    b, blocks = counting.oft_block(n, layer.block), counting.oft_block(n, layer.rank)
    if layer.block > n:
        notes.append(f"A block of {layer.block:,} is wider than {many(n, 'input')}: OFT uses one block of {n:,}.")
    elif b != layer.block:
        notes.append(
            f"Blocks of {layer.block:,} do not divide {many(n, 'input')}: OFT moves to the nearest divisor, "
            f"{many(n // b, 'block')} of {b:,}."
        )
    if blocks != layer.rank:
        notes.append(
            f"{many(layer.rank, 'block')} do not divide {many(n, 'input')}: OFT by number of blocks moves to "
            f"{many(blocks, 'block')} of {n // blocks:,}."
        )
    if b == 1:
        notes.append("A block of 1 cannot turn: OFT then trains nothing.")
    if layer.rank > layer.least:
        notes.append(
            f"{FIELDS['rank']} = {layer.rank:,} is outside 1…{layer.least:,}, the ranks that a "
            f"{layer.out_features:,}×{n:,} matrix can have: LoRA trains its numbers all the same, for an update of "
            f"rank {layer.least:,} at most."
        )
    notes += [
        f"{method} cannot be built here: {result.real[key].why}"
        for key, method in (("psoft", "PSOFT"), ("boft", "BOFT"))
        if result.real[key].why
    ]
    return notes


def _counts_table(result: CalculatorMeasure) -> str:
    def row(count: Count) -> str:
        numbers = ("—", "—") if count.why else (exact(count.trained), percent(count.trained, result.full))
        cells = "".join(f'<td class="number">{text}</td>' for text in numbers)
        return f'<tr><th scope="row">{count.method}</th><td>{count.formula}</td>{cells}</tr>'

    rows = ""
    for group, counts in (("The tale counts", result.tale), ("Really trained", result.real)):
        rows += f'<tr><th colspan="4" scope="rowgroup">{group}</th></tr>'
        rows += "".join(row(count) for count in counts.values())
    return table_html("Numbers trained", ("method", "formula"), ("trained", "of the layer"), rows)


def _memory_table(result: CalculatorMeasure) -> str:
    whole = memory.training_memory(result.full, 0).total
    rows = ""
    for row in result.real.values():
        if row.why:
            continue
        held = memory.training_memory(row.trained, result.full * row.frozen, row.buffers)
        parts = (held.weights, held.gradients, held.optimizer, held.buffers, held.total)
        cells = "".join(f'<td class="number">{size(part)}</td>' for part in parts)
        rows += f'<tr><th scope="row">{row.method}</th>{cells}<td class="number">{percent(held.total, whole)}</td></tr>'
    return table_html(
        "Memory in training with AdamW, float32, activations aside. Buffers are what the method keeps beside the "
        "weights, as peft builds it; for C, as this book’s engine does, which keeps no W.",
        ("method",),
        ("weights", "gradients", "AdamW", "buffers", "total", "of full"),
        rows,
    )


def _fewer(row: Count, full: int) -> str:
    """How many numbers fewer than the whole layer's, in words."""
    if row.trained > full:
        return f"{percent(row.trained, full)} of the layer"
    return reduction(row.trained, full) + " fewer" * bool(row.trained)


def _method(row: Count) -> str:
    if row.why:
        return f"{row.method}: cannot be built"
    return "OFT, rank²" if row.formula == "rank²" else row.method
