"""The OSFT family: methods of the race that learn outside k protected directions of each weight.

W is m×n = out×in; U_h (m×k) and V_h (n×k) hold the protected directions, U⊥ and V⊥ the rest. The paper's rule
(OSFT, arXiv 2504.07097) takes them from W's own singular value decomposition.
"""

from typing import NamedTuple

import torch

from wonderland.backend.method import Method, Option

BASES = ("weight", "random", "activations")
# Entries of unit vectors that are zero but for rounding.
ROUNDING = 1e-12


class Basis(NamedTuple):
    """Orthonormal bases of one layer's inputs and outputs, the k protected directions first.

    U is S×m×m, or None where the outputs are left free; V is S×n×n.
    """

    U: torch.Tensor | None
    V: torch.Tensor
    k: int

    @property
    def U_h(self) -> torch.Tensor:
        """Protected output directions, S×m×k."""
        return self.U[..., : self.k]

    @property
    def V_h(self) -> torch.Tensor:
        """Protected input directions, S×n×k."""
        return self.V[..., : self.k]


class Constrained(Method):
    """What the family shares: the choice of the directions."""

    options = {"basis": Option("weight", choices=BASES, doc="where the protected directions come from")}

    def bases(self) -> list[Basis]:
        """The protected directions of each layer.

        - "weight": the k leading singular directions of W.
        - "random": k directions drawn from the seed, on both sides.
        - "activations": of the inputs that the layer had from the old tasks, the k directions that carry
          most; the outputs are left free, as in Gradient Projection Memory (arXiv 2103.09762).
        """
        basis, ranks = self.settings["basis"], self.ranks()
        if basis == "weight":
            made = [(U, V) for U, _, V in self.past.factors]
        elif basis == "random":
            generators = self.past.generators()
            made = [tuple(_random(size, generators) for size in W.shape[1:]) for W in self.start.weights]
        else:
            made = [(None, _leading(moment, k)) for moment, k in zip(self.past.moments, ranks, strict=True)]
        return [
            Basis(U if U is None else U.to(W), V.to(W), k)
            for (U, V), k, W in zip(made, ranks, self.start.weights, strict=True)
        ]


class Core(Constrained):
    """Train C in W′ = W + U⊥ C V⊥ᵀ: whatever the optimizer does, every protected triplet stays.

    W′v_i = σ_i u_i and W′ᵀu_i = σ_i v_i for each protected i. With directions from activations there is no
    U⊥, and W′x = Wx for every x in the span of V_h.
    """

    label = "OSFT, two-sided"

    def prepare(self) -> None:
        self.protected = self.bases()
        self.cores = []
        for W, (U, V, k) in zip(self.start.weights, self.protected, strict=True):
            rows = W.shape[1] if U is None else W.shape[1] - k
            self.cores.append(self.train(W.new_zeros(len(W), rows, V.shape[-1] - k)))

    def weights(self) -> tuple[torch.Tensor, ...]:
        made = []
        for W, C, (U, V, k) in zip(self.start.weights, self.cores, self.protected, strict=True):
            V_perp = V[..., k:].mT
            made.append(torch.baddbmm(W, C, V_perp) if U is None else _plus(W, U[..., k:], C, V_perp))
        return tuple(made)


class RandomCore(Core):
    """The control: as many directions, chosen at random."""

    label = "OSFT, random directions"
    options = {"basis": Option("random", choices=BASES, doc="where the protected directions come from")}


class GPM(Core):
    """Protect the directions of the old tasks' activations, right-only (arXiv 2103.09762), exactly: through C."""

    label = "OSFT, activation basis"
    options = {"basis": Option("activations", choices=BASES, doc="where the protected directions come from")}


class Dense(Constrained):
    """Train W itself, and take out of each gradient and each step what the two-sided rule forbids.

    (I − U_hU_hᵀ) ΔW (I − V_hV_hᵀ). With SGD, with or without momentum, it is the same as training C. The gradient
    alone would not do, see :class:`ProjectedGradient`; nor would the step alone: what is left of Adam's step for a
    gradient that is mostly forbidden need not lead downhill.
    """

    label = "OSFT, projected update"

    def prepare(self) -> None:
        self.protected = self.bases()
        self.dense = [self.train(W) for W in self.start.weights]

    def weights(self) -> tuple[torch.Tensor, ...]:
        return tuple(self.dense)

    def before_step(self) -> None:
        with torch.no_grad():
            for W, basis in zip(self.dense, self.protected, strict=True):
                W.grad.copy_(self.project(W.grad, basis))

    def after_step(self) -> None:
        with torch.no_grad():
            for W, old, basis in zip(self.dense, self.start.weights, self.protected, strict=True):
                W.copy_(old + self.project(W - old, basis))

    def project(self, update: torch.Tensor, basis: Basis) -> torch.Tensor:
        """Take out of an update, S×m×n, what the rule forbids."""
        update = update - update @ basis.V_h @ basis.V_h.mT
        return update if basis.U is None else update - basis.U_h @ (basis.U_h.mT @ update)


class Joint(Dense):
    """The formula of the paper, ΔW − U_hU_hᵀ ΔW V_hV_hᵀ, for gradient and step: it fixes k² numbers, and no triplet."""

    label = "OSFT, joint"

    def project(self, update: torch.Tensor, basis: Basis) -> torch.Tensor:
        """Take out of an update, S×m×n, what the rule forbids."""
        if basis.U is None:
            return super().project(update, basis)
        return update - basis.U_h @ (basis.U_h.mT @ update @ basis.V_h) @ basis.V_h.mT


class ProjectedGradient(Dense):
    """The trap: the gradient is projected, then Adam rescales each entry of it, and the step leaks."""

    label = "OSFT, projected gradient"

    def after_step(self) -> None:
        """Leave the step as the optimizer made it."""


def _random(size: int, generators: list[torch.Generator]) -> torch.Tensor:
    """Random orthonormal bases, S×size×size, float64."""
    drawn = [torch.randn(size, size, generator=generator, dtype=torch.float64) for generator in generators]
    return torch.linalg.qr(torch.stack(drawn)).Q


def _leading(moment: torch.Tensor, k: int) -> torch.Tensor:
    """Orthonormal bases, S×n×n, whose first k columns span the k leading eigenvectors of S moments n×n.

    The rest completes them by reflections. Eigenvectors would not do: inputs that are always zero leave a space in
    which rounding alone decides them, and Adam works entry by entry, so that their choice is felt. Nor may rounding
    decide a reflection: where an input is always zero, its sign would be that of the eigenvector, which is anyone's.
    """
    # eigh sorts its eigenvalues ascending
    V = torch.linalg.eigh(moment).eigenvectors.flip(-1)[..., :k]
    V = V * V.gather(-2, V.abs().argmax(dim=-2, keepdim=True)).sign()
    return torch.linalg.qr(V.where(V.abs() > ROUNDING, 0.0), mode="complete").Q


def _plus(W: torch.Tensor, U: torch.Tensor, C: torch.Tensor, Vt: torch.Tensor) -> torch.Tensor:
    """W + U C Vt, the cheaper pair of factors first."""
    m, rows, columns, n = U.shape[1], C.shape[1], C.shape[2], Vt.shape[2]
    left_first = m * rows * columns + m * columns * n
    right_first = rows * columns * n + m * rows * n
    return torch.baddbmm(W, U @ C, Vt) if left_first <= right_first else torch.baddbmm(W, U, C @ Vt)
