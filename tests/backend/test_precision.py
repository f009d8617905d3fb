"""The race in float64, where what must agree agrees to many digits; and what training in float32 changes of it."""

import pytest
import torch

from tests.plain import plain_pretrain, plain_race
from wonderland.backend import network
from wonderland.backend.methods import METHODS
from wonderland.backend.network import pretrain
from wonderland.backend.race import RaceSettings, race

FIVE = ("full", "lora", "oft", "osft", "gpm")
SHORT = {"steps": 12, "every": 5}
SINGLE = network.DTYPE


@pytest.fixture(scope="module")
def single():
    """Where the standard race ends in float32, as it is run everywhere else."""
    assert torch.float32 == SINGLE
    return ends()


def ends():
    return {(p.method, p.seed): p for p in race(RaceSettings(seeds=(0, 1), every=300)) if p.step == 300}


def curve(points, method, seed=None):
    return [point for point in points if point.method == method and point.task and seed in (None, point.seed)]


def test_float32_ends_where_float64_does(single, double):
    """From the same first weights, over the same images: an image or two in 445 falls to its other side."""
    for who, exact in ends().items():
        assert single[who].accuracy == pytest.approx(exact.accuracy, abs=5.5 / 445)
        assert single[who].loss == pytest.approx(exact.loss, rel=0.05)
        assert single[who].drift == pytest.approx(exact.drift, rel=0.02)


@pytest.mark.usefixtures("double")
def test_the_first_task_is_learned_by_plain_training():
    theirs = [parameter.detach() for parameter in plain_pretrain(3).parameters()]
    ours = [parameter.detach() for parameter in pretrain(3).parameters()]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("method", FIVE)
def test_a_curve_is_plain_training(method):
    """Written out in torch's own modules, one network after another."""
    settings = RaceSettings(methods=(method,), seeds=(0, 1), steps=20, every=10)
    batched = list(race(settings))
    for seed in (0, 1):
        ours = curve(batched, method, seed)
        plain = plain_race(method, seed, settings.rate(settings.methods[0]), 20, 10)
        assert [point.step for point in ours] == [step for step, *_ in plain]
        for point, (_, accuracy, loss) in zip(ours, plain, strict=True):
            assert point.loss == pytest.approx(loss, rel=1e-7)
            assert point.accuracy == pytest.approx(accuracy, abs=1.5 / 445)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("method", METHODS)
def test_a_seed_learns_as_it_would_alone(method):
    both = list(race(RaceSettings(methods=(method,), seeds=(0, 1), **SHORT)))
    for seed in (0, 1):
        alone = list(race(RaceSettings(methods=(method,), seeds=(seed,), **SHORT)))
        for one, other in zip(curve(both, method, seed), curve(alone, method), strict=True):
            assert one.accuracy == pytest.approx(other.accuracy, abs=1.5 / 445)
            for name in ("loss", "leak", "drift", "shift", "energy"):
                assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-6, abs=1e-9)
