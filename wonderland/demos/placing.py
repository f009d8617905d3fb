"""Where the labels of a picture stand, and its ticks."""

from collections.abc import Sequence

import numpy as np


def apart(values: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Heights for labels of these values: at least `gap` apart, within low…high, and else as near as can be.

    The least squares of the moves, by pooling neighbors that would overlap.
    """
    order = np.argsort(values, kind="stable")
    step = gap * np.arange(len(order))
    pools: list[list[float]] = []
    for height in np.asarray(values, dtype=float)[order] - step:
        pools.append([height, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (above, n), (below, m) = pools.pop(), pools.pop()
            pools.append([(above * n + below * m) / (n + m), n + m])
    placed = np.empty(len(order))
    heights = [height for height, count in pools for _ in range(count)]
    placed[order] = np.clip(heights, low, high - gap * max(len(order) - 1, 0)) + step
    return placed


def round_ticks(last: float, most: int = 6) -> list[int]:
    """Round whole numbers from 0 to at most `last`, no more than `most` of them, evenly spaced."""
    steps = (digit * 10**power for power in range(16) for digit in (1, 2, 5))
    step = next(step for step in steps if last < step * most)
    return list(range(0, int(last) + 1, step))
