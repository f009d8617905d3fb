"""What each method trains and holds for one layer: the rows of chapter 10's scales."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from wonderland.demos.amounts import exact, many
from wonderland.maths import counting

FIELDS = {
    "in_features": "Input features",
    "out_features": "Output features",
    "rank": "Rank",
    "block": "BOFT block size",
    "factors": "BOFT factors",
}
"""The calculator's fields, by the library's names of them."""


@dataclass(frozen=True)
class Count:
    """What one method trains and holds for the layer; `why` says what is wrong where it cannot be built.

    `frozen` says whether the weight itself is held beside what is trained, and `buffers` what else is.
    """

    method: str
    concept: str
    formula: str
    trained: int = 0
    buffers: int = 0
    frozen: bool = True
    why: str = ""


@dataclass(frozen=True)
class Layer:
    """A layer, and how the methods are set on it."""

    in_features: int
    out_features: int
    rank: int
    block: int
    keep: float
    boft_block: int
    boft_factors: int

    @property
    def k(self) -> int:
        """Directions OSFT protects: the share kept, to the nearest whole number."""
        return round(self.keep * self.least)

    @property
    def least(self) -> int:
        """How many singular directions the weight has."""
        return min(self.in_features, self.out_features)


def tale_counts(layer: Layer) -> dict[str, Count]:
    """The tutorial's three counts."""
    n, m, r = layer.in_features, layer.out_features, layer.rank
    return {
        "full": Count("full fine-tuning", "critical", "in·out", counting.full(n, m)),
        "lora": Count("LoRA", "lora", "rank·(in + out)", counting.lora(n, m, r)),
        "oft": Count("OFT", "original", "rank²", counting.rank_squared(r)),
    }


def real_counts(layer: Layer) -> dict[str, Count]:
    """What each method trains, and the numbers it holds beside its parameters."""
    n, m, r, k = layer.in_features, layer.out_features, layer.rank, layer.k
    b, blocks = counting.oft_block(n, layer.block), counting.oft_block(n, r)
    return {
        "full": Count("full fine-tuning", "critical", "in·out", counting.full(n, m), frozen=False),
        "lora": Count(f"LoRA, rank {r:,}", "lora", "rank·(in + out)", counting.lora(n, m, r)),
        "oft": Count(f"OFT, blocks of {b:,}", "original", "in·(b − 1)/2", counting.oft(n, m, block=layer.block)),
        "oft blocks": Count(
            f"OFT, {many(blocks, 'block')} of {n // blocks:,}",
            "original",
            "in·(b − 1)/2, b = in/rank",
            counting.oft(n, m, blocks=r),
        ),
        "oft shared": Count(
            f"OFT, one block of {b:,} shared",
            "original",
            "b·(b − 1)/2",
            counting.oft(n, m, block=layer.block, share=True),
        ),
        "boft": _boft(layer),
        "psoft": _psoft(layer),
        "factored": Count(
            f"OSFT factored, k = {k:,}",
            "safe",
            "(min(in, out) − k)·(in + out + 1)",
            counting.osft_factored(n, m, k),
            counting.buffers_osft_factored(n, m, k),
        ),
        "core": Count(
            f"OSFT as C, k = {k:,}",
            "safe",
            "(out − k)·(in − k)",
            counting.osft_core(n, m, k),
            counting.buffers_osft_core(n, m, k),
            frozen=False,
        ),
    }


def _boft(layer: Layer) -> Count:
    n, m, factors, b = layer.in_features, layer.out_features, layer.boft_factors, layer.boft_block
    method = f"BOFT, {many(factors, 'factor')}, blocks of {b:,}"
    try:
        free = counting.boft_free(n, m, factors, b)
        # Beside them peft holds every factor's permutation as a whole matrix, in×in.
        return Count(
            method,
            "original",
            f"factors·in·b + out, of which {exact(free)} turn",
            counting.boft(n, m, factors, b),
            factors * n**2,
        )
    except ValueError as error:  # the other methods do not mind
        return Count(method, "original", "factors·in·b + out", why=as_labelled(error))


def _psoft(layer: Layer) -> Count:
    n, m, r = layer.in_features, layer.out_features, layer.rank
    why = f"it needs a rank in 1…{layer.least:,}." if r > layer.least else ""
    formula = "rank·(rank − 1)/2 + 2·rank"
    return Count(f"PSOFT, rank {r:,}", "original", formula, counting.psoft(r), buffers=r * (n + m), why=why)


def as_labelled(error: ValueError) -> str:
    """What the library says, with the names that stand beside the fields."""
    text = str(error).replace("block·2^(factors−1)", "block size·2^(factors − 1)", 1)
    name, told, rest = text.partition(" = ")
    return f"{FIELDS.get(name, name)}{told}{rest}"


def smallest_k(count: Callable[[int, int, int], int], layer: Layer) -> int:
    """How many directions OSFT must protect before it trains a tenth of the layer, or less."""
    n, m = layer.in_features, layer.out_features
    return bisect_left(range(layer.least + 1), True, key=lambda k: 10 * count(n, m, k) <= counting.full(n, m))
