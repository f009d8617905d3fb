"""Chapter 8: the sum on the board."""

import html
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wonderland import address
from wonderland.demos.numpy_warmup import RULES, NumpyWarmup, lines_of, work_out
from wonderland.maths import subspace

W = np.array([[2, 0.5, 0], [0, 1.5, 0.1], [0, 0, 0.2]])
G = np.array([[0.1, -0.2, 0.05], [0.05, 0.1, -0.1], [-0.2, 0, 0.2]])
matrices = arrays(float, (3, 3), elements=st.floats(-5, 5).map(lambda x: round(x, 3)))


def readouts(demo: NumpyWarmup) -> dict[str, str]:
    return {readout.label: readout.value for readout in demo.readouts(demo.result)}


def code_of(demo: NumpyWarmup) -> list[str]:
    """The code that stands beside each step."""
    return [html.unescape(text) for text in re.findall("<code>(.*?)</code>", demo._steps.object, re.DOTALL)]


def matrices_of(demo: NumpyWarmup) -> dict[str, np.ndarray]:
    """The matrices that stand beside each step, by name."""
    spoken = re.findall('aria-label="(.*?)"', demo._steps.object.replace("−", "-"))
    named = dict(text.split(": ") for text in spoken)
    return {name: np.array([row.split(", ") for row in rows.split("; ")], dtype=float) for name, rows in named.items()}


def test_the_defaults_are_the_chapters() -> None:
    demo = NumpyWarmup()
    np.testing.assert_array_equal(demo.W, W)
    np.testing.assert_array_equal(demo.G, G)
    assert (demo.k, demo.rule) == (1, "joint")
    assert list(RULES) == list(subspace.RULES)


def test_the_reference_figures() -> None:
    """0.5% of the gradient's energy removed, ‖G·V_h‖ from .1966 to .1945; two-sided leaves none."""
    demo = NumpyWarmup()
    assert readouts(demo)["‖G·Vₕ‖ before"] == "0.1966"
    assert readouts(demo)["after, joint"] == "0.1945"
    assert readouts(demo)["‖G‖² removed, joint"] == "0.5 %"
    assert readouts(demo)["after, two-sided"] == "0.0000"
    [claim] = demo.claims(demo.result)
    assert (claim.key, claim.verdict) == ("joint-rule", "fails")
    assert "0.5%" in claim.measured
    assert "99%" in claim.measured


@settings(deadline=None, max_examples=40)
@given(matrices, matrices, st.integers(0, 3))
def test_the_lines_on_the_board_agree_with_the_library(W: np.ndarray, G: np.ndarray, k: int) -> None:
    found, split = work_out(W, G, k), subspace.split(W, k)
    np.testing.assert_allclose(found.S, split.S, atol=1e-12)
    energy = np.linalg.norm(G) ** 2
    for rule in subspace.RULES:
        left = subspace.project(G, split, rule)
        np.testing.assert_allclose(found.projected[rule], left, atol=1e-12)
        assert found.after[rule] == pytest.approx(np.linalg.norm(left @ split.V_h), abs=1e-9)
        if energy > 1e-3:
            assert found.removed[rule] == pytest.approx(1 - np.linalg.norm(left) ** 2 / energy, abs=1e-9)
    assert found.before == pytest.approx(np.linalg.norm(G @ split.V_h), abs=1e-9)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_the_code_beside_each_step_makes_the_matrix_beside_it(rule: str, k: int) -> None:
    demo = NumpyWarmup()
    demo.__panel__()
    demo.param.update(rule=rule, k=k, W=W + 0.1, G=G * 3)
    steps = code_of(demo)
    assert len(steps) == 6
    board: dict = {"np": np}
    for code in steps[:5]:
        exec(code, board)
    shown = matrices_of(demo) if k else {}
    for name in shown.keys() & board.keys():
        np.testing.assert_allclose(shown[name], np.atleast_2d(board[name]), atol=6e-5)
    if k:
        assert {"W", "S", "U_high", "V_high", "G", "projected"} <= shown.keys() & board.keys()
    exec(steps[5], board, after := {})
    assert after["pulls"] == pytest.approx([demo.result.before, demo.result.after[rule]], abs=1e-12)
    assert demo.result.removed[rule] == pytest.approx(float(after["removed"]), abs=1e-12)
    np.testing.assert_allclose(demo.result.projected[rule], board["projected"], atol=1e-15)


def test_lines_are_read_from_the_function_itself() -> None:
    assert lines_of(work_out).startswith("U, S, Vt = decompose(W)")


def test_the_bars_show_what_is_left() -> None:
    demo = NumpyWarmup(k=2)
    bars = demo.marks(demo.result)["bars"]
    split = subspace.split(W, 2)
    before = np.linalg.norm(G @ split.V_h)
    wanted = [1.0, *(np.linalg.norm(subspace.project(G, split, rule) @ split.V_h) / before for rule in RULES)]
    np.testing.assert_allclose(bars["x1"], wanted, atol=1e-12)
    texts = demo.marks(demo.result)["lengths"]["text"]
    assert texts == [f"{before * share:.4f}" for share in wanted]


def test_a_gradient_in_the_corner_is_stopped_entirely() -> None:
    split = subspace.split(W, 1)
    demo = NumpyWarmup(G=split.U_h @ split.V_h.T)
    np.testing.assert_allclose(demo.result.projected["joint"], 0, atol=1e-15)
    [claim] = demo.claims(demo.result)
    assert claim.verdict == "holds"
    assert readouts(demo)["‖G‖² removed, joint"] == "100.0 %"


@pytest.mark.parametrize(("matrix", "k"), [("zero gradient", 1), ("zero weight", 1), ("default", 0), ("default", 3)])
def test_edges(matrix: str, k: int) -> None:
    given = {"zero gradient": {"G": np.zeros((3, 3))}, "zero weight": {"W": np.zeros((3, 3))}}.get(matrix, {})
    demo = NumpyWarmup(k=k, **given)
    demo.__panel__().get_root()
    assert demo.problem == ""
    assert all(np.isfinite([demo.result.before, *demo.result.after.values(), *demo.result.removed.values()]))
    assert demo.describe(demo.result)
    if matrix == "zero gradient" or k == 0:
        assert "nothing to keep off" in demo.claims(demo.result)[0].measured


@pytest.mark.parametrize("name", ["W", "G"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1, 2], [3, 4]], "is 2×2: give 3 rows of 3 numbers"),
        (np.ones((3, 4)), "is 3×4"),
        (np.full((3, 3), 1e300), "give numbers within ±1,000,000"),
    ],
    ids=["small", "oblong", "huge"],
)
def test_a_matrix_that_does_not_fit_leaves_the_last_good_picture(name: str, value: object, message: str) -> None:
    demo = NumpyWarmup()
    demo.__panel__()
    good, shown = demo.result, demo._steps.object
    setattr(demo, name, value)
    assert message in demo.problem
    assert demo.problem.startswith(name)
    assert demo.result is good
    demo.rule = "two-sided"
    assert demo._steps.object == shown
    assert "joint rule" in demo.claims(demo.result)[0].measured
    assert "rule is joint" in demo.describe(demo.result)
    demo.reset()
    assert demo.problem == ""
    assert demo._steps.object == shown


@pytest.mark.parametrize("name", ["W", "G"])
@pytest.mark.parametrize(
    "value", [np.full((3, 3), np.nan), np.full((3, 3), np.inf), [], [[]], "abc", [["a"]], [1, 2, 3], None], ids=repr
)
def test_what_is_no_matrix_is_refused(name: str, value: object) -> None:
    demo = NumpyWarmup()
    with pytest.raises(ValueError, match=name):
        setattr(demo, name, value)
    assert demo.problem == ""


@pytest.mark.parametrize("value", [-1, 4, 1.5, float("nan"), "two", "", None, True])
def test_a_cut_off_out_of_range_is_refused(value: object) -> None:
    demo = NumpyWarmup()
    with pytest.raises(ValueError, match="Cut-off k"):
        demo.k = value


def test_its_state_stands_in_the_address() -> None:
    demo = NumpyWarmup(rule="two-sided", k=2)
    demo.W = W + np.eye(3)
    other = NumpyWarmup()
    text = address.encode(8, demo)
    assert "W=3%2C0.5%2C0%3B" in text
    number, state, problems = address.decode(text)
    assert (number, problems, address.apply(other, state)) == (8, [], [])
    np.testing.assert_array_equal(other.W, demo.W)
    assert other.rule == "two-sided"


def test_the_theme_keeps_the_steps_on_the_page() -> None:
    demo = NumpyWarmup(dark=True)
    demo.__panel__().get_root()
    panes = list(demo._pictures)
    demo.dark = False
    assert list(demo._pictures) == panes
    demo.k = 2
    assert "k = 2" in panes[0].object


@pytest.mark.parametrize("k", range(4))
def test_the_words_name_the_rule_and_what_it_leaves(k: int) -> None:
    demo, said = NumpyWarmup(k=k), set()
    for demo.rule in RULES:
        words = demo.describe(demo.result)
        assert f"The rule is {demo.rule}," in words
        first = f"{demo.result.projected[demo.rule][0, 0]:.4f}".replace("-0.0000", "0.0000").replace("-", "−")
        assert f"the gradient it leaves is {first}, " in words
        said.add(words)
    assert len(said) == len(RULES)


def test_each_matrix_stands_beside_the_cut_off_and_the_rule() -> None:
    W_field, G_field, *others = NumpyWarmup().__panel__()[1][0]
    assert W_field.styles["grid-row"] == G_field.styles["grid-row"] == "span 2"
    assert not any("grid-row" in each.styles for each in others)
