import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file, save_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from wonderland.backend import saving
from wonderland.backend.constrained import Constrained
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("keep", [32, 128, 240])
def test_a_file_is_as_small_as_its_rule_says(path, keep, dtype):
    n = 256
    base = nn.Sequential(nn.Linear(n, n, bias=False, dtype=dtype))
    model = constrain(copy.deepcopy(base), keep)
    sizes = []
    for bases in (True, False):
        save(model, path, bases=bases)
        sizes.append(path.stat().st_size / (dtype.itemsize * n * n))
    # Beside C and the bases, a bit for each row and column, and a header.
    for size, rule in zip(sizes, (1 - (keep / n) ** 2, (1 - keep / n) ** 2), strict=True):
        assert rule <= size < rule + 1200 / (dtype.itemsize * n * n)
    assert sizes[1] < sizes[0] < 1


def test_a_file_without_directions_is_small_beside_the_model(base, path):
    """Nothing but C: at half of the directions a quarter of the weights."""
    model = constrain(nn.Sequential(nn.Linear(512, 512)), 0.5)
    save(model, path, bases=False)
    assert path.stat().st_size < 0.26 * plain_size(merge(model), path)


def plain_size(model, path):
    path = path.with_name("plain.safetensors")
    save_model(model, path)
    return path.stat().st_size


def small_llama():
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes)).eval()


def wide():
    return nn.Sequential(nn.Linear(1024, 1024))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("make", "keep"), [(small_llama, 0.1), (small_llama, 0.25), (small_llama, 0.5), (wide, 64), (wide, 512)]
)
def test_a_file_is_smaller_than_the_model_and_gives_it_back(path, make, keep, dtype):
    torch.manual_seed(3)
    base = make().to(dtype)
    model = constrain(copy.deepcopy(base), keep)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, Constrained):
                layer.C += 0.2 * layer.C.std() * torch.randn_like(layer.C)
    x = torch.randint(64, (3, 9)) if make is small_llama else torch.randn(9, 1024, dtype=dtype)
    with torch.no_grad():
        before, saved = getattr(base(x), "logits", base(x)), getattr(model(x), "logits", model(x))
        save(model, path)
        assert path.stat().st_size < plain_size(base, path)
        loaded = load(base, path)(x)
        loaded, merged = getattr(loaded, "logits", loaded), merge(model)(x)
        merged = getattr(merged, "logits", merged)
    # Of the same order as what merging changes: the rounding of the model's own type.
    tolerance = 2e-6 if dtype == torch.float32 else 2e-2
    assert (saved - before).norm() > 0.05 * before.norm()
    assert (loaded - saved).norm() < tolerance * saved.norm()
    assert (merged - saved).norm() < tolerance * saved.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("keep", [0.2, 0.8])
def test_files_of_files_do_not_drift(path, dtype, keep):
    """Five times saved and loaded, a layer is as near to the first as after once."""
    torch.manual_seed(2)
    base = nn.Sequential(nn.Linear(128, 96, dtype=dtype))
    model = constrain(copy.deepcopy(base), keep)
    with torch.no_grad():
        model[0].C += 0.02 * torch.randn_like(model[0].C)
    W, errors = model[0].merged().double(), []
    for _ in range(5):
        save(model, path)
        model = load(copy.deepcopy(base), path)
        errors.append(float((model[0].merged().double() - W).norm() / W.norm()))
    assert max(errors) < 8 * torch.finfo(dtype).eps
    assert errors[-1] < 3 * errors[0]


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


def test_a_file_that_names_a_form_of_earlier_days_is_loaded(base, path):
    trained = learned(base)
    save(trained, path)
    rewritten(path, about=lambda layers: layers["0"].update(form="reflected"))
    loaded = load(copy.deepcopy(base), path)
    x = torch.randn(5, 8, dtype=torch.float64)
    torch.testing.assert_close(loaded(x), trained(x), rtol=0, atol=1e-12)


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
        (lambda path: rewritten(path, version="1"), "is of version '1': this program reads version 2"),
        (lambda path: rewritten(path, layers="{"), "damaged"),
        (lambda path: rewritten(path, layers="[]"), "damaged"),
        (lambda path: rewritten(path, layers="{}"), "damaged"),
        (lambda path: rewritten(path, layers='{"0": {}}'), "damaged"),
        (lambda path: rewritten(path, lambda values: values.pop("0:C")), "damaged"),
        (lambda path: rewritten(path, scaled("2:C", 1.001)), "layer '2' does not come out as it was saved.*damaged"),
        (lambda path: rewritten(path, scaled("2:C", float("nan"))), "layer '2' does not come out"),
        (lambda path: rewritten(path, scaled("0:X_u", 1.01)), "layer '0' does not come out"),
        (lambda path: rewritten(path, lambda values: values.update({"0:C": torch.ones(2, 2)})), "damaged"),
        (lambda path: rewritten(path, about=lambda layers: layers["0"].update(rows="0")), "damaged.*rows names other"),
        (
            lambda path: rewritten(path, about=lambda layers: layers["0"].update(rows="f000")),
            "damaged.*rows names other",
        ),
        (lambda path: rewritten(path, about=lambda layers: layers["0"].update(rows="-f")), "damaged.*rows names other"),
        (lambda path: rewritten(path, about=lambda layers: layers["2"].update(products=[1.0])), "damaged.*products"),
        (lambda path: rewritten(path, around="[]"), "damaged"),
        (lambda path: rewritten(path, about=lambda layers: layers["0"].update(form="magic")), "damaged"),
        (lambda path: rewritten(path, about=lambda layers: layers["0"].update(k_u="many")), "damaged"),
        (lambda path: rewritten(path, about=lambda layers: layers["0"].update(bias=True)), "damaged"),
    ],
    ids=range(23),
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
        (lambda base: nn.Sequential(base[0], nn.Tanh()), "trained on layer '2', which the model lacks"),
        (lambda base: nn.Sequential(base[0], base[2], nn.Tanh()), "trained on layer '2', which is a Tanh here"),
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


def surrounded():
    torch.manual_seed(6)
    norms = nn.BatchNorm1d(6), nn.LayerNorm(6)
    model = nn.Sequential(nn.Linear(8, 6), *norms, nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 4))
    model.register_buffer("scale", torch.ones(2))
    model.register_buffer("cache", torch.ones(2), persistent=False)
    return model


def changed(name):
    def change(base):
        base.state_dict()[name].add_(1)
        return base

    return change


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (changed("1.weight"), r"'1\.weight' \(torch.float32\) is not what it was"),
        (changed("2.bias"), r"'2\.bias' \(torch.float32\) is not what it was"),
        (changed("0.bias"), r"'0\.bias' \(torch.float32\) is not what it was"),  # of a layer that was trained
        (changed("5.weight"), r"'5\.weight' \(torch.float32\) is not what it was"),
        (changed("scale"), r"'scale' \(torch.float32\) is not what it was"),
        (lambda base: base.append(nn.Linear(4, 4)), r"'6\.weight' is not in the model that"),
        (lambda base: base[:5], r"'scale' of the model that .* is missing here"),
        (
            lambda base: set_layer(base, "1", nn.BatchNorm1d(6, track_running_stats=False)),
            "statistics of another model",
        ),
        (lambda base: set_layer(base, "2", nn.LayerNorm(6).double()), r"'2\.weight' \(torch.float64\) is not what"),
    ],
    ids=range(9),
)
def test_other_surroundings_are_refused(path, other, message):
    save(constrain(surrounded(), targets=["0", "3"]), path)
    base = other(surrounded())
    before = snapshot(base)
    with pytest.raises(ValueError, match=message):
        load(base, path)
    assert_untouched(base, before)


def set_layer(model, name, layer):
    model.set_submodule(name, layer)
    return model


def test_statistics_travel_and_a_cache_does_not_matter(path):
    """What passes in training mode learn of the inputs is part of what the model gives in use."""
    model, x = constrain(surrounded(), targets=["0", "3"], train_bias=True), torch.randn(30, 8)
    fit(model, 10)
    save(model.eval(), path)
    base = surrounded().eval()
    base.cache += 1
    load(base, path)
    torch.testing.assert_close(base(x), model(x), rtol=0, atol=1e-6)
    assert torch.equal(base[1].running_mean, model[1].running_mean)
    assert base[1].num_batches_tracked == 11


def test_tied_weights_are_checked_wherever_they_are(path):
    def tied():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 6, bias=False))
        model[2].weight = model[0].weight
        return model

    save(constrain(tied()), path)
    load(tied(), path)
    base = tied()
    base[2].weight = nn.Parameter(base[2].weight + 1)  # untied
    with pytest.raises(ValueError, match=r"'2\.weight' .* is not what it was"):
        load(base, path)


def test_what_the_file_would_lack_is_not_saved_silently(path):
    model = constrain(surrounded(), targets=["0", "3"])
    model[2].requires_grad_(True)
    with pytest.raises(ValueError, match=r"parameter '2\.weight' is trained, and the file would lack it.*merge"):
        save(model, path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("", IsADirectoryError, r"is a folder: give the name of a file, such as .*task\.safetensors"),
        ("no/such", FileNotFoundError, r"no/such cannot be written: No such file or directory"),
        ("file/such", NotADirectoryError, r"file/such cannot be written: Not a directory"),
    ],
)
def test_what_cannot_be_written_is_told_at_once(base, tmp_path, monkeypatch, name, error, message):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(saving, "save_file", None)
    with pytest.raises(error, match=message):
        save(constrain(base), tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
