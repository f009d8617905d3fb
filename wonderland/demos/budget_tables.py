"""The tables under chapter 10's second demo: what each method takes, what fits, and what to type."""

import html

from wonderland.demos.amounts import UNITS, exact, many, scientific, size
from wonderland.demos.budget_formulas import opened
from wonderland.demos.budget_marks import GIB, BudgetMeasure, Row
from wonderland.demos.recipes import recipe
from wonderland.demos.words import table_html

PARTS = ("weights", "adapters", "gradients", "optimizer", "buffers", "activations", "loss")
MEMORY = ("peak", *PARTS)
WORK = ("trained", "to save", "set-up, flop", "a step, flop")
HEADS = (*MEMORY, *WORK)
COPY = "navigator.clipboard.writeText(this.parentElement.querySelector('code').textContent)"


def cost_table(result: BudgetMeasure) -> str:
    """Every part of the memory, by method, and the work; under them each method opens to its formulas."""
    held = done = formulas = ""
    largest = max(row.cost.memory.peak for row in result.rows.values() if row.cost)
    unit = max(power for power in range(len(UNITS)) if power == 0 or largest >= 1024**power)
    for method, row in result.rows.items():
        if row.cost is None:
            why = f'<td colspan="{len(MEMORY)}">{html.escape(row.why)}</td>'
            held += f'<tr><th scope="row">{row.name}</th>{why}</tr>'
            continue
        cost, memory = row.cost, row.cost.memory
        held += _row(row.name, [amount(getattr(memory, part), unit) for part in MEMORY])
        steps = "—" if cost.operations is None else _flop(cost.operations)
        done += _row(row.name, [exact(cost.trained), size(cost.saved), _flop(cost.setup), steps])
        formulas += opened(result, method, row)
    note = "".join(f'<p class="moved">{html.escape(text)}</p>' for text in notes_on(result))
    setting = (
        f"{html.escape(result.name)}, {result.targets}, {result.run.dtype}, {result.run.optimizer}, {_tokens(result)}"
    )
    opens = f'<div class="opening"><span>The formulas of</span>{formulas}</div>'
    return (
        note
        + table_html(f"Memory in {UNITS[unit]}: {setting}.", ("method",), MEMORY, held)
        + table_html("Numbers trained, what is written to disk, and the work.", ("method",), WORK, done)
        + opens
    )


def amount(number: int, unit: int) -> str:
    """Bytes as so many of `UNITS`, which the caption names: two decimals, and never 0 for what there is."""
    if not number:
        return "0"
    text = f"{number / 1024**unit:,.2f}" if unit else f"{number:,}"
    return "<0.01" if text == "0.00" else text


def notes_on(result: BudgetMeasure) -> list[str]:
    """What was moved, or is not counted, in words."""
    notes = [result.model.note] if result.model.note else []
    body = result.model.body
    if body and body.image:
        notes.append(f"An image is {many(body.longest, 'token')} for {result.name}, whatever is asked for.")
    elif result.run.sequence != result.asked:
        notes.append(f"{result.name} reads {many(result.run.sequence, 'token')} at most: so many are counted.")
    return notes


def fit_table(result: BudgetMeasure) -> str:
    """The inverse question: which settings fit."""
    rows = ""
    for row in result.rows.values():
        best = row.best
        if best is None:
            cells = ["none", "—", "—"]
        else:
            cells = [_capacity(row), exact(best.cost.trained), size(best.cost.memory.peak)]
        known = row.cost is not None and result.model.body is not None
        cells.append(f"{row.batch:,}" if known and row.batch else "none" if known else "—")
        name = row.name.partition(",")[0] if row.concept != "safe" else row.name.rpartition(",")[0]
        rows += _row(name, cells)
    caption = f"What fits into {result.budget // GIB:,} GiB: the most that can be trained, and the largest batch."
    heads = ("most capacity", "it trains", "peak", "largest batch, as set")
    return table_html(caption, ("method",), heads, rows)


def recipe_html(result: BudgetMeasure) -> str:
    """What to type next, with a button that copies it."""
    row = result.rows[result.typed]
    if row.cost is None:
        return f"<p class='detail'>{row.name} cannot be built here: {html.escape(row.why)}</p>"
    code = html.escape(recipe(result.model, result.typed, result.setting, result.targets))
    return (
        f'<div class="recipe"><p class="detail">What to type for {row.name}; <b>model</b> is your model, loaded. '
        f"Another method is under “More controls”.</p>"
        f'<button type="button" class="copy" onclick="{COPY}">Copy</button>'
        f"<pre tabindex='0'><code>{code}</code></pre></div>"
    )


def _capacity(row: Row) -> str:
    if row.best.capacity is None:
        return "all"
    value = row.best.capacity
    return f"{value:.0%} kept" if isinstance(value, float) else exact(value)


def _tokens(result: BudgetMeasure) -> str:
    run, body = result.run, result.model.body
    if body is None:
        return "activations aside"
    long = body.longest if body.image else run.sequence
    again = ", checkpointed" if run.checkpointing else ""
    return f"{many(run.batch, 'image' if body.image else 'sequence')} of {many(long, 'token')}{again}"


def _flop(number: int) -> str:
    return scientific(number, 1) if number else "0"


def _row(name: str, cells: list[str]) -> str:
    numbers = "".join(f'<td class="number">{html.escape(cell)}</td>' for cell in cells)
    return f'<tr><th scope="row">{name}</th>{numbers}</tr>'
