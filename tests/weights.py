"""Safetensors files byte by byte, good ones and a corpus of bad ones."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

# A program that takes the spectra of two files, and prints the peak of memory above the first one's for the second.
PEAK = """
import re, sys
from pathlib import Path
from wonderland.backend.checkpoint import spectra
from wonderland.backend.headers import read_checkpoint
small, large = map(read_checkpoint, sys.argv[1:])
held = lambda what: 1024 * int(re.search(what + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
list(spectra(small))  # what libraries take for themselves
Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
before = held("VmRSS")
list(spectra(large))
print(held("VmHWM") - before)
"""

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "U8": np.uint8, "BOOL": np.bool_}


def as_bf16(array: np.ndarray) -> bytes:
    """Numbers rounded to the nearest bfloat16, to even, as the format stores them."""
    bits = np.asarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes()


def entry(dtype: str, shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def framed(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file from its header, as a table or as raw bytes, and its data; its length may be a lie."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def packed(tensors: dict[str, tuple[str, tuple[int, ...], bytes]], metadata: dict[str, str] | None = None) -> bytes:
    """A good file of tensors, each a type, a shape and its bytes."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    start = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = entry(dtype, list(shape), start, start + len(data))
        start += len(data)
    return framed(header, b"".join(data for *_, data in tensors.values()))


def arrays(**tensors: np.ndarray) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    names = {np.dtype(kind): name for name, kind in DTYPES.items()}
    return {key: (names[array.dtype], array.shape, array.tobytes()) for key, array in tensors.items()}


def write_sharded(folder: Path, shards: dict[str, dict[str, tuple]], index: dict[str, str] | None = None) -> Path:
    """A checkpoint in parts, and its index, which may name what is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensors in shards.items():
        (folder / name).write_bytes(packed(tensors))
    where = index or {tensor: name for name, tensors in shards.items() for tensor in tensors}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return path


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"W": 1}))
    return out.getvalue()


FOUR = np.arange(4, dtype=np.float32).tobytes()
GOOD = packed({"W": ("F32", (2, 2), FOUR), "b": ("F32", (4,), FOUR)})

BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "has 0 bytes"),
    "seven bytes": (GOOD[:7], "has 7 bytes"),
    "header cut": (GOOD[:40], "it is truncated"),
    "data cut": (GOOD[:-1], "is truncated, or its header is false"),
    "data too long": (GOOD + b"\0", "has 1 bytes more"),
    "header of 2**63 bytes": (framed(b"{}", length=2**63), "claims a header of 9,223,372,036,854,775,808 bytes"),
    "header larger than read": (framed(b"{" + b" " * 17 * 2**20 + b"}"), "at most 16,777,216 are read"),
    "length zero": (framed(b"{}", length=0), "claims a header of 0 bytes"),
    "zip": (_zip(), "a zip archive"),
    "pickle": (pickle.dumps({"W": [0.0] * 9}), "a pickle, which is a program and is not opened"),
    "old pickle": (pickle.dumps({"W": [0.0] * 9}, protocol=0), "no header begins at its ninth byte"),
    "GGUF": (b"GGUF" + bytes(60), "a GGUF file"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    "text": (b"Curiouser and curiouser! cried Alice.", "no header begins at its ninth byte"),
    "not JSON": (framed(b'{"W": '), "cannot be read"),
    "not UTF-8": (framed(b'{"\xff": 1}'), "cannot be read"),
    "deep": (framed(b'{"W":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "its brackets are too deep"),
    "number of 5000 digits": (framed(b'{"W":' + b"9" * 5000 + b"}"), "cannot be read"),
    "twice": (framed(b'{"W":{},"W":{}}'), "it names 'W' twice"),
    "no entry": (framed({"W": 3}), "'W' lacks its type, shape or place"),
    "no offsets": (framed({"W": {"dtype": "F32", "shape": [1]}}), "'W' lacks its type, shape or place"),
    "type a number": (framed({"W": entry(32, [1], 0, 4)}, bytes(4)), "has a type that is no name"),  # type: ignore
    "shape negative": (framed({"W": entry("F32", [-1], 0, 4)}, bytes(4)), "has no shape"),
    "shape fractional": (framed({"W": entry("F32", [0.5], 0, 4)}, bytes(4)), "has no shape"),  # type: ignore
    "shape true": (framed({"W": entry("F32", [True], 0, 4)}, bytes(4)), "has no shape"),
    "shape astronomical": (framed({"W": entry("F32", [10**30], 0, 4)}, bytes(4)), "has no shape"),
    "shape of 1000": (framed({"W": entry("F32", [1] * 1000, 0, 4)}, bytes(4)), "has no shape of at most 16"),
    "product astronomical": (
        framed({"W": entry("F32", [2**40, 2**40], 0, 4)}, bytes(4)),
        "is 1099511627776×1099511627776 of F32",
    ),
    "shape too large": (framed({"W": entry("F32", [2], 0, 4)}, bytes(4)), "2 of F32, 8 bytes, and is given 4"),
    "offsets backward": (framed({"W": entry("F32", [1], 4, 0)}, bytes(4)), "has no place"),
    "offsets negative": (framed({"W": entry("F32", [1], -4, 0)}, bytes(4)), "has no place"),
    "offsets beyond": (framed({"W": entry("F32", [2**40], 0, 2**42)}, bytes(4)), "is truncated"),
    "overlap": (
        framed({"W": entry("F32", [2], 0, 8), "V": entry("F32", [2], 4, 12)}, bytes(12)),
        "'V' overlaps 'W'",
    ),
    "gap": (framed({"W": entry("F32", [1], 4, 8)}, bytes(8)), "4 bytes before 'W' are of no tensor"),
    "hidden name": (framed({"\x1b[2J\u202e": 3}), r"\\x1b[2J\\u202e"),
}
