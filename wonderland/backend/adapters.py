"""What OSFT is compared with, behind the same interface: full fine-tuning, LoRA and OFT of linear layers.

`full`, `lora` and `oft` change a model in place: its linear layers (W m×n = out×in, y = Wx + bias) become
layers that begin with the same outputs and train what the method trains. Train them with any optimizer; `merge`
folds what was learned into plain layers. Numbers and outputs agree with peft's, test by test.
"""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from wonderland.backend.adapter_layers import CAYLEY, OFT, Adapter, Full, LoRA
from wonderland.backend.targets import Model, about, chosen, install, merge, stand_ins
from wonderland.maths._check import MAX_SEED, choice, integer
from wonderland.maths.counting import MAX_FEATURES

__all__ = ["CAYLEY", "OFT", "Adapter", "Full", "LoRA", "full", "lora", "merge", "oft", "trainable"]


def full(model: Model, targets: Iterable[str] | None = None) -> Model:
    """Train all there is: every parameter of the model, or the weights and biases of the chosen layers.

    Parameters
    ----------
    model
        Changed in place. A layer by itself has no place to be replaced in: wrap it in ``nn.Sequential``.
    targets
        Names of ``nn.Linear`` layers, as ``model.named_modules()`` gives them; everything else is frozen then.
        By default every parameter is trained, of whatever layer.

    Returns
    -------
    torch.nn.Module
        The same model.

    Raises
    ------
    TypeError
        If the model is not a module, or a target not text or no ``nn.Linear``.
    ValueError
        If a target is unknown or named twice, no layer is left, the model is adapted or constrained already, or
        a layer's weight is tied, quantised or not finite. The model is as it was then.
    """
    _adapt(model, targets, Full)
    if targets is None:
        for parameter in model.parameters():
            # Integers, which a quantised layer may hold, have no gradient.
            parameter.requires_grad_(parameter.is_floating_point())
    return model


def lora(
    model: Model, rank: int = 16, alpha: float | None = None, targets: Iterable[str] | None = None, seed: int = 0
) -> Model:
    """Train W′ = W + (alpha/rank) B A in the chosen layers, rank(m + n) numbers each; freeze everything else.

    Parameters
    ----------
    model
        Changed in place, as `full` does.
    rank
        1 to min(m, n) of the smallest layer chosen.
    alpha
        Positive, up to 1e6; 2·rank by default, so that the update's scale is 2 and a learning rate found at one
        rank serves at another.
    targets
        Names of layers; by default every ``nn.Linear`` whose weight no other module shares.
    seed
        Of A's start, 0 to 2³² − 1.

    Returns
    -------
    torch.nn.Module
        The same model.

    Raises
    ------
    TypeError, ValueError
        As `full` does, and if rank, alpha or seed is no number in its range.
    """
    generator = torch.Generator().manual_seed(integer(seed, "seed", 0, MAX_SEED))
    return _adapt(model, targets, lambda linear: LoRA(linear, rank, alpha, generator))


def oft(model: Model, block: int = 32, targets: Iterable[str] | None = None, cayley: str = "exact") -> Model:
    """Train the rotation R of W′ = W R in the chosen layers, n(b − 1)/2 numbers each; freeze everything else.

    Parameters
    ----------
    model
        Changed in place, as `full` does.
    block
        Size b of R's blocks, 1 or more; each layer takes the divisor of its n nearest to it.
    targets
        Names of layers; by default every ``nn.Linear`` whose weight no other module shares.
    cayley
        "exact" or "series"; see `OFT`.

    Returns
    -------
    torch.nn.Module
        The same model. R is the identity at the start: there is nothing to draw.

    Raises
    ------
    TypeError, ValueError
        As `full` does; if block or cayley is out of range; and if a layer's b comes to 1, as for a prime n.
    """
    integer(block, "block", 1, MAX_FEATURES)
    choice(cayley, "cayley", CAYLEY)
    return _adapt(model, targets, lambda linear: OFT(linear, block, cayley))


def trainable(model: nn.Module) -> int:
    """How many numbers of a model are trained, whatever the method; one that is shared counts once.

    Raises
    ------
    TypeError
        If the model is not a module.
    """
    stand_ins(model)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _adapt(model: Model, targets: Iterable[str] | None, make: Callable[[nn.Linear], Adapter]) -> Model:
    layers = chosen(model, targets)
    if targets is None:
        layers = {name: layer for name, layer in layers.items() if type(layer) is nn.Linear}
        if not layers:
            raise ValueError("model has no nn.Linear to adapt.")
    for name, layer in layers.items():
        if type(layer) is not nn.Linear:
            raise TypeError(f"targets names {name!r}, a {type(layer).__name__}: only an nn.Linear can be adapted.")
    # Every layer is made before the first is replaced, so that an error finds the model untouched.
    made: dict[nn.Module, Adapter] = {}
    for name, layer in layers.items():
        with about(name):
            made[layer] = make(layer)
    install(model, made)
    return model
