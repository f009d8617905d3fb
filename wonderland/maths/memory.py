"""Bytes and operations of a step of training: what a model, a method and a way to run them come to.

What is counted is what torch holds as tensors. What an allocator, a GPU's context or a library's workspace takes
besides is not.
"""

from dataclasses import dataclass
from functools import lru_cache

from wonderland.maths._check import choice, integer
from wonderland.maths.holding import CONV1D, METHODS, Holding, Setting
from wonderland.maths.models import Model
from wonderland.maths.passes import ADAPTER, BYTES, OPTIMIZERS, Kept, Layers, Run, Work, kept, summed, work


@dataclass(frozen=True)
class Memory:
    """Bytes that training holds.

    Parameters
    ----------
    weights
        The model's own parameters, trained and frozen.
    gradients
        One number per trained parameter.
    optimizer
        The optimizer's numbers per trained parameter.
    buffers
        What is held beside the parameters, such as bases.
    adapters
        Parameters that a method adds.
    activations
        What the forward pass keeps for the backward pass.
    loss
        Scores of every word, their logarithms and their gradient.
    """

    weights: int
    gradients: int
    optimizer: int
    buffers: int
    adapters: int = 0
    activations: int = 0
    loss: int = 0

    @property
    def total(self) -> int:
        """All of them together."""
        return self.fixed + self.gradients + self.activations + self.loss

    @property
    def fixed(self) -> int:
        """What is there from one step to the next."""
        return self.weights + self.adapters + self.optimizer + self.buffers

    @property
    def peak(self) -> int:
        """The most there is at one time.

        The backward pass gives activations up, block by block, as it makes gradients: the larger of the two counts.
        """
        return self.fixed + max(self.gradients, self.activations + self.loss)


@dataclass(frozen=True)
class Cost:
    """What training a model by one method costs.

    Parameters
    ----------
    trained
        Numbers trained.
    memory
        Bytes held.
    saved
        Bytes of what has to be kept of the training: adapters, free blocks, or the whole model.
    setup
        Operations of the decompositions at the start.
    kept, work
        What the two passes of a step keep and compute; None where only shapes are known.
    """

    trained: int
    memory: Memory
    saved: int
    setup: int
    kept: Kept | None = None
    work: Work | None = None

    @property
    def operations(self) -> int | None:
        """Floating-point operations of one step; None where only shapes are known."""
        return self.work and self.work.operations


def cost(model: Model, method: str, setting: Setting, targets: str, run: Run) -> Cost:
    """What one method costs on a model's chosen layers; everything else is frozen. "full" trains the whole model.

    Raises
    ------
    TypeError, ValueError
        If the method is unknown, or cannot be built on one of the layers.
    """
    return cost_of(model, method, held(model, method, setting, targets), run)


def cost_of(model: Model, method: str, layers: Layers, run: Run) -> Cost:
    """What `cost` computes, of layers that `held` has found."""
    size = BYTES[run.dtype]
    if method == "full":
        trained = model.parameters
        weights, adapters, buffers = trained * size, 0, 0
        learned = saved = weights
    else:
        trained = summed(layers, "trained")
        rest = model.parameters - sum(linear.count * linear.in_features * linear.out_features for linear, _ in layers)
        beside = layers[0][1].adapter
        own = summed(layers, "frozen") + (0 if beside else trained)
        each = ADAPTER if beside else size
        weights, adapters = (rest + own) * size, trained * each if beside else 0
        learned, buffers = trained * each, summed(layers, "buffers") * each + 8 * summed(layers, "indices")
        # mini_trainer writes the whole model.
        saved = model.parameters * size if method == "osft-mini" else each * (trained + summed(layers, "saved"))
    passes = None if model.body is None else kept(model.body, method, layers, run)
    activations, loss = (passes.activations, passes.loss) if passes else (0, 0)
    memory = Memory(weights, learned, OPTIMIZERS[run.optimizer] * learned, buffers, adapters, activations, loss)
    done = None if model.body is None else work(model, model.body, method, layers, run)
    return Cost(trained, memory, saved, summed(layers, "setup"), passes, done)


def held(model: Model, method: str, setting: Setting, targets: str) -> Layers:
    """Each kind of layer that a method acts on, and what it holds of one of them.

    Raises
    ------
    TypeError, ValueError
        If the method is unknown, or cannot be built on one of the layers; the message names the layer.
    """
    choice(method, "method", tuple(METHODS))
    layers = []
    for linear in model.linears if method == "full" else model.targeted(targets):
        if linear.conv1d and method not in CONV1D:
            raise ValueError(f"{linear.name} is a Conv1D, which peft adapts by LoRA alone.")
        try:
            layers.append((linear, _holding(method, linear.in_features, linear.out_features, setting)))
        except ValueError as error:
            raise ValueError(f"{linear.name}: {error}") from None
    if not layers:
        raise ValueError(f"the model has no layer for targets = {targets!r}: choose others.")
    return layers


def training_memory(
    trainable: int,
    frozen: int,
    buffers: int = 0,
    bytes_per_parameter: int = 4,
    optimizer: str = "adamw",
) -> Memory:
    """Bytes that training holds, activations and temporaries aside; every number takes the same room.

    Parameters
    ----------
    trainable, frozen
        Parameters with and without a gradient.
    buffers
        Numbers held beside them, such as bases.
    bytes_per_parameter
        1…16: 4 for float32, 2 for bfloat16.
    optimizer
        One of `OPTIMIZERS`.

    Raises
    ------
    TypeError, ValueError
        If a count is not an integer of 0 or more, or the optimizer is unknown.
    """
    trainable, frozen = integer(trainable, "trainable"), integer(frozen, "frozen")
    buffers = integer(buffers, "buffers")
    size = integer(bytes_per_parameter, "bytes_per_parameter", 1, 16)
    states = OPTIMIZERS[choice(optimizer, "optimizer", tuple(OPTIMIZERS))]
    return Memory(
        weights=(trainable + frozen) * size,
        gradients=trainable * size,
        optimizer=states * trainable * size,
        buffers=buffers * size,
    )


@lru_cache(maxsize=8192)
def _holding(method: str, n: int, m: int, setting: Setting) -> Holding:
    return METHODS[method](n, m, setting)
