import itertools
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from wonderland.backend import race as module
from wonderland.backend.digits import load_digits, transform
from wonderland.backend.race import METHODS, RACE_TASKS, RacePoint, RaceSettings, pretrain, race

SHORT = {"steps": 12, "every": 5}


@pytest.fixture(scope="module")
def points():
    """The whole race, with all its defaults."""
    return list(race())


def curve(points, method):
    return [point for point in points if point.method == method]


def test_the_stream_interleaves_its_curves(points):
    assert [(p.step, p.method) for p in points] == list(itertools.product(range(0, 301, 10), ["full", "osft"]))
    assert {p.seed for p in points} == {0}
    assert not any(p.diverged for p in points)


def test_the_last_step_is_a_point_too():
    settings = RaceSettings(**SHORT, seeds=(1, 0), methods=("osft", "full"))
    order = [(p.seed, p.step, p.method) for p in race(settings)]
    assert order == list(itertools.product((1, 0), (0, 5, 10, 12), ("osft", "full")))


def test_every_method_starts_from_the_pretrained_network(points):
    digits = load_digits()
    model = pretrain(0)
    for point in points[:2]:
        for task, found in (("upright", point.accuracy_a), ("rotated", point.accuracy_b)):
            x = torch.tensor(transform(task, digits.test_x).reshape(-1, 64).copy())
            with torch.no_grad():
                assert found == (model(x).numpy().argmax(axis=1) == digits.test_y).mean()
        assert point.moved < 1e-12
        assert point.leak < 1e-12


def test_full_fine_tuning_forgets_and_the_constraint_does_not(points):
    full, osft = curve(points, "full"), curve(points, "osft")
    assert full[-1].accuracy_a < 0.75
    assert osft[-1].accuracy_a > 0.88
    # Both have learned the new task, from nearly nothing.
    assert max(full[0].accuracy_b, osft[0].accuracy_b) < 0.2
    assert full[-1].accuracy_b > 0.93
    assert osft[-1].accuracy_b > 0.85
    assert osft[-1].loss < osft[0].loss
    # Direction protects, not size: the one that forgot less moved further.
    assert osft[-1].moved > 1.5 * full[-1].moved
    assert full[-1].leak > 1
    assert max(point.leak for point in osft) < 1e-12


@pytest.mark.parametrize("task", RACE_TASKS[1:])
def test_other_tasks_are_raced_too(task):
    last = {p.method: p for p in race(RaceSettings(task=task, steps=200, every=200))}
    assert last["osft"].accuracy_a > last["full"].accuracy_a
    assert min(p.accuracy_b for p in last.values()) > 0.8


def test_a_curve_is_plain_training():
    """Full fine-tuning written out in torch ends where its curve does."""
    last = list(race(RaceSettings(**SHORT, seeds=(1,))))[-2]
    digits = load_digits()
    x, test_x, old_x = (
        torch.tensor(transform(task, images).reshape(-1, 64).copy())
        for task, images in (
            ("rotated", digits.train_x),
            ("rotated", digits.test_x),
            ("upright", digits.test_x),
        )
    )
    y, test_y = torch.tensor(digits.train_y), torch.tensor(digits.test_y)
    model, start = pretrain(1), pretrain(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(12):
        chosen = torch.randint(len(y), (64,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()
    moved = leaked = 0.0
    for name in ("layer1", "layer2", "layer3"):
        W, now = (m.get_submodule(name).weight.detach().numpy() for m in (start, model))
        V_h = np.linalg.svd(W)[2][: min(W.shape) // 2].T
        moved += ((now - W) ** 2).sum()
        leaked += (((now - W) @ V_h) ** 2).sum()
    with torch.no_grad():
        scores = model(test_x)
        expected = {
            "accuracy_a": (model(old_x).argmax(1) == test_y).double().mean().item(),
            "accuracy_b": (scores.argmax(1) == test_y).double().mean().item(),
            "loss": nn.functional.cross_entropy(scores, test_y).item(),
            "leak": math.sqrt(leaked),
            "moved": math.sqrt(moved),
        }
    assert (last.method, last.step) == ("full", 12)
    for name, value in expected.items():
        assert getattr(last, name) == pytest.approx(value, rel=1e-9)


def test_what_each_method_trains():
    trained = {}
    for name, method in METHODS.items():
        model = pretrain(0)
        method.prepare(model, 0.5)
        trained[name] = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}
    sizes = [(256, 64), (128, 256), (10, 128)]
    assert sum(trained["full"].values()) == sum(m * n + m for m, n in sizes)
    assert list(trained["osft"]) == ["layer1.C", "layer2.C", "layer3.C"]
    assert sum(trained["osft"].values()) == sum((m - min(m, n) // 2) * (n - min(m, n) // 2) for m, n in sizes)


def test_the_seed_decides_everything():
    state = torch.get_rng_state()
    settings = RaceSettings(**SHORT)
    first = list(race(settings))
    assert list(race(settings)) == first
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda s: list(race(s)), [settings, settings])) == [first, first]
    assert torch.equal(torch.get_rng_state(), state)
    other = list(race(RaceSettings(**SHORT, seeds=(1,))))
    assert [p.loss for p in other] != [p.loss for p in first]


def test_a_method_is_not_disturbed_by_the_others():
    both = list(race(RaceSettings(**SHORT)))
    for method in METHODS:
        assert list(race(RaceSettings(**SHORT, methods=(method,)))) == curve(both, method)


def test_keep_says_how_much_may_be_learned():
    moved = {}
    for keep in (0.1, 0.9):
        settings = RaceSettings(steps=30, every=30, keep=keep)
        moved[keep] = list(race(settings))[-1]
    assert moved[0.1].moved > moved[0.9].moved
    assert moved[0.1].accuracy_b > moved[0.9].accuracy_b


def test_dropping_the_stream_ends_the_race(monkeypatch):
    steps = []
    train = module._Runner.train
    monkeypatch.setattr(module._Runner, "train", lambda self, x, y: (steps.append(1), train(self, x, y)))
    stream = race(RaceSettings(methods=("full",)))
    assert next(stream).step == 0
    assert not steps
    assert next(stream).step == 10
    stream.close()
    assert list(stream) == []
    assert len(steps) == 10


def test_a_diverging_curve_ends_with_a_mark_and_the_others_go_on():
    points = list(race(RaceSettings(**SHORT, lr={"full": 1e12})))
    undisturbed = list(race(RaceSettings(**SHORT)))
    assert curve(points, "osft") == curve(undisturbed, "osft")
    full = curve(points, "full")
    assert full[0] == undisturbed[0]
    # The first step throws the weights away; the second finds the loss beyond all bounds.
    assert [(p.step, p.diverged) for p in full] == [(0, False), (2, True)]


def test_a_loss_that_is_no_number_ends_its_curve(monkeypatch):
    """From step 3 on, one method's weights are NaN."""
    train = module._Runner.train

    def broken(self, x, y):
        train(self, x, y)
        if self.method == "full":
            steps.append(1)
            if len(steps) == 3:
                with torch.no_grad():
                    self.model[0].weight.fill_(math.nan)

    steps = []
    undisturbed = list(race(RaceSettings(**SHORT)))
    monkeypatch.setattr(module._Runner, "train", broken)
    points = list(race(RaceSettings(**SHORT)))
    full = curve(points, "full")
    assert [(p.step, p.diverged) for p in full] == [(0, False), (4, True)]
    last = full[-1]
    assert all(math.isnan(v) for v in (last.accuracy_a, last.accuracy_b, last.loss, last.leak, last.moved))
    assert curve(points, "osft") == curve(undisturbed, "osft")


def test_settings_and_points_travel_between_processes(points):
    settings = RaceSettings(lr={"osft": 2e-3})
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert pickle.loads(pickle.dumps(points)) == points
    assert hash(settings) == hash(pickle.loads(pickle.dumps(settings)))
    assert isinstance(points[0], RacePoint)


def test_a_rate_can_be_chosen():
    settings = RaceSettings(lr={"osft": 2e-3})
    assert settings.rate("osft") == 2e-3
    assert settings.rate("full") == METHODS["full"].lr
    slow, usual = (list(race(RaceSettings(**SHORT, methods=("osft",), lr=lr)))[-1] for lr in ({"osft": 1e-5}, {}))
    assert slow.moved < 0.1 * usual.moved


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"task": "sideways"}, ValueError, "task = 'sideways' is unknown: .*rotated, permuted, mirrored"),
        ({"task": "upright"}, ValueError, "task = 'upright' is unknown"),
        ({"task": None}, TypeError, "task = None"),
        ({"methods": ()}, ValueError, r"len\(methods\) = 0 is outside 1…"),
        ({"methods": ("full", "full")}, ValueError, "twice"),
        ({"methods": ("magic",)}, ValueError, "method = 'magic' is unknown: .*full, osft"),
        ({"methods": (1,)}, TypeError, "method = 1"),
        ({"methods": "full"}, TypeError, "methods = 'full' is not a tuple"),
        ({"seeds": ()}, ValueError, r"len\(seeds\) = 0"),
        ({"seeds": (1, 1)}, ValueError, "seeds = .*twice"),
        ({"seeds": tuple(range(1000))}, ValueError, r"len\(seeds\) = .* is outside 1…64"),
        ({"seeds": 3}, TypeError, "seeds = 3 is not a tuple"),
        ({"seeds": (-1,)}, ValueError, "seed = -1 is outside"),
        ({"seeds": (math.nan,)}, TypeError, "seed = nan"),
        ({"steps": 0}, ValueError, "steps = 0 is outside 1…10,000"),
        ({"steps": 10**9}, ValueError, "steps = .* is outside 1…10,000"),
        ({"steps": 3.5}, TypeError, "steps = 3.5"),
        ({"keep": 0}, ValueError, "keep = 0 leaves nothing protected"),
        ({"keep": 1}, ValueError, "keep = 1 leaves nothing free"),
        ({"keep": math.nan}, ValueError, "keep = nan is outside 0…1"),
        ({"keep": "half"}, TypeError, "keep = 'half'"),
        ({"every": 0}, ValueError, "every = 0 is outside"),
        ({"every": True}, TypeError, "every = True"),
        ({"lr": {"full": math.nan}}, ValueError, r"lr\['full'\] = nan is outside"),
        ({"lr": {"full": 0}}, ValueError, r"lr\['full'\] = 0 is outside"),
        ({"lr": {"full": math.inf}}, ValueError, r"lr\['full'\] = inf is outside"),
        ({"lr": {"osft": "fast"}}, TypeError, r"lr\['osft'\] = 'fast'"),
        ({"lr": {"magic": 1e-3}}, ValueError, "method = 'magic' is unknown"),
        ({"lr": 1e-3}, TypeError, "lr = 0.001 is not a table"),
    ],
)
def test_a_bad_setting_is_refused(bad, error, message):
    with pytest.raises(error, match=message):
        RaceSettings(**bad)
