"""Chapter 10's second demo without a browser."""

import base64
import json
import math
import re
from html import unescape

import peft
import pytest
import torch
from bokeh.document import Document as BokehDocument
from peft.tuners.boft import layer as boft_layer
from safetensors.torch import save_file

from tests.models import build
from wonderland import address
from wonderland.demos.budget import NAMES, OWN, Budget
from wonderland.demos.budget_marks import GIB
from wonderland.demos.budget_tables import PARTS
from wonderland.demos.calculator import Calculator
from wonderland.demos.model_input import LARGEST_FILE, ModelInput, model_field, read_path, read_sent
from wonderland.demos.recipes import recipe
from wonderland.document import Document
from wonderland.maths.architectures import from_config, presets
from wonderland.maths.counting import osft_factored, unfreeze_rank_ratio_to_k
from wonderland.maths.holding import METHODS, Setting
from wonderland.maths.memory import Run, cost
from wonderland.maths.models import TARGETS
from wonderland.theme import DARK

LLAMA = {"model_type": "llama", "vocab_size": 90, "hidden_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 12, "num_key_value_heads": 4, "head_dim": 6, "intermediate_size": 140}  # fmt: skip
SMALL = {
    "llama": LLAMA,
    "gpt2": {"model_type": "gpt2", "vocab_size": 90, "n_embd": 48, "n_layer": 2, "n_head": 12, "n_positions": 64},
    "bert": {"model_type": "bert", "vocab_size": 90, "hidden_size": 48, "num_hidden_layers": 2,
             "num_attention_heads": 12, "intermediate_size": 140, "max_position_embeddings": 64},
    "vit": {"model_type": "vit", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 12,
            "intermediate_size": 140, "image_size": 28, "patch_size": 4},
    "t5": {"model_type": "t5", "vocab_size": 90, "d_model": 48, "d_kv": 4, "d_ff": 140, "num_layers": 2,
           "num_heads": 12},
    "phi3": LLAMA | {"model_type": "phi3"},
    "gpt_neox": {"model_type": "gpt_neox", "vocab_size": 90, "hidden_size": 48, "num_hidden_layers": 2,
                 "num_attention_heads": 12, "intermediate_size": 140},
    "opt": {"model_type": "opt", "vocab_size": 90, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 12,
            "ffn_dim": 140, "max_position_embeddings": 64, "word_embed_proj_dim": 20},
    "distilbert": {"model_type": "distilbert", "vocab_size": 90, "dim": 48, "n_layers": 2, "n_heads": 12,
                   "hidden_dim": 140, "max_position_embeddings": 64},
}  # fmt: skip
SMALL |= {
    "starcoder2": LLAMA | {"model_type": "starcoder2"},
    "phi": SMALL["gpt_neox"] | {"model_type": "phi"},
    "electra": SMALL["bert"] | {"model_type": "electra", "embedding_size": 20},
    "dinov2": SMALL["vit"] | {"model_type": "dinov2"},
}


def test_starts_with_a_model_and_an_answer():
    demo = Budget()
    result = demo.result
    assert (result.name, result.budget) == ("Llama-3.2-3B", 24 * GIB)
    assert list(result.rows) == list(METHODS) == list(NAMES)
    fitting = {method for method, row in result.rows.items() if row.cost.memory.peak <= 24 * GIB}
    assert {method for method, row in result.rows.items() if result.fits(row)} == fitting
    values = {r.label: r.value for r in demo.readouts(result)}
    assert values["parameters of the model"] == "3,212,749,824"
    assert values["methods that fit into 24 GiB"] == f"{len(fitting)} of 8"
    assert 0 < len(fitting) < 8


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("targets", TARGETS)
def test_every_recorded_state_can_be_drawn(name, targets):
    demo = Budget(model=name, targets=targets)
    for checkpointing in (False, True):
        demo.checkpointing = checkpointing
        marks = demo.marks(demo.result)
        for columns in marks.values():
            for column in columns.values():
                assert all(math.isfinite(value) for value in column if isinstance(value, float))
        shown = [row for row in demo.result.rows.values() if row.cost]
        assert marks["passing"]["x1"] == [row.cost.memory.peak / GIB for row in shown]
        assert marks["fixed"]["x1"] == [row.cost.memory.fixed / GIB for row in shown]
        assert demo.details(demo.result)


def test_states_of_a_recording_are_few():
    assert math.prod(len(values) for values in Budget.axes.values()) <= 300
    for name, values in Budget.axes.items():
        for value in values:
            assert getattr(Budget(**{name: value}), name) == value


def test_bars_end_where_the_peak_is_and_the_tick_is_what_there_is():
    demo = Budget(model="BERT-base", budget=2, dark=True)
    marks = demo.marks(demo.result)
    assert set(marks["budgets"]["x0"]) == {2}
    assert marks["fixed"]["ink"][0] == DARK.critical
    assert marks["passing"]["x0"] == marks["fixed"]["x1"]
    assert 0 < marks["bar frame"]["x"][1] / max(marks["passing"]["x1"]) < 3.3
    alphas = dict(zip(marks["settings"]["x"], marks["settings"]["alpha"], strict=True))
    assert all((alpha > 0.5) == (x <= 2) for x, alpha in alphas.items())


@pytest.mark.parametrize("method", METHODS)
def test_the_table_adds_up(method):
    demo = Budget(model="Llama-2-7B", batch=3, sequence=100)
    memory = demo.result.rows[method].cost.memory
    assert memory.total == sum(getattr(memory, part) for part in PARTS)
    assert memory.peak == memory.fixed + max(memory.gradients, memory.activations + memory.loss)
    rows = [row for row in demo.details(demo.result).split("<tr>") if f">{demo.result.rows[method].name}</th>" in row]
    assert f"{memory.peak / GIB:,.2f}" in rows[0]
    assert f"{demo.result.rows[method].cost.trained:,}" in rows[1]


def test_formulas_hold_their_numbers():
    demo = Budget(targets="query and value", lora_rank=32)
    table = unescape(demo.details(demo.result))
    lora = next(row for row in table.split("<details>") if "<summary>LoRA" in row)
    assert "28·196,608 q_proj + 28·131,072 v_proj = 9,175,040" in lora
    assert "2 × 9,175,040 × 4 bytes" in lora
    assert "3,212,749,824 numbers × 2 bytes" in lora
    assert "512 tokens × 128,256 words × 14 bytes" in lora
    oft = next(row for row in table.split("<details>") if "<summary>OFT" in row)
    assert "the tale’s rank² a layer, rank 32, is 57,344" in oft


def test_what_cannot_be_built_is_said_and_the_rest_is_shown():
    demo = Budget(model="GPT-2", method="oft")
    assert demo.result.rows["oft"].cost is None
    assert "cannot be built" in demo.describe(demo.result)
    details = demo.details(demo.result)
    assert "c_attn is a Conv1D, which peft adapts by LoRA alone." in details
    assert "OFT, blocks of 32 cannot be built here" in details
    assert demo.result.rows["lora"].cost
    assert demo.result.rows["osft-core"].cost
    assert {r.label: r.value for r in demo.readouts(demo.result)}["OFT needs"] == "cannot be built"
    demo.param.update(model="Llama-3.2-3B", psoft_rank=2000)
    assert demo.result.rows["psoft"].why.startswith("k_proj: psoft_rank = 2,000 is outside 1…1,024")


def test_a_sequence_goes_as_far_as_the_model_reads():
    demo = Budget(model="BERT-base", sequence=513)
    assert demo.result.run.sequence == 512
    assert "BERT-base reads 512 tokens at most: so many are counted." in demo.details(demo.result)
    demo.sequence = 512
    assert "at most: so many" not in demo.details(demo.result)
    demo.model = "ViT-B/16"
    assert "An image is 197 tokens for ViT-B/16" in demo.details(demo.result)
    demo.param.update(model="Llama-3.2-3B", sequence=100_000)
    assert demo.result.run.sequence == 100_000


@pytest.mark.parametrize("name", ["budget", "lora_rank", "oft_block", "boft_size", "psoft_rank", "batch", "sequence"])
@pytest.mark.parametrize("value", [0, -5, 1.5, math.nan, math.inf, "", "many", 10**15, True])
def test_bad_numbers_are_refused(name, value):
    demo = Budget()
    before = demo.result
    with pytest.raises(ValueError, match="give a whole number, 1…"):
        setattr(demo, name, value)
    assert demo.result is before


def test_every_row_of_the_answer_is_right():
    demo = Budget(budget=16, targets="attention", batch=2)
    run = demo.result.run
    for method, row in demo.result.rows.items():
        batch = row.batch
        peaks = [
            cost(demo.result.model, method, demo.result.setting, "attention", Run(run.dtype, batch=n)).memory.peak
            for n in (max(batch, 1), batch + 1)
        ]
        assert (peaks[0] <= 16 * GIB) == (batch > 0)
        assert peaks[1] > 16 * GIB
        if row.best:
            assert row.best.cost.memory.peak <= 16 * GIB


# A reader's own model


def test_a_configuration_is_taken(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))
    demo = Budget()
    demo.load(path)
    assert (demo.model, demo.result.name) == (OWN, "config.json")
    assert demo.result.model.parameters == sum(p.numel() for p in build(LLAMA).parameters())
    demo.reset()
    assert demo.result.name == "Llama-3.2-3B"
    demo.model = OWN  # it is still there
    assert demo.result.name == "config.json"


@pytest.mark.parametrize(
    "sizes",
    [
        dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size"), 10**9)
        | {"num_hidden_layers": 10_000, "head_dim": 10**9, "num_attention_heads": 1000, "num_key_value_heads": 1000},
        dict.fromkeys(LLAMA.keys() - {"model_type"}, 1),
        {"hidden_size": 97, "intermediate_size": 89},
    ],
    ids=["astronomical", "tiny", "prime"],
)
def test_any_sizes_can_be_drawn(tmp_path, sizes):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | sizes))
    demo = Budget()
    demo.load(tmp_path / "config.json")
    for targets in TARGETS:
        demo.targets = targets
        assert not demo.problem
        for columns in demo.marks(demo.result).values():
            assert all(math.isfinite(v) for column in columns.values() for v in column if isinstance(v, float))
        assert f"{demo.result.model.parameters:,}" in demo.describe(demo.result)
        assert demo.details(demo.result)


def test_no_file_is_no_model():
    demo = Budget()
    before = demo.result
    demo.model = OWN
    assert demo.problem == "No file of yours is here yet: choose a config.json or a .safetensors file."
    assert demo.result is before


@pytest.mark.parametrize("name", SMALL)
def test_weights_are_counted_by_their_header(name, tmp_path):
    model = build(SMALL[name], "cpu")
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    state = {k: v.clone() for k, v in model.state_dict().items()}
    if head is not None and head.weight is model.get_input_embeddings().weight:  # tied: written once
        del state["lm_head.weight"]
    save_file({k: v for k, v in state.items() if (v.is_floating_point() and "embed_tokens" not in k) or name != "t5"},
              tmp_path / "model.safetensors")  # fmt: skip
    found, said = read_path(tmp_path / "model.safetensors"), from_config(SMALL[name])
    assert found.parameters == said.parameters
    for targets in TARGETS:
        shapes = sorted((x.name, x.in_features, x.out_features, x.count) for x in found.targeted(targets))
        assert shapes == sorted((x.name, x.in_features, x.out_features, x.count) for x in said.targeted(targets))
    demo = Budget()
    demo.load(tmp_path / "model.safetensors")
    assert "Shapes alone do not tell" in demo.details(demo.result)
    assert "activations aside" in demo.details(demo.result)
    memory = demo.result.rows["lora"].cost.memory
    assert (memory.activations, memory.loss) == (0, 0)


def test_weights_in_parts_are_one_model(tmp_path):
    for part in (0, 1):
        save_file({f"layers.{part}.q_proj.weight": torch.zeros(30, 20)}, tmp_path / f"{part}.safetensors")
    names = {f"layers.{part}.q_proj.weight": f"{part}.safetensors" for part in (0, 1)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        assert [(x.in_features, x.out_features, x.count) for x in read_path(path).linears] == [(20, 30, 2)]
    (tmp_path / "1.safetensors").unlink()
    with pytest.raises(ValueError, match=r"is not whole: of 'layers.1.q_proj.weight', its file '1.safetensors' is not"):
        read_path(tmp_path)


def test_only_the_header_is_sent(tmp_path):
    save_file({"layers.0.q_proj.weight": torch.zeros(30, 20)}, tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    length = 8 + int.from_bytes(data[:8], "little")
    model = read_sent("a.safetensors", data[:length], len(data))
    assert [(x.name, x.in_features, x.out_features, x.role) for x in model.linears] == [("q_proj", 20, 30, "query")]


@pytest.mark.parametrize(
    ("name", "head", "size", "problem"),
    [
        ("config.json", b"", 0, "is no JSON"),
        ("config.json", b"{}", 2, "has no model_type"),
        ("config.json", b'{"model_type": "mixtral"}', 25, "'mixtral' is unknown"),
        ("CONFIG.JSON", b" " * 1_000_001, 10**9, "at most 1,000,000 are read"),
        ("notes.txt", b"hello", 5, "notes.txt is neither"),
        ("model.bin", b"\x80\x04", 2, "model.bin is neither"),
        ("m.safetensors", b"", 0, "m.safetensors is no safetensors file, or the very start of one: it has 0 bytes"),
        ("m.safetensors", b"\x80\x04" * 20, 40, "is a pickle|but a pickle|no safetensors"),
        ("m.safetensors", b"PK\x03\x04" * 20, 80, "zip archive"),
        ("m.safetensors", (2**60).to_bytes(8, "little") + b"{}", 10, "claims a header"),
        ("m.safetensors", (2).to_bytes(8, "little") + b"{}", 10, "among its 0 tensors is no linear layer"),
        ("m.safetensors", b"x", LARGEST_FILE + 1, "are believed"),
        ("m.safetensors", b"", -1, "cannot be read"),
        ("m.safetensors", b"x" * 9, LARGEST_FILE, "m.safetensors claims 17,592,186,044,416 bytes"),
    ],
)  # fmt: skip
def test_bad_files_are_refused(name, head, size, problem):
    with pytest.raises(ValueError, match=problem):
        read_sent(name, head, size)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("", "holds no safetensors file"), ("gone.json", "No such file"), ("gone.safetensors", "No such file")],
)
def test_bad_paths_are_refused(tmp_path, name, problem):
    demo = Budget()
    before = demo.result
    with pytest.raises(ValueError, match=problem):
        demo.load(tmp_path / name)
    assert demo.result is before


def test_the_field_says_what_is_wrong_beside_itself():
    demo = Budget()
    field = model_field(demo._take)
    chooser, error = field[0], field.objects[1]
    assert isinstance(chooser, ModelInput)
    chooser._handle_msg({"name": "a.txt", "size": 1, "head": "eA=="})
    text = re.sub("<[^>]*>", "", error.object)
    assert text == "a.txt is neither: choose a config.json or a .safetensors file."
    assert demo.result.name == "Llama-3.2-3B"
    chooser._handle_msg({"name": "config.json", "size": 1, "head": "no base64"})
    assert "no JSON" in error.object
    head = base64.b64encode(json.dumps(LLAMA).encode()).decode()
    chooser._handle_msg({"name": "config.json", "size": 1, "head": head})
    assert demo.result.name == "config.json"
    assert not error.visible


# What to type


@pytest.mark.filterwarnings("ignore:Invalid `oft_block_size`:UserWarning")
@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("method", [name for name in METHODS if name != "osft-mini"])
@pytest.mark.parametrize("name", SMALL)
def test_what_is_typed_runs_and_trains_what_is_said(monkeypatch, name, method, targets):
    monkeypatch.setattr(boft_layer, "_FBD_CUDA", object())
    setting = Setting(3, 4, 4, 1, 5, 0.5, by_count=targets == "attention")
    said = from_config(SMALL[name])
    if name == "gpt2" and method not in ("full", "lora", "osft-core"):
        with pytest.raises(ValueError, match="Conv1D"):
            recipe(said, method, setting, targets)
        return
    names = {"model": build(SMALL[name], "cpu")}
    exec(recipe(said, method, setting, targets), names)
    trained = sum(p.numel() for p in names["model"].parameters() if p.requires_grad)
    assert trained == cost(said, method, setting, targets, Run()).trained
    assert f"# trains {trained:,} numbers" in recipe(said, method, setting, targets)
    if method not in ("full", "osft-core"):
        assert isinstance(names["model"], peft.PeftModel)


@pytest.mark.parametrize("keep", [1 / 3, 0.07, 0.33333334, 0.1 + 0.2])
@pytest.mark.parametrize("method", ["osft-peft", "osft-mini", "osft-core"])
def test_a_share_is_typed_as_exactly_as_it_is_counted(method, keep):
    said, setting = from_config(SMALL["llama"]), Setting(keep=keep)
    typed = re.search(r"(?:effective_rank=|keep=|ratio\": )([\d.e-]+)", recipe(said, method, setting, "all linear"))
    read = float(typed[1])
    counted = cost(said, method, setting, "all linear", Run()).trained
    if method != "osft-mini":
        assert read == keep
        return
    trained = 0
    for layer in said.targeted("all linear"):
        n, m = layer.in_features, layer.out_features
        trained += layer.count * osft_factored(n, m, unfreeze_rank_ratio_to_k(min(n, m), read))
    assert trained == counted


def test_the_code_on_the_page_is_the_recipe():
    demo = Budget(method="osft-core", osft_keep=0.75)
    page = unescape(re.sub("<[^>]*>", "", demo.details(demo.result)))
    assert "model = constrain(model, keep=0.75, targets=targets)" in page
    demo.method = "osft-mini"
    assert '"osft_unfreeze_rank_ratio": 0.25' in unescape(demo.details(demo.result))


# The page


def test_both_demos_of_the_chapter_share_the_address():
    assert not set(Budget.state_names()) & set(Calculator.state_names())
    page = Document("?chapter=10&rank=8&model=GPT-2&checkpointing=True&tart=1")
    assert page.demo("Calculator").rank == 8
    assert (page.demo("Budget").model, page.demo("Budget").checkpointing) == ("GPT-2", True)
    page.demo("Budget").model = "T5-Large"
    search = page._address.search
    assert search == "?chapter=10&rank=8&model=T5-Large&checkpointing=True"
    other = Document(search)
    assert (other.demo("Calculator").rank, other.demo("Budget").model) == (8, "T5-Large")


def test_a_name_that_no_demo_has_is_reported_once():
    demos = [Calculator(), Budget()]
    parts = address.shared({"rank": "8", "tart": "1", "batch": "2"}, demos)
    assert parts == [{"rank": "8", "tart": "1"}, {"batch": "2"}]


def test_a_change_is_drawn_on_the_page():
    demo, document = Budget(), BokehDocument()
    document.add_root(demo.__panel__().get_root(document))
    demo.model = "BERT-base"
    assert demo._canvas.marks["rows"]["text"][1] == "LoRA, rank 16"
    assert demo._canvas.marks["fixed"]["x1"][0] == demo.result.rows["full"].cost.memory.fixed / GIB
