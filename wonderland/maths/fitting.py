"""The inverse question: which settings of a method fit into so much memory."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from wonderland.maths._check import integer
from wonderland.maths.holding import METHODS, Setting
from wonderland.maths.memory import Cost, Run, cost, cost_of, held
from wonderland.maths.models import Model
from wonderland.maths.passes import MAX_BATCH

_POWERS = tuple(4**power for power in range(7))
LADDERS: dict[str, tuple[str, Sequence[int | float]]] = {
    "lora": ("rank", _POWERS),
    "oft": ("block", (2, 4, 8, 16, 32, 64, 128, 256)),
    "boft": ("boft_block", (2, 4, 8, 16, 32, 64, 128, 256)),
    "psoft": ("psoft_rank", _POWERS),
    **{name: ("keep", tuple(n / 10 for n in range(9, 0, -1))) for name in METHODS if name.startswith("osft")},
}
"""What each method's capacity is called, and its values from the least trained to the most."""


@dataclass(frozen=True)
class Choice:
    """One setting of one method, and what it costs; `capacity` is None for full fine-tuning, which has no choice."""

    method: str
    capacity: int | float | None
    cost: Cost


def choices(model: Model, method: str, setting: Setting, targets: str, run: Run) -> Iterator[Choice]:
    """Every setting of a method that can be built on the model's layers, from the least trained to the most.

    LoRA could be built beyond the smallest layer's rank, where it trains numbers for nothing; that is left out.
    """
    if method not in LADDERS:
        yield Choice(method, None, cost(model, method, setting, targets, run))
        return
    name, values = LADDERS[method]
    if method == "lora":
        least = min((min(one.in_features, one.out_features) for one in model.targeted(targets)), default=0)
        values = [value for value in values if value <= least]
    for value in values:
        try:
            yield Choice(method, value, cost(model, method, replace(setting, **{name: value}), targets, run))
        except ValueError:  # too large for a layer, or it does not divide one
            continue


def largest(found: Sequence[Choice], budget: int) -> Choice | None:
    """Of the settings that fit into so many bytes, the one that trains most; None if none fits."""
    fitting = [one for one in found if one.cost.memory.peak <= budget]
    return max(fitting, key=lambda one: one.cost.trained, default=None)


def largest_batch(model: Model, method: str, setting: Setting, targets: str, run: Run, budget: int) -> int:
    """The largest batch, 0…2²⁰, whose peak fits into so many bytes; the run's own batch does not matter.

    Where only shapes are known, and so nothing is known of activations, it is 0.

    Raises
    ------
    TypeError, ValueError
        If the budget is not an integer of 0 or more, or the method cannot be built.
    """
    integer(budget, "budget")
    layers = held(model, method, setting, targets)
    if model.body is None:
        return 0

    def peak(batch: int) -> int:
        return cost_of(model, method, layers, replace(run, batch=batch)).memory.peak

    # Of many tokens a peak is a line, so that two points tell nearly where it meets the budget.
    low, high = peak(MAX_BATCH // 2), peak(MAX_BATCH)
    guess = MAX_BATCH - (high - budget) * (MAX_BATCH // 2) // max(high - low, 1)
    for first, last in ((max(guess - 3, 1), min(guess + 4, MAX_BATCH)), (1, MAX_BATCH)):
        if first <= last and (first == 1 or peak(first) <= budget) and (last == MAX_BATCH or peak(last) > budget):
            break
    return first - 1 + bisect_left(range(first, last + 1), True, key=lambda batch: peak(batch) > budget)
