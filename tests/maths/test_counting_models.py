"""Counts of whole models against peft itself, built on the meta device: to the digit."""

import peft
import pytest
from peft.tuners.boft import layer as boft_layer
from torch import nn

from tests.models import build
from wonderland.maths import counting
from wonderland.maths.architectures import from_config, preset_entries, presets
from wonderland.maths.fitting import LADDERS, choices, largest, largest_batch
from wonderland.maths.holding import METHODS, Setting
from wonderland.maths.memory import Run, cost, held
from wonderland.maths.models import TARGETS

SETTING = Setting(rank=8, block=32, boft_block=4, psoft_rank=8, keep=0.5)
RUN = Run()
# Widths with few divisors, and a grouped attention of odd shape: what OFT moves, and nothing may round.
AWKWARD = {"model_type": "llama", "vocab_size": 101, "hidden_size": 100, "num_hidden_layers": 3,
           "num_attention_heads": 10, "num_key_value_heads": 2, "intermediate_size": 97,
           "tie_word_embeddings": False}  # fmt: skip
CONFIGS = {name: entry["config"] for name, entry in preset_entries().items()} | {"awkward": AWKWARD}


@pytest.fixture(autouse=True)
def uncompiled_boft(monkeypatch):
    """Let BOFT build its parameters without compiling its CUDA kernel, which counting does not need."""
    monkeypatch.setattr(boft_layer, "_FBD_CUDA", object())


def adapted(name: str, config: peft.PeftConfig, targets: str) -> nn.Module:
    wanted = from_config(CONFIGS[name]).targeted(targets)
    config.target_modules = "all-linear" if targets == "all linear" else [linear.name for linear in wanted]
    if CONFIGS[name]["model_type"] == "gpt2":
        config.fan_in_fan_out = True
    return peft.get_peft_model(build(CONFIGS[name]), config)


def configured(method: str) -> peft.PeftConfig:
    return {
        "lora": lambda: peft.LoraConfig(r=SETTING.rank),
        "oft": lambda: peft.OFTConfig(r=0, oft_block_size=SETTING.block),
        "boft": lambda: peft.BOFTConfig(boft_block_size=SETTING.boft_block),
        "psoft": lambda: peft.PsoftConfig(r=SETTING.psoft_rank),
        "osft-peft": lambda: peft.OSFConfig(effective_rank=SETTING.keep),
    }[method]()


@pytest.mark.filterwarnings("ignore:Invalid `oft_block_size`:UserWarning")  # it tells what it moved
@pytest.mark.parametrize("targets", ["query and value", "all linear"])
@pytest.mark.parametrize("method", ["lora", "oft", "psoft", "osft-peft"])
@pytest.mark.parametrize("name", CONFIGS)
def test_counts_are_those_of_peft(name, method, targets):
    said = from_config(CONFIGS[name])
    if name == "GPT-2" and method != "lora":
        with pytest.raises(ValueError, match="c_attn is a Conv1D, which peft adapts by LoRA alone"):
            cost(said, method, SETTING, targets, RUN)
        if method != "osft-peft":  # which passes such layers over in silence, and trains nothing
            with pytest.raises((TypeError, ValueError), match="Conv1D"):
                adapted(name, configured(method), targets)
        return
    model = adapted(name, configured(method), targets)
    trained, everything = model.get_nb_trainable_parameters()
    result = cost(said, method, SETTING, targets, RUN)
    assert result.trained == trained
    assert said.parameters + trained == everything
    numbers = [buffer.numel() for n, buffer in model.named_buffers() if any(p in n for p in ("osf", "psoft"))]
    rows = held(said, method, SETTING, targets)
    assert sum(linear.count * (row.buffers + row.indices) for linear, row in rows) - sum(numbers) == (
        sum(linear.count * row.indices for linear, row in rows) if method == "oft" else 0
    )


@pytest.mark.parametrize("name", ["BERT-base", "awkward"])
def test_counts_of_boft_are_those_of_peft(name):
    model = adapted(name, configured("boft"), "query and value")
    result = cost(from_config(CONFIGS[name]), "boft", SETTING, "query and value", RUN)
    assert result.trained == model.get_nb_trainable_parameters()[0]


def test_recorded_counts_of_llama_3b():
    """As peft's own comparison of methods records them."""
    model = presets()["Llama-3.2-3B"]
    both = model.targeted("query and value")
    assert cost(model, "full", SETTING, "all linear", RUN).trained == 3_212_749_824
    assert cost(model, "lora", Setting(rank=32), "query and value", RUN).trained == 9_175_040
    assert cost(model, "boft", Setting(boft_block=4), "query and value", RUN).trained == 802_816
    assert cost(model, "oft", Setting(block=32, by_count=True), "query and value", RUN).trained == 8_171_520
    # OSF with 128 directions free in every layer, so that effective_rank differs with its shape.
    free = [(x.count, x.in_features, x.out_features) for x in model.targeted("all linear")]
    assert sum(c * counting.osft_factored(n, m, min(n, m) - 128) for c, n, m in free) == 194_535_936
    assert sum(x.count for x in both) * counting.rank_squared(32) == 57_344


def test_full_fine_tuning_trains_everything_whatever_the_targets():
    for model in presets().values():
        assert {cost(model, "full", SETTING, targets, RUN).trained for targets in TARGETS} == {model.parameters}


@pytest.mark.parametrize("name", presets())
def test_the_largest_that_fits_is_the_largest(name):
    model, budget = presets()[name], 6 * 2**30
    for method in METHODS:
        found = [*choices(model, method, SETTING, "attention", RUN)]
        if not found:
            assert name == "GPT-2"
            continue
        peaks = [(one.cost.memory.peak, one.cost.trained) for one in found]
        assert [trained for _, trained in peaks] == sorted(trained for _, trained in peaks)
        best = largest(found, budget)
        fitting = [trained for peak, trained in peaks if peak <= budget]
        assert (best.cost.trained if best else None) == max(fitting, default=None)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["BERT-base", "ViT-B/16", "Llama-3.2-3B"])
def test_the_largest_batch_fits_and_one_more_does_not(name, method, checkpointing):
    model, run = presets()[name], Run(checkpointing=checkpointing)
    for budget in (2**20, 10**10, 3 * 10**10):
        batch = largest_batch(model, method, SETTING, "all linear", run, budget)
        peaks = [
            cost(model, method, SETTING, "all linear", Run(batch=n, checkpointing=checkpointing)).memory.peak
            for n in (max(batch, 1), batch + 1)
        ]
        assert (peaks[0] <= budget) == (batch > 0)
        assert peaks[1] > budget


@pytest.mark.parametrize("budget", [-1, 1.5, "24"])
def test_a_bad_budget_is_refused(budget):
    with pytest.raises((TypeError, ValueError), match="budget = "):
        largest_batch(presets()["GPT-2"], "lora", SETTING, "attention", RUN, budget)


def test_every_method_but_full_has_a_capacity():
    assert set(LADDERS) == set(METHODS) - {"full"}


def test_a_peak_that_gradients_alone_decide_has_no_end():
    """Of a model so large that no batch outweighs its gradients."""
    model = from_config(AWKWARD | {"intermediate_size": 10**9, "num_hidden_layers": 10_000})
    run = Run(sequence=1)
    peak = cost(model, "full", SETTING, "all linear", run).memory.peak
    batch = largest_batch(model, "full", SETTING, "all linear", run, peak)
    assert batch >= 1
    assert cost(model, "full", SETTING, "all linear", Run(sequence=1, batch=batch)).memory.peak <= peak
    assert largest_batch(model, "full", SETTING, "all linear", run, peak - 1) == 0
