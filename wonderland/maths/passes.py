"""The two passes of a step: what goes forward keeps for what comes back, and what both multiply.

Each is told in its terms, so that a figure can be opened to what it is the sum of.
"""

from dataclasses import dataclass

from wonderland.maths._check import choice, flag, integer
from wonderland.maths.holding import Holding
from wonderland.maths.models import Body, Linear, Model

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
"""Of a number of each type."""
OPTIMIZERS = {"sgd": 0, "sgd-momentum": 1, "adam": 2, "adamw": 2}
"""Numbers that each optimizer remembers per trained number (its step counter aside)."""
MAX_BATCH = 2**20
MAX_SEQUENCE = 10**7
ADAPTER = 4
"""Bytes of an adapter's number: peft raises to float32 what it adds."""

Layers = list[tuple[Linear, Holding]]


@dataclass(frozen=True)
class Run:
    """How a model is trained.

    Parameters
    ----------
    dtype
        Type of the weights: one of `BYTES`.
    optimizer
        One of `OPTIMIZERS`.
    batch
        Sequences, or images, in one pass: 1…2²⁰.
    sequence
        Tokens of each, 1…10⁷; an image has its own number.
    checkpointing
        Whether each block is computed again in the backward pass, and only its input kept.

    Raises
    ------
    TypeError, ValueError
        If one of them is not of its kind or outside its range.
    """

    dtype: str = "bfloat16"
    optimizer: str = "adamw"
    batch: int = 1
    sequence: int = 512
    checkpointing: bool = False

    def __post_init__(self) -> None:
        choice(self.dtype, "dtype", tuple(BYTES))
        choice(self.optimizer, "optimizer", tuple(OPTIMIZERS))
        integer(self.batch, "batch", 1, MAX_BATCH)
        integer(self.sequence, "sequence", 1, MAX_SEQUENCE)
        flag(self.checkpointing, "checkpointing")


@dataclass(frozen=True)
class Kept:
    """Bytes that a forward pass keeps for the backward pass.

    Parameters
    ----------
    tokens
        Of the pass.
    blocks
        How many blocks there are.
    norms, values, scores
        Bytes that a block keeps of each token, whatever the method: for its normalisations; queries, keys, outputs
        and the like; and attention.
    inputs
        Bytes of each token: the inputs of the layers that a method acts on, where nothing else keeps them.
    own
        Bytes of each token that the method keeps besides.
    once
        And bytes however many tokens.
    last
        Bytes of each token after the last block.
    words
        Bytes of each token that the loss takes.
    hidden
        Bytes of a block's input, a token, where each block is computed again in the backward pass; else 0.
    """

    tokens: int
    blocks: int
    norms: int
    values: int
    scores: int
    inputs: int
    own: int
    once: int
    last: int
    words: int
    hidden: int = 0

    @property
    def within(self) -> int:
        """All that the blocks keep."""
        each = self.blocks * (self.norms + self.values + self.scores) + self.inputs + self.own
        return each * self.tokens + self.once

    @property
    def loss(self) -> int:
        """Scores of every word, their logarithms and their gradient."""
        return self.words * self.tokens

    @property
    def again(self) -> int:
        """Of a block that is computed again, what the loss has not left room for: it is gone by then."""
        return max(0, -(-self.within // self.blocks) - self.loss)

    @property
    def activations(self) -> int:
        """What is kept at the end of the forward pass, the loss aside."""
        if self.hidden:
            return (self.blocks * self.hidden + self.last) * self.tokens + self.again
        return self.within + self.last * self.tokens


@dataclass(frozen=True)
class Work:
    """Multiplications of a step, a token; each is followed by an addition.

    Parameters
    ----------
    tokens
        Of the step.
    forward, backward
        Of the layers that a method acts on.
    others
        Of all other layers, forward; as many backward, for the gradient of their inputs.
    attention
        Of one of attention's products: there are two forward and, as its scores are computed again, five backward.
    head
        Of the output layer, forward.
    head_backward
        And backward: twice as many where it is trained.
    rebuilt
        Of a step, however many tokens.
    checkpointing
        Whether the blocks are computed forward once more.
    """

    tokens: int
    forward: int
    backward: int
    others: int
    attention: int
    head: int
    head_backward: int
    rebuilt: int
    checkpointing: bool

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        blocks = self.forward + self.others + 2 * self.attention
        back = self.backward + self.others + 5 * self.attention + self.head_backward
        return 2 * (self.tokens * (blocks * (1 + self.checkpointing) + self.head + back) + self.rebuilt)


def tokens(body: Body, run: Run) -> int:
    """Tokens of one pass."""
    return run.batch * (body.longest if body.image else run.sequence)


def summed(layers: Layers, name: str) -> int:
    """One number of each layer's holding, over all layers."""
    return sum(linear.count * getattr(row, name) for linear, row in layers)


def kept(body: Body, method: str, layers: Layers, run: Run) -> Kept:
    """What a pass of a model keeps, by one method on the layers that it acts on."""
    size, whole = BYTES[run.dtype], method == "full"
    beside = ADAPTER if layers[0][1].adapter and layers[0][1].raises else size
    norm = (4 if body.rms else size) + ((4 if body.wide else size) if whole and body.rms else 0)
    scores = body.heads * 4 + body.unfused * run.sequence * 8
    if whole:  # in float32, and once more in the weights' own type
        scores += body.biased * run.sequence * (4 if size == 4 else size + 4)
    once = summed(layers, "once") + (summed(layers, "copied") if size != ADAPTER else 0)
    return Kept(
        tokens=tokens(body, run),
        blocks=body.blocks,
        norms=body.norms * norm,
        values=(body.kept + (body.scaled if whole else 0)) * size,
        scores=scores,
        inputs=_inputs(layers, size),
        own=summed(layers, "kept") * beside,
        once=once * beside,
        last=body.last * norm + ((body.head or body.hidden) * size if whole and body.vocabulary else 0),
        # Scores, in float32 as well if their type is another, their logarithms, and the gradient.
        words=body.vocabulary * ((12 if size == 4 else size + 12) + (size if body.capped else 0)),
        hidden=body.hidden * size if run.checkpointing else 0,
    )


def work(model: Model, body: Body, method: str, layers: Layers, run: Run) -> Work:
    """What a step of a model multiplies, by one method on the layers that it acts on."""
    acted = {linear.name for linear, _ in layers}
    head = (body.head or body.hidden) * body.vocabulary
    return Work(
        tokens=tokens(body, run),
        forward=summed(layers, "forward"),
        backward=summed(layers, "backward"),
        others=sum(x.count * x.in_features * x.out_features for x in model.linears if x.name not in acted),
        attention=(body.longest if body.image else run.sequence) * body.attended * body.blocks,
        head=head,
        head_backward=head * (2 if method == "full" else 1),
        rebuilt=summed(layers, "rebuilt"),
        checkpointing=run.checkpointing,
    )


def _inputs(layers: Layers, size: int) -> int:
    """Bytes a token of the layers' inputs, where nothing else keeps them."""
    total, shared = 0, {}
    for linear, row in layers:
        if not row.reads:
            continue
        if row.adapter and row.raises and size != ADAPTER:  # each adapter by itself
            total += ADAPTER * linear.in_features * linear.count
        elif not linear.kept:
            shared[linear.reads] = max(shared.get(linear.reads, 0), linear.in_features * linear.count)
    return total + size * sum(shared.values())
