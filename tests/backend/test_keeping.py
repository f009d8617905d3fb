import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wonderland.backend.calibration import linear_cka
from wonderland.backend.keeping import kept_rank, rank
from wonderland.backend.osft import activations, adaptive_keep, constrain, leak


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(5)


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Dropout(0.5), nn.Linear(12, 6)).double()


def inputs(samples=50, n=8):
    return torch.randn(samples, n, dtype=torch.float64)


class Residual(nn.Module):
    """A block whose input and output have one size, as its layers' have not."""

    def __init__(self, width, scale):
        super().__init__()
        self.up, self.down, self.scale = nn.Linear(width, 2 * width), nn.Linear(2 * width, width), scale

    def forward(self, x):
        return x + self.scale * self.down(self.up(x).relu())


@settings(max_examples=30, deadline=None)
@given(m=st.integers(2, 300), n=st.integers(2, 300), keep=st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_something_is_kept_and_something_is_free(m, n, keep):
    k = kept_rank(m, n, keep)
    directions = min(m, n)
    assert 1 <= k < directions
    assert k == kept_rank(n, m, keep) == rank(directions, keep, "")
    assert abs(k - keep * directions) <= 0.5 or k in (1, directions - 1)


def test_kept_rank_rounds():
    # 0.29·100 is 28.999999999999996 in float64.
    assert kept_rank(100, 200, 0.29) == 29
    assert [kept_rank(10, 10, keep) for keep in (0.01, 0.5, 0.54, 0.56, 0.99)] == [1, 5, 5, 6, 9]
    with pytest.raises(ValueError, match="a 1×7 weight has no two"):
        kept_rank(1, 7, 0.5)


@pytest.mark.parametrize(("keep", "k"), [(1, 1), (9, 9), (np.int64(4), 4), (0.5, 5), (np.float32(0.5), 5)])
def test_a_whole_number_is_a_number_of_directions(keep, k):
    assert rank(10, keep, "") == k


# Activations (GPM)


def test_the_kept_directions_are_the_strongest_of_the_inputs(model):
    batches = [inputs(), inputs(7)]
    found = activations(model, batches, keep=0.5)
    model.eval()
    with torch.no_grad():
        seen = {"0": torch.cat(batches), "3": torch.cat([model[:3](x) for x in batches])}
    for name, x in seen.items():
        Vt = np.linalg.svd(x.numpy())[2]
        k = x.shape[1] // 2
        V = found[name].numpy()
        assert V.shape == (x.shape[1], k)
        np.testing.assert_allclose(V.T @ V, np.eye(k), atol=1e-12)
        np.testing.assert_allclose(V @ V.T, Vt[:k].T @ Vt[:k], atol=1e-8)


def test_outputs_for_inputs_within_the_kept_directions_stay(model):
    low = inputs(40, 4) @ inputs(4, 8)  # four dimensions of eight
    model.eval()
    expected = model[0](low).detach()
    constrain(model, basis=activations(model, [low], keep={"0": 4}))
    optimizer = torch.optim.Adam([model[0].C], lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        model(inputs()).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(model[0](low), expected, rtol=0, atol=1e-10)
    assert (model[0](inputs()) - expected.mean()).norm() > 1
    assert leak(model)["0"].right < 1e-12


@pytest.mark.parametrize("wrap", [list, iter, tuple], ids=["list", "iterator", "tuple"])
def test_batches_are_what_the_model_is_called_with(wrap):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 5), nn.Linear(4, 5)

        def forward(self, x, other=None):
            return self.a(x) + (0 if other is None else self.b(input=other))

    model = Model().double()
    x, y = inputs(9, 4), inputs(9, 4)
    expected = activations(model, [(x, y)], keep=2)
    for batch in ([x, y], {"x": x, "other": y}):
        for name, V in activations(model, wrap([batch]), keep=2).items():
            assert torch.equal(V, expected[name])
    with pytest.raises(ValueError, match="layer 'b' saw no input"):
        activations(model, [x], keep=2)
    assert list(activations(model, [x], keep=2, targets=["a"])) == ["a"]
    assert list(activations(model, [x], keep={"a": 1})) == ["a"]


@pytest.mark.parametrize(
    "options",
    [{"stride": 2, "padding": 1}, {"padding": "same", "dilation": 2, "padding_mode": "circular"}, {"groups": 2}],
)
def test_inputs_of_a_convolution_are_its_patches(options):
    """The directions of all patches lost, nothing is left of the output."""
    model = nn.Sequential(nn.Conv2d(4, 6, 3, bias=False, **options)).double()
    basis = torch.randn(2, 4, 1, 1).double()
    images = (torch.randn(5, 2).double() @ basis.flatten(1)).reshape(5, 4, 1, 1).expand(5, 4, 7, 8)
    n = model[0].weight[0].numel()
    with pytest.raises(ValueError, match=f"k = {n - 1} directions of its inputs"):
        activations(model, [images], keep=n - 1)
    found = activations(model, [torch.randn(9, 4, 7, 8).double(), torch.randn(4, 7, 8).double()], keep=n - 1)["0"]
    assert found.shape == (n, n - 1)
    # Of constant images, few directions: with them taken out of the weight, the inner output is gone.
    k = next(k for k in range(n - 1, 0, -1) if works(model, images, k))
    V = activations(model, [images], keep=k)["0"]
    W = model[0].weight.flatten(1)
    with torch.no_grad():
        assert model(images).norm() > 0.1
        model[0].weight.copy_((W - W @ V @ V.mT).reshape(model[0].weight.shape))
        assert model(images).norm() < 1e-10


def works(model, images, k):
    try:
        return bool(activations(model, [images], keep=k))
    except ValueError:
        return False


def test_a_model_is_left_as_it_was(model):
    model.train()
    model[3].eval()
    before = copy.deepcopy(model.state_dict())
    model[0].weight.requires_grad_(False)
    activations(model, [inputs()])
    with pytest.raises(RuntimeError, match="shape"):
        activations(model, [inputs(), inputs(3, 9)])
    assert [module.training for module in model] == [True, True, True, False]
    assert not model[0].weight.requires_grad
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("batches", "arguments", "error", "message"),
    [
        ([inputs(1)], {}, ValueError, "layer '0': k = 4 directions .* 1 inputs have 1 linearly independent"),
        ([inputs(3)] * 5, {}, ValueError, "layer '0': k = 4 .* 15 inputs have 3 linearly"),
        ([torch.zeros(9, 8).double()], {}, ValueError, "layer '0': k = 4 .* 9 inputs have 0 linearly"),
        ([inputs() * math.nan], {}, ValueError, "layer '0' saw inputs that are NaN"),
        ([], {}, ValueError, "batches is empty"),
        (inputs(), {}, TypeError, "batches is Tensor: give a list"),
        ({"input": inputs()}, {}, TypeError, "batches is dict: give a list"),
        (None, {}, TypeError, "batches is NoneType: give a list"),
        ([inputs()], {"keep": 0.0}, ValueError, "keep = 0 leaves nothing protected"),
        ([inputs()], {"keep": 0}, ValueError, "layer '0': k = 0 leaves nothing protected"),
        ([inputs()], {"keep": 8}, ValueError, "layer '0': k = 8 leaves nothing free to learn: its inputs have 8"),
        ([inputs()], {"keep": 9}, ValueError, "layer '0': k = 9 is outside 1…7"),
        ([inputs()], {"keep": {"1": 2}}, TypeError, "targets names '1', a Tanh"),
        ([inputs()], {"targets": ["x"]}, ValueError, "targets names 'x'"),
    ],
    ids=range(14),
)
def test_activations_that_say_nothing_are_refused(model, batches, arguments, error, message):
    with pytest.raises(error, match=message):
        activations(model, batches, **arguments)


# The adaptive rule


def test_layers_that_change_their_input_less_are_kept_more():
    model = nn.Sequential(*(nn.Linear(6, 6, bias=False) for _ in range(3))).double()
    angles = (0.2, 0.7, 1.2)
    for layer, angle in zip(model, angles, strict=True):
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        layer.weight.data = torch.block_diag(turn, turn, turn).double()  # turns every input by the angle
    found = adaptive_keep(model, [inputs(20, 6), inputs(30, 6)], mrr=0.1, trr=0.6)
    mean = sum(map(math.cos, angles)) / 3
    for name, angle in zip("012", angles, strict=True):
        assert found[name] == pytest.approx(0.1 + math.cos(angle) / mean * 0.5)
    assert sum(found.values()) / 3 == pytest.approx(0.6)
    assert constrain(model, found)[0].k == kept_rank(6, 6, found["0"])


def test_an_oblong_layer_takes_the_cosine_of_the_block_around_it():
    model = nn.Sequential(Residual(6, 0.1), Residual(6, 2.0), nn.Linear(6, 6))
    x = torch.randn(40, 6)
    found = adaptive_keep(model, [x], mrr=0.2, trr=0.5)
    cosines = []
    for block in model:
        y = block(x)
        cosines.append(nn.functional.cosine_similarity(x, y, dim=-1).mean().item())
        x = y.detach()
    every = [cosines[0]] * 2 + [cosines[1]] * 2 + [cosines[2]]
    names = ["0.up", "0.down", "1.up", "1.down", "2"]
    mean = sum(every) / 5
    expected = {n: max(0.2, 0.2 + c / mean * 0.3) for n, c in zip(names, every, strict=True)}
    assert found == pytest.approx({n: min(r, 1 - 1e-6) for n, r in expected.items()}, rel=1e-5)
    assert found["0.up"] > found["1.up"]


def test_images_are_compared_by_their_channels():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1))
    x = torch.randn(3, 4, 6, 6)
    found = adaptive_keep(model, [x], mrr=0.0, trr=0.0)
    # Nothing at the least is one direction.
    assert constrain(copy.deepcopy(model), found)[0].k == 1
    y, z = model[0](x), model(x)
    cosines = [nn.functional.cosine_similarity(*pair, dim=1).mean().item() for pair in ((x, y), (y, z))]
    assert sum(cosines) > 0
    found = adaptive_keep(model, [x], mrr=0.1, trr=0.3)
    assert found["0"] == pytest.approx(max(0.1, 0.1 + 2 * cosines[0] / sum(cosines) * 0.2), rel=1e-4)


def gram_cosine(X, Y):
    """Linear CKA by its definition over samples: the cosine of the centered N×N Gram matrices."""
    K, L = ((M - M.mean(0)) @ (M - M.mean(0)).T for M in (X, Y))
    return float((K * L).sum() / (K.norm() * L.norm()))


def test_layers_of_any_size_are_compared_by_their_gram_matrices():
    model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4), nn.Flatten(), nn.Linear(4, 4)).double()
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    model[4].weight.data = 3 * turn  # turned and scaled, inputs are as alike as they were
    X = [inputs(30, 6), inputs(20, 6)]
    found = linear_cka(model, X)
    with torch.no_grad():
        x = torch.cat(X)
        for name, layer in model.named_children():
            y = layer(x)
            if name in found:
                assert found[name] == pytest.approx(gram_cosine(x, y), rel=1e-9)
            x = y
    assert list(found) == ["0", "2", "4"]
    assert found["4"] == pytest.approx(1)
    mean = sum(found.values()) / 3
    kept = adaptive_keep(model, X, mrr=0.1, trr=0.6, similarity="cka")
    assert kept == pytest.approx({name: 0.1 + each / mean * 0.5 for name, each in found.items()})
    assert len(constrain(model, kept)) == 5


def test_places_of_images_are_compared():
    model = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.Conv2d(6, 3, 1, stride=2)).double()
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        y = model[0](x)
        patches = nn.functional.unfold(x, 3, padding=1).mT.reshape(75, 36)
        first = gram_cosine(patches, y.permute(0, 2, 3, 1).reshape(75, 6))
        z = model[1](y).permute(0, 2, 3, 1).reshape(27, 3)
        second = gram_cosine(y[:, :, ::2, ::2].permute(0, 2, 3, 1).reshape(27, 6), z)
    assert linear_cka(model, [x]) == pytest.approx({"0": first, "1": second}, rel=1e-9)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.full((3, 6), 2.0).double(), "all the same"),
        (torch.full((3, 6), math.nan).double(), "NaN or infinite"),
    ],
)
def test_what_cannot_be_compared_is_refused(batch, message):
    with pytest.raises(ValueError, match=message):
        linear_cka(nn.Sequential(nn.Linear(6, 4)).double(), [batch])


@pytest.mark.parametrize("similarity", ["cosine", "cka"])
def test_empty_batches_say_nothing(similarity):
    model = nn.Sequential(nn.Linear(6, 6))
    with pytest.raises(ValueError, match="layer '0' saw no input"):
        adaptive_keep(model, [torch.empty(0, 6)], similarity=similarity)
    adaptive_keep(model, [torch.empty(0, 6), torch.randn(20, 6).abs()], similarity="cka")


def negative():
    model = nn.Sequential(nn.Linear(8, 8)).double()
    model[0].weight.data = -torch.eye(8).double()
    return model


@pytest.mark.parametrize(
    ("make", "arguments", "error", "message"),
    [
        (None, {}, ValueError, "'0', '3': no module around"),
        (None, {"targets": ["3"]}, ValueError, "'3': no module around"),
        (negative, {}, ValueError, "the mean cosine of inputs and outputs is -"),
        (None, {"mrr": -0.1}, ValueError, "mrr = -0.1 is outside 0…1"),
        (None, {"mrr": 0.9}, ValueError, "trr = 0.8 is outside 0.9…1"),
        (None, {"trr": 1.1}, ValueError, "trr = 1.1 is outside 0.1…1"),
        (None, {"similarity": "taste"}, ValueError, "similarity = 'taste' is unknown"),
        (None, {"trr": "much"}, TypeError, "trr = 'much' is not a number"),
        (lambda: constrain(negative()), {}, ValueError, "constrained or adapted already"),
    ],
    ids=range(9),
)
def test_what_has_no_importance_is_refused(model, make, arguments, error, message):
    model = make() if make else model
    with pytest.raises(error, match=message):
        adaptive_keep(model, [inputs()], **arguments)
    with pytest.raises(ValueError, match="batches is empty"):
        adaptive_keep(negative(), [])
