import hashlib
import math
import warnings
from unittest.mock import patch

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from wonderland.backend import splitting
from wonderland.backend.splitting import TOLERANCE, Leading, checksum, leading
from wonderland.maths.subspace import matrix_with_spectrum

# Just large enough that LAPACK's SVD is not the first road.
LARGE = (400, 450)


def gaussian(m, n, dtype=torch.float32, seed=0):
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def with_spectrum(sigma, m=LARGE[0], n=LARGE[1]):
    """A matrix m×n, m ≤ n, with these singular values, in float32."""
    rng = np.random.default_rng(0)
    square = matrix_with_spectrum(np.asarray(sigma, dtype=float), rng)
    rows = np.linalg.qr(rng.standard_normal((n, m)))[0].T
    return torch.tensor(square @ rows, dtype=torch.float32)


def assert_splits(W, k, parts):
    """The promises, each against what NumPy computes in float64."""
    (m, n), dtype = W.shape, torch.float64 if W.dtype == torch.float64 else torch.float32
    assert isinstance(parts, Leading)
    assert [tuple(part.shape) for part in parts] == [(m, k), (k,), (n, k)]
    assert {part.dtype for part in parts} == {dtype}
    U, S, V = (part.double().numpy() for part in parts)
    A = W.double().numpy()
    sigma = scipy.linalg.svdvals(A)
    assert (np.diff(S) <= 0).all()
    assert (S >= 0).all()
    share = 1 if dtype == torch.float32 else 1e-6
    np.testing.assert_allclose(S, sigma[:k], rtol=0, atol=1e-4 * share * sigma[0])
    for basis in (U, V):
        np.testing.assert_allclose(basis.T @ basis, np.eye(k), rtol=0, atol=1e-5 * share)
    for residual in (A @ V - U * S, A.T @ U - V * S):
        assert np.sqrt((residual**2).sum() / max(k, 1)) <= 1.05 * TOLERANCE[dtype] * sigma[0]


@pytest.fixture
def no_svd(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the slow road was taken")

    monkeypatch.setattr(torch.linalg, "svd", refuse)


@settings(max_examples=30, deadline=None)
@given(
    m=st.integers(1, 40), n=st.integers(1, 40), seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([torch.float32, torch.float64]), small=st.sampled_from([1, 1000]), data=st.data(),
)  # fmt: skip
def test_any_shape_splits_on_every_road(m, n, seed, dtype, small, data):
    k = data.draw(st.integers(0, min(m, n)))
    W = gaussian(m, n, dtype, seed)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(splitting, "SMALL", small)
        changed.setattr(splitting, "LARGE", 1)
        changed.setattr(splitting, "FEW", data.draw(st.sampled_from([0, 1])))
        assert_splits(W, k, leading(W, k))


@pytest.mark.parametrize("shape", [LARGE, LARGE[::-1], (400, 400), (384, 1200)])
@pytest.mark.parametrize("k", [1, 6, 7, 200, 370])
@pytest.mark.usefixtures("no_svd")
def test_a_large_weight_needs_no_svd(shape, k):
    W = gaussian(*shape)
    assert_splits(W, k, leading(W, k))


def test_few_directions_need_no_decomposition_of_the_whole_gram_matrix(monkeypatch):
    orders, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda A: orders.append(len(A)) or eigh(A))
    W = gaussian(1100, 1024) * torch.linspace(1, 0.1, 1024)
    assert_splits(W, 16, leading(W, 16))
    assert max(orders) < 0.4 * 1024


def test_float64_is_split_in_float64():
    W = gaussian(*LARGE, dtype=torch.float64)
    for k in (5, 200):
        assert_splits(W, k, leading(W, k))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_split_in_float32(dtype):
    W = gaussian(*LARGE, dtype=dtype)
    assert_splits(W, 30, leading(W, 30))


ORDER = min(LARGE)
HARD = {
    "spanning 1e8": np.logspace(0, -8, ORDER),
    "spanning 1e4": np.logspace(0, -4, ORDER),
    "of rank 20": np.r_[np.linspace(2, 1, 20), np.zeros(ORDER - 20)],
    "of rank 1": np.r_[1, np.zeros(ORDER - 1)],
    "with one giant": np.r_[1e6, np.ones(ORDER - 1)],
    "all equal": np.ones(ORDER),
    "clustered at the cut": np.r_[np.full(100, 1.0), np.full(200, 0.5), np.full(100, 0.1)],
    "tiny": np.linspace(1e-30, 1e-31, ORDER),
    "huge": np.linspace(1e36, 1e35, ORDER),
    "zero": np.zeros(ORDER),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("k", [5, 20, 200, 400])
def test_a_hard_weight_is_split_as_well_as_an_easy_one(name, k, monkeypatch):
    monkeypatch.setattr(splitting, "LARGE", 1)
    W = with_spectrum(HARD[name])
    assert_splits(W, k, leading(W, k))


def test_the_edge_of_what_the_gram_matrix_can_do_is_seen():
    """Each side of σ_k/σ₁ = 0.005; and just above it the triplets hold without LAPACK."""
    for last, by_svd in ((0.02, 0), (0.007, 0), (0.003, 1)):
        W = with_spectrum(np.geomspace(1, last, ORDER))
        with patch.object(torch.linalg, "svd", wraps=torch.linalg.svd) as svd:
            assert_splits(W, ORDER, leading(W, ORDER))
        assert svd.call_count == by_svd


def test_a_wrong_eigenvector_is_noticed(monkeypatch):
    W, eigh = gaussian(*LARGE), torch.linalg.eigh
    expected = leading(W, 100)

    def disturbed(A):
        squares, V = eigh(A)
        V[:, -50] = V[:, -51]
        return squares, V

    monkeypatch.setattr(torch.linalg, "eigh", disturbed)
    found = leading(W, 100)
    assert_splits(W, 100, found)
    torch.testing.assert_close(found.S, expected.S, rtol=0, atol=1e-4)


@pytest.mark.parametrize("k", [0, 3, 150])
def test_the_same_weight_gives_the_same_result(k):
    W = gaussian(*LARGE)
    state = torch.get_rng_state()
    first = leading(W, k)
    torch.manual_seed(5)
    for again in (leading(W.clone(), k), leading(W.mT.contiguous().mT, k)):
        for one, two in zip(first, again, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-5 if k == 3 else 1e-3)
    same = leading(W.clone(), k)
    assert all(torch.equal(one, two) for one, two in zip(first, same, strict=True))
    torch.set_rng_state(state)
    leading(W, k)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(30, 20), LARGE])
def test_the_largest_entry_of_each_v_is_positive(shape):
    V = leading(gaussian(*shape), 5).V
    assert (V.gather(0, V.abs().argmax(0, keepdim=True)) > 0).all()


def test_autocast_and_gradients_are_kept_out(tmp_path):
    W = gaussian(*LARGE).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        parts = leading(W, 100, tmp_path)
        assert same(leading(W, 100, tmp_path), parts)
    assert not any(part.requires_grad for part in parts)
    assert_splits(W.detach(), 100, parts)


def test_scaling_scales_the_singular_values_alone():
    W = gaussian(*LARGE)
    one, other = leading(W, 40), leading(W * 2.0**-90, 40)
    assert torch.equal(one.S * 2.0**-90, other.S)
    assert torch.equal(one.U, other.U)
    assert torch.equal(one.V, other.V)


@pytest.mark.parametrize(
    ("W", "k", "error", "message"),
    [
        (np.eye(3), 1, TypeError, "W is ndarray"),
        (None, 1, TypeError, "W is NoneType"),
        (torch.eye(3, dtype=torch.int8), 1, TypeError, "torch.int8: .*dequantise"),
        (torch.eye(3, dtype=torch.complex64), 1, TypeError, "torch.complex64"),
        (torch.eye(3).to_sparse(), 1, TypeError, "plain dense"),
        (torch.empty(3, 3, device="meta"), 1, ValueError, "meta"),
        (torch.ones(3), 1, ValueError, r"shape \(3,\)"),
        (torch.ones(2, 3, 4), 1, ValueError, r"shape \(2, 3, 4\)"),
        (torch.empty(0, 4), 0, ValueError, r"shape \(0, 4\)"),
        (torch.tensor([[1.0, math.nan]]), 1, ValueError, "1 of its 2 entries"),
        (torch.tensor([[math.inf, -math.inf]]), 1, ValueError, "2 of its 2 entries"),
        (torch.full((4, 4), 3e38), 2, ValueError, "singular value beyond 3.4e\\+38"),
        (torch.eye(6), 7, ValueError, "k = 7 is outside 0…6: a 6×6 matrix has 6 singular values"),
        (torch.ones(1, 4), 2, ValueError, "k = 2 is outside 0…1: a 1×4 matrix has 1 singular value\\."),
        (torch.eye(6), -1, ValueError, "k = -1 is outside 0…6"),
        (torch.eye(6), 10**40, ValueError, "k = .* is outside 0…6"),
        (torch.eye(6), 2.0, TypeError, "k = 2.0 is not a whole number"),
        (torch.eye(6), math.nan, TypeError, "k = nan"),
        (torch.eye(6), True, TypeError, "k = True"),
        (torch.eye(6), "2", TypeError, "k = '2'"),
    ],
)
def test_what_cannot_be_split_is_refused(W, k, error, message):
    with pytest.raises(error, match=message):
        leading(W, k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64])
def test_a_checksum_is_the_digest_of_type_shape_and_bytes(dtype):
    W = (10 * gaussian(5, 7)).to(dtype)
    plain = f"{dtype} (5, 7) ".encode() + W.numpy().tobytes()
    assert checksum(W) == hashlib.blake2b(plain, digest_size=16).hexdigest()
    assert checksum(W.mT.contiguous().mT) == checksum(W.clone().requires_grad_(dtype.is_floating_point)) == checksum(W)


def test_a_checksum_sees_every_difference():
    W = gaussian(4, 6).bfloat16()
    flipped = W.clone()
    flipped.view(torch.int16)[3, 5] ^= 1
    zeros = torch.zeros(4, 6)
    different = [W, flipped, W.half(), W.float(), W.reshape(6, 4), W.mT, W.flatten(), zeros, -zeros, torch.zeros(())]
    assert len({checksum(one) for one in different}) == len(different)


@pytest.mark.parametrize(
    ("W", "error"),
    [("W", TypeError), (torch.eye(3).to_sparse(), TypeError), (torch.empty(3, device="meta"), ValueError)],
)
def test_what_has_no_bytes_has_no_checksum(W, error):
    with pytest.raises(error, match="W is"):
        checksum(W)


@pytest.fixture
def splits(monkeypatch):
    """A count of the splits that are really computed."""
    made, split = [], splitting._split
    monkeypatch.setattr(splitting, "_split", lambda W, k: made.append(k) or split(W, k))
    return made


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("k", [0, 1, 12])
def test_a_cached_split_is_read_back(tmp_path, splits, dtype, k):
    W = gaussian(20, 12, dtype)
    folder = tmp_path / "deep" / "splits"
    first = leading(W, k, folder)
    fingerprint = checksum(W.float() if dtype == torch.bfloat16 else W)
    assert [path.name for path in folder.iterdir()] == [f"{fingerprint}-{k}.safetensors"]
    assert same(leading(W, k, str(folder)), first)
    assert splits == [k]
    leading(W, 5, folder)
    leading(W + 1, k, folder)
    assert splits == [k, 5, k]
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("scale", [0.0, 1e-40, 1e37])
def test_a_strange_weight_is_cached_too(tmp_path, splits, scale):
    W = gaussian(9, 6) * scale
    assert same(leading(W, 3, tmp_path), leading(W, 3, tmp_path))
    assert splits == [3]


def _rewritten(change):
    def damage(path):
        parts = load_file(path)
        save_file(change(parts), path)

    return damage


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "cut to its header": lambda path: path.write_bytes(path.read_bytes()[:30]),
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_text("not a split " * 100),
    "one bit flipped": lambda path: path.write_bytes(path.read_bytes()[:-2] + bytes([path.read_bytes()[-2] ^ 64, 0])),
    "another's": _rewritten(lambda parts: leading(gaussian(20, 12, seed=9), 4)._asdict()),
    "without V": _rewritten(lambda parts: {name: parts[name] for name in ("U", "S")}),
    "of another k": _rewritten(lambda parts: {name: part[..., :3].contiguous() for name, part in parts.items()}),
    "in another type": _rewritten(lambda parts: {name: part.double() for name, part in parts.items()}),
    "with NaN": _rewritten(lambda parts: parts | {"S": parts["S"] * math.nan}),
    "ascending": _rewritten(lambda parts: {name: part.flip(-1).contiguous() for name, part in parts.items()}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_computed_anew_and_says_so(tmp_path, splits, damage):
    W = gaussian(20, 12)
    first = leading(W, 4, tmp_path)
    (path,) = tmp_path.iterdir()
    DAMAGE[damage](path)
    splits.clear()
    with pytest.warns(UserWarning, match=f"cached split .*{path.name} cannot be used and is computed anew"):
        again = leading(W, 4, tmp_path)
    assert splits == [4]
    assert same(again, first)
    # ... and stands whole in the folder now.
    assert same(leading(W, 4, tmp_path), first)
    assert splits == [4]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_takes_nothing_costs_only_a_warning(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    W = gaussian(20, 12)
    monkeypatch.setattr(splitting, "save_file", full_disk)
    with pytest.warns(UserWarning, match="was not cached .*No space left"):
        parts = leading(W, 4, tmp_path)
    assert_splits(W, 4, parts)
    assert not list(tmp_path.iterdir())


def test_a_cache_must_be_a_folder(tmp_path):
    file = tmp_path / "file"
    file.write_text("something")
    for bad in (file, file / "inside"):
        with pytest.raises(ValueError, match="give a folder"):
            leading(torch.eye(3), 1, bad)
    for bad in (3, True, [tmp_path]):
        with pytest.raises(TypeError, match="give a folder"):
            leading(torch.eye(3), 1, bad)
    assert file.read_text() == "something"


def test_nothing_is_written_without_a_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        leading(gaussian(20, 12), 4)
    assert not list(tmp_path.iterdir())
