"""What every demo shares."""

import inspect
import re

import numpy as np
import panel as pn
import pytest
from bokeh.models import Plot

import wonderland
from wonderland.demos.base import Demo
from wonderland.demos.rotation import RotationDemo
from wonderland.theme import DARK, LIGHT

DEMOS = [getattr(wonderland, name) for name in wonderland.__all__]


@pytest.mark.parametrize("kind", DEMOS, ids=lambda kind: kind.__name__)
class TestEveryDemo:
    def test_it_explains_itself(self, kind: type[Demo]) -> None:
        assert kind.title
        assert kind.__doc__.strip().splitlines()[0].endswith(".")
        for name in {*kind.state_names(), *kind.controls, *kind.more}:
            assert kind.param[name].doc, name
            assert kind.param[name].label, name

    def test_it_measures_at_once_and_says_so_in_words(self, kind: type[Demo]) -> None:
        demo = kind()
        assert demo.problem == ""
        assert len(demo.describe(demo.result)) > 40
        assert all(readout.value for readout in demo.readouts(demo.result))

    def test_controls_and_axes_are_parameters(self, kind: type[Demo]) -> None:
        assert set(kind.controls) | set(kind.more) <= set(kind.param)
        axes = {name for key in kind.axes for name in (key if isinstance(key, tuple) else (key,))}
        assert axes <= set(kind.state_names())
        assert {name for group in kind.apart for name in group} <= axes
        assert set(kind.presses) <= {*kind.controls, *kind.more}
        assert set(kind.throttled) <= {*kind.controls, *kind.more}
        assert len(kind.below) < len(kind.controls)
        assert kind.controls[len(kind.controls) - len(kind.below) :] == kind.below  # a keyboard goes as they stand

    def test_marks_keep_their_structure(self, kind: type[Demo]) -> None:
        demo = kind()
        marks = demo.marks(demo.result)
        for name, columns in marks.items():
            if "frame" not in name:  # a frame is limits and ticks, no columns of one table
                assert len({len(column) for column in columns.values()}) <= 1, name

    def test_two_instances_share_nothing(self, kind: type[Demo]) -> None:
        one, two = kind(), kind()
        assert one.__panel__() is one.__panel__()
        assert one.__panel__() is not two.__panel__()
        for name in kind.state_names():
            value = getattr(one, name)
            if isinstance(value, np.ndarray):
                assert value is not getattr(two, name)


def test_without_panel_loaded_a_notebook_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pn.extension, "_loaded", False)
    said = RotationDemo()._repr_mimebundle_()
    assert set(said) == {"text/plain"}
    code = re.search(r"run (.*?), and then this cell", said["text/plain"])[1]
    called = []
    monkeypatch.setattr(pn, "extension", lambda **options: called.append(options))
    exec(code, {})
    assert called == [{"inline": True}]
    assert "RotationDemo()" in said["text/plain"]


def test_the_card_is_fed_in_place() -> None:
    demo = RotationDemo(dark=True)
    card = demo.__panel__()
    root = card.get_root()
    figures = list(root.select({"type": Plot}))
    sources = {source.name: source for source in root.select({"name": "after"})}
    demo.angle = 90
    np.testing.assert_allclose(sources["after"].data["x"], -demo.result.before[:, 1], atol=1e-12)
    assert list(root.select({"type": Plot})) == figures


def test_a_theme_switch_redraws_in_the_other_palette_and_keeps_the_state() -> None:
    demo = RotationDemo(dark=True, angle=120)
    card = demo.__panel__()
    card.get_root()
    assert card.styles == DARK.variables()
    panes = list(demo._pictures)
    demo.dark = False
    assert card.styles == LIGHT.variables()
    assert list(demo._pictures) == panes
    assert demo.angle == 120


def test_reset_returns_to_the_defaults() -> None:
    demo = RotationDemo(map="shear", angle=3, amount=-1)
    demo.reset()
    assert (demo.map, demo.angle, demo.amount) == ("rotation", 45, 0.5)


def test_what_cannot_be_measured_leaves_the_last_good_result() -> None:
    class Fragile(RotationDemo):
        """A map that refuses one angle."""

        def measure(self) -> object:
            if self.angle == 13:
                raise ValueError("Angle 13 brings bad luck: choose another.")
            return super().measure()

    demo = Fragile()
    demo.__panel__()
    good = demo.result
    demo.angle = 13
    assert demo.result is good
    assert demo.problem.startswith("Angle 13")
    demo.angle = 14
    assert demo.problem == ""


def test_the_code_on_show_is_the_code_that_ran() -> None:
    for kind in DEMOS:
        for function in kind.code:
            source = function if isinstance(function, str) else inspect.getsource(function)
            assert "def " in source
