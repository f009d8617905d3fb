import json
import math
import tomllib

import pytest

from wonderland.backend import settings as module
from wonderland.backend.methods import METHODS
from wonderland.backend.race import race
from wonderland.backend.settings import OPTIMIZERS, Entrant, RaceSettings, from_table, tuned_rate


def test_a_method_by_its_name_is_an_entrant_with_its_defaults():
    settings = RaceSettings(methods=("full", Entrant("lora", "small", options={"rank": 4})))
    assert [entrant.name for entrant in settings.methods] == ["full", "small"]
    assert settings.methods[1].settings == {"rank": 4}
    assert Entrant("oft").settings == {"block": 32}
    assert settings.rate(settings.methods[0]) == tuned_rate("full", "adamw")
    assert settings.rate(Entrant("full", lr=0.5)) == 0.5


def test_a_table_says_all_and_is_read_back():
    settings = RaceSettings(
        ("low", "high", "inverted"), ("gpm", Entrant("lora", "small", 1e-2, 0.3, {"rank": 2})), (4, 7), 20, 5, 0.25,
        "momentum", 0.01, "class", "validation",
    )  # fmt: skip
    table = settings.as_table()
    again = from_table(json.loads(json.dumps(table)))
    assert again.as_table() == table
    assert again.methods[1] == settings.methods[1]
    short = {"steps": 4, "every": 2}
    written_out = from_table(RaceSettings(**short).as_table())
    assert list(race(written_out)) == list(race(RaceSettings(**short)))


def test_toml_is_a_table():
    text = """
    tasks = ["upright", "mirrored"]
    methods = ["full", {method = "lora", name = "small", rank = 4, lr = 0.003}]
    seeds = [3]
    """
    settings = from_table(tomllib.loads(text))
    assert settings == RaceSettings(
        ("upright", "mirrored"), ("full", Entrant("lora", "small", 3e-3, options={"rank": 4})), (3,)
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_rate_with_every_optimizer(method):
    for optimizer in OPTIMIZERS:
        settings = RaceSettings(methods=(method,), optimizer=optimizer)
        assert 0 < settings.rate(settings.methods[0]) <= 1


def test_a_method_of_ones_own_brings_its_rate(monkeypatch):
    monkeypatch.setitem(METHODS, "mine", type("Mine", (METHODS["full"],), {"rates": {"sgd": 0.5}}))
    assert tuned_rate("mine", "sgd") == 0.5
    with pytest.raises(ValueError, match="lr of mine with adamw is not known: give one"):
        RaceSettings(methods=("mine",))
    assert RaceSettings(methods=(Entrant("mine", lr=0.1),)).methods[0].lr == 0.1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"chosen": {"adamw": {"full": "fast"}}}', '{"chosen": 3}'])
def test_spoiled_rates_are_refused(text, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TUNED", tmp_path / "tuning.json")
    module.TUNED.write_text(text)
    module._tuned.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"tuning\.json holds no tuned rates"):
            tuned_rate("full", "adamw")
    finally:
        module._tuned.cache_clear()


BAD = [
    ({"tasks": ("upright",)}, ValueError, r"len\(tasks\) = 1 is outside 2…5"),
    ({"tasks": ("upright", "upright")}, ValueError, "tasks = .*twice"),
    ({"tasks": ("upright", "sideways")}, ValueError, "task = 'sideways' is unknown: .*upright, rotated"),
    ({"tasks": ("upright", None)}, TypeError, "task = None"),
    ({"tasks": "upright"}, TypeError, "tasks = 'upright' is not a tuple"),
    ({"methods": ()}, ValueError, r"len\(methods\) = 0 is outside 1…"),
    ({"methods": ("full", "full")}, ValueError, "twice"),
    ({"methods": ("full", Entrant("lora", "full"))}, ValueError, "twice"),
    ({"methods": ("magic",)}, ValueError, "method = 'magic' is unknown: .*full, l2sp"),
    ({"methods": (1,)}, TypeError, "methods holds 1: give a name"),
    ({"methods": ({"name": "x"},)}, TypeError, "methods holds .*table with a method"),
    ({"methods": ({"method": "lora", "rang": 3},)}, ValueError, "'rang' is no option of lora: it has rank"),
    ({"methods": ({"method": "full", "rank": 3},)}, ValueError, "'rank' is no option of full: it has none"),
    ({"methods": ({"method": "lora", "rank": 200},)}, ValueError, "rank of lora = 200 is outside 1…128"),
    ({"methods": ({"method": "lora", "rank": 2.5},)}, TypeError, "rank of lora = 2.5 is not a whole number"),
    ({"methods": ({"method": "oft", "block": 1},)}, ValueError, "block of oft = 1 is outside 2…64"),
    ({"methods": ({"method": "osft", "basis": "luck"},)}, ValueError, "basis of osft = 'luck' is unknown"),
    ({"methods": ({"method": "replay", "buffer": 0},)}, ValueError, "buffer of replay = 0 is outside"),
    ({"methods": ({"method": "l2sp", "strength": -1},)}, ValueError, "strength of l2sp = -1 is outside"),
    ({"methods": ({"method": "osft", "keep": 1},)}, ValueError, "keep = 1 leaves nothing free"),
    ({"methods": ({"method": "full", "lr": math.nan},)}, ValueError, "lr of full = nan is outside"),
    ({"methods": ({"method": "full", "lr": 0},)}, ValueError, "lr of full = 0 is outside"),
    ({"methods": ({"method": "full", "lr": math.inf},)}, ValueError, "lr of full = inf is outside"),
    ({"methods": ({"method": "full", "lr": "fast"},)}, TypeError, "lr of full = 'fast'"),
    ({"methods": ({"method": "full", "name": 3},)}, TypeError, "name = 3 is not a text"),
    ({"methods": ({"method": "full", "name": "x" * 99},)}, TypeError, "at most 40 letters"),
    ({"methods": "full"}, TypeError, "methods = 'full' is not a tuple"),
    ({"seeds": ()}, ValueError, r"len\(seeds\) = 0"),
    ({"seeds": (1, 1)}, ValueError, "seeds = .*twice"),
    ({"seeds": (1, True)}, TypeError, "seed = True"),
    ({"seeds": tuple(range(1000))}, ValueError, r"len\(seeds\) = .* is outside 1…64"),
    ({"seeds": 3}, TypeError, "seeds = 3 is not a tuple"),
    ({"seeds": (-1,)}, ValueError, "seed = -1 is outside"),
    ({"seeds": (math.nan,)}, TypeError, "seed = nan"),
    ({"steps": 0}, ValueError, "steps = 0 is outside 1…10,000"),
    ({"steps": 10**9}, ValueError, "steps = .* is outside 1…10,000"),
    ({"steps": 3.5}, TypeError, "steps = 3.5"),
    ({"keep": 0}, ValueError, "keep = 0 leaves nothing protected"),
    ({"keep": 1}, ValueError, "keep = 1 leaves nothing free"),
    ({"keep": math.nan}, ValueError, "keep = nan is outside 0…1"),
    ({"keep": "half"}, TypeError, "keep = 'half'"),
    ({"every": 0}, ValueError, "every = 0 is outside"),
    ({"every": True}, TypeError, "every = True"),
    ({"optimizer": "lion"}, ValueError, "optimizer = 'lion' is unknown: .*adamw, momentum, sgd"),
    ({"weight_decay": -0.1}, ValueError, "weight_decay = -0.1 is outside"),
    ({"scenario": "domain"}, ValueError, "scenario = 'domain' is unknown"),
    ({"judged_on": "train"}, ValueError, "judged_on = 'train' is unknown"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD)
def test_a_bad_setting_is_refused(bad, error, message):
    with pytest.raises(error, match=message):
        RaceSettings(**bad)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"step": 3}, ValueError, "'step' is no setting of a race: it has tasks, methods"),
        ({"lr": {"full": 1}}, ValueError, "'lr' is no setting"),
        ({"steps": "many"}, TypeError, "steps = 'many'"),
        ({"seeds": 3}, TypeError, r"seeds = 3 is not a list: give one, such as \[3\]"),
        ({"seeds": True}, TypeError, r"seeds = True is not a list: give one, such as \[0\]"),
        ({"seeds": 10**5000}, TypeError, r"seeds = 10\^\d+ or so is not a list"),
        ({"tasks": 3}, TypeError, r'tasks = 3 is not a list: give one, such as \["upright", "rotated"\]'),
        ({"methods": "x" * 99}, TypeError, r'is not a list: give one, such as \["full", "osft"\]'),
        ({"methods": ["full", ["lora"]]}, TypeError, r"methods holds \['lora'\]"),
        ([], TypeError, "are not a table"),
    ],
)
def test_a_bad_table_is_refused(table, error, message):
    with pytest.raises(error, match=message):
        from_table(table)
