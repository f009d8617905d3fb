"""Families of decoders, counted as ``AutoModelForCausalLM`` builds them."""

from wonderland.maths.models import Body, Linear
from wonderland.maths.sizes import Made, Sizes, weights


def llama(c: Sizes, kind: str) -> Made:
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
    total = embeddings + weights(linears) + layers * (biases + norms) + h
    # What a norm of each head reads, queries and keys, is kept as well.
    inner = q + kv if kind == "qwen3" else 0
    body = Body(h, layers, 2 * q + 2 * kv + 3 * f, 2 * h + inner, h, True, heads, q, vocabulary)
    return total, linears, body


def gpt2(c: Sizes, _: str) -> Made:
    """GPT-2: one layer makes queries, keys and values, and every layer is a ``Conv1D``."""
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
    total = embeddings + weights(linears) + layers * (biases + norms) + 2 * h
    # Its GELU is written out, and keeps four tensors.
    return total, linears, Body(h, layers, 4 * h + 4 * f, 2 * h, h, False, heads, h, vocabulary, positions)
