"""The network of the race: an MLP 64–256–128–10 that has learned the upright digits."""

import copy
import math
import threading
from collections import OrderedDict
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from wonderland.backend.digits import TASKS, load_digits, transform
from wonderland.maths._check import choice, integer
from wonderland.maths.subspace import Split, rank_k, split

WIDTHS = (64, 256, 128, 10)
LAYERS = ("layer1", "layer2", "layer3")
MAX_SEED = 2**32 - 1
PRETRAIN_STEPS = 600
PRETRAIN_LR = 1e-3
BATCH = 64
# float64: a protected direction then stands still to 1e-14 instead of 1e-6, at little cost for so small a
# network.
DTYPE = torch.float64
# Networks kept in memory; one is 0.4 MB, and readers choose seeds freely.
CACHED_SEEDS = 8

Task = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def pretrain(seed: int = 0) -> nn.Module:
    """Train the network on the upright digits: 600 steps of Adam at 1e-3, 64 images each.

    The first call for a seed trains, in about a second; later ones copy what it made.

    Parameters
    ----------
    seed
        Of the weights at the start and the order of the images; 0 to 2³² − 1.

    Returns
    -------
    torch.nn.Module
        The caller's own copy, float64; its linear layers are ``LAYERS``. It takes N×64 images, ink 0 to 1,
        and gives N×10 scores.

    Raises
    ------
    TypeError, ValueError
        If the seed is not a whole number in its range.
    """
    return copy.deepcopy(_trained(seed))


def layer_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of the pretrained network's linear layers, m×n = out×in, by name.

    Raises
    ------
    TypeError, ValueError
        If the seed is not a whole number in its range.
    """
    return {name: weight(layer).copy() for name, layer in linear_layers(_trained(seed)).items()}


def accuracy_at_rank(seed: int, layer: str, k: int, task: str = "upright") -> float:
    """Test accuracy of the pretrained network with one weight cut down to its best rank-k approximation.

    Parameters
    ----------
    seed
        Which pretrained network; see :func:`pretrain`.
    layer
        One of ``LAYERS``.
    k
        Rank left, 0 to min(m, n) of that layer.
    task
        One of ``TASKS``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type, unknown, or outside its range.
    """
    choice(layer, "layer", LAYERS)
    choice(task, "task", tuple(TASKS))
    seed = _checked(seed)
    weight_k = torch.from_numpy(rank_k(_split(seed, layer), k))
    model = _trained(seed)
    depth = list(dict(model.named_children())).index(layer)
    with torch.no_grad():
        x = nn.functional.linear(_inputs(seed, layer, task), weight_k, model[depth].bias)
        return accuracy(model[depth + 1 :](x), tensors(task)[3])


@lru_cache(maxsize=len(TASKS))
def tensors(task: str) -> Task:
    """Images (N×64) and labels (N) to learn a task from, then those to test it with; not to be written to.

    Raises
    ------
    TypeError, ValueError
        If the task is unknown.
    """
    digits = load_digits()
    train_x, test_x = (
        torch.tensor(transform(task, images).reshape(-1, 64).copy(), dtype=DTYPE)
        for images in (digits.train_x, digits.test_x)
    )
    return train_x, torch.tensor(digits.train_y), test_x, torch.tensor(digits.test_y)


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The network's linear layers, as they are now, by name."""
    return {name: model.get_submodule(name) for name in LAYERS}


def weight(layer: nn.Module) -> np.ndarray:
    """The weight (m×n) a layer acts with, whatever form it is trained in."""
    return layer.weight.detach().numpy()


def accuracy(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the scores (N×10) that name the right label (N), 0 to 1."""
    return (scores.argmax(dim=1) == labels).double().mean().item()


def batch(images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the images and labels of one training step."""
    index = torch.randint(len(labels), (BATCH,), generator=generator)
    return images[index], labels[index]


def _checked(seed: int) -> int:
    return integer(seed, "seed", 0, MAX_SEED, "the seed of the network")


def _trained(seed: int) -> nn.Module:
    seed = _checked(seed)
    # Two readers who ask for the same network at once wait for one training instead of running two.
    with _lock(seed):
        return _train(seed)


@lru_cache(maxsize=256)
def _lock(seed: int) -> threading.Lock:
    return threading.Lock()


@lru_cache(maxsize=CACHED_SEEDS)
def _train(seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    model = _untrained(generator)
    images, labels = tensors("upright")[:2]
    optimizer = torch.optim.Adam(model.parameters(), lr=PRETRAIN_LR)
    for _ in range(PRETRAIN_STEPS):
        x, y = batch(images, labels, generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model


def _untrained(generator: torch.Generator) -> nn.Sequential:
    """The network with torch's own initialisation, drawn from ``generator`` alone."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (n, m) in enumerate(pairwise(WIDTHS), 1):
        layer = nn.utils.skip_init(nn.Linear, n, m, dtype=DTYPE)
        nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
        nn.init.uniform_(layer.bias, -1 / math.sqrt(n), 1 / math.sqrt(n), generator=generator)
        modules[f"layer{i}"] = layer
        if i < len(LAYERS):
            modules[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(modules)


@lru_cache(maxsize=CACHED_SEEDS * len(LAYERS))
def _split(seed: int, layer: str) -> Split:
    return split(weight(_trained(seed).get_submodule(layer)), 0)


@lru_cache(maxsize=CACHED_SEEDS * len(LAYERS))
def _inputs(seed: int, layer: str, task: str) -> torch.Tensor:
    """What reaches a layer when the network is shown a task's test images."""
    model = _trained(seed)
    depth = list(dict(model.named_children())).index(layer)
    with torch.no_grad():
        return model[:depth](tensors(task)[2])
