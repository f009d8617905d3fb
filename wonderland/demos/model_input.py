"""A reader's own model: its config.json, or the header of its weights. The weights stay where they are."""

import base64
import binascii
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import panel as pn
import param
from panel.custom import JSComponent

from wonderland.backend.headers import quoted, read_checkpoint
from wonderland.demos.fields import FieldError
from wonderland.maths.architectures import MAX_BYTES, read_config
from wonderland.maths.models import Model
from wonderland.maths.tensors import from_shapes

LARGEST_SENT = 4 * 2**20
"""Bytes of a header that a browser sends."""
LARGEST_FILE = 2**44
"""Bytes of the largest file whose header is believed: 16 TiB."""


class ModelInput(JSComponent):
    """Chooses a file and sends what describes the model: all of a config.json, of weights the header alone."""

    label = param.String(default="Your own model: config.json or .safetensors", doc="What stands over the field.")

    _esm = """
    export function render({ model }) {
      const field = document.createElement('label')
      field.textContent = model.label
      const input = document.createElement('input')
      input.type = 'file'
      input.accept = '.json,.safetensors'
      const sent = (file, part) => {
        const reader = new FileReader()
        reader.onload = () => model.send_msg(
          { name: file.name, size: file.size, head: String(reader.result).split(',')[1] || '' })
        reader.onerror = () => model.send_msg({ name: file.name, size: -1, head: '' })
        reader.readAsDataURL(part)
      }
      input.onchange = async () => {
        const file = input.files[0]
        if (!file) return
        if (file.name.toLowerCase().endsWith('.json')) return sent(file, file.slice(0, %CONFIG%))
        const start = await file.slice(0, 8).arrayBuffer()
        const length = start.byteLength < 8 ? 0 : Number(new DataView(start).getBigUint64(0, true))
        sent(file, file.slice(0, Math.min(8 + length, %HEADER%)))
      }
      input.onclick = () => { input.value = '' }  // the same file may be chosen again
      field.append(input)
      return field
    }
    """.replace("%CONFIG%", str(MAX_BYTES + 1)).replace("%HEADER%", str(LARGEST_SENT))

    _stylesheets = [
        """
        label { display: block; font: 400 13px/1.5 Roboto, sans-serif; color: var(--w-muted); }
        input { display: block; width: 100%; margin-top: 4px; font: 400 13px/1.4 Roboto, sans-serif;
          color: var(--w-text); }
        input::file-selector-button { font: 500 13px/1.4 Roboto, sans-serif; color: var(--w-original);
          background: transparent; border: 1px solid var(--w-edge); border-radius: 4px; padding: 5px 10px;
          margin-right: 10px; cursor: pointer; }
        input:focus-visible { outline: 2px solid var(--w-original); outline-offset: 2px; }
        """
    ]

    def __init__(self, on_file: Callable[[str, bytes, int], None], **params: object) -> None:
        super().__init__(**params)
        self._on_file = on_file

    def _handle_msg(self, msg: dict) -> None:
        try:
            head = base64.b64decode(str(msg["head"]), validate=True)
        except binascii.Error:
            head = b""
        self._on_file(str(msg["name"]), head, int(msg["size"]))


def model_field(on_model: Callable[[str, Model], None]) -> pn.Column:
    """A labelled field for a file, with its message; `on_model` is called with the file's name and what it holds."""
    error = FieldError()

    def on_file(name: str, head: bytes, size: int) -> None:
        try:
            on_model(name, read_sent(name, head, size))
        except ValueError as problem:
            error.text = str(problem)
        else:
            error.text = ""

    field = ModelInput(on_file, sizing_mode="stretch_width", margin=(10, 10, 4, 10))
    return pn.Column(field, error, sizing_mode="stretch_width", margin=0)


def read_sent(name: str, head: bytes, size: int) -> Model:
    """The model that a file is of, by its name, its beginning, and its size in bytes.

    Raises
    ------
    ValueError
        If the file could not be read, is neither a config.json nor safetensors, or is a bad one.
    """
    short = name[-60:]
    if size < 0:
        raise ValueError(f"{short} cannot be read: choose a file.")
    if name.lower().endswith(".json"):
        try:
            return read_config(head)
        except ValueError as problem:
            raise ValueError(str(problem).replace("config.json", short, 1)) from None
    if not name.lower().endswith(".safetensors"):
        raise ValueError(f"{short} is neither: choose a config.json or a .safetensors file.")
    if size > LARGEST_FILE:
        raise ValueError(f"{short} claims {size:,} bytes: at most {LARGEST_FILE:,} are believed.")
    with tempfile.TemporaryDirectory() as folder:
        # A file of that size with nothing after its header takes no room, and is checked as the whole one would be.
        path = Path(folder) / "model.safetensors"
        try:
            with path.open("wb") as file:
                file.write(head)
                file.truncate(size)
        except OSError as problem:
            raise ValueError(f"{short} claims {size:,} bytes, which cannot be checked: {problem.strerror}.") from None
        try:
            return _of_headers(path)
        except ValueError as problem:
            raise ValueError(str(problem).replace(str(path), short)) from None


def read_path(path: str | os.PathLike[str]) -> Model:
    """The model that is on this machine: a config.json; or safetensors, of which the headers are read.

    Parameters
    ----------
    path
        A config.json, a safetensors file, the index of one in parts, or a folder with such weights.

    Raises
    ------
    ValueError
        As `read_sent`; and if there is no such file, or a part of the weights is missing.
    """
    path = Path(path)
    if path.suffix.lower() == ".json" and not path.name.endswith(".index.json"):
        try:
            with path.open("rb") as file:
                return read_config(file.read(MAX_BYTES + 1))
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}.") from None
    return _of_headers(path)


def _of_headers(path: Path) -> Model:
    found = read_checkpoint(path)
    for name, why in found.missing.items():
        raise ValueError(f"{path} is not whole: of {quoted(name)}, {why}.")
    return from_shapes({name: place.info.shape for name, place in found.tensors.items()})
