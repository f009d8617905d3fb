import argparse
import csv
import io
import json
import math
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import torch

from wonderland.__main__ import main
from wonderland.backend import command
from wonderland.backend import race as race_module
from wonderland.backend.picture import picture
from wonderland.backend.race import METHODS, TASKS, Entrant, RacePoint, RaceSettings, race

SHORT = ["--steps", "6", "--every", "3", "--seeds", "0", "1"]
CONFIG = """
tasks = ["upright", "mirrored", "inverted"]
methods = ["osft", {method = "lora", name = "small", rank = 4, lr = 0.003}]
seeds = [0, 1]
steps = 6
every = 3
"""
SETTINGS = RaceSettings(
    ("upright", "mirrored", "inverted"), ("osft", Entrant("lora", "small", 3e-3, options={"rank": 4})), (0, 1), 6, 3
)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "race.toml"
    path.write_text(CONFIG)
    return path


def test_the_numbers_are_those_of_the_race(config, tmp_path, capsys):
    out, table = tmp_path / "race.json", tmp_path / "race.csv"
    main(["race", "--config", str(config), "--json", str(out), "--csv", str(table)])
    points = list(race(SETTINGS))
    held = json.loads(out.read_text())
    assert held["settings"] == SETTINGS.as_table()
    assert held["versions"]["torch"] == str(torch.__version__)
    made = [RacePoint(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for row in held["points"]]
    assert made == points
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [float(row["accuracy_inverted"]) for row in rows] == [point.accuracy[2] for point in points]
    assert [float(row["shift_3"]) for row in rows] == [point.shift[2] for point in points]
    assert [(row["method"], int(row["seed"]), int(row["task"]), int(row["step"])) for row in rows] == [
        (point.method, point.seed, point.task, point.step) for point in points
    ]
    printed = capsys.readouterr()
    assert "12 of 12 steps" in printed.err
    head, *lines = printed.out.splitlines()
    assert head.split() == ["upright", "mirrored", "inverted"]
    ends = [point.accuracy[0] for point in points if (point.method, point.task, point.step) == ("small", 2, 6)]
    assert lines[1].split()[:2] == ["small", f"{50 * sum(ends):.1f}"]


def test_one_seed_has_no_spread(capsys):
    main(["race", "--methods", "full", "--seeds", "5", "--steps", "2"])
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["upright", "rotated"]
    ends = list(race(RaceSettings(methods=("full",), seeds=(5,), steps=2)))[-1].accuracy
    assert line.split() == ["full", *(f"{100 * accuracy:.1f}" for accuracy in ends)]


def test_flags_go_before_the_file(config, tmp_path):
    out = tmp_path / "race.json"
    flags = ["--steps", "2", "--methods", "full", "lora:rank=2,lr=1e-3,name=a b", "--keep", "0.3", "--tasks"]
    flags += ["low", "high", "--scenario", "class", "--optimizer", "sgd", "--workers", "2"]
    main(["race", "--config", str(config), "--json", str(out), *flags])
    held = json.loads(out.read_text())
    lora = Entrant("lora", "a b", 1e-3, options={"rank": 2})
    settings = RaceSettings(("low", "high"), ("full", lora), (0, 1), 2, 3, 0.3, "sgd", scenario="class")
    assert held["settings"] == settings.as_table()
    assert [row["loss"] for row in held["points"]] == [point.loss for point in race(settings)]


def test_a_curve_that_diverges_is_said_to_and_the_rest_is_written(tmp_path, capsys):
    out, table, drawn = (tmp_path / f"race.{kind}" for kind in ("json", "csv", "svg"))
    files = ["--json", str(out), "--csv", str(table), "--picture", str(drawn)]
    main(["race", *SHORT, "--methods", "full", "full:lr=1e12,name=wild", *files])
    assert "2 of 2 diverged" in capsys.readouterr().out
    rows = json.loads(out.read_text())["points"]
    assert [row["loss"] for row in rows if row["diverged"]] == [None, None]
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert all(math.isnan(float(row["loss"])) == (row["diverged"] == "1") for row in rows)
    assert sum(row["method"] == "full" for row in rows) == 2 * 4
    ElementTree.parse(drawn)


def test_the_picture_shows_each_mean(tmp_path):
    points = list(race(SETTINGS))
    svg = ElementTree.fromstring(picture(points, SETTINGS))
    lines = svg.findall(".//{*}polyline")
    assert len(lines) == 3 * 2  # a panel a task, a line a method
    texts = [text.text for text in svg.findall(".//{*}text")]
    assert texts.count("small") == 3
    assert {"upright, %", "mirrored, %", "inverted, %"} <= set(texts)
    # The first line: osft on the first task. Its height falls as accuracy rises, by the same measure throughout.
    heights = [float(point.split(",")[1]) for point in lines[0].get("points").split()]
    steps = [(1, 0), (1, 3), (1, 6), (2, 3), (2, 6)]
    own = [[p.accuracy[0] for p in points if p.method == "osft" and (p.task, p.step) == at] for at in steps]
    means = [sum(values) / 2 for values in own]
    grid = [float(path.get("d").split()[1].split("h")[0]) for path in svg.findall(".//{*}path")[:5]]
    expected = [grid[0] + (grid[4] - grid[0]) * value for value in means]
    assert heights == pytest.approx(expected, abs=0.1)
    assert "<wild &" not in picture(points, RaceSettings(methods=(Entrant("full", "<wild & free>"),)))


def test_an_interrupted_race_keeps_what_it_has(tmp_path, monkeypatch, capsys):
    watched = command._watched

    def interrupted(stream, settings):
        for count, point in enumerate(watched(stream, settings)):
            if count == 7:
                raise KeyboardInterrupt
            yield point

    monkeypatch.setattr(command, "_watched", interrupted)
    table = tmp_path / "race.csv"
    with pytest.raises(SystemExit, match="130"):
        main(["race", *SHORT, "--methods", "full", "--csv", str(table)])
    assert "interrupted: 7 points are kept" in capsys.readouterr().err
    assert len(table.read_text().splitlines()) == 8


def test_a_file_that_cannot_be_written_takes_no_other_with_it(tmp_path, capsys):
    out, drawn = tmp_path / "race.json", tmp_path / "race.svg"
    files = ["--csv", "/dev/full", "--json", str(out), "--picture", str(drawn)]
    with pytest.raises(SystemExit, match=r"^1$"):
        main(["race", "--methods", "full", "--steps", "2", *files])
    printed = capsys.readouterr()
    assert "csv = /dev/full cannot be written: No space left on device." in printed.err
    assert printed.out.split()[:3] == ["upright", "rotated", "full"]
    assert len(json.loads(out.read_text())["points"]) == 3
    ElementTree.parse(drawn)


def test_a_table_that_cannot_be_printed_leaves_the_files(tmp_path):
    out = tmp_path / "race.json"
    with open("/dev/full", "w") as full:
        line = [sys.executable, "-m", "wonderland", "race", "--methods", "full", "--steps", "2", "--json", str(out)]
        run = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert run.returncode
    assert "the table cannot be printed: No space left on device." in run.stderr
    assert len(json.loads(out.read_text())["points"]) == 3


def test_a_name_that_is_no_text_is_written_escaped(tmp_path, capsys):
    table, drawn = tmp_path / "race.csv", tmp_path / "race.svg"
    named = "full:name=\udcffx"  # as Python hands on a byte that is no UTF-8
    main(["race", "--methods", named, "--steps", "2", "--csv", str(table), "--picture", str(drawn)])
    assert "\\udcffx" in capsys.readouterr().out
    assert "\\udcffx" in table.read_text()
    assert "\\udcffx" in [text.text for text in ElementTree.parse(drawn).findall(".//{*}text")]


def test_two_outputs_are_two_files(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(race_module, "race", lambda *_: pytest.fail("trained"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.json").symlink_to("race.toml")
    before = config.read_text()
    for arguments, message in (
        (["--csv", "same.out", "--json", str(tmp_path / "same.out")], "csv and json = "),
        (["--json", "link.json", "--config", "race.toml"], "config and json = link.json"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["race", *arguments])
        err = capsys.readouterr().err
        assert message in err
        assert "are one file: give each a file of its own." in err
    assert config.read_text() == before


def test_a_block_that_gives_way_is_told_of(capsys):
    main(["race", "--methods", "oft:block=48,name=wide", "oft", "full", "--steps", "1"])
    told = [line for line in capsys.readouterr().err.splitlines() if "block" in line]
    assert told == ["block of wide = 48 does not divide the inputs of every layer: 32 is used."]


def test_a_device_may_take_two_outputs():
    main(["race", "--methods", "full", "--steps", "1", "--csv", "/dev/null", "--json", "/dev/null"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "steps = 0 is outside 1…10,000"),
        (["--steps", "many"], "invalid int value"),
        (["--steps", "9" * 5000], "invalid int value"),
        (["--methods"], "expected at least one argument"),
        (["--methods", "magic"], "method = 'magic' is unknown"),
        (["--methods", "lora:rank"], "'rank' has no value"),
        (["--methods", "lora:rank=4, rank=5"], "'lora:rank=4, rank=5', where rank is given twice: give it once."),
        (["--methods", "lora:method=full"], "'lora:method=full', where method is given twice: give it once."),
        (["--methods", "lora:rank=500"], "rank of lora = 500 is outside 1…128"),
        (["--methods", "lora:rank=nan"], "rank of lora = nan is not a whole number"),
        (["--methods", "lora:speed=3"], "'speed' is no option of lora"),
        (["--methods", "full", "full"], "twice"),
        (["--tasks", "upright"], r"len(tasks) = 1 is outside 2…5"),
        (["--keep", "nan"], "keep = nan is outside"),
        (["--workers", "0"], "workers = 0 is outside 1…64"),
        (["--optimizer", "lion"], "optimizer = 'lion' is unknown"),
        (["--picture", "race.png"], "picture = race.png is no .svg file"),
        (["--csv", "nowhere/race.csv"], "nowhere/race.csv cannot be written"),
        (["--json", "."], ". cannot be written"),
        (["--json", "x" * 300], "xxx cannot be written: File name too long."),
        (["--config", "nowhere.toml"], "config = nowhere.toml cannot be read"),
        (["--swim"], "unrecognized arguments"),
    ],
)
def test_bad_arguments_are_answered_in_words(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["race", *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = ", "is not TOML"),
        ("step = 3", "'step' is no setting of a race"),
        ('steps = "many"', "steps = 'many' is not a whole number"),
        ("seeds = 3", "seeds = 3 is not a list: give one, such as [3]."),
        ("seeds = 1000", "seeds = 1,000 is not a list: give one, such as [1000]."),
        ('methods = "full"', """methods = 'full' is not a list: give one, such as ["full"]."""),
        ("steps = [3]", "steps = [3] is not a whole number"),
        ('methods = [{method = "lora", rang = 4}]', "'rang' is no option of lora"),
        ("methods = []", "len(methods) = 0"),
        ("keep = 1.5", "keep = 1.5 is outside"),
        ("[methods]\nfull = 1", """methods = {'full': 1} is not a list: give one, such as ["full", "osft"]."""),
        ("# " + "x" * command.LARGEST_CONFIG, "bytes: at most"),
        (b"\xff\xfe", "is not TOML"),
        ("tasks = " + "[" * 20_000, "race.toml is not read: its lists or tables lie more than 10 deep"),
        ("tasks" + ".a" * 5_000 + " = 1", "race.toml is not read: its lists or tables lie more than 10 deep"),
        ("tasks = " + "[" * 50 + "]" * 50, "race.toml is not read: its lists or tables lie more than 10 deep"),
        ("steps = " + "9" * 5000, "race.toml is not TOML: Exceeds the limit"),
    ],
)
def test_a_bad_file_is_answered_in_words(text, message, tmp_path, capsys):
    path = tmp_path / "race.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SystemExit, match="2"):
        main(["race", "--config", str(path)])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("flag", "names"), [("--tasks", TASKS), ("--methods", tuple(METHODS))])
def test_help_names_what_there_is(flag, names):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    told = next(action.help for action in parser._actions if flag in action.option_strings)
    assert f" of {', '.join(names)}" in told


def test_an_error_shows_the_usage_of_its_command(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["race", "--tasks", "upright"])
    assert capsys.readouterr().err.startswith("usage: wonderland race [-h]")


def test_help_comes_without_torch():
    code = "import sys\nfrom wonderland.__main__ import main\ntry:\n    main(['race', '--help'])\nfinally:\n"
    code += "    print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.endswith("False\n")
    assert "--methods" in run.stdout
