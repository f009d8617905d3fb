"""Two real processes train what one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.backend import distributed


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have left what they found, case by case."""
    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = Path(distributed.__file__)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(script.parents[2])}
    done = subprocess.run([*command, str(script), str(folder)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize(("kind", "method"), distributed.CASES)
def test_two_processes_give_the_weights_of_one(kind: str, method: str, trained: Path) -> None:
    two = load_file(trained / f"{kind}-{method}.safetensors")
    start = distributed.model_of(method)
    weights = {f"{name}.weight": start[int(name)].weight.detach().clone() for name in ("0", "2")}
    model = distributed.model_of(method)
    distributed.train(model, slice(None))
    one = distributed.outcome(model)
    assert two.keys() == one.keys()
    for name, value in one.items():
        if name.startswith("leak"):
            assert two[name].max() < 1e-12
        else:
            torch.testing.assert_close(two[name], value, rtol=1e-9, atol=1e-11)
    assert all((one[name] - W).norm() > 0.1 for name, W in weights.items())
