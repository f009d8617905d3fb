"""Weights taken apart by their singular values: chapter 6's toy, and the layers of a network that learned digits."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from wonderland.maths import subspace

TOY, NOISE = np.array([3.5, 2.1, 1.3, 0.7, 0.25, 0.05]), 0.3
# Known ahead, so that the cut-off has its range before torch is there.
SHAPES = {"toy": (6, 6), "layer1": (256, 64), "layer2": (128, 256), "layer3": (10, 128)}
# A loss of accuracy this small is a handful of test images.
SMALL_LOSS = 0.01


@dataclass(frozen=True, eq=False)
class Source:
    """A weight W (m×n), split; and the accuracy of its network, if it has one, with W cut to rank 0…min(m, n)."""

    W: np.ndarray
    split: subspace.Split
    accuracy: np.ndarray


@dataclass(frozen=True, eq=False)
class SVDMeasure:
    """What a cut-off keeps of one weight.

    While a first network trains, `source` is None and the numbers are empty; while another one does, `training` is
    true and they are the last one's.
    """

    name: str
    k: int
    source: Source | None
    sigma: np.ndarray
    energy: np.ndarray
    effective_rank: float
    grin: np.ndarray
    training: bool = False

    @property
    def accuracy(self) -> np.ndarray:
        """Accuracy with the weight cut to rank 0…count, 0 to 1; empty for the toy."""
        return self.source.accuracy if self.source else np.empty(0)

    @property
    def count(self) -> int:
        """How many singular values there are."""
        return min(SHAPES[self.name])

    @property
    def enough(self) -> int:
        """The rank from which on the accuracy is within a point of the whole weight's."""
        short = np.flatnonzero(self.accuracy < self.accuracy[-1] - SMALL_LOSS)
        return int(short.max(initial=-1)) + 1


@lru_cache(maxsize=32)
def toy(seed: int) -> Source:
    """A random 6×6 matrix with the tutorial's noisy spectrum, decomposed.

    A value that its noise would take below zero draws that noise again.
    """
    rng = np.random.default_rng(seed)
    sigma = TOY + rng.uniform(-NOISE, NOISE, size=6)
    while (sigma < 0).any():
        sigma = np.where(sigma < 0, TOY + rng.uniform(-NOISE, NOISE, size=6), sigma)
    W = subspace.matrix_with_spectrum(np.sort(sigma)[::-1], rng)
    return Source(W, subspace.split(W, 0), accuracy=np.empty(0))


@lru_cache(maxsize=16)
def layer(seed: int, name: str) -> Source:
    """One layer of the network that learned the digits, and how well the network does with it cut to each rank.

    Trains the network of that seed if it has not been yet: seconds, the first time.
    """
    from wonderland.backend import race  # torch, which the toy can do without

    W = race.layer_weights(seed)[name]
    accuracy = [race.accuracy_at_rank(seed, name, k) for k in range(min(W.shape) + 1)]
    return Source(W, subspace.split(W, 0), np.array(accuracy))


def measure_cut(name: str, source: Source, k: int) -> SVDMeasure:
    """Cut a weight after its k largest singular values."""
    sigma = source.split.S
    return SVDMeasure(
        name=name,
        k=k,
        source=source,
        sigma=sigma,
        energy=np.concatenate([[0], np.cumsum(sigma**2) / (sigma**2).sum()]),
        effective_rank=subspace.effective_rank(sigma),
        grin=subspace.rank_k(source.split, k),
    )
