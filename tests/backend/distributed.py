"""What each process of ``test_distributed.py`` runs: the same training, alone or shared by two.

Usage: ``torchrun --nproc-per-node 2 distributed.py FOLDER``; rank 0 saves the merged weights and the leak of each case
there.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from wonderland.backend.osft import constrain, leak, merge

STEPS, SAMPLES = 20, 24
CASES = [("ddp", "core"), ("ddp", "dense"), ("fsdp", "core")]


def model_of(method: str) -> nn.Module:
    """A small network, the same in every process, constrained."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 7)).double()
    return constrain(model, keep={"0": 3, "2": 5}, method=method)


def train(model: nn.Module, part: slice) -> None:
    """Steps of AdamW on the process's part of each batch; the gradients are means over all parts."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        x = torch.randn(SAMPLES, 12, dtype=torch.float64, generator=generator)
        y = torch.randn(SAMPLES, 7, dtype=torch.float64, generator=generator)
        loss = (model(x[part]) - y[part]).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def outcome(model: nn.Module) -> dict[str, torch.Tensor]:
    """The leak of every layer, then its merged weight."""
    leaks = {f"leak.{name}": torch.tensor([one.right, one.left]) for name, one in leak(model).items()}
    return leaks | {name: tensor.contiguous() for name, tensor in merge(model).state_dict().items()}


def main() -> None:
    """One of two processes."""
    (folder,) = sys.argv[1:]
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    part = slice(rank, None, world)
    for kind, method in CASES:
        model = model_of(method)
        if kind == "ddp":
            train(DistributedDataParallel(model, broadcast_buffers=False), part)
        else:
            for layer in (model[0], model[2], model):
                fully_shard(layer, mesh=init_device_mesh("cpu", (world,)))
            train(model, part)
        found = outcome(model)
        if rank == 0:
            save_file(found, Path(folder) / f"{kind}-{method}.safetensors")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
