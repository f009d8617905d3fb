"""The checkpoints that chapter 6 can look into: what each holds, known at once, and its spectra, which take a while."""

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from wonderland.backend.headers import Checkpoint, plain, read_checkpoint
from wonderland.backend.plan import layer_of
from wonderland.backend.spectrum_command import default_cache
from wonderland.backend.tensors import Skipped, Spectrum, sorted_out
from wonderland.demos.spectra import SHAPES

VARIABLE = "WONDERLAND_WEIGHTS"
"""Names the checkpoint that a server shows its readers."""
MOST = 2000
"""Matrices of one checkpoint that a page shows."""
LARGEST_UPLOAD = 64 * 2**20
REMEMBERED = 4
"""Checkpoints whose spectra a server holds for every reader."""

Rows = dict[str, Spectrum | Skipped]


@dataclass(frozen=True)
class Alike:
    """How alike the inputs and outputs of each layer are, 0 to 1, on so many samples; by its name in the engine."""

    by_layer: dict[str, float]
    samples: int


_remembered: dict[tuple, Rows] = {}


@dataclass(frozen=True, eq=False)
class Listing:
    """A checkpoint's matrices by name, in order; the tensors that are none; and the way to their spectra.

    ``layers`` are those that the engine can constrain, as it names them. ``stream`` is called in a worker; where there
    are data, too, it tells what they say at its end. ``left`` counts matrices beyond the `MOST` that are shown.
    ``folder`` holds what a reader sent.
    """

    title: str
    names: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    layers: tuple[str, ...]
    stream: Callable[[], Iterator[Spectrum | Skipped | Alike]]
    left: int = 0
    folder: Path | None = None

    def discard(self) -> None:
        """Delete what was written for this listing alone."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def digits() -> Listing:
    """The network that learned the digits, of seed 0; trained where it has not been yet."""
    layers = tuple(name for name in SHAPES if name != "toy")
    names = tuple(f"{name}.weight" for name in layers)
    return Listing("the network that learned the digits", names, (), layers, _digits_stream)


def of_file(path: Path, title: str = "", cached: bool = True) -> Listing:
    """A file's or folder's checkpoint.

    Parameters
    ----------
    path
        As `read_checkpoint` takes it.
    title
        What it is called on the page; by default its own name.
    cached
        Whether its spectra are kept on disk.

    Raises
    ------
    ValueError
        If it cannot be read.
    """
    checkpoint = read_checkpoint(path)
    names, skipped = sorted_out(checkpoint)
    if not names:
        raise ValueError(f"{path} holds no matrix of numbers to take apart.")
    shown = Checkpoint(path, {name: checkpoint.tensors[name] for name in names[:MOST]})
    stream = partial(_file_stream, shown, cached)
    layers = [layer_of(name, place.info.shape) for name, place in shown.tensors.items()]
    left = max(len(names) - MOST, 0)
    return Listing(
        title or plain(path.name), tuple(names[:MOST]), tuple(skipped), tuple(filter(None, layers)), stream, left
    )


def of_upload(name: str, content: bytes) -> Listing:
    """What a reader sent, of which nothing is left on disk once the listing is discarded or let go.

    Raises
    ------
    ValueError
        If it is too large, or no checkpoint; the message begins with the file's name.
    """
    name = plain(Path(name).name, 40)
    if len(content) > LARGEST_UPLOAD:
        raise ValueError(f"{name} has {len(content):,} bytes: at most {LARGEST_UPLOAD:,} are taken.")
    folder = Path(tempfile.mkdtemp(prefix="wonderland-"))
    path = folder / "upload.safetensors"  # its own name could lead anywhere
    try:
        path.write_bytes(content)
        listing = replace(of_file(path, name, cached=False), folder=folder)
    except ValueError as error:
        shutil.rmtree(folder)
        raise ValueError(str(error).replace(str(path), name)) from None
    weakref.finalize(listing, shutil.rmtree, folder, ignore_errors=True)  # where no session ends: in a notebook
    return listing


def configured() -> Path | None:
    """The checkpoint that the server was told of."""
    path = os.environ.get(VARIABLE)
    return Path(path) if path else None


def voice() -> Path | None:
    """Weights of the Silero voice detector (MIT), where the extra `model` is installed; its code is not loaded."""
    found = find_spec("silero_vad")
    path = found and found.origin and Path(found.origin).parent / "data" / "silero_vad_16k.safetensors"
    return path if path and path.is_file() else None


def _digits_stream() -> Iterator[Spectrum | Alike]:
    from wonderland.backend import checkpoint, race
    from wonderland.backend.calibration import linear_cka
    from wonderland.backend.network import lesson

    for name, W in race.layer_weights(0).items():
        yield checkpoint.of_array(f"{name}.weight", W)
    learned = lesson("upright").x.double()
    yield Alike(linear_cka(race.pretrain(0), [learned]), len(learned))


def _file_stream(checkpoint: Checkpoint, cached: bool) -> Iterator[Spectrum | Skipped]:
    from wonderland.backend.checkpoint import spectra

    rows = _rows(checkpoint) if cached else {}
    yield from list(rows.values())
    rest = {name: place for name, place in checkpoint.tensors.items() if name not in rows}
    for row in spectra(Checkpoint(checkpoint.path, rest), default_cache() if cached else None):
        rows[row.name] = row
        yield row


def _rows(checkpoint: Checkpoint) -> Rows:
    """What is known of a checkpoint already, by whichever reader asked first."""
    key = tuple((file, _version(file)) for file in dict.fromkeys(place.file for place in checkpoint.tensors.values()))
    rows = _remembered.setdefault(key, {})
    while len(_remembered) > REMEMBERED:
        _remembered.pop(next(iter(_remembered)))
    return rows


def _version(file: Path) -> tuple[int, int]:
    """Something that changes when a file does."""
    try:
        about = file.stat()
    except OSError:
        return 0, 0
    return about.st_mtime_ns, about.st_size
