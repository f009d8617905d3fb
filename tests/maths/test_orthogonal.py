import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland.maths import orthogonal
from wonderland.maths.orthogonal import (
    angle_change,
    cayley,
    cayley_neumann,
    distance_change,
    haar,
    line_projection,
    norm_change,
    orthogonality_error,
    random_skew,
    reflection,
    repair_polar,
    repair_qr,
    rotation,
    scaling,
    shear,
)

EYE = np.eye(2)

seeds = st.integers(0, 2**32 - 1)
orders = st.integers(2, 9)
degrees = st.floats(-1e4, 1e4)
checked = settings(deadline=None, max_examples=40)


@checked
@given(st.integers(1, 9), seeds)
def test_haar_is_orthogonal_and_keeps_all_lengths_angles_and_distances(n, seed):
    rng = np.random.default_rng(seed)
    Q, X = haar(n, rng), rng.standard_normal((6, n))
    assert orthogonality_error(Q) < 1e-14
    assert orthogonality_error(Q.T) < 1e-14
    assert abs(np.linalg.det(Q)) == pytest.approx(1, abs=1e-13)
    assert norm_change(Q, X) < 1e-14
    assert angle_change(Q, X) < 1e-11  # a cosine rounded by 2e-16, at 0.01 rad, in degrees
    assert distance_change(Q, X) < 1e-13


def test_haar_is_uniform():
    rng = np.random.default_rng(0)
    n, draws = 3, 4000
    samples = np.array([haar(n, rng) for _ in range(draws)])
    # Each entry has mean 0 and variance 1/n; QR without R's signs fails the first on the diagonal.
    assert np.abs(samples.mean(axis=0)).max() < 4 / math.sqrt(n * draws)
    assert np.abs((samples**2).mean(axis=0) - 1 / n).max() < 4 * math.sqrt(4 / 45 / draws)
    reflections = (np.linalg.det(samples) < 0).mean()
    assert abs(reflections - 0.5) < 4 * 0.5 / math.sqrt(draws)


def test_haar_depends_on_the_seed_alone():
    first, again, other = (haar(4, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@checked
@given(degrees, seeds)
def test_rotation_is_multiplication_by_a_unit_complex_number(angle, seed):
    X = np.random.default_rng(seed).standard_normal((5, 2))
    turned = (X[:, 0] + 1j * X[:, 1]) * np.exp(1j * math.radians(angle))
    moved = X @ rotation(angle).T
    # The reference itself loses digits in turning large angles into radians.
    assert np.allclose(moved[:, 0] + 1j * moved[:, 1], turned, atol=1e-11)
    assert np.linalg.det(rotation(angle)) == pytest.approx(1)
    assert np.allclose(rotation(angle) @ rotation(-angle), EYE, atol=1e-15)


@pytest.mark.parametrize("turns", [0, 1, -3, 10**9])
def test_quarter_turns_are_exact(turns):
    whole = 360.0 * turns
    for quarter, expected in enumerate([EYE, [[0, -1], [1, 0]], -EYE, [[0, 1], [-1, 0]]]):
        assert np.array_equal(rotation(whole + 90 * quarter), expected)
    assert np.array_equal(reflection(whole + 45), [[0, 1], [1, 0]])
    assert np.array_equal(line_projection(whole + 90), [[0, 0], [0, 1]])


@pytest.mark.parametrize("angle", [1e17, -1e30, 1e60])
def test_huge_angles_are_turned_back_exactly(angle):
    within = int(angle) % 360  # in integers, so exact
    assert np.allclose(rotation(angle), rotation(within), atol=1e-15)
    assert np.allclose(reflection(angle), reflection(within), atol=1e-15)


@pytest.mark.parametrize("build", [rotation, reflection, line_projection])
def test_no_map_holds_a_negative_zero(build):
    entries = np.array([build(angle) for angle in range(-360, 361, 45)])
    assert not np.signbit(entries[entries == 0]).any()


@checked
@given(degrees)
def test_reflection_fixes_its_line_and_turns_what_stands_on_it(angle):
    along = rotation(angle) @ [1, 0]
    across = rotation(angle) @ [0, 1]
    M = reflection(angle)
    assert np.allclose(M @ along, along, atol=1e-14)
    assert np.allclose(M @ across, -across, atol=1e-14)
    assert np.linalg.det(M) == pytest.approx(-1)


@checked
@given(degrees)
def test_line_projection_has_rank_one_and_projects(angle):
    P = line_projection(angle)
    assert np.allclose(P @ P, P, atol=1e-15)
    assert np.array_equal(P, P.T)
    assert np.allclose(np.linalg.svd(P, compute_uv=False), [1, 0], atol=1e-15)
    assert np.allclose(P @ (rotation(angle) @ [1, 0]), rotation(angle) @ [1, 0], atol=1e-15)


@checked
@given(st.floats(-50, 50), st.floats(-50, 50))
def test_shear_and_scaling_act_as_named(a, b):
    assert np.allclose(shear(a) @ [2.0, 3.0], [2 + 3 * a, 3])
    assert np.linalg.det(shear(a)) == pytest.approx(1)
    assert np.array_equal(scaling(a, b) @ [2.0, 3.0], [2 * a, 3 * b])


@checked
@given(orders, st.floats(0, 1e6), seeds)
def test_random_skew_is_skew_with_the_norm_asked_for(n, norm, seed):
    S = random_skew(n, norm, np.random.default_rng(seed))
    assert np.array_equal(S, -S.T)
    assert np.linalg.svd(S, compute_uv=False)[0] == pytest.approx(norm, rel=1e-13)


def test_the_only_skew_number_is_zero():
    rng = np.random.default_rng(0)
    assert random_skew(1, 0, rng) == 0
    with pytest.raises(ValueError, match="1×1 skew matrix is 0"):
        random_skew(1, 0.5, rng)


@checked
@given(orders, st.floats(0, 100), seeds)
def test_cayley_is_a_rotation_that_never_turns_by_half(n, norm, seed):
    S = random_skew(n, norm, np.random.default_rng(seed))
    Q = cayley(S)
    assert orthogonality_error(Q) < 1e-11
    assert np.linalg.det(Q) == pytest.approx(1)
    assert np.allclose(cayley(-S), Q.T, atol=1e-11)
    # Its inverse exists because −1 is no eigenvalue, and leads back to S.
    eye = np.eye(n)
    assert np.allclose((Q - eye) @ np.linalg.inv(Q + eye), S, atol=1e-9 * (1 + norm**2))


@checked
@given(st.floats(-1e3, 1e3))
def test_cayley_in_the_plane_turns_by_twice_the_arctangent(t):
    Q = cayley([[0, -t], [t, 0]])
    assert np.allclose(Q, rotation(math.degrees(2 * math.atan(t))), atol=1e-13)


@checked
@given(orders, st.floats(0, 1.2), seeds)
def test_five_terms_of_the_series(n, norm, seed):
    S = random_skew(n, norm, np.random.default_rng(seed))
    S2 = S @ S
    expected = np.eye(n) + 2 * S + 2 * S2 + 2 * S2 @ S + S2 @ S2
    assert np.allclose(cayley_neumann(S), expected, rtol=1e-13, atol=1e-13)


@checked
@given(orders, st.floats(0.1, 1.2), st.integers(4, 12), seeds)
def test_singular_values_of_the_series(n, norm, terms, seed):
    S = random_skew(n, norm, np.random.default_rng(seed))
    theta = np.linalg.eigvals(S)
    expected = np.sort(np.abs(1 - theta ** (terms - 1)))[::-1]
    assert np.allclose(np.linalg.svd(cayley_neumann(S, terms), compute_uv=False), expected, atol=1e-11)


@pytest.mark.parametrize(("norm", "error"), [(0.1, 2e-4), (0.3, 1.6e-2), (0.5, 0.12), (1.0, 1.0)])
def test_error_of_the_series_at_the_reference_norms(norm, error):
    R = cayley_neumann([[0, -norm], [norm, 0]])
    assert orthogonality_error(R) == pytest.approx(error, rel=0.02)
    assert orthogonality_error(R) == pytest.approx(abs((1 - norm**4) ** 2 - 1), rel=1e-9)


@checked
@given(orders, st.floats(0.05, 0.5), seeds)
def test_more_terms_come_closer_to_the_exact_transform(n, norm, seed):
    S = random_skew(n, norm, np.random.default_rng(seed))
    errors = [np.linalg.norm(cayley_neumann(S, terms) - cayley(S), 2) for terms in (2, 4, 6, 8, 10)]
    assert all(after < before for before, after in pairwise(errors))


@checked
@given(st.integers(1, 8), seeds)
def test_repair_by_qr_leaves_a_triangle_with_positive_diagonal(n, seed):
    A = np.random.default_rng(seed).standard_normal((n, n))
    Q = repair_qr(A)
    R = Q.T @ A
    assert orthogonality_error(Q) < 1e-13
    assert np.abs(np.tril(R, -1)).max() < 1e-13 * np.linalg.norm(A)
    assert (np.diag(R) > 0).all()


@checked
@given(st.integers(1, 8), seeds)
def test_repair_by_polar_factor_is_the_nearest_orthogonal_matrix(n, seed):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n))
    Q = repair_polar(A)
    H = Q.T @ A
    assert orthogonality_error(Q) < 1e-13
    assert np.allclose(H, H.T, atol=1e-12)
    assert np.linalg.eigvalsh((H + H.T) / 2).min() > 0
    nearest = np.linalg.norm(A - Q)
    # Others: by QR, at random, and a small rotation away.
    others = [repair_qr(A), haar(n, rng)]
    if n > 1:
        others.append(cayley(random_skew(n, 0.01, rng)) @ Q)
    assert all(np.linalg.norm(A - other) >= nearest - 1e-12 for other in others)


@checked
@given(st.integers(1, 8), seeds)
def test_repair_leaves_an_orthogonal_matrix_alone(n, seed):
    Q = haar(n, np.random.default_rng(seed))
    assert np.allclose(repair_qr(Q), Q, atol=1e-13)
    assert np.allclose(repair_polar(Q), Q, atol=1e-13)
    assert np.allclose(repair_polar(1e-300 * Q), Q, atol=1e-13)


def test_errors_of_known_maps():
    X = np.array([[3.0, 4.0], [3.0, 0.0], [0.0, 5.0]])
    assert orthogonality_error(scaling(2, 1)) == 3
    assert norm_change(scaling(2, 1), X) == pytest.approx(1)  # the row along the first axis doubles
    assert distance_change(scaling(2, 1), X) == pytest.approx(math.hypot(6, 1) - math.hypot(3, 1))
    assert angle_change(scaling(2, 1), X) == pytest.approx(math.degrees(math.atan(4 / 3) - math.atan(4 / 6)))
    # A projection lays every direction on one line: angles become 0° or 180°.
    assert angle_change(line_projection(0), [[1, 1], [1, -1], [-1, 0.5]]) == pytest.approx(90)


def test_orthogonality_error_takes_a_basis_that_is_not_square():
    Q = haar(5, np.random.default_rng(0))
    assert orthogonality_error(Q[:, :2]) < 1e-15
    assert orthogonality_error(Q[:2]) > 0.1


@pytest.mark.parametrize("start", [0, 180])
def test_angle_change_sees_a_billionth_of_a_radian(start):
    turn = 1e-9
    X = np.array([[1.0, 0.0], rotation(start) @ [1.0, turn]])
    # Doubling the second axis doubles a small angle; arccos would see none.
    assert angle_change(scaling(1, 2), X) == pytest.approx(math.degrees(turn), rel=1e-6)


def test_a_map_may_change_the_dimension():
    X = np.random.default_rng(0).standard_normal((7, 3))
    embed = haar(5, np.random.default_rng(1))[:, :3]
    assert norm_change(embed, X) < 1e-14
    assert angle_change(embed, X) < 1e-11
    assert distance_change(embed, X) < 1e-13


def test_distances_in_batches_equal_distances_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    X, A = rng.standard_normal((23, 4)), rng.standard_normal((3, 4))
    whole = distance_change(A, X)
    monkeypatch.setattr(orthogonal, "_BATCH", 200)
    assert distance_change(A, X) == whole
    pairs = [(i, j) for i in range(23) for j in range(i)]
    slow = max(abs(math.dist(A @ X[i], A @ X[j]) - math.dist(X[i], X[j])) for i, j in pairs)
    assert whole == pytest.approx(slow)
