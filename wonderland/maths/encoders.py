"""Families of encoders, counted as ``AutoModel`` builds them, and T5: ``AutoModelForSeq2SeqLM``."""

from wonderland.maths.decoders import attention
from wonderland.maths.models import Body, Linear
from wonderland.maths.sizes import Made, Sizes, weights


def bert(c: Sizes) -> Made:
    """BERT and its kin."""
    h = c("hidden_size")
    pooler = Linear("pooler.dense", h, h, 1, "pooler", "pooler", kept=True)
    return _bert(c, h, (pooler,))


def electra(c: Sizes) -> Made:
    """ELECTRA: BERT without a pooler, whose embeddings may be narrower."""
    h, e = c("hidden_size"), c("embedding_size")
    return _bert(c, e, (Linear("embeddings_project", e, h, 1, "projection", "embeddings"),) if e != h else ())


def distilbert(c: Sizes) -> Made:
    """DistilBERT: BERT without a pooler and without types of tokens, by names of its own."""
    h, f, layers, heads = c("dim"), c("hidden_dim"), c.blocks("n_layers"), c("n_heads")
    positions = c("max_position_embeddings")
    c.share("dim", "n_heads")
    linears = _blocks(h, f, layers, "q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2")
    embeddings = (c("vocab_size") + positions) * h + 2 * h
    total = embeddings + weights(linears) + layers * (5 * h + f + 4 * h)
    return total, linears, Body(h, layers, 4 * h + f, 2 * h, h, False, heads, h, 0, positions)


def vit(c: Sizes, *, tokens: int = 1) -> Made:
    """ViT and DeiT: what they read are patches of an image, and tokens that stand for all of it."""
    h, f, layers, heads = c.usual()
    pooled = c("pooler_output_size", h)
    linears = (
        *attention(h, h, h, layers),
        Linear("fc1", h, f, layers, "mlp", "mlp"),
        Linear("fc2", f, h, layers, "mlp", "activated"),
        Linear("pooler.dense", h, pooled, 1, "pooler", "pooler", kept=True),
    )
    embeddings, longest = _patches(c, h, tokens)
    biases = 3 * h * c.says("qkv_bias", True) + 2 * h + f
    total = embeddings + weights(linears) + layers * (biases + 4 * h) + 2 * h + pooled
    return total, linears, Body(h, layers, 4 * h + f, 2 * h, h, False, heads, h, 0, longest, image=True)


def dinov2(c: Sizes) -> Made:
    """DINOv2: ViT without a pooler, each part of a block scaled; the largest has gated units."""
    h, layers, heads = c("hidden_size"), c.blocks("num_hidden_layers"), c("num_attention_heads")
    f = h * c("mlp_ratio", 4)
    gated = c.says("use_swiglu_ffn", False)
    if gated:  # two thirds, and then up to a multiple of 8
        f = (2 * f // 3 + 7) // 8 * 8
    into, out = (("gate_proj", "up_proj"), "down_proj") if gated else (("fc1",), "fc2")
    linears = (
        *attention(h, h, h, layers),
        *(Linear(name, h, f, layers, "mlp", "mlp") for name in into),
        Linear(out, f, h, layers, "mlp", "activated"),
    )
    embeddings, longest = _patches(c, h, 1)
    embeddings += h * c.says("use_mask_token", True)
    biases = 3 * h * c.says("qkv_bias", True) + 2 * h + f * len(into)
    total = embeddings + weights(linears) + layers * (biases + 4 * h + 2 * h) + 2 * h
    kept = 4 * h + f * (3 if gated else 1)
    body = Body(h, layers, kept, 2 * h, h, False, heads, h, 0, longest, image=True, scaled=2 * h)
    return total, linears, body


def t5(c: Sizes) -> Made:
    """T5: an encoder, and a decoder that attends to it as well."""
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
    total = embeddings + positions + weights(linears) + (2 * layers + 3 * decoders) * h + 2 * h
    # A decoder's block is three parts, an encoder's two: averaged over both, as the sums are over all.
    kept = -(-(attentions * 4 * q + both * f * (3 if gated else 1)) // both)
    norms = -(-(2 * layers + 3 * decoders) * h // both)
    attended = -(-attentions * q // both)
    return total, linears, Body(h, both, kept, norms, 2 * h, True, heads, attended, vocabulary, biased=heads)


def _bert(c: Sizes, e: int, beside: tuple[Linear, ...]) -> Made:
    """Blocks as BERT's, after embeddings of width e; the layers beside them have biases as wide as a block."""
    h, f, layers, heads = c.usual()
    positions = c("max_position_embeddings")
    c.share("hidden_size", "num_attention_heads")
    linears = (
        *_blocks(h, f, layers, "query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"),
        *beside,
    )
    embeddings = (c("vocab_size") + positions + c("type_vocab_size", 2)) * e + 2 * e
    total = embeddings + weights(linears) + layers * (5 * h + f + 4 * h) + h * len(beside)
    return total, linears, Body(h, layers, 4 * h + f, 2 * h, e, False, heads, h, 0, positions)


def _patches(c: Sizes, h: int, tokens: int) -> tuple[int, int]:
    """Numbers that embed the patches of an image and some tokens, and how many both are."""
    patch = c("patch_size")
    c.share("hidden_size", "num_attention_heads")
    longest = (c("image_size") // patch) ** 2 + tokens
    return c("num_channels", 3) * patch**2 * h + h + tokens * h + longest * h, longest


def _blocks(h: int, f: int, layers: int, *names: str) -> tuple[Linear, ...]:
    """The six linear layers of each block, by their names in order."""
    query, key, value, output, up, down = names
    return (
        Linear(query, h, h, layers, "query", "attention"),
        Linear(key, h, h, layers, "key", "attention"),
        Linear(value, h, h, layers, "value", "attention"),
        Linear(output, h, h, layers, "output", "attended", kept=True),
        Linear(up, h, f, layers, "mlp", "mlp"),
        Linear(down, f, h, layers, "mlp", "activated"),
    )
