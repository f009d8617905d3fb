"""Families of encoders, counted as ``AutoModel`` builds them, and T5: ``AutoModelForSeq2SeqLM``."""

from wonderland.maths.models import Body, Linear
from wonderland.maths.sizes import Made, Sizes, weights


def bert(c: Sizes, _: str) -> Made:
    """BERT and its kin."""
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
    total = embeddings + weights(linears) + layers * (5 * h + f + 4 * h) + h
    return total, linears, Body(h, layers, 4 * h + f, 2 * h, h, False, heads, h, 0, positions)


def vit(c: Sizes, _: str) -> Made:
    """ViT: its tokens are patches of an image."""
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
    total = embeddings + weights(linears) + layers * (biases + 4 * h) + 2 * h + h
    return total, linears, Body(h, layers, 4 * h + f, 2 * h, h, False, heads, h, 0, tokens, image=True)


def t5(c: Sizes, _: str) -> Made:
    """T5: an encoder and a decoder, which attends to it as well."""
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
