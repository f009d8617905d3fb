"""Cards that are made in processes beside this one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import wonderland
from wonderland.snapshots import workers
from wonderland.snapshots.record import plan
from wonderland.snapshots.workers import recorded, recorded_aside

NAMES = ["NumpyWarmup", "RabbitHole"]


def markup(card: str) -> str:
    """A card without its record, in which Bokeh numbers its models on and on."""
    return re.sub(r"<script.*?</script>", "", card, flags=re.DOTALL)


def test_they_are_the_cards_that_this_process_makes() -> None:
    seen: list[str] = []
    cards = recorded_aside(NAMES, seen.append)
    for name in NAMES:
        recording = plan(getattr(wonderland, name)())
        assert seen.count(name) == recording.states
        assert markup(cards[name]) == markup(recorded(recording, lambda: None))


def test_a_process_that_ends_is_told_of(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="WhiteRabbit could not be recorded: its process ended with 1"):
        recorded_aside(["WhiteRabbit", "NumpyWarmup"], lambda name: None)
    assert "no attribute 'WhiteRabbit'" in capfd.readouterr().err


def test_whoever_gives_up_leaves_no_process_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[subprocess.Popen] = []
    begin = workers._begin
    monkeypatch.setattr(workers, "_begin", lambda: begun.append(begin()) or begun[-1])

    def give_up(name: str) -> None:
        raise InterruptedError(name)

    with pytest.raises(InterruptedError, match=r"RotationDemo|OSFTStep"):
        recorded_aside(["RotationDemo", "OSFTStep"], give_up)
    assert begun
    assert all(process.returncode for process in begun)


def test_a_reader_s_script_needs_no_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import wonderland\nprint(wonderland.snapshot('two.html', chapter=[0, 8], progress=False))\n")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "two.html\n"), done.stderr
    assert (tmp_path / "two.html").read_text(encoding="utf-8").count('type="application/gzip"') == len(NAMES)
