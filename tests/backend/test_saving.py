import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from wonderland.backend import saving
from wonderland.backend.osft import constrain, leak, load, merge, save
from wonderland.backend.splitting import Leading

AGREE = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.fixture
def base():
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 6)).double()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "learned.safetensors"


def learned(base, steps=20, **arguments):
    model = constrain(copy.deepcopy(base), **arguments)
    fit(model, steps)
    return model


def fit(model, steps):
    torch.manual_seed(9)
    x = inputs(model)
    y = torch.randn_like(model(x).detach())
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def inputs(model):
    parameter = next(model.parameters())
    shape = (10, 4, 5, 5) if isinstance(getattr(model[0], "_shell", model[0]), nn.Conv2d) else (10, 8)
    return torch.randn(shape, dtype=parameter.dtype)


def assert_same(one, other, tolerance):
    x = inputs(one)
    with torch.no_grad():
        assert (one(x) - other(x)).norm() <= tolerance * one(x).norm()


def snapshot(model):
    modules = {name: id(module) for name, module in model.named_modules(remove_duplicate=False)}
    return (
        modules,
        {name: value.clone() for name, value in model.state_dict().items()},
        [p.requires_grad for p in model.parameters()],
    )


def assert_untouched(model, before):
    modules, values, grads = snapshot(model)
    assert modules == before[0]
    assert grads == before[2]
    assert all(torch.equal(values[name], value) for name, value in before[1].items())


@pytest.mark.parametrize("dtype", AGREE)
@pytest.mark.parametrize("bases", [True, False])
@pytest.mark.parametrize(("method", "keep"), [("core", 0.2), ("core", 0.8), ("dense", 0.5)])
def test_what_was_learned_comes_back(base, path, dtype, bases, method, keep):
    base = base.to(dtype)
    model = learned(base, keep=keep, method=method)
    save(model, path, bases=bases)
    other = load(copy.deepcopy(base), path)
    assert_same(model, other, AGREE[dtype])
    assert [(n, p.shape, p.requires_grad) for n, p in other.named_parameters()] == [
        (n, p.shape, p.requires_grad) for n, p in model.named_parameters()
    ]
    # It protects what it protected, and goes on learning.
    fit(other, 20)
    for name, found in leak(other, base).items():
        assert max(vars(found).values()) < AGREE[dtype] * base.get_submodule(name).weight.detach().norm()
    with torch.no_grad():
        assert (merge(other)[0].weight - base[0].weight).norm() > 0.1


def test_given_directions_biases_and_convolutions_come_back(path):
    torch.manual_seed(4)
    base = nn.Sequential(nn.Conv2d(4, 6, 3, bias=False), nn.Flatten(), nn.Linear(54, 5))
    V = torch.linalg.qr(torch.randn(54, 9)).Q
    U, patch = torch.linalg.qr(torch.randn(6, 2)).Q, torch.linalg.qr(torch.randn(36, 4)).Q
    model = learned(base, basis={"0": (U, patch), "2": V}, train_bias=True)
    save(model, path)
    other = load(copy.deepcopy(base), path)
    assert_same(model, other, 1e-5)
    assert torch.equal(other[2].bias, model[2].bias)
    assert other[2].bias.requires_grad
    assert (other[0].k_u, other[0].k_v, other[2].k_u, other[2].k_v) == (2, 4, 0, 9)
    change = (other[2].weight - base[2].weight).detach()
    assert (change @ V).norm() < 1e-5
    with pytest.raises(ValueError, match=r"layer '0' protects given directions.*bases=True"):
        save(model, path, bases=False)


@settings(max_examples=15, deadline=None)
@given(m=st.integers(1, 9), n=st.integers(2, 9), data=st.data())
def test_layers_of_any_shape_come_back(tmp_path_factory, m, n, data):
    path = tmp_path_factory.mktemp("any") / "file"
    k_u, k_v = data.draw(st.integers(0, m - 1)), data.draw(st.integers(1, n - 1))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32 - 1)))
    U, V = (torch.linalg.qr(torch.randn(s, k, generator=generator).double()).Q for s, k in ((m, k_u), (n, k_v)))
    base = nn.Sequential(nn.Linear(n, m)).double()
    model = constrain(copy.deepcopy(base), basis={"0": (U, V)})
    with torch.no_grad():
        model[0].C.copy_(torch.randn(model[0].C.shape, generator=generator))
    save(model, path)
    other = load(base, path)
    torch.testing.assert_close(other[0].weight, model[0].weight, rtol=0, atol=1e-10)


@pytest.mark.parametrize("keep", [128, 192, 240])
def test_a_file_is_as_small_as_its_rule_says(path, keep):
    n = 256
    base = nn.Sequential(nn.Linear(n, n, bias=False))
    model = constrain(copy.deepcopy(base), keep)
    sizes = []
    for bases in (True, False):
        save(model, path, bases=bases)
        sizes.append(path.stat().st_size / (4 * n * n))
    # Beside K and the bases, some numbers for each row and column, and a header.
    for size, rule in zip(sizes, (1 - (keep / n) ** 2, (1 - keep / n) ** 2), strict=True):
        assert rule <= size < rule + 24 * 2 / (4 * n) + 2048 / (4 * n * n)
    assert sizes[0] < 0.82


def test_a_file_with_bases_does_not_depend_on_how_the_machine_splits(base, path, monkeypatch):
    """Another LAPACK may turn singular vectors within their span, or find no gap where there is none."""

    def turned(by):
        def split(W, k):
            torch.manual_seed(1)
            U, S, Vh = torch.linalg.svd(W, full_matrices=False)
            U, V = (basis[:, :k] + by * torch.randn(len(basis), k, dtype=W.dtype) for basis in (U, Vh.mT))
            turn = torch.linalg.qr(torch.randn(k, k, dtype=W.dtype)).Q
            return Leading(*(torch.linalg.qr(basis @ turn).Q if basis.ndim == 2 else basis for basis in (U, S[:k], V)))

        return split

    model = learned(base, keep=0.5)
    for bases in (True, False):
        save(model, path, bases=bases)
        # The same span by other vectors is the same.
        monkeypatch.setattr(saving, "leading", turned(0.0))
        assert_same(model, load(copy.deepcopy(base), path), 1e-10)
        monkeypatch.setattr(saving, "leading", turned(0.01))
        if bases:
            assert_same(model, load(copy.deepcopy(base), path), 1e-10)
        else:
            other = copy.deepcopy(base)
            before = snapshot(other)
            with pytest.raises(ValueError, match=r"layer '0' does not come out.*other directions.*bases=True"):
                load(other, path)
            assert_untouched(other, before)


def test_an_older_file_is_replaced_only_by_a_whole_one(base, path, monkeypatch):
    model = learned(base)
    save(model, path)
    before = path.read_bytes()

    def fail(tensors, name, metadata):
        name.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(saving, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save(model, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def rewritten(path, tensors=None, about=None, **metadata):
    """Write the file anew with something changed."""
    values = load_file(path)
    with safe_open(path, framework="pt") as file:
        old = file.metadata()
    layers = json.loads(old["layers"])
    if about:
        about(layers)
    if tensors:
        tensors(values)
    save_file(values, path, old | {"layers": json.dumps(layers)} | metadata)


def scaled(name, by):
    return lambda values: values.update({name: values[name] * by})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "damaged or no safetensors file"),
        (lambda path: path.write_bytes(b""), "damaged or no safetensors file"),
        (lambda path: path.write_text("Alice was beginning to get very tired"), "damaged or no safetensors file"),
        (lambda path: save_file({"a": torch.ones(2)}, path), "was not written by save"),
        (lambda path: save_file({"a": torch.ones(2)}, path, {"format": "pt"}), "was not written by save"),
        (lambda path: rewritten(path, version="2"), "is of version '2': this program reads version 1"),
        (lambda path: rewritten(path, layers="{"), "damaged"),
        (lambda path: rewritten(path, layers="[]"), "damaged"),
        (lambda path: rewritten(path, layers="{}"), "damaged"),
        (lambda path: rewritten(path, layers='{"0": {}}'), "damaged"),
        (lambda path: rewritten(path, lambda values: values.pop("0:K")), "damaged"),
        (lambda path: rewritten(path, scaled("2:K", 1.001)), "layer '2' does not come out as it was saved.*damaged"),
        (lambda path: rewritten(path, scaled("2:K", float("nan"))), "layer '2' does not come out"),
        (lambda path: rewritten(path, scaled("0:X_u", 1.01)), "layer '0' does not come out"),
        (lambda path: rewritten(path, lambda values: values.update({"0:K": torch.ones(2, 2)})), "damaged"),
        (lambda path: rewritten(path, lambda values: values.update({"0:rows": values["0:rows"] * 0})), "damaged"),
        (lambda path: rewritten(path, lambda values: values.update({"0:rows": values["0:rows"] + 99})), "damaged"),
        (lambda path: rewritten(path, about=lambda layers: layers["0"].update(form="magic")), "damaged"),
        (lambda path: rewritten(path, about=lambda layers: layers["0"].update(k_u="many")), "damaged"),
        (lambda path: rewritten(path, about=lambda layers: layers["0"].update(bias=True)), "damaged"),
    ],
    ids=range(20),
)
def test_a_file_that_is_not_whole_is_refused(base, path, change, message):
    save(learned(base), path)
    change(path)
    before = snapshot(base)
    with pytest.raises(ValueError, match=message):
        load(base, path)
    assert_untouched(base, before)


def with_weight(model, name, value):
    model.get_submodule(name).weight = nn.Parameter(value)
    return model


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda base: with_weight(base, "2", base[2].weight + 1e-9), "layer '2' has other weights"),
        (lambda base: base.float(), r"layer '0' has other weights \(torch.float32\)"),
        (lambda base: merge(learned(base)), "layer '0' has other weights"),
        (lambda base: nn.Sequential(nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 6)), "layer '0' is 9×8"),
        (lambda base: nn.Sequential(base[0], nn.Tanh()), "names '2', unknown to model"),
        (lambda base: nn.Sequential(base[0], base[2], nn.Tanh()), "trained on another model.*'2', a Tanh"),
        (lambda base: constrain(base), "constrained or adapted already"),
    ],
    ids=["weight", "type", "trained", "shape", "missing", "kind", "constrained"],
)
def test_another_base_is_refused(base, path, other, message):
    save(learned(base), path)
    other = other(base)
    before = snapshot(other)
    with pytest.raises(ValueError, match=message):
        load(other, path)
    assert_untouched(other, before)


def test_what_cannot_be_saved_is_refused(base, path, tmp_path):
    with pytest.raises(ValueError, match="no constrained layer"):
        save(base, path)
    with pytest.raises(TypeError, match=r"model is NoneType: give a torch\.nn\.Module"):
        save(None, path)
    model = learned(base)
    with pytest.raises(TypeError, match="bases = 1 is not a switch"):
        save(model, path, bases=1)
    with torch.no_grad():
        model[2].C[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"layer '2': .* NaN or infinite"):
        save(model, path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_loaded_is_refused(base, path):
    with pytest.raises(FileNotFoundError):
        load(base, path)
    with pytest.raises(IsADirectoryError):
        load(base, path.parent)
    save(learned(base), path)
    with pytest.raises(TypeError, match=r"model is NoneType: give a torch\.nn\.Module"):
        load(None, path)
