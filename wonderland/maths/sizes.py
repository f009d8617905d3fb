"""The sizes that a configuration gives, checked."""

from collections.abc import Mapping
from typing import Any

from wonderland.maths._check import integer, shown
from wonderland.maths.models import Body, Linear

MAX_SIZE = 10**9
MAX_BLOCKS = 10_000

Made = tuple[int, tuple[Linear, ...], Body]
"""All parameters of a model, its linear layers, and what it computes besides."""


class Sizes:
    """The checked sizes of a configuration.

    Parameters
    ----------
    config
        The object that config.json holds.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def __call__(self, key: str, default: int | None = None, high: int = MAX_SIZE) -> int:
        """A size of 1…high; the default where the key is missing or null."""
        value = self._config.get(key)
        if value is None:
            if default is None:
                raise ValueError(f"config.json has no {key}, which this architecture needs.")
            return default
        try:
            return integer(value, key, 1, high)
        except TypeError as error:
            raise ValueError(str(error)) from None

    def blocks(self, key: str, default: int | None = None) -> int:
        """A number of blocks."""
        return self(key, default, MAX_BLOCKS)

    def usual(self) -> tuple[int, int, int, int]:
        """Width, width of the units, blocks and heads, by their usual names."""
        layers = self.blocks("num_hidden_layers")
        return self("hidden_size"), self("intermediate_size"), layers, self("num_attention_heads")

    def over(self, defaults: Mapping[str, int]) -> "Sizes":
        """These sizes, and the defaults where one is missing."""
        return Sizes({**defaults, **self._config})

    def has(self, key: str, default: bool) -> bool:
        """Whether there is a value; the default where the key is missing."""
        return self._config[key] is not None if key in self._config else default

    def says(self, key: str, default: bool) -> bool:
        """A switch."""
        value = self._config.get(key, default)
        if not isinstance(value, bool):
            raise ValueError(f"{key} = {shown(value)} is not a switch: give true or false.")
        return value

    def text(self, key: str, default: str) -> str:
        """A text."""
        return str(self._config.get(key, default))

    def share(self, whole: str, parts: str) -> int:
        """One size divided by another, which must divide it."""
        n, count = self(whole), self(parts)
        if n % count:
            raise ValueError(f"{whole} = {n:,} is not divisible by {parts} = {count:,}.")
        return n // count


def weights(linears: tuple[Linear, ...]) -> int:
    """Numbers in the weights of linear layers."""
    return sum(linear.count * linear.in_features * linear.out_features for linear in linears)
