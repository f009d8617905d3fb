"""Chapter 10 in a browser."""

from tests.ui.reader import Reader

# Order of the dots: the tale's full, LoRA, rank²; then full, LoRA, OFT by block, OFT by blocks, OFT shared, BOFT,
# PSOFT, OSFT factored, OSFT as C.
OFT, OFT_BLOCKS, BOFT, FACTORED, CORE = 5, 6, 8, 10, 11


def press_first(reader: Reader, label: str) -> None:
    """Press a button of the chapter's first demo; its second has one of the same name."""
    reader.page.get_by_role("button", name=label, exact=True).first.click()


def test_typed_fields_move_the_dots(reader: Reader) -> None:
    reader.open("?chapter=10")
    start = [131_072, 12_288, 256, 131_072, 12_288, 3_840, 7_936, 120, 4_352, 152, 98_432, 49_152]
    reader.expect_column("dots", "x", start)
    reader.expect_readout("the layer’s total", "131,072")
    reader.type("Input features", "1024")
    reader.expect_readout("the layer’s total", "262,144")
    assert reader.column("dots", "x")[OFT] == 1024 * 15 / 2
    reader.type("Output features", "512")
    reader.expect_readout("the layer’s total", "524,288")
    assert reader.column("dots", "x")[OFT] == 1024 * 15 / 2  # the outputs do not matter to it
    reader.type("Rank", "32")
    reader.wait_for(lambda: reader.column("dots", "x")[2] == 32**2, "rank²")
    assert reader.column("dots", "x")[1] == 32 * (1024 + 512)
    assert reader.column("dots", "x")[OFT_BLOCKS] == 1024 * (1024 / 32 - 1) / 2
    reader.type("OFT block size", "64")
    reader.wait_for(lambda: reader.column("dots", "x")[OFT] == 1024 * 63 / 2, "OFT with larger blocks")
    reader.expect_readout("OFT’s reduction", f"{1 - 1024 * 63 / 2 / 524_288:.2%}")
    reader.wait_for(lambda: "block=64" in reader.page.url and "rank=32" in reader.page.url, "the address")
    press_first(reader, "Reset")
    reader.expect_column("dots", "x", start)


def test_the_share_kept(reader: Reader) -> None:
    reader.open("?chapter=10&keep=0.9")
    k = round(0.9 * 256)
    reader.wait_for(lambda: reader.column("dots", "x")[FACTORED] == (256 - k) * 769, "k of the address")
    reader.nudge("Share of directions OSFT keeps", times=2)
    k = round(0.92 * 256)
    reader.wait_for(lambda: reader.column("dots", "x")[FACTORED] == (256 - k) * 769, "k two steps on")
    assert reader.column("dots", "x")[CORE] == (256 - k) * (512 - k)
    reader.nudge("Share of directions OSFT keeps", "End")
    reader.expect_readout("OSFT’s reduction, as C", "nothing to train")


def test_the_trick_drawer(reader: Reader) -> None:
    reader.open("?chapter=10")
    reader.type("Input features", "100")
    reader.wait_for(lambda: reader.column("dots", "x")[OFT] == 950, "blocks of 20")
    reader.page.get_by_text("OFT moves to the nearest divisor, 5 blocks of 20.").wait_for()
    reader.type("Input features", "97")
    reader.expect_readout("OFT’s reduction", "nothing to train")
    assert reader.data("counts")["text"][OFT] == "0 · 0%"
    assert reader.data("counts")["text"][BOFT] == "—"
    reader.type("Input features", "96")
    reader.wait_for(lambda: reader.column("dots", "x")[BOFT] == 96 * 8 + 256, "BOFT again")
    press_first(reader, "More controls")
    reader.type("BOFT block size", "4")
    reader.wait_for(lambda: reader.column("dots", "x")[BOFT] == 96 * 4 + 256, "BOFT with smaller blocks")
    reader.nudge("BOFT factors", times=1)
    reader.wait_for(lambda: reader.column("dots", "x")[BOFT] == 2 * 96 * 4 + 256, "BOFT with two factors")


def test_huge_layers_and_bad_numbers(reader: Reader) -> None:
    reader.open("?chapter=10")
    reader.type("Input features", "1000000000000")
    reader.type("Output features", "1,000,000,000,000")
    reader.expect_readout("the layer’s total", "1,000,000,000,000,000,000,000,000")
    assert reader.data("counts")["text"][0] == "1.00×10²⁴ · 100%"
    reader.type("Input features", "a lot")
    assert "1…1,000,000,000,000" in reader.alert()
    reader.expect_readout("the layer’s total", "1,000,000,000,000,000,000,000,000")
    reader.type("Input features", "512")
    reader.wait_for(lambda: not reader.page.get_by_role("alert").filter(has_text="give").count(), "no alert")
    reader.type("Rank", "600")
    note = reader.page.locator(".moved").filter(has_text="Rank = 600 is outside 1…512")
    reader.wait_for(note.count, "the note on the rank")


def test_the_comparison(reader: Reader) -> None:
    reader.open("?chapter=10")
    table = reader.page.get_by_role("table").filter(has_text="as the tale compares them")
    assert table.get_by_role("columnheader").all_inner_texts() == ["OFT", "LoRA", "OSFT"]
    assert table.locator(".corrected").count() == 7
    table.get_by_role("link", name="chapter 7").click()
    reader.page.locator("header.chapter h1", has_text="Finding Your Way").wait_for()
