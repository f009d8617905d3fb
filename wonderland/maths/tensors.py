"""The linear layers of a checkpoint, told by the names and shapes of its tensors alone."""

import math
from collections.abc import Mapping

from wonderland.maths.models import Linear, Model

# Matrices that are no linear layers, or the output one; and last names that say little by themselves.
_NO_LINEAR = ("embed", "wte", "wpe", "lm_head", "shared", "relative_attention_bias", "norm", "classifier", "score")
_COMMON = ("dense", "c_proj", "projection", "linear", "out_proj")
_CONV1D = ("c_attn", "c_fc", "c_proj")
_OUTPUTS = ("attention.output.dense", "attention.dense", "self_attn.dense", "attn.c_proj", "self_attn.out_proj")
_ROLES = {
    **dict.fromkeys(("q_proj", "query", "q", "q_lin"), "query"),
    **dict.fromkeys(("k_proj", "key", "k", "k_lin"), "key"),
    **dict.fromkeys(("v_proj", "value", "v", "v_lin"), "value"),
    **dict.fromkeys(("o_proj", "o", "out_lin"), "output"),
    **dict.fromkeys(("project_in", "project_out", "embeddings_project"), "projection"),
    **dict.fromkeys(("c_attn", "qkv_proj", "query_key_value", "qkv"), "query key value"),
}


def from_shapes(shapes: Mapping[str, tuple[int, ...]]) -> Model:
    """The model that a checkpoint's tensors are of, by their names and shapes alone.

    Every matrix that is no embedding, norm or output layer counts as a linear layer. What happens between them,
    and so what a forward pass keeps, is not to be seen from shapes.

    Raises
    ------
    ValueError
        If there is no such matrix.
    """
    # Layers of these names are no Conv1D where queries have a layer of their own.
    conv1ds = _CONV1D if any("c_attn" in name for name in shapes) else ()
    found: dict[tuple[str, int, int], int] = {}
    for name, shape in shapes.items():
        parts = [part for part in name.removesuffix(".weight").split(".") if not part.isdigit()]
        known = name.lower().replace("embeddings_project", "project")  # a layer of ELECTRA's after them
        if len(shape) != 2 or 0 in shape or any(word in known for word in _NO_LINEAR):
            continue
        last = 1 if parts[-1] not in _COMMON else 3 if parts[-3:-1] == ["attention", "output"] else 2
        short = ".".join(parts[-last:])
        found[short, *shape] = found.get((short, *shape), 0) + 1
    if not found:
        raise ValueError(f"among its {len(shapes):,} tensors is no linear layer: give the weights of a transformer.")
    linears = []
    for (short, rows, columns), count in found.items():
        last = short.split(".")[-1]
        conv1d = last in conv1ds  # whose weight is stored in×out
        n, m = (rows, columns) if conv1d else (columns, rows)
        role = "output" if short in _OUTPUTS else _ROLES.get(last, "mlp")
        linears.append(Linear(short, n, m, count, role, conv1d=conv1d))
    total = sum(math.prod(shape) for shape in shapes.values())
    note = "Shapes alone do not tell what a forward pass keeps: activations and operations are not counted."
    return Model("safetensors", total, tuple(linears), None, note)
