"""The spectra of a checkpoint's weights beside NumPy's: time, accuracy, and memory at its peak."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from scipy.linalg import svdvals
from threadpoolctl import threadpool_limits

from tests.weights import PEAK
from wonderland.backend.checkpoint import checksum, matrix, spectra
from wonderland.backend.headers import read_checkpoint

SHAPES = {
    "0.attention": ((2048, 2048), torch.bfloat16),
    "1.up": ((4096, 2048), torch.float32),
    "2.down": ((2048, 4096), torch.float16),
    "3.square": ((4096, 4096), torch.bfloat16),
}
# A weight's spectrum falls: most of it low, a few directions high.
DECAY = 1.2


def test_a_checkpoint(table: Callable[..., None], tmp_path: Path) -> None:
    """Every weight read from the file and taken apart, NumPy and we taking turns; the aim is three times as fast."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # on a shared machine threads that wait for one another measure the others' work
    tensors = {
        name: (torch.randn(shape) * torch.arange(1, shape[1] + 1) ** (-DECAY / 2)).to(dtype)
        for name, (shape, dtype) in SHAPES.items()
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    save_file({"W": torch.randn(500, 500)}, tmp_path / "small.safetensors")
    found = read_checkpoint(path)
    list(spectra(read_checkpoint(tmp_path / "small.safetensors")))  # the first use of each library costs more
    ours = time.process_time()
    with threadpool_limits(1):
        rows = list(spectra(found))
    ours = time.process_time() - ours
    table("weight", "type", "numpy.linalg.svd, s of one core", "largest error, of σ₁", "NumPy's own")
    numpy = 0.0
    for row in rows:
        W = matrix(found.tensors[row.name]).numpy()
        begin = time.process_time()
        with threadpool_limits(1):
            theirs = np.linalg.svd(W, compute_uv=False)
        took = time.process_time() - begin
        numpy += took
        if max(W.shape) <= 2048:
            true = svdvals(W.astype(np.float64))
            errors = [f"{np.abs(values - true).max() / true[0]:.1e}" for values in (row.sigma, theirs)]
        else:  # float64 would take minutes: against NumPy, whose own error is of this order
            errors = [f"{np.abs(row.sigma - theirs).max() / theirs[0]:.1e} (to NumPy)", "–"]
        table(row.name, row.dtype, took, *errors)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "small.safetensors"), str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    stored = max(tensor.nbytes for tensor in tensors.values())
    begin = time.process_time()
    for place in found.tensors.values():
        checksum(place)
    reading = time.process_time() - begin
    print(f"\n\nall: NumPy {numpy:.1f} s of one core, ours {ours:.1f} s (of it checksums {reading:.1f} s): "
          f"{numpy / ours:.1f} times faster. Peak memory: {json.loads(run.stdout) / stored:.2f} times the largest "
          f"tensor's {stored / 2**20:.0f} MiB.")  # fmt: skip
