"""Twenty visitors who each start a race, and what those who only read notice of it."""

import asyncio
import itertools
from collections.abc import Callable

import numpy as np

from tests.benchmarks.visitor import Visitor

CROWD = 20
READERS = 2
MOVES = 40
PAUSE = 0.15
LOADING = 15  # seconds in which the processes that train load torch


async def round_trips(readers: list[Visitor]) -> list[float]:
    """Milliseconds from a slider's value to the picture's data, for readers who take their time."""

    async def read(reader: Visitor, angles: itertools.count) -> list[float]:
        waits = []
        for _ in range(MOVES):
            waits.append(1000 * await reader.move("Angle in degrees", next(angles) % 180 + 1))
            await asyncio.sleep(PAUSE)
        return waits

    made = await asyncio.gather(*(read(reader, itertools.count(7 * n)) for n, reader in enumerate(readers)))
    return list(itertools.chain(*made))


async def visit(server: str) -> tuple[list[float], list[float]]:
    readers = [await Visitor.come(server, "?chapter=3") for _ in range(READERS)]
    await round_trips(readers[:1])  # what only the first answers of a server pay for
    crowd = [await Visitor.come(server, "?chapter=11") for _ in range(CROWD)]
    await asyncio.sleep(LOADING)
    idle = await round_trips(readers)
    for visitor in crowd:
        visitor.pictures = 0
        await visitor.press("Run the race")
    await asyncio.sleep(1)
    busy = await round_trips(readers)
    assert max(visitor.pictures for visitor in crowd) > 10, "no race has run"
    for visitor in [*readers, *crowd]:
        await visitor.leave()
    return idle, busy


def test_readers_beside_a_crowd(server: str, table: Callable[..., None]) -> None:
    """A control's round trip over loopback, nothing else asked of the server, and while races run and wait."""
    idle, busy = asyncio.run(visit(server))
    table("a control's round trip, ms", "median", "95th percentile", "largest")
    for what, waits in (("nobody races", idle), (f"{CROWD} have each started a race", busy)):
        table(what, float(np.median(waits)), float(np.percentile(waits, 95)), max(waits))
    ratios = (f"{np.percentile(busy, rank) / np.percentile(idle, rank):.2f}" for rank in (50, 95, 100))
    table("ratio (aim at the 95th percentile: 3)", *ratios)
