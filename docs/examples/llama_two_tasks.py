"""Fine-tune a small Llama on two tasks in sequence, with and without protecting what the first one taught.

    python docs/examples/llama_two_tasks.py

The model is a randomly initialised Llama of 0.3 M parameters (1.3 MB); a task is counting round a clock of 32 hours
in steps of certain sizes, told by the first two tokens. Needs transformers, which comes with the test extra.
"""

import copy
from collections.abc import Sequence

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from wonderland.backend.osft import activations, constrain, leak, merge

HOURS, LENGTH = 32, 12
FIRST, SECOND = (1, 2, 3), (5, 7, 11)


def llama(seed: int = 0) -> LlamaForCausalLM:
    """A small Llama, untrained."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=HOURS, max_position_embeddings=LENGTH, **sizes))


def sequences(steps: Sequence[int], count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` walks round the clock, each in steps of one of these sizes; count×LENGTH tokens."""
    start = torch.randint(HOURS, (count, 1), generator=generator)
    step = torch.tensor(steps)[torch.randint(len(steps), (count, 1), generator=generator)]
    return (start + step * torch.arange(LENGTH)) % HOURS


def train(model: nn.Module, steps: Sequence[int], updates: int, lr: float) -> None:
    """Plain torch: nothing here knows of OSFT."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    for _ in range(updates):
        tokens = sequences(steps, 64, generator)
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def accuracy(model: nn.Module, steps: Sequence[int]) -> float:
    """Share of right tokens, from the third on: the first two tell the step."""
    tokens = sequences(steps, 512, torch.Generator().manual_seed(2))
    guessed = model(input_ids=tokens).logits[:, 1:-1].argmax(-1)
    return (guessed == tokens[:, 2:]).float().mean().item()


def compare(updates: int = 120) -> dict[str, tuple[float, float]]:
    """Accuracy on the first and the second task after both, by method; "before" is after the first alone."""
    base = llama()
    train(base, FIRST, updates, lr=3e-3)
    found = {"before": (accuracy(base, FIRST), accuracy(base, SECOND))}

    full = copy.deepcopy(base)
    train(full, SECOND, updates, lr=1e-3)
    found["full fine-tuning"] = accuracy(full, FIRST), accuracy(full, SECOND)

    inside = [name for name, module in base.named_modules() if isinstance(module, nn.Linear) and "layers" in name]
    osft = constrain(copy.deepcopy(base), keep=0.5, targets=inside)
    train(osft, SECOND, updates, lr=1e-3)
    print(f"largest leak of {len(inside)} layers: {max(one.triplet for one in leak(osft).values()):.1e}")
    osft = merge(osft)  # plain layers again: ready to save, to serve, or to constrain for a third task
    found["OSFT, its own directions"] = accuracy(osft, FIRST), accuracy(osft, SECOND)

    old = [{"input_ids": sequences(FIRST, 256, torch.Generator().manual_seed(3))}]
    gpm = constrain(copy.deepcopy(base), basis=activations(base, old, keep=0.2, targets=inside))
    train(gpm, SECOND, updates, lr=1e-3)
    found["OSFT, activations"] = accuracy(gpm, FIRST), accuracy(gpm, SECOND)
    return found


if __name__ == "__main__":
    for method, (first, second) in compare().items():
        print(f"{method:26} first task {first:6.1%}   second task {second:6.1%}")
