"""Every figure of chapter 10's table against the formula that it opens to."""

import re
from html import unescape
from itertools import product

import pytest

from wonderland.demos.amounts import exact, scientific, size
from wonderland.demos.budget import Budget
from wonderland.demos.budget_formulas import formulas
from wonderland.demos.budget_tables import HEADS, MEMORY, amount, cost_table
from wonderland.maths.architectures import presets
from wonderland.maths.holding import METHODS
from wonderland.maths.models import TARGETS

WORD = re.compile(r"[^\W\d][\w.’²³]*")
SIGNS = str.maketrans({"×": "*", "·": "*", "−": "-"})


def value(formula: str) -> int:
    """What a formula comes to, its words and remarks left out."""
    told = re.split("[:=]", formula)[0]
    if told == "none":
        return 0
    sum_ = WORD.sub("", re.sub(r"(?<=\d),(?=\d)", "", told)).replace(",", "").translate(SIGNS)
    assert re.fullmatch(r"[\d+*() -]+", sum_), formula
    return eval(sum_, {"__builtins__": {}})


def shown(demo: Budget, method: str) -> dict[str, str]:
    """A method's rows of both tables, by the heads of their columns."""
    name = f">{demo.result.rows[method].name}</th>"
    rows = "".join(row for row in cost_table(demo.result).split("<tr>") if name in row)
    return dict(zip(HEADS, map(unescape, re.findall(r'<td class="number">(.*?)</td>', rows)), strict=True))


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_terms_of_a_formula_come_to_its_figure(name, checkpointing):
    demo = Budget(model=name, checkpointing=checkpointing)
    for targets, (dtype, optimizer, batch, sequence) in product(
        TARGETS, [("bfloat16", "adamw", 1, 512), ("float32", "sgd", 3, 100), ("float16", "sgd-momentum", 1, 3)]
    ):
        demo.param.update(targets=targets, dtype=dtype, optimizer=optimizer, batch=batch, sequence=sequence)
        for method, row in demo.result.rows.items():
            if row.cost is None:
                continue
            cost, memory = row.cost, row.cost.memory
            found = {head: value(text) for head, text in formulas(demo.result, method, row).items()}
            figures = {"trained": cost.trained, "peak": memory.peak, "to save": cost.saved,
                       "set-up, flop": cost.setup, "a step, flop": cost.operations}  # fmt: skip
            assert found == {head: figures[head] if head in figures else getattr(memory, head) for head in HEADS}


def test_what_the_table_shows_is_what_its_formulas_come_to():
    demo = Budget(model="T5-Large", targets="attention", batch=2)
    for method in METHODS:
        cells = shown(demo, method)
        for head, text in formulas(demo.result, method, demo.result.rows[method]).items():
            number = value(text)
            flop = scientific(number, 1) if number else "0"
            other = flop if "flop" in head else exact(number) if head == "trained" else size(number)
            assert cells[head] == (amount(number, 3) if head in MEMORY else other)


def test_one_unit_for_all_of_a_table_that_suits_its_largest():
    assert [amount(n * 2**30, 3) for n in (0, 1, 36.25, 4096)] == ["0", "1.00", "36.25", "4,096.00"]
    assert amount(2**20, 3) == "<0.01"
    assert amount(2**20, 2) == "1.00"
    assert (amount(1023, 0), amount(0, 0)) == ("1,023", "0")
    for model, unit in (("BERT-base", "GiB"), ("Llama-2-7B", "GiB")):
        demo = Budget(model=model)
        caption, *_ = re.findall("<caption>(.*?)</caption>", cost_table(demo.result))
        assert caption.startswith(f"Memory in {unit}: {model}, ")
        for method, row in demo.result.rows.items():
            assert shown(demo, method)["peak"] == f"{row.cost.memory.peak / 2**30:,.2f}"


def test_set_up_follows_the_rule_beside_it():
    demo = Budget(targets="query and value")
    # Both sides of q_proj are turned by cosines and sines, of v_proj its 1,024 outputs: 512 of 3,072 inputs are few.
    k, few = 1536, 512
    turned = [2 * (6 * 3072 * k**2 + 14 * k**3 + 3 * k**3), 6 * 1024 * few**2 + 14 * few**3 + 3 * few**3]
    for method, rule, more in (
        ("osft-peft", "6·long·short² + 20·short³", [0, 0]),
        ("osft-core", "4·long·short² + 9·short³", turned),
    ):
        told = formulas(demo.result, method, demo.result.rows[method])["set-up, flop"]
        assert rule in told
        a, b = (int(n) for n in re.findall(r"(\d+)·", rule))
        q, v = (a * 3072 * short**2 + b * short**3 + beside for short, beside in zip((3072, 1024), more, strict=True))
        assert told.startswith(f"28·{q:,} q_proj + 28·{v:,} v_proj:")


def test_a_block_computed_again_is_counted_beyond_the_loss():
    demo = Budget(model="ViT-B/16", checkpointing=True)  # it has no loss to give up
    told = formulas(demo.result, "lora", demo.result.rows["lora"])["activations"]
    assert re.search(r"\+ [\d,]+ of a block computed again − 0 that the loss gave up", told)


def test_every_method_that_can_be_built_opens():
    demo = Budget(model="GPT-2")
    opened = re.findall(r'<stays-open key="([^"]+)"><details><summary>([^<]+)</summary>', cost_table(demo.result))
    assert opened == [(method, row.name) for method, row in demo.result.rows.items() if row.cost]
    assert 0 < len(opened) < len(METHODS)
