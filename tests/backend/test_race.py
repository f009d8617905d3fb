import itertools
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numpy as np
import pytest
import torch

from wonderland.backend import race as module
from wonderland.backend.digits import load_digits, transform
from wonderland.backend.network import LAYERS, pretrain
from wonderland.backend.race import METHODS, Entrant, RacePoint, RaceSettings, race
from wonderland.backend.tasks import task
from wonderland.maths.energy import hyperspherical_energy

FIVE = ("full", "lora", "oft", "osft", "gpm")
SHORT = {"steps": 12, "every": 5}


@pytest.fixture(scope="module")
def points():
    """The whole race, with all its defaults, over two seeds."""
    return list(race(RaceSettings(seeds=(0, 1))))


@pytest.fixture(scope="module")
def ends():
    """Where every method ends on the default course: its accuracies on both tasks."""
    made = race(RaceSettings(methods=tuple(METHODS), every=300))
    return {point.method: np.array(point.accuracy) for point in made if (point.task, point.step) == (1, 300)}


def curve(points, method, seed=None):
    return [point for point in points if point.method == method and point.task and seed in (None, point.seed)]


def total(layers):
    return math.hypot(*layers)


def test_the_stream_interleaves_its_curves(points):
    steps = [(0, 0), *((1, step) for step in range(0, 301, 10))]
    order = [(p.task, p.step, p.method, p.seed) for p in points]
    assert order == [(*at, *who) for at, *who in itertools.product(steps, FIVE, (0, 1))]
    assert not any(p.diverged for p in points)


def test_the_last_step_is_a_point_too_and_each_task_starts_anew():
    settings = RaceSettings(("upright", "rotated", "mirrored"), ("osft", "full"), (1, 0), **SHORT)
    made = list(race(settings))
    steps = [(0, 0), *itertools.product((1, 2), (0, 5, 10, 12))]
    order = [(p.task, p.step, p.method, p.seed) for p in made]
    assert order == [(*at, *who) for at, *who in itertools.product(steps, ("osft", "full"), (1, 0))]
    for method, seed in itertools.product(("osft", "full"), (0, 1)):
        own = curve(made, method, seed)
        before = next(p for p in own if (p.task, p.step) == (1, 12))
        after = next(p for p in own if (p.task, p.step) == (2, 0))
        assert before.accuracy == after.accuracy
        assert total(before.drift) > 0.1
        assert total(after.drift) < 1e-12  # measured from where the task begins


def test_it_starts_from_nothing_and_from_the_pretrained_network(points):
    digits = load_digits()
    for seed in (0, 1):
        model = pretrain(seed)
        for at, name in enumerate(("upright", "rotated")):
            x = torch.tensor(transform(name, digits.test_x).reshape(-1, 64).copy())
            with torch.no_grad():
                right = (model(x).numpy().argmax(axis=1) == digits.test_y).mean()
            assert {curve(points, method, seed)[0].accuracy[at] for method in FIVE} == {right}
    for point in points:
        if point.task == 0:
            assert max(point.accuracy) < 0.3
        if point.step == 0:
            assert total(point.drift) < 1e-12
            assert max(point.leak + point.shift) < 1e-12
            assert point.energy == pytest.approx((1, 1, 1), abs=1e-12)


def test_full_fine_tuning_forgets_and_the_constraint_does_not(points):
    for seed in (0, 1):
        full, osft = curve(points, "full", seed), curve(points, "osft", seed)
        assert full[-1].accuracy[0] < 0.75
        assert osft[-1].accuracy[0] > 0.8
        # Both have learned the new task, from nearly nothing.
        assert max(full[0].accuracy[1], osft[0].accuracy[1]) < 0.2
        assert full[-1].accuracy[1] > 0.92
        assert osft[-1].accuracy[1] > 0.82
        assert osft[-1].loss < osft[0].loss
        # Direction protects, not size: the one that forgot less moved further.
        assert total(osft[-1].drift) > 1.5 * total(full[-1].drift)
        assert total(full[-1].leak) > 1
        assert max(total(point.leak) for point in osft) < 1e-12


def test_what_is_kept_and_what_is_not(points):
    """OFT keeps the energy and forgets; activations protect what the old inputs feel, and not W's own directions."""
    for seed in (0, 1):
        oft, gpm, full = (curve(points, method, seed)[-1] for method in ("oft", "gpm", "full"))
        assert oft.energy == pytest.approx((1, 1, 1), abs=1e-9)
        assert max(abs(e - 1) for e in full.energy) > 1e-3
        assert oft.accuracy[0] < 0.7
        assert gpm.accuracy[0] > 0.93
        assert total(gpm.leak) > 1
        assert total(gpm.shift) < 0.3 * total(full.shift)


def test_methods_stand_in_the_order_they_must(ends):
    for method, (old, new) in ends.items():
        average = (old + new) / 2
        assert average <= ends["joint"].mean() + 0.01, method
        if method != "frozen":
            assert average > ends["frozen"].mean(), method
            assert new > ends["frozen"][1] + 0.5, method
            assert old <= ends["frozen"][0] + 0.01, method
    # The basis matters, the rule matters, and the trap is one.
    assert ends["osft"][0] > ends["osft-random"][0] + 0.1
    assert ends["osft"][0] > ends["osft-joint"][0] > ends["full"][0]
    assert ends["osft-dense"][0] > ends["osft-gradient"][0] + 0.05
    assert ends["replay"][0] > ends["full"][0] + 0.1


def test_contradictory_labels_defeat_every_method():
    """The same image cannot be named rightly for both: the two accuracies add up to one at most."""
    settings = RaceSettings(("upright", "contradictory"), tuple(METHODS), (0,), steps=60, every=20)
    for point in race(settings):
        if not point.diverged:
            assert sum(point.accuracy) <= 1 + 1e-12, (point.method, point.step)


def test_what_is_measured_by_layer_is_what_maths_measures(monkeypatch):
    methods = {}
    begin = module._Runner.begin

    def kept(self, task):
        points = begin(self, task)
        methods[self._entrant.name] = self._method
        return points

    monkeypatch.setattr(module._Runner, "begin", kept)
    last = {point.method: point for point in race(RaceSettings(methods=("full", "lora"), seeds=(3,), **SHORT))}
    model = pretrain(3)
    x = torch.tensor(task("upright").learnable.x)
    for name, method in methods.items():
        for at, layer in enumerate(LAYERS):
            start, bias = (p.detach().numpy() for p in model.get_submodule(layer).parameters())
            now = method.exact().weights[at][0].numpy()
            V_h = np.linalg.svd(start)[2][: min(start.shape) // 2].T
            with torch.no_grad():
                seen = model[: list(dict(model.named_children())).index(layer)](x).numpy()
            felt = np.sqrt((((now - start) @ seen.T) ** 2).sum(axis=0).mean())
            energies = hyperspherical_energy(now) / hyperspherical_energy(start)
            assert last[name].leak[at] == pytest.approx(np.linalg.norm((now - start) @ V_h), rel=1e-9)
            assert last[name].drift[at] == pytest.approx(np.linalg.norm(now - start), rel=1e-9)
            assert last[name].shift[at] == pytest.approx(felt, rel=1e-9)
            assert last[name].energy[at] == pytest.approx(energies, rel=1e-9)
            assert bias.shape == (len(start),)


def test_the_seed_decides_everything():
    state = torch.get_rng_state()
    settings = RaceSettings(**SHORT)
    first = list(race(settings))
    assert list(race(settings)) == first
    for workers in (2, 8):  # fewer and more than there are methods
        assert list(race(settings, workers)) == first
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda s: list(race(s)), [settings, settings])) == [first, first]
    assert torch.equal(torch.get_rng_state(), state)
    other = list(race(RaceSettings(**SHORT, seeds=(1,))))
    assert all(one.loss != two.loss for one, two in zip(first, other, strict=True))


def test_a_method_is_not_disturbed_by_the_others():
    every = list(race(RaceSettings(methods=tuple(METHODS), **SHORT)))
    for method in METHODS:
        assert curve(race(RaceSettings(methods=(method,), **SHORT)), method) == curve(every, method)


def test_keep_says_how_much_may_be_learned():
    low, high = (list(race(RaceSettings(methods=("osft",), steps=30, every=30, keep=keep)))[-1] for keep in (0.1, 0.9))
    assert total(low.drift) > total(high.drift)
    assert low.accuracy[1] > high.accuracy[1]
    own = list(race(RaceSettings(methods=(Entrant("osft", keep=0.9),), steps=30, every=30, keep=0.1)))[-1]
    assert own.accuracy == high.accuracy


def test_workers_leave_torch_as_it_was():
    before = torch.get_num_threads()
    stream = race(RaceSettings(**SHORT), workers=2)
    assert next(stream).step == 0
    next(point for point in stream if point.step == 5)
    stream.close()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == before


def test_dropping_the_stream_ends_the_race(monkeypatch):
    steps = []
    train = module._Runner.train

    def counted(self, batches, step):
        steps.extend(batches)
        return train(self, batches, step)

    monkeypatch.setattr(module._Runner, "train", counted)
    stream = race(RaceSettings(methods=("full",)))
    assert [(point.task, point.step) for point in itertools.islice(stream, 2)] == [(0, 0), (1, 0)]
    assert not steps
    assert next(stream).step == 10
    stream.close()
    assert list(stream) == []
    assert len(steps) == 10


def test_a_diverging_curve_ends_with_a_mark_and_the_others_go_on():
    wild = Entrant("full", "wild", lr=1e12)
    points = list(race(RaceSettings(methods=("full", wild, "osft"), **SHORT)))
    undisturbed = list(race(RaceSettings(methods=("full", "osft"), **SHORT)))
    for method in ("full", "osft"):
        assert curve(points, method) == curve(undisturbed, method)
    # The first step throws the weights away; the second finds the loss beyond all bounds.
    assert [(p.step, p.diverged) for p in curve(points, "wild")] == [(0, False), (2, True)]


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"frozen"}))
def test_every_method_diverges_cleanly(method):
    course = ("upright", "rotated", "mirrored")
    points = list(race(RaceSettings(course, (Entrant(method, lr=1e12), "frozen"), seeds=(0, 1), **SHORT)))
    assert len(curve(points, "frozen")) == 2 * 2 * 4
    for seed in (0, 1):
        own = curve(points, method, seed)
        # Rotations alone cannot blow a network up.
        if method != "oft":
            assert (own[-1].task, own[-1].diverged) == (1, True)
        assert not any(point.diverged for point in own[:-1])
        for name in (field.name for field in fields(RacePoint)):
            if own[-1].diverged and name in ("accuracy", "loss", "leak", "drift", "shift", "energy"):
                assert np.isnan(getattr(own[-1], name)).all()


@pytest.mark.parametrize("method", ["full", "oft", "osft", "gpm", "l2sp", "replay", "osft-dense"])
def test_a_network_that_diverges_touches_no_other_seed(method, monkeypatch):
    """From step 3 on, the weights of one seed of three are NaN."""
    settings = RaceSettings(("upright", "rotated", "mirrored"), (method,), (0, 1, 2), **SHORT)
    undisturbed = list(race(settings))
    step = module.losses
    calls = []

    def broken(stack, batch):
        calls.append(len(batch.y))
        loss = step(stack, batch)
        poison = torch.ones(len(loss), dtype=loss.dtype)
        poison[1] = math.nan if len(calls) == 3 else 1
        return loss * poison

    monkeypatch.setattr(module, "losses", broken)
    points = list(race(settings))
    assert [(p.task, p.step, p.diverged) for p in curve(points, method, 1)] == [(1, 0, False), (1, 3, True)]
    assert set(calls[12:]) == {2}  # it takes no part in the next task
    for seed in (0, 2):
        for one, other in zip(curve(points, method, seed), curve(undisturbed, method, seed), strict=True):
            assert one.accuracy == pytest.approx(other.accuracy, abs=1.5 / 445)
            assert one.loss == pytest.approx(other.loss, rel=1e-6)


def test_settings_and_points_travel_between_processes(points):
    settings = RaceSettings(methods=("full", Entrant("lora", "small", 2e-3, options={"rank": 4})))
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert pickle.loads(pickle.dumps(points)) == points
    assert hash(settings) == hash(pickle.loads(pickle.dumps(settings)))
    assert isinstance(points[0], RacePoint)


@pytest.mark.parametrize(("workers", "error"), [(0, ValueError), (1000, ValueError), (1.5, TypeError)])
def test_a_bad_number_of_workers_is_refused_at_once(workers, error):
    with pytest.raises(error, match="workers = "):
        race(RaceSettings(), workers)
