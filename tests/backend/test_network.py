import copy
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from wonderland.backend import network
from wonderland.backend.digits import TRANSFORMS, load_digits, transform
from wonderland.backend.network import LAYERS, accuracy_at_rank, layer_weights, pretrain

SEED = 0


def right(model, task="upright"):
    """Accuracy on the held-out images, counted with NumPy."""
    digits = load_digits()
    x = torch.tensor(transform(task, digits.test_x).reshape(-1, 64).copy())
    with torch.no_grad():
        return float((model(x).numpy().argmax(axis=1) == digits.test_y).mean())


def parameters(model):
    return {name: value.detach().numpy().copy() for name, value in model.named_parameters()}


def test_the_network_has_learned_the_upright_digits():
    model = pretrain(SEED)
    assert [tuple(p.shape) for p in model.parameters()] == [
        (256, 64),
        (256,),
        (128, 256),
        (128,),
        (10, 128),
        (10,),
    ]
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert right(model) > 0.95
    # It has not seen the other tasks; chance is 0.1.
    assert right(model, "rotated") < 0.3
    assert right(model, "permuted") < 0.3


def test_the_caller_gets_a_copy():
    mine = pretrain(SEED)
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.zero_()
    layer_weights(SEED)["layer1"][:] = 0
    assert right(pretrain(SEED)) > 0.95


def test_a_network_comes_out_the_same_in_any_company():
    first = network.lesson("upright")
    network._trained.clear()
    together = network.pretrained(first, (0, 1, 2))
    for seat, seed in enumerate((0, 1, 2)):
        network._trained.clear()
        alone = network.pretrained(first, (seed,))
        for parts, own in zip(together, alone, strict=True):
            assert all(torch.equal(part[seat], mine[0]) for part, mine in zip(parts, own, strict=True))


def test_the_seed_decides_everything_and_threads_that_ask_together_train_once(monkeypatch):
    state = torch.get_rng_state()
    network._trained.clear()
    first = parameters(pretrain(SEED))
    network._trained.clear()
    trained = []
    train = network._train
    monkeypatch.setattr(network, "_train", lambda first, seeds: trained.append(seeds) or train(first, seeds))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: parameters(pretrain(SEED)), range(4)))
    assert trained == [[SEED]]
    for again in found:
        np.testing.assert_equal(again, first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not np.allclose(parameters(pretrain(SEED + 1))["layer1.weight"], first["layer1.weight"])


def test_layer_weights_are_those_of_the_network():
    weights = layer_weights(SEED)
    assert tuple(weights) == LAYERS
    expected = {name: value for name, value in parameters(pretrain(SEED)).items() if name.endswith("weight")}
    np.testing.assert_equal({f"{name}.weight": W for name, W in weights.items()}, expected)


@pytest.mark.parametrize("task", TRANSFORMS)
@pytest.mark.parametrize("layer", LAYERS)
def test_accuracy_at_rank_is_that_of_the_truncated_network(layer, task):
    model = pretrain(SEED)
    W = layer_weights(SEED)[layer]
    U, S, Vt = np.linalg.svd(W, full_matrices=False)
    for k in {0, 1, len(S) // 3, len(S)}:
        cut = copy.deepcopy(model)
        cut.get_submodule(layer).weight.data = torch.tensor((U[:, :k] * S[:k]) @ Vt[:k])
        # An image whose two best scores tie up to rounding may fall either way.
        assert accuracy_at_rank(SEED, layer, k, task) == pytest.approx(right(cut, task), abs=1.5 / 445)
    assert accuracy_at_rank(SEED, layer, len(S), task) == pytest.approx(right(model, task), abs=1.5 / 445)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((SEED, "layer1", 65), ValueError, "k = 65 is outside 0…64: a 256×64 matrix has 64 singular values"),
        ((SEED, "layer3", -1), ValueError, "k = -1 is outside 0…10"),
        ((SEED, "layer3", 2.0), TypeError, "k = 2.0 is not a whole number"),
        ((SEED, "layer3", math.nan), TypeError, "k = nan is not a whole number"),
        ((SEED, "layer4", 1), ValueError, "layer = 'layer4' is unknown: .*layer1, layer2, layer3"),
        ((SEED, None, 1), TypeError, "layer = None"),
        ((SEED, "layer1", 1, "sideways"), ValueError, "task = 'sideways' is unknown"),
        ((-1, "layer1", 1), ValueError, "seed = -1 is outside"),
        (("0", "layer1", 1), TypeError, "seed = '0'"),
    ],
)
def test_a_bad_argument_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        accuracy_at_rank(*arguments)


@pytest.mark.parametrize("function", [pretrain, layer_weights])
@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (2**32, ValueError), (1.0, TypeError), (True, TypeError)]
)
def test_a_bad_seed_is_refused(function, seed, error):
    with pytest.raises(error, match=r"seed = .* (is outside 0…|is not a whole number)"):
        function(seed)


def test_the_cache_is_bounded_and_its_copies_are_the_callers(monkeypatch):
    monkeypatch.setattr(network, "PRETRAIN_STEPS", 1)
    monkeypatch.setattr(network, "CACHED", 2)
    first = network.lesson("inverted")
    network._trained.clear()
    try:
        stack = network.pretrained(first, (0, 1, 2))
        assert [seed for _, seed in network._trained] == [1, 2]
        stack.weights[0].zero_()
        assert network.pretrained(first, (2,)).weights[0].abs().sum() > 0
    finally:
        network._trained.clear()
