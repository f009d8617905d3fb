"""Chapter 2 in a browser."""

import numpy as np

from tests.ui.reader import Reader
from wonderland.maths import orthogonal


def haar(size: int, seed: int) -> np.ndarray:
    return orthogonal.haar(size, np.random.default_rng(seed))


def decimals(A: np.ndarray) -> list[str]:
    return [f"{value:.3f}".replace("-0.000", "0.000").replace("-", "−") for value in A.ravel()]


def expect_maps(reader: Reader, Q: np.ndarray) -> None:
    """Both heat maps print Q and QᵀQ."""
    for mark, A in (("Q numbers", Q), ("QTQ numbers", Q.T @ Q)):
        reader.wait_for(lambda mark=mark, A=A: reader.data(mark)["text"] == decimals(A), f"{mark} of {A}")


def test_shuffle_size_and_seed(reader: Reader) -> None:
    reader.open("?chapter=2")
    expect_maps(reader, haar(4, 0))
    reader.press("Shuffle the cards")
    expect_maps(reader, haar(4, 1))
    reader.expect_address("?chapter=2&seed=1$")
    reader.nudge("Size", "ArrowRight", times=2)
    expect_maps(reader, haar(6, 1))
    reader.expect_readout("determinant", f"{np.linalg.det(haar(6, 1)):+.6f}".replace("-", "−"))
    reader.press("More controls")
    reader.type("Seed", "12")
    expect_maps(reader, haar(6, 12))


def test_the_series_is_only_painted(reader: Reader) -> None:
    reader.open("?chapter=2")
    for build, norm in (("exact Cayley", 0.3), ("five-term series", 0.35)):
        reader.choose("Q is made by", build)
        if norm > 0.3:
            reader.nudge("‖S‖, for Cayley and the series")
        S = orthogonal.random_skew(4, norm, np.random.default_rng(0))
        eye = np.eye(4)
        series = eye + 2 * S + 2 * S @ S + 2 * S @ S @ S + S @ S @ S @ S
        Q = np.linalg.inv(eye - S) @ (eye + S) if build == "exact Cayley" else series
        expect_maps(reader, Q)
        reader.expect_readout("orthogonal (error < 1e-10)", "yes" if build == "exact Cayley" else "no")
    reader.wait_for(lambda: "norm=0.35" in reader.page.url, "the address")


def test_break_a_cell_by_click_and_repair_it(reader: Reader) -> None:
    reader.open("?chapter=2")
    broken = haar(4, 0)
    expect_maps(reader, broken)
    frame = reader.picture(0)
    reader.page.mouse.click(frame["x"] + frame["width"] / 2 + 30, frame["y"] + frame["height"] / 2 - 20)
    broken[1, 2] *= -1  # just right of the middle and above it
    expect_maps(reader, broken)
    reader.expect_readout("orthogonal (error < 1e-10)", "no")
    reader.press("polar factor")
    U, _, Vt = np.linalg.svd(broken)
    expect_maps(reader, U @ Vt)
    reader.expect_readout("the repair moved Q by", f"{np.linalg.norm(U @ Vt - broken):.4f}")
    reader.press("by QR")
    Q, T = np.linalg.qr(broken)
    expect_maps(reader, Q * np.sign(np.diag(T)))
    reader.expect_readout("orthogonal (error < 1e-10)", "yes")
    reader.press("as it is")
    expect_maps(reader, broken)
    reader.press("Shuffle the cards")
    expect_maps(reader, haar(4, 1))


def test_cells_are_typed_and_bad_ones_refused(reader: Reader) -> None:
    reader.open("?chapter=2&size=3")
    reader.press("More controls")
    Q = haar(3, 0)
    Q[1, 2] = 0.25
    reader.type("Q row 2 column 3", "0.25")
    expect_maps(reader, Q)
    for text in ("tea", "", "nan", "inf", "1e9"):
        reader.type("Q row 1 column 1", text)
        assert "Q, row 1, column 1" in reader.alert()
        expect_maps(reader, Q)
    reader.type("Seed", "-3")
    reader.page.get_by_text("Seed = -3 is out of range").wait_for()
    expect_maps(reader, Q)


def test_an_address_restores_an_edit_and_names_what_cannot_be_repaired(new_reader) -> None:
    first = new_reader().open("?chapter=2&seed=5&edited=1,0.5;0,1&repair=polar+factor")
    U, _, Vt = np.linalg.svd([[1, 0.5], [0, 1]])
    expect_maps(first, U @ Vt)
    second = new_reader().open(first.page.url.removeprefix(f"{first.server}/app"))
    expect_maps(second, U @ Vt)
    second.press("Reset")
    expect_maps(second, haar(4, 0))
    second.open("?chapter=2&edited=1,1;1,1&repair=by+QR")
    assert "singular" in second.alert()
    second.press("as it is")
    expect_maps(second, np.ones((2, 2)))


def test_cells_follow_the_theme(reader: Reader) -> None:
    reader.open("?chapter=2")
    before = reader.data("Q cells")["ink"]
    reader.page.get_by_role("button", name="Toggle theme").click()
    reader.wait_for(lambda: reader.data("Q cells")["ink"] != before, "other colors")
    expect_maps(reader, haar(4, 0))
