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

from wonderland.backend.constrained import Bases, Constrained, double, whole
from wonderland.backend.dense import Dense
from wonderland.backend.folding import Folded, folds
from wonderland.backend.plain import working
from wonderland.backend.reflectors import columns, complement, reflectors

METHODS = ("auto", "core", "dense")
# A block that is zero but for rounding is left out: below this many units of rounding of ‖W‖.
NEGLIGIBLE = 64


class Held(Constrained):
    """W′ = P + U⊥ C V⊥ᵀ, with P = W − U⊥ C₀ V⊥ᵀ, U⊥ and V⊥ held; for k about half of the directions and above.

    A vector costs mn + nq + pq + mp multiplications (p = m−k_u, q = n−k_v); there are mn + mp + nq numbers
    beside C, so that training with AdamW takes less memory than training W, 4mn, from k = 0.35 n on.

    Attributes
    ----------
    fold : bool
        Whether a pass of many vectors goes through W′ itself, put together once a pass, which then takes mn
        numbers until its gradient has been computed; see ``wonderland.backend.folding``. Not below float32 and
        not under autocast, where W′ would round C.
    """

    form = "held"
    fold = False

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
        if self.fold and self._exact(x) and folds(len(x), self.m, self.n, *self.C.shape):
            W = self._matrix(x.device, None).detach()
            return Folded.apply(x, self.C, self.bias, W, self.U_perp, self.V_perp)
        y = linear(x, self.P, self.bias)
        return torch.addmm(y, linear(x @ self.V_perp, self.C), self.U_perp.mT)

    def _exact(self, x: torch.Tensor) -> bool:
        return x.dtype == working(x.dtype) and not torch.is_autocast_enabled(x.device.type)

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


class Reflected(Constrained):
    """W′ = Q_U M Q_Vᵀ, with neither W nor U⊥, V⊥ held: for fewer protected directions than about half.

    Q_U and Q_V are products of k Householder reflectors in the compact form Q = I − Y T Yᵀ (R. Schreiber and
    C. Van Loan, "A storage-efficient WY representation for products of Householder transformations", SIAM J.
    Sci. Stat. Comput. 10, 1989); YT is kept as one factor. A vector costs pq + 2mk_u + 2nk_v + k_uk_v
    multiplications; there are 2mk_u + 2nk_v + k_uk_v numbers beside C.

    The blocks of M that join protected and free directions are zero, and left out, where the bases are
    singular vectors of W; for other bases they are frozen.
    """

    form = "reflected"

    def _hold(self, W: torch.Tensor, bases: Bases) -> None:
        Y_u, YT_u = reflectors(bases.U)
        Y_v, YT_v = reflectors(bases.V)
        M = W.to(Y_v.dtype)
        size = M.norm()
        M = torch.addmm(M, M @ YT_v, Y_v.mT, alpha=-1)
        M = torch.addmm(M, Y_u, YT_u.mT @ M, alpha=-1)
        corner, top, left, C = _blocks(M, self.k_u, self.k_v)
        nothing = NEGLIGIBLE * torch.finfo(M.dtype).eps * size
        parts = {"Y_u": Y_u, "YT_u": YT_u, "Y_v": Y_v, "YT_v": YT_v, "M_hh": corner}
        parts |= {"M_hf": top if top.norm() > nothing else None, "M_fh": left if left.norm() > nothing else None}
        for name, part in parts.items():
            self.register_buffer(name, None if part is None else part.to(W.dtype, copy=True).contiguous())
        self.C = nn.Parameter(C.to(W.dtype, copy=True).contiguous())

    def _matrix(self, device: torch.device, dtype: torch.dtype | None) -> torch.Tensor:
        Y_u, YT_u, Y_v, YT_v = (part.to(device, dtype) for part in (self.Y_u, self.YT_u, self.Y_v, self.YT_v))
        corner, C = self.M_hh.to(device, dtype), whole(self.C).to(device, dtype)
        top = C.new_zeros(self.k_u, C.shape[1]) if self.M_hf is None else self.M_hf.to(device, dtype)
        left = C.new_zeros(C.shape[0], self.k_v) if self.M_fh is None else self.M_fh.to(device, dtype)
        M = torch.cat([torch.cat([corner, top], 1), torch.cat([left, C], 1)])
        M = torch.addmm(M, M @ Y_v, YT_v.mT, alpha=-1)
        return torch.addmm(M, YT_u, Y_u.mT @ M, alpha=-1)

    def _apply_weight(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.addmm(x, x @ self.YT_v, self.Y_v.mT, alpha=-1)  # Q_Vᵀx
        protected, free = z.split([self.k_v, self.n - self.k_v], dim=1)
        top, rest = linear(protected, self.M_hh), linear(free, self.C)
        if self.M_hf is not None:
            top = top + linear(free, self.M_hf)
        if self.M_fh is not None:
            rest = rest + linear(protected, self.M_fh)
        z = torch.cat([top, rest], 1)
        y = torch.addmm(z, z @ self.Y_u, self.YT_u.mT, alpha=-1)  # Q_U z
        return y if self.bias is None else y + self.bias.to(y.dtype)  # which autocast may have lowered

    def _load_from_state_dict(self, state_dict: dict[str, torch.Tensor], prefix: str, *args: object) -> None:
        # What is negligible here may just not be where the state comes from.
        for name in ("M_hf", "M_fh"):
            part = state_dict.get(prefix + name)
            if part is None or getattr(self, name) is None:
                setattr(self, name, None if part is None else torch.empty_like(part, device=self._device))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def bases(self) -> Bases:
        """The first columns of Q_U and Q_V."""
        return Bases(*(columns(double(Y), double(YT)) for Y, YT in ((self.Y_u, self.YT_u), (self.Y_v, self.YT_v))))

    def kept(self, bases: Bases) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B, from the frozen blocks of M."""
        Y_u, YT_u, Y_v, YT_v, corner = map(double, (self.Y_u, self.YT_u, self.Y_v, self.YT_v, self.M_hh))
        top = corner.new_zeros(self.k_u, self.n - self.k_v) if self.M_hf is None else double(self.M_hf)
        left = corner.new_zeros(self.m - self.k_u, self.k_v) if self.M_fh is None else double(self.M_fh)
        A, B = torch.cat([corner, top], 1), torch.cat([corner, left])
        return A - (A @ Y_v) @ YT_v.mT, B - YT_u @ (Y_u.mT @ B)

    @torch.no_grad()
    def learn(self, W: torch.Tensor) -> None:
        """Take over the free block of W."""
        Y_u, YT_u, Y_v, YT_v = (_to(part, W) for part in (self.Y_u, self.YT_u, self.Y_v, self.YT_v))
        M = W - (W @ YT_v) @ Y_v.mT
        M = M - Y_u @ (YT_u.mT @ M)
        self.C.copy_(M[self.k_u :, self.k_v :])


FORMS = {form.form: form for form in (Held, Reflected, Dense)}


def cheapest(method: str, m: int, n: int, k_u: int, k_v: int) -> str:
    """Name of the form that a method takes for an m×n weight with k_u and k_v directions protected.

    "core" takes the form that multiplies less for a vector:

    - held: mn + nq + pq + mp, with p = m−k_u and q = n−k_v free directions;
    - reflected: pq + 2mk_u + 2nk_v + k_uk_v.

    For a square weight, n×n, these meet at k = 0.464 n, where held takes 3.2 n² numbers with AdamW (mn + mp +
    nq, and C four times: itself, gradient, two averages); full fine-tuning takes 4 n². Below, reflected takes
    4(n−k)² + 4nk + k², which is less than 4 n² as well.

    "auto" is "core": "dense" takes 4mn numbers and its bases, more than full fine-tuning for any k.
    """
    if method == "dense":
        return "dense"
    p, q = m - k_u, n - k_v
    held = m * n + n * q + p * q + m * p
    reflected = p * q + 2 * m * k_u + 2 * n * k_v + k_u * k_v
    return "held" if held < reflected else "reflected"


def _blocks(M: torch.Tensor, k_u: int, k_v: int) -> tuple[torch.Tensor, ...]:
    return M[:k_u, :k_v], M[:k_u, k_v:], M[k_u:, :k_v], M[k_u:, k_v:]


def _to(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to(like.device, like.dtype)
