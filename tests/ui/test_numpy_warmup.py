"""Chapter 8 in a browser."""

import numpy as np

from tests.ui.reader import Reader
from wonderland.maths import subspace

W = np.array([[2, 0.5, 0], [0, 1.5, 0.1], [0, 0, 0.2]])
G = np.array([[0.1, -0.2, 0.05], [0.05, 0.1, -0.1], [-0.2, 0, 0.2]])


def expect(reader: Reader, W: np.ndarray, G: np.ndarray, k: int, rule: str) -> None:
    """Bars, readouts and the matrix beside the last rule are those of these numbers."""
    split = subspace.split(W, k)
    left = {name: subspace.project(G, split, name) for name in subspace.RULES}
    before = np.linalg.norm(G @ split.V_h)
    after = [np.linalg.norm(left[name] @ split.V_h) for name in subspace.RULES]
    reader.expect_column("bars", "x1", [1, *(value / before for value in after)], atol=1e-9)
    assert reader.data("lengths")["text"] == [f"{value:.4f}" for value in (before, *after)]
    reader.expect_column("bars", "alpha", [1, *(1 if name == rule else 0.35 for name in subspace.RULES)])
    reader.expect_readout("‖G·Vₕ‖ before", f"{before:.4f}")
    reader.expect_readout(f"after, {rule}", f"{np.linalg.norm(left[rule] @ split.V_h):.4f}")
    removed = 1 - np.linalg.norm(left[rule]) ** 2 / np.linalg.norm(G) ** 2
    reader.expect_readout(f"‖G‖² removed, {rule}", f"{100 * removed:.1f} %")
    expect_matrix(reader, "projected", left[rule])
    expect_matrix(reader, "S", split.S[None])


def expect_matrix(reader: Reader, name: str, M: np.ndarray) -> None:
    rows = "; ".join(", ".join(f"{value + 0.0:.4f}" for value in row) for row in M.round(4))
    wanted = f"{name}: {rows}".replace("-", "−")
    box = reader.page.locator(f'.matrix[aria-label^="{name}: "]')
    reader.wait_for(lambda: box.get_attribute("aria-label") == wanted, wanted)


def cell(reader: Reader, matrix: str, row: int, column: int, text: str) -> None:
    reader.type(f"{matrix} row {row} column {column}", text)


def test_rule_and_cut_off(reader: Reader) -> None:
    reader.open("?chapter=8")
    expect(reader, W, G, 1, "joint")
    reader.press("two-sided")
    expect(reader, W, G, 1, "two-sided")
    reader.nudge("Cut-off k", "ArrowRight")
    expect(reader, W, G, 2, "two-sided")
    reader.press("right-only")
    expect(reader, W, G, 2, "right-only")
    code = reader.page.locator("li pre").nth(4).inner_text()
    assert code.strip() == "projected = G - (G @ V_high) @ V_high.T"
    reader.expect_address("k=2&rule=right-only$")
    reader.press("Reset")
    expect(reader, W, G, 1, "joint")


def test_both_matrices_are_edited(reader: Reader) -> None:
    reader.open("?chapter=8")
    cell(reader, "W", 3, 3, "4")
    changed = W.copy()
    changed[2, 2] = 4
    expect(reader, changed, G, 1, "joint")
    cell(reader, "G", 1, 2, "−0.7")
    gradient = G.copy()
    gradient[0, 1] = -0.7
    expect(reader, changed, gradient, 1, "joint")
    expect_matrix(reader, "W", changed)
    expect_matrix(reader, "G", gradient)
    assert "-0.7" in reader.page.locator("li pre").nth(3).inner_text()
    address = reader.page.url.removeprefix(f"{reader.server}/app")
    reader.open(address)
    expect(reader, changed, gradient, 1, "joint")


def test_bad_cells_are_answered_and_the_last_good_one_comes_back(reader: Reader) -> None:
    reader.open("?chapter=8")
    for text in ("abc", "", "nan", "1e9"):
        cell(reader, "W", 1, 1, text)
        reader.wait_for(lambda: "W, row 1, column 1" in reader.alert(), f"an answer to {text!r}")
        box = reader.page.get_by_role("textbox", name="W row 1 column 1")
        reader.wait_for(lambda box=box: box.input_value() == "2", "the last good value")
        expect(reader, W, G, 1, "joint")
    reader.open("?chapter=8&G=1,2;3,4")
    assert reader.alert() == "G is 2×2: give 3 rows of 3 numbers."
    expect(reader, W, G, 1, "joint")
