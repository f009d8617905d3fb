"""Which layers of a model are meant: found by default or by name, checked, replaced, merged."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from wonderland.backend.plain import FLOATS, StandIn, is_patched, is_plain, patches

KINDS = "nn.Linear, nn.Conv2d or transformers' Conv1D"

Model = TypeVar("Model", bound=nn.Module)


def chosen(model: nn.Module, targets: Iterable[str] | None) -> dict[str, nn.Module]:
    """The layers to constrain by name, each once, every one of them fit for it.

    Parameters
    ----------
    model
        Not constrained yet, and not a layer alone, which has no place to be replaced in.
    targets
        Names as ``model.named_modules()`` gives them. By default every ``nn.Linear``, ``nn.Conv2d`` and
        ``Conv1D`` (of exactly that type) whose weight no other module shares, as a parameter or in memory: a
        tied weight, as an output embedding often has, would be untied by training it.

    Returns
    -------
    dict of str to torch.nn.Module
        A layer that stands in several places goes by its first name, or by the one in ``targets``.

    Raises
    ------
    TypeError
        If the model is no module, or a target no text, or no layer of those kinds.
    ValueError
        If the model is constrained already or a layer alone, a target is unknown or named twice, a layer's
        weight is tied, quantised, not finite or on the meta device, its bias is not finite, its ``forward`` is
        replaced, or nothing is left to constrain.
    """
    if stand_ins(model):
        raise ValueError("model is constrained or adapted already: merge(model) ends that, then begin anew.")
    if is_plain(model):
        kind = f"nn.{type(model).__name__}"
        raise ValueError(f"model is a lone {kind}, which has no place to be replaced in: wrap it in nn.Sequential.")
    layers = _default(model) if targets is None else _named(model, targets)
    for name, layer in layers.items():
        try:
            _check_own(layer)
            _check_numbers(layer)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error} Or leave it out of targets.") from None
    return layers


def stand_ins(model: nn.Module, kind: type[StandIn] = StandIn) -> dict[str, StandIn]:
    """The layers of a model that stand in for plain ones, by name, each once; there may be none.

    Raises
    ------
    TypeError
        If the model is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {type(model).__name__}: give a torch.nn.Module.")
    return {name: module for name, module in model.named_modules() if isinstance(module, kind)}


def merge(model: Model) -> Model:
    """Turn each constrained or adapted layer into a plain one with the weight it learned.

    The merged layers, weight and bias, can be trained again; what was frozen elsewhere stays frozen. On an error
    the model is as it was.

    Parameters
    ----------
    model
        A constrained or adapted model, changed in place.

    Returns
    -------
    torch.nn.Module
        The same model.

    Raises
    ------
    TypeError
        If the model is not a module.
    ValueError
        If it has nothing to merge, or what a layer learned is not finite.
    """
    layers = stand_ins(model)
    if not layers:
        raise ValueError("model has no layer to merge: constrain or adapt it first.")
    merged: dict[nn.Module, nn.Module] = {}
    for name, layer in layers.items():
        with about(name):
            check_finite(*layer.parameters())  # first: the inverse of an infinite rotation is an innocent 0
            merged[layer] = layer.plain()
            check_finite(*merged[layer].parameters())
    for plain in merged.values():
        plain.requires_grad_(True)
    replace(model, merged)
    return model


@contextmanager
def about(name: str, kind: str = "layer") -> Iterator[None]:
    """Let an error tell which layer, or what else, it is about."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{kind} {name!r}: {error}") from None


def replace(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> None:
    """Put new modules into every place where the old ones stand."""
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module in replacements:
            model.set_submodule(name, replacements[module])


def install(model: nn.Module, layers: Mapping[nn.Module, StandIn]) -> None:
    """Put new layers in place of plain ones, and freeze every parameter that is not theirs."""
    replace(model, layers)
    trained = {id(parameter) for layer in layers.values() for parameter in layer.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)


def check_finite(*numbers: torch.Tensor) -> None:
    """Raise ValueError if a tensor holds NaN or infinity."""
    for tensor in numbers:
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise ValueError(f"{bad} of its {tensor.numel()} weights are NaN or infinite.")


def _default(model: nn.Module) -> dict[str, nn.Module]:
    shared = _shared(model)
    layers = {name: module for name, module in model.named_modules() if is_plain(module)}
    if not layers:
        raise ValueError(f"model has no {KINDS} to constrain.")
    alone = {name: layer for name, layer in layers.items() if id(layer.weight) not in shared}
    if not alone:
        raise ValueError("every layer of model shares its weight with another module: untie one to constrain it.")
    return alone


def _named(model: nn.Module, targets: Iterable[str]) -> dict[str, nn.Module]:
    # A single name would be read letter by letter.
    if isinstance(targets, str) or not isinstance(targets, Iterable):
        raise TypeError(f"targets = {targets!r} is not a list of layer names.")
    names = list(targets)
    if not names:
        raise ValueError("targets is empty: name at least one layer, or leave it out for all that there are.")
    modules = dict(model.named_modules(remove_duplicate=False))
    shared = _shared(model)
    seen: dict[nn.Module, str] = {}
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"targets holds {name!r}, which is not a layer's name.")
        if name not in modules:
            known = ", ".join(repr(known) for known, module in modules.items() if is_plain(module))
            raise ValueError(f"targets names {name!r}, unknown to model: its layers are {known or 'none'}.")
        layer = modules[name]
        if not is_plain(layer):
            raise TypeError(f"targets names {name!r}, a {type(layer).__name__}: only {KINDS} can be constrained.")
        if layer in seen:
            raise ValueError(f"targets names {name!r} twice, or by another name {seen[layer]!r}: name each layer once.")
        if id(layer.weight) in shared:
            raise ValueError(
                f"targets names {name!r}, whose weight {shared[id(layer.weight)]} share: training it alone would "
                "untie them. Leave it out of targets, or give it a copy of the weight."
            )
        seen[layer] = name
    return {name: layer for layer, name in seen.items()}


def _shared(model: nn.Module) -> dict[int, str]:
    """Parameters whose numbers several modules own, by their id: the names of those modules."""
    places = [
        (*_place(parameter), order, repr(name), id(parameter))
        for order, (name, module) in enumerate(model.named_modules())
        for parameter in set(module._parameters.values()) - {None}
    ]
    groups: list[list[tuple[int, str, int]]] = []
    there, last = "", 0
    for device, start, end, *owner in sorted(places):
        if not groups or device != there or start >= last:
            groups.append([])
            there, last = device, end
        groups[-1].append(tuple(owner))
        last = max(last, end)
    shared = {}
    for group in groups:
        names = list(dict.fromkeys(name for _, name, _ in sorted(group)))
        if len(names) > 1:
            shared |= {key: " and ".join(names) for _, _, key in group}
    return shared


def _place(parameter: nn.Parameter) -> tuple[str, int, int]:
    """Where a parameter's numbers lie: its device, and the first address and the one past the last."""
    if type(parameter) is nn.Parameter and parameter.layout == torch.strided and not parameter.is_meta:
        start = parameter.data_ptr()
        steps = zip(parameter.shape, parameter.stride(), strict=True)
        if start and parameter.numel():
            last = sum((size - 1) * stride for size, stride in steps)
            return str(parameter.device), start, start + (last + 1) * parameter.element_size()
    return "", id(parameter), id(parameter) + 1  # no memory that others could share


def _check_own(layer: nn.Module) -> None:
    """Raise ValueError if a method of a layer was replaced on it: what replaces it would be lost, or never learn."""
    changed = [name for name in patches(layer) if is_patched(layer, name)]
    if changed:
        raise ValueError(
            f"its {changed[0]} was replaced on the layer itself, by hand or by hooks of accelerate, and goes on using "
            "the weight that it has now. Undo that first: accelerate.hooks.remove_hook_from_module(model, "
            f"recurse=True), loading without device_map, or del layer.{changed[0]}."
        )


def _check_numbers(layer: nn.Module) -> None:
    weight, bias = (layer._parameters.get(name) for name in ("weight", "bias"))
    if weight is None:
        raise ValueError("its weight is computed from other parameters: remove its parametrization first.")
    if weight.dtype not in FLOATS:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in FLOATS)
        raise ValueError(f"its weight is {weight.dtype}, quantised or not real: give one of {known}.")
    if weight.is_meta:
        raise ValueError("its weight is on the meta device and holds no numbers: load the model first.")
    check_finite(weight)
    bad = 0 if bias is None else int((~torch.isfinite(bias)).sum())
    if bad:
        raise ValueError(f"{bad} of the {len(bias)} entries of its bias are NaN or infinite.")
