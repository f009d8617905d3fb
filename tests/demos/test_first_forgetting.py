import json
import math

import numpy as np
import pytest
from bokeh.plotting import figure
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland import FirstForgetting, address
from wonderland.demos.first_forgetting import SHAPES, STEPS
from wonderland.demos.race import record as race_record


@pytest.fixture
def demo():
    return FirstForgetting()


@pytest.fixture(scope="module")
def truth():
    """The recorded runs of full fine-tuning, read from the file by hand: steps, task A, task B, in percent."""
    curves = [c for c in json.loads(race_record.RECORD.read_text())["curves"] if c["method"] == "full"]
    # The first point is that of the network before it had learned anything; after the second task comes a third.
    end = 1 + curves[0]["task"].count(1)
    old, new = ([[100 * value for value in c["accuracy"][task][1:end]] for c in curves] for task in (0, 1))
    return (
        curves[0]["step"][1:end],
        [sum(v) / len(v) for v in zip(*old, strict=True)],
        [sum(v) / len(v) for v in zip(*new, strict=True)],
    )


def test_nothing_of_the_run_is_there_before_it_is_revealed(demo, truth):
    marks = demo.marks(demo.result)
    for name in ("task A", "task B", "runs A", "gaps"):
        assert all(len(column) == 0 for column in marks[name].values()), name
    assert demo.claims(demo.result) == []
    shown = demo.describe(demo.result) + demo.details(demo.result) + str(demo.readouts(demo.result))
    assert f"{truth[1][-1]:.1f}" not in shown
    assert f"{truth[2][-1]:.1f}" not in shown


def test_reveal_shows_the_mean_of_the_recorded_runs(demo, truth):
    demo.param.trigger("reveal")
    assert demo.revealed
    steps, old, new = truth
    marks = demo.marks(demo.result)
    np.testing.assert_array_equal(marks["task A"]["x"], steps)
    np.testing.assert_allclose(marks["task A"]["y"], old)
    np.testing.assert_allclose(marks["task B"]["y"], new)
    assert np.isnan(marks["runs A"]["x"]).sum() == 5  # five runs, each followed by a break
    assert '<span class="tag">recorded</span>' in demo.details(demo.result)


def test_the_gap_is_the_mean_distance_in_points(demo, truth):
    guesses = dict(zip(demo.more, (90, 20, 70, 30, 60, 10), strict=True))
    demo.param.update(**guesses, revealed=True)
    steps, old, _ = truth
    knots = [(0, old[0]), *zip(STEPS, guesses.values(), strict=True)]
    gaps = []
    for step, value in zip(steps, old, strict=True):
        left = max((knot for knot in knots if knot[0] <= step), key=lambda knot: knot[0])
        right = min((knot for knot in knots if knot[0] >= step), key=lambda knot: knot[0])
        share = (step - left[0]) / (right[0] - left[0]) if right != left else 0
        gaps.append(abs(left[1] + share * (right[1] - left[1]) - value))
    assert demo.result.gap == pytest.approx(sum(gaps) / len(gaps))
    assert demo.result.widest == pytest.approx(max(gaps))
    assert demo.result.widest_at == steps[gaps.index(max(gaps))]
    said = {readout.label: readout.value for readout in demo.readouts(demo.result)}
    assert said["your guess is off by, on average"] == f"{sum(gaps) / len(gaps):.1f} points"


def test_the_claim_speaks_of_the_record(demo, truth):
    demo.revealed = True
    (claim,) = demo.claims(demo.result)
    lost = truth[1][0] - truth[1][-1]
    assert claim.key == "forgets"
    assert claim.measured.startswith("Recorded")
    assert f"{lost:.1f} points" in claim.measured
    assert claim.verdict == ("holds" if lost > 10 else "fails")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_a_curve_to_start_from(demo, shape, truth):
    demo.param.trigger(shape)
    assert [getattr(demo, name) for name in demo.more] == [round(share * truth[1][0]) for share in SHAPES[shape]]
    assert not demo.revealed


@given(st.floats(-50, 500), st.floats(-50, 200))
@settings(deadline=None, max_examples=40)
def test_the_pointer_moves_the_point_nearest_to_it(x, y):
    demo = FirstForgetting()
    demo._on_drag(x, y, "move")
    nearest = min(range(len(STEPS)), key=lambda i: abs(STEPS[i] - x))
    value = getattr(demo, demo.more[nearest])
    assert value == pytest.approx(min(max(y, 0), 100), abs=0.5)
    others = [getattr(demo, name) for i, name in enumerate(demo.more) if i != nearest]
    assert others == [97] * (len(STEPS) - 1)


def test_letting_go_moves_nothing(demo):
    demo._on_drag(30, 10, "end")
    assert demo.after_30 == 97


def test_reset_hides_the_run_again(demo):
    demo.param.trigger("at_once")
    demo.param.trigger("reveal")
    demo.reset()
    assert not demo.revealed
    assert demo.after_300 == 97


def test_the_address_keeps_guess_and_reveal(demo):
    demo.param.update(after_60=12, revealed=True)
    chapter, state, problems = address.decode(address.encode(5, demo))
    other = FirstForgetting()
    assert (chapter, problems, address.apply(other, state)) == (5, [], [])
    assert (other.after_60, other.revealed) == (12, True)
    assert other.result.gap == demo.result.gap


@pytest.mark.parametrize("value", [-1, 101, math.nan, math.inf, 1.5, "much", "", None, True, 10**12])
def test_bad_guesses_are_refused(demo, value):
    with pytest.raises(ValueError, match="Guess after 60 steps"):
        demo.after_60 = value
    assert demo.after_60 == 97


def test_the_hint_to_drag_goes_when_the_run_is_shown(demo):
    assert demo.marks(demo.result)["hint"]["text"] == ["drag your guess of task A"]
    demo.param.trigger("reveal")
    assert demo.marks(demo.result)["hint"]["text"] == [""]
    demo.__panel__()
    assert "drag" not in demo._pictures.get_root().select_one({"type": figure}).title.text


@pytest.mark.parametrize("dark", [True, False])
def test_the_tasks_are_two_shades_with_their_names_at_the_ends(dark):
    demo = FirstForgetting(dark=dark, revealed=True)
    demo.__panel__().get_root()
    inks = {name: demo._canvas._plots[name][0].handles["glyph"].line_color for name in ("task A", "task B")}
    assert len(set(inks.values())) == 2
    names = demo.marks(demo.result)["names"]
    assert dict(zip(names["text"], names["ink"], strict=True)) | inks == dict(
        zip(names["text"], names["ink"], strict=True)
    )


def test_the_chosen_shape_is_marked_and_reveal_stands_apart_and_rests_after_use(demo):
    shapes, (reveal,), *_ = demo.__panel__()[1][0]
    assert [button.label for button in (*shapes, reveal)] == [demo.param[name].label for name in demo.controls]
    assert shapes.flex_wrap == "wrap"
    demo.param.trigger("late")
    assert [button.label for button in shapes if button.variant == "contained"] == ["Falls late"]
    assert "Your guess, “Falls late”: " in demo.describe(demo.result)
    demo.after_60 -= 1
    assert "Your guess: " in demo.describe(demo.result)
    assert not [button.label for button in shapes if button.variant == "contained"]
    assert not reveal.disabled
    demo.param.trigger("reveal")
    assert reveal.disabled
    demo.reset()
    assert not reveal.disabled


def test_a_recovery_is_said_with_its_numbers(demo, truth):
    demo.revealed = True
    steps, old, _ = truth
    lowest = old.index(min(old))
    words = f"from its lowest, {old[lowest]:.1f}% at step {steps[lowest]}, task A came back by {old[-1] - min(old):.1f}"
    assert words in demo.details(demo.result)
