"""The book, or one demo of it, as a single HTML file that opens from disk and stays interactive.

Python walks each demo along its own axes and records what changes; the file replays it. Nothing is computed twice.
"""

import os
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from numbers import Integral
from pathlib import Path
from threading import Event, Lock

from tqdm import tqdm

import wonderland
from wonderland.demos.base import Claim, Demo
from wonderland.ledger import ENTRIES, measure
from wonderland.maths._check import shown
from wonderland.prose import Chapter, chapters
from wonderland.snapshots.page import book, single
from wonderland.snapshots.record import plan
from wonderland.snapshots.workers import recorded, recorded_aside

__all__ = ["snapshot"]


def snapshot(
    path: str | os.PathLike,
    *,
    chapter: int | Iterable[int] | None = None,
    demo: str | Demo | None = None,
    force: bool = False,
    progress: bool = True,
) -> Path:
    """Write the book as one HTML file that needs no server and no network, and stays interactive.

    Parameters
    ----------
    path
        The file to write. Of a link it is the file that it leads to, whether there is one yet or not.
    chapter
        Numbers of the chapters to write, 0 being the opening; all of them when None.
    demo
        One demo to write alone, by the name of its class or as an instance, whose state is where the file starts.
    force
        Write over a file that exists.
    progress
        Show a bar of the states recorded.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileExistsError
        If there is a file already and `force` is false.
    OSError
        If the file cannot be written there, or there is something that is no file, such as a folder or a device.
    ValueError
        If there is no such chapter or demo, or if a demo's axes have more states than a file can hold.
    """
    path = Path(path)
    parts = _chapters(chapter)
    make = _maker(demo)
    if demo is not None and chapter is not None:
        raise ValueError("Give chapters or one demo, not both.")
    target, draft = _draft(path, force)
    stop = Event()
    try:
        # In a thread of its own no event loop runs, so that what a demo starts is finished before it is recorded.
        with ThreadPoolExecutor(1) as thread:
            work = partial(_single, make) if make else partial(_book, parts)
            try:
                text = thread.submit(work, progress, stop).result()
            except (KeyboardInterrupt, SystemExit):
                stop.set()
                raise
        draft.write_text(text, encoding="utf-8")
        _refuse(path, force)
        draft.chmod(0o666 & ~_umask())
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    return path


def _chapters(chapter: int | Iterable[int] | None) -> list[Chapter]:
    there = chapters()
    if chapter is None:
        return list(there)
    numbers = list(chapter) if isinstance(chapter, Iterable) and not isinstance(chapter, str) else [chapter]
    for number in numbers:
        whole = isinstance(number, Integral) and not isinstance(number, bool)
        if not whole or number not in range(len(there)):
            why = "0 is the opening" if whole else "give a whole number there, 0 being the opening"
            raise ValueError(f"chapter = {shown(number)} is outside 0…{len(there) - 1}: {why}.")
    if not numbers:
        raise ValueError(f"No chapter is given: name some of 0…{len(there) - 1}.")
    return [there[number] for number in sorted(set(numbers))]


def _maker(demo: str | Demo | None) -> Callable[[], Demo] | None:
    """What makes the demo to record; the reader's own is left alone."""
    if demo is None:
        return None
    if isinstance(demo, Demo):
        return partial(type(demo), **{name: getattr(demo, name) for name in demo.state_names()})
    if demo not in wonderland.__all__:
        raise ValueError(f"demo = {demo!r} is unknown: give one of {', '.join(wonderland.__all__)}.")
    return getattr(wonderland, demo)


def _draft(path: Path, force: bool) -> tuple[Path, Path]:
    """The file to be written, no link to it, and an empty one beside it, which takes its place when it is whole."""
    try:
        _refuse(path, force)
        target = Path(os.path.realpath(path))
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    except OSError as error:
        if error.errno is None:  # one of the above
            raise
        raise type(error)(f"{path} cannot be written: {error.strerror}. Give a folder that can be.") from None
    os.close(handle)
    return target, Path(name)


def _refuse(path: Path, force: bool) -> None:
    """Raise OSError unless a file may take that place."""
    if path.is_dir():
        example = path / "rabbit-hole.html"
        raise IsADirectoryError(f"{path} is a folder: give the name of a file, such as {example}.")
    if not path.is_file() and (path.exists() or os.path.islink(os.path.realpath(path))):  # a link to itself is no end
        raise OSError(f"{path} is no file but a device, a pipe or the like: give the name of a file.")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists: give another name, or write over it with force (--force).")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _single(make: Callable[[], Demo], progress: bool, stop: Event) -> str:
    recording = plan(make())
    name = type(recording.demo).__name__
    with _Bar(recording.states, progress, stop) as bar:
        return single(name, recording.demo.title, recorded(recording, lambda: bar.tick(name)))


def _book(parts: list[Chapter], progress: bool, stop: Event) -> str:
    names = [content for chapter in parts for kind, content in chapter.parts if kind == "demo"]
    asked = [entry for entry in ENTRIES if entry.demo] if any(("ledger", "") in c.parts for c in parts) else []
    states = {name: plan(getattr(wonderland, name)()).states for name in names}  # a refusal comes at once
    found: dict[str, Claim] = {}
    with _Bar(sum(states.values()) + len(asked), progress, stop) as bar:
        cards = recorded_aside(sorted(names, key=states.__getitem__, reverse=True), bar.tick)
        for entry in asked:
            found |= measure(entry)
            bar.tick("the ledger")
    return book(parts, cards, found)


class _Bar:
    """The bar of the states recorded, moved by whatever thread has recorded one."""

    def __init__(self, total: int, progress: bool, stop: Event) -> None:
        self._bar = tqdm(total=total, unit=" states", disable=not progress, leave=False, mininterval=0.5)
        self._lock = Lock()
        self._stop = stop

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def tick(self, name: str) -> None:
        """One state more; an InterruptedError if the snapshot was given up."""
        if self._stop.is_set():
            raise InterruptedError("The snapshot was given up.")
        with self._lock:
            self._bar.set_description(name, refresh=False)
            self._bar.update()
