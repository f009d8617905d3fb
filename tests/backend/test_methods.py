import itertools

import numpy as np
import peft
import pytest
import torch

from wonderland.backend.constraints import _leading
from wonderland.backend.measuring import energy
from wonderland.backend.method import Past
from wonderland.backend.methods import METHODS, Full
from wonderland.backend.network import BATCH, WIDTHS, lesson, pretrained
from wonderland.backend.race import Entrant, RaceSettings, race
from wonderland.backend.stack import inputs, losses, scores, stacked
from wonderland.backend.tasks import task
from wonderland.maths.energy import hyperspherical_energy
from wonderland.maths.orthogonal import cayley
from wonderland.maths.subspace import leak, split

SIZES = list(zip(WIDTHS[1:], WIDTHS[:-1], strict=True))
SEEDS = (0, 1)
pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(scope="module")
def past(double):
    first = lesson("upright")
    stack = pretrained(first, SEEDS)
    return Past(stack, SEEDS).after(stack, first)


def made(name, past, keep=0.5, **options):
    return METHODS[name](past, Entrant(name, options=options).settings, keep)


def shaken(method):
    """The same method with everything it trains moved at random."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in method.trained:
            tensor += 0.05 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
    return method


def trained(method):
    """Numbers trained in each network."""
    return sum(tensor.numel() for tensor in method.trained) // len(SEEDS)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_starts_where_the_past_ends(name, past):
    method = made(name, past)
    for start, now in zip(itertools.chain(*past.stack), itertools.chain(*method.stack()), strict=True):
        torch.testing.assert_close(now, start, rtol=0, atol=1e-13)
    assert all(tensor.requires_grad and len(tensor) == len(SEEDS) for tensor in method.trained)
    shaken(method)
    for start, fresh in zip(itertools.chain(*past.stack), itertools.chain(*made(name, past).stack()), strict=True):
        torch.testing.assert_close(fresh, start, rtol=0, atol=1e-13)  # the past was not written to


def test_how_much_each_method_trains(past):
    full = sum(m * n + m for m, n in SIZES)
    dense = sum(m * n for m, n in SIZES)
    ks = [min(m, n) // 2 for m, n in SIZES]
    for name in ("full", "l2sp", "replay", "joint"):
        assert trained(made(name, past)) == full
    for name in ("osft-joint", "osft-dense", "osft-gradient"):
        assert trained(made(name, past)) == dense
    for name in ("osft", "osft-random"):
        assert trained(made(name, past)) == sum((m - k) * (n - k) for (m, n), k in zip(SIZES, ks, strict=True))
    assert trained(made("gpm", past)) == sum(m * (n - k) for (m, n), k in zip(SIZES, ks, strict=True))
    assert trained(made("frozen", past)) == 0
    # As peft counts them, layer by layer.
    for name, config in (
        ("lora", peft.LoraConfig(r=8, target_modules=["0", "1", "2"])),
        ("oft", peft.OFTConfig(oft_block_size=16, target_modules=["0", "1", "2"], bias="none")),
    ):
        model = torch.nn.Sequential(*(torch.nn.Linear(n, m) for m, n in SIZES))
        theirs = peft.get_peft_model(model, config).get_nb_trainable_parameters()[0]
        assert trained(made(name, past, **({"rank": 8} if name == "lora" else {"block": 16}))) == theirs


@pytest.mark.parametrize("name", ["osft", "osft-dense", "osft-random"])
def test_two_sided_keeps_every_protected_triplet_whatever_is_learned(name, past):
    method = shaken(made(name, past))
    if name == "osft-dense":
        method.after_step()
    for W, old, basis in zip(method.weights(), past.stack.weights, method.protected, strict=True):
        change = (W - old).detach()
        assert change.norm() > 0.1
        assert (change @ basis.V_h).norm() < 1e-12
        assert (basis.U_h.mT @ change).norm() < 1e-12
        if name != "osft-random":
            for seat in range(len(SEEDS)):
                kept = leak(W[seat].detach().numpy(), split(old[seat].numpy(), basis.k))
                assert max(kept.joint, kept.right, kept.left, kept.triplet) < 1e-11


def test_joint_keeps_one_block_and_no_triplet(past):
    method = shaken(made("osft-joint", past))
    method.after_step()
    for W, old, basis in zip(method.weights(), past.stack.weights, method.protected, strict=True):
        change = (W - old).detach()
        assert (basis.U_h.mT @ change @ basis.V_h).norm() < 1e-12
        assert (change @ basis.V_h).norm() > 0.01


def test_activation_bases_keep_what_the_old_inputs_feel_most(past):
    method = shaken(made("gpm", past))
    seen = inputs(past.stack, lesson("upright").x)
    for W, old, basis, x in zip(method.weights(), past.stack.weights, method.protected, seen, strict=True):
        assert ((W - old) @ basis.V_h).norm() < 1e-11
        # No k directions carry more of the inputs: their energy is that of the k leading singular values.
        for seat in range(len(SEEDS)):
            held = (basis.V_h[seat].T @ x[seat]).square().sum().item()
            best = (np.linalg.svd(x[seat].numpy(), compute_uv=False)[: basis.k] ** 2).sum()
            assert held == pytest.approx(best, rel=1e-9)


def test_oft_turns_by_the_cayley_transform_and_keeps_the_energy(past):
    method = shaken(made("oft", past, block=16))
    start = past.stack.weights
    blocks = np.split(method.entries.detach().numpy(), np.cumsum(method.counts)[:-1], axis=1)
    for W, old, entries in zip(method.weights(), start, blocks, strict=True):
        for seat in range(len(SEEDS)):
            R = np.zeros((old.shape[2], old.shape[2]))
            for at, upper in enumerate(entries[seat]):
                Q = np.zeros((16, 16))
                Q[np.triu_indices(16, 1)] = upper
                R[16 * at : 16 * at + 16, 16 * at : 16 * at + 16] = cayley(Q - Q.T)
            np.testing.assert_allclose(W[seat].detach().numpy(), old[seat].numpy() @ R, atol=1e-12)
    for W, old in zip(method.weights(), start, strict=True):
        torch.testing.assert_close(energy(W.detach()), energy(old), rtol=1e-10, atol=0)


@pytest.mark.parametrize(("wanted", "block"), [(2, 2), (20, 16), (48, 32), (64, 64)])
def test_a_block_that_does_not_divide_gives_way(wanted, block, past):
    assert made("oft", past, block=wanted).block == block


def test_l2sp_is_half_the_squared_distance(past):
    method = shaken(made("l2sp", past, strength=0.3))
    start = list(itertools.chain(*past.stack))
    expected = [
        0.15 * sum((now - old)[seat].square().sum().item() for now, old in zip(method.trained, start, strict=True))
        for seat in range(len(SEEDS))
    ]
    assert method.penalty().tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("name", "size"), [("replay", 100), ("joint", 1352)])
def test_replay_adds_old_images(name, size, past):
    method = made(name, past)
    new = lesson("rotated").batch([torch.Generator().manual_seed(5)] * 2)
    batch = method.batch(new)
    assert torch.equal(batch.x[:, :BATCH], new.x)
    assert torch.equal(batch.y[:, :BATCH], new.y)
    known = lesson("upright")
    old = {row.numpy().tobytes(): int(label) for row, label in zip(known.x, known.y, strict=True)}
    drawn = set()
    for _ in range(60):
        batch = method.batch(new)
        for row, label in zip(batch.x[0, BATCH:], batch.y[0, BATCH:], strict=True):
            assert old[row.numpy().tobytes()] == int(label)
            drawn.add(row.numpy().tobytes())
    assert 0.7 * size < len(drawn) <= size


def test_old_images_keep_their_own_classes():
    low, high = lesson("low"), lesson("high")
    stack = pretrained(low, SEEDS)
    method = made("replay", Past(stack, SEEDS).after(stack, low))
    batch = method.batch(high.batch([torch.Generator().manual_seed(5)] * 2))
    open_ = torch.isfinite(batch.closed)
    assert open_[:, :BATCH].sum(dim=(0, 1)).tolist() == [0] * 5 + [2 * BATCH] * 5
    assert open_[:, BATCH:].sum(dim=(0, 1)).tolist() == [2 * BATCH] * 5 + [0] * 5
    assert torch.isfinite(losses(stack, batch)).all()


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_training_c_is_constrained_dense_training_without_adam(optimizer):
    """And the projected gradient is enough: under SGD the three are one. Adam parts them."""
    names = ("osft", "osft-dense", "osft-gradient")
    entrants = tuple(Entrant(name, lr=0.1) for name in names)
    last = {p.method: p for p in race(RaceSettings(methods=entrants, steps=40, every=40, optimizer=optimizer))}
    for other in names[1:]:
        assert last[other].loss == pytest.approx(last["osft"].loss, rel=1e-6)
        assert last[other].drift == pytest.approx(last["osft"].drift, rel=1e-6)
        assert max(last[other].leak) < 1e-10
    adam = tuple(Entrant(name, lr=1e-3) for name in names)
    last = {p.method: p for p in race(RaceSettings(methods=adam, steps=40, every=40))}
    assert max(last["osft"].leak + last["osft-dense"].leak) < 1e-12
    assert max(last["osft-gradient"].leak) > 0.1


def test_moments_are_those_of_every_old_task(past):
    second = past.after(past.stack, lesson("mirrored"))
    for at in range(3):
        means = []
        for name in ("upright", "mirrored"):
            x = inputs(past.stack, lesson(name).x)[at][1].numpy()
            means.append(x @ x.T / x.shape[1])
        np.testing.assert_allclose(second.moments[at][1].numpy(), np.mean(means, axis=0), atol=1e-12)
    assert [old.key[0] for old in second.lessons] == ["upright", "mirrored"]
    alone = second.chosen([1])
    assert alone.seeds == (1,)
    assert torch.equal(alone.stack.weights[2][0], past.stack.weights[2][1])


def test_a_stack_computes_as_its_networks_do(past):
    x = lesson("rotated").x[:7]
    both = scores(past.stack, x)
    for seat in range(len(SEEDS)):
        one = x
        for at, (W, b) in enumerate(zip(*past.stack.chosen([seat]), strict=True)):
            one = torch.nn.functional.linear(one.relu() if at else one, W[0], b[0])
        torch.testing.assert_close(both[seat], one.T, rtol=1e-12, atol=1e-12)
    again = stacked([past.stack.chosen([0]), past.stack.chosen([1])])
    assert all(map(torch.equal, itertools.chain(*again), itertools.chain(*past.stack)))


def test_energy_is_that_of_maths_for_near_neurons_too():
    generator = torch.Generator().manual_seed(3)
    W = torch.randn(3, 9, 5, generator=generator, dtype=torch.float64)
    W[1, 1] = W[1, 0] + 1e-6 * W[1, 2]
    expected = [hyperspherical_energy(each.numpy()) for each in W]
    assert energy(W).tolist() == pytest.approx(expected, rel=1e-9)
    W[2, 1] = W[2, 0]
    assert energy(W)[2] == torch.inf
    W[0] = torch.nan
    assert energy(W).isnan().tolist() == [True, False, False]


def test_a_method_of_ones_own_races(monkeypatch):
    class Biases(Full):
        """Train the biases alone (BitFit)."""

        rates = {"adamw": 1e-2}

        def prepare(self):
            self.W = self.past.stack.weights
            self.b = [self.train(b) for b in self.past.stack.biases]

    monkeypatch.setitem(METHODS, "biases", Biases)
    points = list(race(RaceSettings(methods=("biases", "frozen"), seeds=SEEDS, steps=60, every=60)))
    ends = {p.method: p for p in points if p.step == 60}
    assert ends["biases"].drift == (0, 0, 0)
    assert ends["biases"].accuracy[1] > ends["frozen"].accuracy[1] + 0.05


def test_rounding_decides_no_direction_of_an_activation_basis():
    """A moment that differs in its last digit, as another machine or another order of the images makes it."""
    seen = torch.tensor(task("upright").learnable.x)
    moment = seen.T @ seen / len(seen)
    k = 32
    basis = _leading(moment[None], k)
    torch.testing.assert_close(basis.mT @ basis, torch.eye(64, dtype=basis.dtype)[None])
    top = torch.linalg.eigh(moment).eigenvectors[:, -k:]
    torch.testing.assert_close(basis[0, :, :k] @ basis[0, :, :k].T, top @ top.T)
    for seed in range(5):
        noise = torch.randn(64, 64, dtype=basis.dtype, generator=torch.Generator().manual_seed(seed))
        other = _leading((moment + 1e-17 * (noise + noise.T))[None], k)
        torch.testing.assert_close(other, basis, rtol=0, atol=1e-9)
