"""What a model is made of, as far as counting needs it."""

from dataclasses import dataclass

from wonderland.maths._check import choice

TARGETS = {
    "query and value": ("query", "value"),
    "attention": ("query", "key", "value", "output"),
    "all linear": ("query", "key", "value", "output", "mlp", "pooler", "projection"),
}
"""Which layers a method acts on, by their roles."""


@dataclass(frozen=True)
class Linear:
    """Linear layers of one name and one shape, all through a model.

    Parameters
    ----------
    name
        Last part of their module names, enough to tell them from others.
    in_features, out_features
        n and m of each weight m×n.
    count
        How many there are.
    role
        "query", "key", "value", "output", "mlp", "pooler", or "projection" into or out of the blocks; several in one
        name are "query key value".
    reads
        Layers of a block that read the same tensor share a name here.
    kept
        Whether that tensor is kept for the backward pass anyway, as attention keeps what it gives out.
    conv1d
        Whether it is transformers' ``Conv1D``, which of peft's methods LoRA alone can adapt.
    """

    name: str
    in_features: int
    out_features: int
    count: int
    role: str
    reads: str = ""
    kept: bool = False
    conv1d: bool = False


@dataclass(frozen=True)
class Body:
    """What a model keeps of a forward pass, in numbers a token: for its backward pass; see `memory.activations`.

    Attention is the fused one (``sdpa``) unless a family has none, and nothing is dropped out.

    Parameters
    ----------
    hidden
        Width of the stream between blocks.
    blocks
        How many blocks there are.
    kept
        Numbers that a block keeps: queries, keys, values, outputs, and what its activation function needs.
    norms
        Widths together of a block's normalisations; each keeps its input.
    last
        Those of the normalisations after the last block.
    rms
        Whether they are RMS norms, written out: they keep float32, and what scales them where that is trained.
    heads
        Attention heads of a block: one float32 number each.
    attended
        Width of queries: a token attends to every other with 2·attended multiplications, twice.
    vocabulary
        Entries of the output; 0 where there is none.
    longest
        Most tokens of a sequence, 0 where the configuration sets no end; of an image, all there are.
    image
        Whether `longest` is the number of tokens.
    biased
        Heads of a block that add trained numbers to their scores: where those are trained, attention is no fused one,
        and keeps a weight for each pair of tokens.
    wide
        Whether RMS norms scale in float32, before they go back to their type.
    unfused
        Heads of a block whose scores are capped, which no fused attention does: 8 bytes for each pair of tokens.
    capped
        Whether the scores of words are capped, by a function that keeps its result.
    scaled
        Widths together of what a block scales by numbers of its own: kept where those are trained.
    head
        Width that the output layer reads; 0 if it is `hidden`.
    """

    hidden: int
    blocks: int
    kept: int
    norms: int
    last: int
    rms: bool
    heads: int
    attended: int
    vocabulary: int
    longest: int = 0
    image: bool = False
    biased: int = 0
    wide: bool = False
    unfused: int = 0
    capped: bool = False
    scaled: int = 0
    head: int = 0


@dataclass(frozen=True)
class Model:
    """A model by its sizes.

    Parameters
    ----------
    architecture
        Its ``model_type``.
    parameters
        All of them, a tied one counted once.
    linears
        The linear layers that a method may act on: all but the output layer.
    body
        What it computes besides; None where only shapes are known.
    note
        What else is to be said of it.
    """

    architecture: str
    parameters: int
    linears: tuple[Linear, ...]
    body: Body | None = None
    note: str = ""

    def targeted(self, targets: str) -> tuple[Linear, ...]:
        """The layers that one of `TARGETS` names.

        Raises
        ------
        TypeError, ValueError
            If it names none of them.
        """
        roles = TARGETS[choice(targets, "targets", tuple(TARGETS))]
        return tuple(linear for linear in self.linears if set(linear.role.split()) & set(roles))
