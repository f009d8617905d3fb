"""What each method holds of one linear layer and adds to a step of training: numbers, before a type is chosen.

The weight is m×n = out×in, y = Wx. peft's methods are counted as peft 0.21.2 builds and computes them, mini_trainer's
as 0.9.0 does, and OSFT as ``wonderland.backend`` does.
"""

from collections.abc import Callable
from dataclasses import dataclass

from wonderland.maths import counting
from wonderland.maths._check import integer, number


@dataclass(frozen=True)
class Setting:
    """How much each method may learn.

    Parameters
    ----------
    rank
        Of LoRA.
    block
        Size of OFT's blocks; or, if `by_count`, their number.
    boft_block, boft_factors
        Size of BOFT's blocks, and number of its butterfly factors.
    psoft_rank
        Of PSOFT.
    keep
        Share of the singular directions that OSFT protects, 0…1.
    by_count
        Whether OFT is set by the number of its blocks, peft's ``r``.
    """

    rank: int = 16
    block: int = 32
    boft_block: int = 8
    boft_factors: int = 1
    psoft_rank: int = 16
    keep: float = 0.5
    by_count: bool = False


@dataclass(frozen=True)
class Holding:
    """One layer under one method.

    Parameters
    ----------
    trained
        Numbers with a gradient.
    frozen
        The weight's own numbers where they are parameters without one.
    buffers
        Numbers held beside the parameters, such as bases.
    indices
        Whole numbers of 8 bytes held beside them.
    adapter
        Whether what is trained, and its buffers, stand beside the weight: peft keeps those in float32 whatever the
        weight's own type.
    reads
        Whether the layer's input is kept for the backward pass.
    kept
        Further numbers kept for it, a token.
    once
        And further numbers kept for it, however many tokens.
    forward, backward
        Multiplications a token. The backward pass includes the gradient of the input.
    rebuilt
        Multiplications a step, forward and backward, however many tokens.
    setup
        Floating-point operations once, at the start.
    raises
        Whether an adapter computes in float32, too, and so keeps its input in that type.
    copied
        Numbers that are kept besides, once, where the weight's type is not float32.
    saved
        Numbers written beside what is trained, so that it can be put on the weight again.
    """

    trained: int
    frozen: int = 0
    buffers: int = 0
    indices: int = 0
    adapter: bool = True
    reads: bool = True
    kept: int = 0
    once: int = 0
    forward: int = 0
    backward: int = 0
    rebuilt: int = 0
    setup: int = 0
    raises: bool = True
    copied: int = 0
    saved: int = 0


def full(n: int, m: int, _: Setting) -> Holding:
    """Every number of the weight trained."""
    return Holding(counting.full(n, m), adapter=False, forward=n * m, backward=2 * n * m)


def lora(n: int, m: int, setting: Setting) -> Holding:
    """Y = Wx + BAx."""
    thin = counting.lora(n, m, setting.rank)
    return Holding(thin, n * m, kept=setting.rank, forward=n * m + thin, backward=n * m + 2 * thin)


def oft(n: int, m: int, setting: Setting) -> Holding:
    """Y = WRx: the input is turned block by block; R is a series of five terms, built anew at every step."""
    b = counting.oft_block(n, setting.block)
    b = n // b if setting.by_count else b
    return Holding(
        counting.oft(n, m, **{"blocks" if setting.by_count else "block": setting.block}),
        n * m,
        indices=b * (b - 1),  # rows and columns of what stands above the diagonal
        once=4 * n * b,
        forward=n * m + n * b,
        backward=n * m + 2 * n * b,
        rebuilt=9 * n * b**2,
    )


def boft(n: int, m: int, setting: Setting) -> Holding:
    """Y = s·WRx, with R built in full, n×n, at every step; a permutation of each factor is held as such a matrix."""
    factors, b = setting.boft_factors, setting.boft_block
    trained = counting.boft(n, m, factors, b)
    return Holding(
        trained,
        n * m,
        buffers=factors * n**2,
        kept=m,
        once=(2 + (2 * factors - 1 if factors > 1 else 0)) * n**2 + 3 * factors * n * b + 2 * m,
        forward=n * m + n**2,
        backward=n * m + 2 * n**2,
        # Two products with each permutation, one factor with the next, and all with the identity.
        rebuilt=(4 * factors + 3 * (factors - 1) + 2) * n**3 + factors * n * b**2,
        raises=False,
        copied=factors * n**2,
    )


def psoft(n: int, m: int, setting: Setting) -> Holding:
    """Y = Wx + B(R − I)Ax with R orthogonal, rank×rank; A and B come from a full decomposition of W.

    Raises
    ------
    ValueError
        If the rank is above that of the weight.
    """
    r = integer(setting.psoft_rank, "psoft_rank", 1, min(m, n), f"a {m}×{n} matrix has rank {min(m, n)} at most")
    ends = r * (n + m)
    return Holding(
        counting.psoft(r),
        n * m,
        buffers=ends,
        indices=r * (r - 1),
        reads=False,
        kept=r,
        once=5 * r**2,
        forward=n * m + ends + r**2,
        backward=n * m + ends + 2 * r**2,
        setup=svd(n, m),
    )


def osft_peft(n: int, m: int, setting: Setting) -> Holding:
    """OSFT as peft's ``OSFConfig`` holds it: W, and beside it the free factors twice, as they were and as they are.

    Raises
    ------
    ValueError
        If no direction is protected: peft refuses that.
    """
    least = min(m, n)
    keep = number(setting.keep, "keep", 0, 1)
    k = int(least * keep)
    if k < 1:
        raise ValueError(f"keep = {keep:g} protects none of {least:,} directions: peft asks for one or more.")
    free = least - k
    ends = free * (n + m)
    # Its hooks project the gradients of both factors by k·max or, of the square one, free·least directions.
    projected = 2 * free**2 * least + 2 * (k * free * max(n, m) if n != m else free**2 * least)
    return Holding(
        counting.osft_factored(n, m, k),
        n * m,
        buffers=counting.buffers_osft_factored(n, m, k),
        kept=2 * free,
        once=2 * ends,
        forward=n * m + 2 * ends,
        backward=n * m + 4 * ends,
        rebuilt=projected,
        setup=svd(n, m),
    )


def unfreeze_ratio(keep: float) -> float:
    """What mini_trainer is given for a share kept: 1 − keep, as it is written and read again.

    The difference itself has a long tail of digits, and would part 0.93 from 1 − 0.07 by a direction.

    Raises
    ------
    TypeError, ValueError
        If `keep` is not a number in 0…1.
    """
    return round(1 - number(keep, "keep", 0, 1), 12)


def osft_mini_trainer(n: int, m: int, setting: Setting) -> Holding:
    """OSFT as mini_trainer holds it: all factors of W, the protected ones as buffers, and no W."""
    least = min(m, n)
    k = counting.unfreeze_rank_ratio_to_k(least, unfreeze_ratio(setting.keep))
    free = least - k
    return Holding(
        counting.osft_factored(n, m, k),
        buffers=k * (n + m + 1),
        adapter=False,
        kept=2 * free,
        forward=least * (n + m),
        backward=(least + free) * (n + m),
        # Gradients before the step, and the factors after it.
        rebuilt=4 * k * free * (n + m),
        setup=svd(n, m),
    )


def osft_core(n: int, m: int, setting: Setting) -> Holding:
    """OSFT as ``wonderland.backend.osft`` holds it: the free block C of the weight itself, in its cheapest form.

    Raises
    ------
    ValueError
        If the weight has one singular direction only.
    """
    k = kept_rank(min(m, n), setting.keep)
    form, multiplied = counting.core_form(n, m, k)
    trained = counting.osft_core(n, m, k)
    return Holding(
        trained,
        buffers=counting.buffers_osft_core(n, m, k),
        adapter=False,
        reads=False,
        # The free coordinates of a token; reflectors give them and the protected ones in one piece.
        kept=n if form == "rotated" and counting.core_rotation(n, k)[0] == "reflectors" else n - k,
        forward=multiplied,
        backward=multiplied + trained,
        setup=gram(n, m) + (sum(turned(size, k) for size in (n, m)) if form == "rotated" else 0),
        saved=k * (m + n - 2 * k),
    )


def kept_rank(least: int, keep: float) -> int:
    """How many of a weight's directions the engine protects: keep·least, to the nearest, 1…least − 1.

    Raises
    ------
    ValueError
        If there are fewer than two directions, or keep is outside 0…1.
    """
    keep = number(keep, "keep", 0, 1)
    if least < 2:
        raise ValueError("a weight of one singular direction has none to keep and one to free.")
    return min(max(round(keep * least), 1), least - 1)


def svd(n: int, m: int) -> int:
    """Operations of a thin singular value decomposition of an m×n matrix: 6·long·short² + 20·short³.

    G. Golub and C. Van Loan, *Matrix Computations*, the R-SVD with both sets of vectors.
    """
    short, long = sorted((n, m))
    return 6 * long * short**2 + 20 * short**3


def gram(n: int, m: int) -> int:
    """Operations of a decomposition by the Gram matrix: 4·long·short² for it and the other side, 9·short³ for eigh."""
    short, long = sorted((n, m))
    return 4 * long * short**2 + 9 * short**3


def turned(size: int, k: int) -> int:
    """Operations of finding a rotation of the core by cosines and sines: 6·size·k² + 14·k³ + 3·(size − k)²·k.

    QR of the basis, eigenvectors of a k×k Gram matrix, and QR of both halves. None for one by reflectors, which costs
    little beside the decomposition.
    """
    if counting.core_rotation(size, k)[0] == "reflectors":
        return 0
    return 6 * size * k**2 + 14 * k**3 + 3 * (size - k) ** 2 * k


METHODS: dict[str, Callable[[int, int, Setting], Holding]] = {
    "full": full,
    "lora": lora,
    "oft": oft,
    "boft": boft,
    "psoft": psoft,
    "osft-peft": osft_peft,
    "osft-mini": osft_mini_trainer,
    "osft-core": osft_core,
}
"""The methods by name."""
CONV1D = ("full", "lora", "osft-core")
"""Those of them that can act on transformers' ``Conv1D``."""
