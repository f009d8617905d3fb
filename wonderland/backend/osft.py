"""Orthogonal subspace fine-tuning of a torch model: constrain it, train it with any optimizer, merge it.

Of each weight W = UΣVᵀ (m×n = out×in), k directions U_h, V_h are protected, and only the free block
C = U⊥ᵀWV⊥, (m−k)×(n−k), is trained. Whatever an optimizer does to C, every protected triplet stays:
W′v_i = σ_i u_i and W′ᵀu_i = σ_i v_i. The split follows OSFT (arXiv 2504.07097). How the layers hold their weights is
told in ``wonderland.backend.layers``; a few lines use it::

    constrain(model, keep=0.5)
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    ...                                     # the loop as it is
    merge(model)                            # plain layers again; constrain anew for the next task
"""

import os
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import nn
from tqdm import tqdm

from wonderland.backend.calibration import activations, adaptive_keep
from wonderland.backend.constrained import Bases, Constrained
from wonderland.backend.keeping import Given, Keep, check_keep, given_bases, kept_rank, named_by, per_layer, rank
from wonderland.backend.layers import FORMS, METHODS, Dense, cheapest
from wonderland.backend.plain import weight_matrix
from wonderland.backend.saving import load, save
from wonderland.backend.splitting import checksum, leading
from wonderland.backend.targets import about, check_finite, chosen, install, merge, stand_ins
from wonderland.maths._check import choice, flag, shown
from wonderland.maths.subspace import Leak

__all__ = [
    "activations", "adaptive_keep", "check_keep", "constrain", "kept_rank", "leak", "load", "merge", "restore", "save",
]  # fmt: skip

Progress = Callable[[str, int, int], object]


def constrain(
    model: nn.Module,
    keep: Keep = 0.5,
    basis: str | Mapping[str, Given] = "weight",
    targets: Iterable[str] | None = None,
    method: str = "auto",
    train_bias: bool = False,
    progress: bool | Progress = False,
    cache: str | os.PathLike[str] | None = None,
) -> nn.Module:
    """Let ``model`` learn only outside the protected directions of its layers.

    Each chosen layer is replaced by one that has its free block as the only parameter. Every other parameter
    is frozen. On an error the model is as it was.

    Parameters
    ----------
    model
        Changed in place. A layer by itself has no place to be replaced in: wrap it in ``nn.Sequential``.
    keep
        How many singular directions to protect in each layer: a fraction strictly between 0 and 1, a whole
        number of 1 to min(m, n) − 1, or either by layer. Where ``basis`` gives the directions, it is not used.
    basis
        "weight": the leading singular directions. Or by layer: V_h (n×k), inputs whose outputs shall stay,
        as :func:`activations` finds them; or a pair U_h (m×k_u), V_h (n×k_v). Orthonormal columns.
    targets
        Names of the layers, as ``model.named_modules()`` gives them. By default those that a ``basis`` or
        ``keep`` by layer names, else every ``nn.Linear``, ``nn.Conv2d`` (as its matrix, out ×
        (in/groups)·height·width) and transformers' ``Conv1D`` whose weight no other module shares.
    method
        "core": the free block C is the parameter, in the form that multiplies less. "dense": the weight is,
        and what an optimizer moved where it must not is undone before the next use; see :func:`restore`.
        "auto" is "core", which takes less memory and multiplies less.
    train_bias
        Whether the biases of the chosen layers are trained; nothing protects what they add.
    progress
        True shows a bar while the layers of a big model are split; or a function, called as
        ``progress(name, done, total)`` after each.
    cache
        A folder in which to keep what splitting a weight found, and look it up the next time.

    Returns
    -------
    torch.nn.Module
        The same model.

    Raises
    ------
    TypeError
        If the model is not a module, an argument is of the wrong type, or a target no layer of those kinds.
    ValueError
        If keep is outside its range, a target is unknown or named twice, nothing is left to replace, a given
        basis is not orthonormal or of the wrong size, the model is constrained already, a layer's ``forward`` was
        replaced (as accelerate's hooks do), its bias is not finite, or its weight is tied, quantised, not finite,
        on the meta device or has one singular direction only.
    RuntimeError
        Under ``torch.inference_mode()``.
    """
    choice(method, "method", METHODS)
    flag(train_bias, "train_bias")
    if not (isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress = {shown(progress)} is not True, False or a function of (name, done, total).")
    if isinstance(basis, Mapping):
        layers = chosen(model, named_by(basis, targets))
        bases = given_bases(basis, layers)
    else:
        choice(basis, "basis", ("weight",))
        layers = chosen(model, named_by(keep, targets))
        ranks = _ranks(layers, keep)
    # Every split comes before the first replacement, so that an error finds the model untouched.
    cores: dict[nn.Module, Constrained] = {}
    bar = tqdm(layers.items(), desc="splitting", unit=" layers", disable=progress is not True)
    for done, (name, layer) in enumerate(bar, start=1):
        W = weight_matrix(layer).detach()
        if isinstance(basis, Mapping):
            held = bases[name]
        else:
            split = leading(W, ranks[name], cache)
            held = Bases(split.U, split.V)
        k_u, k_v = (directions.shape[1] for directions in held)
        form = FORMS[cheapest(method, *W.shape, k_u, k_v, given=isinstance(basis, Mapping))]
        cores[layer] = form(layer, held, train_bias)
        cores[layer].base = checksum(layer.weight)
        cores[layer].basis = "given" if isinstance(basis, Mapping) else "weight"
        if callable(progress):
            progress(name, done, len(layers))
    install(model, cores)
    return model


def leak(model: nn.Module, base: nn.Module | Mapping[str, torch.Tensor] | None = None) -> dict[str, Leak]:
    """How far each constrained layer has moved in the directions it protects, computed in float64.

    Parameters
    ----------
    model
        A constrained model.
    base
        The model as it was, or its weights by layer: the truth to measure against. Without it, that is what
        the layers themselves keep frozen, which is the old weight but for its rounding.

    Returns
    -------
    dict of str to wonderland.maths.subspace.Leak
        By layer name; zero up to the rounding of the layer's own number type. The ``triplet`` is the largest
        over an orthonormal basis of the protected inputs. Where no output is protected, ``left`` and
        ``joint`` are 0.

    Raises
    ------
    TypeError
        If the model is not a module.
    ValueError
        If no layer is constrained, a learned weight is not finite, or ``base`` lacks a layer or has it in
        another shape.
    """
    return {name: _leak(name, core, base) for name, core in _constrained(model).items()}


def restore(model: nn.Module) -> nn.Module:
    """Undo now what an optimizer did to protected directions, in the layers of method "dense".

    They do so by themselves before they are next used. Call this to read their raw parameters, after moving
    them through ``.data``, or after every step by
    ``optimizer.register_step_post_hook(lambda *_: restore(model))``. The other layers have nothing to undo.

    Returns
    -------
    torch.nn.Module
        The same model.

    Raises
    ------
    TypeError
        If the model is not a module.
    ValueError
        If no layer is constrained.
    """
    for layer in _constrained(model).values():
        if isinstance(layer, Dense):
            layer.restore()
    return model


def _ranks(layers: Mapping[str, nn.Module], keep: Keep) -> dict[str, int]:
    ranks = {}
    for name, share in per_layer(keep, layers).items():
        m, n = weight_matrix(layers[name]).shape
        try:
            ranks[name] = rank(min(m, n), share, f"a {m}×{n} weight has {min(m, n)} singular values")
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None
    return ranks


def _constrained(model: nn.Module) -> dict[str, Constrained]:
    cores = stand_ins(model, Constrained)
    if not cores:
        raise ValueError("model has no constrained layer: constrain(model) first.")
    return cores


def _leak(name: str, core: Constrained, base: nn.Module | Mapping[str, torch.Tensor] | None) -> Leak:
    U, V = bases = core.bases()
    W = core.merged().to(U)
    with about(name):
        check_finite(W)
    A, B = core.kept(bases)
    if base is not None:
        old = _old_weight(name, core, base).to(W)
        A, B = U.mT @ old, old @ V
    right, left = W @ V - B, U.mT @ W - A
    return Leak(
        joint=float((left @ V).norm()),
        right=float(right.norm()),
        left=float(left.norm()),
        triplet=float(right.norm(dim=0).amax()) if core.k_v else 0.0,
    )


def _old_weight(name: str, core: Constrained, base: nn.Module | Mapping[str, torch.Tensor]) -> torch.Tensor:
    try:
        weight = base.get_submodule(name).weight if isinstance(base, nn.Module) else base[name]
    except (AttributeError, KeyError):
        raise ValueError(f"base has no layer {name!r}: give the model that was constrained, as it was.") from None
    try:
        return core.as_matrix(weight.detach())
    except ValueError as error:
        raise ValueError(f"base, layer {name!r}: {error}") from None
