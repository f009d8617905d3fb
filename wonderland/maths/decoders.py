"""Families of decoders, counted as ``AutoModelForCausalLM`` builds them."""

from wonderland.maths.models import Body, Linear
from wonderland.maths.sizes import Made, Sizes, weights

GEMMA3 = {"vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}
"""Sizes that a multimodal Gemma 3 leaves out of its text_config, being those of one model."""


def llama(
    c: Sizes,
    *,
    head_dim: int | None = 0,
    grouped: bool = True,
    tied: bool = False,
    switches: tuple[str, ...] = (),
    biased: bool = False,
    norms: int = 2,
    inner: str = "",
    fused: bool = False,
    wide: bool = False,
    capped: bool = False,
) -> Made:
    """Llama and its kin: RMS norms, rotary positions, gated units.

    Parameters
    ----------
    c
        The sizes.
    head_dim
        Size of a head where it is missing: 0 shares the width out among the heads, None refuses.
    grouped
        Whether num_key_value_heads has to be there; else each head has keys and values of its own.
    tied
        Whether the output layer is tied to the embeddings where nothing is said.
    switches
        Which of "attention_bias" and "mlp_bias" are heeded.
    biased
        Whether queries, keys and values have biases, whatever is said.
    norms
        Normalisations of a block.
    inner
        What is normalised of queries and of keys besides: "heads", each by itself, or "all".
    fused
        Whether one layer makes queries, keys and values, and one both inputs of the gated unit.
    wide
        Whether norms scale in float32.
    capped
        Whether scores of attention are capped.
    """
    h, f, layers, heads = c.usual()
    # What may be missing: another default of transformers' is that of one model, and no reader's.
    d = c("head_dim", head_dim) or c.share("hidden_size", "num_attention_heads")
    q, kv = heads * d, c("num_key_value_heads", None if grouped else heads) * d
    vocabulary = c("vocab_size")
    # Whether what attention gives out is copied, or it is no fused one: then it does not keep that itself.
    apart = fused or capped
    if fused:
        linears = (
            Linear("qkv_proj", h, q + 2 * kv, layers, "query key value", "attention"),
            Linear("o_proj", q, h, layers, "output", "attended", kept=not apart),
            Linear("gate_up_proj", h, 2 * f, layers, "mlp", "mlp"),
        )
    else:
        linears = (
            *attention(h, q, kv, layers, kept=not apart),
            Linear("gate_proj", h, f, layers, "mlp", "mlp"),
            Linear("up_proj", h, f, layers, "mlp", "mlp"),
        )
    linears += (Linear("down_proj", f, h, layers, "mlp", "gated"),)
    on = [name for name in switches if c.says(name, False)]
    biases = (q + 2 * kv) * biased + (q + 2 * kv + h) * ("attention_bias" in on) + (2 * f + h) * ("mlp_bias" in on)
    scales = norms * h + {"": 0, "heads": 2 * d, "all": q + kv}[inner]
    embeddings = vocabulary * h * (1 if c.says("tie_word_embeddings", tied) else 2)
    total = embeddings + weights(linears) + layers * (biases + scales) + h
    # Of one layer for three all that it gives out is kept, values being a part of it; and attention that is not fused
    # keeps keys and values once for each head.
    kept = 2 * q + 2 * kv + (q + kv) * fused + (q - 2 * kv) * capped + 3 * f
    # What a norm of queries and keys reads is kept as well.
    read = norms * h + (q + kv if inner else 0)
    body = Body(
        h,
        layers,
        kept,
        read,
        h,
        True,
        heads,
        q,
        vocabulary,
        wide=wide,
        unfused=heads * capped,
        capped=c.has("final_logit_softcapping", capped),
    )
    return total, linears, body


def gemma3(c: Sizes) -> Made:
    """Gemma 3, its language part: what is missing is that of one model after all."""
    return llama(c.over(GEMMA3), tied=True, switches=("attention_bias",), norms=4, inner="heads", wide=True)


def gpt2(c: Sizes) -> Made:
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


def gpt_neox(c: Sizes) -> Made:
    """GPT-NeoX, and so Pythia: one layer makes queries, keys and values; attention and units may stand side by side."""
    h, f, layers, heads = c.usual()
    vocabulary = c("vocab_size")
    c.share("hidden_size", "num_attention_heads")
    linears = (
        Linear("query_key_value", h, 3 * h, layers, "query key value", "attention"),
        Linear("attention.dense", h, h, layers, "output", "attended"),
        Linear("dense_h_to_4h", h, f, layers, "mlp", "mlp"),
        Linear("dense_4h_to_h", f, h, layers, "mlp", "activated"),
    )
    biases = 4 * h * c.says("attention_bias", True) + f + h
    embeddings = vocabulary * h * (1 if c.says("tie_word_embeddings", False) else 2)
    total = embeddings + weights(linears) + layers * (biases + 4 * h) + 2 * h
    # Side by side, both norms read the same. All that the first layer gives out is kept, values being a part of it.
    norms = h if c.says("use_parallel_residual", True) else 2 * h
    return total, linears, Body(h, layers, 6 * h + f, norms, h, False, heads, h, vocabulary)


def opt(c: Sizes) -> Made:
    """OPT: learned positions; the smallest but one has narrower embeddings, and its norms after the blocks' parts."""
    h, f, layers, heads = c("hidden_size"), c("ffn_dim"), c.blocks("num_hidden_layers"), c("num_attention_heads")
    vocabulary, positions = c("vocab_size"), c("max_position_embeddings")
    e = c("word_embed_proj_dim", h)
    c.share("hidden_size", "num_attention_heads")
    linears = (
        *attention(h, h, h, layers, "self_attn.out_proj"),
        Linear("fc1", h, f, layers, "mlp", "mlp"),
        Linear("fc2", f, h, layers, "mlp", "activated", kept=c.text("activation_function", "relu") == "relu"),
    )
    if e != h:
        linears += (
            Linear("project_in", e, h, 1, "projection", "embeddings"),
            Linear("project_out", h, e, 1, "projection", "last"),
        )
    last = c.says("do_layer_norm_before", True) and not c.says("_remove_final_layer_norm", False)
    biases = (5 * h + f) * c.says("enable_bias", True)
    norms = (4 * h * layers + 2 * h * last) * c.says("layer_norm_elementwise_affine", True)
    # Two positions more than are used.
    embeddings = vocabulary * e * (1 if c.says("tie_word_embeddings", True) else 2) + (positions + 2) * h
    total = embeddings + weights(linears) + layers * biases + norms
    body = Body(h, layers, 4 * h + f, 2 * h, h * last, False, heads, h, vocabulary, positions, head=e)
    return total, linears, body


def phi(c: Sizes) -> Made:
    """Phi 1 and 2: attention and units stand side by side, after one norm."""
    h, f, layers, heads = c.usual()
    d = c.share("hidden_size", "num_attention_heads")
    kv, vocabulary = c("num_key_value_heads", heads) * d, c("vocab_size")
    linears = (
        *attention(h, h, kv, layers, "self_attn.dense", kept=False),
        Linear("fc1", h, f, layers, "mlp", "attention"),
        Linear("fc2", f, h, layers, "mlp", "activated"),
    )
    inner = c.says("qk_layernorm", False)
    biases = 3 * h + 2 * kv + f
    embeddings = vocabulary * h * (1 if c.says("tie_word_embeddings", False) else 2) + vocabulary
    total = embeddings + weights(linears) + layers * (biases + 2 * h + 4 * d * inner) + 2 * h
    # Its GELU is written out as GPT-2's is.
    body = Body(h, layers, 2 * h + 2 * kv + 4 * f, h + (h + kv) * inner, h, False, heads, h, vocabulary)
    return total, linears, body


def starcoder2(c: Sizes) -> Made:
    """StarCoder 2: grouped heads as Llama's, norms and units as GPT-2's."""
    h, f, layers, heads = c.usual()
    d = c("head_dim", 0) or c.share("hidden_size", "num_attention_heads")
    q, kv, vocabulary = heads * d, c("num_key_value_heads") * d, c("vocab_size")
    linears = (
        *attention(h, q, kv, layers),
        Linear("c_fc", h, f, layers, "mlp", "mlp"),
        Linear("mlp.c_proj", f, h, layers, "mlp", "activated"),
    )
    biases = (q + 2 * kv + 2 * h + f) * c.says("use_bias", True)
    embeddings = vocabulary * h * (1 if c.says("tie_word_embeddings", True) else 2)
    total = embeddings + weights(linears) + layers * (biases + 4 * h) + 2 * h
    return total, linears, Body(h, layers, 2 * q + 2 * kv + f, 2 * h, h, False, heads, q, vocabulary)


def attention(h: int, q: int, kv: int, layers: int, output: str = "o_proj", kept: bool = True) -> tuple[Linear, ...]:
    """The four layers of attention, from a stream of width h, with queries of width q, and keys and values of kv."""
    return (
        Linear("q_proj", h, q, layers, "query", "attention"),
        Linear("k_proj", h, kv, layers, "key", "attention"),
        Linear("v_proj", h, kv, layers, "value", "attention"),
        Linear(output, q, h, layers, "output", "attended", kept=kept),
    )
