"""Sizes of whole models against transformers itself, which builds each on the meta device: shapes without numbers."""

import json
import math
from collections import Counter

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

from tests.models import build, made
from wonderland.maths.architectures import FAMILIES, MAX_BYTES, from_config, preset_entries, presets, read_config
from wonderland.maths.models import TARGETS

SMALL = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 30}
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
PLACED = SMALL | {"max_position_embeddings": 12}
SEEN = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 30, "image_size": 20,
        "patch_size": 6}  # fmt: skip
OTHERS = {
    "roberta": {"model_type": "roberta", "vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2,
                "num_attention_heads": 4, "intermediate_size": 30, "max_position_embeddings": 12, "type_vocab_size": 1},
    "qwen3": {"model_type": "qwen3", "vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 3,
              "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 30},
    "llama with biases": {"model_type": "llama", "vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 3,
                          "num_attention_heads": 4, "intermediate_size": 30, "attention_bias": True, "mlp_bias": True},
    "T5 1.1": {"model_type": "t5", "vocab_size": 50, "d_model": 24, "d_kv": 5, "d_ff": 30, "num_layers": 2,
               "num_decoder_layers": 3, "num_heads": 4, "feed_forward_proj": "gated-gelu"},
    "GPT-2, untied": {"model_type": "gpt2", "vocab_size": 50, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_inner": 31,
                      "n_positions": 12, "tie_word_embeddings": False},
    "ViT without biases": {"model_type": "vit", "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
                           "intermediate_size": 30, "image_size": 20, "patch_size": 6, "qkv_bias": False},
}  # fmt: skip
ODD = {
    "gemma": (GROUPED, GROUPED | {"attention_bias": True, "tie_word_embeddings": False}),
    "gemma2": (GROUPED, GROUPED | {"attention_bias": True, "tie_word_embeddings": False, "num_key_value_heads": 1}),
    "gemma3_text": (GROUPED, GROUPED | {"attention_bias": True, "tie_word_embeddings": False}),
    "phi3": (SMALL, GROUPED | {"tie_word_embeddings": True}),
    "smollm3": (GROUPED, GROUPED | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}),
    "granite": (SMALL, GROUPED | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "olmo2": (SMALL, GROUPED | {"attention_bias": True, "tie_word_embeddings": True}),
    "olmo3": (SMALL, GROUPED | {"attention_bias": True, "tie_word_embeddings": True}),
    "mistral": (GROUPED, GROUPED | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "qwen2": (GROUPED, GROUPED | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "qwen3": (GROUPED, GROUPED | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "starcoder2": (GROUPED, GROUPED | {"use_bias": False, "tie_word_embeddings": False}),
    "phi": (SMALL, SMALL | {"num_key_value_heads": 2, "qk_layernorm": True, "tie_word_embeddings": True}),
    "gpt_neox": (SMALL, SMALL | {"attention_bias": False, "use_parallel_residual": False, "tie_word_embeddings": True}),
    "opt": (
        PLACED | {"ffn_dim": 31, "enable_bias": False, "tie_word_embeddings": False},
        PLACED | {"ffn_dim": 31, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
        PLACED | {"ffn_dim": 31, "_remove_final_layer_norm": True, "word_embed_proj_dim": 16, "enable_bias": False,
                  "tie_word_embeddings": False},
        PLACED | {"ffn_dim": 31, "layer_norm_elementwise_affine": False, "activation_function": "gelu"},
    ),
    "xlm-roberta": (PLACED, PLACED | {"type_vocab_size": 1}),
    "camembert": (PLACED, PLACED | {"type_vocab_size": 1}),
    "distilbert": (
        {"vocab_size": 50, "dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 30, "max_position_embeddings": 12},
        {"vocab_size": 51, "dim": 20, "n_layers": 3, "n_heads": 5, "hidden_dim": 37, "max_position_embeddings": 9},
    ),
    "electra": (PLACED | {"embedding_size": 10}, PLACED | {"embedding_size": 24, "type_vocab_size": 1}),
    "vit": (SEEN, SEEN | {"qkv_bias": False, "pooler_output_size": 10, "num_channels": 1}),
    "deit": (SEEN, SEEN | {"qkv_bias": False, "pooler_output_size": 10, "num_channels": 1}),
    "dinov2": (
        SEEN | {"qkv_bias": False, "use_mask_token": False},
        SEEN | {"mlp_ratio": 3, "use_swiglu_ffn": True, "num_channels": 1},
    ),
}  # fmt: skip
OTHERS |= {
    f"{kind} {n}": {"model_type": kind} | config for kind, several in ODD.items() for n, config in enumerate(several)
}
CONFIGS = {name: entry["config"] for name, entry in preset_entries().items()} | OTHERS
GOOD = CONFIGS["Llama-3.2-3B"]


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_transformers(name):
    model = build(CONFIGS[name])
    assert from_config(CONFIGS[name]).parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_transformers_saves_of_its_own_sizes_is_counted(kind):
    own = transformers.AutoConfig.for_model(kind)
    assert read_config(own.to_json_string()).parameters == sum(p.numel() for p in made(own).parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_linear_layers_are_those_of_transformers(name):
    model = build(CONFIGS[name])
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    there = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D) and m is not head}
    found = Counter()
    for linear in from_config(CONFIGS[name]).linears:
        names = [n for n in there if n == linear.name or n.endswith("." + linear.name)]
        if linear.name == "output.dense":  # of BERT; attention has one of its own
            names = [n for n in names if "attention" not in n]
        assert len(names) == linear.count
        for layer in map(there.get, names):
            shape = tuple(layer.weight.shape)
            assert (shape[::-1] if isinstance(layer, Conv1D) else shape) == (linear.out_features, linear.in_features)
            assert isinstance(layer, Conv1D) == linear.conv1d
        found.update(names)
    assert found == Counter(there.keys())


def test_recorded_count_of_llama_3b():
    assert presets()["Llama-3.2-3B"].parameters == 3_212_749_824
    assert presets()["BERT-base"].parameters == 109_482_240
    assert presets()["GPT-2"].parameters == 124_439_808


def test_every_preset_has_every_choice_of_layers():
    for model in presets().values():
        counts = [sum(linear.count for linear in model.targeted(targets)) for targets in TARGETS]
        assert counts == sorted(counts)
        assert counts[0] > 0


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 12), st.integers(1, 40), st.integers(1, 3), st.booleans())
def test_any_llama_is_counted_to_the_digit(kv, groups, half, f, layers, tied):
    heads = kv * groups
    config = {"model_type": "llama", "vocab_size": 17, "hidden_size": heads * half * 2, "num_hidden_layers": layers,
              "num_attention_heads": heads, "num_key_value_heads": kv, "intermediate_size": f,
              "tie_word_embeddings": tied}  # fmt: skip
    assert from_config(config).parameters == sum(p.numel() for p in build(config).parameters())


def test_a_multimodal_model_is_read_by_its_language_part():
    whole = {"model_type": "llava", "text_config": GOOD, "vision_config": {"hidden_size": 4}}
    model = read_config(json.dumps(whole))
    assert model.parameters == presets()["Llama-3.2-3B"].parameters
    assert model.note == "Of 'llava' only the language part, its text_config, is counted."


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "is no JSON"),
        (b"PK\x03\x04", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"a": ' + b"9" * 6000 + b"}", "is no JSON"),
        (b"3", "config.json holds 3: give an object"),
        (b"null", "config.json holds None: give an object"),
        (b" " * (MAX_BYTES + 1), "1,000,001 bytes; at most 1,000,000 are read"),
        (b"{}", "has no model_type"),
        (b'{"model_type": 7}', "model_type = 7 is unknown: give one of bert, camembert, "),
        (b'{"model_type": ["llama"]}', r"model_type = \['llama'\] is unknown"),
        (b'{"model_type": "mixtral"}', "model_type = 'mixtral' is unknown: give one of bert, camembert, "),
        (b'{"model_type": "x", "text_config": {"model_type": "y"}}', "model_type = 'y' is unknown"),
        (b'{"model_type": "x", "text_config": {}}', "has no model_type"),
    ],
)  # fmt: skip
def test_what_is_no_configuration_is_refused(text, problem):
    with pytest.raises(ValueError, match=problem):
        read_config(text)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"hidden_size": None}, "config.json has no hidden_size, which this architecture needs"),
        ({"hidden_size": 0}, "hidden_size = 0 is outside 1…1,000,000,000"),
        ({"hidden_size": -3072}, "hidden_size = -3,072 is outside"),
        ({"hidden_size": 10**300}, r"hidden_size = 10\^300 or so is outside"),
        ({"hidden_size": 3072.5}, "hidden_size = 3072.5 is not a whole number"),
        ({"hidden_size": "3072"}, "hidden_size = '3072' is not a whole number"),
        ({"hidden_size": True}, "hidden_size = True is not a whole number"),
        ({"hidden_size": [1]}, r"hidden_size = \[1\] is not a whole number"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers = 1,000,000 is outside 1…10,000"),
        ({"head_dim": 10**9, "num_attention_heads": 10**9}, "q_proj would be 1,000,000,000,000,000,000×3,072: a layer"),
        ({"vocab_size": math.nan}, "vocab_size = nan is not a whole number"),
        ({"head_dim": None, "hidden_size": 3071}, "hidden_size = 3,071 is not divisible by num_attention_heads = 24"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings = 'yes' is not a switch"),
    ],
)
def test_impossible_sizes_are_named(change, problem):
    with pytest.raises(ValueError, match=problem):
        read_config(json.dumps(GOOD | change))


@pytest.mark.parametrize("name", CONFIGS)
def test_what_a_family_needs_is_asked_for(name):
    # Without any one of its keys a configuration is read with transformers' own default, or the key is named.
    for key in CONFIGS[name].keys() - {"model_type"}:
        rest = {k: v for k, v in CONFIGS[name].items() if k != key}
        try:
            model = from_config(rest)
        except ValueError as error:
            assert key in str(error)  # noqa: PT017 - which of the two happens depends on the key
        else:
            assert model.parameters == sum(p.numel() for p in build(rest).parameters())


def test_huge_models_stay_exact():
    huge = GOOD | {"hidden_size": 10**9, "intermediate_size": 10**9, "num_hidden_layers": 10_000, "vocab_size": 10**9}
    model = from_config(huge)
    assert model.parameters > 10**22
    assert isinstance(model.parameters, int)


def test_every_family_is_tried():
    assert {config["model_type"] for config in CONFIGS.values()} == set(FAMILIES)
    assert transformers.__version__ >= "5"
    assert torch.device("meta").type == "meta"
