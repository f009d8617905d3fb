"""Benchmarks print tables; they never fail on a busy machine. Run them with ``pytest -m benchmark -s``."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ui.conftest import browser, new_reader, server

__all__ = ["browser", "new_reader", "server"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("benchmark")


@pytest.fixture
def table() -> Iterator[Callable[..., None]]:
    """Collect rows and print them as Markdown at the end."""
    rows: list[tuple[object, ...]] = []
    yield lambda *cells: rows.append(cells)
    head, *body = rows
    print("\n\n| " + " | ".join(map(str, head)) + " |")
    print("|" + "---|" * len(head))
    for cells in body:
        print("| " + " | ".join(f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |")
