"""Many networks of one shape as one: the weights of all seeds stacked, each step a batched product.

A single network this small leaves most of a core idle. S of them, trained in step, keep it busy, and none
touches another: every product is batched and every optimizer here works entry by entry.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy


class Stack(NamedTuple):
    """S networks.

    Parameters
    ----------
    weights
        Of each layer, S×m×n = S×out×in.
    biases
        Of each layer, S×m.
    """

    weights: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor, ...]

    def chosen(self, seats: Sequence[int]) -> "Stack":
        """Copy some of the networks, in the order given."""
        index = torch.tensor(seats)
        return Stack(*(tuple(part[index] for part in parts) for parts in self))

    def to(self, dtype: torch.dtype) -> "Stack":
        """The networks in another precision; themselves where it is theirs."""
        return Stack(*(tuple(part.to(dtype) for part in parts) for parts in self))

    def detached(self) -> "Stack":
        """Copy the networks without what made them."""
        return Stack(*(tuple(part.detach().clone() for part in parts) for parts in self))


class Batch(NamedTuple):
    """Images for one step of S networks.

    Parameters
    ----------
    x
        S×B×64, or N×64, the same for every network.
    y
        Labels, S×B or N.
    closed
        What is added to the scores: 0 where a class may be answered and −∞ where not, 1×10 or S×B×10; None where
        every class may.
    """

    x: torch.Tensor
    y: torch.Tensor
    closed: torch.Tensor | None = None


def stacked(stacks: Sequence[Stack]) -> Stack:
    """Put stacks on top of each other."""
    weights, biases = zip(*stacks, strict=True)
    return Stack(*(tuple(map(torch.cat, zip(*parts, strict=True))) for parts in (weights, biases)))


def scores(stack: Stack, x: torch.Tensor) -> torch.Tensor:
    """Scores of every network, S×10×B, for images S×B×64 or N×64."""
    return _layer(stack.weights[-1], stack.biases[-1], inputs(stack, x)[-1])


def inputs(stack: Stack, x: torch.Tensor) -> list[torch.Tensor]:
    """What reaches each layer of every network, S×n×B, for images S×B×64 or N×64."""
    # One column an image: the gradient of W then comes out as m×n, and need not be turned.
    reached = [x.expand(len(stack.biases[0]), *x.shape[-2:]).mT]
    for W, b in zip(stack.weights[:-1], stack.biases[:-1], strict=True):
        reached.append(_layer(W, b, reached[-1]).relu_())
    return reached


def losses(stack: Stack, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of each network, S, in nats."""
    made = scores(stack, batch.x)
    made = made if batch.closed is None else made + batch.closed.mT
    labels = batch.y.expand(len(made), -1)
    return cross_entropy(made, labels, reduction="none").mean(dim=1)


def _layer(W: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.baddbmm(b.unsqueeze(2), W, x)
