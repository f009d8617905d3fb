"""What a model's own activations say about keeping: which directions of each layer, and how many.

Projecting onto the complement of activations is Gradient Projection Memory (arXiv 2103.09762); keeping more of
layers that change their input little is the adaptive rule of OSFT (arXiv 2504.07097).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.functional import cosine_similarity, pad, unfold

from wonderland.backend.constrained import double
from wonderland.backend.keeping import Keep, named_by, per_layer, rank
from wonderland.backend.plain import weight_matrix, working
from wonderland.backend.plan import LEAST, MEAN, retained
from wonderland.backend.targets import chosen
from wonderland.maths._check import choice, number

SIMILARITIES = ("cosine", "cka")

Batches = Iterable[torch.Tensor | tuple | Mapping[str, torch.Tensor]]


def activations(
    model: nn.Module, batches: Batches, keep: Keep = 0.5, targets: Iterable[str] | None = None
) -> dict[str, torch.Tensor]:
    """The strongest directions of each layer's inputs, as a basis for ``constrain``.

    Protecting them keeps the layer's outputs for every input seen, so far as k directions hold it: Gradient
    Projection Memory (G. Saha et al., arXiv 2103.09762). They are the leading eigenvectors of Σ xxᵀ over
    every input x (of a convolution, every patch), added up in float64: n² numbers for each layer meanwhile.

    Parameters
    ----------
    model
        Run in evaluation mode, without gradients, and left as it was.
    batches
        What the model is called with, one after another: a tensor, a tuple of arguments or a dict of them.
    keep
        Fraction of the n input directions, strictly between 0 and 1, or their number, 1 to n − 1; or either
        by layer.
    targets
        Layers, as ``constrain`` takes them; by default those that ``keep`` names, or all that there are.

    Returns
    -------
    dict of str to torch.Tensor
        V_h by layer, n×k, orthonormal.

    Raises
    ------
    TypeError, ValueError
        As :func:`wonderland.backend.targets.chosen`; if keep is outside its range, a layer saw no input, NaN
        or infinity, or fewer linearly independent inputs than k (one sample has one).
    """
    layers = chosen(model, named_by(keep, targets))
    keeps = per_layer(keep, layers)
    counts = {name: _input_rank(name, layer, keeps[name]) for name, layer in layers.items()}
    moments: dict[str, torch.Tensor] = {}
    seen = dict.fromkeys(layers, 0)

    def record(name: str, layer: nn.Module, args: tuple, output: object) -> None:
        x = double(_inputs(layer, args[0]))
        moments[name] = moments.get(name, 0) + x.mT @ x
        seen[name] += len(x)

    _run(model, batches, layers, record)
    return {
        name: _strongest(name, moments.get(name), seen[name], counts[name], layers[name].weight.dtype)
        for name in layers
    }


def adaptive_keep(
    model: nn.Module,
    batches: Batches,
    mrr: float = LEAST,
    trr: float = MEAN,
    targets: Iterable[str] | None = None,
    similarity: str = "cosine",
) -> dict[str, float]:
    """What fraction of each layer to keep, by how little the layer changes its input.

    A layer's importance I is the mean cosine of its input and its output, divided by the mean over layers;
    it keeps r = mrr + I·(trr − mrr) (arXiv 2504.07097, its adaptive rank), here at least mrr and below 1. A layer
    whose input and output differ in shape takes the cosine of the innermost module around it where they do
    not (in a transformer, its block). Of images (four dimensions) the cosine is over channels, else over the
    last dimension.

    Where there is no such module either, :func:`linear_cka` can stand in for the cosine, for every layer. That is an
    extension of the paper's rule.

    Parameters
    ----------
    model, batches, targets
        As for :func:`activations`.
    mrr, trr
        Least and mean fraction to retain, 0 ≤ mrr ≤ trr ≤ 1.
    similarity
        "cosine", or "cka".

    Returns
    -------
    dict of str to float
        Fractions strictly between 0 and 1, to give to ``constrain`` as its ``keep``.

    Raises
    ------
    TypeError, ValueError
        As :func:`wonderland.backend.targets.chosen`; if mrr or trr is outside its range, the similarity is unknown, a
        layer saw no input or has no such module around it, or the mean cosine is not above 0, where importance has no
        meaning.
    """
    mrr = number(mrr, "mrr", 0, 1, "it is the least fraction to retain")
    trr = number(trr, "trr", mrr, 1, "it is the mean fraction to retain, from mrr to 1")
    measured = {"cosine": _cosines, "cka": linear_cka}[choice(similarity, "similarity", SIMILARITIES)]
    return retained(measured(model, batches, targets), mrr, trr)


def linear_cka(model: nn.Module, batches: Batches, targets: Iterable[str] | None = None) -> dict[str, float]:
    """How alike a layer's inputs and outputs are, whatever their sizes.

    The cosine of two Gram matrices, those of all inputs and of all outputs, centered: it compares how alike any two
    inputs are before the layer and after it (linear CKA; S. Kornblith et al., arXiv 1905.00414),
    ‖Y᾽ᵀX᾽‖² / (‖X᾽ᵀX᾽‖·‖Y᾽ᵀY᾽‖) with the inputs X (N×n) and outputs Y (N×m) less their means. Of a convolution a sample
    is a place: the patch around it, and what comes out there. Added up in float64, (n + m)² numbers for each layer.

    Parameters
    ----------
    model, batches, targets
        As for :func:`activations`.

    Returns
    -------
    dict of str to float
        By layer, 0 to 1; 1 for a layer that turns and scales alone.

    Raises
    ------
    TypeError, ValueError
        As :func:`wonderland.backend.targets.chosen`; if no batch reached a layer, it saw NaN or infinity, or its
        inputs or its outputs are all the same.
    """
    layers = chosen(model, targets)
    moments: dict[str, torch.Tensor] = {}
    sums: dict[str, torch.Tensor] = {}
    seen = dict.fromkeys(layers, 0)

    def record(name: str, layer: nn.Module, args: tuple, output: torch.Tensor) -> None:
        if not output.numel():
            return
        y = output.movedim(-3, -1) if isinstance(layer, nn.Conv2d) else output
        y = double(y.reshape(-1, y.shape[-1]))
        both = torch.cat([double(_inputs(layer, args[0])).reshape(len(y), -1), y], dim=1)
        moments[name] = moments.get(name, 0) + both.mT @ both
        sums[name] = sums.get(name, 0) + both.sum(0)
        seen[name] += len(both)

    _run(model, batches, layers, record)
    found = {}
    for name, layer in layers.items():
        if not seen[name]:
            raise ValueError(
                f"layer {name!r} saw no input: no batch reached it, or empty ones. Leave it out of targets."
            )
        spread = moments[name] - torch.outer(sums[name], sums[name]) / seen[name]
        if not torch.isfinite(spread).all():
            raise ValueError(f"layer {name!r} saw inputs or gave outputs that are NaN or infinite.")
        n = len(spread) - len(weight_matrix(layer))
        sizes = spread[:n, :n].norm() * spread[n:, n:].norm()
        rounding = len(spread) * torch.finfo(spread.dtype).eps * moments[name].diagonal()
        varied = spread.diagonal() > rounding
        if not (varied[:n].any() and varied[n:].any()):
            raise ValueError(f"layer {name!r}: its inputs, or its outputs, are all the same: give more samples.")
        found[name] = float(spread[n:, :n].square().sum() / sizes)
    return found


def _cosines(model: nn.Module, batches: Batches, targets: Iterable[str] | None) -> dict[str, float]:
    """The mean cosine of input and output of each layer, or of the innermost module around it that has one."""
    layers = chosen(model, targets)
    modules = dict(model.named_modules())
    around = {name: [outer for outer in _around(name) if outer in modules] for name in layers}
    cosines: dict[str, tuple[float, int]] = {}

    def record(name: str, module: nn.Module, args: tuple, output: object) -> None:
        x, y = _first_tensor(args), _first_tensor(output)
        if x is None or y is None or x.shape != y.shape or not x.is_floating_point():
            return
        cosine = cosine_similarity(double(x), double(y), dim=1 if x.ndim == 4 else -1)
        total, count = cosines.get(name, (0.0, 0))
        cosines[name] = total + float(cosine.sum()), count + cosine.numel()

    _run(model, batches, {name: modules[name] for outer in around.values() for name in outer}, record)
    without = [name for name, outer in around.items() if not any(each in cosines for each in outer)]
    if without:
        raise ValueError(
            f"{', '.join(map(repr, without))}: no module around has an input and an output of one shape, so there "
            "is no cosine. Leave these layers out of targets, or give keep by layer."
        )
    means = {}
    for name, outer in around.items():
        total, count = next(cosines[each] for each in outer if each in cosines)
        if not count:
            raise ValueError(f"layer {name!r} saw no input: the batches are empty. Give at least one sample.")
        means[name] = total / count
    return means


def _input_rank(name: str, layer: nn.Module, keep: float) -> int:
    n = weight_matrix(layer).shape[1]
    try:
        return rank(n, keep, f"its inputs have {n} directions")
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None


def _inputs(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a layer's weight matrix multiplies, as rows (…×n)."""
    if not isinstance(layer, nn.Conv2d):
        return x.reshape(-1, x.shape[-1])
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = pad(x if x.ndim == 4 else x[None], layer._reversed_padding_repeated_twice, mode=mode)
    patches = unfold(x, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
    # The channels of each group meet the same weights' columns.
    return patches.mT.reshape(-1, patches.shape[1] // layer.groups)


def _strongest(name: str, moment: torch.Tensor | None, seen: int, k: int, dtype: torch.dtype) -> torch.Tensor:
    if moment is None:
        raise ValueError(f"layer {name!r} saw no input: no batch reached it. Leave it out of targets.")
    if not torch.isfinite(moment).all():
        raise ValueError(f"layer {name!r} saw inputs that are NaN or infinite.")
    values, vectors = torch.linalg.eigh(moment)
    # As numpy's matrix_rank cuts singular values; these are their squares.
    rounding = max(seen, len(moment)) * torch.finfo(working(dtype)).eps
    independent = int((values > values[-1] * max(rounding**2, len(moment) * torch.finfo(values.dtype).eps)).sum())
    if independent < k:
        raise ValueError(
            f"layer {name!r}: k = {k} directions of its inputs are to be kept, but {seen} inputs have {independent} "
            "linearly independent ones: give more samples, or keep less."
        )
    return vectors[:, -k:].flip(1).to(working(dtype))


def _around(name: str) -> Iterator[str]:
    """The name itself, then those of the modules around it, inside out."""
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""


def _first_tensor(value: object) -> torch.Tensor | None:
    """The first tensor in arguments or an output, which may be nested."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return next((found for found in map(_first_tensor, value) if found is not None), None)
    return None


def _run(model: nn.Module, batches: Batches, modules: Mapping[str, nn.Module], record: Callable[..., None]) -> None:
    """Call the model with every batch, telling ``record`` of each pass through a module."""
    if isinstance(batches, (torch.Tensor, str, Mapping)) or not isinstance(batches, Iterable):
        raise TypeError(f"batches is {type(batches).__name__}: give a list of what the model is called with.")
    with _watched(model, modules, record), torch.no_grad():
        count = 0
        for batch in batches:
            count += 1
            if isinstance(batch, Mapping):
                model(**batch)
            elif isinstance(batch, (tuple, list)):
                model(*batch)
            else:
                model(batch)
    if not count:
        raise ValueError("batches is empty: give at least one.")


@contextmanager
def _watched(model: nn.Module, modules: Mapping[str, nn.Module], record: Callable[..., None]) -> Iterator[None]:
    training = {module: module.training for module in model.modules()}
    hooks = []
    try:
        for name, module in modules.items():

            def hook(module: nn.Module, args: tuple, kwargs: dict, output: object, name: str = name) -> None:
                record(name, module, args or tuple(kwargs.values()), output)

            hooks.append(module.register_forward_hook(hook, with_kwargs=True))
        model.eval()
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in training.items():
            module.training = mode
