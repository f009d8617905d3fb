"""What was trained, in one safetensors file: written, and put on the base model again.

The free block of W′ (m×n) is F = (I − U_hU_hᵀ) W′ (I − V_hV_hᵀ). It is written without any choice of vectors
within the bases, by which two machines differ: k rows of U_h are taken to be the identity (the pivots of its LU
decomposition), which leaves the others, X_u ((m−k)×k), to name its span; so N_u = [−X_uᵀ; I] spans U⊥, and
F = N_u K N_vᵀ with K the entries of F in the other rows and columns. A file has (m−k)(n−k) numbers for K, and
k(m−k) + k(n−k) for X_u and X_v: of a square weight 1 − (k/n)², the fewest that name such a matrix. Without the
bases it has (1 − k/n)², and the loader has to find the same spans anew. Numbers are at least float32.

Two products with W′ travel along. A layer that does not give them again is refused, whatever the reason.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from wonderland.backend.constrained import Bases, Constrained, whole
from wonderland.backend.layers import FORMS
from wonderland.backend.plain import weight_matrix, working
from wonderland.backend.splitting import checksum, leading
from wonderland.backend.targets import check_finite, chosen, install, stand_ins
from wonderland.maths._check import choice, flag, integer, shown

FORMAT = "wonderland-osft"
VERSION = 1
# How far the products may be from those saved, relative to their norm.
AGREE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 2e-2}


def save(model: nn.Module, path: str | os.PathLike[str], bases: bool = True) -> None:
    """Write what a constrained model has learned to one safetensors file.

    Parameters
    ----------
    model
        A constrained model. Only the free blocks, and biases that are trained, are written.
    path
        File to write; an older one is replaced once the new one is complete.
    bases
        Whether the file names the protected directions, too: 1 − (k/n)² of a square float32 weight, and the file
        can be loaded anywhere. Without them it is (1 − k/n)²; :func:`load` splits the base model again, which on
        another machine, or with other libraries, may give directions too different, and is then refused.

    Raises
    ------
    TypeError
        If the model is not a module, or an argument is of the wrong type.
    ValueError
        If no layer is constrained, a learned weight is not finite, or ``bases`` is False for directions that
        were given and cannot be found from the weights.
    """
    flag(bases, "bases")
    layers = stand_ins(model, Constrained)
    if not layers:
        raise ValueError("model has no constrained layer: constrain(model) first.")
    tensors: dict[str, torch.Tensor] = {}
    about: dict[str, dict[str, Any]] = {}
    for name, layer in layers.items():
        if not bases and layer.basis != "weight":
            raise ValueError(f"layer {name!r} protects given directions, which only a file with bases=True can name.")
        try:
            parts = _parts(layer, bases)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None
        tensors |= {f"{name}:{part}": tensor.cpu().contiguous() for part, tensor in parts.items()}
        about[name] = {
            "form": layer.form, "k_u": layer.k_u, "k_v": layer.k_v, "shape": [layer.m, layer.n],
            "base": layer.base, "basis": layer.basis, "bias": "bias" in parts,
        }  # fmt: skip
    metadata = {"format": FORMAT, "version": str(VERSION), "layers": json.dumps(about)}
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    try:
        save_file(tensors, unfinished, metadata)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def load(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Constrain a base model as another was, and give it what that one learned.

    Parameters
    ----------
    model
        The model as it was before :func:`wonderland.backend.osft.constrain`, changed in place. On an error it is
        as it was.
    path
        A file of :func:`save`.

    Returns
    -------
    torch.nn.Module
        The same model: its layers give what they gave when saved, and can be trained on.

    Raises
    ------
    TypeError
        If the model is not a module.
    ValueError
        If the file is truncated or not one of :func:`save`, a layer is missing or its weight not the one that was
        trained on (by checksum), the model is constrained already, or a layer does not come out as it was
        saved.
    OSError
        If the file cannot be read.
    """
    path = Path(path)
    with path.open("rb"):  # OSError, where it belongs
        pass
    try:
        with safe_open(path, framework="pt") as file:
            about = _about(file.metadata(), path)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, for it cannot be iterated
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}): save it anew.") from None
    parts = {name: _checked(name, of, tensors, path) for name, of in about.items()}
    cores = {
        layer: _loaded(name, layer, about[name], parts[name])
        for name, layer in _base_layers(model, about, path).items()
    }
    install(model, cores)
    return model


def _parts(layer: Constrained, bases: bool) -> dict[str, torch.Tensor]:
    W = layer.merged()
    check_finite(W)
    dtype = working(W.dtype)
    U, V = layer.bases()
    W = W.to(U)
    free = _outside(W, U, V)
    rows, X_u = _pivoted(U)
    columns, X_v = _pivoted(V)
    parts = {
        "K": free[rows[layer.k_u :]][:, columns[layer.k_v :]].to(dtype),
        "rows": rows.int(),
        "columns": columns.int(),
        "right": W @ _probe(layer.n, W),
        "left": W.mT @ _probe(layer.m, W),
    }
    if bases:
        parts |= {"X_u": X_u.to(dtype), "X_v": X_v.to(dtype)}
    if isinstance(layer.bias, nn.Parameter):
        parts["bias"] = whole(layer.bias.detach())
        check_finite(parts["bias"])
    return parts


def _loaded(name: str, plain: nn.Module, about: Mapping[str, Any], parts: Mapping[str, torch.Tensor]) -> Constrained:
    W = weight_matrix(plain).detach()
    rows, columns = (parts[part].long().to(W.device) for part in ("rows", "columns"))
    if "X_u" in parts:
        spans = (_span(rows, parts["X_u"].to(W)), _span(columns, parts["X_v"].to(W)))
    else:
        split = leading(W.to(working(W.dtype)), about["k_u"])
        spans = split.U.double(), split.V.double()
    U, V = (torch.linalg.qr(span).Q for span in spans)
    N_u, N_v = _free_span(rows, U), _free_span(columns, V)
    layer = FORMS[about["form"]](plain, Bases(U, V), about["bias"])
    layer.base, layer.basis = about["base"], about["basis"]
    old = W.to(U)
    layer.learn(old - _outside(old, U, V) + N_u @ parts["K"].to(U) @ N_v.mT)
    if about["bias"]:
        with torch.no_grad():
            layer.bias.copy_(parts["bias"])
    _check_products(name, layer, parts)
    return layer


def _check_products(name: str, layer: Constrained, parts: Mapping[str, torch.Tensor]) -> None:
    W = layer.merged()
    tolerance = AGREE[W.dtype]
    W = W.cpu().double()
    for now, saved in ((W @ _probe(layer.n, W), parts["right"]), (W.mT @ _probe(layer.m, W), parts["left"])):
        if not (now - saved).norm() <= tolerance * saved.norm():
            cause = (
                "the file is damaged." if "X_u" in parts
                else "the weights split into other directions here than where they were trained: save with bases=True."
            )  # fmt: skip
            raise ValueError(f"layer {name!r} does not come out as it was saved: {cause}")


def _about(metadata: Mapping[str, str] | None, path: Path) -> dict[str, dict[str, Any]]:
    """What the file says of its layers, checked to be what a layer needs."""
    if metadata is None or metadata.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by save(model, path).")
    if metadata.get("version") != str(VERSION):
        raise ValueError(
            f"{path} is of version {shown(metadata.get('version'))}: this program reads version {VERSION}."
        )
    try:
        about = json.loads(metadata["layers"])
        if not about:
            raise ValueError("no layers")
        for of in about.values():
            m, n = of["shape"]
            integer(of["k_u"], "k_u", 0, integer(m, "m", 1) - 1)
            integer(of["k_v"], "k_v", 0, integer(n, "n", 1) - 1)
            choice(of["form"], "form", tuple(FORMS))
            choice(of["basis"], "basis", ("weight", "given"))
            flag(of["bias"], "bias")
            of["base"] = str(of["base"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged, or was made by hand ({error}): save it anew.") from None
    return about


def _checked(
    name: str, of: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """A layer's tensors, checked to be of the sizes that the file tells."""
    (m, n), k_u, k_v = of["shape"], of["k_u"], of["k_v"]
    shapes = {"K": (m - k_u, n - k_v), "rows": (m,), "columns": (n,), "right": (m,), "left": (n,)}
    if f"{name}:X_u" in tensors or of["basis"] == "given":
        shapes |= {"X_u": (m - k_u, k_u), "X_v": (n - k_v, k_v)}
    if of["bias"]:
        shapes["bias"] = (m,)
    parts = {part: tensors.get(f"{name}:{part}") for part in shapes}
    for part, tensor in parts.items():
        if tensor is None or tensor.shape != shapes[part]:
            found = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
            raise ValueError(f"{path} is damaged: {part} of layer {name!r} is {found}, and should be {shapes[part]}.")
    for part, size in (("rows", m), ("columns", n)):
        if parts[part].sort().values.tolist() != list(range(size)):
            raise ValueError(f"{path} is damaged: the {part} of layer {name!r} are no order of {size} of them.")
    return parts


def _base_layers(model: nn.Module, about: Mapping[str, Mapping[str, Any]], path: Path) -> dict[str, nn.Module]:
    try:
        layers = chosen(model, about)
    except TypeError as error:
        if not isinstance(model, nn.Module):
            raise
        raise ValueError(f"{path} was trained on another model: {error}") from None
    for name, layer in layers.items():
        shape = list(weight_matrix(layer).shape)
        if shape != about[name]["shape"]:
            raise ValueError(f"layer {name!r} is {shape[0]}×{shape[1]}, and was {about[name]['shape']} when trained.")
        if checksum(layer.weight) != about[name]["base"]:
            raise ValueError(
                f"layer {name!r} has other weights ({layer.weight.dtype}) than those that {path} was trained on: "
                "load it onto that base model, in the same number type."
            )
    return layers


def _outside(W: torch.Tensor, U: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
    W = W - U @ (U.mT @ W)
    return W - (W @ V) @ V.mT


def _pivoted(basis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """An order of the rows, and X ((m−k)×k) such that [I; X], its rows so ordered, spans what the basis (m×k) does."""
    m, k = basis.shape
    if k == 0:
        return torch.arange(m), basis
    LU, pivots = torch.linalg.lu_factor(basis)
    order = list(range(m))
    for i, j in enumerate((pivots - 1).tolist()):
        order[i], order[j] = order[j], order[i]
    X = torch.linalg.solve_triangular(LU[:k], LU[k:], upper=False, left=False, unitriangular=True)
    return torch.tensor(order), X


def _span(order: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
    """[I; X] with its rows where they belong, m×k."""
    X = X.double()
    span = X.new_empty(len(order), X.shape[1])
    span[order] = torch.cat([torch.eye(X.shape[1], dtype=X.dtype, device=X.device), X])
    return span


def _free_span(order: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """[−Xᵀ; I] with its rows where they belong, m×(m−k): it spans what is orthogonal to the basis (m×k)."""
    m, k = basis.shape
    X = torch.linalg.solve(basis[order[:k]], basis[order[k:]], left=False)
    span = basis.new_empty(m, m - k)
    span[order] = torch.cat([-X.mT, torch.eye(m - k, dtype=basis.dtype, device=basis.device)])
    return span


def _probe(size: int, like: torch.Tensor) -> torch.Tensor:
    """A vector without pattern, the same everywhere."""
    return torch.arange(size, dtype=torch.float64).square().cos().to(like)
