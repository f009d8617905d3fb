"""How many directions of each layer to protect, chosen by what its spectrum says, for the engine to take.

Three rules look at the weights alone. The paper's own (arXiv 2504.07097) does not: a layer's importance is the mean
cosine of its inputs and its outputs, which a file of weights cannot tell. With the model and some of its data
``wonderland.backend.osft.adaptive_keep`` measures it, and the rule "importance" takes what that returns.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

import numpy as np

from wonderland.backend.headers import plain
from wonderland.backend.tensors import Spectrum
from wonderland.maths import counting
from wonderland.maths._check import choice, integer, number

RULES = {
    "energy": "the fewest directions that hold a share of ‖W‖²",
    "number": "the same number in every layer",
    "effective-rank": "more where more directions pull: a stand-in for importance, from the weights alone",
    "importance": "shares measured on the model and its data by adaptive_keep",
}
# The least and the mean share that the adaptive rule retains, as the paper sets them.
LEAST, MEAN = 0.1, 0.8
# The nearest that a rule's fraction comes to 0 and 1: one direction kept, one left free.
NEAREST = 1e-6
LARGEST_SHARES = 10_000_000
"""Characters of JSON that are read."""
AMOUNTS = {"energy": 0.9, "number": 16, "effective-rank": MEAN}
# A table of vectors by word or place is no layer that multiplies.
EMBEDDINGS = ("embed", "wte", "wpe")


@dataclass(frozen=True)
class Planned:
    """What is protected of one m×n layer: k directions, and the share of ``energy`` they hold.

    ``protected`` and ``free`` count numbers: of the mn dimensions (m−k)(n−k) are trained. ``target`` is the layer's
    name for the engine, or nothing where the tensor is no weight of a layer that it constrains.
    """

    name: str
    target: str
    m: int
    n: int
    k: int
    energy: float
    protected: int
    free: int


@dataclass(frozen=True)
class Plan:
    """A rule, how it was set, and what it protects of every layer."""

    rule: str
    amount: float | None
    layers: tuple[Planned, ...]

    @property
    def keep(self) -> dict[str, int]:
        """What ``wonderland.backend.osft.constrain`` takes as its ``keep``."""
        return {layer.target: layer.k for layer in self.layers if layer.target}

    def as_table(self) -> dict[str, object]:
        """All of it in plain types, as JSON has them."""
        return {
            "rule": self.rule,
            "amount": self.amount,
            "keep": self.keep,
            "layers": [asdict(layer) for layer in self.layers],
        }


def planned(
    spectra: Sequence[Spectrum],
    rule: str = "energy",
    amount: float | None = None,
    shares: Mapping[str, float] | None = None,
) -> Plan:
    """Choose k for each layer.

    Parameters
    ----------
    spectra
        The layers.
    rule
        One of ``RULES``. For "effective-rank" the formula is the paper's, r = LEAST + I·(amount − LEAST) of the
        directions, with I not the measured importance but the layer's effective rank over its order, divided by the
        mean of that over all layers.
    amount
        Of "energy", the share of ‖W‖² to hold, 0 to 1; of "number", how many directions, 1 or more; of
        "effective-rank", the mean share of directions, `LEAST` to 1. By default as in ``AMOUNTS``.
    shares
        Of "importance", the share of directions by layer; layers that it does not name are left out.

    Returns
    -------
    Plan
        Every k leaves at least one direction protected and one free.

    Raises
    ------
    TypeError, ValueError
        If the rule is unknown, its amount outside the range, or a share not strictly between 0 and 1 or of a layer
        that is not there.
    """
    choice(rule, "rule", tuple(RULES))
    rows = list(spectra)
    if rule == "importance":
        amount, wanted = None, _by_importance(rows, shares)
    else:
        amount = AMOUNTS[rule] if amount is None else amount
        amount, wanted = {"energy": _by_energy, "number": _by_number, "effective-rank": _by_rank}[rule](rows, amount)
    layers = []
    for row, k in zip(rows, wanted, strict=True):
        if k is not None:
            k = min(max(k, 1), len(row.sigma) - 1)
            free = counting.osft_core(row.n, row.m, k)
            energy = float(row.energy[k])
            layers.append(Planned(row.name, target(row), row.m, row.n, k, energy, row.m * row.n - free, free))
    return Plan(rule, amount, tuple(layers))


def retained(similarity: Mapping[str, float], mrr: float = LEAST, trr: float = MEAN) -> dict[str, float]:
    """The share of its directions that each layer keeps by the paper's rule, r = mrr + I·(trr − mrr).

    Parameters
    ----------
    similarity
        How alike a layer's inputs and outputs are, by layer. I is this, divided by the mean over layers.
    mrr, trr
        Least and mean share, 0 ≤ mrr ≤ trr ≤ 1.

    Returns
    -------
    dict of str to float
        At least mrr; strictly between 0 and 1, so that of every layer something is kept, and something free.

    Raises
    ------
    ValueError
        If the mean is not above 0.
    """
    mean = sum(similarity.values()) / max(len(similarity), 1)
    if not mean > 0:
        raise ValueError(f"the mean cosine of inputs and outputs is {mean:g}: importance needs one above 0.")
    ratios = {name: max(mrr, mrr + each / mean * (trr - mrr)) for name, each in similarity.items()}
    return {name: min(max(ratio, NEAREST), 1 - NEAREST) for name, ratio in ratios.items()}


def read_shares(text: str, known: Iterable[str] | None = None) -> dict[str, float]:
    """Shares of directions by layer, from JSON as ``adaptive_keep`` returns them.

    Parameters
    ----------
    text
        Of 10,000,000 characters at most.
    known
        The layers that may be named; by default any.

    Raises
    ------
    ValueError
        If it is too long, no such JSON, or a share or a layer is none.
    """
    if len(text) > LARGEST_SHARES:
        raise ValueError(f"it has {len(text):,} characters: at most {LARGEST_SHARES:,} are read.")
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}.") from None
    if not isinstance(table, dict) or not table:
        raise ValueError("it is no table from layers to shares, as adaptive_keep returns it.")
    try:
        _check_shares(table, table if known is None else known)
    except TypeError as error:
        raise ValueError(str(error)) from None
    return table


def target(row: Spectrum) -> str:
    """The layer that a tensor is the weight of; see `layer_of`."""
    return layer_of(row.name, row.shape)


def layer_of(tensor: str, shape: Sequence[int]) -> str:
    """The layer that a tensor is the weight of, as the engine names it; nothing where that cannot be one."""
    layer, _, last = tensor.rpartition(".")
    return "" if last != "weight" or len(shape) not in (2, 4) or any(word in layer for word in EMBEDDINGS) else layer


def _by_energy(rows: list[Spectrum], amount: float) -> tuple[float, list[int]]:
    share = number(amount, "energy", 0, 1, "it is the share of ‖W‖² to hold")
    return share, [int(np.searchsorted(row.energy, share - 1e-12)) for row in rows]


def _by_number(rows: list[Spectrum], amount: float) -> tuple[int, list[int]]:
    if isinstance(amount, float) and amount.is_integer():
        amount = int(amount)
    k = integer(amount, "number", 1)
    return k, [k] * len(rows)


def _by_rank(rows: list[Spectrum], amount: float) -> tuple[float, list[int]]:
    share = number(amount, "effective-rank", LEAST, 1, "it is the mean share of directions to protect")
    pulling = [row.effective_rank / len(row.sigma) for row in rows]
    mean = sum(pulling) / max(len(pulling), 1)
    ratios = [LEAST + each / mean * (share - LEAST) for each in pulling]
    return share, [round(ratio * len(row.sigma)) for ratio, row in zip(ratios, rows, strict=True)]


def _by_importance(rows: list[Spectrum], shares: Mapping[str, float] | None) -> list[int | None]:
    if not shares:
        raise ValueError(
            "rule = 'importance' needs the share of each layer: a file of weights has neither inputs nor outputs. "
            "Give what adaptive_keep(model, batches) returns, or choose another rule."
        )
    _check_shares(shares, filter(None, map(target, rows)))
    return [round(shares[target(row)] * len(row.sigma)) if target(row) in shares else None for row in rows]


def _check_shares(shares: Mapping[str, float], known: Iterable[str]) -> None:
    known = dict.fromkeys(known)
    for name, share in shares.items():
        if name not in known:
            some = ", ".join(repr(plain(each, 60)) for each in islice(known, 3))
            first = f"the first are {some}" if known else "it has none that can be constrained"
            raise ValueError(f"shares name {plain(name, 60)!r}, which is no layer of this checkpoint: {first}.")
        if not 0 < number(share, f"share of {plain(name, 60)!r}", 0, 1) < 1:
            raise ValueError(
                f"share of {plain(name, 60)!r} = {share:g} protects all or nothing: give one between 0 and 1."
            )
