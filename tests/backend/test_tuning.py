import json
from functools import partial

import pytest

from wonderland.backend import tuning
from wonderland.backend.methods import METHODS
from wonderland.backend.race import RaceSettings, race
from wonderland.backend.settings import OPTIMIZERS, TUNED, Entrant, tuned_rate


@pytest.fixture(scope="module")
def held():
    return json.loads(TUNED.read_text())


def test_the_defaults_are_the_best_of_the_sweep(held):
    for optimizer in OPTIMIZERS:
        for method in METHODS:
            rows = held["scores"][f"{optimizer} {method}"]
            assert rows == sorted(rows, key=lambda row: -row["score"])
            rates = tuning.RATES[optimizer][: 1 if method == "frozen" else None]
            assert sorted({row["lr"] for row in rows}) == sorted(rates)
            assert held["chosen"][optimizer][method] == tuned_rate(method, optimizer) == tuning.chosen(method, rows)


def test_options_chosen_with_the_rate_are_the_defaults(held):
    for method, choices in tuning.CHOICES.items():
        best = held["scores"][f"adamw {method}"][0]
        assert {name: best[name] for name in choices[0]} == Entrant(method).settings


def test_no_chosen_rate_of_the_page_stands_at_an_end_of_the_grid(held):
    """Else the best may lie beyond."""
    for method in ("full", "lora", "oft", "osft", "gpm"):
        assert min(tuning.RATES["adamw"]) < held["chosen"]["adamw"][method] < max(tuning.RATES["adamw"]), method


def test_a_score_is_the_average_accuracy_on_validation_images():
    rows = tuning.tune("full", "adamw", (1e-3, 1e12), (("upright", "mirrored"),), (5, 6), steps=10)
    assert [row["lr"] for row in rows] == [1e-3, 1e12]
    settings = RaceSettings(
        ("upright", "mirrored"), (Entrant("full", lr=1e-3),), (5, 6), 10, every=10, judged_on="validation"
    )
    ends = [sum(point.accuracy) / 2 for point in race(settings) if (point.task, point.step) == (1, 10)]
    assert rows[0]["score"] == pytest.approx(sum(ends) / 2, abs=1e-5)
    assert rows[1]["score"] == 0  # diverged


def test_the_sweep_never_sees_the_test_images(held, monkeypatch):
    seen = []
    monkeypatch.setattr(tuning, "race", lambda settings: seen.append(settings) or [])
    monkeypatch.setattr(tuning, "mean", lambda values: 0)
    tuning.tune("lora", "sgd", (0.1,))
    assert {settings.judged_on for settings in seen} == {"validation"} == {held["settings"]["judged_on"]}
    assert not set(seen[0].seeds) & set(range(5))


def test_one_command_writes_what_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tuning, "METHODS", {"l2sp": METHODS["l2sp"], "frozen": METHODS["frozen"]})
    monkeypatch.setattr(tuning, "RATES", dict.fromkeys(OPTIMIZERS, (1e-3,)))
    short = partial(tuning.tune, courses=(("upright", "mirrored"),), seeds=(5,), steps=2)
    monkeypatch.setattr(tuning, "tune", short)
    out = tmp_path / "tuning.json"
    tuning.main(["--out", str(out)])
    made = json.loads(out.read_text())
    assert made["chosen"]["sgd"] == {"l2sp": 1e-3, "frozen": 1e-3}
    assert len(made["scores"]["adamw l2sp"]) == 3
    assert "momentum frozen: lr 0.001, score 0." in capsys.readouterr().err
