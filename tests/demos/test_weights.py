"""Chapter 6's checkpoint without a browser."""

import asyncio
import json
import math
import pickle
import re
import tempfile
from collections.abc import Callable
from types import SimpleNamespace
from urllib.parse import parse_qsl

import numpy as np
import pytest
import torch
from bokeh.document import Document as BokehDocument
from panel.io.state import set_curdoc
from safetensors.torch import save_file

from tests.weights import BAD, GOOD, arrays, packed, write_sharded
from wonderland import Calculator, WeightsExplorer, address
from wonderland.backend import checkpoint, osft, race
from wonderland.backend.network import lesson, linear_layers
from wonderland.backend.tensors import Skipped
from wonderland.demos import checkpoints
from wonderland.demos.checkpoints import LARGEST_UPLOAD, VARIABLE
from wonderland.demos.weights_map import CELLS, LEVELS
from wonderland.theme import DARK

SHAPES = {"layers.2.up.weight": (40, 24), "layers.10.down.weight": (24, 40), "layers.2.gate.weight": (30, 24)}
IN_ORDER = ["layers.2.gate.weight", "layers.2.up.weight", "layers.10.down.weight"]


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No other cache, no other checkpoint, and nothing that another test left."""
    monkeypatch.setenv("WONDERLAND_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(checkpoints, "_remembered", {})


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A checkpoint that the server was started with."""
    generator = torch.Generator().manual_seed(2)
    tensors = {name: torch.randn(shape, generator=generator).bfloat16() for name, shape in SHAPES.items()}
    tensors["norm.weight"] = torch.ones(24)
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    monkeypatch.setenv(VARIABLE, str(path))
    return SimpleNamespace(path=path, tensors=tensors)


def svd(W: torch.Tensor | np.ndarray) -> np.ndarray:
    return np.linalg.svd(np.asarray(torch.as_tensor(W).double()), compute_uv=False)


def test_starts_with_the_network_that_the_race_trains():
    demo = WeightsExplorer()
    result = demo.result
    assert (demo.model, result.listing.names) == ("digits", ("layer1.weight", "layer2.weight", "layer3.weight"))
    for name, W in race.layer_weights(0).items():
        assert np.allclose(result.rows[f"{name}.weight"].sigma, svd(W), atol=1e-6)
    assert demo.param.layer.softbounds == (1, 3)


@pytest.mark.parametrize(("rule", "name", "value"), [("energy", "energy", 0.8), ("number", "number", 7),
                                                     ("effective-rank", "share", 0.6)])  # fmt: skip
def test_the_plan_constrains_the_network_as_it_says(rule, name, value):
    demo = WeightsExplorer(rule=rule, **{name: value})
    plan = json.loads(demo.plan_file().read())
    model = osft.constrain(race.pretrain(0), keep=plan["keep"], method="core")
    for layer in plan["layers"]:
        trained = [p for p in model.get_submodule(layer["target"]).parameters() if p.requires_grad]
        assert sum(p.numel() for p in trained) == layer["free"]
        sigma = svd(race.layer_weights(0)[layer["target"]])
        assert math.isclose(layer["energy"], (sigma[: layer["k"]] ** 2).sum() / (sigma**2).sum(), rel_tol=1e-6)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.rand(8, 64, dtype=torch.float64)).square().sum().backward()
    optimizer.step()
    assert all(leak.right < 1e-9 for leak in osft.leak(model, base=race.pretrain(0)).values())


def test_the_server_s_file_comes_first(file):
    demo = WeightsExplorer()
    assert demo.model == "file"
    assert list(demo.result.listing.names) == IN_ORDER
    for name in IN_ORDER:
        assert np.allclose(demo.result.rows[name].sigma, svd(file.tensors[name].float()), atol=1e-5)
    assert "is a row of numbers, no matrix: norm.weight" in demo.details(demo.result)
    demo.model = "digits"
    assert demo.result.listing.names[0] == "layer1.weight"
    demo.reset()
    assert demo.model == "file"
    assert WeightsExplorer(model="digits").model == "digits"


def test_a_checkpoint_in_parts(tmp_path, monkeypatch):
    write_sharded(tmp_path / "m", {"1.safetensors": arrays(W=np.eye(3, dtype=np.float32))},
                  {"W": "1.safetensors", "V": "../2.safetensors"})  # fmt: skip
    monkeypatch.setenv(VARIABLE, str(tmp_path / "m"))
    demo = WeightsExplorer()
    assert demo.result.listing.names == ("W",)
    assert "is not the name of one in the same folder: V" in demo.details(demo.result).replace("&#x27;", "'")


def test_the_map(file):
    demo = WeightsExplorer(rule="number", number=6, layer=2, dark=True)
    marks = demo.marks(demo.result)
    (image,) = marks["map"]["image"]
    assert image.shape == (3, CELLS)
    for at, name in enumerate(reversed(IN_ORDER)):  # Bokeh's first row is the lowest
        sigma = svd(file.tensors[name].float())
        first = sigma[np.arange(CELLS) * len(sigma) // CELLS] / sigma[0]
        assert np.abs(image[at] / LEVELS - first).max() <= 0.501 / LEVELS + 1e-5
    cuts = dict(zip(marks["cuts"]["y0"].tolist(), marks["cuts"]["x0"], strict=True))
    assert cuts == {2: 6 / 24, 1: 6 / 24, 0: 6 / 24}
    assert (marks["chosen layer"]["y0"], marks["chosen layer"]["y1"]) == ([1], [2])
    assert marks["names"]["text"] == [name.removesuffix(".weight") for name in IN_ORDER]
    assert marks["names"]["ink"] == [DARK.muted, DARK.text, DARK.muted]
    sigma = svd(file.tensors[IN_ORDER[1]].float())
    assert np.allclose(marks["layer bars"]["y1"], sigma, atol=1e-5)
    assert marks["layer bars"]["ink"].tolist() == [DARK.critical] * 6 + [DARK.safe] * 18
    assert marks["layer counts"]["text"] == ["critical: 6", "safe: 18"]
    assert np.allclose(marks["layer now"]["y"], 100 * (sigma[:6] ** 2).sum() / (sigma**2).sum(), atol=1e-3)


def test_long_spectra_are_drawn_in_part(tmp_path, monkeypatch):
    save_file({f"{i}.weight": torch.randn(300, 300) for i in range(30)}, tmp_path / "a.safetensors")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "a.safetensors"))
    demo = WeightsExplorer(layer=30)
    marks = demo.marks(demo.result)
    sigma = demo.result.row.sigma
    assert len(marks["layer bars"]["y1"]) == 96
    assert set(marks["layer bars"]["y1"]) <= set(sigma)
    assert marks["names"]["text"] == ["29"]  # no room for all
    assert demo.details(demo.result).count("<tr") == 1 + 12


def test_a_tap_chooses_a_layer(file):
    demo = WeightsExplorer()
    for y, layer in ((2.9, 1), (1.5, 2), (0.0, 3)):
        demo._on_tap(0.3, y)
        assert demo.layer == layer
        assert demo.result.name == IN_ORDER[layer - 1]
    demo._on_tap(0.3, 3.4)
    demo._on_tap(0.3, -0.2)
    assert demo.layer == 3


def test_words_hold_the_numbers(file):
    demo = WeightsExplorer(layer=3, energy=0.7)
    row, chosen = demo.result.row, demo.result.chosen
    words = demo.describe(demo.result)
    for text in ("layers.10.down.weight, 24×40", f"first {chosen.k} are critical", f"{chosen.energy:.1%}", "3 layers"):
        assert text in words
    told = {r.label: r.value for r in demo.readouts(demo.result)}
    assert told["k of this layer"] == f"{chosen.k} of 24"
    assert told["numbers free to train"] == f"{(24 - chosen.k) * (40 - chosen.k)}"
    assert told["its effective rank"] == f"{row.effective_rank:.1f} of 24"


def test_the_calculator_takes_the_layer_over(file):
    demo = WeightsExplorer(layer=3, rule="number", number=6)
    link = demo.details(demo.result).split('href="?')[1].split('"')[0].replace("&amp;", "&")
    state = dict(parse_qsl(link))
    assert state.pop("chapter") == "10"
    calculator = Calculator()
    assert address.apply(calculator, state) == []
    assert (calculator.in_features, calculator.out_features, calculator.keep) == (40, 24, 0.25)


def test_what_a_tensor_holds_may_forbid_it(tmp_path, monkeypatch):
    tensors = arrays(W=np.eye(3, dtype=np.float32), V=np.full((3, 3), np.nan, np.float32))
    (tmp_path / "a.safetensors").write_bytes(packed(tensors))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "a.safetensors"))
    demo = WeightsExplorer()
    assert isinstance(demo.result.row, Skipped)
    assert "holds NaN or infinity, in 9 of its 9 entries" in demo.describe(demo.result)
    assert "holds NaN or infinity" in demo.details(demo.result)
    assert demo.marks(demo.result)["map"]["image"][0][1].max() == -1
    demo.layer = 2
    assert demo.result.chosen.k == 1 + 1


def test_names_are_no_code(tmp_path, monkeypatch):
    name = "<img src=x onerror=alert(1)>\x1b.weight"
    (tmp_path / "a.safetensors").write_bytes(packed({name: ("F32", (2, 2), np.eye(2, dtype=np.float32).tobytes()),
                                                     name + "b": ("I64", (1,), bytes(8))}))  # fmt: skip
    monkeypatch.setenv(VARIABLE, str(tmp_path / "a.safetensors"))
    demo = WeightsExplorer()
    assert "<img" not in "".join(demo.words().values())
    assert "\x1b" not in demo.describe(demo.result) + demo.details(demo.result)


@pytest.mark.parametrize("content", [None, b"", pickle.dumps([1])], ids=["missing", "empty", "pickle"])
def test_a_server_s_bad_file_is_said_and_the_page_stands(content, tmp_path, monkeypatch):
    path = tmp_path / "secret" / "model.safetensors"
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(VARIABLE, str(path))
    demo = WeightsExplorer()
    assert demo.model == "digits"
    assert demo.trouble.startswith("The weights this page was started with: model.safetensors ")
    assert "secret" not in demo.trouble


def test_an_upload(file):
    demo = WeightsExplorer(layer=3)
    demo.take("../../mine.safetensors", GOOD)
    assert (demo.model, demo.layer, demo.trouble) == ("upload 1", 1, "")
    assert demo.result.listing.title == "mine.safetensors"
    assert np.allclose(demo.result.rows["W"].sigma, svd(np.arange(4.0).reshape(2, 2)))
    assert demo.param.model.names["yours: mine.safetensors"] == "upload 1"
    demo.take("second.safetensors", packed(arrays(V=np.eye(5, dtype=np.float32))))
    assert demo.result.listing.names == ("V",)
    assert np.allclose(demo.result.rows["V"].sigma, 1)
    assert demo.param.model.names["yours: second.safetensors"] == demo.model == "upload 2"
    assert "yours: mine.safetensors" not in demo.param.model.names
    demo.model = "file"
    demo.model = "upload 2"
    assert demo.result.listing.names == ("V",)
    assert not any("upload" in key for key in WeightsExplorer().param.model.names.values())  # it is this reader's alone


def test_nothing_of_an_upload_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    listing = checkpoints.of_upload("mine", GOOD)
    assert len(list(tmp_path.glob("wonderland-*"))) == 1
    assert len(list(listing.stream())) == 1
    del listing
    with pytest.raises(ValueError, match="mine is truncated"):
        checkpoints.of_upload("mine", GOOD[:-1])
    assert not list(tmp_path.glob("wonderland-*"))
    assert not (tmp_path / "cache").exists()  # a reader's spectra are not kept either


def test_an_upload_goes_with_its_reader(tmp_path, monkeypatch):
    """When the session ends, or another file is sent; the demo itself may live on."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    document = BokehDocument()
    with set_curdoc(document):
        demo = WeightsExplorer()
        demo.take("one.safetensors", GOOD)
        (first,) = tmp_path.glob("wonderland-*")
        demo.take("two.safetensors", GOOD)
    (second,) = tmp_path.glob("wonderland-*")
    assert second != first
    for leave in document.session_destroyed_callbacks:
        leave(None)
    assert not list(tmp_path.glob("wonderland-*"))
    assert demo.model == "upload 2"


@pytest.mark.parametrize("case", BAD)
def test_a_bad_upload_is_answered_and_the_last_checkpoint_stands(case):
    data, message = BAD[case]
    demo = WeightsExplorer()
    before = demo.result
    demo.take("mine.safetensors", data)
    assert message.replace("\\\\", "\\") in demo.trouble
    assert demo.trouble.startswith("mine.safetensors ")
    assert demo.result is before


def test_other_uploads(monkeypatch):
    demo = WeightsExplorer()
    demo.take("vectors", packed(arrays(b=np.ones(3, np.float32))))
    assert demo.trouble == "vectors holds no matrix of numbers to take apart."
    monkeypatch.setattr(checkpoints, "LARGEST_UPLOAD", 10)
    demo.take("large", GOOD)
    assert demo.trouble.startswith("large has ")
    assert LARGEST_UPLOAD == 64 * 2**20


def test_a_checkpoint_of_many_layers_is_shown_in_part(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "MOST", 5)
    save_file({f"{i}.weight": torch.eye(3) for i in range(8)}, tmp_path / "a.safetensors")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "a.safetensors"))
    demo = WeightsExplorer()
    assert len(demo.result.listing.names) == 5
    assert "3 more are not shown" in demo.details(demo.result)


def test_the_address_brings_it_back(file):
    demo = WeightsExplorer(model="digits", layer=2, rule="number", number=9)
    search = address.encode(6, demo)
    assert search == "?chapter=6&model=digits&layer=2&rule=number&number=9"
    other = WeightsExplorer()
    assert address.apply(other, address.decode(search)[1]) == []
    assert (other.result.name, other.result.chosen.k) == ("layer2.weight", 9)


@pytest.mark.parametrize(
    ("name", "value"),
    [("layer", bad) for bad in (0, -1, 1.5, math.nan, "x", True)]
    + [("energy", bad) for bad in (-0.1, 1.1, math.nan, "all")]
    + [("number", bad) for bad in (0, 2.5, math.inf)]
    + [("share", bad) for bad in (0.05, 1.2)]
    + [("rule", "magic"), ("model", "file")],
)
def test_bad_input_is_refused(name, value):
    demo = WeightsExplorer()
    before = demo.result
    with pytest.raises(ValueError, match=r"Layer|Share|k in|Mean|rule|model"):
        setattr(demo, name, value)
    assert demo.result is before


@pytest.mark.parametrize("layer", [4, 10**15])
def test_a_layer_that_is_not_there_is_explained(layer):
    demo = WeightsExplorer()
    before = demo.result
    demo.layer = layer
    assert f"Layer = {layer:,} is outside 1…3" in demo.problem
    assert demo.result is before


def test_a_smaller_checkpoint_brings_the_layer_down(file):
    demo = WeightsExplorer(layer=3)
    demo.take("one.safetensors", packed(arrays(V=np.eye(5, dtype=np.float32))))
    demo.param.update(model="file", layer=3)
    demo.model = "upload 1"
    assert (demo.layer, demo.problem, demo.param.layer.softbounds) == (1, "", (1, 1))


def test_the_paper_s_rule_is_explained_and_really_has_no_cosine_here():
    demo = WeightsExplorer(rule="effective-rank")
    assert "The paper’s own rule, “importance”" in demo.details(demo.result)
    demo.rule = "importance"
    assert "there is no such cosine" in demo.details(demo.result)
    with pytest.raises(ValueError, match="no module around has an input and an output of one shape"):
        osft.adaptive_keep(race.pretrain(0), [torch.rand(4, 64, dtype=torch.float64)])


def cka(X: np.ndarray, Y: np.ndarray) -> float:
    """By its definition over samples: the cosine of the centered Gram matrices, N×N."""
    center = np.eye(len(X)) - 1 / len(X)
    K, L = (center @ M @ M.T @ center for M in (X, Y))
    return float((K * L).sum() / np.sqrt((K * K).sum() * (L * L).sum()))


@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_importance_of_the_digits_network_is_measured_on_the_digits(share):
    demo = WeightsExplorer(rule="importance", share=share)
    x = lesson("upright").x.double().numpy()
    alike, inputs = {}, x
    for name, layer in linear_layers(race.pretrain(0)).items():
        outputs = inputs @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        alike[name] = cka(inputs, outputs)
        inputs = np.maximum(outputs, 0)
    assert demo.result.alike.by_layer == pytest.approx(alike, rel=1e-9)
    mean = sum(alike.values()) / 3
    order = {"layer1": 64, "layer2": 128, "layer3": 10}
    wanted = {name: round((0.1 + alike[name] / mean * (share - 0.1)) * n) for name, n in order.items()}
    wanted = {name: min(max(k, 1), order[name] - 1) for name, k in wanted.items()}
    assert demo.result.plan.keep == wanted
    assert demo.marks(demo.result)["cuts"]["x0"] == [wanted[name] / n for name, n in order.items()]
    assert "layer1 0.907, layer2 0.975, layer3 0.987" in demo.details(demo.result)
    plan = json.loads(demo.plan_file().read())
    assert (plan["rule"], plan["amount"], plan["keep"]) == ("importance", share, wanted)
    osft.constrain(race.pretrain(0), keep=plan["keep"])


def test_importance_of_a_file_is_given(file):
    demo = WeightsExplorer(rule="importance")
    assert demo.result.plan.layers == ()
    assert "A file of weights has neither inputs nor outputs" in demo.details(demo.result)
    assert "None is given yet." in demo.details(demo.result)
    assert "none of which the plan keeps" in demo.describe(demo.result)
    demo.take_shares('{"layers.2.up": 0.75, "layers.10.down": 0.5}')
    assert demo.result.plan.keep == {"layers.2.up": 18, "layers.10.down": 12}
    assert "Given for 2 of 3 layers. The others are left out of the plan." in demo.details(demo.result)
    marks = demo.marks(demo.result)
    assert dict(zip(marks["cuts"]["y0"].tolist(), marks["cuts"]["x0"], strict=True)) == {1: 0.75, 0: 0.5}
    demo.layer = 2
    assert "keep=0.75" in demo.details(demo.result)  # on to the scales
    assert json.loads(demo.plan_file().read())["keep"] == demo.result.plan.keep
    demo.model = "digits"
    assert demo.result.alike
    demo.model = "file"
    assert demo.result.plan.keep == {"layers.2.up": 18, "layers.10.down": 12}
    demo.take_shares(" ")
    assert demo.result.plan.layers == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it is not JSON: "),
        ("[0.5, 0.5]", "it is no table from layers to shares"),
        ("{}", "it is no table from layers to shares"),
        ("[" * 10**5, "it is not JSON: "),
        (
            '{"layers.3.up": 0.5}',
            "'layers.3.up', which is no layer of this checkpoint: the first are 'layers.2.gate', ",
        ),
        ('{"layers.2.up": 1}', "share of 'layers.2.up' = 1 protects all or nothing"),
        ('{"layers.2.up": 0}', "share of 'layers.2.up' = 0 protects all or nothing"),
        ('{"layers.2.up": -0.1}', "share of 'layers.2.up' = -0.1 is outside 0…1"),
        ('{"layers.2.up": 80}', "share of 'layers.2.up' = 80 is outside 0…1"),
        ('{"layers.2.up": NaN}', "share of 'layers.2.up' = nan is outside 0…1"),
        ('{"layers.2.up": 1e999}', "share of 'layers.2.up' = inf is outside 0…1"),
        ('{"layers.2.up": "half"}', "share of 'layers.2.up' = 'half' is not a number"),
        ('{"layers.2.up": null}', "share of 'layers.2.up' = None is not a number"),
        ('{"layers.2.up": {"k": 3}}', "is not a number"),
        ('{"layers.2.up": true}', "share of 'layers.2.up' = True is not a number"),
        ("9" * (10**7 + 1), "it has 10,000,001 characters: at most 10,000,000 are read."),
    ],
    ids=range(16),
)
def test_bad_shares_are_answered_and_the_last_stand(file, text, message):
    demo = WeightsExplorer(rule="importance")
    demo.take_shares('{"layers.2.up": 0.75}')
    before = demo.result
    with pytest.raises(ValueError, match=re.escape(message)):
        demo.take_shares(text)
    assert demo.result is before


def test_another_upload_has_other_layers(file):
    demo = WeightsExplorer(rule="importance")
    demo.take("one.safetensors", packed(arrays(**{"a.weight": np.eye(8, dtype=np.float32)})))
    demo.take_shares('{"a": 0.25}')
    assert demo.result.plan.keep == {"a": 2}
    demo.take("two.safetensors", packed(arrays(**{"a.weight": np.eye(6, dtype=np.float32)})))
    assert demo.result.plan.keep == {}


def test_what_a_rule_needs_is_offered(file):
    demo = WeightsExplorer(model="digits")
    needed = {"energy": ["energy"], "number": ["number"], "effective-rank": ["share"], "importance": ["share"]}
    for rule, names in needed.items():
        demo.rule = rule
        assert [name for name in ("energy", "number", "share") if demo.offered(name)] == names
    demo.model = "file"
    assert not demo.offered("share")


def test_stop_and_go_on(file, monkeypatch):
    computed = []
    real = checkpoint.singular_values

    async def read() -> None:
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(W, overwrite):
            computed.append(W.shape)
            if len(computed) == 2:
                asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
            return real(W, overwrite)

        monkeypatch.setattr(checkpoint, "singular_values", slow)
        demo = WeightsExplorer()
        assert demo.result.busy
        assert demo.describe(demo.result).endswith("whose spectrum is still to come.")
        await until(lambda: len(demo.result.rows) == 1 and len(computed) == 2)
        demo.stop_or_go_on()
        gate.set()
        assert not demo.result.busy
        assert demo.stopped
        await asyncio.sleep(0.3)
        assert len(demo.result.rows) == 1  # what came stays, and no more comes
        demo.stop_or_go_on()
        await until(lambda: not demo.result.busy)
        assert list(demo.result.rows) == IN_ORDER
        assert len(computed) <= 4

    asyncio.run(read())


def test_a_reader_who_comes_later_finds_the_spectra_there(file, monkeypatch):
    WeightsExplorer()
    monkeypatch.setattr(checkpoint, "singular_values", None)
    assert len(WeightsExplorer().result.rows) == 3
    checkpoints._remembered.clear()  # another process: the cache on disk has them
    assert len(WeightsExplorer().result.rows) == 3


def test_a_failure_is_said(monkeypatch):
    def fails() -> None:
        raise RuntimeError("no memory left")

    monkeypatch.setattr(race, "layer_weights", lambda seed: fails())
    demo = WeightsExplorer()
    assert demo.trouble == "The spectra could not be taken (no memory left)."
    monkeypatch.undo()
    demo.stop_or_go_on()
    assert len(demo.result.rows) == 3


def test_the_voice_detector():
    """Of the extra `model`: its weights are read without loading its code."""
    demo = WeightsExplorer(model="voice")
    found = demo.result.rows["lstm_cell.weight_hh"]
    assert (found.m, found.n) == (512, 128)
    # The transform's rows are a window's sines and cosines: half of them in pairs of one strength, some zero.
    assert demo.result.rows["stft_conv.weight"].effective_rank < 200
    assert demo.result.plan.keep == {}  # convolutions over time and LSTMs are none that the engine constrains
    demo.rule = "importance"
    assert "none of these matrices is the weight of a layer" in demo.details(demo.result)
    with pytest.raises(ValueError, match="'conv1', which is no layer of this checkpoint: it has none that can be con"):
        demo.take_shares('{"conv1": 0.5}')


async def until(ready: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not ready():
            await asyncio.sleep(0.01)
