"""The peak of a real step beside the one that chapter 10 foretells."""

from collections.abc import Callable

from tests.benchmarks.peak import CASES, measured, said


def test_peak_of_a_step(table: Callable[..., None]) -> None:
    """Bytes resident at the peak of a step on the CPU, MiB; `python -m tests.benchmarks.peak` records them."""
    table("model", "method", "type", "checkpointing", "foretold", "measured", "off by")
    for case in CASES:
        name, method, run = case
        foretold, found = said(*case) / 2**20, measured(*case) / 2**20
        off = f"{foretold / found - 1:+.1%}"
        table(name, method, run.dtype, run.checkpointing, foretold, found, off)
