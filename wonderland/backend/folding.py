"""A pass of many vectors through the held form: W′ = P + U⊥CV⊥ᵀ put together once, for fewer multiplications.

One vector after another costs mn + nq + pq + mp forward, as much for its own gradient, and pq for C's. With W′
at hand it is mn, mn and nq + mp + pq for C's: the gradient of C is (U⊥ᵀ∂y)(V⊥ᵀx)ᵀ, which needs no ∂W′.
"""

import torch
from torch.nn.functional import linear


def folds(tokens: int, m: int, n: int, p: int, q: int) -> bool:
    """Whether putting an m×n weight together saves more than it costs, in training with ``tokens`` vectors.

    p and q are the numbers of free outputs and inputs. For a square weight with half of its directions free it
    does from n/2 vectors on.
    """
    together = p * q * n + p * m * n if p < q else p * q * m + q * m * n
    return together < tokens * (n * q + 2 * p * q + m * p)


class Folded(torch.autograd.Function):
    """y = W′x for rows x (T×n) and the present W′ (m×n), with gradients by x, C (p×q) and the bias (m)."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: torch.Tensor,
        C: torch.Tensor,
        bias: torch.Tensor | None,
        W: torch.Tensor,
        U_perp: torch.Tensor,
        V_perp: torch.Tensor,
    ) -> torch.Tensor:
        """T×m. ``W`` is W′ without its history; U⊥ is m×p, V⊥ n×q."""
        # V⊥ᵀx instead of x: fewer numbers wait for the way back.
        ctx.save_for_backward(x @ V_perp, W, U_perp)
        return linear(x, W, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients by x, C and the bias, where asked for."""
        inner, W, U_perp = ctx.saved_tensors
        by_x, by_C, by_bias, *_ = ctx.needs_input_grad
        return (
            grad @ W if by_x else None,
            (grad @ U_perp).mT @ inner if by_C else None,
            grad.sum(0) if by_bias else None,
            None,
            None,
            None,
        )
