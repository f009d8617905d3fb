"""Chapter 2: what makes a matrix orthogonal, measured against other ways to compute it."""

import itertools
import re

import numpy as np
import pytest
from bokeh.plotting import figure
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland import MatrixGarden, address
from wonderland.demos.matrix_garden import vectors
from wonderland.theme import palette

seeds = st.integers(0, 999_999)
sizes = st.integers(2, 8)


def by_permutations(A: np.ndarray) -> float:
    """Leibniz' formula."""
    n = len(A)
    total = 0.0
    for order in itertools.permutations(range(n)):
        swaps = sum(order[i] > order[j] for i, j in itertools.combinations(range(n), 2))
        total += (-1) ** swaps * np.prod([A[i, order[i]] for i in range(n)])
    return total


def angle(x: np.ndarray, y: np.ndarray) -> float:
    return np.degrees(np.arccos(np.clip(x @ y / np.sqrt(x @ x * (y @ y)), -1, 1)))


def luminance(color: str) -> float:
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return float(
        np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    )


def contrast(one: str, two: str) -> float:
    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


def test_the_first_picture_is_the_chapters() -> None:
    demo = MatrixGarden()
    Q = demo.result.Q
    G = np.random.default_rng(demo.seed).standard_normal((4, 4))
    T = np.linalg.solve(Q, G)  # G = QT: upper triangular, its diagonal positive
    np.testing.assert_allclose(np.tril(T, -1), 0, atol=1e-12)
    assert (np.diag(T) > 0).all()
    assert demo.result.is_orthogonal
    marks = demo.marks(demo.result)
    assert marks["Q numbers"]["text"] == [f"{value:.3f}".replace("-", "−") for value in Q.ravel()]
    assert marks["QTQ numbers"]["text"] == [f"{value:.3f}" for value in np.eye(4).ravel()]
    green = marks["QTQ cells"]["ink"][0]
    assert [ink == green for ink in marks["QTQ cells"]["ink"]] == np.eye(4, dtype=bool).ravel().tolist()


@given(seeds, st.integers(2, 5), st.sampled_from(MatrixGarden.param.build.objects), st.floats(0, 1.5))
@settings(deadline=None, max_examples=25)
def test_every_number_is_what_another_way_gives(seed: int, size: int, build: str, norm: float) -> None:
    result = MatrixGarden(seed=seed, size=size, build=build, norm=norm).result
    Q, X = result.Q, vectors(size)
    assert result.determinant == pytest.approx(by_permutations(Q), abs=1e-9)
    gram = np.einsum("ki,kj->ij", Q, Q)
    np.testing.assert_allclose(result.gram, gram, atol=1e-12)
    assert result.error == pytest.approx(np.abs(gram - np.eye(size)).max(), abs=1e-12)
    moved = [Q @ x for x in X]
    ratios = [np.sqrt(y @ y) / np.sqrt(x @ x) for x, y in zip(X, moved, strict=True)]
    assert result.norm_change == pytest.approx(max(abs(ratio - 1) for ratio in ratios), abs=1e-12)
    pairs = itertools.combinations(range(20), 2)
    some = max(abs(angle(moved[i], moved[j]) - angle(X[i], X[j])) for i, j in pairs)
    assert result.angle_change >= some - 1e-5
    assert result.singular_values[0] == pytest.approx(np.sqrt(np.linalg.eigvalsh(gram)[-1]), abs=1e-9)


@given(seeds, sizes, st.floats(0, 1.5))
@settings(deadline=None, max_examples=30)
def test_the_series_loses_what_the_formula_says(seed: int, size: int, norm: float) -> None:
    exact = MatrixGarden(seed=seed, size=size, norm=norm, build="exact Cayley").result
    assert exact.is_orthogonal
    assert exact.determinant == pytest.approx(1, abs=1e-9)
    series = MatrixGarden(seed=seed, size=size, norm=norm, build="five-term series").result
    predicted = abs(1 - norm**4)  # the largest θ is ‖S‖
    assert np.abs(series.singular_values - predicted).min() < 1e-9
    assert series.is_orthogonal == (abs(predicted**2 - 1) < 1e-10 and series.error < 1e-10)


@given(seeds, sizes, st.data())
@settings(deadline=None, max_examples=30)
def test_one_broken_cell_spoils_a_cross_and_both_gardeners_repair_it(seed: int, size: int, data: st.DataObject) -> None:
    demo = MatrixGarden(seed=seed, size=size)
    row, column = (data.draw(st.integers(0, size - 1)) for _ in range(2))
    broken = demo.result.Q.copy()
    broken[row, column] += data.draw(st.sampled_from([-0.4, 0.3, 1.5]))
    demo.edited = broken
    wrong = np.abs(demo.result.gram - np.eye(size)) > 1e-12
    wrong[column, :] = wrong[:, column] = False
    assert not wrong.any()
    assert demo.result.error > 0.01
    demo.repair = "by QR"
    first = demo.result
    assert first.is_orthogonal
    np.testing.assert_allclose(first.Q[:, 0], broken[:, 0] / np.linalg.norm(broken[:, 0]), atol=1e-12)
    demo.repair = "polar factor"
    assert demo.result.is_orthogonal
    assert np.linalg.eigvalsh(demo.result.Q.T @ broken).min() > 0  # its other factor is positive definite
    assert demo.result.moved <= first.moved + 1e-12
    assert demo.result.moved == pytest.approx(np.sqrt(((demo.result.Q - broken) ** 2).sum()))


def test_half_of_the_draws_are_reflections_and_the_claim_counts_them() -> None:
    demo = MatrixGarden(size=3)
    count = 0
    for seed in range(200):
        demo.seed = seed
        count += demo.result.determinant < 0
    claim = next(claim for claim in demo.claims(demo.result) if claim.key == "rotation-det")
    assert f"{count} of 200 are reflections" in claim.measured
    assert claim.verdict == "partly"
    assert 70 < count < 130
    demo.build = "exact Cayley"
    assert [claim.verdict for claim in demo.claims(demo.result)] == ["holds", "holds"]


def test_a_painted_matrix_keeps_neither_norm_nor_angles() -> None:
    demo = MatrixGarden(edited=[[1, 0], [0, 2]])
    assert [(claim.key, claim.verdict) for claim in demo.claims(demo.result)] == [("norm-angles", "fails")]
    demo.edited = [[2, 0], [0, 2]]  # every angle, no length
    assert demo.claims(demo.result)[0].verdict == "partly"
    assert demo.result.norm_change == pytest.approx(1)


def test_the_zero_matrix_leaves_no_angle() -> None:
    demo = MatrixGarden(edited=np.zeros((3, 3)))
    assert demo.problem == ""
    values = {readout.label: readout.value for readout in demo.readouts(demo.result)}
    assert values["angles change by at most"] == "none is left"
    assert values["determinant"] == "+0.000000"


def test_an_edit_sets_the_size_and_a_new_draw_drops_it() -> None:
    demo = MatrixGarden(edited=np.eye(3))
    assert demo.size == 3
    demo.param.trigger("shuffle")
    assert (demo.edited, demo.seed, demo.size) == (None, 1, 3)
    for change in ({"size": 5}, {"build": "exact Cayley"}, {"norm": 0.7}, {"seed": 9}):
        demo.edited = np.diag([1.0, 2.0])
        assert demo.size == 2
        demo.param.update(**change)
        assert demo.edited is None, change
        assert not np.array_equal(demo.result.Q, np.diag([1.0, 2.0]))
    demo.edited = np.diag([1.0, 2.0])
    demo.repair = "by QR"
    np.testing.assert_allclose(demo.result.Q, np.eye(2))
    demo.edited = [[1, 1], [0, 1]]
    assert demo.repair == "as it is"


def test_a_click_flips_a_sign_and_a_second_one_flips_it_back() -> None:
    demo = MatrixGarden()
    drawn = demo.result.Q
    demo._on_tap(0.9, 0.9)
    wanted = drawn.copy()
    wanted[0, 3] *= -1
    np.testing.assert_array_equal(demo.result.Q, wanted)
    assert not demo.result.is_orthogonal
    demo._on_tap(1.2, 0.5)
    np.testing.assert_array_equal(demo.result.Q, wanted)
    demo._on_tap(0.9, 0.9)
    assert demo.edited is None
    np.testing.assert_array_equal(demo.result.Q, drawn)


@given(seeds, sizes, st.sampled_from(MatrixGarden.param.repair.objects))
@settings(deadline=None, max_examples=20)
def test_every_state_stands_in_the_address(seed: int, size: int, repair: str) -> None:
    demo = MatrixGarden(seed=seed, size=size)
    demo._on_tap(0.5, 0.99)
    demo.repair = repair
    _, state, _ = address.decode(address.encode(2, demo))
    other = MatrixGarden()
    assert address.apply(other, state) == []
    np.testing.assert_array_equal(other.result.Q, demo.result.Q)
    assert other.repair == repair


@pytest.mark.parametrize("dark", [True, False])
def test_numbers_can_be_read_on_every_cell(dark: bool) -> None:
    demo = MatrixGarden(dark=dark)
    text = palette(dark).text
    for value in np.linspace(-1.2, 1.2, 49):
        demo.edited = [[value, 1.0], [0.0, 1.0]]
        marks = demo.marks(demo.result)
        for ink in {*marks["Q cells"]["ink"], *marks["QTQ cells"]["ink"]}:
            assert contrast(text, ink) >= 4.5, (value, ink)


def test_narrow_cells_drop_the_leading_zero_and_huge_numbers_their_digits() -> None:
    demo = MatrixGarden(size=8)
    texts = demo.marks(demo.result)["QTQ numbers"]["text"]
    assert set(texts) == {"1.000", ".000"}
    demo.edited = [[1e6, -1234.0], [-1e-9, -0.9996]]
    assert demo.marks(demo.result)["Q numbers"]["text"] == ["1×10⁶", "−1234", "0.000", "−1.000"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("size", 1, "Size = 1 is out of range: give a whole number, 2…8."),
        ("size", 9, "Size = 9"),
        ("size", 10**12, "Size = 1,000,000,000,000"),
        ("size", 2.5, "Size is 2.5"),
        ("size", "", "Size is empty"),
        ("size", "four", "Size is “four”"),
        ("norm", float("nan"), "is nan: give a number, 0…1.5."),
        ("norm", float("inf"), "is inf"),
        ("norm", -0.1, "= -0.1 is out of range"),
        ("seed", -1, "Seed = -1"),
        ("seed", 1_000_000, "Seed = 1,000,000"),
        ("build", "by magic", "by magic"),
        ("repair", "glue", "glue"),
        ("edited", [[1, 2]], "Q is 1×2: give a square matrix, 2×2…8×8."),
        ("edited", [[1]], "Q is 1×1"),
        ("edited", np.eye(9), "Q is 9×9"),
        ("edited", [[1, np.nan], [0, 1]], "Q, row 1, column 2 is nan"),
        ("edited", [[1, 0], [-1e7, 1]], "Q, row 2, column 1 is -1e+07: give a number, −1,000,000…1,000,000."),
        ("edited", [["rose", 0], [0, 1]], "not a number"),
        ("edited", [], "Q has shape (0,)"),
    ],
)
def test_bad_input_is_refused_by_name(name: str, value: object, message: str) -> None:
    demo = MatrixGarden()
    before = demo.result
    with pytest.raises(ValueError, match=re.escape(message)):
        setattr(demo, name, value)
    assert demo.result is before


def test_a_singular_matrix_cannot_be_repaired_and_the_last_picture_stands() -> None:
    demo = MatrixGarden(edited=[[1, 1], [1, 1]])
    before = demo.result
    for repair in ("by QR", "polar factor"):
        demo.repair = repair
        assert demo.problem.startswith("Q is singular")
        assert demo.result is before
        demo.repair = "as it is"
        assert demo.problem == ""
        before = demo.result


@pytest.mark.parametrize(("factor", "text"), [(3.7, "270%"), (101, "10,000%"), (1e6, "1.0×10⁸%"), (1.5, "50%")])
def test_changes_of_ordinary_size_are_written_out(factor: float, text: str) -> None:
    demo = MatrixGarden(edited=factor * np.eye(2))
    values = [readout.value for readout in demo.readouts(demo.result)]
    assert text in values
    assert text in demo.claims(demo.result)[0].measured


def test_the_colors_are_explained() -> None:
    demo = MatrixGarden()
    demo.__panel__()
    plots = demo._pictures.get_root().select({"type": figure})
    assert any("blue +, red −" in plot.title.text for plot in plots)
