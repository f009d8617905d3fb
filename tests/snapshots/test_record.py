"""What a recording holds is what the demo says, state by state."""

import gzip
import json

import numpy as np
import pytest

from tests.snapshots.demos import Choosy, Entangled, Pair, Two
from wonderland.demos.rotation import RotationDemo
from wonderland.snapshots.axes import COMBINATIONS, MOST, axes_of, views_of
from wonderland.snapshots.figures import pictures
from wonderland.snapshots.pack import Pack, narrow, pack
from wonderland.snapshots.record import Recording, composed, plan, put, record, shown, tokens


def recorded(demo: Pair) -> Recording:
    recording = plan(demo)
    record(recording)
    return recording


def at(recording: Recording, *places: int) -> dict:
    for axis, place in zip(recording.axes, places, strict=True):
        put(recording.demo, axis.settings(place))
    return shown(recording.demo)


class Still(RotationDemo):
    """One state."""

    axes = {"map": ("rotation",)}


class TestAxes:
    def test_the_present_state_is_on_them(self) -> None:
        axes = {axis.spoken: axis for axis in axes_of(RotationDemo(angle=47, amount=0.33))}
        assert axes["angle"].values[axes["angle"].start] == (47,)
        assert [value for (value,) in axes["amount"].values] == sorted(value for (value,) in axes["amount"].values)
        assert axes["map"].settings(axes["map"].start) == {"map": "rotation"}

    def test_a_value_of_rounding_is_the_same_value(self) -> None:
        kind = type("Tenths", (Pair,), {"axes": {"b": [0.1 * n for n in range(11)]}, "apart": (), "presses": ()})
        assert len(axes_of(kind(b=0.3))[0]) == 11

    def test_groups_share_what_is_in_none(self) -> None:
        demo = Pair()
        axes = axes_of(demo)
        assert [[axes[n].spoken for n in view] for view in views_of(demo, axes)] == [["a", "seed"], ["b", "seed"]]

    def test_states_are_counted_once(self) -> None:
        assert plan(Pair()).states == 4 * 3 + 3 * 3 - 3  # what both groups have is one state for each seed
        # Where A is 0, B does nothing.
        assert plan(Choosy()).states == 3 * 3 * 3 + 3

    @pytest.mark.parametrize(
        ("count", "what"), [(MOST // 10 + 1, "states"), (COMBINATIONS // 10 + 1, "combinations .* 250,000")]
    )
    def test_an_axis_that_explodes_is_named(self, count: int, what: str) -> None:
        axes = {"a": range(10), "b": np.linspace(0, 2, count)}
        wide = type("Wide", (Pair,), {"axes": axes, "apart": (), "presses": ()})
        product = rf"a \(10\) × b \({count}\); a file holds at most 20,000 states of a demo. Give b fewer"
        with pytest.raises(ValueError, match=rf"Wide has {10 * count:,} {what}.*, {product}"):
            plan(wide())

    @pytest.mark.parametrize(("key", "name"), [("a", "a"), (("a", "b"), "a/b")])
    def test_an_axis_without_values_is_named(self, key: str | tuple, name: str) -> None:
        empty = type("Empty", (Pair,), {"axes": {key: []}, "apart": (), "presses": ()})
        with pytest.raises(ValueError, match=f"Empty.axes has no value for {name}: give it some"):
            plan(empty())

    @pytest.mark.parametrize(("where", "entry"), [("axes", {"swim": (1,)}), ("apart", (("swim",),))])
    def test_an_unknown_axis_is_named(self, where: str, entry: object) -> None:
        with pytest.raises(ValueError, match="swim"):
            plan(type("Lost", (Pair,), {where: entry})())


class TestRecord:
    def test_every_combination_is_what_the_demo_shows(self) -> None:
        recording = recorded(Pair())
        for index in np.ndindex(*map(len, recording.axes)):
            assert composed(recording, list(index)).items() >= at(recording, *index).items(), index

    def test_what_two_groups_have_is_measured_once(self) -> None:
        seen: list[tuple] = []

        class Watched(Pair):
            """A pair that notes what it is asked for."""

            def words(self) -> dict[str, str]:
                seen.append((self.a, self.b, self.seed))
                return super().words()

        recording, states = plan(Watched()), []
        seen.clear()
        record(recording, lambda: states.append(seen[-1]))
        assert len(states) == len(set(states)) == recording.states

    def test_it_leaves_the_demo_where_it_was(self) -> None:
        demo = RotationDemo(map="shear", amount=0.7, dark=False)
        recorded(demo)
        assert (demo.map, demo.amount, demo.dark) == ("shear", 0.7, False)

    def test_groups_that_meet_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"Entangled.apart does not hold: two x"):
            recorded(Entangled())

    def test_a_state_without_a_measure_keeps_its_problem(self) -> None:
        recording = recorded(Choosy())
        assert recording.problems == ["A = 3 cannot be measured: give 0…2."]
        assert (recording.records[0][3] == -1).all()
        assert (recording.records[0][:3] >= 0).all()
        assert composed(recording, [3, 0, 0]) is None

    def test_what_does_nothing_is_not_recorded_twice(self) -> None:
        recording = recorded(Choosy())
        assert len({recording.records[0][0, b, 0] for b in range(3)}) == 1
        assert recording.walks[0].idle[1][0].all()
        assert not recording.walks[0].idle[1][1:].any()

    def test_a_button_moves_along_the_axes(self) -> None:
        recording = recorded(Pair())
        assert recording.presses == {"again": {2: [1, 2, 0]}}  # after the last recorded draw, the first

    def test_a_button_that_leads_nowhere_is_refused(self) -> None:
        kind = type("Stuck", (Pair,), {"axes": {"a": (0, 1)}, "apart": ()})
        with pytest.raises(ValueError, match=r"Stuck.presses has 'again'"):
            recorded(kind())

    def test_pictures_that_change_are_kept_in_sets(self) -> None:
        recording = recorded(Two())
        assert [sorted(marks) for marks in recording.pictures] == [["one", "two"], ["other"]]
        for index in np.ndindex(*map(len, recording.axes)):
            made = composed(recording, list(index))
            del made["pictures",]
            assert made == at(recording, *index), index
        put(recording.demo, {"view": "points"})
        assert [len(drawn) for drawn in pictures(recording)] == [1, 2]
        assert recording.demo.view == "points"

    def test_both_palettes_are_kept(self) -> None:
        recording = recorded(Pair())
        kinds = {content for _, content in recording.pieces["mark", "two", "ink"].values}
        assert kinds == {(("#4ade80", "#15803d"),), (("#f87171", "#be123c"),)}


class TestPack:
    @pytest.mark.parametrize(
        ("values", "kind"),
        [
            ([0, 255], "u1"),
            ([-1, 5], "i1"),
            ([0.0, 1000.0], "u2"),
            ([0.5], "f4"),
            ([np.nan, 1.0], "f4"),
            ([1e300], "f8"),
            ([], "u1"),
            ([True, False], "u1"),
            ([3e9], "f4"),
            ([2**31], "u4"),
        ],
    )
    def test_the_smallest_type_is_taken(self, values: list, kind: str) -> None:
        made = narrow(np.array(values))
        assert made.dtype.str[1:] == kind
        np.testing.assert_allclose(made, values, rtol=1e-6)

    def test_equal_arrays_lie_there_once(self) -> None:
        box = Pack()
        assert box.put([1, 2, 3]) is box.put(np.array([1.0, 2.0, 3.0]))
        assert box.put([1, 2, 4]) is not box.put([1, 2, 3])

    def test_it_can_be_read_back(self) -> None:
        recording = recorded(Pair())
        box, head = pack(recording)
        data = gzip.decompress(box.bytes(head))
        length = int.from_bytes(data[:4], "little")
        read = json.loads(data[4 : 4 + length])
        piece = next(piece for piece in read["pieces"] if piece["key"] == ["mark", "one", "x"])
        kind, first, count = piece["flat"]
        start = 4 + length + first
        values = np.frombuffer(data[start : start + count * np.dtype(kind).itemsize], dtype=kind)
        assert (4 + length) % 8 == 0
        assert sorted(values) == sorted({a + 10 * seed for a in range(4) for seed in range(3)})

    def test_a_text_is_its_pieces(self) -> None:
        text = '<p class="a">one  two</p>\n<b>3.5</b> '
        assert "".join(tokens(text)) == text


class TestPictures:
    def test_the_light_theme_is_what_differs(self) -> None:
        [[figure]] = pictures(recorded(Pair(dark=True)))
        ids = json.dumps(figure.doc)
        assert figure.light
        for model, name, dark, light in figure.light:
            assert f'"{model}"' in ids
            assert dark != light, name

    def test_the_data_of_marks_is_not_in_them(self) -> None:
        for picture in pictures(recorded(Still()))[0]:
            text = json.dumps(picture.doc)
            assert "ndarray" not in text
            assert len(text) < 30_000

    def test_hints_for_a_pointer_are_left_out(self) -> None:
        drawn = pictures(recorded(Still()))[0]
        assert drawn
        assert not any("drag" in json.dumps(picture.doc) for picture in drawn)
