"""The linear layers of whole models, counted from a Hugging Face ``config.json``: no weight is read.

A family is a function that reads the sizes it needs and says what the model is made of. What is counted is what
transformers builds: ``AutoModelForCausalLM`` of a decoder, ``AutoModelForSeq2SeqLM`` of T5, ``AutoModel`` of an
encoder, whose head depends on the task. Names of layers are those of transformers 5.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from wonderland.maths._check import integer, shown
from wonderland.maths.counting import MAX_FEATURES
from wonderland.maths.models import Body, Linear, Model

MAX_SIZE = 10**9
MAX_BLOCKS = 10_000
MAX_BYTES = 1_000_000
"""Bytes of a config.json that are read; real ones have a few thousand."""


def read_config(text: str | bytes) -> Model:
    """Read the text of a ``config.json``.

    Raises
    ------
    ValueError
        If it is too long, no JSON object, of an unknown architecture, lacks a size or has an impossible one.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"config.json has {len(text):,} bytes; at most {MAX_BYTES:,} are read.")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error).split(": line")[0][:80]
        raise ValueError(f"config.json is no JSON ({reason}): give the file of a model as it was saved.") from None
    if not isinstance(config, dict):
        raise ValueError(f"config.json holds {shown(config)}: give an object with model_type and sizes.")
    return from_config(config)


def from_config(config: Mapping[str, Any]) -> Model:
    """The model that a configuration describes.

    A multimodal one is read by its ``text_config``: the language part alone is counted.

    Raises
    ------
    ValueError
        If its architecture is unknown, or a size is missing or impossible.
    """
    kind, note = config.get("model_type"), ""
    inner = config.get("text_config")
    if not _known(kind) and isinstance(inner, dict):
        note = f"Of {shown(kind)} only the language part, its text_config, is counted."
        config, kind = inner, inner.get("model_type")
    if kind is None:
        raise ValueError("config.json has no model_type: give the file that stands beside a model's weights.")
    if not _known(kind):
        raise ValueError(f"model_type = {shown(kind)} is unknown: give one of {', '.join(FAMILIES)}.")
    total, linears, body = FAMILIES[kind](Sizes(config), kind)
    for linear in linears:
        if max(linear.in_features, linear.out_features) > MAX_FEATURES:
            shape = f"{shown(linear.out_features)}×{shown(linear.in_features)}"
            raise ValueError(f"{linear.name} would be {shape}: a layer has 1…{MAX_FEATURES:,} features a side.")
    return Model(kind, total, linears, body, note)


@cache
def presets() -> dict[str, Model]:
    """Models known by name, smallest first."""
    return {name: from_config(entry["config"]) for name, entry in preset_entries().items()}


@cache
def preset_entries() -> dict[str, Mapping[str, Any]]:
    """For each preset, its address on the Hugging Face hub and the sizes that its config.json gives."""
    return json.loads((files("wonderland") / "data" / "models.json").read_text(encoding="utf-8"))


class Sizes:
    """The checked sizes of a configuration.

    Parameters
    ----------
    config
        The object that config.json holds.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def __call__(self, key: str, default: int | None = None, high: int = MAX_SIZE) -> int:
        """A size of 1…high; the default where the key is missing or null."""
        value = self._config.get(key)
        if value is None:
            if default is None:
                raise ValueError(f"config.json has no {key}, which this architecture needs.")
            return default
        try:
            return integer(value, key, 1, high)
        except TypeError as error:
            raise ValueError(str(error)) from None

    def blocks(self, key: str, default: int | None = None) -> int:
        """A number of blocks."""
        return self(key, default, MAX_BLOCKS)

    def says(self, key: str, default: bool) -> bool:
        """A switch."""
        value = self._config.get(key, default)
        if not isinstance(value, bool):
            raise ValueError(f"{key} = {shown(value)} is not a switch: give true or false.")
        return value

    def text(self, key: str, default: str) -> str:
        """A text."""
        return str(self._config.get(key, default))

    def share(self, whole: str, parts: str) -> int:
        """One size divided by another, which must divide it."""
        n, count = self(whole), self(parts)
        if n % count:
            raise ValueError(f"{whole} = {n:,} is not divisible by {parts} = {count:,}.")
        return n // count


Made = tuple[int, tuple[Linear, ...], Body]


def _decoder(c: Sizes, kind: str) -> Made:
    """Llama and its kin: RMS norms, rotary positions, gated units."""
    h, f, layers, heads = (
        c("hidden_size"),
        c("intermediate_size"),
        c.blocks("num_hidden_layers"),
        c("num_attention_heads"),
    )
    # What may be missing: another default of transformers' is that of one model, and no reader's.
    d = c("head_dim", None if kind == "qwen3" else 0) or c.share("hidden_size", "num_attention_heads")
    q, kv = heads * d, c("num_key_value_heads", heads if kind == "llama" else None) * d
    vocabulary = c("vocab_size")
    linears = (
        Linear("q_proj", h, q, layers, "query", "attention"),
        Linear("k_proj", h, kv, layers, "key", "attention"),
        Linear("v_proj", h, kv, layers, "value", "attention"),
        Linear("o_proj", q, h, layers, "output", "attended", kept=True),
        Linear("gate_proj", h, f, layers, "mlp", "mlp"),
        Linear("up_proj", h, f, layers, "mlp", "mlp"),
        Linear("down_proj", f, h, layers, "mlp", "gated"),
    )
    biases = q + 2 * kv if kind == "qwen2" else (q + 2 * kv + h) * c.says("attention_bias", False)
    biases += (2 * f + h) * c.says("mlp_bias", False)
    norms = 2 * h + (2 * d if kind == "qwen3" else 0)
    embeddings = vocabulary * h * (1 if c.says("tie_word_embeddings", False) else 2)
    total = embeddings + _weights(linears) + layers * (biases + norms) + h
    # What a norm of each head reads, queries and keys, is kept as well.
    inner = q + kv if kind == "qwen3" else 0
    body = Body(h, layers, 2 * q + 2 * kv + 3 * f, 2 * h + inner, h, True, heads, q, vocabulary)
    return total, linears, body


def _gpt2(c: Sizes, _: str) -> Made:
    h, layers, heads, vocabulary = c("n_embd"), c.blocks("n_layer"), c("n_head"), c("vocab_size")
    f, positions = c("n_inner", 4 * h), c("n_positions")
    c.share("n_embd", "n_head")
    linears = (
        Linear("c_attn", h, 3 * h, layers, "query key value", "attention", conv1d=True),
        Linear("attn.c_proj", h, h, layers, "output", "attended", kept=True, conv1d=True),
        Linear("c_fc", h, f, layers, "mlp", "mlp", conv1d=True),
        Linear("mlp.c_proj", f, h, layers, "mlp", "activated", conv1d=True),
    )
    biases, norms = 5 * h + f, 4 * h
    embeddings = vocabulary * h * (1 if c.says("tie_word_embeddings", True) else 2) + positions * h
    total = embeddings + _weights(linears) + layers * (biases + norms) + 2 * h
    # Its GELU is written out, and keeps four tensors.
    return total, linears, Body(h, layers, 4 * h + 4 * f, 2 * h, h, False, heads, h, vocabulary, positions)


def _bert(c: Sizes, _: str) -> Made:
    h, f, layers, heads = (
        c("hidden_size"),
        c("intermediate_size"),
        c.blocks("num_hidden_layers"),
        c("num_attention_heads"),
    )
    positions = c("max_position_embeddings")
    c.share("hidden_size", "num_attention_heads")
    linears = (
        Linear("query", h, h, layers, "query", "attention"),
        Linear("key", h, h, layers, "key", "attention"),
        Linear("value", h, h, layers, "value", "attention"),
        Linear("attention.output.dense", h, h, layers, "output", "attended", kept=True),
        Linear("intermediate.dense", h, f, layers, "mlp", "mlp"),
        Linear("output.dense", f, h, layers, "mlp", "activated"),
        Linear("pooler.dense", h, h, 1, "pooler", "pooler", kept=True),
    )
    embeddings = (c("vocab_size") + positions + c("type_vocab_size", 2)) * h + 2 * h
    total = embeddings + _weights(linears) + layers * (5 * h + f + 4 * h) + h
    return total, linears, Body(h, layers, 4 * h + f, 2 * h, h, False, heads, h, 0, positions)


def _vit(c: Sizes, _: str) -> Made:
    h, f, layers, heads = (
        c("hidden_size"),
        c("intermediate_size"),
        c.blocks("num_hidden_layers"),
        c("num_attention_heads"),
    )
    patch = c("patch_size")
    c.share("hidden_size", "num_attention_heads")
    tokens = (c("image_size") // patch) ** 2 + 1
    linears = (
        Linear("q_proj", h, h, layers, "query", "attention"),
        Linear("k_proj", h, h, layers, "key", "attention"),
        Linear("v_proj", h, h, layers, "value", "attention"),
        Linear("o_proj", h, h, layers, "output", "attended", kept=True),
        Linear("fc1", h, f, layers, "mlp", "mlp"),
        Linear("fc2", f, h, layers, "mlp", "activated"),
        Linear("pooler.dense", h, h, 1, "pooler", "pooler", kept=True),
    )
    biases = 3 * h * c.says("qkv_bias", True) + 2 * h + f
    embeddings = c("num_channels", 3) * patch**2 * h + h + h + tokens * h
    total = embeddings + _weights(linears) + layers * (biases + 4 * h) + 2 * h + h
    return total, linears, Body(h, layers, 4 * h + f, 2 * h, h, False, heads, h, 0, tokens, image=True)


def _t5(c: Sizes, _: str) -> Made:
    h, f, layers, heads = c("d_model"), c("d_ff"), c.blocks("num_layers"), c("num_heads")
    decoders, vocabulary = c.blocks("num_decoder_layers", layers), c("vocab_size")
    q = c("d_kv") * heads
    gated = c.text("feed_forward_proj", "relu").startswith("gated")
    both, attentions = layers + decoders, layers + 2 * decoders
    into = ("wi_0", "wi_1") if gated else ("wi",)
    linears = (
        Linear("q", h, q, attentions, "query", "attention"),
        Linear("k", h, q, attentions, "key", "attention"),
        Linear("v", h, q, attentions, "value", "attention"),
        Linear("o", q, h, attentions, "output", "attended", kept=True),
        *(Linear(name, h, f, both, "mlp", "mlp") for name in into),
        Linear("wo", f, h, both, "mlp", "activated", kept=not gated),
    )
    embeddings = vocabulary * h  # tied, whatever the configuration says, in transformers 5
    positions = 2 * c("relative_attention_num_buckets", 32) * heads
    total = embeddings + positions + _weights(linears) + (2 * layers + 3 * decoders) * h + 2 * h
    # A decoder's block is three parts, an encoder's two: averaged over both, as the sums are over all.
    kept = -(-(attentions * 4 * q + both * f * (3 if gated else 1)) // both)
    norms = -(-(2 * layers + 3 * decoders) * h // both)
    attended = -(-attentions * q // both)
    return total, linears, Body(h, both, kept, norms, 2 * h, True, heads, attended, vocabulary, biased=heads)


def _known(kind: object) -> bool:
    return isinstance(kind, str) and kind in FAMILIES


def _weights(linears: tuple[Linear, ...]) -> int:
    return sum(linear.count * linear.in_features * linear.out_features for linear in linears)


FAMILIES: dict[str, Callable[[Sizes, str], Made]] = {
    "llama": _decoder,
    "mistral": _decoder,
    "qwen2": _decoder,
    "qwen3": _decoder,
    "gpt2": _gpt2,
    "bert": _bert,
    "roberta": _bert,
    "vit": _vit,
    "t5": _t5,
}
"""Architectures by their ``model_type``."""
