"""Layers of which only the free block can be trained: three forms of one weight (the third in ``dense``).

A weight W is m×n (out×in); the columns of U_h (m×k_u) and V_h (n×k_v) are the protected directions, those of
U⊥ and V⊥ the rest. In the bases Q_U = [U_h U⊥] and Q_V = [V_h V⊥] the weight is M = Q_Uᵀ W Q_V, and training
may change the block C = U⊥ᵀ W V⊥, (m−k_u)×(n−k_v), alone. Then W′v = Wv for every protected v and uᵀW′ = uᵀW
for every protected u: every protected singular triplet stays (OSFT, arXiv 2504.07097); with k_u = 0 this is
Gradient Projection Memory (arXiv 2103.09762).

C is the free block of the weight itself, not of its change. So weight decay means the same in every form, as
it does for a plain layer, and W need not be held beside it.
"""

import torch
from torch import nn
from torch.nn.functional import linear

from wonderland.backend.constrained import Bases, Constrained, double, exact_device, whole
from wonderland.backend.dense import Dense
from wonderland.backend.plain import working
from wonderland.backend.reflectors import complement
from wonderland.backend.rotations import Rotation, rotation
from wonderland.maths.counting import core_rotation

METHODS = ("auto", "core", "dense")
# A block that is zero but for rounding is left out: below this many units of rounding of ‖W‖.
NEGLIGIBLE = 64


class Held(Constrained):
    """W′ = P + U⊥ C V⊥ᵀ, with P = W − U⊥ C₀ V⊥ᵀ, U⊥ and V⊥ held; for k from two thirds of the directions on.

    A vector costs mn + nq + pq + mp multiplications (p = m−k_u, q = n−k_v); there are mn + mp + nq numbers
    beside C, so that training with AdamW takes less memory than training W, 4mn, from k = 0.35 n on.
    """

    form = "held"

    def _hold(self, W: torch.Tensor, bases: Bases) -> None:
        U, V = (complement(basis).to(W.dtype) for basis in bases)
        work = working(W.dtype)
        C = (U.to(work).mT @ W.to(work) @ V.to(work)).to(W.dtype)
        # Of the rounded parts, so that W is met but for the rounding of one matrix.
        P = W.to(work) - U.to(work) @ C.to(work) @ V.to(work).mT
        self.register_buffer("P", P.to(W.dtype))
        self.register_buffer("U_perp", U)
        self.register_buffer("V_perp", V)
        self.C = nn.Parameter(C)

    def _matrix(self, device: torch.device, dtype: torch.dtype | None) -> torch.Tensor:
        P, U, C, V = (part.to(device, dtype) for part in (self.P, self.U_perp, whole(self.C), self.V_perp))
        # From the side that has fewer free directions.
        return torch.addmm(P, U, C @ V.mT) if C.shape[0] < C.shape[1] else torch.addmm(P, U @ C, V.mT)

    def _apply_weight(self, x: torch.Tensor) -> torch.Tensor:
        y = linear(x, self.P, self.bias)
        return torch.addmm(y, linear(x @ self.V_perp, self.C), self.U_perp.mT)

    def bases(self) -> Bases:
        """Bases of what U⊥ and V⊥ leave over."""
        return Bases(*(complement(double(basis)) for basis in (self.U_perp, self.V_perp)))

    def kept(self, bases: Bases) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B: P alone reaches the protected directions."""
        P = double(self.P)
        return bases.U.mT @ P, P @ bases.V

    @torch.no_grad()
    def learn(self, W: torch.Tensor) -> None:
        """Take over the free block of W."""
        self.C.copy_(_to(self.U_perp, W).mT @ W @ _to(self.V_perp, W))


class Rotated(Constrained):
    """W′ = Q_U M Q_Vᵀ, with neither W nor U⊥, V⊥ held: for fewer protected directions than some two thirds.

    Q_U and Q_V are the rotations of ``wonderland.backend.rotations``, each in its cheaper form: k reflectors, or a
    cosine–sine decomposition. Either turns the free directions, and the protected ones, within what they span. With
    r_u and r_v multiplications for the two, a vector costs r_u + r_v + pq + k_uk_v; there are as many numbers, and
    the cosines and sines, with C among them.

    The blocks of M that join protected and free directions are zero, and left out, where the bases are
    singular vectors of W as nearly as its numbers tell; for other bases they are frozen.
    """

    form = "rotated"

    def _hold(self, W: torch.Tensor, bases: Bases) -> None:
        left, right = rotations = [rotation(basis) for basis in bases]
        M = W.to(bases.V.dtype)
        parts = dict(zip(("M_hh", "M_fh", "M_hf", "C"), _inside(M, left, right), strict=True))
        unit = M.abs().max().clamp_min(torch.finfo(M.dtype).tiny)  # so that no square is too small or too large
        nothing = NEGLIGIBLE * torch.finfo(M.dtype).eps * (M / unit).norm()
        parts |= {name: None for name in ("M_fh", "M_hf") if (parts[name] / unit).norm() <= nothing}
        self._kinds = dict(zip("uv", map(type, rotations), strict=True))
        for side, made in zip("uv", rotations, strict=True):
            parts |= {f"{name}_{side}": part for name, part in made._asdict().items()}
        self.C = nn.Parameter(parts.pop("C").to(W.dtype, copy=True).contiguous())
        for name, part in parts.items():
            self.register_buffer(name, None if part is None else part.to(W.dtype, copy=True).contiguous())

    def _matrix(self, device: torch.device, dtype: torch.dtype | None) -> torch.Tensor:
        left, right = (self._rotation(side, device, dtype) for side in "uv")
        corner, C = self.M_hh.to(device, dtype), whole(self.C).to(device, dtype)
        top = C.new_zeros(self.k_u, C.shape[1]) if self.M_hf is None else self.M_hf.to(device, dtype)
        rest = C.new_zeros(C.shape[0], self.k_v) if self.M_fh is None else self.M_fh.to(device, dtype)
        return left.out(right.out(corner, top).mT, right.out(rest, C).mT).mT

    def _apply_weight(self, x: torch.Tensor) -> torch.Tensor:
        protected, free = self._rotation("v").into(x)
        top, rest = linear(protected, self.M_hh), linear(free, self.C)
        if self.M_hf is not None:
            top = top + linear(free, self.M_hf)
        if self.M_fh is not None:
            rest = rest + linear(protected, self.M_fh)
        y = self._rotation("u").out(top, rest)
        return y if self.bias is None else y + self.bias.to(y.dtype)  # which autocast may have lowered

    def _load_from_state_dict(self, state_dict: dict[str, torch.Tensor], prefix: str, *args: object) -> None:
        # What is negligible here may just not be where the state comes from. A part of a state says nothing of it.
        if prefix + "M_hh" in state_dict:
            for name, shape in (("M_hf", (self.k_u, self.n - self.k_v)), ("M_fh", (self.m - self.k_u, self.k_v))):
                if prefix + name not in state_dict:
                    setattr(self, name, None)
                elif getattr(self, name) is None:
                    setattr(self, name, torch.empty(shape, device=self._device, dtype=self._dtype))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def bases(self) -> Bases:
        """The first columns of Q_U and Q_V."""
        return Bases(*(self._exact(side).columns() for side in "uv"))

    def kept(self, bases: Bases) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B, from the frozen blocks of M."""
        left, right, corner = self._exact("u"), self._exact("v"), double(self.M_hh)
        top = corner.new_zeros(self.k_u, self.n - self.k_v) if self.M_hf is None else double(self.M_hf)
        rest = corner.new_zeros(self.m - self.k_u, self.k_v) if self.M_fh is None else double(self.M_fh)
        return right.out(corner, top), left.out(corner.mT, rest.mT).mT

    @torch.no_grad()
    def learn(self, W: torch.Tensor) -> None:
        """Take over the free block of W."""
        left, right = (self._rotation(side, W.device, W.dtype) for side in "uv")
        self.C.copy_(_inside(W, left, right)[-1])

    def _rotation(self, side: str, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Rotation:
        kind = self._kinds[side]
        return kind(*(getattr(self, f"{part}_{side}").to(device, dtype) for part in kind._fields))

    def _exact(self, side: str) -> Rotation:
        return self._rotation(side, exact_device(self._device), torch.float64)


FORMS = {form.form: form for form in (Held, Rotated, Dense)}


def cheapest(method: str, m: int, n: int, k_u: int, k_v: int, given: bool = False) -> str:
    """Name of the form that a method takes for an m×n weight with k_u and k_v directions protected.

    ``given`` says whether they are other than singular vectors of it.

    "core" takes the form that multiplies less for a vector:

    - held: mn + nq + pq + mp, with p = m−k_u and q = n−k_v free directions;
    - rotated: r_u + r_v + pq + k_uk_v, where a rotation takes 2nk multiplications, or k² + (n−k)²; and for given
      directions k_uq + pk_v.

    For a square weight, n×n, these meet at k = 0.690 n, where held takes 2.0 n² numbers with AdamW (mn + mp +
    nq, and C four times: itself, gradient, two averages); full fine-tuning takes 4 n². Below, rotated takes
    3k² + 6(n−k)², or from k = 0.293 n down 4(n−k)² + 4nk + k², which is less than 4 n² as well. (With directions
    given for the inputs alone it can be more where m < n.)

    "auto" is "core": "dense" takes 4mn numbers and its bases, more than full fine-tuning for any k.
    """
    if method == "dense":
        return "dense"
    p, q = m - k_u, n - k_v
    held = m * n + n * q + p * q + m * p
    inside = m * n if given else p * q + k_u * k_v
    rotated = core_rotation(m, k_u)[1] + core_rotation(n, k_v)[1] + inside
    return "held" if held < rotated else "rotated"


def _inside(W: torch.Tensor, left: Rotation, right: Rotation) -> list[torch.Tensor]:
    """The blocks of M = Q_Uᵀ W Q_V: M_hh, M_fh, M_hf and C."""
    return [block.mT for half in right.into(W) for block in left.into(half.mT)]


def _to(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to(like.device, like.dtype)
