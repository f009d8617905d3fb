import json

import pytest

from wonderland.backend import record as module
from wonderland.backend.race import RaceSettings, race
from wonderland.demos import races

SHORT = RaceSettings(seeds=(1, 0), steps=4, every=2)


@pytest.fixture(scope="module")
def made():
    return module.record(SHORT)


def test_every_curve_is_the_race_itself(made):
    assert [(curve["method"], curve["seed"]) for curve in made["curves"]] == [
        ("full", 0), ("full", 1), ("osft", 0), ("osft", 1),
    ]  # fmt: skip
    for point in race(SHORT):
        curve = next(c for c in made["curves"] if (c["method"], c["seed"]) == (point.method, point.seed))
        at = curve["step"].index(point.step)
        for name in module.MEASURES:
            assert curve[name][at] == pytest.approx(getattr(point, name), rel=1e-5, abs=1e-12)


def test_the_settings_say_which_rates_were_used(made):
    assert made["settings"]["lr"] == {"full": 1e-3, "osft": 1.5e-3}
    assert made["settings"]["seeds"] == (1, 0)


def test_what_is_written_is_what_the_page_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "RaceSettings", lambda seeds: RaceSettings(seeds=seeds[:1], steps=2))
    out = tmp_path / "race.json"
    module.main(["--out", str(out)])
    assert f"{out}: {out.stat().st_size:,} bytes" in capsys.readouterr().out
    read = races.read(out)
    assert (read.steps, read.seeds, read.state) == (2, (0,), "done")
    assert len(out.read_text().splitlines()) == 9  # a line for each part and curve
    assert json.loads(out.read_text())["settings"]["task"] == "rotated"


def test_a_race_that_diverges_is_no_record():
    with pytest.raises(ValueError, match=r"full, seed 0, diverged at step \d+: choose a smaller lr"):
        module.record(RaceSettings(methods=("full",), steps=20, lr={"full": 1e12}))
