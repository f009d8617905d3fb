"""Orthogonal matrices Q = [U_h U⊥] whose first k columns span given directions, held so that they multiply little.

A rotation of n coordinates has methods for rows x (T×n) of vectors: ``into`` gives Qᵀx, the k protected coordinates
(T×k) and the p = n − k free ones (T×p), and ``out`` takes the two and gives Qz. ``columns`` are U_h (n×k).
"""

from typing import NamedTuple

import torch

from wonderland.backend.constrained import exact_device
from wonderland.backend.cosines import cosine_sine
from wonderland.backend.reflectors import columns, reflectors
from wonderland.maths.counting import core_rotation

Split = tuple[torch.Tensor, torch.Tensor]


class Reflectors(NamedTuple):
    """Q = I − Y T Yᵀ as a product of k Householder reflectors; Y and YT are n×k.

    2nk multiplications for a vector, and as many numbers: for few protected directions.
    """

    Y: torch.Tensor
    YT: torch.Tensor

    def into(self, x: torch.Tensor) -> Split:
        """Qᵀx."""
        k = self.Y.shape[1]
        return torch.addmm(x, x @ self.YT, self.Y.mT, alpha=-1).split([k, x.shape[1] - k], dim=1)

    def columns(self) -> torch.Tensor:
        """U_h."""
        return columns(self.Y, self.YT)

    def out(self, protected: torch.Tensor, free: torch.Tensor) -> torch.Tensor:
        """Qz."""
        z = torch.cat([protected, free], 1)
        return torch.addmm(z, z @ self.Y, self.YT.mT, alpha=-1)


class CosineSine(NamedTuple):
    """Q = [X_h 0; 0 X_f] · [c −s; s c] by the cosine–sine decomposition; see ``wonderland.backend.cosines``.

    k² + p² multiplications for a vector, and as many numbers: for about as many protected directions as free ones,
    where that is half of n².
    """

    X_h: torch.Tensor
    X_f: torch.Tensor
    c: torch.Tensor
    s: torch.Tensor

    def into(self, x: torch.Tensor) -> Split:
        """Qᵀx."""
        protected, free = x.split([len(self.X_h), len(self.X_f)], dim=1)
        return _turned(protected @ self.X_h, free @ self.X_f, self.c, self.s, 1)

    def columns(self) -> torch.Tensor:
        """U_h."""
        r = len(self.c)
        top, bottom = self.X_h.clone(), self.X_f.new_zeros(len(self.X_f), len(self.X_h))
        top[:, :r] *= self.c
        bottom[:, :r] = self.X_f[:, :r] * self.s
        return torch.cat([top, bottom])

    def out(self, protected: torch.Tensor, free: torch.Tensor) -> torch.Tensor:
        """Qz."""
        protected, free = _turned(protected, free, self.c, self.s, -1)
        return torch.cat([protected @ self.X_h.mT, free @ self.X_f.mT], 1)


Rotation = Reflectors | CosineSine


def rotation(basis: torch.Tensor) -> Rotation:
    """The rotation for a basis (n×k) that multiplies less, in the basis's type."""
    if core_rotation(*basis.shape)[0] == "cosine-sine":
        return CosineSine(*(part.to(basis) for part in cosine_sine(basis.to(exact_device(basis.device)))))
    return Reflectors(*reflectors(basis))


def _turned(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, s: torch.Tensor, way: int) -> Split:
    """Coordinates a and b, the first of them turned in pairs: ca + sb and cb − sa, or backward where way is −1."""
    r = len(c)
    (a, more_a), (b, more_b) = (part.split([r, part.shape[1] - r], dim=1) for part in (a, b))
    a, b = torch.addcmul(a * c, b, s, value=way), torch.addcmul(b * c, a, s, value=-way)
    return _joined(a, more_a), _joined(b, more_b)


def _joined(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return torch.cat([left, right], 1) if right.shape[1] else left  # which a cat would copy
