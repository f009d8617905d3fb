"""The examples of docs/ run, and show what they say."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_a_llama_learns_two_tasks_in_sequence(capsys) -> None:
    compare = runpy.run_path(str(DOCS / "examples" / "llama_two_tasks.py"))["compare"]
    found = compare()
    before, full = found["before"], found["full fine-tuning"]
    ours = [found["OSFT, its own directions"], found["OSFT, activations"]]
    assert before[0] > 0.95 > 0.2 > before[1]
    assert min(second for _, second in (full, *ours)) > 0.9
    assert min(first for first, _ in ours) > full[0] + 0.1  # forgotten less, not nothing
    leak = float(capsys.readouterr().out.split(":")[-1])
    assert leak < 1e-4
