import json
from dataclasses import replace

import numpy as np
import pytest

from wonderland.backend import record as module
from wonderland.backend.race import Entrant, RaceSettings, race
from wonderland.demos.race import record as race_record

SHORT = RaceSettings(methods=("full", "osft"), seeds=(1, 0), steps=4, every=2)


@pytest.fixture(scope="module")
def made():
    return module.record(SHORT)


def test_every_curve_is_the_race_itself(made):
    assert [(curve["method"], curve["seed"]) for curve in made["curves"]] == [
        ("full", 0), ("full", 1), ("osft", 0), ("osft", 1),
    ]  # fmt: skip
    for point in race(SHORT):
        curve = next(c for c in made["curves"] if (c["method"], c["seed"]) == (point.method, point.seed))
        at = list(zip(curve["task"], curve["step"], strict=True)).index((point.task, point.step))
        assert curve["loss"][at] == pytest.approx(point.loss, rel=6e-3)
        for name in ("accuracy", *module.LAYERED):
            held = [column[at] for column in curve[name]]
            np.testing.assert_allclose(held, getattr(point, name), rtol=6e-3)


def test_the_settings_say_which_rates_were_used(made):
    entrants = made["settings"]["methods"]
    assert {each["name"]: each["lr"] for each in entrants} == {e.name: SHORT.rate(e) for e in SHORT.methods}
    assert made["settings"]["seeds"] == [1, 0]


def test_what_is_written_is_what_the_page_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "RECORDED", replace(module.RECORDED, steps=2, every=1, seeds=(0,)))
    out = tmp_path / "race.json"
    module.main(["--out", str(out)])
    assert f"{out}: {out.stat().st_size:,} bytes" in capsys.readouterr().out
    read = race_record.read(out)
    assert (read.setting.steps, read.seeds, read.state, read.reached) == (2, (0,), "done", 4)
    assert len(out.read_text().splitlines()) == 4 + 1 + 13 + 2  # a line for each part and curve
    assert json.loads(out.read_text())["settings"]["tasks"] == ["upright", "rotated", "permuted"]


def test_a_race_that_diverges_is_no_record():
    wild = Entrant("full", lr=1e12)
    with pytest.raises(ValueError, match=r"full, seed 0, diverged at step \d+: choose a smaller lr"):
        module.record(RaceSettings(methods=(wild,), steps=20))
