"""Every figure of chapter 10's table, opened: the terms that it is the sum of, with their present numbers."""

import html

from wonderland.demos.amounts import exact
from wonderland.demos.budget_marks import BudgetMeasure, Row
from wonderland.demos.unseen import stays_open
from wonderland.maths import counting
from wonderland.maths.memory import held
from wonderland.maths.passes import ADAPTER, BYTES, OPTIMIZERS, Kept, Layers, Work, summed

Terms = list[tuple[int, str]]


def opened(result: BudgetMeasure, method: str, row: Row) -> str:
    """A method's formulas, folded away under its name."""
    items = "".join(
        f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in formulas(result, method, row).items()
    )
    return stays_open(method, html.escape(row.name), f'<dl class="formulas">{items}</dl>')


def formulas(result: BudgetMeasure, method: str, row: Row) -> dict[str, str]:
    """Each figure of a row as arithmetic, by the head of its column; what follows a colon is a remark."""
    cost, memory, run, model = row.cost, row.cost.memory, result.run, result.model
    each = BYTES[run.dtype]
    layers = held(model, method, result.setting, result.targets)
    beside = layers[0][1].adapter
    own = ADAPTER if beside else each
    trained, indices = exact(cost.trained), summed(layers, "indices")
    once = [(memory.weights, "weights"), (memory.adapters, "adapters"), (memory.optimizer, "optimizer"),
            (memory.buffers, "buffers")]  # fmt: skip
    passing = [(memory.activations, "activations"), (memory.loss, "loss")]
    if memory.gradients > memory.activations + memory.loss:
        passing = [(memory.gradients, "gradients")]
    lines = {
        "trained": _trained(result, method, layers, trained),
        "peak": _sum(once + passing) + ": bytes, with the larger of gradients and activations + loss",
        "weights": f"{exact(memory.weights // each)} numbers × {each} bytes",
        "adapters": f"{trained} × {own} bytes: peft keeps them in float32" if beside else "none",
        "gradients": f"{trained} × {own} bytes",
        "optimizer": f"{OPTIMIZERS[run.optimizer]} × {trained} × {own} bytes",
        "buffers": _sum([(summed(layers, "buffers"), f"× {own} bytes"), (indices, "indices × 8 bytes")]),
    }
    if cost.kept:
        words = f"{exact(cost.kept.tokens)} tokens × {exact(model.body.vocabulary)} words"
        lines["activations"] = _activations(cost.kept)
        lines["loss"] = (
            f"{words} × {cost.kept.words // model.body.vocabulary} bytes"
            if cost.kept.words
            else "none: its head is the task’s"
        )
    lines["to save"] = _saved(result, method, layers, trained)
    lines["set-up, flop"] = _setup(method, layers)
    if cost.work:
        lines["a step, flop"] = _step(cost.work)
    return lines


def _trained(result: BudgetMeasure, method: str, layers: Layers, trained: str) -> str:
    if method == "full":
        return f"{trained}: every number of the model"
    counted = f"{_by_layer(layers, 'trained')} = {trained}"
    if method != "oft":
        return counted
    tale = sum(linear.count for linear, _ in layers) * counting.rank_squared(result.setting.rank)
    return f"{counted}: the tale’s rank² a layer, rank {result.setting.rank:,}, is {exact(tale)}"


def _activations(kept: Kept) -> str:
    tokens = f"{exact(kept.tokens)} tokens"
    if kept.hidden:
        stream = f"{tokens} × ({kept.blocks} blocks × {exact(kept.hidden)} input + {exact(kept.last)} after them)"
        block = exact(-(-kept.within // kept.blocks))
        if not kept.again:
            return f"{stream}: bytes; a block computed again, {block}, takes the place of the loss"
        return f"{stream} + {block} of a block computed again − {exact(kept.loss)} that the loss gave up: bytes"
    block = _sum([(kept.norms, "norms"), (kept.values, "values"), (kept.scores, "scores")])
    more = _sum([(kept.inputs, "layers’ inputs"), (kept.own, "of the method"), (kept.last, "after them")])
    each = f"{kept.blocks} blocks × ({block})" + (f" + {more}" if more != "none" else "")
    return f"{tokens} × ({each})" + (f" + {exact(kept.once)} once" if kept.once else "") + ": bytes"


def _saved(result: BudgetMeasure, method: str, layers: Layers, trained: str) -> str:
    if method in ("full", "osft-mini"):
        return f"{exact(result.model.parameters)} × {BYTES[result.run.dtype]} bytes: the whole model"
    own = ADAPTER if layers[0][1].adapter else BYTES[result.run.dtype]
    if extra := summed(layers, "saved"):
        return f"({trained} + {exact(extra)} of bases) × {own} bytes"
    return f"{trained} × {own} bytes"


def _setup(method: str, layers: Layers) -> str:
    if not summed(layers, "setup"):
        return "none: nothing is taken apart"
    rule = "6·long·short² + 20·short³ each, an SVD"
    if method == "osft-core":
        rule = (
            "4·long·short² + 9·short³ each, by the Gram matrix, and 6·side·k² + 14·k³ + 3·(side − k)²·k for each side "
            "that is turned by cosines and sines"
        )
    return f"{_by_layer(layers, 'setup')}: {rule}"


def _step(work: Work) -> str:
    passes = 1 + work.checkpointing
    once = _sum([(passes * work.forward, "layers forward"), (work.backward, "layers back")])
    for times, number, name in (
        (1 + passes, work.others, "other layers"), (5 + 2 * passes, work.attention, "attention"),
    ):  # fmt: skip
        once += f" + {times} × {exact(number)} {name}" if number else ""
    if work.head:
        once += f" + {exact(work.head + work.head_backward)} scores of words"
    rebuilt = f" + {exact(work.rebuilt)} once a step" if work.rebuilt else ""
    return f"2 × ({exact(work.tokens)} tokens × ({once}){rebuilt})" + ": forward twice, checkpointed" * (passes > 1)


def _by_layer(layers: Layers, name: str) -> str:
    """One number of every layer, those with the same together."""
    found: dict[int, tuple[int, list[str]]] = {}
    for linear, row in layers:
        count, names = found.get(number := getattr(row, name), (0, []))
        found[number] = count + linear.count, [*names, linear.name]
    return " + ".join(f"{count}·{exact(number)} {', '.join(names)}" for number, (count, names) in found.items())


def _sum(terms: Terms) -> str:
    """The terms that are not zero."""
    return " + ".join(f"{exact(number)} {name}" for number, name in terms if number) or "none"
