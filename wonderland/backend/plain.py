"""The layers that can be constrained, as torch has them, and their weights as matrices."""

import copy
import sys

import torch
from torch import nn

LOW_PRECISION = (torch.float16, torch.bfloat16)
FLOATS = (*LOW_PRECISION, torch.float32, torch.float64)


class StandIn(nn.Module):
    """A layer in the place of a plain one, training in its own way what it can be made plain again with."""

    def plain(self) -> nn.Module:
        """A plain layer with the weight that this one acts with now, and the bias, both trainable."""
        raise NotImplementedError


def is_plain(module: nn.Module) -> bool:
    """Whether a module is of a kind that can be constrained.

    Subclasses are not: attention, for one, never calls the forward() of its own kind of Linear, and a
    quantised layer's weight is no matrix of numbers.
    """
    return type(module) in (nn.Linear, nn.Conv2d) or is_conv1d(module)


def weight_matrix(plain: nn.Module) -> torch.Tensor:
    """A plain layer's weight as m×n = out×in: of a convolution, in is (channels / groups)·height·width."""
    return plain.weight.mT if is_conv1d(plain) else plain.weight.flatten(1)


def working(dtype: torch.dtype) -> torch.dtype:
    """The type that weights of a type are split in: at least float32."""
    return torch.float32 if dtype in LOW_PRECISION else dtype


def is_conv1d(module: nn.Module) -> bool:
    """Whether a module is transformers' Conv1D: GPT-2's linear layer, whose weight is in×out."""
    # A model that has one has loaded its module.
    home = sys.modules.get("transformers.pytorch_utils")
    return home is not None and type(module) is home.Conv1D


def patches(plain: nn.Module) -> list[str]:
    """Methods that something on the layer itself stands for; what does may act with the weight of today for ever."""
    return [name for name in vars(plain) if callable(getattr(type(plain), name, None))]


def is_patched(plain: nn.Module, name: str) -> bool:
    """Whether it does anything else than the method: hooks of accelerate, removed, leave just that behind."""
    return vars(plain)[name] != getattr(type(plain), name).__get__(plain)


def without_numbers(plain: nn.Module) -> nn.Module:
    """A copy of a plain layer that has its settings, and neither weight nor bias, nor methods of its own."""
    shell = copy.copy(plain)
    shell._parameters = dict.fromkeys(plain._parameters)
    for name in patches(plain):
        delattr(shell, name)
    return shell
