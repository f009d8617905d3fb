"""Chapter 7: an arrow and a matrix, projected."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland import address
from wonderland.demos.arrow import take_apart
from wonderland.demos.blocks import STEP, measure_blocks
from wonderland.demos.projection import ProjectionDemo
from wonderland.maths import subspace

components = st.floats(-2, 2)
degrees = st.floats(0, 180)
RULES = ["joint", "right-only", "two-sided"]


def readouts(demo: ProjectionDemo) -> dict[str, str]:
    return {readout.label: readout.value for readout in demo.readouts(demo.result)}


class TestArrow:
    def test_the_defaults_are_the_chapters(self) -> None:
        demo = ProjectionDemo()
        c = np.array([1, 0.5]) / np.sqrt(1.25)
        g = np.array([0.5, 0.8])
        assert (demo.gx, demo.gy) == (0.5, 0.8)
        arrow = demo.result.arrow
        np.testing.assert_allclose(arrow.direction, c, atol=1e-15)
        np.testing.assert_allclose(arrow.projection, np.outer(c, c) @ g, atol=1e-15)
        np.testing.assert_allclose(arrow.safe, g - np.outer(c, c) @ g, atol=1e-15)
        x, y = arrow.projection
        assert readouts(demo)["gradient"] == "(0.50, 0.80)"
        assert readouts(demo)["along the critical line"] == f"({x:.2f}, {y:.2f})"
        assert readouts(demo)["safe update"] == f"({0.5 - x:.2f}, {0.8 - y:.2f})".replace("-", "−")
        lost = 100 * (1 - np.hypot(0.5 - x, 0.8 - y) / np.hypot(0.5, 0.8))
        assert readouts(demo)["magnitude reduction"] == f"{lost:.1f} %"

    def test_the_sliders_reach_as_the_chapter_says(self) -> None:
        for name in ("gx", "gy"):
            parameter = ProjectionDemo.param[name]
            assert (parameter.bounds, parameter.step) == ((-2, 2), 0.1)

    @settings(deadline=None, max_examples=40)
    @given(components, components, degrees)
    def test_it_comes_apart_at_a_right_angle(self, x: float, y: float, angle: float) -> None:
        g = np.array([x, y])
        arrow = take_apart(g, angle)
        np.testing.assert_allclose(arrow.projection + arrow.safe, g, atol=1e-12)
        assert arrow.safe @ arrow.direction == pytest.approx(0, abs=1e-12)
        assert np.cross(np.r_[arrow.projection, 0], np.r_[arrow.direction, 0])[2] == pytest.approx(0, abs=1e-12)
        if np.hypot(x, y) > 1e-6:
            between = np.arctan2(y, x) - np.deg2rad(angle)
            assert arrow.reduction == pytest.approx(1 - abs(np.sin(between)), abs=1e-9)

    def test_a_zero_gradient_has_nothing_to_lose(self) -> None:
        demo = ProjectionDemo(gx=0, gy=0)
        assert demo.problem == ""
        assert demo.result.arrow.reduction == 0
        assert readouts(demo)["magnitude reduction"] == "0.0 %"
        assert readouts(demo)["safe update"] == "(0.00, 0.00)"
        named = demo.marks(demo.result)["names"]["text"]
        assert [text for text in named if text] == ["critical"]

    def test_along_the_line_all_is_lost_and_across_it_nothing(self) -> None:
        lost = ProjectionDemo(gx=1.3, gy=0, direction=0)
        assert readouts(lost)["magnitude reduction"] == "100.0 %"
        kept = ProjectionDemo(gx=1.3, gy=0, direction=90)
        assert readouts(kept)["magnitude reduction"] == "0.0 %"
        assert readouts(kept)["along the critical line"] == "(0.00, 0.00)"

    def test_every_mark_is_named_at_first(self) -> None:
        demo = ProjectionDemo()
        assert set(demo.marks(demo.result)["names"]["text"]) == {"critical", "gradient", "safe", "projection"}

    @settings(deadline=None, max_examples=40)
    @given(components, components, degrees)
    def test_arrows_end_where_they_point_and_names_never_touch(self, x: float, y: float, angle: float) -> None:
        demo = ProjectionDemo(gx=x, gy=y, direction=angle)
        marks = demo.marks(demo.result)
        for name in ("gradient", "projection", "safe"):
            tip = getattr(demo.result.arrow, name)
            for end, component in zip(("x1", "y1"), tip, strict=True):
                np.testing.assert_allclose(marks[name][end], component, atol=1e-12)
            assert len(marks[name]["x0"]) == 3
        names = marks["names"]
        places = [(px, py) for px, py, text in zip(names["x"], names["y"], names["text"], strict=True) if text]
        for i, (px, py) in enumerate(places):
            assert all(abs(px - qx) > 1.4 or abs(py - qy) > 0.3 for qx, qy in places[:i])


class TestDragging:
    def test_near_the_tip_the_tip_follows(self) -> None:
        demo = ProjectionDemo()
        demo._on_drag(0.55, 0.85, "start")
        demo._on_drag(-0.95, 1.25, "move")
        demo._on_drag(-0.95, 1.25, "end")
        assert (demo.gx, demo.gy) == (-1.0, 1.2)
        assert demo.direction == ProjectionDemo.param.direction.default

    def test_the_tip_stays_within_reach(self) -> None:
        demo = ProjectionDemo()
        demo._on_drag(0.5, 0.8, "start")
        demo._on_drag(7, -9, "move")
        assert (demo.gx, demo.gy) == (2, -2)

    @pytest.mark.parametrize("end", [1, -1])
    def test_near_the_line_the_line_turns(self, end: int) -> None:
        demo = ProjectionDemo(direction=30)
        at = [end * 2 * np.array([np.cos(t), np.sin(t)]) for t in np.deg2rad([30, 75])]
        demo._on_drag(*at[0], "start")
        demo._on_drag(*at[1], "move")
        assert demo.direction == pytest.approx(75, abs=0.06)
        assert (demo.gx, demo.gy) == (0.5, 0.8)

    def test_the_line_goes_on_turning_past_its_own_end(self) -> None:
        demo = ProjectionDemo(direction=170)
        for t in np.deg2rad([170, 178, 186, 200]):
            demo._on_drag(2 * np.cos(t), 2 * np.sin(t), "start" if t < 3 else "move")
        assert demo.direction == pytest.approx(20, abs=0.06)

    def test_the_middle_turns_nothing(self) -> None:
        demo = ProjectionDemo(direction=30)
        demo._on_drag(-2 * np.cos(np.pi / 6), -2 * np.sin(np.pi / 6), "start")
        demo._on_drag(0, 0, "move")
        assert demo.direction == 30


class TestBlocks:
    @settings(deadline=None, max_examples=25)
    @given(st.integers(2, 12), st.data())
    def test_what_the_rules_remove_by_explicit_projectors(self, size: int, data: st.DataObject) -> None:
        k, seed = data.draw(st.integers(0, size)), data.draw(st.integers(0, 10**6))
        found = measure_blocks(size, k, seed)
        W, G = np.random.default_rng(seed).standard_normal((2, size, size))
        U, _, Vt = np.linalg.svd(W)
        P, Q = U[:, :k] @ U[:, :k].T, Vt[:k].T @ Vt[:k]
        eye, total = np.eye(size), np.linalg.norm(G) ** 2
        corner = {
            "protected-protected": P @ G @ Q,
            "protected-free": P @ G @ (eye - Q),
            "free-protected": (eye - P) @ G @ Q,
            "free-free": (eye - P) @ G @ (eye - Q),
        }
        assert found.shares == pytest.approx(
            {name: np.linalg.norm(block) ** 2 / total for name, block in corner.items()}, abs=1e-9
        )
        assert sum(found.shares.values()) == pytest.approx(1)
        kept = {"joint": G - P @ G @ Q, "two-sided": (eye - P) @ G @ (eye - Q), "right-only": G @ (eye - Q)}
        for rule, left in kept.items():
            assert found.removed[rule] == pytest.approx(1 - np.linalg.norm(left) ** 2 / total, abs=1e-9)

    @pytest.mark.parametrize("rule", RULES)
    def test_what_a_step_does_to_the_protected_triplets(self, rule: str) -> None:
        size, k, seed = 10, 3, 7
        found = measure_blocks(size, k, seed)
        W, G = np.random.default_rng(seed).standard_normal((2, size, size))
        U, S, Vt = np.linalg.svd(W)
        P, Q = U[:, :k] @ U[:, :k].T, Vt[:k].T @ Vt[:k]
        left = {"joint": G - P @ G @ Q, "two-sided": (np.eye(size) - P) @ G @ (np.eye(size) - Q)}
        left["right-only"] = G @ (np.eye(size) - Q)
        moved = W - STEP * np.linalg.norm(W) * left[rule] / np.linalg.norm(left[rule])
        scale = np.linalg.norm(W)
        assert found.inputs[rule] == pytest.approx(
            np.linalg.norm(moved @ Vt[:k].T - U[:, :k] * S[:k]) / scale, abs=1e-12
        )
        assert found.outputs[rule] == pytest.approx(
            np.linalg.norm(moved.T @ U[:, :k] - Vt[:k].T * S[:k]) / scale, abs=1e-12
        )
        unit, turned = (M / np.linalg.norm(M, axis=1, keepdims=True) for M in (W, moved))
        angles = [np.degrees(np.arccos(np.clip(M @ M.T, -1, 1))) for M in (unit, turned)]
        assert found.angles[rule] == pytest.approx(np.abs(angles[1] - angles[0]).max(), abs=1e-5)

    def test_which_rule_keeps_what(self) -> None:
        found = measure_blocks(32, 8, 1)
        assert found.inputs["two-sided"] < 1e-12
        assert found.outputs["two-sided"] < 1e-12
        assert found.inputs["right-only"] < 1e-12
        assert found.outputs["right-only"] > 1e-3
        assert found.inputs["joint"] > 1e-3
        assert found.pull["joint"] > 0.5
        assert found.pull["two-sided"] < 1e-12

    def test_a_quarter_of_a_quarter(self) -> None:
        """A gradient spread evenly, 8 of 32 directions protected: 1/16 of it lies in the corner, 7/16 in three."""
        removed = [measure_blocks(32, 8, seed).removed for seed in range(40)]
        assert np.mean([each["joint"] for each in removed]) == pytest.approx(1 / 16, abs=0.004)
        assert np.mean([each["two-sided"] for each in removed]) == pytest.approx(7 / 16, abs=0.008)
        assert np.mean([each["right-only"] for each in removed]) == pytest.approx(1 / 4, abs=0.008)

    @pytest.mark.parametrize(("k", "share"), [(0, 0), (32, 1)])
    def test_protecting_nothing_or_all(self, k: int, share: float) -> None:
        demo = ProjectionDemo(k=k)
        assert demo.problem == ""
        for rule in RULES:
            assert demo.result.matrix.removed[rule] == pytest.approx(share, abs=1e-12)
        assert demo.describe(demo.result)
        assert demo.details(demo.result)

    def test_the_picture_has_areas_in_the_ratio_of_the_energies(self) -> None:
        demo = ProjectionDemo(k=5, seed=3, rule="two-sided")
        marks = demo.marks(demo.result)
        blocks = marks["blocks"]
        areas = (blocks["x1"] - blocks["x0"]) * (blocks["y1"] - blocks["y0"])
        names = ["protected-protected", "protected-free", "free-protected", "free-free"]
        shares = np.array([demo.result.matrix.shares[name] for name in names])
        np.testing.assert_allclose(areas / areas.sum(), shares, atol=1e-12)
        for name, text, share in zip(names, marks["shares"]["text"], shares, strict=True):
            assert text == f"{100 * share:.1f} % {'kept' if name == 'free-free' else 'removed'}"
        cells = marks["cells"]
        assert (blocks["x0"] > cells["x0"]).all()
        assert (blocks["y1"] < cells["y1"]).all()

    def test_colors_follow_the_rule_and_the_theme(self) -> None:
        demo = ProjectionDemo(dark=True, rule="joint")
        first = demo.marks(demo.result)["blocks"]["ink"]
        assert first[0] != first[1] == first[2] == first[3]
        demo.rule = "right-only"
        inks = demo.marks(demo.result)["blocks"]["ink"]
        assert inks[0] == inks[2] == first[0]
        assert inks[1] == inks[3] == first[1]
        demo.dark = False
        assert not set(demo.marks(demo.result)["blocks"]["ink"]) & set(inks)

    def test_another_draws_the_next(self) -> None:
        demo = ProjectionDemo()
        before = demo.result.matrix.shares
        demo.another = True
        assert demo.seed == ProjectionDemo.param.seed.default + 1
        assert demo.result.matrix.shares != before


KEPT = {
    "joint": "does not keep the protected triplets",
    "right-only": "as it is to do",
    "two-sided": "every protected triplet",
}


@pytest.mark.parametrize("size", [2, 32])
@pytest.mark.parametrize("rule", RULES)
class TestVerdicts:
    def test_with_some_protected(self, rule: str, size: int) -> None:
        for k in {1, size // 4, size - 1} - {0}:
            demo = ProjectionDemo(rule=rule, k=k, size=size)
            [claim] = demo.claims(demo.result)
            assert (claim.key, claim.verdict) == ("osft-geometry", "fails" if rule == "joint" else "partly")
            assert claim.tested is (rule != "right-only")
            assert ("which is not OSFT’s" in claim.measured) is (rule == "right-only")
            assert KEPT[rule] in claim.measured
            assert f"{k} of {size} directions" in claim.measured
            assert f"by up to {demo.result.matrix.angles[rule]:.1f}°" in claim.measured
            # What is said to be kept, and to move, by an explicit step.
            W, G = np.random.default_rng(demo.seed).standard_normal((2, size, size))
            split = subspace.split(W, k)
            left = subspace.project(G, split, rule)
            step = STEP * left / np.linalg.norm(left)
            inputs, outputs = np.linalg.norm(step @ split.V_h), np.linalg.norm(split.U_h.T @ step)
            assert (inputs < 1e-12, outputs < 1e-12) == (rule != "joint", rule == "two-sided")
            for moved in (inputs, outputs):
                assert moved < 1e-12 or f"{moved:.1g}" in claim.measured

    def test_with_nothing_protected(self, rule: str, size: int) -> None:
        demo = ProjectionDemo(rule=rule, k=0, size=size)
        [claim] = demo.claims(demo.result)
        assert (claim.verdict, claim.tested) == ("fails", False)
        assert claim.measured.startswith("Nothing is protected, and each rule leaves all of the gradient")
        assert f"by up to {demo.result.matrix.angles[rule]:.1f}°" in claim.measured
        assert set(cells(demo)) == {"0.0 %", "–"}
        assert "has nothing to protect: it needs k = 1 or more" in demo.details(demo.result)

    def test_with_everything_protected(self, rule: str, size: int) -> None:
        demo = ProjectionDemo(rule=rule, k=size, size=size)
        [claim] = demo.claims(demo.result)
        assert (claim.verdict, claim.tested) == ("holds", False)
        assert claim.measured.startswith("Everything is protected, and each rule leaves no step to take")
        assert demo.result.matrix.angles[rule] == 0
        assert set(cells(demo)) == {"100.0 %", "0.0 %", "no step"}
        assert f"has nothing to train: it needs a k below the size, {size}" in demo.details(demo.result)


def cells(demo: ProjectionDemo) -> list[str]:
    """The figures of the table's rules."""
    return re.findall(r'<td class="number">(.*?)</td>', demo.details(demo.result))


def test_rules_stand_from_the_weakest_to_the_strongest() -> None:
    demo = ProjectionDemo()
    removed = demo.result.matrix.removed
    assert list(ProjectionDemo.param.rule.objects) == sorted(removed, key=removed.get)
    assert re.findall("</svg>(.*?)</td>", demo.details(demo.result))[:3] == list(ProjectionDemo.param.rule.objects)
    assert list(ProjectionDemo.axes["rule"]) == list(ProjectionDemo.param.rule.objects)


BAD = [
    *[(name, value) for name in ("gx", "gy") for value in ("", "up", float("nan"), float("inf"), 2.1, -3, None, 1e12)],
    *[("direction", value) for value in (-1, 181, float("nan"), "north", True)],
    *[(name, value) for name in ("k", "size") for value in (-1, 65, 2.5, float("nan"), "many", None, 10**12)],
    *[("seed", value) for value in (-1, 10**7, 0.5, "")],
    ("rule", "none"),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=repr)
def test_bad_values_are_refused_in_words(name: str, value: object) -> None:
    demo = ProjectionDemo()
    good = getattr(demo, name)
    with pytest.raises(ValueError, match=ProjectionDemo.param[name].label if name != "rule" else "rule"):
        setattr(demo, name, value)
    assert getattr(demo, name) == good


def test_a_smaller_matrix_brings_k_down_to_what_it_has() -> None:
    demo = ProjectionDemo()
    assert demo.param.k.get_soft_bounds() == (0, 32)
    demo.size = 6
    assert (demo.k, demo.problem, demo.param.k.get_soft_bounds()) == (6, "", (0, 6))
    demo.size = 40
    assert (demo.k, demo.param.k.get_soft_bounds()) == (6, (0, 40))


def test_more_directions_than_the_matrix_has() -> None:
    """The message speaks of what was asked, all other words of the picture that stands."""
    demo = ProjectionDemo()
    good, words = demo.result, demo._words_html()
    demo.param.update(k=40, rule="two-sided", direction=90)
    assert demo.problem == "k = 40 is outside 0…32: a 32×32 matrix has 32 singular values."
    assert demo.result is good
    assert demo._words_html() == words
    assert list(demo.marks(demo.result)["blocks"]["ink"]) == list(ProjectionDemo().marks(good)["blocks"]["ink"])
    demo.k = 6
    assert demo.problem == ""
    assert "two-sided" in demo.describe(demo.result)


def test_after_the_last_seed_comes_the_first() -> None:
    demo = ProjectionDemo(seed=10**6)
    demo.another = True
    assert demo.seed == 0


@pytest.mark.parametrize("degrees", [0, 26.57, 45, 90, 135, 180])
def test_a_gradient_that_is_lost_entirely_can_be_read(degrees: float) -> None:
    c = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
    gx, gy = 1.9 * c
    demo = ProjectionDemo(gx=gx, gy=gy, direction=degrees)
    names = demo.marks(demo.result)["names"]
    assert set(names["text"]) == {"critical", "gradient", "projection", "safe: none"}
    for x, y in zip(names["x"], names["y"], strict=True):  # beside the line, which has all the arrows on it
        line = np.linspace(-6, 6, 400)[:, None] * c
        assert not ((np.abs(line[:, 0] - x) < 0.55) & (np.abs(line[:, 1] - y) < 0.14)).any()


def test_the_projection_is_seen_on_both_sides_of_the_gradient_on_it() -> None:
    demo = ProjectionDemo()
    demo.__panel__().get_root()
    glyphs = {
        plot.handles["source"].name: plot.handles["glyph"] for plots in demo._canvas._plots.values() for plot in plots
    }
    assert glyphs["projection"].line_width >= glyphs["gradient"].line_width + 4


@pytest.mark.parametrize("gx", [-0.4, 0.0, 0.2, 0.8])
def test_the_safe_arrow_keeps_its_name_in_ordinary_states(gx: float) -> None:
    demo = ProjectionDemo(gx=gx)
    assert "safe" in demo.marks(demo.result)["names"]["text"]


def test_the_table_says_what_its_lengths_are_shares_of() -> None:
    demo = ProjectionDemo()
    assert demo.details(demo.result).count(f"of ‖W‖, a step of {STEP:.0%}") == 2


def test_its_state_stands_in_the_address() -> None:
    demo, other = ProjectionDemo(gx=-0.7, direction=120.5, rule="two-sided", k=3, seed=9), ProjectionDemo()
    state = dict(pair.split("=") for pair in address.encode(7, demo)[1:].split("&"))
    assert state.pop("chapter") == "7"
    assert address.apply(other, state) == []
    assert other.result.matrix == demo.result.matrix
    np.testing.assert_array_equal(other.result.arrow.safe, demo.result.arrow.safe)


@pytest.mark.parametrize(("size", "k"), [(32, 8), (2, 1), (40, 39), (5, 3)])
def test_the_engine_takes_the_two_sided_step(size: int, k: int) -> None:
    engine = ProjectionDemo(size=size, k=k).result.engine
    assert engine.apart < 1e-13
    assert max(engine.inputs, engine.outputs) < 1e-14


@pytest.mark.parametrize("k", [0, 32])
def test_there_is_no_engine_where_nothing_is_protected_or_free(k: int) -> None:
    demo = ProjectionDemo(k=k)
    assert demo.result.engine is None
