"""What each method trains of one linear layer: exact integers.

The layer's weight is out×in, no bias. Feature counts run from 1 to 10¹².
"""

from bisect import bisect_left
from functools import lru_cache
from math import isqrt

import numpy as np

from wonderland.maths._check import flag, integer, number

MAX_FEATURES = 10**12


def full(in_features: int, out_features: int) -> int:
    """Parameters of full fine-tuning: in·out.

    Raises
    ------
    TypeError, ValueError
        If a count is not an integer in 1…10¹².
    """
    m, n = _layer(in_features, out_features)
    return m * n


def lora(in_features: int, out_features: int, rank: int) -> int:
    """Parameters of LoRA (arXiv 2106.09685): rank·(in + out).

    Parameters
    ----------
    rank
        1…10¹². Beyond min(in, out) the numbers are trained all the same, but B·A has no rank beyond the matrix's own.

    Raises
    ------
    TypeError, ValueError
        If an argument is not an integer in range.
    """
    m, n = _layer(in_features, out_features)
    return integer(rank, "rank", 1, MAX_FEATURES) * (m + n)


def oft_block(in_features: int, block: int) -> int:
    """Block size OFT really uses: the divisor of `in_features` nearest to `block`.

    The smaller of two equally near; `in_features` itself if `block` is larger. peft 0.21.2 adjusts the number
    of blocks by the same rule.

    Parameters
    ----------
    in_features
        Input features, 1…10¹².
    block
        Size asked for, 1…10¹².

    Raises
    ------
    TypeError, ValueError
        If an argument is not an integer in range.
    """
    n = integer(in_features, "in_features", 1, MAX_FEATURES)
    block = integer(block, "block", 1, MAX_FEATURES)
    if n % block == 0 or block >= n:
        return min(block, n)
    divisors = _divisors(n)
    above = bisect_left(divisors, block)
    return min(divisors[above - 1 : above + 1], key=lambda divisor: abs(divisor - block))


def oft(
    in_features: int,
    out_features: int,
    block: int | None = None,
    blocks: int | None = None,
    share: bool = False,
) -> int:
    """Parameters of OFT (arXiv 2306.07280) as peft builds it: in(b − 1)/2, whatever the outputs.

    Each of the in/b blocks of the rotation is skew-symmetric b×b, b(b − 1)/2 numbers.

    Parameters
    ----------
    block
        Size b of a block; moved to the nearest divisor of in (`oft_block`).
    blocks
        Number of blocks, peft's `r`; moved likewise. More blocks are fewer parameters. Give this or `block`.
    share
        Use one block everywhere.

    Raises
    ------
    TypeError, ValueError
        If an argument is not an integer in range, or not just one of `block` and `blocks` is given.
    """
    _, n = _layer(in_features, out_features)
    share = flag(share, "share")
    if (block is None) == (blocks is None):
        raise ValueError(f"block = {block}, blocks = {blocks}: give one of the two, not both or neither.")
    asked = integer(blocks, "blocks", 1, MAX_FEATURES) if block is None else block
    nearest = oft_block(n, asked)
    b = n // nearest if block is None else nearest
    return (1 if share else n // b) * (b * (b - 1) // 2)


def boft(in_features: int, out_features: int, factors: int, block: int) -> int:
    """Parameters BOFT (arXiv 2311.06243) stores, as peft builds it: factors·in·block + out.

    Whole b×b blocks, of which only the skew part acts, and one scale per output.

    Parameters
    ----------
    factors
        Butterfly factors, 1 or more.
    block
        Block size b. in must be divisible by b·2^(factors−1), and b even if there are two factors or more.

    Raises
    ------
    TypeError, ValueError
        If an argument is not an integer in range, or in is not divisible so.
    """
    m, n, factors, block = _butterfly(in_features, out_features, factors, block)
    return factors * n * block + m


def boft_free(in_features: int, out_features: int, factors: int, block: int) -> int:
    """Numbers that steer BOFT's rotation: factors·in(block − 1)/2, the skew parts of its blocks.

    The scales of the outputs are not among them. Takes and raises what `boft` does.
    """
    _, n, factors, block = _butterfly(in_features, out_features, factors, block)
    return factors * (n // block) * (block * (block - 1) // 2)


def osft_factored(in_features: int, out_features: int, k: int) -> int:
    """Parameters of OSFT that trains U_low, S_low and V_low: (min − k)(in + out + 1).

    So peft's `OSFConfig` and mini_trainer do it.

    Parameters
    ----------
    k
        Directions protected, 0…min(in, out).

    Raises
    ------
    TypeError, ValueError
        If an argument is not an integer in range.
    """
    m, n, k = _protected(in_features, out_features, k)
    return (min(m, n) - k) * (m + n + 1)


def osft_core(in_features: int, out_features: int, k: int) -> int:
    """Parameters of OSFT that trains C, the free block U⊥ᵀWV⊥ of the weight itself: (out − k)(in − k).

    Takes and raises what `osft_factored` does.
    """
    m, n, k = _protected(in_features, out_features, k)
    return (m - k) * (n - k)


def psoft(rank: int) -> int:
    """Parameters of PSOFT, as peft builds it: rank(rank − 1)/2 of a rotation and two scales of rank each.

    Raises
    ------
    TypeError, ValueError
        If `rank` is not an integer in 1…10¹².
    """
    rank = integer(rank, "rank", 1, MAX_FEATURES)
    return rank * (rank - 1) // 2 + 2 * rank


def rank_squared(rank: int) -> int:
    """The tutorial's count for OFT: rank². Really that of LoRA-XS's free core (arXiv 2405.17604).

    Raises
    ------
    TypeError, ValueError
        If `rank` is not an integer in 1…10¹².
    """
    return integer(rank, "rank", 1, MAX_FEATURES) ** 2


def unfreeze_rank_ratio_to_k(min_dim: int, u: float) -> int:
    """Directions mini_trainer 0.9.0 protects at `unfreeze_rank_ratio` u: ⌊min(m, n)(1 − u)⌋, at most min − 1.

    In floating point, as there: u = 0.9 of 10 gives 0. (There, u = 1 silently means 0.5; here it is 0.)

    Parameters
    ----------
    min_dim
        min(m, n), 1…10¹².
    u
        Share to train, 0…1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a number in range.
    """
    min_dim = integer(min_dim, "min_dim", 1, MAX_FEATURES)
    return min(int(min_dim * (1.0 - number(u, "u", 0, 1))), min_dim - 1)


def buffers_osft_factored(in_features: int, out_features: int, k: int) -> int:
    """Numbers that peft 0.21.2's factored OSFT holds beside its parameters and the frozen W.

    The starting U_low, S_low and V_low, (min − k)(in + out + 1); and, if W is oblong, the protected basis of
    its longer side, k·max(in, out). W itself, in·out, is not counted: it is a frozen parameter.

    Takes and raises what `osft_factored` does.
    """
    m, n, k = _protected(in_features, out_features, k)
    return (min(m, n) - k) * (m + n + 1) + (k * max(m, n) if m != n else 0)


def core_form(in_features: int, out_features: int, k: int) -> tuple[str, int]:
    """The form in which ``wonderland.backend`` holds an OSFT layer, and the multiplications it takes for a token.

    "held" keeps P = W − U⊥C₀V⊥ᵀ and the bases U⊥ and V⊥; "rotated" keeps a rotation for each side (`core_rotation`)
    and the k×k block of the protected directions. It takes the one that multiplies less.

    Takes and raises what `osft_factored` does.
    """
    m, n, k = _protected(in_features, out_features, k)
    p, q = m - k, n - k
    held = m * n + n * q + p * q + m * p
    rotated = core_rotation(m, k)[1] + core_rotation(n, k)[1] + p * q + k**2
    return ("held", held) if held < rotated else ("rotated", rotated)


def core_rotation(size: int, k: int) -> tuple[str, int]:
    """How ``wonderland.backend`` holds a size×size rotation with k of its columns given, and what that multiplies.

    "reflectors": k Householder reflectors, two factors size×k. "cosine-sine": two blocks, k×k and (size−k)×(size−k),
    and angles between them.

    Raises
    ------
    TypeError, ValueError
        If size is not an integer in 1…10¹², or k not one in 0…size.
    """
    size = integer(size, "size", 1, MAX_FEATURES)
    k = integer(k, "k", 0, size)
    reflectors, blocks = 2 * size * k, k**2 + (size - k) ** 2
    return ("cosine-sine", blocks) if blocks < reflectors else ("reflectors", reflectors)


def buffers_osft_core(in_features: int, out_features: int, k: int) -> int:
    """Numbers that ``wonderland.backend`` holds beside C, in the form it takes; W is not among them, nor held at all.

    Takes and raises what `osft_factored` does.
    """
    m, n, k = _protected(in_features, out_features, k)
    if core_form(n, m, k)[0] == "held":
        return m * n + m * (m - k) + n * (n - k)
    rotations = 0
    for size in (m, n):
        kind, numbers = core_rotation(size, k)
        angles = 2 * min(k, size - k) if kind == "cosine-sine" else 0  # their cosines and sines
        rotations += numbers + angles
    return rotations + k**2


@lru_cache(maxsize=64)
def _divisors(n: int) -> list[int]:
    candidates = np.arange(1, isqrt(n) + 1)
    small = candidates[n % candidates == 0].tolist()
    return sorted({*small, *(n // divisor for divisor in small)})


def _layer(in_features: object, out_features: object) -> tuple[int, int]:
    """(m, n) = (out, in), checked."""
    n = integer(in_features, "in_features", 1, MAX_FEATURES)
    return integer(out_features, "out_features", 1, MAX_FEATURES), n


def _protected(in_features: object, out_features: object, k: object) -> tuple[int, int, int]:
    m, n = _layer(in_features, out_features)
    return m, n, integer(k, "k", 0, min(m, n), f"a {m}×{n} matrix has {min(m, n)} singular values")


def _butterfly(in_features: object, out_features: object, factors: object, block: object) -> tuple[int, int, int, int]:
    m, n = _layer(in_features, out_features)
    factors = integer(factors, "factors", 1, n.bit_length(), "each factor after the first doubles the span")
    block = integer(block, "block", 1, n, f"the layer has {n} input features")
    span = block * 2 ** (factors - 1)
    if n % span:
        raise ValueError(
            f"in_features = {n} is not divisible by block·2^(factors−1) = {span}: give another block or fewer factors."
        )
    if factors > 1 and block % 2:
        raise ValueError(f"block = {block} is odd: with {factors} factors give an even one.")
    return m, n, factors, block
