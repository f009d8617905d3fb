"""Models as transformers builds them, small ones or on the meta device, and with a method on them."""

import logging
from collections.abc import Mapping
from typing import Any

import peft
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedConfig

from wonderland.backend.osft import constrain
from wonderland.maths.architectures import from_config
from wonderland.maths.holding import Setting

DECODERS = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "smollm3", "granite", "olmo2",
    "olmo3", "starcoder2", "phi", "gpt2", "gpt_neox", "opt",
)  # fmt: skip
CLASSES = dict.fromkeys(DECODERS, AutoModelForCausalLM) | {"t5": AutoModelForSeq2SeqLM}


def build(config: Mapping[str, Any], device: str = "meta") -> nn.Module:
    """The model of a configuration, without a dropout; what the configuration leaves out is transformers' default."""
    logging.getLogger("transformers").setLevel(logging.ERROR)  # it tells of every default
    still = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop", "dropout_rate", "dropout"), 0.0)
    still |= dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout"), 0.0)
    if config["model_type"] == "t5":
        still["decoder_start_token_id"] = 0
    if config["model_type"] in ("phi3", "smollm3"):  # whose own would be none of a small vocabulary
        still["pad_token_id"] = 0
    sizes = {key: value for key, value in config.items() if key != "model_type"}
    return made(AutoConfig.for_model(config["model_type"], **sizes, **still), device)


def made(config: PreTrainedConfig, device: str = "meta") -> nn.Module:
    """The model of one of transformers' own configurations."""
    with torch.device(device):
        return CLASSES.get(config.model_type, AutoModel).from_config(config)


def adapted(
    model: nn.Module, config: Mapping[str, Any], method: str, setting: Setting, targets: str = "all linear"
) -> nn.Module:
    """A model with one of the methods on its layers, and everything else frozen."""
    if method == "full":
        return model
    wanted = tuple(f".{linear.name}" for linear in from_config(config).targeted(targets) if linear.role != "pooler")
    if method == "osft-core":
        return constrain(model, keep=setting.keep, targets=[n for n, _ in model.named_modules() if n.endswith(wanted)])
    names = "all-linear" if targets == "all linear" else [name.removeprefix(".") for name in wanted]
    made = {
        "lora": lambda: peft.LoraConfig(r=setting.rank, fan_in_fan_out=config["model_type"] == "gpt2"),
        "oft": lambda: peft.OFTConfig(r=0, oft_block_size=setting.block),
        "psoft": lambda: peft.PsoftConfig(r=setting.psoft_rank),
        "osft-peft": lambda: peft.OSFConfig(effective_rank=setting.keep),
    }[method]()
    made.target_modules = names
    return peft.get_peft_model(model, made)


def loss_of(model: nn.Module, config: Mapping[str, Any], batch: int, length: int) -> torch.Tensor:
    """A loss of random tokens, or of random images."""
    if "image_size" in config:
        image = torch.randn(batch, 3, config["image_size"], config["image_size"], dtype=next(model.parameters()).dtype)
        return model(pixel_values=image).last_hidden_state.float().square().mean()
    ids = torch.randint(0, config["vocab_size"], (batch, length))
    if config["model_type"] not in CLASSES:
        return model(input_ids=ids).last_hidden_state.float().square().mean()
    return model(input_ids=ids, labels=ids, use_cache=False).loss
