"""Memory and operations of whole models, against torch's own counters on small ones."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from tests.models import CLASSES, adapted, build, loss_of
from wonderland.backend.saving import save
from wonderland.maths.architectures import from_config
from wonderland.maths.counting import full
from wonderland.maths.holding import Setting
from wonderland.maths.memory import OPTIMIZERS, Run, cost, training_memory

sizes = st.integers(1, 300)
checked = settings(deadline=None, max_examples=40)
# Unlike in every size, so that no two can stand for one another.
SMALL = {
    "llama": {"model_type": "llama", "vocab_size": 90, "hidden_size": 48, "num_hidden_layers": 5,
              "num_attention_heads": 12, "num_key_value_heads": 4, "head_dim": 6, "intermediate_size": 140},
    "qwen2": {"model_type": "qwen2", "vocab_size": 90, "hidden_size": 48, "num_hidden_layers": 5,
              "num_attention_heads": 12, "num_key_value_heads": 4, "intermediate_size": 140},
    "gpt2": {"model_type": "gpt2", "vocab_size": 90, "n_embd": 48, "n_layer": 5, "n_head": 12, "n_inner": 140,
             "n_positions": 64},
    "bert": {"model_type": "bert", "vocab_size": 90, "hidden_size": 48, "num_hidden_layers": 5,
             "num_attention_heads": 12, "intermediate_size": 140, "max_position_embeddings": 64},
    "vit": {"model_type": "vit", "hidden_size": 48, "num_hidden_layers": 5, "num_attention_heads": 12,
            "intermediate_size": 140, "image_size": 28, "patch_size": 4},
    "t5": {"model_type": "t5", "vocab_size": 90, "d_model": 48, "d_kv": 6, "d_ff": 140, "num_layers": 5,
           "num_heads": 12},
    "opt": {"model_type": "opt", "vocab_size": 90, "hidden_size": 48, "num_hidden_layers": 5, "num_attention_heads": 12,
            "ffn_dim": 140, "max_position_embeddings": 64},
    "distilbert": {"model_type": "distilbert", "vocab_size": 90, "dim": 48, "n_layers": 5, "n_heads": 12,
                   "hidden_dim": 140, "max_position_embeddings": 64},
}  # fmt: skip
LIKE = {
    "llama": ("gemma", "gemma2", "gemma3_text", "olmo2", "starcoder2"),
    "qwen2": ("phi3", "phi", "gpt_neox"),
    "vit": ("deit", "dinov2"),
}
SMALL |= {kind: SMALL[like] | {"model_type": kind} for like, kinds in LIKE.items() for kind in kinds}
SMALL["electra"] = SMALL["bert"] | {"model_type": "electra", "embedding_size": 20}
SMALL["OPT, narrow"] = SMALL["opt"] | {"word_embed_proj_dim": 20, "do_layer_norm_before": False}
SMALL["DINOv2, gated"] = SMALL["dinov2"] | {"use_swiglu_ffn": True}
SETTING = Setting(rank=3, block=4, boft_block=4, psoft_rank=5, keep=0.5)
BATCH, LENGTH = 2, 50


CASES = [
    *[(name, method, "all linear") for name in SMALL if name != "t5" for method in ("full", "lora")],
    ("t5", "full", "all linear"),
    ("llama", "lora", "query and value"),
    ("bert", "lora", "query and value"),
    *[("llama", method, "all linear") for method in ("oft", "psoft", "osft-peft", "osft-core")],
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "method", "targets"), CASES)
def test_activations_are_what_autograd_keeps(name, method, targets, dtype):
    config = SMALL[name]
    torch.manual_seed(0)
    model = build(config, "cpu").to(getattr(torch, dtype)).train()
    model = adapted(model, config, method, SETTING, targets)
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    found = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_of(model, config, BATCH, LENGTH)
    got = sum(tensor.untyped_storage().nbytes() for tensor in found.values())
    said = cost(from_config(config), method, SETTING, targets, Run(dtype, batch=BATCH, sequence=LENGTH)).memory
    # Of the loss autograd keeps the logarithms alone: float32, one a word.
    logarithms = 4 * BATCH * LENGTH * config.get("vocab_size", 0) * (config["model_type"] in CLASSES)
    assert said.activations + logarithms == pytest.approx(got, rel=0.08 if name == "t5" else 0.06)


@checked
@given(sizes, sizes, sizes, st.sampled_from([1, 2, 4, 8]), st.sampled_from(sorted(OPTIMIZERS)))
def test_memory_adds_up(trainable, frozen, buffers, size, optimizer):
    memory = training_memory(trainable, frozen, buffers, size, optimizer)
    assert memory.total == memory.weights + memory.gradients + memory.optimizer + memory.buffers
    per_trained = 2 + OPTIMIZERS[optimizer]
    assert memory.total == size * (per_trained * trainable + frozen + buffers)


def test_memory_of_full_fine_tuning_with_adam_is_four_weights():
    whole = full(4096, 4096)
    assert training_memory(whole, 0).total == 16 * whole
    # Nothing to train costs nothing but its weights.
    assert training_memory(0, whole, bytes_per_parameter=2).total == 2 * whole


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["lora", "oft", "psoft", "osft-peft", "osft-core"])
def test_what_is_saved_is_as_large_as_is_said(method, dtype, tmp_path):
    config = SMALL["llama"]
    model = adapted(build(config, "cpu").to(getattr(torch, dtype)), config, method, SETTING)
    if method == "osft-core":
        path = tmp_path / "learned.safetensors"
        save(model, path)
    else:
        model.save_pretrained(tmp_path)
        path = tmp_path / "adapter_model.safetensors"
    said = cost(from_config(config), method, SETTING, "all linear", Run(dtype)).saved
    with path.open("rb") as file:
        header = 8 + int.from_bytes(file.read(8), "little")
    assert path.stat().st_size - header == said


@pytest.mark.parametrize(("name", "method"), [(n, m) for n in ("llama", "gpt2", "bert") for m in ("full", "lora")])
def test_operations_are_those_that_torch_counts(name, method):
    config = SMALL[name]
    model = adapted(build(config, "cpu"), config, method, SETTING)
    with FlopCounterMode(display=False) as counter:
        loss_of(model, config, BATCH, LENGTH).backward()
    known = from_config(config)
    said = cost(known, method, SETTING, "all linear", Run("float32", batch=BATCH, sequence=LENGTH))
    # The counter knows a GPU's fused attention, not the CPU's: two products forward, five backward.
    attention = 2 * BATCH * LENGTH * 7 * LENGTH * known.body.attended * known.body.blocks
    assert said.operations == pytest.approx(counter.get_total_flops() + attention, rel=0.05)
