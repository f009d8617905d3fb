"""Chapter 7 in a browser."""

from urllib.parse import parse_qs, urlsplit

import numpy as np

from tests.ui.reader import Reader
from wonderland.demos.blocks import measure_blocks
from wonderland.theme import DARK

_FRAME = """() => {
  const found = []
  const walk = (view) => {
    if (view.model.type === 'Figure') {
      const box = view.el.getBoundingClientRect(), inner = view.frame.bbox
      found.push([box.x + inner.left, box.y + inner.top, inner.width, inner.height])
    }
    for (const child of view.child_views || []) walk(child)
  }
  for (const root of Bokeh.index.roots) walk(root)
  return found
}"""
DEFAULT = np.array([1, 0.5]) / np.sqrt(1.25)


def expect_arrows(reader: Reader, g: tuple[float, float], c: np.ndarray, atol: float = 1e-9) -> None:
    along = (c @ np.array(g)) * c
    for mark, tip in (("gradient", np.array(g)), ("projection", along), ("safe", g - along)):
        reader.expect_column(mark, "x1", np.full(3, tip[0]), atol=atol)
        reader.expect_column(mark, "y1", np.full(3, tip[1]), atol=atol)
    reader.expect_column("connector", "x1", [along[0]], atol=atol)


def expect_shares(reader: Reader, rule: str, kept: set[int], size: int = 32, k: int = 8, seed: int = 1) -> None:
    shares = list(measure_blocks(size, k, seed).shares.values())
    wanted = [f"{100 * share:.1f} % {'kept' if i in kept else 'removed'}" for i, share in enumerate(shares)]
    reader.wait_for(lambda: reader.data("shares")["text"] == wanted, f"shares {wanted}")
    inks = [DARK.safe if i in kept else DARK.lora for i in range(4)]
    assert reader.data("blocks")["ink"] == inks
    x0, x1 = reader.column("blocks", "x0"), reader.column("blocks", "x1")
    np.testing.assert_allclose((x1 - x0) ** 2 / ((x1 - x0) ** 2).sum(), shares, atol=1e-9)
    removed = sum(share for i, share in enumerate(shares) if i not in kept)
    reader.expect_readout(f"‖G‖² removed, {rule}", f"{100 * removed:.1f} %")


def drag(reader: Reader, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From one point of the first picture to another, in its own units, −3…3."""
    reader.page.locator(".bk-Canvas").first.scroll_into_view_if_needed()
    left, top, width, height = reader.page.evaluate(_FRAME)[0]
    assert abs(width - height) < 2  # equal aspect

    def at(x: float, y: float) -> tuple[float, float]:
        return left + width * (x + 3) / 6, top + height * (3 - y) / 6

    reader.page.mouse.move(*at(*start))
    reader.page.mouse.down()
    for share in np.linspace(0.05, 1, 20):
        reader.page.mouse.move(*at(*(np.array(start) + share * (np.array(end) - start))))
    reader.page.mouse.up()


def state(reader: Reader, *names: str) -> list[float]:
    """Parameters in the page's address; a slider that was dragged past its steps would round them."""
    query = parse_qs(urlsplit(reader.page.url).query)
    return [float(query.get(name, ["nan"])[0]) for name in names]


def test_the_sliders_move_the_gradient_and_the_line(reader: Reader) -> None:
    reader.open("?chapter=7")
    expect_arrows(reader, (0.5, 0.8), DEFAULT)
    reader.expect_readout("gradient", "(0.50, 0.80)")
    reader.expect_readout("along the critical line", "(0.72, 0.36)")
    reader.expect_readout("safe update", "(−0.22, 0.44)")
    reader.nudge("Gradient x", "ArrowRight", times=3)
    reader.nudge("Gradient y", "ArrowLeft", times=2)
    expect_arrows(reader, (0.8, 0.6), DEFAULT)
    reader.expect_readout("gradient", "(0.80, 0.60)")
    lost = 100 * (1 - abs(DEFAULT[0] * 0.6 - DEFAULT[1] * 0.8))
    reader.expect_readout("magnitude reduction", f"{lost:.1f} %")
    reader.nudge("Critical line, in degrees", "End")
    expect_arrows(reader, (0.8, 0.6), np.array([-1.0, 0.0]))
    reader.expect_readout("magnitude reduction", "40.0 %")
    reader.wait_for(lambda: "direction=180" in reader.page.url, "the address")


def test_the_tip_is_dragged(reader: Reader) -> None:
    reader.open("?chapter=7")
    expect_arrows(reader, (0.5, 0.8), DEFAULT)
    drag(reader, (0.5, 0.8), (-1.2, 1.5))
    reader.wait_for(lambda: np.allclose(state(reader, "gx", "gy"), [-1.2, 1.5], atol=0.05), "the tip")
    expect_arrows(reader, tuple(state(reader, "gx", "gy")), DEFAULT)
    assert "direction" not in reader.page.url


def test_the_line_is_dragged(reader: Reader) -> None:
    reader.open("?chapter=7&direction=30")
    reader.expect_column("critical", "y1", [3])
    drag(reader, (-2 * np.cos(np.pi / 6), -1), (0, -2))
    reader.wait_for(lambda: np.allclose(state(reader, "direction"), 90, atol=0.5), "the line")
    turned = np.deg2rad(state(reader, "direction")[0])
    expect_arrows(reader, (0.5, 0.8), np.array([np.cos(turned), np.sin(turned)]), atol=1e-6)
    assert "gx" not in reader.page.url


def test_rules_and_the_matrix(reader: Reader) -> None:
    reader.open("?chapter=7")
    expect_shares(reader, "joint", {1, 2, 3})
    reader.press("two-sided")
    expect_shares(reader, "two-sided", {3})
    reader.press("right-only")
    expect_shares(reader, "right-only", {1, 3})
    reader.nudge("Protected directions k", "ArrowRight", times=4)
    expect_shares(reader, "right-only", {1, 3}, k=12)
    reader.press("More controls")
    reader.nudge("Size of the matrix", "ArrowLeft", times=2)
    expect_shares(reader, "right-only", {1, 3}, k=12, size=30)
    reader.type("Seed", "5")
    expect_shares(reader, "right-only", {1, 3}, k=12, size=30, seed=5)
    reader.press("Draw another")
    expect_shares(reader, "right-only", {1, 3}, k=12, size=30, seed=6)
    reader.expect_address("rule=right-only&k=12&size=30&seed=6")
    reader.press("Reset")
    expect_shares(reader, "joint", {1, 2, 3})


def test_bad_input_is_answered_and_the_picture_stands(reader: Reader) -> None:
    reader.open("?chapter=7&size=5&k=9")
    assert reader.alert() == "k = 9 is outside 0…5: a 5×5 matrix has 5 singular values."
    expect_shares(reader, "joint", {1, 2, 3})
    reader.nudge("Protected directions k", "Home")
    reader.nudge("Protected directions k", "ArrowRight", times=3)
    expect_shares(reader, "joint", {1, 2, 3}, k=3, size=5)
    reader.press("More controls")
    reader.type("Seed", "plenty")
    assert "“plenty”" in reader.alert()
    expect_shares(reader, "joint", {1, 2, 3}, k=3, size=5)


def test_a_smaller_matrix_brings_the_slider_down(reader: Reader) -> None:
    reader.open("?chapter=7")
    reader.press("More controls")
    reader.nudge("Size of the matrix", "Home")
    reader.wait_for(lambda: reader.slider("Protected directions k").get_attribute("max") == "2", "a slider up to 2")
    expect_shares(reader, "joint", {1, 2, 3}, k=2, size=2)


def test_a_few_controls_then_the_pictures_then_the_others(new_reader) -> None:
    for width, height in ((390, 844), (768, 1024)):
        reader = new_reader(width=width, height=height)
        reader.open("?chapter=7")
        reader.data("gradient")
        first = [reader.slider(label) for label in ("Gradient x", "Gradient y", "Critical line, in degrees")]
        others = [reader.slider("Protected directions k"), reader.page.get_by_text("More controls")]
        for control in (*first, *others):
            control.wait_for()

        def placed(first=first, others=others, reader=reader, height=height) -> bool:
            arrows, blocks = (reader.page.locator(".bk-Canvas").nth(index).bounding_box() for index in (0, 1))
            before = [control.bounding_box()["y"] for control in first]
            after = [control.bounding_box()["y"] for control in others]
            return (
                arrows["y"] - height / 2 < min(before) <= max(before) < arrows["y"]
                and min(after) > blocks["y"] + blocks["height"] - 1
            )

        reader.wait_for(placed, "three controls, the pictures, the others")
        assert reader.page.evaluate("document.documentElement.scrollWidth") <= width
