"""Every public function answers nonsense with an error that names it."""

import ast
import inspect
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from wonderland.maths import _check, counting, energy, memory, orthogonal, subspace

RNG = np.random.default_rng(0)
EYE = np.eye(3)
PARTS = subspace.split(EYE, 1)
HUGE = 10**13
NAN, INF = math.nan, math.inf

# Function, argument spoiled, all other arguments.
MATRICES = [
    (orthogonal.cayley, "S", {}),
    (orthogonal.cayley_neumann, "S", {}),
    (orthogonal.repair_qr, "A", {}),
    (orthogonal.repair_polar, "A", {}),
    (orthogonal.orthogonality_error, "Q", {}),
    (orthogonal.norm_change, "A", {"X": EYE}),
    (orthogonal.norm_change, "X", {"A": EYE}),
    (orthogonal.angle_change, "A", {"X": EYE}),
    (orthogonal.angle_change, "X", {"A": EYE}),
    (orthogonal.distance_change, "A", {"X": EYE}),
    (orthogonal.distance_change, "X", {"A": EYE}),
    (energy.unit_rows, "W", {}),
    (energy.pairwise_angles, "W", {}),
    (energy.mean_abs_cosine, "X", {}),
    (energy.hyperspherical_energy, "W", {}),
    (subspace.split, "W", {"k": 1}),
    (subspace.project, "G", {"split": PARTS, "rule": "joint"}),
    (subspace.blocks, "G", {"split": PARTS}),
    (subspace.leak, "W", {"split": PARTS}),
    (subspace.rank_k, "split_or_W", {"k": 1}),
]
SPECTRA = [
    (subspace.energy_kept, "sigma", {"k": 1}),
    (subspace.effective_rank, "sigma", {}),
    (subspace.matrix_with_spectrum, "sigma", {"rng": RNG}),
]
NUMBERS = [
    (orthogonal.rotation, "degrees", {}),
    (orthogonal.reflection, "degrees", {}),
    (orthogonal.line_projection, "degrees", {}),
    (orthogonal.shear, "amount", {}),
    (orthogonal.scaling, "x", {"y": 1}),
    (orthogonal.scaling, "y", {"x": 1}),
    (orthogonal.random_skew, "norm", {"n": 3, "rng": RNG}),
    (energy.hyperspherical_energy, "s", {"W": EYE}),
    (counting.unfreeze_rank_ratio_to_k, "u", {"min_dim": 8}),
]
LAYER = {"in_features": 8, "out_features": 4}
# The last entry is the largest value allowed.
INTEGERS = [
    (orthogonal.haar, "n", {"rng": RNG}, 4096),
    (orthogonal.random_skew, "n", {"norm": 0, "rng": RNG}, 4096),
    (orthogonal.cayley_neumann, "terms", {"S": np.zeros((2, 2))}, 20),
    (subspace.split, "k", {"W": EYE}, 3),
    (subspace.rank_k, "k", {"split_or_W": EYE}, 3),
    (subspace.rank_k, "k", {"split_or_W": PARTS}, 3),
    (subspace.energy_kept, "k", {"sigma": [2, 1]}, 2),
    (counting.full, "in_features", {"out_features": 4}, 10**12),
    (counting.full, "out_features", {"in_features": 8}, 10**12),
    (counting.lora, "rank", LAYER, 10**12),
    (counting.lora, "in_features", {"out_features": 4, "rank": 1}, 10**12),
    (counting.oft, "block", LAYER, 10**12),
    (counting.oft, "blocks", LAYER, 10**12),
    (counting.oft, "out_features", {"in_features": 8, "block": 2}, 10**12),
    (counting.oft_block, "in_features", {"block": 2}, 10**12),
    (counting.oft_block, "block", {"in_features": 8}, 10**12),
    (counting.boft, "factors", LAYER | {"block": 1}, 4),
    (counting.boft, "block", LAYER | {"factors": 1}, 8),
    (counting.boft_free, "factors", LAYER | {"block": 2}, 4),
    (counting.boft_free, "block", LAYER | {"factors": 1}, 8),
    (counting.osft_factored, "k", LAYER, 4),
    (counting.osft_core, "k", LAYER, 4),
    (counting.buffers_osft_factored, "k", LAYER, 4),
    (counting.buffers_osft_core, "k", LAYER, 4),
    (counting.core_form, "k", LAYER, 4),
    (counting.core_rotation, "k", {"size": 8}, 8),
    (counting.core_rotation, "size", {"k": 1}, 10**12),
    (counting.psoft, "rank", {}, 10**12),
    (counting.rank_squared, "rank", {}, 10**12),
    (counting.unfreeze_rank_ratio_to_k, "min_dim", {"u": 0.5}, 10**12),
    (memory.training_memory, "bytes_per_parameter", {"trainable": 1, "frozen": 1}, 16),
    (memory.training_memory, "trainable", {"frozen": 1}, None),
    (memory.training_memory, "frozen", {"trainable": 1}, None),
    (memory.training_memory, "buffers", {"trainable": 1, "frozen": 1}, None),
]
MESSAGES = [
    (lambda: subspace.split(EYE, 9), "k = 9 is outside 0…3: a 3×3 matrix has 3 singular values."),
    (lambda: counting.full(HUGE, 1), "in_features = 10,000,000,000,000 is outside 1…1,000,000,000,000."),
    (lambda: counting.full(10**20, 1), "in_features = 10^20 or so is outside 1…1,000,000,000,000."),
    (lambda: counting.lora(8, 4, 0), "rank = 0 is outside 1…1,000,000,000,000."),
    (
        lambda: counting.oft(8, 4),
        "block = None, blocks = None: give one of the two, not both or neither.",
    ),
    (lambda: counting.oft(8, 4, 2, share=1), "share = 1 is not a switch: give True or False."),
    (
        lambda: counting.boft(100, 4, 1, 16),
        "in_features = 100 is not divisible by block·2^(factors−1) = 16: give another block or fewer factors.",
    ),
    (lambda: counting.boft(20, 4, 2, 5), "block = 5 is odd: with 2 factors give an even one."),
    (
        lambda: memory.training_memory(1, 1, optimizer="lion"),
        "optimizer = 'lion' is unknown: give one of sgd, sgd-momentum, adam, adamw.",
    ),
    (
        lambda: memory.training_memory(1, 1, optimizer=None),
        "optimizer = None is not text: give one of sgd, sgd-momentum, adam, adamw.",
    ),
    (
        lambda: energy.hyperspherical_energy([[1, 2], [0, 0], [3, 4]]),
        "W[1] is a zero row: it has no direction. Change it or leave it out.",
    ),
    (
        lambda: energy.mean_abs_cosine([[1, 2], [0, 0]]),
        "X[1] is a zero row: it has no direction. Change it or leave it out.",
    ),
    (
        lambda: energy.pairwise_angles([[0.0, -0.0]]),
        "W[0] is a zero row: it has no direction. Change it or leave it out.",
    ),
    (lambda: energy.hyperspherical_energy([[1, 2]]), "W is 1×2: give 2 or more rows."),
    (lambda: energy.mean_abs_cosine([[1, 2]]), "X is 1×2: give 2 or more rows."),
    (
        lambda: energy.hyperspherical_energy(EYE, -1),
        "s = -1 is outside 0…10: give a finite number within it.",
    ),
    (
        lambda: energy.hyperspherical_energy(EYE, 1, "yes"),
        "half_space = 'yes' is not a switch: give True or False.",
    ),
    (
        lambda: orthogonal.norm_change(EYE, [[1, 2, 3], [0, 0, 0]]),
        "X[1] is a zero row: it has no direction. Change it or leave it out.",
    ),
    (
        lambda: orthogonal.angle_change(orthogonal.scaling(0, 1), [[0, 1], [2, 0]]),
        "X @ A.T[1] is a zero row: it has no direction. Change it or leave it out.",
    ),
    (lambda: orthogonal.angle_change(EYE, [[1, 2, 3]]), "X is 1×3: give 2 or more rows."),
    (lambda: orthogonal.distance_change(EYE, [[1, 2, 3]]), "X is 1×3: give 2 or more rows."),
    (lambda: orthogonal.distance_change(EYE, [[1, 2]] * 2), "A is 3×3: give a matrix with 2 columns."),
    (lambda: orthogonal.cayley(np.ones((2, 3))), "S is 2×3: give a square matrix."),
    (
        lambda: orthogonal.cayley([[0, 1], [2, 0]]),
        "S[0, 1] = 1 but S[1, 0] = 2: give a skew matrix, Sᵀ = −S, such as (A − Aᵀ)/2.",
    ),
    (
        lambda: orthogonal.cayley_neumann([[0, 1e7], [-1e7, 0]]),
        "S has an entry of size 1e+07: give entries within ±1e+06.",
    ),
    (lambda: orthogonal.repair_qr(np.ones((2, 3))), "A is 2×3: give a square matrix."),
    (
        lambda: orthogonal.haar(3, 42),
        "rng = 42 is not a generator: give numpy.random.default_rng(seed).",
    ),
    (
        lambda: orthogonal.random_skew(3, 0.5, None),
        "rng = None is not a generator: give numpy.random.default_rng(seed).",
    ),
    (
        lambda: subspace.matrix_with_spectrum([1], 7),
        "rng = 7 is not a generator: give numpy.random.default_rng(seed).",
    ),
    (
        lambda: subspace.matrix_with_spectrum(np.zeros(5000), RNG),
        "len(sigma) = 5,000 is outside 1…4,096.",
    ),
    (
        lambda: subspace.project(EYE, PARTS, "left-only"),
        "rule = 'left-only' is unknown: give one of joint, right-only, two-sided.",
    ),
    (
        lambda: subspace.removed_blocks(2),
        "rule = 2 is not text: give one of joint, right-only, two-sided.",
    ),
    (lambda: subspace.project(np.eye(2), PARTS, "joint"), "G is 2×2: give a 3×3 matrix."),
    (lambda: subspace.leak(np.eye(2), PARTS), "W is 2×2: give a 3×3 matrix."),
    (lambda: subspace.blocks(np.ones((3, 2)), PARTS), "G is 3×2: give a 3×3 matrix."),
    (lambda: subspace.blocks(EYE, None), "split = None is not a Split: give split(W, k)."),
    (
        lambda: subspace.energy_kept([0, 0], 1),
        "sigma = [0.0, 0.0] is all zero: give at least one positive value.",
    ),
    (
        lambda: subspace.effective_rank([0]),
        "sigma = [0.0] is all zero: give at least one positive value.",
    ),
]


def name_of(case):
    others = "-".join(f"{name}:{type(value).__name__}" for name, value in case[2].items())
    return f"{case[0].__name__}({case[1]})-{others}"


def refused(call, argument, value, others, error, message):
    with pytest.raises(error, match=message):
        call(**others, **{argument: value})


@pytest.mark.parametrize("case", MATRICES, ids=name_of)
def test_matrices(case):
    call, argument, others = case
    inside = EYE.copy()
    inside[1, 2] = NAN
    refused(call, argument, inside, others, ValueError, r"\[1, 2\] = nan is outside ±1e\+60")
    for value in (INF, -INF, 1e61):
        inside[1, 2] = value
        refused(call, argument, inside, others, ValueError, r"\[1, 2\] = .* is outside ±1e\+60")
    for value in ([], [[]], np.empty((0, 3)), [1, 2, 3], 5, np.zeros((2, 2, 2))):
        refused(call, argument, value, others, ValueError, r"has shape .*: give a matrix")
    refused(call, argument, [[1, 2, 3], [4, 5]], others, ValueError, "give a matrix")
    for value in ("text", None, [["a", "b", "c"]] * 3, EYE > 0, EYE * 1j, [[10**400] * 3] * 3):
        refused(call, argument, value, others, TypeError, "of real numbers")


@pytest.mark.parametrize("case", SPECTRA, ids=name_of)
def test_spectra(case):
    call, argument, others = case
    refused(call, argument, [2, NAN], others, ValueError, r"sigma\[1\] = nan is outside")
    refused(call, argument, [INF, 1], others, ValueError, r"sigma\[0\] = inf is outside")
    refused(call, argument, [2, 1, -0.05], others, ValueError, r"sigma\[2\] = -0.05 is negative")
    refused(call, argument, [1, 2], others, ValueError, r"sigma\[1\] = 2 is above sigma\[0\] = 1: sort")
    for value in ([], 3, EYE):
        refused(call, argument, value, others, ValueError, "sigma has shape")
    for value in ("text", None, [True, False]):
        refused(call, argument, value, others, TypeError, "of real numbers")


@pytest.mark.parametrize("case", NUMBERS, ids=name_of)
def test_numbers(case):
    call, argument, others = case
    for value in (NAN, INF, -INF, 1e300, 10**400, np.float64(NAN)):
        refused(call, argument, value, others, ValueError, rf"{argument} = .* is outside .*…")
    for value in (True, np.True_, "1", None, [1], 1j):
        refused(call, argument, value, others, TypeError, rf"{argument} = .* is not a number")


@pytest.mark.parametrize("case", INTEGERS, ids=name_of)
def test_integers(case):
    call, argument, others, high = case
    above = [high + 1, HUGE, 10**5000] if high else []
    for value in (-1, -(10**5000), *above):
        refused(call, argument, value, others, ValueError, rf"^{argument} = .* is outside ")
    for value in (NAN, INF, 1.0, 1.5, True, np.True_, "1", [1], np.float64(2)):
        refused(call, argument, value, others, TypeError, rf"^{argument} = .* is not a whole number")
    if argument not in ("block", "blocks"):  # where None means: not given
        refused(call, argument, None, others, TypeError, rf"^{argument} = None is not a whole number")


@pytest.mark.parametrize(
    "case", [c for c in INTEGERS if c[1] not in ("k", "trainable", "frozen", "buffers")], ids=name_of
)
def test_zero_where_one_is_least(case):
    call, argument, others, _ = case
    refused(call, argument, 0, others, ValueError, rf"^{argument} = 0 is outside 1…")


@pytest.mark.parametrize(("call", "message"), MESSAGES, ids=range(len(MESSAGES)))
def test_messages(call, message):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize("repair", [orthogonal.repair_qr, orthogonal.repair_polar])
@pytest.mark.parametrize(
    "A",
    [np.zeros((2, 2)), [[1, 2], [2, 4]], np.diag([1, 1e-17]), np.outer([1, 2, 3], [4, 5, 6]), [[0.0]]],
    ids=["zero", "dependent", "nearly", "outer", "one"],
)
def test_a_singular_matrix_is_not_repaired(repair, A):
    least = np.linalg.svd(A, compute_uv=False)[-1]
    with pytest.raises(ValueError, match=r"A is singular: its smallest singular value is (\S+), not above") as e:
        repair(A)
    named = float(str(e.value).split("value is ")[1].split(",")[0])
    assert named == pytest.approx(least, rel=0.01, abs=1e-300)


def test_a_long_value_is_cut_in_its_message():
    with pytest.raises(ValueError, match=r"rule = 'x+… is unknown") as caught:
        subspace.removed_blocks("x" * 10_000)
    assert len(str(caught.value)) < 200


def test_a_longer_float_than_float64_is_refused():
    with pytest.raises(ValueError, match=r"W\[0, 0\] = inf is outside"):
        subspace.split(np.full((2, 2), np.longdouble("1e4000")), 1)


def test_every_public_function_stands_in_a_table_of_bad_input():
    public = {
        f
        for module in (orthogonal, energy, subspace, counting)
        for name, f in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_") and f.__module__ == module.__name__
    }
    tables = (MATRICES, SPECTRA, NUMBERS, INTEGERS)
    assert public - {case[0] for table in tables for case in table} == {subspace.removed_blocks}


def test_maths_stands_on_numpy_alone():
    roots = set()
    for file in Path(_check.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                roots |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots.add(node.module)
    outside = {name for name in roots if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name for name in outside if not name.startswith("wonderland.maths")} == {"numpy", "numpy.typing"}
