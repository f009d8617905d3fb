"""``wonderland spectrum`` as it is typed."""

import csv
import io
import json
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.weights import BAD, arrays, packed
from wonderland.__main__ import main
from wonderland.backend import checkpoint, osft, spectrum_command
from wonderland.backend.headers import Checkpoint
from wonderland.backend.heatmap import CELLS, LEFT, WIDTH, heatmap
from wonderland.backend.plan import planned
from wonderland.backend.tensors import Spectrum


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WONDERLAND_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def net(tmp_path):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 12), nn.LayerNorm(12))
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    return model


def test_the_table_and_the_files(net, tmp_path, capsys):
    out, table, drawn = (tmp_path / f"out.{kind}" for kind in ("json", "csv", "svg"))
    files = ["--json", str(out), "--csv", str(table), "--picture", str(drawn)]
    main(["spectrum", str(tmp_path / "net.safetensors"), "--rule", "number", "--amount", "5", *files])
    printed = capsys.readouterr()
    sigma = np.linalg.svd(net[0].weight.detach().numpy(), compute_uv=False)
    kept = (sigma[:5] ** 2).sum() / (sigma**2).sum()
    head, first, second, total, skipped = printed.out.splitlines()
    assert head.split()[:3] == ["layer", "type", "m×n"]
    assert first.split()[:4] == ["0.weight", "F32", "20×12", f"{sigma[0]:.4g}"]
    assert first.split()[-3:] == ["5", f"{kept:.1%}", f"{15 * 7 / 240:.1%}"]
    assert second.split()[:3] == ["1.weight", "F32", "12×20"]
    assert total == "2 layers by number 5: 270 numbers protected, 210 free to train (43.8%)."
    assert skipped == "skipped, is a row of numbers, no matrix: 0.bias, 1.bias, 2.bias and 1 more"
    assert "6/6" in printed.err

    held = json.loads(out.read_text())
    assert (held["checkpoint"], held["rule"], held["amount"]) == ("net.safetensors", "number", 5)
    assert held["keep"] == {"0": 5, "1": 5}
    assert np.allclose(held["tensors"][0]["sigma"], sigma, atol=1e-6)
    osft.constrain(net, keep=held["keep"], method="core")
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 210

    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(table.read_text()))}
    assert len(rows) == 6
    assert (rows["0.weight"]["k"], rows["0.weight"]["free"], rows["0.weight"]["target"]) == ("5", "105", "0")
    assert float(rows["0.weight"]["energy"]) == pytest.approx(kept)
    assert rows["0.bias"]["skipped"] == "is a row of numbers, no matrix"

    texts = [text.text for text in ElementTree.parse(drawn).findall(".//{*}text")]
    assert {"0.weight", "1.weight"} <= set(texts)


def test_an_interrupted_run_goes_on(net, tmp_path, monkeypatch, capsys):
    computed = []
    real = checkpoint.singular_values

    def interrupted(W, overwrite):
        if computed:
            raise KeyboardInterrupt
        computed.append(W.shape)
        return real(W, overwrite)

    monkeypatch.setattr(checkpoint, "singular_values", interrupted)
    with pytest.raises(SystemExit, match="130"):
        main(["spectrum", str(tmp_path / "net.safetensors")])
    printed = capsys.readouterr()
    assert "interrupted: 5 tensors are done and kept" in printed.err
    assert "1 layer by energy 0.9" in printed.out
    monkeypatch.setattr(checkpoint, "singular_values", lambda W, overwrite: (computed.append(W), real(W, overwrite))[1])
    main(["spectrum", str(tmp_path / "net.safetensors")])
    assert len(computed) == 2
    assert len(list((tmp_path / "cache" / "spectra").iterdir())) == 2
    main(["spectrum", str(tmp_path / "net.safetensors"), "--no-cache"])
    assert len(computed) == 4


def test_a_file_that_cannot_be_written_takes_no_other_with_it(net, tmp_path, capsys):
    out = tmp_path / "out.json"
    with pytest.raises(SystemExit, match=r"^1$"):
        main(["spectrum", str(tmp_path / "net.safetensors"), "--no-cache", "--csv", "/dev/full", "--json", str(out)])
    printed = capsys.readouterr()
    assert "csv = /dev/full cannot be written: No space left on device." in printed.err
    assert "0.weight" in printed.out
    assert len(json.loads(out.read_text())["tensors"]) == 6


def test_a_name_with_half_a_character_is_shown_escaped(tmp_path, capsys):
    path, files = tmp_path / "net.safetensors", [tmp_path / f"out.{kind}" for kind in ("csv", "json", "svg")]
    eye = np.eye(2, dtype=np.float32)
    path.write_bytes(packed(arrays(**{"\ud800x.weight": eye, "b\udc80": eye[0], "y.weight": eye})))
    main(["spectrum", str(path), "--csv", str(files[0]), "--json", str(files[1]), "--picture", str(files[2])])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["\\ud800x.weight", "y.weight"]
    assert lines[-1].endswith(": b\\udc80")
    rows = list(csv.DictReader(io.StringIO(files[0].read_text(encoding="utf-8"))))
    assert [row["name"] for row in rows] == ["\\ud800x.weight", "y.weight", "b\\udc80"]
    held = json.loads(files[1].read_text(encoding="utf-8"))
    assert [row["name"] for row in held["tensors"]] == ["\\ud800x.weight", "y.weight", "b\\udc80"]
    texts = [text.text for text in ElementTree.parse(files[2]).findall(".//{*}text")]
    assert {"\\ud800x.weight", "y.weight"} <= set(texts)


def test_no_output_takes_the_place_of_a_file_that_is_used(net, tmp_path, capsys):
    path, shares, same = (str(tmp_path / name) for name in ("net.safetensors", "keep.json", "same.out"))
    (tmp_path / "keep.json").write_text('{"1": 0.25}')
    before = (tmp_path / "net.safetensors").read_bytes()
    for arguments, message in (
        (["--csv", same, "--json", same], f"csv and json = {same} are one file"),
        (["--csv", path], f"path and csv = {path} are one file"),
        (["--importance", shares, "--json", shares], f"importance and json = {shares} are one file"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["spectrum", path, *arguments])
        assert message in capsys.readouterr().err
    assert (tmp_path / "net.safetensors").read_bytes() == before


def test_measured_shares(net, tmp_path, capsys):
    shares = tmp_path / "keep.json"
    shares.write_text(json.dumps({"1": 0.25}))
    main(["spectrum", str(tmp_path / "net.safetensors"), "--importance", str(shares)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-3:] == ["–", "–", "–"]
    assert lines[2].split()[-3] == "3"
    assert lines[3].startswith("1 layer by importance:")


def test_some_layers_only(net, tmp_path, capsys):
    main(["spectrum", str(tmp_path / "net.safetensors"), "--only", "1.*"])
    assert "0.weight" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({}, ""),
        ({"b": np.ones(3, np.float32)}, "skipped, is a row of numbers, no matrix: b"),
        ({"W": np.full((2, 2), np.nan)}, "skipped, holds NaN or infinity, in 4 of its 4 entries: W"),
    ],
)
def test_a_checkpoint_without_matrices(tensors, told, tmp_path, capsys):
    path, table = tmp_path / "vectors.safetensors", tmp_path / "out.csv"
    path.write_bytes(packed(arrays(**tensors)))
    with pytest.raises(SystemExit, match=r"^1$"):
        main(["spectrum", str(path), "--csv", str(table)])
    printed = capsys.readouterr()
    assert f"{path} holds no matrix of numbers to take apart." in printed.err
    assert told in printed.out
    assert len(table.read_text().splitlines()) == 1 + len(tensors)


def test_a_choice_without_matrices(net, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^1$"):
        main(["spectrum", str(tmp_path / "net.safetensors"), "--only", "*.bias"])
    assert "to take apart among the tensors that match only = '*.bias'." in capsys.readouterr().err


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_answered_in_words(case, tmp_path, capsys):
    data, message = BAD[case]
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(SystemExit, match="2"):
        main(["spectrum", str(tmp_path / "model.safetensors")])
    printed = capsys.readouterr()
    assert message.replace("\\\\", "\\") in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rule", "magic"], "invalid choice: 'magic'"),
        (["--amount", "2"], "energy = 2.0 is outside 0…1"),
        (["--amount", "nan"], "energy = nan is outside 0…1"),
        (["--rule", "number", "--amount", "0"], "number = 0 is outside"),
        (["--rule", "importance"], "needs the share of each layer"),
        (["--importance", "nowhere.json"], "importance = nowhere.json cannot be read"),
        (["--picture", "out.png"], "picture = out.png is no .svg file"),
        (["--csv", "nowhere/out.csv"], "nowhere/out.csv cannot be written"),
        (["--only", "nothing*"], "only = 'nothing*' matches no tensor: the first are 0.bias"),
    ],
)
def test_bad_arguments_are_answered_before_anything_is_computed(arguments, message, net, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(checkpoint, "singular_values", lambda *_, **__: pytest.fail("computed"))
    with pytest.raises(SystemExit, match="2"):
        main(["spectrum", str(tmp_path / "net.safetensors"), *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", "{" * 99_999, b"\xff"])
def test_shares_that_are_none(text, net, tmp_path, capsys):
    path = tmp_path / "keep.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SystemExit, match="2"):
        main(["spectrum", str(tmp_path / "net.safetensors"), "--importance", str(path)])
    assert "importance = " in capsys.readouterr().err


def test_the_cache_is_the_user_s(monkeypatch, tmp_path):
    monkeypatch.delenv("WONDERLAND_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert spectrum_command.default_cache() == tmp_path / "wonderland" / "spectra"


def row(name, sigma):
    return Spectrum(name, "F32", (len(sigma), len(sigma)), "", np.array(sigma, float))


def test_the_picture_s_colors_and_cuts():
    rows = [row("flat", [1.0] * 8), row("steep <&>", [1.0] + [1e-9] * 127)]
    svg = ElementTree.fromstring(heatmap(rows, planned(rows, "number", 4), "a <&> b"))
    rects = svg.findall(".//{*}rect")[1:]
    assert len(rects) == 1 + 2  # neighbors of one color are one
    assert rects[0].get("fill") == rects[1].get("fill") != rects[2].get("fill")
    span = WIDTH - LEFT - 20
    assert float(rects[0].get("width")) == pytest.approx(span, abs=0.5)
    assert float(rects[1].get("width")) == pytest.approx(span / CELLS, abs=0.5)
    cuts = [float(path.get("d")[1:].split()[0]) for path in svg.findall(".//{*}path")]
    assert cuts == pytest.approx([LEFT + span * 4 / 8, LEFT + span * 4 / 128], abs=0.1)
    assert "steep <&>" in [text.text for text in svg.findall(".//{*}text")]
    many = [row(f"{i}", [1.0] * 2) for i in range(500)]
    assert float(ElementTree.fromstring(heatmap(many, planned(many), "m")).get("viewBox").split()[3]) < 2200


def test_a_bar_for_each_part_of_a_spectrum():
    assert spectrum_command.curve(row("a", [1.0] * 3)) == "█" * spectrum_command.CURVE
    drawn = spectrum_command.curve(row("b", np.linspace(1, 0, 50)))
    assert (drawn[0], drawn[-1], list(drawn)) == ("█", "▁", sorted(drawn, reverse=True))


def test_choosing_by_name():
    found = Checkpoint(None, {"a": 1, "b": 2}, {"ab": "gone"})
    assert spectrum_command.chosen(found, "a*") == Checkpoint(None, {"a": 1}, {"ab": "gone"})
    assert spectrum_command.chosen(found, None) is found
