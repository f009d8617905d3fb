"""The names in the pictures of chapter 10's second demo find room on every screen."""

import json
from itertools import combinations, pairwise
from math import log10

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland.demos.budget import NAMES, Budget
from wonderland.demos.budget_marks import GIB, HEIGHT, SHORT
from wonderland.maths.architectures import presets
from wonderland.maths.holding import METHODS
from wonderland.maths.models import TARGETS

# Pixels of the frame at 360 (and 1000, beside the contents), 390, 768 and 1400, and of a name's letters at 13 px, as
# Chromium lays them out; tests/ui measures them again.
FRAMES = (219, 249, 591, 619)
BARS = {219: 278, 249: 308, 591: 650, 619: 678}
WIDTHS = {"mini_trainer": 67.9, "OSFT as C": 60.4, "OSFT, peft": 60.5, "PSOFT": 40, "BOFT": 32, "LoRA": 31, "OFT": 24,
          "full": 18}  # fmt: skip
LETTER, TALL, RING, POINT = 6, 15, 8, 4.5

Box = tuple[float, float, float, float]


def boxes(demo: Budget, width: int) -> tuple[list[Box], list[Box]]:
    """The names' boxes in pixels, and those of points and rings."""
    marks = demo.marks(demo.result)
    (left, right), (low, high) = (map(log10, marks["point frame"][side]) for side in "xy")

    def at(x: float, y: float) -> tuple[float, float]:
        return width * (log10(x) - left) / (right - left), HEIGHT * (log10(y) - low) / (high - low)

    names, marked = [], []
    for x, y, text in zip(*(marks["here names"][column] for column in ("x", "y", "text")), strict=True):
        px, py = at(x, y)
        names.append((px, py - TALL / 2, px + WIDTHS[text], py + TALL / 2))
    for mark, radius in (("settings", POINT), ("here", RING)):
        for x, y in zip(marks[mark]["x"], marks[mark]["y"], strict=True):
            px, py = at(x, y)
            marked.append((px - radius, py - radius, px + radius, py + radius))
    return names, marked


def meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def check(demo: Budget) -> None:
    for width in FRAMES:
        names, marked = boxes(demo, width)
        assert len(names) == sum(bool(row.cost and row.cost.trained) for row in demo.result.rows.values())
        for one, other in combinations(names, 2):
            assert not meet(one, other)
        for name in names:
            assert not any(meet(name, mark) for mark in marked)
        for box in names + marked:
            assert 0 <= box[0] < box[2] <= width
            assert 0 <= box[1] < box[3] <= HEIGHT


@pytest.mark.parametrize("name", presets())
def test_no_name_lies_on_a_name_or_on_a_point(name):
    demo = Budget(model=name)
    for targets in TARGETS:
        for budget in Budget.axes["budget"]:
            for checkpointing in (False, True):
                demo.param.update(targets=targets, budget=budget, checkpointing=checkpointing)
                check(demo)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "model": st.sampled_from([*presets()]),
            "targets": st.sampled_from([*TARGETS]),
            "budget": st.integers(1, 160),
            "lora_rank": st.sampled_from([1, 8, 64, 700]),
            "oft_block": st.sampled_from([1, 4, 300]),
            "oft_by": st.sampled_from(["size", "number"]),
            "osft_keep": st.sampled_from([0.05, 0.5, 0.95]),
            "dtype": st.sampled_from(["bfloat16", "float32"]),
            "batch": st.sampled_from([1, 64, 2**20]),
            "checkpointing": st.booleans(),
        }
    )
)
def test_nor_for_any_setting(state):
    check(Budget(**state))


@pytest.mark.parametrize("size", [1, 10**9])
def test_nor_for_the_smallest_and_the_largest_model(size, tmp_path):
    sizes = dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size", "head_dim"), size)
    heads = dict.fromkeys(("num_attention_heads", "num_key_value_heads", "num_hidden_layers"), min(size, 1000))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"} | sizes | heads))
    demo = Budget()
    demo.load(tmp_path / "config.json")
    assert not demo.problem
    check(demo)


def test_every_name_is_measured():
    short = {SHORT.get(method, NAMES[method][0].partition(",")[0]) for method in METHODS}
    assert short == set(WIDTHS)


@pytest.mark.parametrize("name", presets())
def test_a_bar_s_name_and_its_need_share_a_line(name):
    demo = Budget(model=name, batch=100)
    marks = demo.marks(demo.result)
    for method, need in zip(marks["rows"]["text"], marks["needs"]["text"], strict=True):
        assert LETTER * (len(method) + len(need)) < min(BARS.values()), (method, need)


@pytest.mark.parametrize("batch", [1, 50, 2**20])
@pytest.mark.parametrize("name", presets())
def test_ticks_are_few_and_round_and_never_meet(name, batch):
    demo = Budget(model=name, batch=batch, sequence=10**7 if batch > 50 else 512)
    marks = demo.marks(demo.result)
    (left, right), ticks = marks["bar frame"]["x"], marks["bar frame"]["ticks"]
    assert 2 <= len(ticks) <= 6
    assert all(max(left, 0) <= tick <= right for tick in ticks)
    assert len({round((b - a) / (ticks[1] - ticks[0]), 6) for a, b in pairwise(ticks)}) == 1
    for width in BARS.values():
        letters = 9 if ticks[-1] >= 1e5 else max(len(f"{tick:g}") for tick in ticks)
        assert width * (ticks[1] - ticks[0]) / (right - left) > 8 * letters
    (left, right), ticks = marks["point frame"]["x"], marks["point frame"]["ticks"]
    assert 2 <= len(ticks) <= 6
    assert all(left <= tick <= right for tick in ticks)
    for width in FRAMES:
        for low, high in pairwise(ticks):
            room = width * log10(high / low) / log10(right / left)
            assert room > 4 * (len(f"{low:g}") + len(f"{high:g}"))


def test_each_method_s_capacities_stand_on_its_own_way():
    demo = Budget(model="GPT-2")  # on which half of the methods cannot be built
    for demo.model in ("GPT-2", "Llama-3.2-3B"):
        ways = demo.marks(demo.result)["ways"]
        for row, xs, ys in zip(demo.result.rows.values(), ways["xs"], ways["ys"], strict=True):
            assert [(x * GIB, y) for x, y in zip(xs, ys, strict=True)] == [
                (one.cost.memory.peak, one.cost.trained) for one in row.choices
            ]
    assert Budget(model="GPT-2").__panel__().get_root()


@pytest.mark.parametrize("name", presets())
def test_what_fits_is_not_crowded_by_what_does_not(name):
    """Rings a tenth of the memory apart can be told apart on the narrowest screen."""
    (left, right) = map(log10, (marks := Budget(model=name).marks(Budget(model=name).result))["point frame"]["x"])
    assert FRAMES[0] * log10(1.1) / (right - left) > 4
    assert left < log10(min(marks["here"]["x"]))


def test_a_memory_far_beyond_every_point_has_no_line():
    demo = Budget(model="BERT-base", budget=160)
    assert demo.marks(demo.result)["budget"]["x0"] == []
    demo.budget = 1
    assert demo.marks(demo.result)["budget"]["x0"] == [1.0]
