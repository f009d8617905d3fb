"""The engine beside peft's OSF and mini_trainer's OSFT: the same answer where they are right, and where they leak."""

import pytest
import torch
from torch import nn

from tests.peers import MiniTrainerOSFT, PeftOSF, plain
from wonderland.backend.osft import constrain, merge
from wonderland.maths import counting

M, N, K, SAMPLES = 10, 8, 3, 64


class Ours(nn.Sequential):
    """The engine, by the interface of the peers."""

    def __init__(self, W: torch.Tensor, k: int):
        super().__init__(plain(W))
        constrain(self, keep=k)

    def weight(self) -> torch.Tensor:
        return merge(self)[0].weight.detach().double()


@pytest.fixture
def W() -> torch.Tensor:
    return torch.randn(M, N, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def bases(W: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """U_h, U⊥, V_h, V⊥, in float64."""
    U, _, Vh = torch.linalg.svd(W.double())
    return U[:, :K], U[:, K:], Vh[:K].T, Vh[K:].T


def task(noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(SAMPLES, N, generator=generator)
    teacher = torch.randn(M, N, generator=generator)
    return x, x @ teacher.T + noise * torch.randn(SAMPLES, M, generator=generator)


def train(layer: nn.Module, make: type[torch.optim.Optimizer], steps: int, **options: float) -> torch.Tensor:
    """Least squares on the whole task; gives W′."""
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    optimizer = make(trained, **options)
    x, y = task()
    for _ in range(steps):
        optimizer.zero_grad()
        (layer(x) - y).square().mean().backward()
        if isinstance(layer, MiniTrainerOSFT):
            layer.around(optimizer.step)
        else:
            optimizer.step()
    return layer.weight()


@pytest.mark.parametrize(("kind", "lr"), [(Ours, 0.5), (PeftOSF, 0.03), (MiniTrainerOSFT, 0.03)])
def test_all_find_the_one_best_weight(kind: type, lr: float, W: torch.Tensor, bases: tuple[torch.Tensor, ...]) -> None:
    """Under SGD all keep to the same set of weights, and the best of it has a closed form.

    Factors bend the way there: they need a smaller step.
    """
    _, U_free, _, V_free = bases
    x, y = (part.double() for part in task())
    rest = y - x @ W.double().T
    # min ‖rest − x V⊥ Cᵀ U⊥ᵀ‖: by least squares, since U⊥ has orthonormal columns.
    C = torch.linalg.lstsq(x @ V_free, rest @ U_free).solution.T
    best = W.double() + U_free @ C @ V_free.T
    found = train(kind(W, K), torch.optim.SGD, 5000, lr=lr, momentum=0.9)
    torch.testing.assert_close(found, best, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("kind", "leaks"), [(Ours, False), (MiniTrainerOSFT, False), (PeftOSF, True)])
def test_who_leaks_under_adam(kind: type, leaks: bool, W: torch.Tensor, bases: tuple[torch.Tensor, ...]) -> None:
    U_h, _, V_h, _ = bases
    change = train(kind(W, K), torch.optim.AdamW, 200, lr=1e-2, weight_decay=0.01) - W.double()
    leak = max((change @ V_h).norm(), (U_h.T @ change).norm()) / change.norm()
    assert change.norm() > 0.5
    assert leak > 0.1 if leaks else leak < 1e-5


@pytest.mark.parametrize("kind", [PeftOSF, MiniTrainerOSFT])
def test_the_peers_train_more_numbers(kind: type, W: torch.Tensor) -> None:
    def trained(layer: nn.Module) -> int:
        return sum(parameter.numel() for parameter in layer.parameters() if parameter.requires_grad)

    assert trained(kind(W, K)) == counting.osft_factored(N, M, K)
    assert trained(Ours(W, K)) == counting.osft_core(N, M, K)
