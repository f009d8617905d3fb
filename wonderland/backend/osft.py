"""Orthogonal subspace fine-tuning of a torch model: constrain it, train it with any optimizer, merge it.

A weight W = UΣVᵀ (m×n = out×in) is split into k protected singular directions U_h, V_h and the rest, U⊥,
V⊥. What may be learned is written as W′ = W + U⊥ C V⊥ᵀ, and the core C, (m−k)×(n−k), is trained in place of
W. Whatever an optimizer does to C, every protected triplet stays: W′v_i = σ_i u_i and W′ᵀu_i = σ_i v_i. The
split follows OSFT (arXiv 2504.07097).
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear as apply_linear

from wonderland.maths import subspace
from wonderland.maths._check import number
from wonderland.maths.subspace import Leak


class CoreLinear(nn.Module):
    """A linear layer of which only the core C of W′ = W + U⊥ C V⊥ᵀ can be trained.

    W, the bias and the bases are buffers: no optimizer sees them, and thawing the model does not thaw them.
    W shares its memory with ``linear``.

    Parameters
    ----------
    linear
        The layer to stand in for, with an m×n weight; its bias, if any, is kept and frozen.
    k
        How many singular directions of W to protect, 0 to min(m, n).

    Attributes
    ----------
    C : torch.nn.Parameter
        The core, (m−k)×(n−k), zero at the start: the layer begins as ``linear``.

    Raises
    ------
    ValueError
        If k is outside its range, or W holds NaN or infinity.
    """

    def __init__(self, linear: nn.Linear, k: int):
        super().__init__()
        W = linear.weight.detach()
        parts = subspace.split(_array(W), k)
        self.k = parts.k
        self.out_features, self.in_features = W.shape
        self.register_buffer("W", W)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())
        self.register_buffer("U_perp", torch.tensor(parts.U_perp, dtype=W.dtype, device=W.device))
        self.register_buffer("V_perp", torch.tensor(parts.V_perp, dtype=W.dtype, device=W.device))
        self.C = nn.Parameter(W.new_zeros(parts.U_perp.shape[1], parts.V_perp.shape[1]))
        self.train(linear.training)

    @property
    def weight(self) -> torch.Tensor:
        """W′, m×n: the weight the layer acts with now."""
        return self.W + self.U_perp @ self.C @ self.V_perp.T

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to x (…×n); gives …×m."""
        return apply_linear(x, self.W, self.bias) + x @ self.V_perp @ self.C.T @ self.U_perp.T

    def extra_repr(self) -> str:
        """Sizes, as they stand in the printed model."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, k={self.k}, "
            f"bias={self.bias is not None}"
        )


def kept_rank(m: int, n: int, keep: float) -> int:
    """How many of an m×n weight's singular directions ``keep`` protects.

    Returns
    -------
    int
        keep·min(m, n) rounded to the nearest whole number (a half to the even one), but at least 1, so that
        something is protected, and at most min(m, n) − 1, so that something can be learned.

    Raises
    ------
    ValueError
        If keep is not strictly between 0 and 1, or the weight has one singular direction only.
    """
    check_keep(keep)
    directions = min(m, n)
    if directions < 2:
        raise ValueError(f"a {m}×{n} weight has no two singular directions, one to keep and one to free.")
    return min(max(round(keep * directions), 1), directions - 1)


def check_keep(keep: float) -> None:
    """Raise TypeError or ValueError unless ``keep`` is a number strictly between 0 and 1."""
    if number(keep, "keep", 0, 1, "it is the fraction of singular directions to protect") in (0, 1):
        nothing = "protected" if keep == 0 else "free to learn"
        raise ValueError(f"keep = {keep:g} leaves nothing {nothing}: choose a fraction between 0 and 1.")


def constrain(model: nn.Module, keep: float = 0.5, targets: Iterable[str] | None = None) -> nn.Module:
    """Let ``model`` learn only outside the leading singular directions of its linear layers.

    Each chosen ``nn.Linear`` is replaced by a :class:`CoreLinear`; every other parameter, biases included,
    is frozen. On an error the model is as it was.

    Parameters
    ----------
    model
        Changed in place. An ``nn.Linear`` by itself has no place to be replaced in: wrap it in
        ``nn.Sequential``.
    keep
        Fraction of the singular directions to protect in each layer, strictly between 0 and 1; see
        :func:`kept_rank`.
    targets
        Names of the layers, as ``model.named_modules()`` gives them; by default every ``nn.Linear``.

    Returns
    -------
    torch.nn.Module
        The same model.

    Raises
    ------
    TypeError
        If the model is not a module, or a target is not text or not an ``nn.Linear``.
    ValueError
        If keep is outside its range, a target is unknown, nothing is left to replace, a layer's weight is
        not finite or has one singular direction only, or the model is constrained already.
    """
    check_keep(keep)
    if _cores(model):
        raise ValueError("model is constrained already: merge(model) ends that, then constrain it anew.")
    if _is_linear(model):
        raise ValueError("model is a lone nn.Linear, which has no place to be replaced in: wrap it.")
    modules = dict(model.named_modules(remove_duplicate=False))
    names = _all_linear(modules) if targets is None else _named_linear(modules, targets)
    # Keyed by layer, not by name: a layer that stands in two places stays one layer. And every split comes
    # before the first replacement, so that an error finds the model untouched.
    cores: dict[nn.Module, CoreLinear] = {}
    for name in names:
        layer = modules[name]
        if layer not in cores:
            _check_finite(name, layer.weight)
            try:
                cores[layer] = CoreLinear(layer, kept_rank(*layer.weight.shape, keep))
            except ValueError as error:
                raise ValueError(f"layer {name!r}: {error} Leave it out of targets.") from error
    model.requires_grad_(False)
    _replace(model, cores)
    return model


def merge(model: nn.Module) -> nn.Module:
    """Turn each constrained layer into an ``nn.Linear`` with the weight it learned.

    The merged layers can be trained again; what :func:`constrain` froze elsewhere stays frozen. On an error
    the model is as it was.

    Parameters
    ----------
    model
        A constrained model, changed in place.

    Returns
    -------
    torch.nn.Module
        The same model.

    Raises
    ------
    ValueError
        If no layer is constrained, or a learned weight is not finite.
    """
    merged: dict[nn.Module, nn.Linear] = {}
    for name, core in _constrained(model).items():
        weight = core.weight.detach()
        _check_finite(name, weight)
        # Skipping the initialisation leaves the process's random numbers alone.
        plain = nn.utils.skip_init(
            nn.Linear, core.in_features, core.out_features, bias=core.bias is not None,
            device=weight.device, dtype=weight.dtype,
        )  # fmt: skip
        plain.weight.data = weight
        if core.bias is not None:
            plain.bias.data = core.bias.clone()
        merged[core] = plain.train(core.training)
    _replace(model, merged)
    return model


def leak(model: nn.Module) -> dict[str, Leak]:
    """How far each constrained layer has moved in the directions it protects.

    Returns
    -------
    dict of str to wonderland.maths.subspace.Leak
        By layer name; zero up to the rounding of the layer's own number type.

    Raises
    ------
    ValueError
        If no layer is constrained, or a learned weight is not finite.
    """
    leaks = {}
    for name, core in _constrained(model).items():
        weight = core.weight
        _check_finite(name, weight)
        leaks[name] = subspace.leak(_array(weight), subspace.split(_array(core.W), core.k))
    return leaks


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _check_finite(name: str, weight: torch.Tensor) -> None:
    bad = int((~torch.isfinite(weight)).sum())
    if bad:
        raise ValueError(f"layer {name!r}: {bad} of its {weight.numel()} weights are NaN or infinite.")


def _cores(model: nn.Module) -> dict[str, CoreLinear]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {type(model).__name__}: give a torch.nn.Module.")
    return {name: module for name, module in model.named_modules() if isinstance(module, CoreLinear)}


def _constrained(model: nn.Module) -> dict[str, CoreLinear]:
    cores = _cores(model)
    if not cores:
        raise ValueError("model has no constrained layer: constrain(model) first.")
    return cores


def _is_linear(module: nn.Module) -> bool:
    # Subclasses are left alone: attention, for one, never calls the forward() of its own kind of Linear.
    return type(module) is nn.Linear


def _all_linear(modules: dict[str, nn.Module]) -> list[str]:
    names = [name for name, module in modules.items() if _is_linear(module)]
    if not names:
        raise ValueError("model has no nn.Linear to constrain.")
    return names


def _named_linear(modules: dict[str, nn.Module], targets: Iterable[str]) -> list[str]:
    # A single name would be read letter by letter.
    if isinstance(targets, str) or not isinstance(targets, Iterable):
        raise TypeError(f"targets = {targets!r} is not a list of layer names.")
    names = list(targets)
    if not names:
        raise ValueError("targets is empty: name at least one layer, or leave it out for every nn.Linear.")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"targets holds {name!r}, which is not a layer's name.")
        if name not in modules:
            known = ", ".join(repr(known) for known, module in modules.items() if _is_linear(module))
            raise ValueError(f"targets names {name!r}, unknown to model: its linear layers are {known}.")
        if not _is_linear(modules[name]):
            kind = type(modules[name]).__name__
            raise TypeError(f"targets names {name!r}, a {kind}: only an nn.Linear can be constrained.")
    return names


def _replace(model: nn.Module, replacements: dict[nn.Module, nn.Module]) -> None:
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module in replacements:
            model.set_submodule(name, replacements[module])
