"""What becomes of the file: where it may be written, and what stands in it."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import wonderland
from tests.snapshots.demos import Pair, PairMeasure
from wonderland.__main__ import main
from wonderland.demos import jobs
from wonderland.maths._check import shown
from wonderland.prose import chapters
from wonderland.snapshots.page import _inline

NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Act without an administrator's right to write anywhere."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(me)


@pytest.fixture(scope="module")
def rotation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("one") / "rotation.html"
    assert wonderland.RotationDemo(map="shear", amount=0.37).snapshot(path, progress=False) == path
    return path


class TestFile:
    def test_one_demo_holds_all_it_needs(self, rotation: Path) -> None:
        text = rotation.read_text(encoding="utf-8")
        assert text.startswith("<!DOCTYPE html>")
        markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
        assert not re.search(r"""(?:src|href)=["']?(?!data:|#)\w""", markup)
        assert set(re.findall(r"url\((\w+:)", markup)) == {"data:"}
        assert "default-src 'none'" in text
        assert text.count('type="application/gzip"') == 1
        assert rotation.stat().st_size < 3e6

    def test_it_starts_where_the_demo_stands(self, rotation: Path) -> None:
        text = rotation.read_text(encoding="utf-8")
        assert '<output for="RotationDemo-amount">0.37</output>' in text
        assert '<option value="2" selected>shear</option>' in text

    def test_nothing_of_the_reader_s_demo_is_moved(self, tmp_path: Path) -> None:
        demo = wonderland.NumpyWarmup(k=2)
        demo.snapshot(tmp_path / "warmup.html", progress=False)
        assert demo.k == 2

    def test_chapters_are_chosen(self, tmp_path: Path) -> None:
        path = wonderland.snapshot(tmp_path / "two.html", chapter=[8, 12], progress=False)
        text = path.read_text(encoding="utf-8")
        assert re.findall(r'<section class="chapter" id="chapter-(\d+)"', text) == ["8", "12"]
        assert 'href="#chapter-3"' not in text  # which is not there
        assert 'href="?' not in text

    def test_lesser_controls_stand_below_the_pictures_on_a_phone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Pair, "below", ("b",))
        html = Pair().snapshot(tmp_path / "pair.html", progress=False).read_text(encoding="utf-8")
        fields = re.findall(r'<div class="(field[^"]*)"[^>]*data-name="(\w+)"', html)
        assert fields == [("field slider", "a"), ("field below slider", "b"), ("field slider", "seed")]
        assert '<form class="controls parted">' in html

    def test_a_script_cannot_end_its_element(self) -> None:
        assert "</script" not in _inline("const end = '</script>' + '</SCRIPT>'").lower()

    def test_it_is_written_as_others_are(self, rotation: Path) -> None:
        plain = rotation.parent / "plain"
        plain.touch()
        assert rotation.stat().st_mode == plain.stat().st_mode

    def test_in_a_notebook_work_is_finished_before_it_is_recorded(self, tmp_path: Path) -> None:
        """There an event loop runs, in which a demo's worker would come back later."""
        seen: list[bool] = []

        class Watched(Pair):
            """A pair that looks whether anything would come back."""

            def measure(self) -> PairMeasure:
                seen.append(jobs.returns())
                return super().measure()

        async def cell() -> None:
            demo = Watched()
            seen.clear()
            demo.snapshot(tmp_path / "pair.html", progress=False)

        asyncio.run(cell())
        assert seen
        assert not any(seen)


class TestBadInput:
    def test_a_file_that_exists_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "there.html"
        path.write_text("mine")
        with pytest.raises(FileExistsError, match=r"there.html exists: .*--force"):
            wonderland.snapshot(path, demo="NumpyWarmup")
        assert path.read_text() == "mine"
        wonderland.snapshot(path, demo="NumpyWarmup", force=True, progress=False)
        assert "A sum on the board" in path.read_text(encoding="utf-8")

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(IsADirectoryError, match="is a folder: give the name of a file"):
            wonderland.snapshot(tmp_path, force=True)

    @pytest.mark.parametrize("force", [False, True])
    @pytest.mark.parametrize("name", ["pipe", "to-pipe", "itself"])
    def test_what_is_no_file_is_left_alone(self, tmp_path: Path, name: str, force: bool) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "to-pipe").symlink_to("pipe")
        (tmp_path / "itself").symlink_to("itself")
        before = sorted((path.name, path.lstat().st_mode) for path in tmp_path.iterdir())
        with pytest.raises(OSError, match=f"{name} is no file but a device, a pipe or the like: give"):
            wonderland.snapshot(tmp_path / name, demo="NumpyWarmup", force=force)
        assert sorted((path.name, path.lstat().st_mode) for path in tmp_path.iterdir()) == before

    @pytest.mark.parametrize("there", [False, True])
    def test_through_a_link_its_file_is_written(self, tmp_path: Path, there: bool) -> None:
        (tmp_path / "folder").mkdir()
        target, link = tmp_path / "folder" / "book.html", tmp_path / "link.html"
        link.symlink_to("folder/book.html")
        if there:
            target.write_text("mine")
            with pytest.raises(FileExistsError, match=r"link.html exists: .*--force"):
                wonderland.snapshot(link, demo="NumpyWarmup")
            assert target.read_text() == "mine"
        assert wonderland.snapshot(link, demo="NumpyWarmup", force=there, progress=False) == link
        assert link.is_symlink()
        assert not target.is_symlink()
        assert "A sum on the board" in target.read_text(encoding="utf-8")
        assert list((tmp_path / "folder").iterdir()) == [target]

    def test_a_link_into_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "link.html").symlink_to("nowhere/book.html")
        with pytest.raises(FileNotFoundError, match=r"link.html cannot be written: No such file"):
            wonderland.snapshot(tmp_path / "link.html", force=True)
        assert (tmp_path / "link.html").is_symlink()

    @pytest.mark.parametrize("place", ["nowhere/book.html", "file/book.html"])
    def test_a_place_that_cannot_be_written(self, tmp_path: Path, place: str) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match=r"book.html cannot be written: .*Give a folder that can be\."):
            wonderland.snapshot(tmp_path / place)

    def test_a_folder_without_permission(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        chapters()  # read while everything may be
        with as_nobody(), pytest.raises(PermissionError, match="cannot be written"):
            wonderland.snapshot(tmp_path / "book.html")

    @pytest.mark.parametrize("number", [14, -1, True, 2.5, 2.0, "a", np.int64(14)])
    def test_an_unknown_chapter(self, tmp_path: Path, number: object) -> None:
        for chapter in (number, [number], [1, number]):
            with pytest.raises(ValueError, match=re.escape(f"chapter = {shown(number)} is outside 0…13: ")):
                wonderland.snapshot(tmp_path / "book.html", chapter=chapter)

    def test_a_chapter_may_be_of_numpy(self, tmp_path: Path) -> None:
        path = wonderland.snapshot(tmp_path / "one.html", chapter=np.int64(12), progress=False)
        assert 'id="chapter-12"' in path.read_text(encoding="utf-8")

    def test_no_chapter_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="No chapter is given"):
            wonderland.snapshot(tmp_path / "book.html", chapter=[])

    def test_an_unknown_demo(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"demo = 'WhiteRabbit' is unknown: give one of .*RotationDemo"):
            wonderland.snapshot(tmp_path / "book.html", demo="WhiteRabbit")

    def test_chapters_and_a_demo(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="not both"):
            wonderland.snapshot(tmp_path / "book.html", demo="RotationDemo", chapter=3)

    def test_an_axis_that_explodes_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wonderland.RotationDemo, "axes", {"amount": [n / 20_000 for n in range(30_000)]})
        with pytest.raises(ValueError, match=r"RotationDemo has 30,000 states.* Give amount fewer values"):
            wonderland.RotationDemo(map="shear").snapshot(tmp_path / "book.html")
        assert list(tmp_path.iterdir()) == []

    def test_an_interruption_leaves_what_was_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "book.html"
        path.write_text("yesterday's")

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(wonderland.NumpyWarmup, "marks", stop)
        with pytest.raises(KeyboardInterrupt):
            wonderland.snapshot(path, demo="NumpyWarmup", force=True, progress=False)
        assert path.read_text() == "yesterday's"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_an_end_is_heard_at_the_next_state(self, tmp_path: Path, number: signal.Signals, status: int) -> None:
        command = [sys.executable, "-m", "wonderland", "snapshot", "book.html", "--chapter", "1", "--chapter", "7"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        while "states" not in (process.stderr.readline() if process.poll() is None else "states"):
            pass
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        assert process.returncode == status
        said = [line for line in told.splitlines() if line.strip() and "states" not in line]
        assert said == ["interrupted: nothing is written."] * (number == signal.SIGINT)
        assert list(tmp_path.iterdir()) == []


class TestCommand:
    def test_it_writes_and_says_what(self, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        path = tmp_path / "sum.html"
        main(["snapshot", str(path), "--demo", "NumpyWarmup"])
        assert capsys.readouterr().out == f"{path}: {path.stat().st_size / 1e6:.1f} MB\n"
        with pytest.raises(SystemExit, match="2"):
            main(["snapshot", str(path), "--demo", "NumpyWarmup"])
        assert "exists: give another name" in capsys.readouterr().err
        main(["snapshot", str(path), "--demo", "NumpyWarmup", "--force"])

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--demo", "Swim"], "demo = 'Swim' is unknown"),
            (["--chapter", "14"], "chapter = 14 is outside 0…13"),
            (["--chapter", "three"], "invalid int value: 'three'"),
            (["--chapter", "3", "--demo", "RotationDemo"], "not allowed with"),
        ],
    )
    def test_bad_words(self, tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["snapshot", str(tmp_path / "book.html"), *arguments])
        assert words in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []
