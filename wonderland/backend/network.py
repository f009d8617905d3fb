"""The network of the race: an MLP 64–256–128–10 that has learned its first task, most often the upright digits."""

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from wonderland.backend.stack import Batch, Stack, losses, stacked
from wonderland.backend.tasks import TASKS, task
from wonderland.maths._check import MAX_SEED, choice, integer
from wonderland.maths.subspace import Split, rank_k, split

WIDTHS = (64, 256, 128, 10)
LAYERS = ("layer1", "layer2", "layer3")
PRETRAIN_STEPS = 600
PRETRAIN_LR = 1e-3
BATCH = 64
# What networks are trained in, twice as fast as in float64; their weights are measured in float64.
DTYPE = torch.float32
# Networks kept in memory; one is 0.2 MB, and readers choose seeds freely.
CACHED = 64
CACHED_SPLITS = 8
# Which classes may be answered: those of the image's own task, or all ten.
SCENARIOS = ("task", "class")
# What a race is judged by: held-out images, or, to choose settings by, some set aside from those learned from.
SPLITS = ("test", "validation")


class Lesson:
    """A task as tensors; not to be written to.

    Parameters
    ----------
    name
        One of ``tasks.TASKS``.
    scenario
        "task" or "class": whether a network is told which task's classes it may choose from (van de Ven and
        Tolias, arXiv 1904.07734, call these task- and class-incremental).
    judged_on
        "test" or "validation". With the second, the validation images are not learned from.

    Attributes
    ----------
    x, y
        Images to learn from, N×64, and their labels, N.
    judge_x, judge_y
        Images to be judged by, and their labels.
    closed
        See :class:`~wonderland.backend.stack.Batch`; 1×10, or None.
    """

    def __init__(self, name: str, scenario: str = "task", judged_on: str = "test"):
        self.key = (choice(name, "task", TASKS), scenario, judged_on)
        made = task(name)
        learned, judged = (made.learnable, made.test) if judged_on == "test" else (made.train, made.validation)
        # Copies: torch warns of arrays that are read-only.
        self.x, self.judge_x = (torch.tensor(part.x, dtype=DTYPE) for part in (learned, judged))
        self.y, self.judge_y = (torch.tensor(part.y) for part in (learned, judged))
        self.closed = None
        if scenario == "task" and len(made.classes) < WIDTHS[-1]:
            self.closed = torch.full((1, WIDTHS[-1]), -torch.inf, dtype=DTYPE)
            self.closed[0, list(made.classes)] = 0

    def batch(self, generators: Sequence[torch.Generator]) -> Batch:
        """Draw the images of one training step, 64 for each network."""
        index = torch.stack([torch.randint(len(self.y), (BATCH,), generator=generator) for generator in generators])
        return Batch(self.x[index], self.y[index], self.closed)


@lru_cache(maxsize=len(TASKS) * len(SCENARIOS) * len(SPLITS))
def lesson(name: str, scenario: str = "task", judged_on: str = "test") -> Lesson:
    """Return a task as tensors; the same object each time.

    Raises
    ------
    TypeError, ValueError
        If the task is unknown.
    """
    return Lesson(name, scenario, judged_on)


def pretrain(seed: int = 0) -> nn.Module:
    """Train the network on the upright digits: 600 steps of Adam at 1e-3, 64 images each.

    The first call for a seed trains, in about half a second; later ones copy what it made.

    Parameters
    ----------
    seed
        Of the weights at the start and the order of the images; 0 to 2³² − 1.

    Returns
    -------
    torch.nn.Module
        The caller's own copy, float64, its numbers those of the training in float32; its linear layers are
        ``LAYERS``. It takes N×64 images, ink 0 to 1, and gives N×10 scores.

    Raises
    ------
    TypeError, ValueError
        If the seed is not a whole number in its range.
    """
    model = _modules()
    stack = pretrained(lesson("upright"), (_checked(seed),))
    with torch.no_grad():
        for layer, W, b in zip(linear_layers(model).values(), *stack, strict=True):
            layer.weight.copy_(W[0])
            layer.bias.copy_(b[0])
    return model


def pretrained(first: Lesson, seeds: Sequence[int]) -> Stack:
    """Train a network for each seed on a first task; see :func:`pretrain`.

    The seeds that were not asked for lately are trained together; a network comes out the same in any company.

    Returns
    -------
    Stack
        The caller's own copy, float32.
    """
    # Two readers who ask for the same network at once wait for one training instead of running two.
    with _lock:
        missing = [seed for seed in dict.fromkeys(seeds) if (first.key, seed) not in _trained]
        if missing:
            made = _train(first, missing)
            for seat, seed in enumerate(missing):
                _trained[first.key, seed] = made.chosen([seat])
        for seed in seeds:
            _trained.move_to_end((first.key, seed))
        stack = stacked([_trained[first.key, seed] for seed in seeds])
        while len(_trained) > CACHED:
            _trained.popitem(last=False)
    return stack


def untrained(seeds: Sequence[int]) -> Stack:
    """Networks as they are before they have learned anything."""
    return stacked([_initial(torch.Generator().manual_seed(seed)) for seed in seeds])


def layer_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of the pretrained network's linear layers, m×n = out×in, by name.

    Raises
    ------
    TypeError, ValueError
        If the seed is not a whole number in its range.
    """
    return {name: weight(layer) for name, layer in linear_layers(pretrain(seed)).items()}


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
        One of ``tasks.TASKS``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type, unknown, or outside its range.
    """
    choice(layer, "layer", LAYERS)
    labels = lesson(task).judge_y
    seed = _checked(seed)
    weight_k = torch.from_numpy(rank_k(_split(seed, layer), k))
    model = _model(seed)
    depth = list(dict(model.named_children())).index(layer)
    with torch.no_grad():
        x = nn.functional.linear(_inputs(seed, layer, task), weight_k, model[depth].bias)
        return accuracy(model[depth + 1 :](x), labels)


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The network's linear layers, as they are now, by name."""
    return {name: model.get_submodule(name) for name in LAYERS}


def weight(layer: nn.Module) -> np.ndarray:
    """The weight (m×n) a layer acts with, whatever form it is trained in."""
    return layer.weight.detach().numpy()


def accuracy(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the scores (N×10) that name the right label (N), 0 to 1."""
    return (scores.argmax(dim=1) == labels).double().mean().item()


def _checked(seed: int) -> int:
    return integer(seed, "seed", 0, MAX_SEED, "the seed of the network")


_lock = threading.Lock()
_trained: OrderedDict[tuple[object, int], Stack] = OrderedDict()


def _train(first: Lesson, seeds: Sequence[int]) -> Stack:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    stack = stacked([_initial(generator) for generator in generators])
    trained = [part.requires_grad_() for parts in stack for part in parts]
    # Not fused: that rounds what fills no whole vector differently, and a network would come out otherwise in company.
    optimizer = torch.optim.Adam(trained, lr=PRETRAIN_LR, foreach=True)
    for _ in range(PRETRAIN_STEPS):
        optimizer.zero_grad()
        losses(stack, first.batch(generators)).sum().backward()
        optimizer.step()
    return stack.detached()


def _initial(generator: torch.Generator) -> Stack:
    """One network with torch's own initialisation, drawn from ``generator`` alone."""
    weights, biases = [], []
    for n, m in pairwise(WIDTHS):
        W, b = torch.empty(1, m, n, dtype=torch.float64), torch.empty(1, m, dtype=torch.float64)
        nn.init.kaiming_uniform_(W[0], a=math.sqrt(5), generator=generator)
        nn.init.uniform_(b, -1 / math.sqrt(n), 1 / math.sqrt(n), generator=generator)
        weights.append(W)
        biases.append(b)
    return Stack(tuple(weights), tuple(biases)).to(DTYPE)


def _modules() -> nn.Sequential:
    """The network's layers, their weights not yet set."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (n, m) in enumerate(pairwise(WIDTHS), 1):
        modules[f"layer{i}"] = nn.utils.skip_init(nn.Linear, n, m, dtype=torch.float64)
        if i < len(LAYERS):
            modules[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(modules)


@lru_cache(maxsize=CACHED_SPLITS)
def _model(seed: int) -> nn.Module:
    return pretrain(seed)


@lru_cache(maxsize=CACHED_SPLITS * len(LAYERS))
def _split(seed: int, layer: str) -> Split:
    return split(weight(_model(seed).get_submodule(layer)), 0)


@lru_cache(maxsize=CACHED_SPLITS * len(LAYERS))
def _inputs(seed: int, layer: str, task: str) -> torch.Tensor:
    """What reaches a layer when the network is shown a task's test images."""
    model = _model(seed)
    depth = list(dict(model.named_children())).index(layer)
    with torch.no_grad():
        return model[:depth](lesson(task).judge_x.double())
