"""Linear layers as full fine-tuning, LoRA and OFT train them; see `wonderland.backend.adapters`.

W is m×n = out×in, y = Wx + bias; each layer begins with the outputs of the one that it stands in for.
"""

import math

import torch
from torch import nn
from torch.nn.functional import linear as apply_linear

from wonderland.backend.plain import StandIn, working
from wonderland.maths._check import choice, integer, number
from wonderland.maths.counting import oft_block

CAYLEY = ("exact", "series")
LARGEST_ALPHA = 1e6


class Adapter(StandIn):
    """A linear layer of which only what the method adds is trained.

    W (m×n) and the bias are buffers, so that no optimizer sees them; W shares its memory with ``linear``.

    Parameters
    ----------
    linear
        The layer to stand in for.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.out_features, self.in_features = linear.weight.shape
        self._hold(linear)
        self.train(linear.training)

    def _hold(self, linear: nn.Linear) -> None:
        self.register_buffer("W", linear.weight.detach())
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    @property
    def weight(self) -> torch.Tensor:
        """W′, m×n: the weight the layer acts with now; gradients flow through it."""
        raise NotImplementedError

    @torch.no_grad()
    def plain(self) -> nn.Linear:
        """A plain layer with W′ and the bias, both trainable."""
        # On "meta" the usual start is not drawn, and the process's random numbers are left alone.
        plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        plain.weight = nn.Parameter(self.weight.detach().clone())
        if self.bias is not None:
            plain.bias = nn.Parameter(self.bias.detach().clone())
        return plain.train(self.training)

    def extra_repr(self) -> str:
        """Sizes, as they stand in the printed model."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Full(Adapter):
    """A linear layer trained as it is: its own weight and bias, ties to other modules included."""

    def _hold(self, linear: nn.Linear) -> None:
        self.W, self.bias = linear.weight, linear.bias

    @property
    def weight(self) -> torch.Tensor:
        """The weight, m×n."""
        return self.W

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Apply the layer to vectors (…×n); gives …×m."""
        return apply_linear(input, self.W, self.bias)

    def plain(self) -> nn.Linear:
        """A plain layer with the very same weight and bias, so that ties last."""
        plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        plain.weight, plain.bias = self.W, self.bias
        return plain.train(self.training)


class LoRA(Adapter):
    """W′ = W + (alpha/r) B A with A (r×n) and B (m×r) trained (arXiv 2106.09685).

    Parameters
    ----------
    linear
        The layer to stand in for.
    rank
        r, 1 to min(m, n): beyond that, B A has no rank to gain.
    alpha
        Scale of the update, times r; 2r by default.
    generator
        Draws A as peft does, uniform in ±1/√n (Kaiming, a = √5). B is zero.

    Raises
    ------
    TypeError, ValueError
        If the rank or alpha is not a number in its range.
    """

    def __init__(
        self, linear: nn.Linear, rank: int, alpha: float | None = None, generator: torch.Generator | None = None
    ):
        super().__init__(linear)
        m, n = linear.weight.shape
        rank = integer(rank, "rank", 1, min(m, n), f"a {m}×{n} matrix has rank {min(m, n)} at most")
        alpha = 2 * rank if alpha is None else number(alpha, "alpha", 0, LARGEST_ALPHA)
        if alpha == 0:
            raise ValueError("alpha = 0 leaves nothing to learn: give a positive number.")
        self.scale = alpha / rank
        # Drawn on the CPU, so that a seed means the same on every device.
        A = nn.init.kaiming_uniform_(
            torch.empty(rank, n, dtype=working(self.W.dtype)), math.sqrt(5), generator=generator
        )
        self.A = nn.Parameter(A.to(self.W))
        self.B = nn.Parameter(self.W.new_zeros(m, rank))

    @property
    def weight(self) -> torch.Tensor:
        """W′, m×n."""
        return self.W + self.scale * self.B @ self.A

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Apply the layer to vectors (…×n); gives …×m."""
        return apply_linear(input, self.W, self.bias) + self.scale * apply_linear(apply_linear(input, self.A), self.B)

    def extra_repr(self) -> str:
        """Sizes, as they stand in the printed model."""
        return f"{super().extra_repr()}, rank={len(self.A)}, scale={self.scale:g}"


class OFT(Adapter):
    """W′ = W R, where R (n×n) is block diagonal, each b×b block the Cayley transform of a skew Q (arXiv 2306.07280).

    y = W(Rx) + bias. "exact": R = (I + Q)(I − Q)⁻¹, a rotation, which keeps every angle between neurons.
    "series": its first terms I + 2Q + 2Q² + 2Q³ + Q⁴, peft's default, whose singular values are |1 − θ⁴| for
    an eigenvalue iθ of Q: nearly a rotation while Q is small, and none when it is not.

    Parameters
    ----------
    linear
        The layer to stand in for.
    block
        b; moved to the divisor of n nearest to it (`wonderland.maths.counting.oft_block`), as peft moves it.
    cayley
        One of ``CAYLEY``.

    Attributes
    ----------
    skew : torch.nn.Parameter
        The part of each Q above its diagonal, row by row, (n/b)×b(b−1)/2; zero at the start. peft's exact layer
        with the same numbers is the same; its series layer is, with the numbers negated: it applies Rᵀ.

    Raises
    ------
    TypeError, ValueError
        If the block is not a whole number of 1 or more, b comes to 1, or the transform is unknown.
    """

    def __init__(self, linear: nn.Linear, block: int, cayley: str = "exact"):
        super().__init__(linear)
        self.cayley = choice(cayley, "cayley", CAYLEY)
        n = self.in_features
        self.block = oft_block(n, block)
        if self.block == 1:
            raise ValueError(
                f"block = {block} comes to 1, the nearest divisor of in = {n}: a 1×1 rotation has nothing to learn. "
                "Give a larger block, or leave the layer out of targets."
            )
        upper = torch.triu_indices(self.block, self.block, 1, device=self.W.device)
        self.register_buffer("_upper", upper[0] * self.block + upper[1], persistent=False)
        self.skew = nn.Parameter(self.W.new_zeros(n // self.block, upper.shape[1]))

    @property
    def R(self) -> torch.Tensor:
        """The blocks of R, (n/b)×b×b, in float32 at least."""
        skew, b = self.skew.to(working(self.skew.dtype)), self.block
        # Half types would leave R some 1e-2 from a rotation.
        with torch.autocast(skew.device.type, enabled=False):
            above = skew.new_zeros(len(skew), b * b).index_copy(1, self._upper, skew).view(-1, b, b)
            Q, eye = above - above.mT, torch.eye(b, dtype=skew.dtype, device=skew.device)
            if self.cayley == "exact":
                # (I + Q)(I − Q)⁻¹ = (2I − (I − Q))(I − Q)⁻¹: the inverse alone, which is never longer than 1.
                return 2 * torch.linalg.inv(eye - Q) - eye
            squared = Q @ Q
            return eye + 2 * Q + squared @ (2 * eye + 2 * Q + squared)

    @property
    def weight(self) -> torch.Tensor:
        """W′, m×n."""
        R = self.R
        with torch.autocast(R.device.type, enabled=False):
            return self._rotate(self.W.to(R), R.mT).to(self.W)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Apply the layer to vectors (…×n); gives …×m."""
        return apply_linear(self._rotate(input, self.R.to(input)), self.W, self.bias)

    def extra_repr(self) -> str:
        """Sizes, as they stand in the printed model."""
        return f"{super().extra_repr()}, block={self.block}, cayley={self.cayley}"

    def _rotate(self, x: torch.Tensor, R: torch.Tensor) -> torch.Tensor:
        """Rx of every row of x (…×n)."""
        rows = x.reshape(-1, len(R), self.block).transpose(0, 1)
        return (rows @ R.mT).transpose(0, 1).reshape(x.shape)
