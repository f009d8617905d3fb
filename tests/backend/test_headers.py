"""What files say they hold: read right, and never believed."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tests.weights import BAD, GOOD, arrays, entry, framed, packed, write_sharded
from wonderland.backend.headers import BITS, LARGEST_HEADER, TensorInfo, plain, read_checkpoint, read_header

SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(max_size=20).filter(lambda name: name != "__metadata__"), SHAPES, max_size=6))
def test_agrees_with_the_format_s_own_writer(tmp_path_factory, shapes):
    tensors = {name: np.random.default_rng(0).random(shape) for name, shape in shapes.items()}
    path = tmp_path_factory.mktemp("files") / "a.safetensors"
    save_file(tensors, path, metadata={"format": "np"})
    found = read_header(path)
    assert found.keys() == tensors.keys()
    data = path.read_bytes()
    for name, (dtype, shape, start, end) in found.items():
        assert (dtype, shape) == ("F64", tensors[name].shape)
        assert data[start:end] == tensors[name].tobytes()


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_words(case, tmp_path):
    data, message = BAD[case]
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    for read in (read_header, read_checkpoint):
        with pytest.raises(ValueError) as error:  # noqa: PT011, for the corpus has the messages
            read(path)
        assert message.replace("\\\\", "\\") in str(error.value)
        assert str(error.value).startswith(str(path))
        assert "\x1b" not in str(error.value)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_damage_crashes(tmp_path_factory, data):
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(GOOD) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(GOOD)))])
    try:
        found = read_header(path)
    except ValueError:
        return
    for dtype, shape, start, end in found.values():
        assert 8 <= start <= end <= len(GOOD)
        if dtype in BITS:
            assert 8 * (end - start) == np.prod(shape) * BITS[dtype]


def test_a_hostile_header_costs_little_memory(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(framed(b'{"W":[' + b"[]," * (LARGEST_HEADER // 3 - 10) + b"0]}"))
    tracemalloc.start()
    with pytest.raises(ValueError, match="'W' lacks"):
        read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * LARGEST_HEADER


@pytest.mark.parametrize("dtype", ["F8_E4M3", "BF16", "F4", "I64", "C64", "NEW_7"])
def test_every_type_is_told_of(dtype, tmp_path):
    path = tmp_path / "a.safetensors"
    size = 2 * BITS.get(dtype, 24) // 8
    path.write_bytes(framed({"W": entry(dtype, [2, 1], 0, size)}, bytes(size)))
    found = read_header(path)
    assert found["W"] == TensorInfo(dtype, (2, 1), path.stat().st_size - size, path.stat().st_size)


def test_half_a_character_is_escaped(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(framed({"\ud800x": entry("\udfff", [1], 0, 4), "\U0001f407": entry("F32", [1], 4, 8)}, bytes(8)))
    found = read_header(path)
    assert list(found) == ["\\ud800x", "\U0001f407"]
    assert found["\\ud800x"].dtype == "\\udfff"
    path.write_bytes(framed({"\ud800": 1, "\\ud800": 2}))
    with pytest.raises(ValueError, match="twice"):
        read_header(path)


def test_what_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        read_header(tmp_path)
    for read in (read_header, read_checkpoint):
        with pytest.raises(ValueError, match="cannot be read: No such file"):
            read(tmp_path / "nothing.safetensors")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is no file"):
        read_header(tmp_path / "pipe")


W, V = np.arange(6, dtype=np.float32).reshape(2, 3), np.eye(2, dtype=np.float16)
PARTS = {"model-1.safetensors": arrays(W=W), "model-2.safetensors": arrays(V=V)}


@pytest.mark.parametrize("by", ["folder", "index"])
def test_a_checkpoint_in_parts(by, tmp_path):
    index = write_sharded(tmp_path, PARTS)
    found = read_checkpoint(index if by == "index" else tmp_path)
    assert found.missing == {}
    assert {name: (place.file.name, place.info.shape) for name, place in found.tensors.items()} == {
        "W": ("model-1.safetensors", (2, 3)),
        "V": ("model-2.safetensors", (2, 2)),
    }


def test_parts_may_be_links(tmp_path):
    """As in the cache that the hub's own client keeps."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "abc").write_bytes(packed(arrays(W=W)))
    write_sharded(tmp_path / "snapshot", {}, {"W": "model-1.safetensors"})
    (tmp_path / "snapshot" / "model-1.safetensors").symlink_to("../blobs/abc")
    assert read_checkpoint(tmp_path / "snapshot").tensors["W"].info.shape == (2, 3)


def test_a_folder_with_one_file(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(packed(arrays(W=W)))
    (tmp_path / "config.json").write_text("{}")
    assert list(read_checkpoint(tmp_path).tensors) == ["W"]
    (tmp_path / "more.safetensors").write_bytes(packed(arrays(V=V)))
    with pytest.raises(ValueError, match="holds 2 safetensors files and no model"):
        read_checkpoint(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no safetensors file"):
        read_checkpoint(tmp_path / "empty")


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("model-3.safetensors", "its file 'model-3.safetensors' is not there"),
        ("../outside.safetensors", "its file '../outside.safetensors' is not the name of one in the same folder"),
        ("/etc/passwd", "is not the name of one in the same folder"),
        ("a\\..\\b", "is not the name of one in the same folder"),
        ("..", "is not the name of one in the same folder"),
        ("", "is not the name of one in the same folder"),
        ("x" * 300, "is not the name of one in the same folder"),
        ("é" * 200, "is not there"),
        ("\ud800", "is not there"),
        ("a\0b", "is not the name of one in the same folder"),
        ("cut.safetensors", "its file 'cut.safetensors' cannot be used: is truncated"),
        ("model-2.safetensors", "its file 'model-2.safetensors' does not hold it"),
        ("folder", "is a folder"),
    ],
    ids=ascii,
)
def test_one_bad_part_leaves_the_others(where, reason, tmp_path):
    (tmp_path / "outside.safetensors").write_bytes(packed(arrays(X=W)))
    folder = tmp_path / "model"
    write_sharded(folder, PARTS, {"W": "model-1.safetensors", "V": "model-2.safetensors", "X": where})
    (folder / "cut.safetensors").write_bytes(GOOD[:-1])
    (folder / "folder").mkdir()
    found = read_checkpoint(folder)
    assert found.tensors.keys() == {"W", "V"}
    assert found.missing.keys() == {"X"}
    assert reason in found.missing["X"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"W": 3}}', '{"weight_map": ["W"]}', "{" * 9]
)
def test_an_index_that_is_none(text, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ValueError, match=r"is no index|cannot be read|no table"):
        read_checkpoint(tmp_path)


def test_an_index_too_large(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"weight_map": {"W": "x" * LARGEST_HEADER}}))
    with pytest.raises(ValueError, match="at most 16,777,216 are read"):
        read_checkpoint(tmp_path / "config.json")


@given(st.text(max_size=300))
def test_a_name_is_fit_to_print(name):
    assert plain(name).isprintable()
    assert plain("lstm_cell.weight_hh") == "lstm_cell.weight_hh"
