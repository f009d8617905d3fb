"""The race's pictures, against numbers computed by hand or from the points alone."""

import math
import statistics

import numpy as np
import pytest

from tests.demos.race.test_races import SETTING, course, point
from wonderland import TrainingSim
from wonderland.backend import metrics
from wonderland.demos.race import races
from wonderland.demos.race.curves import curves_marks, learned_line, watched_line
from wonderland.demos.race.entrants import METHODS
from wonderland.demos.race.layers import LIMITS, WEIGHTS, by_layer, layers_marks
from wonderland.demos.race.matrix import MEASURES, SAID, learned, matrix_marks, values
from wonderland.demos.race.plane import place, plane_marks
from wonderland.theme import DARK

NAN = math.nan


@pytest.fixture
def broken():
    """Of full fine-tuning's two networks one diverges on the second task."""
    points = course("full", 3) + course("full", 4, 0.1)[:3] + course("osft", 3) + course("osft", 4)
    return races.Race(SETTING).extended([*points, point("full", 4, 1, 13, (NAN,) * 3, diverged=True)])


class TestCurves:
    def test_the_watched_task_is_a_mean_over_seeds_in_percent(self, race):
        line = watched_line(race.of("full"), 20, 0)
        np.testing.assert_array_equal(line.x, [0, 10, 20, 20, 30, 40])
        np.testing.assert_allclose(line.y, [85, 65, 55, 55, 45, 35])
        np.testing.assert_allclose(line.spread, statistics.stdev([90, 80]))

    def test_the_task_being_learned_breaks_where_a_new_one_begins(self, race):
        line = learned_line(race.of("full"), 20)
        np.testing.assert_allclose(line.y, [15, 45, 75, NAN, 35, 55, 85, NAN])
        np.testing.assert_array_equal(line.x, [0, 10, 20, NAN, 20, 30, 40, NAN])

    def test_one_band_a_method_and_a_task(self, race):
        marks = curves_marks(race, DARK, 0)
        assert len(marks["kept bands"]["xs"]) == 2
        assert len(marks["learned bands"]["xs"]) == 4
        deviation = statistics.stdev([90, 80])
        ring = marks["kept bands"]["ys"][0]
        np.testing.assert_allclose(ring[[0, -1]], [85 + deviation, 85 - deviation])
        assert curves_marks(race.chosen(["full"], [3]), DARK, 0)["kept bands"]["xs"] == []  # one seed has no spread

    def test_names_stand_at_the_ends_in_their_methods_color(self, race):
        marks = curves_marks(race, DARK, 0)
        assert marks["kept names"]["text"] == ["full", "OSFT"]
        assert marks["kept names"]["ink"] == [DARK.critical, DARK.safe]
        assert abs(marks["kept names"]["y"][0] - marks["kept names"]["y"][1]) >= 5  # the curves end at one place
        assert marks["learning"]["text"] == ["rotated", "mirrored"]
        np.testing.assert_array_equal(marks["starts"]["x0"], [0, 20])

    def test_a_diverged_network_is_marked_where_it_was_lost(self, broken):
        marks = curves_marks(broken, DARK, 0)
        assert marks["kept lost"]["x"] == [13]
        assert marks["kept lost"]["y"] == [pytest.approx(65)]  # the mean of both at step 10
        np.testing.assert_allclose(watched_line(broken.of("full"), 20, 0).y, [85, 65, 60, 60, 50, 40])
        assert marks["learned lost"]["ink"] == [DARK.critical]
        assert curves_marks(broken.upto(12), DARK, 0)["kept lost"]["x"] == []


class TestMatrix:
    @pytest.mark.parametrize(
        ("measure", "expected"),
        [
            ("average accuracy", (0.4 + 0.5 + 0.9) / 3),
            ("backward transfer", ((0.4 - 0.9) + (0.5 - 0.8)) / 2),
            ("forward transfer", ((0.2 - 0.2) + (0.4 - 0.3)) / 2),
            ("forgetting", ((0.9 - 0.4) + (0.8 - 0.5)) / 2),
        ],
    )
    def test_measures_are_those_computed_by_hand(self, race, measure, expected):
        np.testing.assert_allclose(values(race.of("full"), measure, 3)[0], 100 * expected)
        assert race.of("full").seeds[0] == 3

    def test_before_the_last_task_only_those_so_far_count(self, race):
        then = race.upto(10)
        assert learned(then) == 2
        # Two tasks: 0.7 of the first, 0.5 of the second, which was at 0.9 when it was learned.
        np.testing.assert_allclose(values(then.of("full"), "average accuracy", 2)[0], 100 * 0.6)
        np.testing.assert_allclose(values(then.of("full"), "forgetting", 2)[0], 100 * 0.2)
        assert learned(races.Race(SETTING)) == 0
        assert values(then.of("full"), "forgetting", 0).shape == (0,)

    @pytest.mark.parametrize("measure", MEASURES)
    def test_the_cells_that_a_measure_reads_are_outlined(self, race, measure):
        marks = matrix_marks(race, DARK, "full", measure)
        x = (np.array(marks["used cells"]["x0"]) + marks["used cells"]["x1"]) / 2
        y = -(np.array(marks["used cells"]["y0"]) + marks["used cells"]["y1"]) / 2
        outlined = np.zeros((3, 3), dtype=bool)
        outlined[y.round().astype(int), x.round().astype(int)] = True
        np.testing.assert_array_equal(outlined, metrics.cells(MEASURES[measure], 3))
        assert measure in SAID

    def test_cells_hold_the_mean_over_seeds_and_fill_as_it_trains(self, race):
        marks = matrix_marks(race, DARK, "full", "forgetting")
        assert marks["cell values"]["text"] == ["85", "15", "25", "55", "75", "35", "35", "45", "85"]
        at_start = matrix_marks(race.upto(0), DARK, "full", "forgetting")["cell values"]["text"]
        assert [bool(text) for text in at_start] == [True] * 3 + [False] * 6

    def test_the_strip_shows_every_seed_and_their_mean(self, race):
        marks = matrix_marks(race, DARK, "osft", "forgetting")
        np.testing.assert_allclose(marks["seeds of measure"]["x"], [40] * 4)
        np.testing.assert_allclose(marks["means"]["x0"], [40, 40])
        assert marks["measure names"]["text"] == ["full 40.0", "OSFT 40.0"]

    def test_a_lost_network_counts_in_no_measure(self, broken):
        assert values(broken.of("full"), "average accuracy", 3).shape == (1,)


class TestPlane:
    def test_old_tasks_across_and_the_present_one_upward(self, race):
        old, new = place(race.of("full"))
        np.testing.assert_allclose(old[0], [NAN, 90, 70, 60, 70, 60, 45])
        np.testing.assert_allclose(new[0], [NAN, 20, 50, 80, 40, 60, 90])

    def test_a_cloud_a_method_with_a_point_a_seed(self, race):
        marks = plane_marks(race, DARK)
        np.testing.assert_allclose(marks["cloud"]["x"], [45, 35, 45, 35])
        np.testing.assert_allclose(marks["cloud"]["y"], [90, 80, 90, 80])
        np.testing.assert_allclose(marks["cloud means"]["x"], [40, 40])
        names = marks["names left"]["text"] + marks["names right"]["text"]
        assert sorted(names) == ["OSFT", "full"]
        np.testing.assert_allclose(marks["ways"]["xs"][0], [65, 55, 40])

    def test_a_lost_network_is_no_point(self, broken):
        assert len(plane_marks(broken, DARK)["cloud"]["x"]) == 3


class TestLayers:
    def test_measures_are_means_over_seeds_layer_by_layer(self, race):
        np.testing.assert_allclose(by_layer(race.of("full"), "leak"), [1, 2, 3])
        np.testing.assert_allclose(
            by_layer(race.of("full"), "energy"), [0, 1, 2]
        )  # what was measured is its ratio to 1

    @pytest.mark.parametrize("weights", WEIGHTS)
    def test_every_layer_of_every_method_is_a_digit_on_the_axis(self, race, weights):
        marks = layers_marks(race, DARK, weights)
        assert marks["layers"]["text"] == ["1", "2", "3"] * 2
        low, high = LIMITS[weights]
        assert all(low < x <= high for x in marks["layers"]["x"])
        assert all(low < tick <= high for tick in marks["layers frame"]["ticks"])
        np.testing.assert_allclose(marks["means"]["x0"], [40, 40])  # forgotten


@pytest.mark.parametrize("view", TrainingSim.param.view.objects)
@pytest.mark.parametrize("dark", [True, False])
def test_every_view_is_drawn_and_fed_in_place(view, dark):
    demo = TrainingSim(view=view, dark=dark)
    demo.__panel__().get_root()
    canvas, shown = demo._views[view]
    before = [frame[0].object for frame in shown]
    demo.param.update(moment=40, methods="full,gpm,frozen")
    assert demo.problem == ""
    assert [frame[0].object for frame in shown] == before
    for name, columns in demo.marks(demo.result).items():
        assert canvas.marks[name].keys() == columns.keys()


def test_a_view_is_kept_for_the_way_back_and_only_one_is_on_screen():
    demo = TrainingSim()
    demo.__panel__().get_root()
    first = demo._views["curves"][1]
    demo.view = "plane"
    assert not any(frame.visible for frame in first)
    assert all(frame.visible for frame in demo._views["plane"][1])
    demo.moment = 50
    demo.view = "curves"
    assert demo._views["curves"][1] is first
    assert all(frame.visible for frame in first)
    fed = demo._views["curves"][0].marks["kept curves"]["xs"][0]
    assert max(fed) == 300
    demo.dark = not demo.dark
    assert list(demo._views) == ["curves"]
    assert len(demo._pictures) == 3


def test_every_method_has_a_name_that_fits_and_can_be_spoken():
    assert all(len(runner.label) <= 14 and runner.spoken for runner in METHODS.values())
