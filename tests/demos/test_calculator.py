"""Chapter 10 without a browser."""

import math

import peft
import pytest
import torch
from bokeh.plotting import figure
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from peft.tuners.boft import layer as boft_layer
from torch import nn

from wonderland.demos.amounts import exact, many, percent, plain, reduction, short, size
from wonderland.demos.calculator import Calculator, notes_on
from wonderland.demos.costs import FIELDS, Layer, real_counts, smallest_k, tale_counts
from wonderland.maths import counting
from wonderland.theme import DARK, LIGHT

FEATURES = st.integers(1, 10**12)

# in, out: full, LoRA 16, OFT b 16, OFT r 16, BOFT b 8, factored and as C at half, factored at 90% kept.
RECORDED = {
    (512, 256): (131_072, 12_288, 3_840, 7_936, 4_352, 98_432, 49_152, 19_994),
    (768, 768): (589_824, 24_576, 5_760, 18_048, 6_912, 590_208, 147_456, 118_349),
    (3072, 768): (2_359_296, 61_440, 23_040, 293_376, 25_344, 1_474_944, 1_032_192, 295_757),
    (4096, 4096): (16_777_216, 131_072, 30_720, 522_240, 36_864, 16_779_264, 4_194_304, 3_359_130),
    (11008, 4096): (45_088_768, 241_664, 82_560, 3_781_248, 92_160, 30_935_040, 18_350_080, 6_193_050),
}


def setting(n: int, m: int, **others: float) -> Layer:
    defaults = {"rank": 1, "block": 16, "keep": 0.5, "boft_block": 1, "boft_factors": 1}
    return Layer(n, m, **(defaults | others))


def test_starts_as_the_tutorial_does():
    demo = Calculator()
    assert (demo.in_features, demo.out_features, demo.rank) == (512, 256, 16)
    tale = {key: count.trained for key, count in demo.result.tale.items()}
    assert tale == {"full": 512 * 256, "lora": 16 * (512 + 256), "oft": 16**2}


@pytest.mark.parametrize(("shape", "wanted"), RECORDED.items())
def test_counts_are_the_recorded_ones(shape, wanted):
    n, m = shape
    demo = Calculator(in_features=n, out_features=m)
    keys = ("full", "lora", "oft", "oft blocks", "boft", "factored", "core")
    assert tuple(demo.result.real[key].trained for key in keys) == wanted[:-1]
    demo.keep = 0.9
    assert demo.result.real["factored"].trained == wanted[-1]
    assert demo.result.real["psoft"].trained == 16 * 15 // 2 + 32


@settings(deadline=None, max_examples=40)
@given(FEATURES, FEATURES, st.floats(0, 1))
def test_huge_layers_are_counted_to_the_last_digit(n, m, keep):
    layer = setting(n, m, keep=keep)
    real, k = real_counts(layer), layer.k
    assert 0 <= k <= min(n, m)
    assert real["full"].trained == n * m
    assert real["core"].trained == n * m - k * (n + m) + k**2
    assert real["factored"].trained == (min(n, m) - k) * (n + m + 1)
    demo = Calculator(in_features=n, out_features=m, rank=1, keep=keep)
    assert exact(n * m) in demo.details(demo.result)
    assert demo.readouts(demo.result)[0].value == exact(n * m)
    marks = demo.marks(demo.result)
    start, end = marks["frame"]["x"]
    assert start < 1 < end
    for mark, count in zip(marks["dots"]["x"], [*demo.result.tale.values(), *demo.result.real.values()], strict=True):
        assert start <= mark < end
        assert (mark > start) == (count.trained > 0)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3000), st.integers(1, 3000))
def test_where_a_tenth_begins(n, m):
    layer = setting(n, m)
    for count in (counting.osft_factored, counting.osft_core):
        first = next(k for k in range(min(n, m) + 1) if count(n, m, k) <= n * m / 10)
        assert smallest_k(count, layer) == first


@pytest.mark.parametrize(("factors", "block"), [(1, 8), (2, 4), (3, 2)])
def test_buffers_of_boft_are_what_peft_holds(monkeypatch, factors, block):
    monkeypatch.setattr(boft_layer, "_FBD_CUDA", object())  # its kernel is not needed for counting
    config = peft.BOFTConfig(boft_block_size=block, boft_n_butterfly_factor=factors, target_modules={"0"})
    model = peft.get_peft_model(nn.Sequential(nn.Linear(64, 32, bias=False)), config)
    row = real_counts(setting(64, 32, boft_block=block, boft_factors=factors))["boft"]
    assert row.buffers == sum(buffer.numel() for buffer in model.buffers())
    assert row.trained == sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_buffers_of_psoft_are_what_peft_holds(rank):
    config = peft.PsoftConfig(r=rank, target_modules={"0"})
    model = peft.get_peft_model(nn.Sequential(nn.Linear(64, 32, bias=False)), config)
    held = sum(buffer.numel() for buffer in model.buffers() if buffer.dtype == torch.float32)  # not its index tables
    assert real_counts(setting(64, 32, rank=rank))["psoft"].buffers == held


def test_memory_of_full_and_lora():
    demo = Calculator()
    table = demo.details(demo.result).split("<caption>")[2]
    rows = {row.split("</th>")[0]: row for row in table.split('<th scope="row">')[1:]}
    whole, thin = 4 * 512 * 256, 4 * 12_288
    full = [size(part) for part in (whole, whole, 2 * whole, 0, 4 * whole)]
    lora = [size(part) for part in (whole + thin, thin, 2 * thin, 0, whole + 4 * thin)]
    for method, parts in (("full fine-tuning", full), ("LoRA, rank 16", lora)):
        assert [cell.split("<")[0] for cell in rows[method].split('class="number">')[1:6]] == parts
    assert percent(whole + 4 * thin, 4 * whole) in rows["LoRA, rank 16"]


def test_dots():
    demo = Calculator(dark=True)
    marks, result = demo.marks(demo.result), demo.result
    rows = [*result.tale.values(), *result.real.values()]
    assert marks["dots"]["x"] == [row.trained for row in rows]
    assert marks["dots"]["ink"][:3] == [DARK.critical, DARK.lora, DARK.original]
    assert marks["dots"]["ink"][-2:] == [DARK.safe, DARK.safe]
    assert marks["dots"]["edge"] == [1] * 12
    assert marks["dots"]["fill"] == [0] * 3 + [1] * 9  # what is only said is a ring
    assert marks["counts"]["text"][:3] == ["131,072 · 100%", "12,288 · 9.38%", "256 · 0.195%"]
    assert marks["counts"]["text"][5] == "3,840 · 2.93%"
    assert set(marks["full"]["x0"]) == {131_072}
    # No two rows share a height, and each dot lies below its own words and above the next row's.
    heights, words = marks["dots"]["y"], marks["methods"]["y"]
    assert all(height < word for height, word in zip(heights, words, strict=True))
    assert all(height > word + 0.5 for height, word in zip(heights, words[1:], strict=False))
    demo.dark = False
    assert demo.marks(demo.result)["dots"]["ink"][0] == LIGHT.critical


def test_reductions():
    values = {r.label: r.value for r in Calculator().readouts(Calculator().result)}
    assert values == {
        "the layer’s total": "131,072",
        "OFT’s reduction, the tale": f"{1 - 256 / 131_072:.2%}",
        "OFT’s reduction": f"{1 - 3_840 / 131_072:.2%}",
        "OSFT’s reduction, factored": f"{1 - 98_432 / 131_072:.2%}",
        "OSFT’s reduction, as C": f"{1 - 49_152 / 131_072:.2%}",
    }
    none_kept = Calculator(keep=0)
    values = {r.label: r.value for r in none_kept.readouts(none_kept.result)}
    assert values["OSFT’s reduction, factored"] == f"none: {256 * 769 / 131_072:.0%}"
    assert values["OSFT’s reduction, as C"] == "0.00%"
    all_kept = Calculator(keep=1)
    assert all_kept.result.real["core"].trained == all_kept.result.real["factored"].trained == 0


@pytest.mark.parametrize(
    ("settings", "notes"),
    [
        ({}, []),
        ({"in_features": 104, "block": 16}, ["Blocks of 16 do not divide 104 inputs", "16 blocks do not divide"]),
        ({"in_features": 97}, ["97 blocks of 1", "1 block of 97", "trains nothing", "97 is not divisible by"]),
        ({"block": 10**12}, ["wider than 512 inputs: OFT uses one block of 512"]),
        (
            {"boft_block": 512, "boft_factors": 2},
            ["Input features = 512 is not divisible by block size·2^(factors − 1) = 1024"],
        ),
    ],
)
def test_what_was_moved_is_said(settings, notes):
    said = notes_on(Calculator(**settings).result)
    assert len(said) == len(notes)
    for note, part in zip(said, notes, strict=True):
        assert part in note


def test_block_sizes_of_the_chapter():
    demo = Calculator(in_features=100)
    assert (demo.result.real["oft"].method, demo.result.real["oft"].trained) == ("OFT, blocks of 20", 950)
    demo.in_features = 97
    assert demo.result.real["oft"].trained == 0
    marks = demo.marks(demo.result)
    assert [marks["dots"][column][5] for column in ("fill", "edge")] == [0, 0]  # zero has no place on a logarithm
    assert marks["counts"]["text"][5] == "0 · 0%"
    assert marks["counts"]["text"][8] == "—"
    assert "cannot be built" in marks["methods"]["text"][8]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 40), st.integers(1, 700))
def test_outputs_do_not_matter_to_oft(n, m, rank, block):
    assume(rank <= min(n, m))
    one, two = (real_counts(setting(n, out, rank=rank, block=block)) for out in (m, m + 17))
    assert one["oft"] == two["oft"]
    assert one["oft blocks"] == two["oft blocks"]
    assert one["lora"].trained < two["lora"].trained


def test_claims():
    demo = Calculator()
    claims = {claim.key: claim for claim in demo.claims(demo.result)}
    assert {key: claim.verdict for key, claim in claims.items()} == {
        "oft-count": "fails",
        "osft-count": "fails",
        "reduction": "partly",
    }
    assert "3,840, 2.93%" in claims["oft-count"].measured
    assert "184,560 (141% of the layer), and C 119,040 (90.8%)" in claims["osft-count"].measured
    assert "75.1% and 37.5%" in claims["osft-count"].measured
    assert "97.07% fewer" in claims["reduction"].measured
    assert "93.4% and 83.2% kept" in claims["reduction"].measured
    demo.keep = 0.95
    assert {claim.key: claim.verdict for claim in demo.claims(demo.result)}["reduction"] == "holds"
    # A skew block of 2 has one number: rank² of rank 1, where the layer has one block.
    demo = Calculator(in_features=2, out_features=2, rank=1, block=2)
    assert {claim.key: claim.verdict for claim in demo.claims(demo.result)}["oft-count"] == "holds"


def test_words_hold_the_numbers():
    demo = Calculator()
    words = demo.describe(demo.result)
    for row in (*demo.result.tale.values(), *demo.result.real.values()):
        assert f"{row.method} {row.trained:,}" in words


@pytest.mark.parametrize("name", ["in_features", "out_features", "rank", "block", "boft_block"])
@pytest.mark.parametrize("value", [0, -5, 1.5, math.nan, math.inf, "", "many", 10**12 + 1, True])
def test_bad_numbers_are_refused(name, value):
    demo = Calculator()
    before = demo.result
    with pytest.raises(ValueError, match="give a whole number, 1…1,000,000,000,000"):
        setattr(demo, name, value)
    assert demo.result is before


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, "half", True])
def test_bad_shares_are_refused(value):
    demo = Calculator()
    with pytest.raises(ValueError, match="Share of directions OSFT keeps"):
        demo.keep = value


@pytest.mark.parametrize(
    ("settings", "note", "lora"),
    [
        ({"rank": 257}, "Rank = 257 is outside 1…256, the ranks that a 256×512 matrix can have", 257 * 768),
        ({"in_features": 8}, "Rank = 16 is outside 1…8, the ranks that a 256×8 matrix can have", 16 * 264),
    ],
)
def test_a_rank_beyond_the_layer_is_counted_and_explained(settings, note, lora):
    """peft builds LoRA so, and refuses PSOFT (tests/maths/test_counting_peft.py); the other methods do not mind."""
    demo = Calculator(**settings)
    assert not demo.problem
    assert demo.result.real["lora"].trained == demo.result.tale["lora"].trained == lora
    assert f'<p class="moved">{note}: LoRA trains its numbers all the same' in demo.details(demo.result)
    assert "PSOFT cannot be built here: it needs a rank in 1…" in demo.details(demo.result)
    assert [key for key, row in demo.result.real.items() if row.why] == ["psoft"]
    assert all(claim.verdict for claim in demo.claims(demo.result))


def test_amounts():
    assert short(9_999_999_999) == "9,999,999,999"
    assert short(10**24) == "1.00×10²⁴"
    assert percent(0, 7) == "0%"
    assert percent(1, 3) == "33.3%"
    assert percent(7, 5) == "140%"
    assert percent(10**24, 1) == "1.00×10²⁶%"
    assert percent(1, 10**24) == "1.00×10⁻²²%"
    assert reduction(1, 10**24) == "over 99.99%"
    assert reduction(0, 5) == "nothing to train"
    assert reduction(10**12 + 1, 10**12) == "none: just over 100%"
    assert reduction(3, 2) == "none: 150%"
    assert many(1, "block") == "1 block"
    assert many(1000, "block") == "1,000 blocks"
    assert (size(0), size(1023), size(1536), size(3 * 2**90)) == ("0 B", "1023 B", "1.5 KiB", "3,072.0 YiB")


def test_numbers_are_written_out_unless_they_are_tiny_or_huge():
    written = {0: "0", 0.0012: "0.0012", 7.25: "7.2", 99.96: "100", 270.4: "270", 99_999: "99,999", -0.5: "−0.50"}
    assert {value: plain(value) for value in written} == written
    assert plain(1e5) == "1.0×10⁵"
    assert plain(4.4e-16) == "4.4e−16"


def test_an_oft_that_trains_nothing_reduces_nothing():
    demo = Calculator(in_features=97, out_features=97)
    assert {r.label: r.value for r in demo.readouts(demo.result)}["OFT’s reduction"] == "nothing to train"
    claim = next(claim for claim in demo.claims(demo.result) if claim.key == "reduction")
    assert "nothing to train. OSFT" in claim.measured
    assert Calculator(in_features=97, out_features=97, keep=0.99).result.share("core") < 0.1
    demo.keep = 0.99
    assert {claim.key: claim.verdict for claim in demo.claims(demo.result)}["reduction"] == "partly"


def test_a_shared_block_trains_what_peft_shares():
    config = peft.OFTConfig(oft_block_size=16, r=0, block_share=True, target_modules={"0"})
    model = peft.get_peft_model(nn.Sequential(nn.Linear(64, 32, bias=False)), config)
    row = real_counts(setting(64, 32, block=16))["oft shared"]
    assert row.trained == sum(p.numel() for p in model.parameters() if p.requires_grad) == 120


def test_messages_name_the_fields_of_the_page():
    said = real_counts(setting(97, 10, boft_block=8))["boft"].why
    assert said.startswith("Input features = 97 is not divisible by block size·2^(factors − 1) = 8")
    assert real_counts(setting(96, 10, boft_block=3, boft_factors=2))["boft"].why.startswith(
        "BOFT block size = 3 is odd"
    )
    assert list(FIELDS.values()) == [
        Calculator.param[name].label for name in ("in_features", "out_features", "rank", "boft_block", "boft_factors")
    ]


def test_nothing_crosses_the_counts():
    demo = Calculator()
    marks = demo.marks(demo.result)
    dots, tick = marks["dots"], marks["full"]
    assert all(low < y < high for low, y, high in zip(tick["y0"], dots["y"], tick["y1"], strict=True))
    assert all(high < words for high, words in zip(tick["y1"], marks["counts"]["y"], strict=True))
    assert all(low > words + 0.5 for low, words in zip(tick["y0"], marks["counts"]["y"][1:], strict=False))
    demo.__panel__()
    plot = demo._pictures.get_root().select_one({"type": figure})
    assert not any(line.visible for line in plot.grid)


def test_tale_is_the_tutorials_formula():
    counts = tale_counts(setting(30, 20, rank=7))
    assert [count.trained for count in counts.values()] == [600, 350, 49]
