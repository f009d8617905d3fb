import json
import math

import numpy as np
import pytest

from wonderland import FirstForgetting, TrainingSim, ledger
from wonderland.backend import one_core
from wonderland.backend.race import RaceSettings, race
from wonderland.backend.record import RECORDED
from wonderland.demos.race import races
from wonderland.demos.race import record as race_record


@pytest.fixture
def held():
    """The recorded race, as JSON."""
    return json.loads(race_record.RECORD.read_text())


@pytest.fixture
def spoiled(tmp_path, monkeypatch):
    path = tmp_path / "race.json"
    path.write_text('{"curves": [')
    monkeypatch.setattr(race_record, "RECORD", path)
    race_record.recorded.cache_clear()
    yield
    race_record.recorded.cache_clear()


def read(tmp_path, held):
    path = tmp_path / "race.json"
    path.write_text(held if isinstance(held, str) else json.dumps(held))
    return race_record.read(path)


def test_the_record_is_the_race_that_the_page_opens_with():
    recorded = race_record.recorded()
    assert recorded.setting.covers(TrainingSim().setting())
    assert recorded.setting.tasks == RECORDED.tasks
    assert recorded.setting.seeds == RECORDED.seeds
    assert recorded.setting.every == RECORDED.every
    assert recorded.setting.methods == tuple(entrant.name for entrant in RECORDED.methods)
    assert recorded.setting.rates == {}  # all at the rates that the page races with
    assert (recorded.state, recorded.origin, recorded.share, recorded.reached) == ("done", "recorded", 1.0, 600)


def test_the_record_is_small_and_says_where_it_comes_from(held):
    assert race_record.RECORD.stat().st_size < race_record.LARGEST
    assert {"torch", "numpy", "python", "wonderland"} <= held["versions"].keys()
    assert held["recorded"] in race_record.recorded().source


def test_every_number_is_the_files(held):
    recorded = race_record.recorded()
    for curve in held["curves"]:
        track = recorded.of(curve["method"])
        seat = track.seeds.index(curve["seed"])
        for name in races.Track.MEASURES:
            np.testing.assert_array_equal(getattr(track, name)[seat].T, curve[name])


def test_training_again_gives_what_was_recorded():
    """The first steps; another machine may round another image over the line."""
    methods = ("full", "lora", "oft", "osft", "gpm")
    with one_core():
        again = list(race(RaceSettings(RECORDED.tasks, methods, (0,), steps=40, every=20)))
    recorded = race_record.recorded()
    for point in (point for point in again if point.task == 1):
        track = recorded.of(point.method)
        (at,) = np.flatnonzero((track.task == 1) & (track.step == point.step))
        np.testing.assert_allclose(track.accuracy[0, at], point.accuracy, atol=0.01)
        assert track.loss[0, at] == pytest.approx(point.loss, rel=6e-3)
        np.testing.assert_allclose(track.drift[0, at], point.drift, rtol=6e-3, atol=1e-9)


def drop(held, *keys):
    for key in keys[:-1]:
        held = held[key]
    del held[keys[-1]]


def put(held, *keys):
    *keys, last, value = keys
    for key in keys:
        held = held[key]
    held[last] = value


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda h: drop(h, "curves"), "there is no 'curves'"),
        (lambda h: drop(h, "settings", "keep"), "there is no 'keep'"),
        (lambda h: drop(h, "versions", "torch"), "there is no 'torch'"),
        (lambda h: put(h, "recorded", "yesterday"), "yesterday"),
        (lambda h: put(h, "settings", "tasks", 1, "upside down"), "'upside down'"),
        (lambda h: put(h, "settings", "tasks", ["upright"]), "not two or more, each once"),
        (lambda h: put(h, "settings", "tasks", 1, "upright"), r"\['upright', 'upright', 'permuted'\]: not two"),
        (lambda h: h["settings"]["tasks"].append("mirrored"), "rows of accuracy"),
        (lambda h: put(h, "settings", "keep", 1.5), r"keep = 1\.5 is outside"),
        (lambda h: put(h, "settings", "optimizer", "luck"), "its optimizer is 'luck'"),
        (lambda h: put(h, "settings", "steps", 310), "does not rise from step 0 to 620"),
        (lambda h: put(h, "curves", 0, "step", 3, 5), "does not rise"),
        (lambda h: put(h, "curves", 0, "step", 3, 30), "has other steps"),
        (lambda h: put(h, "curves", 0, "accuracy", 0, 2, 1.2), r"1\.2 among its values of accuracy"),
        (lambda h: put(h, "curves", 0, "loss", 2, math.nan), "nan among its values of loss"),
        (lambda h: put(h, "curves", 0, "drift", 1, 2, math.inf), "inf among its values of drift"),
        (lambda h: put(h, "curves", 0, "leak", 0, 2, "much"), "much"),
        (lambda h: h["curves"][0]["loss"].pop(), "32 values of loss for 33 steps"),
        (lambda h: h["curves"][0]["accuracy"].pop(), "rows of accuracy, not 3"),
        (lambda h: h["curves"].pop(), r"its settings ask for \[.*\('frozen', 4\)"),
        (lambda h: put(h, "curves", 0, "method", "magic"), "its settings ask for"),
        (lambda h: put(h, "settings", "methods", 0, "method", "magic"), "'magic'"),
        (lambda h: put(h, "curves", None), "holds no recorded race"),
        (lambda h: put(h, "curves", 0, "step", 3, 10**30), "no recorded race: .* too large"),
        (lambda h: put(h, "settings", "steps", math.inf), "no recorded race: .* infinity"),
        (lambda h: put(h, "settings", "seeds", 0, math.inf), "no recorded race"),
    ],
)
def test_a_spoiled_record_is_refused(held, tmp_path, spoil, message):
    spoil(held)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, held)


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "[" * 100_000, "1" * 5000])
def test_what_is_no_json_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"race\.json is not JSON"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"race"'])
def test_json_that_is_no_race_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"race\.json holds no recorded race"):
        read(tmp_path, text)


def test_a_huge_file_is_not_read_and_a_missing_one_is_named(tmp_path):
    with pytest.raises(ValueError, match="at most 300,000"):
        read(tmp_path, " " * (race_record.LARGEST + 1))
    with pytest.raises(ValueError, match=r"nowhere\.json cannot be read"):
        race_record.read(tmp_path / "nowhere.json")


@pytest.mark.usefixtures("spoiled")
def test_without_its_record_the_page_says_so_and_races_all_the_same():
    demo = TrainingSim(course="upright,mirrored", methods="full,osft", seeds=2, steps=20)
    demo.__panel__().get_root()
    assert "race.json is not JSON" in demo.spoiled
    assert "press Run the race" in demo.details(demo.result)
    for view in demo.param.view.objects:
        demo.view = view
        assert demo.problem == ""
    assert demo.run_now().share == 1
    assert [claim.key for claim in demo.claims(demo.result)] == ["zero-forgetting", "knowledge"]
    guess = FirstForgetting()
    guess.__panel__().get_root()
    guess.param.trigger("late")
    guess.param.trigger("reveal")
    assert "race.json is not JSON" in guess.details(guess.result)
    assert "race.json is not JSON" in guess.describe(guess.result)
    assert guess.claims(guess.result) == []
    assert "race.json is not JSON" in ledger._forgetting_card()[-1]
