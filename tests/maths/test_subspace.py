import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland.maths.orthogonal import orthogonality_error
from wonderland.maths.subspace import (
    RULES,
    Split,
    blocks,
    effective_rank,
    energy_kept,
    leak,
    matrix_with_spectrum,
    project,
    rank_k,
    removed_blocks,
    split,
)

# The tutorial's example, cut after one direction.
W3 = np.array([[2, 0.5, 0], [0, 1.5, 0.1], [0, 0, 0.2]])
G3 = np.array([[0.1, -0.2, 0.05], [0.05, 0.1, -0.1], [-0.2, 0, 0.2]])

seeds = st.integers(0, 2**32 - 1)
checked = settings(deadline=None, max_examples=40)


@st.composite
def cases(draw):
    """A weight, an update of its shape, and a cut-off from none to all."""
    m, n = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(seeds))
    k = draw(st.integers(0, min(m, n)))
    return rng.standard_normal((m, n)), rng.standard_normal((m, n)), k


@st.composite
def spectra(draw):
    value = st.just(0.0) | st.floats(1e-6, 100)
    return sorted(draw(st.lists(value, min_size=1, max_size=8).filter(any)), reverse=True)


@checked
@given(cases())
def test_split_holds_the_weight_and_both_full_bases(case):
    W, _, k = case
    m, n = W.shape
    parts = split(W, k)
    assert parts.shape == (m, n)
    shapes = [(m, k), (n, k), (m, m - k), (n, n - k), (k,)]
    arrays = [parts.U_h, parts.V_h, parts.U_perp, parts.V_perp, parts.sigma_h]
    assert [array.shape for array in arrays] == shapes
    assert orthogonality_error(np.hstack([parts.U_h, parts.U_perp])) < 1e-13
    assert orthogonality_error(np.hstack([parts.V_h, parts.V_perp])) < 1e-13
    count = min(m, n)
    assert np.allclose((parts.U[:, :count] * parts.S) @ parts.Vt[:count], W, atol=1e-13)
    assert (np.diff(parts.S) <= 0).all()
    assert (parts.S >= 0).all()


def test_a_split_cannot_be_written_into_and_leaves_its_weight_alone():
    W = W3.copy()
    parts = split(W, 1)
    W[0, 0] = 7
    assert leak(W3, parts).right < 1e-15
    for array in (parts.U, parts.S, parts.Vt, parts.U_h, parts.V_perp):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(ValueError, match=r"k = 4 is outside 0…3: a 3×3 matrix has 3 singular values"):
        Split(parts.U, parts.S, parts.Vt, 4)


@checked
@given(cases(), st.sampled_from(RULES))
def test_a_rule_is_the_projection_its_formula_says(case, rule):
    W, G, k = case
    parts = split(W, k)
    P_u, P_v = parts.U_h @ parts.U_h.T, parts.V_h @ parts.V_h.T
    eye_m, eye_n = np.eye(len(W)), np.eye(W.shape[1])
    expected = {
        "joint": G - P_u @ G @ P_v,
        "two-sided": (eye_m - P_u) @ G @ (eye_n - P_v),
        "right-only": G @ (eye_n - P_v),
    }[rule]
    before = G.copy()
    safe = project(G, parts, rule)
    assert np.allclose(safe, expected, atol=1e-13)
    assert np.allclose(project(safe, parts, rule), safe, atol=1e-13)
    assert abs(np.vdot(safe, G - safe)) < 1e-12  # the shortest way: what is removed stands at right angles
    assert np.array_equal(G, before)
    assert safe is not G


@checked
@given(cases(), st.sampled_from(RULES))
def test_a_rule_removes_its_blocks_and_no_other(case, rule):
    W, G, k = case
    parts = split(W, k)
    before, after = blocks(G, parts), blocks(project(G, parts, rule), parts)
    assert sum(before.values()) == pytest.approx((G**2).sum())
    for name, energy in before.items():
        expected = 0 if name in removed_blocks(rule) else energy
        assert after[name] == pytest.approx(expected, abs=1e-25, rel=1e-10)


def test_blocks_name_the_output_side_first():
    parts = split(np.diag([3.0, 2.0, 1.0]), 1)  # direction 0 is protected on both sides
    G = np.zeros((3, 3))
    G[0, 0], G[0, 2], G[1, 0], G[2, 1] = 1, 2, 3, 4
    assert blocks(G, parts) == {
        "protected-protected": 1,
        "protected-free": 4,
        "free-protected": 9,
        "free-free": 16,
    }


@checked
@given(cases())
def test_what_each_rule_protects(case):
    W, G, k = case
    parts = split(W, k)
    joint, right, both = (leak(W + project(G, parts, rule), parts) for rule in RULES)
    assert joint.joint < 1e-12
    assert max(right.joint, right.right, right.triplet) < 1e-12
    assert max(both.joint, both.right, both.left, both.triplet) < 1e-12
    # Every protected triplet, from the definition.
    W_new = W + project(G, parts, "two-sided")
    assert np.allclose(W_new @ parts.V_h, parts.U_h * parts.sigma_h, atol=1e-12)
    assert np.allclose(W_new.T @ parts.U_h, parts.V_h * parts.sigma_h, atol=1e-12)


@checked
@given(cases(), seeds)
def test_leak_is_measured_on_the_change(case, seed):
    W, G, k = case
    parts = split(W, k)
    measured = leak(W + G, parts)
    assert measured.joint == pytest.approx(np.linalg.norm(parts.U_h.T @ G @ parts.V_h), abs=1e-12)
    assert measured.right == pytest.approx(np.linalg.norm(G @ parts.V_h), abs=1e-12)
    assert measured.left == pytest.approx(np.linalg.norm(parts.U_h.T @ G), abs=1e-12)
    residuals = [np.linalg.norm((W + G) @ parts.V_h[:, i] - parts.sigma_h[i] * parts.U_h[:, i]) for i in range(k)]
    assert measured.triplet == pytest.approx(max(residuals, default=0), abs=1e-12)
    # Training C between the free directions leaks nothing, whatever C.
    C = np.random.default_rng(seed).standard_normal((len(W) - k, W.shape[1] - k))
    still = leak(W + parts.U_perp @ C @ parts.V_perp.T, parts)
    assert max(still.joint, still.right, still.left, still.triplet) < 1e-12


def test_the_tutorials_example():
    parts = split(W3, 1)
    total = (G3**2).sum()
    removed = {rule: ((G3 - project(G3, parts, rule)) ** 2).sum() / total for rule in RULES}
    assert removed["joint"] == pytest.approx(0.005, abs=5e-4)
    assert np.linalg.norm(G3 @ parts.V_h) == pytest.approx(0.1966, abs=5e-5)
    safe = project(G3, parts, "joint")
    assert np.linalg.norm(safe @ parts.V_h) == pytest.approx(0.1945, abs=5e-5)
    assert np.linalg.norm(project(G3, parts, "two-sided") @ parts.V_h) < 1e-16
    # Each rule's share is that of its blocks.
    energies = blocks(G3, parts)
    for rule in RULES:
        assert removed[rule] == pytest.approx(sum(energies[b] for b in removed_blocks(rule)) / total)


@pytest.mark.parametrize("rule", RULES)
def test_cutting_nothing_or_everything(rule):
    assert np.array_equal(project(G3, split(W3, 0), rule), G3)
    assert np.allclose(project(G3, split(W3, 3), rule), 0, atol=1e-15)
    nothing = leak(W3 + G3, split(W3, 0))
    assert (nothing.joint, nothing.right, nothing.left, nothing.triplet) == (0, 0, 0, 0)
    # All singular values of an oblong weight, and still the longer side has a free direction.
    oblong = split(np.eye(3)[:2], 2)
    update = np.array([[0, 0, 1.0], [0, 0, 2.0]])
    expected = {"joint": update, "two-sided": np.zeros((2, 3)), "right-only": update}[rule]
    assert np.allclose(project(update, oblong, rule), expected, atol=1e-15)


def test_dimensions_that_the_joint_rule_fixes():
    m, n, k = 5, 4, 2
    parts = split(np.random.default_rng(0).standard_normal((m, n)), k)
    units = np.eye(m * n).reshape(-1, m, n)
    for rule, fixed in {"joint": k * k, "two-sided": m * n - (m - k) * (n - k), "right-only": m * k}.items():
        reachable = np.array([project(unit, parts, rule).ravel() for unit in units])
        assert np.linalg.matrix_rank(reachable) == m * n - fixed


@checked
@given(spectra(), seeds)
def test_a_matrix_has_the_spectrum_asked_for(sigma, seed):
    W = matrix_with_spectrum(sigma, np.random.default_rng(seed))
    assert W.shape == (len(sigma), len(sigma))
    assert np.allclose(np.linalg.svd(W, compute_uv=False), sigma, atol=1e-13 * max(sigma))


def test_a_spectrum_leaves_the_directions_to_the_generator():
    first, again, other = (matrix_with_spectrum([2, 1, 0], np.random.default_rng(s)) for s in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    assert not matrix_with_spectrum([0, 0], np.random.default_rng(0)).any()


@checked
@given(spectra(), seeds)
def test_energy_kept_is_that_of_the_best_approximation(sigma, seed):
    W = matrix_with_spectrum(sigma, np.random.default_rng(seed))
    whole = np.linalg.norm(W) ** 2
    for k in range(len(sigma) + 1):
        near = rank_k(W, k)
        assert np.linalg.matrix_rank(near, tol=1e-9 * max(sigma)) <= k
        assert energy_kept(sigma, k) == pytest.approx(np.linalg.norm(near) ** 2 / whole, abs=1e-12)
        assert np.linalg.norm(W - near) ** 2 == pytest.approx(whole * (1 - energy_kept(sigma, k)), abs=1e-12 * whole)
        assert np.allclose(rank_k(split(W, 0), k), near, atol=1e-12 * max(sigma))
    assert energy_kept(sigma, len(sigma)) == 1


@checked
@given(cases())
def test_no_other_matrix_of_that_rank_is_nearer(case):
    W, G, k = case
    # Columns of G span k directions at random: the best approximation within them is farther off.
    Q = np.linalg.qr(G)[0][:, :k]
    assert np.linalg.norm(W - rank_k(W, k)) <= np.linalg.norm(W - Q @ Q.T @ W) + 1e-12


@checked
@given(spectra())
def test_effective_rank_lies_between_one_and_the_rank(sigma):
    rank = effective_rank(sigma)
    assert 1 - 1e-12 <= rank <= np.count_nonzero(sigma) + 1e-9
    assert effective_rank(np.multiply(sigma, 1e-290)) == pytest.approx(rank, rel=1e-6)


def test_effective_rank_of_known_spectra():
    assert effective_rank([5, 0, 0]) == 1
    assert effective_rank([2, 2, 2, 2]) == pytest.approx(4)
    p = 3 / 4
    assert effective_rank([3, 1]) == pytest.approx(math.exp(-p * math.log(p) - (1 - p) * math.log(1 - p)))


def test_tiny_singular_values_keep_their_shares():
    assert energy_kept([3e-200, 4e-201], 1) == pytest.approx(9 / 9.16)
