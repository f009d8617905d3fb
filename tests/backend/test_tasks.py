import numpy as np
import pytest
import torch

from wonderland.backend.digits import load_digits, transform
from wonderland.backend.network import lesson
from wonderland.backend.race import RaceSettings, race
from wonderland.backend.tasks import TASKS, task


def rows(images):
    return {(x.tobytes(), y) for x, y in zip(images.x, images.y, strict=True)}


@pytest.mark.parametrize("name", TASKS)
def test_the_parts_share_no_image(name):
    made = task(name)
    parts = [rows(part) for part in (made.train, made.validation, made.test)]
    # No two digits of the set are alike, so that rows can be told apart.
    assert [len(part) for part in parts] == [len(p.y) for p in (made.train, made.validation, made.test)]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    assert parts[0] | parts[1] == rows(made.learnable)
    assert task(name) is made


@pytest.mark.parametrize("name", TASKS)
def test_the_validation_images_are_stratified_and_locked(name):
    made = task(name)
    counts = np.bincount(made.learnable.y, minlength=10)
    np.testing.assert_array_equal(np.bincount(made.validation.y, minlength=10), counts // 5)
    for part in (made.train, made.validation, made.test, made.learnable):
        assert not part.x.flags.writeable
        assert not part.y.flags.writeable
        assert (part.x.min(), part.x.max()) == (0, 1)
        assert tuple(np.unique(part.y)) == made.classes


def test_tasks_are_what_they_say():
    digits = load_digits()
    for name in ("upright", "rotated", "permuted", "mirrored", "inverted"):
        np.testing.assert_array_equal(task(name).test.x, transform(name, digits.test_x).reshape(-1, 64))
        np.testing.assert_array_equal(task(name).test.y, digits.test_y)
    np.testing.assert_array_equal(task("contradictory").test.x, task("upright").test.x)
    np.testing.assert_array_equal(task("contradictory").test.y, (digits.test_y + 1) % 10)
    assert not (task("contradictory").learnable.y == task("upright").learnable.y).any()
    low, high = task("low"), task("high")
    assert (low.classes, high.classes) == ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))
    assert len(low.test.y) + len(high.test.y) == len(digits.test_y)


def test_validation_is_learned_from_only_when_the_test_judges():
    test, validation = (lesson("upright", "task", split) for split in ("test", "validation"))
    made = task("upright")
    assert (len(test.y), len(validation.y)) == (len(made.learnable.y), len(made.train.y))
    np.testing.assert_array_equal(test.judge_x, made.test.x)
    np.testing.assert_array_equal(validation.judge_x, made.validation.x)


def test_closed_classes_are_those_of_other_tasks():
    assert lesson("upright").closed is None
    assert lesson("low", "class").closed is None
    closed = lesson("high").closed
    assert torch.equal(closed, torch.tensor([[-torch.inf] * 5 + [0.0] * 5], dtype=torch.float64))


def test_told_the_task_less_is_forgotten():
    """Task-incremental is the easier scenario: among all ten classes the old digits are never named again."""
    ends = {}
    for scenario in ("task", "class"):
        settings = RaceSettings(("low", "high"), ("full", "replay"), (0,), 150, 150, scenario=scenario)
        points = list(race(settings))
        ends |= {(scenario, p.method): p.accuracy for p in points if p.step == 150}
        first = next(p for p in points if (p.task, p.step) == (1, 0))
        assert first.accuracy[0] > 0.95
        assert (first.accuracy[1] == 0) is (scenario == "class")
    assert ends["class", "full"][0] < 0.1
    assert ends["task", "full"][0] > 0.3
    # Old images keep them, and their classes stay open to them.
    for scenario in ("task", "class"):
        assert min(ends[scenario, "replay"]) > 0.8


@pytest.mark.parametrize(("name", "error"), [("sideways", ValueError), (None, TypeError), ("", ValueError)])
def test_an_unknown_task_is_refused(name, error):
    with pytest.raises(error, match=r"task = .*upright, rotated"):
        task(name)
