"""The how-to pages run as they stand."""

import re
from pathlib import Path

from wonderland.backend.methods import METHODS

DOCS = Path(__file__).parents[2] / "docs"


def test_adding_a_method(capsys):
    code = re.search(r"```python\n(.*?)```", (DOCS / "add-a-method.md").read_text(), re.DOTALL)[1]
    try:
        exec(compile(code, "add-a-method.md", "exec"), {"__name__": "howto"})
    finally:
        METHODS.pop("bitfit", None)
    lines = [line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2 * 3 * (1 + 3)  # methods, seeds; before, and at steps 0, 50 and 100
    # It has learned something of the second task, and less than full fine-tuning has.
    ends = {tuple(line[:2]): float(line[3].strip("()").split(", ")[1]) for line in lines if line[2] == "100"}
    starts = {tuple(line[:2]): float(line[3].strip("()").split(", ")[1]) for line in lines if line[2] == "0"}
    for seed in "012":
        assert starts["bitfit", seed] + 0.03 < ends["bitfit", seed] < ends["full", seed]
