"""The race written the plain way: one network after another, in torch's own modules and optimizers."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from wonderland.backend import network
from wonderland.backend.network import LAYERS, pretrain
from wonderland.backend.tasks import task


class Low(nn.Module):
    """W + BA."""

    def __init__(self, A, m):
        super().__init__()
        self.A = nn.Parameter(A)
        self.B = nn.Parameter(torch.zeros(m, len(A), dtype=A.dtype))

    def forward(self, W):
        return W + self.B @ self.A


class Turned(nn.Module):
    """WR, R of rotations by the Cayley transform."""

    def __init__(self, n, block, dtype):
        super().__init__()
        self.Q = nn.Parameter(torch.zeros(n // block, block, block, dtype=dtype))

    def forward(self, W):
        upper = self.Q.triu(1)
        skew, eye = upper - upper.mT, torch.eye(self.Q.shape[1], dtype=upper.dtype)
        return W @ torch.block_diag(*torch.linalg.solve(eye - skew, eye + skew))


class Free(nn.Module):
    """W + U⊥ C V⊥ᵀ; no U⊥ where the outputs are free."""

    def __init__(self, U, V):
        super().__init__()
        self.U, self.V = U.to(network.DTYPE), V.to(network.DTYPE)
        self.C = nn.Parameter(torch.zeros(U.shape[1], V.shape[1], dtype=network.DTYPE))

    def forward(self, W):
        return W + self.U @ self.C @ self.V.T


def images(name, split="learnable"):
    part = getattr(task(name), split)
    return torch.tensor(part.x, dtype=network.DTYPE), torch.tensor(part.y)


def prepare(model, method, seed, keep=0.5):
    """Have a method's own parameters trained, and nothing else."""
    if method == "full":
        model.to(network.DTYPE)
        return
    x = images("upright")[0].double()
    generator = torch.Generator().manual_seed(seed * 1_000_003 + 1)  # that of Past.generators
    model.requires_grad_(False)
    changes = {}
    for name in LAYERS:
        layer = model.get_submodule(name)
        W = layer.weight.detach()
        (m, n), k = W.shape, min(W.shape) // 2
        before = model[: list(dict(model.named_children())).index(name)]
        if method == "lora":
            A = torch.empty(16, n, dtype=torch.float64).uniform_(-1, 1, generator=generator)
            change = Low(A.to(network.DTYPE) / n**0.5, m)
        elif method == "oft":
            change = Turned(n, 32, network.DTYPE)
        elif method == "osft":
            U, _, Vh = torch.linalg.svd(W)
            change = Free(U[:, k:], Vh[k:].T)
        elif method == "gpm":
            with torch.no_grad():
                seen = before(x)
            top = torch.linalg.eigh(seen.T @ seen / len(seen)).eigenvectors.flip(1)[:, :k]
            top *= top[top.abs().argmax(dim=0), torch.arange(k)].sign()  # or the reflections of qr are anyone's
            top[top.abs() < 1e-12] = 0
            change = Free(torch.eye(m, dtype=torch.float64), torch.linalg.qr(top, mode="complete").Q[:, k:])
        changes[layer] = change
    model.to(network.DTYPE)
    for layer, change in changes.items():
        parametrize.register_parametrization(layer, "weight", change)


def plain_pretrain(seed):
    """A network that has learned the first task."""
    generator = torch.Generator().manual_seed(seed)
    start = network._initial(generator)
    layers = []
    for W, b in zip(*start, strict=True):
        layers += [nn.utils.skip_init(nn.Linear, *W.shape[:0:-1], dtype=network.DTYPE), nn.ReLU()]
        layers[-2].weight.data, layers[-2].bias.data = W[0].clone(), b[0].clone()
    model = nn.Sequential(*layers[:-1])
    x, y = images("upright")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(600):
        chosen = torch.randint(len(y), (64,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()
    return model


def plain_race(method, seed, rate, steps, every, tasks=("upright", "rotated"), optimizer=None):
    """Accuracies (T) and loss at each point of one network's curve."""
    model = pretrain(seed)
    prepare(model, method, seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = (optimizer or torch.optim.AdamW)(trained, lr=rate, weight_decay=0.0)
    x, y = images(tasks[1])
    judged = [images(name, "test") for name in tasks]
    generator = torch.Generator().manual_seed(seed)
    points = []
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            with torch.no_grad():
                made = [model(judge_x) for judge_x, _ in judged]
                accuracies = [(s.argmax(1) == t).double().mean().item() for s, (_, t) in zip(made, judged, strict=True)]
                points.append((step, accuracies, nn.functional.cross_entropy(made[1], judged[1][1]).item()))
        if step < steps:
            chosen = torch.randint(len(y), (64,), generator=generator)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
    return points
