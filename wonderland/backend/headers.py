"""What a safetensors file says it holds, checked before a byte of its numbers is read.

A file is eight bytes N, little-endian; N bytes of JSON, which give each tensor's type, shape and place; and the
numbers, end to end. A checkpoint is such a file, or several with an index, ``model.safetensors.index.json``.
Nothing here trusts a file: what does not add up is refused in words. Neither torch nor NumPy is needed.
"""

import json
import math
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

# Bits a number takes, by the format's own names.
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
# A header takes some 100 bytes a tensor: this is room for more than any model has, and little to hold.
LARGEST_HEADER = 16 * 2**20
# More dimensions than any layer has, and sizes that no machine can count to.
DIMENSIONS, LARGEST_SIZE = 16, 2**48
INDEX = "model.safetensors.index.json"
SUFFIX = ".safetensors"
# How files that are often taken for checkpoints begin, and what they are.
OTHERS = {
    b"PK\x03\x04": "a zip archive, as torch.save writes it, with a pickle inside",
    b"\x80": "a pickle, which is a program and is not opened",
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"version https://git-lfs": "the note that Git LFS keeps in a file's place (git lfs pull fetches the file)",
}


class TensorInfo(NamedTuple):
    """One tensor of a file: the format's name of its number type, its shape, and where its bytes are.

    ``start`` and ``end`` count from the beginning of the file.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class Place(NamedTuple):
    """Where a tensor of a checkpoint is: in which file, and what that file's header says of it."""

    file: Path
    info: TensorInfo


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file or of a checkpoint in parts, by name, and those that cannot be had, with the reason."""

    path: Path
    tensors: dict[str, Place]
    missing: dict[str, str] = field(default_factory=dict)


def read_header(path: str | os.PathLike[str]) -> dict[str, TensorInfo]:
    """Read what a safetensors file holds, without its numbers.

    Parameters
    ----------
    path
        The file. What it is called does not matter.

    Returns
    -------
    dict of str to TensorInfo
        In the order of the header. A number type that is not in ``BITS`` is handed on as it is.

    Raises
    ------
    ValueError
        If the file cannot be read, is of another kind, is truncated or longer than its header says, or the header is
        too large, no JSON, names a tensor twice, or lies: a size or place that cannot be, tensors that overlap or
        leave a gap.
    """
    path = Path(path)
    try:
        size = _size(path)
        with path.open("rb") as file:
            head = file.read(32)
            length = _header_length(path, head, size)
            file.seek(8)
            text = file.read(length)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None
    entries = _parsed(path, text)
    entries.pop("__metadata__", None)
    first = 8 + length
    tensors = {name: _info(path, name, entry, first, size) for name, entry in entries.items()}
    _check_places(path, tensors, first, size)
    return tensors


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Find every tensor of a checkpoint: one file, or several with an index.

    Parameters
    ----------
    path
        A safetensors file, an index (``….index.json``), or a folder with an index or with one safetensors file.

    Returns
    -------
    Checkpoint
        Tensors whose file is missing, damaged or outside the folder are in ``missing``, each with the reason.

    Raises
    ------
    ValueError
        If there is nothing to read: no such file, a damaged one, a folder with several files and no index, or an
        index that is none.
    """
    path = Path(path)
    found = _in_folder(path) if path.is_dir() else path
    if found.suffix == ".json":
        return _indexed(path, found)
    return Checkpoint(path, {name: Place(found, info) for name, info in read_header(found).items()})


def plain(name: str, most: int = 80) -> str:
    """A name out of a file, fit for a message or a terminal: not long, and nothing invisible in it."""
    short = name if len(name) <= most else name[: most - 1] + "…"
    return short if short.isprintable() else ascii(short)[1:-1]


def quoted(name: str) -> str:
    """The same between quotation marks."""
    return f"'{plain(name)}'"


def writable(text: str) -> str:
    r"""A text out of JSON as any file takes it: half a character, which JSON can name alone, as its escape \ud800."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _size(path: Path) -> int:
    """Bytes of a file; ValueError for what is none."""
    about = path.stat()
    if stat.S_ISDIR(about.st_mode):
        raise ValueError(f"{path} is a folder: name a file.")
    if not stat.S_ISREG(about.st_mode):
        raise ValueError(f"{path} is no file.")
    return about.st_size


def _header_length(path: Path, head: bytes, size: int) -> int:
    if size < 10:
        raise ValueError(f"{path} is no safetensors file, or the very start of one: it has {size} bytes.")
    length = int.from_bytes(head[:8], "little")
    if head[8:9] != b"{":
        for start, kind in OTHERS.items():
            if head.startswith(start):
                raise ValueError(f"{path} is no safetensors file but {kind}. Save the weights as safetensors.")
        raise ValueError(f"{path} is no safetensors file: no header begins at its ninth byte.")
    if length > LARGEST_HEADER:
        raise ValueError(f"{path} claims a header of {length:,} bytes: at most {LARGEST_HEADER:,} are read.")
    if not 2 <= length <= size - 8:
        raise ValueError(f"{path} claims a header of {length:,} bytes and has {size - 8:,} in all: it is truncated.")
    return length


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for name, value in pairs:
            name = writable(name)
            if name in table:
                raise ValueError(f"it names {quoted(name)} twice")
            table[name] = value
        return table

    try:
        table = json.loads(text.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:  # of JSON, of UTF-8, of numbers with thousands of digits
        reason = "its brackets are too deep" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{path} has a header that cannot be read: {reason}.") from None
    if not isinstance(table, dict):
        raise ValueError(f"{path} has a header that is no table of tensors.")
    return table


def _info(path: Path, name: str, entry: object, first: int, size: int) -> TensorInfo:
    def lie(what: str) -> ValueError:
        return ValueError(f"{path} has a false header: {quoted(name)} {what}.")

    if not isinstance(entry, dict) or not entry.keys() >= {"dtype", "shape", "data_offsets"}:
        raise lie("lacks its type, shape or place")
    dtype, shape, places = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str):
        raise lie("has a type that is no name")
    if not isinstance(shape, list) or len(shape) > DIMENSIONS or not all(map(_is_size, shape)):
        raise lie(f"has no shape of at most {DIMENSIONS} whole numbers")
    if not isinstance(places, list) or len(places) != 2 or not all(map(_is_size, places)) or places[0] > places[1]:
        raise lie("has no place from one byte to a later one")
    start, end = (first + place for place in places)
    if end > size:
        raise ValueError(
            f"{path} is truncated, or its header is false: {quoted(name)} would end at byte {end:,} of {size:,}."
        )
    bits = math.prod(shape) * BITS.get(dtype, 0)
    if dtype in BITS and bits != 8 * (end - start):
        sizes = "×".join(map(str, shape)) or "one number"
        raise lie(f"is {sizes} of {dtype}, {bits // 8:,} bytes, and is given {end - start:,}")
    return TensorInfo(writable(dtype), tuple(shape), start, end)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_SIZE


def _check_places(path: Path, tensors: dict[str, TensorInfo], first: int, size: int) -> None:
    """Demand that the tensors lie end to end: where bytes are hidden or read twice, something is wrong."""
    reached, before = first, ""
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start < reached:
            raise ValueError(f"{path} has a false header: {quoted(name)} overlaps {quoted(before)}.")
        if info.start > reached:
            gap = f"{info.start - reached:,} bytes before {quoted(name)} are of no tensor"
            raise ValueError(f"{path} has a false header: {gap}.")
        reached, before = info.end, name
    if reached < size:
        raise ValueError(f"{path} has {size - reached:,} bytes more than its header tells of.")


def _in_folder(folder: Path) -> Path:
    """The file that a folder is read by."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error.strerror}.") from None
    indexes = [name for name in names if name.endswith(SUFFIX + ".index.json")]
    weights = [name for name in names if name.endswith(SUFFIX)]
    if INDEX in indexes or len(indexes) == 1:
        return folder / (INDEX if INDEX in indexes else indexes[0])
    if len(weights) == 1:
        return folder / weights[0]
    if not weights:
        raise ValueError(f"{folder} holds no safetensors file.")
    raise ValueError(f"{folder} holds {len(weights)} safetensors files and no {INDEX}: name one of them.")


def _indexed(path: Path, index: Path) -> Checkpoint:
    try:
        size = _size(index)
        if size > LARGEST_HEADER:
            raise ValueError(f"{index} has {size:,} bytes: at most {LARGEST_HEADER:,} are read.")
        table = _parsed(index, index.read_bytes())
    except OSError as error:
        raise ValueError(f"{index} cannot be read: {error.strerror}.") from None
    where = table.get("weight_map")
    if not isinstance(where, dict) or not where or not all(isinstance(name, str) for name in where.values()):
        raise ValueError(f"{index} is no index: it has no weight_map from tensors to files.")
    files: dict[str, dict[str, TensorInfo] | str] = {}
    for name in dict.fromkeys(where.values()):
        files[name] = _part(index.parent, name)
    tensors: dict[str, Place] = {}
    missing: dict[str, str] = {}
    for name, file in where.items():
        held = files[file]
        if isinstance(held, str):
            missing[name] = held
        elif name not in held:
            missing[name] = f"its file {quoted(file)} does not hold it"
        else:
            tensors[name] = Place(index.parent / file, held[name])
    return Checkpoint(path, tensors, missing)


def _part(folder: Path, name: str) -> dict[str, TensorInfo] | str:
    """What one file of a checkpoint in parts holds, or why that cannot be had."""
    # A link is fine, for so the hub's own cache keeps its files; a path that leads elsewhere is not.
    if name in ("", ".", "..") or len(name) > 255 or any(sign in name for sign in "/\\:\0"):
        return f"its file {quoted(name)} is not the name of one in the same folder"
    try:
        return read_header(folder / name)
    except ValueError as error:
        if not os.path.lexists(folder / name):
            return f"its file {quoted(name)} is not there"
        return f"its file {quoted(name)} cannot be used: {str(error).removeprefix(f'{folder / name} ')}"
