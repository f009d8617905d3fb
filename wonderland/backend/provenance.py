"""How recorded data says where it comes from, and how it is written: to be read, and compared line by line."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import torch

from wonderland import __version__


def origin() -> dict[str, object]:
    """The day, and the versions of all that computes."""
    return {
        "recorded": datetime.now(UTC).date().isoformat(),
        "versions": {
            "wonderland": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }


def written(head: Mapping[str, object], name: str, rows: object) -> str:
    """JSON with a line for each entry of ``head`` and each of ``rows``, a list or a table, which is called ``name``."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    if isinstance(rows, Mapping):
        body = [f"    {json.dumps(key)}: {_compact(value)}" for key, value in rows.items()]
        lines.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(body) + "\n  }")
    else:
        lines.append(f"  {json.dumps(name)}: [\n" + ",\n".join(f"    {_compact(row)}" for row in rows) + "\n  ]")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _compact(row: object) -> str:
    return json.dumps(row, separators=(",", ":"))
