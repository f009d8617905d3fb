"""What a file of :func:`wonderland.backend.saving.save` says, checked before anything is made of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wonderland.backend.layers import FORMS
from wonderland.maths._check import choice, flag, integer, shown

FORMAT = "wonderland-osft"
VERSION = 2
# A form that files of before 29 November 2026 name.
EARLIER = ("reflected",)
# Products aᵀW′b that tell one weight from another.
PRODUCTS = 4


def told(metadata: Mapping[str, str] | None, path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """What the file says of its layers, checked to be what a layer needs, and of what was around them."""
    if metadata is None or metadata.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by save(model, path).")
    if metadata.get("version") != str(VERSION):
        raise ValueError(
            f"{path} is of version {shown(metadata.get('version'))}: this program reads version {VERSION}."
        )
    try:
        about, around = (json.loads(metadata[key]) for key in ("layers", "around"))
        if not about:
            raise ValueError("no layers")
        for of in about.values():
            m, n = of["shape"]
            for key, k, size in (("rows", "k_u", m), ("columns", "k_v", n)):
                integer(of[k], k, 0, integer(size, "size", 1) - 1)
                chosen = int(of[key], 16)
                if chosen < 0 or chosen.bit_count() != of[k] or chosen.bit_length() > size:
                    raise ValueError(f"{key} names other than {of[k]} of {size}")
            choice(of["form"], "form", (*FORMS, *EARLIER))
            choice(of["basis"], "basis", ("weight", "given"))
            flag(of["bias"], "bias")
            of["base"] = str(of["base"])
            of["products"] = [float(product) for product in of["products"]]
            integer(len(of["products"]), "products", PRODUCTS, PRODUCTS)
        return about, {str(name): str(found) for name, found in around.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged, or was made by hand ({error}): save it anew.") from None


def checked(
    name: str, of: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """A layer's tensors, checked to be of the sizes that the file tells."""
    (m, n), k_u, k_v = of["shape"], of["k_u"], of["k_v"]
    shapes = {"C": (m - k_u, n - k_v)}
    if of["basis"] == "given" or any(f"{name}:{part}" in tensors for part in ("X_u", "X_v")):
        shapes |= {part: (size - k, k) for part, size, k in (("X_u", m, k_u), ("X_v", n, k_v)) if k}
    if of["bias"]:
        shapes["bias"] = (m,)
    parts = {part: tensors.get(f"{name}:{part}") for part in shapes}
    for part, tensor in parts.items():
        if tensor is None or tensor.shape != shapes[part]:
            found = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
            raise ValueError(f"{path} is damaged: {part} of layer {name!r} is {found}, and should be {shapes[part]}.")
    return parts


def to_text(chosen: torch.Tensor) -> str:
    """Truth values as the digits of a hexadecimal number, the first one lowest."""
    return f"{sum(1 << i for i in chosen.nonzero().flatten().tolist()):x}"


def from_text(text: str, size: int) -> torch.Tensor:
    """The truth values again."""
    number = int(text, 16)
    return torch.tensor([bool(number >> i & 1) for i in range(size)])
