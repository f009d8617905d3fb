"""Recorded values as typed arrays: every distinct one once, in the smallest type that holds it."""

import base64
import gzip
import json
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from wonderland.snapshots.record import Piece, Recording

_ALIGNED = 8
_SMALL = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32)
_LARGEST_FLOAT32 = 1e37

Ref = list
"""Where an array lies: its type in NumPy's letters, its first byte, its length."""


class Pack:
    """Arrays laid one behind the other, and the words that some of them count."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._refs: dict[tuple[str, bytes], Ref] = {}
        self._words: dict[Hashable, int] = {}

    def put(self, values: Sequence | np.ndarray) -> Ref:
        """Add an array of numbers, or find the equal one that is there."""
        array = narrow(np.asarray(values))
        data = array.tobytes()
        key = array.dtype.str[1:], data
        if key not in self._refs:
            self._refs[key] = [key[0], self._size, len(array)]
            padding = -len(data) % _ALIGNED
            self._chunks.append(data + bytes(padding))
            self._size += len(data) + padding
        return self._refs[key]

    def word(self, word: Hashable) -> int:
        """The number of a word; of a pair, which the dark and the light theme choose from."""
        return self._words.setdefault(word, len(self._words))

    def bytes(self, head: dict[str, Any]) -> bytes:
        """All of it behind a head in JSON, compressed."""
        words = [list(word) if isinstance(word, tuple) else word for word in self._words]
        text = json.dumps(head | {"words": words}, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-(len(text) + 4) % _ALIGNED)
        return gzip.compress(len(text).to_bytes(4, "little") + text + b"".join(self._chunks), mtime=0)


def narrow(array: np.ndarray) -> np.ndarray:
    """The same numbers in the smallest type: integers as such, others to the seven digits that no picture needs."""
    if not array.size:
        return array.astype(np.uint8)
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        finite = array[np.isfinite(array)]
        if len(finite) < len(array) or (finite != np.rint(finite)).any() or np.abs(finite).max() > 2**31:
            fits = np.abs(finite).max(initial=0) < _LARGEST_FLOAT32
            return array.astype("<f4" if fits else "<f8")
    low, high = array.min(), array.max()
    kind = next(kind for kind in _SMALL if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return array.astype(np.dtype(kind).newbyteorder("<"))


def encoded(data: bytes) -> str:
    """Bytes as text that may stand in a page."""
    return base64.b64encode(data).decode("ascii")


def pack(recording: Recording) -> tuple[Pack, dict[str, Any]]:
    """A recording as arrays, and the head that says where each lies."""
    box = Pack()
    walks = []
    for walk, places in zip(recording.walks, recording.records, strict=True):
        idle = {str(n): box.put(mask.ravel()) for n, mask in walk.idle.items() if mask.any()}
        walks.append(
            {"axes": walk.view, "own": sorted(recording.own(walk)), "at": box.put(places.ravel()), "idle": idle}
        )
    pieces = []
    for key, piece in recording.pieces.items():
        one = len(piece.values) == 1 and not any(-1 in ids for ids in piece.ids)
        ids = [None if one else box.put(ids) for ids in piece.ids]
        pieces.append({"key": list(key), "ids": ids, **_table(box, piece)})
    head = {
        "starts": [axis.start for axis in recording.axes],
        "places": [len(axis) for axis in recording.axes],
        "walks": walks,
        "problems": recording.problems,
        "pieces": pieces,
        "presses": {name: {str(n): to for n, to in moves.items()} for name, moves in recording.presses.items()},
    }
    return box, head


def _table(box: Pack, piece: Piece) -> dict[str, Any]:
    """The distinct values of a piece: all behind one another, with the length of each."""
    if piece.text:
        values = [[box.word(word) for word in text] for text in piece.values]
        return {"kind": "text", **_flat(box, values)}
    kind = next((kind for kind, _ in piece.values if kind != "none"), "numbers")
    contents = [content for _, content in piece.values]
    if kind == "words":
        return {"kind": kind, **_flat(box, [[box.word(word) for word in words] for words in contents])}
    if kind == "numbers":
        return {"kind": kind, **_flat(box, [np.frombuffer(content or b"") for content in contents])}
    if kind == "rows":
        rows = [np.frombuffer(row) for rows in contents for row in rows]
        return {"kind": kind, "many": box.put([len(rows) for rows in contents]), **_flat(box, rows)}
    matrices = [M for matrices in contents for M in matrices]
    return {
        "kind": kind,
        "many": box.put([len(matrices) for matrices in contents]),
        "rows": box.put([shape[0] for shape, _ in matrices]),
        **_flat(box, [np.frombuffer(data) for _, data in matrices]),
    }


def _flat(box: Pack, values: list) -> dict[str, Any]:
    return {
        "flat": box.put(np.concatenate([np.asarray(value) for value in values]) if values else []),
        "lengths": box.put([len(value) for value in values]),
    }
