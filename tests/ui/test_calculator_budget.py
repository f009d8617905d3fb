"""Chapter 10's second demo in a browser."""

import json
import math
from pathlib import Path
from typing import ClassVar

from playwright.sync_api import Browser

import wonderland
from tests.demos.test_budget_marks import WIDTHS
from tests.ui.reader import Reader
from wonderland.demos.budget import Budget
from wonderland.demos.budget_marks import HEIGHT

GIB = 2**30
LLAMA = {"model_type": "llama", "vocab_size": 90, "hidden_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 12, "num_key_value_heads": 4, "head_dim": 6, "intermediate_size": 140}  # fmt: skip


def peaks(demo: Budget) -> list[float]:
    return [row.cost.memory.peak / GIB for row in demo.result.rows.values() if row.cost]


def test_the_bars_follow_the_controls(reader: Reader) -> None:
    reader.open("?chapter=10")
    demo = Budget()
    reader.expect_column("passing", "x1", peaks(demo))
    reader.choose("Model", "BERT-base")
    demo.model = "BERT-base"
    reader.expect_column("passing", "x1", peaks(demo))
    reader.expect_readout("parameters of the model", "109,482,240")
    reader.choose("Layers", "query and value")
    demo.targets = "query and value"
    reader.expect_column("passing", "x1", peaks(demo))
    reader.nudge("Memory you have, GiB", "Home")
    reader.wait_for(lambda: set(reader.column("budgets", "x0")) == {1.0}, "the tick at 1 GiB")
    demo.budget = 1
    fitting = sum(map(demo.result.fits, demo.result.rows.values()))
    reader.expect_readout("methods that fit into 1 GiB", f"{fitting} of 8")
    reader.page.get_by_role("switch", name="Gradient checkpointing").click()
    demo.checkpointing = True
    reader.expect_column("passing", "x1", peaks(demo))
    reader.expect_address("model=BERT-base")
    reader.expect_address("checkpointing=True")


def test_an_address_sets_both_demos(reader: Reader) -> None:
    reader.open("?chapter=10&rank=8&model=GPT-2&budget=16")
    demo = Budget(model="GPT-2", budget=16)
    reader.expect_column("passing", "x1", peaks(demo))
    reader.wait_for(lambda: reader.column("dots", "x")[1] == 8 * (512 + 256), "the rank of the address")
    reader.page.get_by_text("c_attn is a Conv1D, which peft adapts by LoRA alone.").first.wait_for()


def test_a_model_of_the_readers_own(reader: Reader, tmp_path: Path) -> None:
    reader.open("?chapter=10")
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04" * 30)
    chooser = reader.page.locator("input[type=file]")
    chooser.set_input_files(tmp_path / "config.json")
    demo = Budget()
    demo.load(tmp_path / "config.json")
    reader.expect_column("passing", "x1", peaks(demo))
    reader.expect_readout("parameters of the model", f"{demo.result.model.parameters:,}")
    chooser.set_input_files(tmp_path / "pickle.safetensors")
    assert "pickle.safetensors is no safetensors file but a pickle" in reader.alert()
    reader.expect_column("passing", "x1", peaks(demo))  # the last good picture stands


def test_the_recipe_is_copied(reader: Reader) -> None:
    reader.context.grant_permissions(["clipboard-read", "clipboard-write"])
    reader.open("?chapter=10&method=osft-core")
    reader.press("Copy")
    wanted = "model = constrain(model, keep=0.5, targets=targets)"
    reader.wait_for(lambda: wanted in reader.page.evaluate("navigator.clipboard.readText()"), "the code")


def test_a_method_opens_to_its_formulas(reader: Reader) -> None:
    reader.open("?chapter=10&targets=query and value&lora_rank=32")
    formula = reader.page.get_by_text("28·196,608 q_proj + 28·131,072 v_proj = 9,175,040")
    assert not formula.is_visible()
    reader.page.locator("summary", has_text="LoRA, rank 32").click()
    formula.wait_for()
    reader.nudge("Memory you have, GiB", "ArrowRight")
    reader.page.get_by_text("methods that fit into 25 GiB").wait_for()
    assert formula.is_visible()  # though the words were written anew
    reader.page.locator("summary", has_text="LoRA, rank 32").click()
    reader.nudge("Memory you have, GiB", "ArrowRight")
    reader.page.get_by_text("methods that fit into 26 GiB").wait_for()
    assert not formula.is_visible()


def test_names_have_room_on_a_phone(new_reader) -> None:
    reader = new_reader(width=390, height=844)
    reader.open("?chapter=10")
    names = reader.data("here names")
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= 390
    # As the browser laid the picture out: what is to the right of the column's start, and how long the words are.
    room, height, widths = reader.page.evaluate(
        """texts => {
          const figures = Bokeh.documents.flatMap(doc => [...doc._all_models.values()])
          const { inner_width, inner_height } = figures.find(one => one.title?.text?.startsWith('every capacity'))
          const context = document.createElement('canvas').getContext('2d')
          context.font = "13px Roboto, 'Helvetica Neue', Arial, sans-serif"
          return [inner_width, inner_height, texts.map(text => context.measureText(text).width)]
        }""",
        names["text"],
    )
    assert abs(height - HEIGHT) <= 2  # its axes are laid out a little closer where it is the first figure of a page
    left, right = map(math.log10, Budget().marks(Budget().result)["point frame"]["x"])
    places = [math.log10(x) for x in names["x"]]
    assert all(w < room * (right - x) / (right - left) for x, w in zip(places, widths, strict=True))
    for text, width in zip(names["text"], widths, strict=True):
        assert abs(width - WIDTHS[text]) < 2


def test_tables_find_room(new_reader) -> None:
    reader = new_reader(width=1400)
    reader.open("?chapter=10")
    reader.data("here names")
    tables = reader.page.locator(".scroll")
    reader.wait_for(lambda: tables.count() >= 5, "the tables of both demos")
    for table in tables.all():
        room, wide = table.evaluate("one => [one.clientWidth, one.scrollWidth]")
        assert wide <= room


class OneControl(Budget):
    """The demo with little to record."""

    axes: ClassVar = {"targets": ("all linear", "query and value")}


def test_a_formula_stays_open_in_a_file_too(browser: Browser, tmp_path: Path) -> None:
    path = wonderland.snapshot(tmp_path / "budget.html", demo=OneControl(lora_rank=32), progress=False)
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_function("document.documentElement.dataset.ready === 'true'")
    page.locator("summary", has_text="LoRA, rank 32").click()
    page.locator("select").select_option(label="query and value")
    page.get_by_text("28·196,608 q_proj + 28·131,072 v_proj = 9,175,040").wait_for()
    page.locator("summary", has_text="LoRA, rank 32").click()
    page.locator("select").select_option(label="all linear")
    page.get_by_text("all linear, bfloat16, adamw").wait_for()
    assert not page.locator("stays-open details[open]").count()
    page.close()
