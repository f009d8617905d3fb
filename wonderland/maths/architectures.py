"""The linear layers of whole models, counted from a Hugging Face ``config.json``: no weight is read.

A family is a function that reads the sizes it needs and says what the model is made of. What is counted is what
transformers builds: ``AutoModelForCausalLM`` of a decoder, ``AutoModelForSeq2SeqLM`` of T5, ``AutoModel`` of an
encoder, whose head depends on the task. Names of layers are those of transformers 5.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.resources import files
from typing import Any

from wonderland.maths._check import shown
from wonderland.maths.counting import MAX_FEATURES
from wonderland.maths.decoders import gemma3, gpt2, gpt_neox, llama, opt, phi, starcoder2
from wonderland.maths.encoders import bert, dinov2, distilbert, electra, t5, vit
from wonderland.maths.models import Model
from wonderland.maths.sizes import Made, Sizes

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
        raise ValueError(f"model_type = {shown(kind)} is unknown: give one of {', '.join(sorted(FAMILIES))}.")
    total, linears, body = FAMILIES[kind](Sizes(config))
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


def _known(kind: object) -> bool:
    return isinstance(kind, str) and kind in FAMILIES


_BOTH = ("attention_bias", "mlp_bias")
FAMILIES: dict[str, Callable[[Sizes], Made]] = {
    "llama": partial(llama, grouped=False, switches=_BOTH),
    "mistral": llama,
    "qwen2": partial(llama, biased=True),
    "qwen3": partial(llama, head_dim=None, switches=_BOTH[:1], inner="heads"),
    "gemma": partial(llama, head_dim=None, tied=True, switches=_BOTH[:1], wide=True),
    "gemma2": partial(llama, head_dim=None, tied=True, switches=_BOTH[:1], norms=4, wide=True, capped=True),
    "gemma3_text": gemma3,
    "phi3": partial(llama, grouped=False, fused=True),
    "smollm3": partial(llama, tied=True, switches=_BOTH),
    "granite": partial(llama, grouped=False, switches=_BOTH),
    "olmo2": partial(llama, grouped=False, switches=_BOTH[:1], inner="all", wide=True),
    "olmo3": partial(llama, grouped=False, switches=_BOTH[:1], inner="all", wide=True),
    "starcoder2": starcoder2,
    "phi": phi,
    "gpt2": gpt2,
    "gpt_neox": gpt_neox,
    "opt": opt,
    "bert": bert,
    "roberta": bert,
    "xlm-roberta": bert,
    "camembert": bert,
    "distilbert": distilbert,
    "electra": electra,
    "vit": vit,
    "deit": partial(vit, tokens=2),
    "dinov2": dinov2,
    "t5": t5,
}
"""Architectures by their ``model_type``."""
