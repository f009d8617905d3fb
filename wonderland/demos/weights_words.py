"""What stands under the map of a checkpoint: the layers around the chosen one, the way on, and what was left out."""

import html
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from wonderland.backend.headers import plain
from wonderland.backend.plan import LEAST, Plan
from wonderland.backend.tensors import Skipped, Spectrum
from wonderland.demos.base import Readout
from wonderland.demos.checkpoints import Alike, Listing, Rows

if TYPE_CHECKING:
    from wonderland.demos.weights_map import WeightsMeasure

AROUND = 12
"""Layers of the table: those around the chosen one."""

_STAND_IN = (
    "The paper’s own rule, “importance”, asks how little a layer changes its input, which takes data. Effective rank "
    "stands in for it here, in the same formula."
)
_RULE = (
    f"By the paper’s rule (arXiv 2504.07097) a layer keeps r = {LEAST:g} + I·(s − {LEAST:g}) of its directions: s is "
    "their mean share, and I how alike the layer’s inputs and outputs are, over the mean of all layers. The paper "
    "takes the cosine of input and output. "
)
_MEASURED = (
    "Every layer here gives out more numbers than it takes in, or fewer, and so does the network around it: <b>there "
    "is no such cosine</b>. In its place stands one that always exists, between the Gram matrices of inputs and of "
    "outputs, which hold how alike any two images are before the layer and after it (linear CKA, arXiv 1905.00414). "
    "That extension is this book’s, not the paper’s. "
)
_GIVEN = (
    "A file of weights has neither inputs nor outputs, so there is nothing to measure it on. "
    "<code>adaptive_keep(model, batches)</code> measures it where the model and some data are; give here what that "
    "returns, a share of the directions for each layer, as JSON. "
)


def readouts(result: "WeightsMeasure") -> list[Readout]:
    """The chosen layer in numbers, and all together."""
    row, layer, total = result.row, result.chosen, len(result.listing.names)
    shown = [Readout("layers taken apart", f"{len(result.rows):,} of {total:,}", "muted")]
    if isinstance(row, Spectrum) and layer:
        shown += [
            Readout("k of this layer", f"{layer.k:,} of {len(row.sigma):,}", "critical"),
            Readout("its energy kept", f"{layer.energy:.1%}", "original"),
            Readout("its effective rank", f"{row.effective_rank:,.1f} of {len(row.sigma):,}"),
            Readout("numbers protected", f"{layer.protected:,}", "critical"),
            Readout("numbers free to train", f"{layer.free:,}", "safe"),
        ]
    if result.plan.layers:
        free, whole = (sum(numbers) for numbers in zip(*((p.free, p.m * p.n) for p in result.plan.layers), strict=True))
        shown.append(Readout("free in all layers", f"{free / whole:.1%}", "safe"))
    return shown


def describe(result: "WeightsMeasure") -> str:
    """The pictures in words."""
    row, layer, total = result.row, result.chosen, len(result.listing.names)
    words = (
        f"A heat map of {result.listing.title}: {total:,} layers from top to bottom, each layer's singular values "
        f"over its largest from left to right, {len(result.rows):,} taken so far, a red mark where the plan cuts. "
        f"Chosen is layer {result.layer:,}, {plain(result.name)}"
    )
    if isinstance(row, Skipped):
        return f"{words}, which {row.reason}."
    if row is None:
        return f"{words}, whose spectrum is still to come."
    if layer:
        cut = f"of which the first {layer.k:,} are critical and hold {layer.energy:.1%} of the energy"
    else:
        cut = "none of which the plan keeps"
    return (
        f"{words}, {row.m:,}×{row.n:,}: {len(row.sigma):,} singular values from {row.sigma[0]:.4g} down to "
        f"{row.sigma[-1]:.4g}, {cut}. Bars show them, and a curve the energy that each number of them holds."
    )


def details(result: "WeightsMeasure", measured: bool) -> str:
    """The words under the map as HTML; `measured` says whether importance is measured here or given."""
    name, plan, row = result.name, result.plan, result.row
    parts = []
    if isinstance(row, Skipped):
        parts.append(f'<p class="moved">{html.escape(plain(name))} {html.escape(row.reason)}.</p>')
    if plan.rule == "effective-rank":
        parts.append(f'<p class="detail">{_STAND_IN}</p>')
    if plan.rule == "importance":
        told = _measured(result.alike) if measured else _given(result)
        parts.append(f'<p class="detail">{_RULE}{told}</p>')
    if layer := result.chosen:
        share = layer.k / min(layer.m, layer.n)
        query = {"chapter": 10, "in_features": layer.n, "out_features": layer.m, "keep": f"{share:.4g}"}
        parts.append(
            f'<p class="detail">What every method would train here: <a href="?{html.escape(urlencode(query))}">'
            f"{layer.m:,}×{layer.n:,}, {share:.1%} kept, on the scales of chapter 10</a>.</p>"
        )
    if plan.keep:
        parts.append(
            '<p class="detail">The plan names its layers as the engine does:</p><pre tabindex="0"><code>'
            'constrain(model, keep=json.load(open("plan.json"))["keep"])</code></pre>'
        )
    return "".join(parts) + _table(result.listing, result.rows, name, plan) + _skipped(result.listing)


def shortened(name: str, most: int) -> str:
    """A name with its beginning left out where it is long: what tells layers apart stands at the end."""
    name = plain(name, 500)
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _measured(alike: Alike | None) -> str:
    if alike is None:
        return f"{_MEASURED}It is still to be measured."
    found = ", ".join(f"{html.escape(name)} {value:.3f}" for name, value in alike.by_layer.items())
    return f"{_MEASURED}Measured on the {alike.samples:,} images that were learned: {found}."


def _given(result: "WeightsMeasure") -> str:
    count, total = len(result.shares), len(result.listing.layers)
    if not total:
        return f"{_GIVEN}But none of these matrices is the weight of a layer that the engine constrains."
    if not count:
        return f"{_GIVEN}None is given yet."
    left = " The others are left out of the plan." if count < total else ""
    return f"{_GIVEN}Given for {count:,} of {total:,} layers.{left}"


def _table(listing: Listing, rows: Rows, name: str, plan: Plan) -> str:
    layers = {layer.name: layer for layer in plan.layers}
    count, here = len(listing.names), listing.names.index(name)
    first = max(0, min(here - AROUND // 2, count - AROUND))
    lines = ""
    for each in listing.names[first : first + AROUND]:
        row, layer = rows.get(each), layers.get(each)
        if isinstance(row, Spectrum):
            chosen = (
                (f"{layer.k:,}", f"{layer.energy:.1%}", f"{layer.protected:,}", f"{layer.free:,}") if layer else "—" * 4
            )
            cells = (f"{row.m:,}×{row.n:,}", f"{row.effective_rank:,.1f} of {len(row.sigma):,}", *chosen)
            body = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        else:
            body = f'<td colspan="6">{html.escape(row.reason) if row else "to come"}</td>'
        mark = ' aria-current="true"' if each == name else ""
        title = html.escape(shortened(each, 36)).replace("…", "…\u2060", 1)  # or it would stand on a line alone
        lines += f'<tr{mark}><th scope="row">{f"<strong>{title}</strong>" if mark else title}</th>{body}</tr>'
    head = "".join(
        f'<th scope="col" class="number">{text}</th>'
        for text in ("m×n", "effective rank", "k", "energy", "protected", "free")
    )
    which = f"Layers {first + 1:,} to {min(first + AROUND, count):,} of {count:,}" if count > AROUND else "The layers"
    more = f" {listing.left:,} more are not shown; <code>wonderland spectrum</code> shows all." if listing.left else ""
    return (
        f'<div class="scroll" tabindex="0"><table><caption>{which}.{more}</caption><thead><tr><th scope="col">weight'
        f"</th>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _skipped(listing: Listing) -> str:
    reasons: dict[str, list[str]] = {}
    for row in listing.skipped:
        reasons.setdefault(row.reason, []).append(plain(row.name, 40))
    return "".join(
        f'<p class="detail">Not on the map, {html.escape(reason)}: {html.escape(", ".join(names[:3]))}'
        f"{f' and {len(names) - 3:,} more' * (len(names) > 3)}.</p>"
        for reason, names in reasons.items()
    )
