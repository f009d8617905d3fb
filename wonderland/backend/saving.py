"""What was trained, in one safetensors file: written, and put on the base model again.

A file has of each layer the free block C, (m−k_u)(n−k_v) numbers, and the X by which ``wonderland.backend.spans`` names
the protected directions, k_u(m−k_u) + k_v(n−k_v). Of a square weight that is 1 − (k/n)², the fewest that name such a
matrix. Without the directions it has (1 − k/n)², and the loader has to find the same spans anew. All of them are in
the layer's own number type: computed in float64 and rounded once, as merging rounds W′.

A few products with W′ travel along. A layer that does not give them again is refused, whatever the reason; and so is a
base model that differs in anything else that lasts (``wonderland.backend.surroundings``).
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from wonderland.backend.constrained import Bases, Constrained, double, whole
from wonderland.backend.layers import FORMS, cheapest
from wonderland.backend.plain import is_plain, weight_matrix, working
from wonderland.backend.savefile import FORMAT, PRODUCTS, VERSION, checked, from_text, to_text, told
from wonderland.backend.spans import Side, free_block, graph, pivots, side, with_free_block
from wonderland.backend.splitting import checksum, leading
from wonderland.backend.surroundings import check_same, checksums, is_statistic, statistics, surroundings
from wonderland.backend.targets import about as of_layer
from wonderland.backend.targets import check_finite, chosen, install, stand_ins
from wonderland.maths._check import flag

# How far products aᵀW′b may be from those saved, as a fraction of ‖W′‖.
AGREE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 2e-2}


def save(model: nn.Module, path: str | os.PathLike[str], bases: bool = True) -> None:
    """Write what a constrained model has learned to one safetensors file.

    Parameters
    ----------
    model
        A constrained model. Only the free blocks, biases that are trained and running statistics (of BatchNorm) are
        written, each in its own number type.
    path
        File to write, in a folder that there is; an older one is replaced once the new one is complete.
    bases
        Whether the file names the protected directions, too: 1 − (k/n)² of a square weight, and the file can be loaded
        anywhere. Without them it is (1 − k/n)²; :func:`load` splits the base model again, which on another machine, or
        with other libraries, may give directions too different, and is then refused.

    Raises
    ------
    TypeError
        If the model is not a module, or an argument is of the wrong type.
    ValueError
        If no layer is constrained, a parameter outside of the constrained layers is trained, a learned number is not
        finite, or ``bases`` is False for directions that were given and cannot be found from the weights.
    OSError
        If the file cannot be written: there is no such folder, for one, or the path is a folder itself.
    """
    flag(bases, "bases")
    layers = stand_ins(model, Constrained)
    if not layers:
        raise ValueError("model has no constrained layer: constrain(model) first.")
    _check_frozen(model, layers)
    path = Path(path)
    with _draft(path) as draft:
        around = surroundings(model, {layer: isinstance(layer.bias, nn.Parameter) for layer in layers.values()})
        tensors = {f":{name}": tensor for name, tensor in around.items() if is_statistic(name)}
        about: dict[str, dict[str, Any]] = {}
        for name, layer in layers.items():
            if not bases and layer.basis != "weight":
                raise ValueError(f"layer {name!r} protects given directions, which only bases=True can name.")
            with of_layer(name):
                about[name], parts = _parts(layer, bases)
            tensors |= {f"{name}:{part}": tensor for part, tensor in parts.items()}
        metadata = {
            "format": FORMAT,
            "version": str(VERSION),
            "layers": _json(about),
            "around": _json(checksums(around)),
        }
        save_file({key: tensor.cpu().contiguous() for key, tensor in tensors.items()}, draft, metadata)
        os.replace(draft, path)


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
        The same model: its layers give what they gave when saved, up to the rounding of their number type, and can be
        trained on.

    Raises
    ------
    TypeError
        If the model is not a module.
    ValueError
        If the file is truncated or not one of :func:`save`, a layer is missing, the model is not the one that was
        trained (by checksums of the layers' weights and of every other parameter and persistent buffer, but for
        running statistics), it is constrained already, or a layer does not come out as it was saved.
    OSError
        If the file cannot be read.
    """
    path = Path(path)
    with path.open("rb"):  # OSError, where it belongs
        pass
    try:
        with safe_open(path, framework="pt") as file:
            about, sums = told(file.metadata(), path)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, for it cannot be iterated
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}): save it anew.") from None
    parts = {name: checked(name, of, tensors, path) for name, of in about.items()}
    layers = _base_layers(model, about, path)
    biases = {layer: about[name]["bias"] for name, layer in layers.items()}
    check_same(model, biases, sums, path)
    running = statistics(surroundings(model, biases), tensors, path)
    cores = {layer: _loaded(name, layer, about[name], parts[name]) for name, layer in layers.items()}
    install(model, cores)
    for old, new in running:
        old.copy_(new)
    return model


def _check_frozen(model: nn.Module, layers: Mapping[str, Constrained]) -> None:
    own = {id(parameter) for layer in layers.values() for parameter in layer.parameters()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in own:
            raise ValueError(
                f"parameter {name!r} is trained, and the file would lack it, being of no constrained layer: "
                "merge(model) and save its state_dict(), or, if it was not, freeze it with requires_grad_(False)."
            )


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """An empty file beside the one to be written, gone at the end; an error at once where none can be written."""
    draft = path.with_name(path.name + ".part")
    try:
        if path.is_dir():
            raise IsADirectoryError(
                f"{path} is a folder: give the name of a file, such as {path / 'task.safetensors'}."
            )
        draft.touch()
    except OSError as error:
        if error.errno is None:  # the above
            raise
        raise type(error)(f"{path} cannot be written: {error.strerror}. Give a folder that can be.") from None
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _parts(layer: Constrained, bases: bool) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What the file tells of a layer, and its tensors."""
    W = layer.merged()
    check_finite(W)
    directions = layer.bases()
    chosen_rows = [pivots(basis) for basis in directions]
    graphs = [graph(basis, rows) for basis, rows in zip(directions, chosen_rows, strict=True)]
    parts = {}
    if bases:
        parts = {name: X.to(W.dtype) for name, X in zip(("X_u", "X_v"), graphs, strict=True) if X.shape[1]}
        graphs = [X.to(W.dtype) for X in graphs]
    parts["C"] = free_block(W.to(directions.U), *map(side, chosen_rows, graphs)).to(W.dtype)
    if isinstance(layer.bias, nn.Parameter):
        parts["bias"] = whole(layer.bias.detach())
    check_finite(*parts.values())
    rows, columns = map(to_text, chosen_rows)
    return {
        "form": layer.form, "k_u": layer.k_u, "k_v": layer.k_v, "shape": [layer.m, layer.n], "base": layer.base,
        "basis": layer.basis, "bias": "bias" in parts, "rows": rows, "columns": columns, "products": _products(W),
    }, parts  # fmt: skip


def _loaded(name: str, plain: nn.Module, about: Mapping[str, Any], parts: Mapping[str, torch.Tensor]) -> Constrained:
    W = weight_matrix(plain).detach()
    old = double(W)
    left, right = _sides(W, about, parts, old.device)
    bases = Bases(*(Q.protected().to(W.device, working(W.dtype)) for Q in (left, right)))
    # What was learned does not depend on the form: of those of core, the one that is the cheapest now.
    method = "dense" if about["form"] == "dense" else "core"
    form = FORMS[cheapest(method, *W.shape, about["k_u"], about["k_v"], about["basis"] == "given")]
    layer = form(plain, bases, about["bias"])
    layer.base, layer.basis = about["base"], about["basis"]
    layer.learn(with_free_block(old, parts["C"].to(old), left, right))
    if about["bias"]:
        with torch.no_grad():
            layer.bias.copy_(parts["bias"])
    W = layer.merged()
    now, saved = (torch.tensor(products, dtype=torch.float64) for products in (_products(W), about["products"]))
    if not (now - saved).norm() <= AGREE[W.dtype] * W.double().norm():
        cause = (
            "the file is damaged." if parts.keys() & {"X_u", "X_v"}
            else "the weights split into other directions here than where they were trained: save with bases=True."
        )  # fmt: skip
        raise ValueError(f"layer {name!r} does not come out as it was saved: {cause}")
    return layer


def _sides(
    W: torch.Tensor, about: Mapping[str, Any], parts: Mapping[str, torch.Tensor], device: torch.device
) -> list[Side]:
    """Q_U and Q_V, by their directions in the file or from the weight split anew."""
    rows = [from_text(about[key], size).to(device) for key, size in zip(("rows", "columns"), W.shape, strict=True)]
    if parts.keys() & {"X_u", "X_v"}:
        nothing = (torch.empty(size, 0) for size in W.shape)
        graphs = [parts.get(key, none).to(device) for key, none in zip(("X_u", "X_v"), nothing, strict=True)]
    else:
        split = leading(W, about["k_u"])
        graphs = [graph(double(basis), chosen) for basis, chosen in zip((split.U, split.V), rows, strict=True)]
    return [side(chosen, X) for chosen, X in zip(rows, graphs, strict=True)]


def _base_layers(model: nn.Module, about: Mapping[str, Mapping[str, Any]], path: Path) -> dict[str, nn.Module]:
    if not stand_ins(model):
        modules = dict(model.named_modules(remove_duplicate=False))
        for name in about:
            if not is_plain(modules.get(name)):
                here = "the model lacks" if name not in modules else f"is a {type(modules[name]).__name__} here"
                raise ValueError(
                    f"{path} was trained on layer {name!r}, which {here}: load it onto its own base model."
                )
    layers = chosen(model, about)
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


def _products(W: torch.Tensor) -> list[float]:
    """aᵀWb for a few vectors without pattern, the same everywhere."""
    W = double(W)
    a, b = (_probes(size).to(W) for size in W.shape)
    return (a.mT @ W * b.mT).sum(1).tolist()


def _probes(size: int) -> torch.Tensor:
    return torch.outer(torch.arange(size).square(), torch.arange(1, PRODUCTS + 1)).double().cos()


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
