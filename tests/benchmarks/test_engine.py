"""The OSFT engine beside its peers: time of a training step, memory held, and what leaks."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from statistics import median

import pytest
import torch
from torch import nn

from tests.peers import MiniTrainerOSFT, PeftOSF, plain
from wonderland.backend.constrained import Constrained
from wonderland.backend.osft import constrain
from wonderland.backend.splitting import leading

STEPS, TOKENS = 100, 256  # after these the leak is measured
MORE, MANY = 5, 2048  # steps and tokens, timed after that
SIZES = [(n, k) for n in (1024, 2048, 4096) for k in (64, n // 2, round(0.94 * n))]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Contender:
    """A layer, its optimizer, and the times of its steps."""

    def __init__(self, layer: nn.Module):
        self.layer = layer.to(DEVICE)
        trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)
        self.seconds: dict[int, list[float]] = defaultdict(list)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        _wait()
        begin = time.perf_counter()
        x = x.detach().requires_grad_()  # a layer inside a model hands its gradient on
        (self.layer(x) - y).square().mean().backward()
        if isinstance(self.layer, MiniTrainerOSFT):
            self.layer.around(self._optimizer.step)
        else:
            self._optimizer.step()
        self._optimizer.zero_grad()
        _wait()
        self.seconds[len(x)].append(time.perf_counter() - begin)

    def held(self) -> int:
        """Bytes of parameters, gradients (as large as what is trained), optimizer state and buffers."""
        states = [value for state in self._optimizer.state.values() for value in state.values()]
        tensors = [*self.layer.parameters(), *self.layer.buffers(), *filter(torch.is_tensor, states)]
        gradients = sum(p.numel() * p.element_size() for p in self.layer.parameters() if p.requires_grad)
        return gradients + _bytes(tensors)

    def leak(self, W: torch.Tensor, U: torch.Tensor, V: torch.Tensor) -> tuple[float, float]:
        """Largest of ‖ΔW V_h‖ and ‖U_hᵀ ΔW‖, and ‖ΔW‖, by the whole weight that the layer acts with."""
        if isinstance(self.layer, PeftOSF | MiniTrainerOSFT):
            now = self.layer.weight()
        else:
            now = self.layer[0].merged() if isinstance(self.layer[0], Constrained) else self.layer[0].weight
        change = (now.double() - W.double()).detach()
        return max((change @ V).norm().item(), (U.T @ change).norm().item()), change.norm().item()


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_a_training_step(n: int, k: int, table: Callable[..., None]) -> None:
    """Forward, backward, fused AdamW and projection of one n×n layer, the methods taking turns."""
    few, many = (f"ms, {tokens} tokens" for tokens in (TOKENS, MANY))
    table("n, k", "method", few, "of unprotected", many, "of unprotected", "MB held", f"leak, {STEPS} steps", "‖ΔW‖")
    torch.manual_seed(0)
    W = torch.randn(n, n, device=DEVICE) / n**0.5
    U, _, V = (part.double() for part in leading(W, k))
    contenders = {
        "unprotected": Contender(nn.Sequential(plain(W))),
        "peft OSF": Contender(PeftOSF(W, k)),
        "mini_trainer": Contender(MiniTrainerOSFT(W, k)),
        "ours, core": Contender(constrain(nn.Sequential(plain(W)), keep=k, method="core")),
        "ours, dense": Contender(constrain(nn.Sequential(plain(W)), keep=k, method="dense")),
    }
    _turns(contenders, STEPS, TOKENS, n)
    leaks = {name: contender.leak(W, U, V) for name, contender in contenders.items()}
    _turns(contenders, MORE, MANY, n)
    for name, contender in contenders.items():
        times = []
        for tokens in (TOKENS, MANY):
            wait, base = (median(one.seconds[tokens]) for one in (contender, contenders["unprotected"]))
            times += [f"{1e3 * wait:.1f}", f"{wait / base:.2f}"]
        leaked, moved = leaks[name]
        table(f"{n}, {k}", name, *times, f"{contender.held() / 1e6:.0f}", f"{leaked:.1e}", f"{moved:.1f}")


def _turns(contenders: dict[str, Contender], steps: int, tokens: int, n: int) -> None:
    for _ in range(steps):
        x, y = torch.randn(2, tokens, n, device=DEVICE)
        for contender in contenders.values():
            contender.step(x, y)


@pytest.mark.parametrize("n", [512, 1024, 2048, 4096])
def test_splitting(n: int, table: Callable[..., None]) -> None:
    """The leading directions against the whole SVD; and the whole way to a constrained layer."""
    table("n", "k", "torch.linalg.svd, s", "leading, s", "times faster", "constrain, s")
    torch.manual_seed(0)
    W = torch.randn(n, n, device=DEVICE)
    whole = _best(lambda: torch.linalg.svd(W), 3 if n < 4096 else 1)
    for k in (64, n // 2):
        ours = _best(lambda k=k: leading(W, k), 3)
        layer = plain(W)
        made = _best(lambda k=k, layer=layer: constrain(nn.Sequential(layer), keep=k), 1)
        table(n, k, f"{whole:.2f}", f"{ours:.2f}", f"{whole / ours:.1f}", f"{made:.2f}")


def _best(work: Callable[[], object], times: int) -> float:
    waits = []
    for _ in range(times):
        _wait()
        begin = time.perf_counter()
        work()
        _wait()
        waits.append(time.perf_counter() - begin)
    return min(waits)


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())
