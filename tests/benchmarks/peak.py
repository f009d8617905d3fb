"""Measures the peak of real training steps, each in a process of its own, beside what `wonderland.maths.memory` says.

    python -m tests.benchmarks.peak

trains small models on the CPU and writes wonderland/data/memory.json, from which the page says how near it is.
"""

import gc
import json
import multiprocessing
import os
import platform
import re
import sys
import warnings
from datetime import date
from pathlib import Path
from typing import Any

from wonderland.maths.architectures import from_config
from wonderland.maths.holding import Setting
from wonderland.maths.memory import Run, cost

ROOT = Path(__file__).parents[2]
FILE = ROOT / "wonderland" / "data" / "memory.json"
SETTING = Setting(rank=16, block=32, psoft_rank=16, keep=0.5)
CONFIGS = {
    "llama": {"model_type": "llama", "vocab_size": 8000, "hidden_size": 512, "num_hidden_layers": 8,
              "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 1408},
    "gpt2": {"model_type": "gpt2", "vocab_size": 8000, "n_embd": 512, "n_layer": 8, "n_head": 8, "n_positions": 256},
    "bert": {"model_type": "bert", "vocab_size": 8000, "hidden_size": 512, "num_hidden_layers": 8,
             "num_attention_heads": 8, "intermediate_size": 2048, "max_position_embeddings": 256},
    "vit": {"model_type": "vit", "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8,
            "intermediate_size": 2048, "image_size": 240, "patch_size": 16},
    "t5": {"model_type": "t5", "vocab_size": 8000, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 4,
           "num_heads": 8},
}  # fmt: skip
RUN = Run("float32", "adamw", 4, 256)
CASES = [
    *[("llama", method, RUN) for method in ("full", "lora", "oft", "psoft", "osft-peft", "osft-core")],
    *[("llama", method, Run("bfloat16", "adamw", 4, 256)) for method in ("full", "lora", "osft-core")],
    *[("llama", method, Run("float32", "adamw", 4, 256, True)) for method in ("full", "lora")],
    ("llama", "full", Run("float32", "sgd", 1, 64)),
    *[(name, method, RUN) for name in ("gpt2", "bert", "vit", "t5") for method in ("full", "lora")],
]
_GPU = {"model": "Llama-3.2-3B", "dtype": "bfloat16", "optimizer": "adamw", "batch": 4, "sequence": 768,
        "checkpointing": False}  # fmt: skip
ELSEWHERE = {
    "source": "peft’s own comparison of methods (huggingface/peft, method_comparison/MetaMathQA: Llama-3.2-3B, one "
    "GPU, 4 sequences of up to 768 tokens, the most memory that torch reserved)",
    "rows": [
        _GPU | {"method": method, "targets": targets, "setting": setting, "measured": round(gib * 2**30)}
        for method, targets, setting, gib in (
            ("lora", "query and value", {"rank": 32}, 20.8),
            ("oft", "query and value", {"block": 96}, 20.8),
            ("boft", "query and value", {"boft_block": 4}, 23.0),
            ("full", "all linear", {}, 36.2),
        )
    ],
}
# Every block of memory a place of its own, given back at once: what is resident is then what is held.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "32768", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_ARENA_MAX": "1",
             "OMP_NUM_THREADS": "1"}  # fmt: skip


def said(name: str, method: str, run: Run) -> int:
    """Bytes at the peak, as the page says."""
    return cost(from_config(CONFIGS[name]), method, SETTING, "all linear", run).memory.peak


def measured(name: str, method: str, run: Run) -> int:
    """Bytes at the peak of the third step, above what the process takes without the model.

    In a process of its own, begun as a copy of this one, so that libraries are loaded once.
    """
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_measure, (name, method, run))


def row(name: str, method: str, run: Run) -> dict[str, Any]:
    """One case, as it is recorded."""
    return {"model": name, "method": method, **vars(run), "measured": measured(name, method, run)}


def main() -> None:
    """Measure every case and write the file."""
    import peft
    import torch
    import transformers

    import tests.models  # noqa: F401 - before the first copy

    rows = []
    for case in CASES:
        rows.append(row(*case))
        print(*case[:2], case[2].dtype, f"{said(*case) / rows[-1]['measured'] - 1:+.1%}", flush=True)
    held = {
        "recorded": date.today().isoformat(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        },
        "device": "CPU, one thread",
        "settings": vars(SETTING) | {"targets": "all linear"},
        "models": CONFIGS,
        "rows": rows,
        "elsewhere": ELSEWHERE,
    }
    FILE.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


def _measure(name: str, method: str, run: Run) -> int:
    import torch

    from tests.models import adapted, build, loss_of

    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    tiny = CONFIGS[name] | dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers"), 1)
    tiny = {key: value for key, value in tiny.items() if key in CONFIGS[name]}
    base = 0
    for config in (tiny, CONFIGS[name]):
        gc.collect()
        base = _resident("VmRSS")
        model = build(config, "cpu").to(getattr(torch, run.dtype)).train()
        model = adapted(model, config, method, SETTING)
        if run.checkpointing:
            model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(trained, 1e-3) if run.optimizer == "sgd" else torch.optim.AdamW(trained)
        for step in range(3):
            if step == 2:
                gc.collect()
                Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            loss_of(model, config, run.batch, run.sequence).backward()
            optimizer.step()
            optimizer.zero_grad()
        peak = _resident("VmHWM")
        del model, trained, optimizer
    return peak - base


def _resident(what: str) -> int:
    return 1024 * int(re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


if __name__ == "__main__":
    if not ALLOCATOR.items() <= os.environ.items():  # which glibc reads once, at the start
        command = [sys.executable, "-m", "tests.benchmarks.peak"]
        os.execve(sys.executable, command, os.environ | ALLOCATOR)
    main()
