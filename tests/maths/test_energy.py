import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland.maths import energy
from wonderland.maths.energy import hyperspherical_energy, mean_abs_cosine, pairwise_angles, unit_rows
from wonderland.maths.orthogonal import haar

seeds = st.integers(0, 2**32 - 1)
exponents = st.sampled_from([0, 1, 2, 0.5])
checked = settings(deadline=None, max_examples=40)


@st.composite
def weights(draw, least_inputs=2):
    rng = np.random.default_rng(draw(seeds))
    return rng.standard_normal((draw(st.integers(2, 9)), draw(st.integers(least_inputs, 9))))


def energy_by_definition(W, s):
    """Sum over ordered pairs, one pair at a time."""
    unit = [row / math.hypot(*row) for row in W]
    chords = [math.dist(a, b) for a, b in permutations(unit, 2)]
    return math.fsum(chord**-s if s else math.log(1 / chord) for chord in chords)


def rounded(value, W):
    """`value`, as near as float64 rows of W fix an energy: rounding moves a chord by 1e-16 or so."""
    unit = [row / math.hypot(*row) for row in W]
    chord = min(math.dist(a, b) for a, b in permutations(unit, 2))
    near = 1e-11 + 1e-14 / chord
    return pytest.approx(value, rel=near, abs=near)


@checked
@given(weights(), exponents)
def test_energy_is_the_sum_over_ordered_pairs(W, s):
    assert hyperspherical_energy(W, s) == rounded(energy_by_definition(W, s), W)


@checked
@given(weights(), exponents)
def test_half_space_adds_every_opposite_neuron(W, s):
    both = np.vstack([W, -W])
    assert hyperspherical_energy(W, s, half_space=True) == rounded(energy_by_definition(both, s), both)


@pytest.mark.parametrize(("s", "expected"), [(0, -2 * math.log(2)), (1, 1.0), (2, 0.5)])
def test_two_opposite_neurons(s, expected):
    assert hyperspherical_energy([[1, 0], [-3, 0]], s) == pytest.approx(expected)


@checked
@given(weights(), exponents, seeds)
def test_rotating_the_inputs_and_scaling_rows_keep_the_energy(W, s, seed):
    rng = np.random.default_rng(seed)
    before = hyperspherical_energy(W, s)
    rotated = W @ haar(W.shape[1], rng)
    scaled = rng.uniform(0.1, 10, (len(W), 1)) * W
    flipped = rng.choice([-1, 1], (len(W), 1)) * W
    assert hyperspherical_energy(rotated, s) == rounded(before, W)
    assert hyperspherical_energy(scaled, s) == rounded(before, W)
    half = hyperspherical_energy(W, s, True)
    assert hyperspherical_energy(flipped, s, True) == rounded(half, np.vstack([W, -W]))


@pytest.mark.parametrize("s", [0, 1, 2])
def test_almost_parallel_neurons_keep_what_their_rows_fix(s):
    W = np.array([[-0.77083562, -0.66741358], [-1.58961411, -1.37634205]])  # 1.6e-6 apart
    before = hyperspherical_energy(W, s)
    for seed in range(20):
        rotated = W @ haar(2, np.random.default_rng(seed))
        assert hyperspherical_energy(rotated, s) == rounded(before, W)


@pytest.mark.parametrize("s", [0, 1, 2])
def test_what_keeps_the_energy_of_a_layer_and_what_does_not(s):
    rng = np.random.default_rng(0)
    W = rng.standard_normal((24, 16))
    before = hyperspherical_energy(W, s)

    def relative(after):
        return abs(hyperspherical_energy(after, s) / before - 1)

    assert relative(W @ haar(16, rng)) < 1e-13
    left = haar(24, rng) @ W
    assert relative(left) > 1e-4
    # Mixing neurons keeps the angles of the columns instead.
    columns = hyperspherical_energy(W.T, s)
    assert hyperspherical_energy(left.T, s) == pytest.approx(columns, rel=1e-13)
    assert relative(W + rng.standard_normal((24, 2)) @ rng.standard_normal((2, 16))) > 1e-4


def test_close_neurons_keep_their_digits():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((64, 32))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    across = W[1] - (W[1] @ W[0]) * W[0]
    W[1] = math.cos(1e-4) * W[0] + math.sin(1e-4) * across / np.linalg.norm(across)
    pairs = 64 * 63

    exact = hyperspherical_energy(W) / pairs
    assert exact == pytest.approx(energy_by_definition(W, 1) / pairs, rel=1e-12)
    assert exact == pytest.approx(5.677, abs=0.01)
    # The pair's own share is known: its chord is 2 sin(angle/2), counted twice.
    rest = hyperspherical_energy(np.delete(W, 1, axis=0)) + 2 * sum(1 / math.dist(W[1], row) for row in W[2:])
    assert exact * pairs - rest == pytest.approx(1 / math.sin(5e-5), rel=1e-9)

    short = W.astype(np.float32)
    squared = (2 - 2 * (short @ short.T))[np.triu_indices(64, 1)]
    with np.errstate(divide="ignore"):
        naive = (1 / np.sqrt(np.maximum(squared, 0))).mean()
    assert not abs(naive / exact - 1) < 0.1


@pytest.mark.parametrize("s", [0, 1, 2, 0.5])
def test_neurons_of_one_direction_have_infinite_energy(s):
    assert hyperspherical_energy([[1, 2], [3, 6], [1, 0]], s) == math.inf
    assert math.isfinite(hyperspherical_energy([[1, 2], [-3, -6], [1, 0]], s))
    assert hyperspherical_energy([[1, 2], [-3, -6], [1, 0]], s, half_space=True) == math.inf


def test_close_pairs_in_batches_equal_close_pairs_at_once(monkeypatch):
    W = 1 + 1e-5 * np.random.default_rng(0).standard_normal((30, 6))
    whole = hyperspherical_energy(W)
    monkeypatch.setattr(energy, "_BATCH", 50)
    assert hyperspherical_energy(W) == whole
    assert whole == pytest.approx(energy_by_definition(W, 1), rel=1e-9)


def test_rows_of_any_length_have_a_direction():
    W = np.array([[3e-320, 4e-320], [3e59, -4e59], [-3, 4]])
    assert np.allclose(unit_rows(W), [[0.6, 0.8], [0.6, -0.8], [-0.6, 0.8]], atol=1e-3)
    assert math.isfinite(hyperspherical_energy(W))


@checked
@given(weights())
def test_mean_abs_cosine_is_the_mean_over_ordered_pairs(W):
    cosines = [abs(a @ b) / (math.hypot(*a) * math.hypot(*b)) for a, b in permutations(W, 2)]
    assert mean_abs_cosine(W) == pytest.approx(math.fsum(cosines) / len(cosines))


def test_mean_abs_cosine_runs_from_zero_to_one():
    assert mean_abs_cosine(np.eye(4)) == 0
    assert mean_abs_cosine([[1, 2, 3], [-2, -4, -6], [0.1, 0.2, 0.3]]) == pytest.approx(1)
    # Rounding lifts the cosine of parallel rows above 1 in many of these.
    for seed in range(100):
        rng = np.random.default_rng(seed)
        assert mean_abs_cosine(np.outer(rng.standard_normal(2), rng.standard_normal(5))) <= 1


def test_the_tutorials_lora_bar_is_ok_in_every_one_of_2000_draws():
    rng = np.random.default_rng(0)
    changes = []
    for _ in range(2000):
        X = rng.standard_normal((50, 8))
        A, B = 0.1 * rng.standard_normal((4, 8)), 0.1 * rng.standard_normal((8, 4))
        changes.append(abs(mean_abs_cosine(X + X @ A.T @ B.T) - mean_abs_cosine(X)))
    assert max(changes) < 0.01
    assert np.median(changes) == pytest.approx(0.001, rel=0.5)


@checked
@given(weights())
def test_pairwise_angles_agree_with_the_arccosine(W):
    angles = pairwise_angles(W)
    unit = unit_rows(W)
    expected = np.degrees(np.arccos(np.clip(unit @ unit.T, -1, 1)))
    assert np.allclose(angles, expected, atol=1e-5)
    assert np.allclose(angles, angles.T, atol=1e-12)
    assert not np.diag(angles).any()


@pytest.mark.parametrize("turn", [1e-12, 1e-9, 1e-6, 1e-3, 0.009, 0.011, 0.5, 1.5])
def test_angles_near_0_and_180_keep_their_digits(turn):
    near = [math.cos(turn), math.sin(turn)]
    angles = pairwise_angles([[5.0, 0.0], near, [-near[0], -near[1]]])
    # A cosine is rounded by 2e-16, so where it still serves, at 0.01 rad, an angle is to 2e-12 of itself.
    assert angles[0, 1] == pytest.approx(math.degrees(turn), rel=2e-12)
    assert 180 - angles[0, 2] == pytest.approx(math.degrees(turn), rel=2e-12, abs=1e-13)
    assert angles[1, 2] == 180
