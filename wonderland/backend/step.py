"""One OSFT step on one layer, opened up: what rule, basis and optimizer leave of the protection."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from wonderland.backend.constrained import Constrained
from wonderland.backend.osft import constrain
from wonderland.maths._check import MAX_SEED, choice, integer, number
from wonderland.maths.subspace import RULES, Leak, Split, leak, project, split

RULE_CHOICES = (*RULES, "none")
BASES = ("fixed", "recomputed")
PROJECTIONS = ("gradient", "update", "core")
OPTIMIZERS = {
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr),
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
}
MAX_SIZE = 64
MAX_SAMPLES = 1024
MAX_STEPS = 10_000
LEARNING_RATES = (1e-12, 1e12)
# Far beyond any run that still learns, and within what the projections and the leak accept.
DIVERGED = 1e50


@dataclass(frozen=True)
class StepSettings:
    """What a :class:`LayerRun` trains, and how it protects. The defaults are the tutorial's.

    Parameters
    ----------
    m, n
        Outputs and inputs of the layer, 1 to 64: its weight W is m×n.
    samples
        Random inputs and targets, 1 to 1024.
    k
        Singular directions of W to protect, 0 to min(m, n).
    rule
        What is taken out of a gradient or an update: one of ``wonderland.maths.subspace.RULES``, or "none".
    basis
        "fixed": the directions of the weight at the start. "recomputed": those of the weight before each
        step.
    project
        "gradient": the rule is applied before the optimizer. "update": the optimizer sees the whole
        gradient, and the rule is applied to the step it takes. "core": nothing is projected; the engine
        (``wonderland.backend.osft``) trains the free block alone, whatever rule and basis say: that is the
        two-sided rule with the fixed basis, and k is at least 1 and below min(m, n).
    optimizer
        "sgd", "momentum" (SGD with momentum 0.9) or "adam", as torch has them.
    lr
        Learning rate, 1e-12 to 1e12.
    seed
        Of the weight, inputs and targets; 0 to 2³² − 1.

    Raises
    ------
    TypeError, ValueError
        If a setting is of the wrong type, or outside its range.
    """

    m: int = 3
    n: int = 3
    samples: int = 5
    k: int = 1
    rule: str = "joint"
    basis: str = "fixed"
    project: str = "gradient"
    optimizer: str = "sgd"
    lr: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        integer(self.m, "m", 1, MAX_SIZE, "the layer's number of outputs")
        integer(self.n, "n", 1, MAX_SIZE, "the layer's number of inputs")
        integer(self.samples, "samples", 1, MAX_SAMPLES, "the number of inputs and targets to draw")
        rank = min(self.m, self.n)
        values = "singular value" if rank == 1 else "singular values"
        integer(self.k, "k", 0, rank, f"a {self.m}×{self.n} matrix has {rank} {values}")
        choice(self.rule, "rule", RULE_CHOICES)
        choice(self.basis, "basis", BASES)
        choice(self.project, "project", PROJECTIONS)
        if self.project == "core" and not 0 < self.k < rank:
            nothing = "protect" if self.k == 0 else "train"
            raise ValueError(
                f"k = {self.k} leaves nothing to {nothing}: to train C, give a whole number, 1…{rank - 1}."
            )
        choice(self.optimizer, "optimizer", tuple(OPTIMIZERS))
        number(self.lr, "lr", *LEARNING_RATES, "a learning rate is a positive number")
        integer(self.seed, "seed", 0, MAX_SEED, "the seed of the random numbers")

    @property
    def held_rule(self) -> str:
        """The rule that a run keeps to."""
        return "two-sided" if self.project == "core" else self.rule

    @property
    def held_basis(self) -> str:
        """The basis that a run goes by."""
        return "fixed" if self.project == "core" else self.basis


@dataclass(frozen=True)
class StepRecord:
    """Everything one step saw and did; arrays are float64 and read-only.

    Parameters
    ----------
    step
        Its number, from 1.
    loss_before, loss_after
        Mean squared error over all samples and outputs.
    gradient
        Of the loss by the weight, before the step (m×n).
    singular_values
        Of the weight before the step, falling (min(m, n)).
    k
        How many of them are protected.
    projected
        What the rule leaves of ``gradient`` (m×n).
    weight_before, weight_after
        The layer's weight (m×n).
    leak
        Of ``weight_after``, against the directions of the weight at the start of the run.
    """

    step: int
    loss_before: float
    loss_after: float
    gradient: np.ndarray
    singular_values: np.ndarray
    k: int
    projected: np.ndarray
    weight_before: np.ndarray
    weight_after: np.ndarray
    leak: Leak


class LayerRun:
    """A real ``nn.Linear`` that learns random targets, one protected step after the other.

    Weight, inputs and targets are those of ``torch.manual_seed(seed)``, ``nn.Linear(n, m, bias=False)`` and
    ``torch.randn`` for inputs, then targets; drawn in float32, computed with in float64.

    Parameters
    ----------
    settings
        What to train, and how to protect it.

    Attributes
    ----------
    layer : torch.nn.Linear
        The layer as it is now.
    inputs, targets : torch.Tensor
        samples×n and samples×m.
    """

    def __init__(self, settings: StepSettings | None = None):
        self.settings = settings = settings or StepSettings()
        # A generator of its own: the process's random numbers are shared by every reader.
        generator = torch.Generator().manual_seed(settings.seed)
        self.layer = nn.utils.skip_init(nn.Linear, settings.n, settings.m, bias=False)
        nn.init.kaiming_uniform_(self.layer.weight, a=math.sqrt(5), generator=generator)
        self.inputs = torch.randn(settings.samples, settings.n, generator=generator).double()
        self.targets = torch.randn(settings.samples, settings.m, generator=generator).double()
        self.layer.double()
        self._engine: Constrained | None = None
        if settings.project == "core":
            self._engine = constrain(nn.Sequential(copy.deepcopy(self.layer)), keep=settings.k)[0]
        trained = self._engine or self.layer
        self._optimizer = OPTIMIZERS[settings.optimizer](list(trained.parameters()), settings.lr)
        self._start = self._weight()
        self._start_split = split(self._start, settings.k)
        self._step = 0

    def step(self) -> StepRecord:
        """Take one step.

        Raises
        ------
        ValueError
            If the step diverges; the layer then keeps the weight it had.
        """
        settings = self.settings
        before = self._weight()
        recomputed = settings.held_basis == "recomputed"
        basis = split(before, settings.k) if recomputed else self._start_split
        loss = self._loss()
        self._optimizer.zero_grad()
        self.layer.zero_grad()
        loss.backward()
        gradient = self.layer.weight.grad.numpy().copy()
        projected = self._allowed(gradient, basis)
        if settings.project == "gradient":
            self._set(self.layer.weight.grad, projected)
        if self._engine:
            nn.functional.mse_loss(self._engine(self.inputs), self.targets).backward()
        self._optimizer.step()
        if self._engine:
            self._set(self.layer.weight, self._engine.merged().numpy())
        loss_after = math.inf
        if np.abs(self._weight()).max() < DIVERGED:
            if settings.project == "update":
                # Against a fixed basis the whole way from the start is projected: the same weight as
                # projecting each update, without the rounding of every step adding up.
                origin = before if recomputed else self._start
                self._set(self.layer.weight, origin + self._allowed(self._weight() - origin, basis))
            with torch.no_grad():
                loss_after = self._loss().item()
        if not loss_after < DIVERGED:
            self._set(self.layer.weight, before)
            if self._engine:
                self._engine.learn(self.layer.weight)
            raise ValueError(
                f"lr = {settings.lr:g} makes step {self._step + 1} diverge "
                f"(loss {loss.item():.3g} → {loss_after:.3g}): choose a smaller one."
            )
        self._step += 1
        after = self._weight()
        return StepRecord(
            step=self._step,
            loss_before=loss.item(),
            loss_after=loss_after,
            gradient=_read_only(gradient),
            singular_values=_read_only(basis.S if recomputed else np.linalg.svd(before, compute_uv=False)),
            k=settings.k,
            projected=_read_only(projected),
            weight_before=_read_only(before),
            weight_after=_read_only(after),
            leak=leak(after, self._start_split),
        )

    def run(self, n: int) -> list[StepRecord]:
        """Take ``n`` steps, 1 to 10,000, and return the record of each.

        Raises
        ------
        TypeError, ValueError
            If n is not a whole number in its range, or a step diverges.
        """
        return [self.step() for _ in range(integer(n, "n", 1, MAX_STEPS, "the number of steps to take"))]

    def _loss(self) -> torch.Tensor:
        return nn.functional.mse_loss(self.layer(self.inputs), self.targets)

    def _weight(self) -> np.ndarray:
        return self.layer.weight.detach().numpy().copy()

    def _allowed(self, G: np.ndarray, basis: Split) -> np.ndarray:
        rule = self.settings.held_rule
        return G.copy() if rule == "none" else project(G, basis, rule)

    @staticmethod
    def _set(tensor: torch.Tensor, values: np.ndarray) -> None:
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(values))


def core_step(W: np.ndarray, G: np.ndarray, k: int, lr: float) -> np.ndarray:
    """The weight after one step of SGD by the engine, on a loss whose gradient by the weight is G.

    Parameters
    ----------
    W, G
        Weight and gradient, m×n.
    k
        Singular directions of W to protect, 1 to min(m, n) − 1.
    lr
        Learning rate.

    Raises
    ------
    ValueError
        If k is outside its range, or W is not finite.
    """
    m, n = W.shape
    layer = nn.utils.skip_init(nn.Linear, n, m, bias=False, dtype=torch.float64)
    layer.weight.data = torch.tensor(W)
    engine = constrain(nn.Sequential(layer), keep=k)
    optimizer = torch.optim.SGD(engine.parameters(), lr=lr)
    # With the unit vectors for inputs the outputs are W′ᵀ, and this loss is ⟨G, W′⟩.
    (engine(torch.eye(n, dtype=torch.float64)) * torch.tensor(G).T).sum().backward()
    optimizer.step()
    return engine[0].merged().numpy()


def _read_only(values: np.ndarray) -> np.ndarray:
    values.flags.writeable = False
    return values
