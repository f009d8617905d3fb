"""What a model has beside the layers that are trained: a file of what these learned is right in no other company."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from wonderland.backend.constrained import whole
from wonderland.backend.splitting import checksum
from wonderland.backend.targets import about

# Buffers that passes in training mode change, without any optimizer.
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def surroundings(model: nn.Module, layers: Mapping[nn.Module, bool]) -> dict[str, torch.Tensor]:
    """All that lasts in a model but the weights of some layers: parameters and persistent buffers, by name.

    Parameters
    ----------
    model
        Any.
    layers
        The layers to leave out, and for each whether its bias is left out, too.
    """
    found = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for name, tensor in (module._parameters | module._buffers).items():
            left_out = module in layers and (name != "bias" or layers[module])
            if tensor is not None and not left_out and name not in module._non_persistent_buffers_set:
                found[f"{path}.{name}" if path else name] = whole(tensor.detach())
    return found


def is_statistic(name: str) -> bool:
    """Whether a tensor of a model is a running statistic, which travels along."""
    return name.rpartition(".")[2] in STATISTICS


def checksums(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """The fingerprint of each tensor that is no statistic."""
    found = {}
    for name, tensor in tensors.items():
        if not is_statistic(name):
            with about(name, "tensor"):
                found[name] = checksum(tensor)
    return found


def check_same(model: nn.Module, layers: Mapping[nn.Module, bool], sums: Mapping[str, str], file: Path) -> None:
    """Raise ValueError, naming the first tensor that differs, if surroundings are not those that a file tells of."""
    tensors = surroundings(model, layers)
    here = checksums(tensors)
    hint = "load it onto that base model, in the same number type."
    for name in sums:
        if name not in here:
            raise ValueError(f"{name!r} of the model that {file} was trained in is missing here: {hint}")
    for name, found in here.items():
        if name not in sums:
            raise ValueError(f"{name!r} is not in the model that {file} was trained in: {hint}")
        if found != sums[name]:
            kind = tensors[name].dtype
            raise ValueError(f"{name!r} ({kind}) is not what it was in the model that {file} was trained in: {hint}")


def statistics(
    around: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], path: Path
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The running statistics of the base model, each with what the file has of it."""
    pairs = [(tensor, tensors.get(f":{name}")) for name, tensor in around.items() if is_statistic(name)]
    saved = sum(key.startswith(":") for key in tensors)
    if len(pairs) != saved or any(new is None or new.shape != old.shape for old, new in pairs):
        raise ValueError(f"{path} has the running statistics of another model: load it onto its own base model.")
    return pairs
