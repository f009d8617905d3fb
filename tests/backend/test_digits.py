from importlib.resources import files

import numpy as np
import pytest
import sklearn.datasets

from wonderland.backend.digits import TRANSFORMS, load_digits, transform


def by_pixels(images, labels):
    """Images and labels in an order of their own, so that two sets of them can be compared."""
    rows = np.column_stack([labels, images.reshape(len(images), -1)])
    return rows[np.lexsort(rows.T)]


def test_the_file_holds_the_digits_of_scikit_learn():
    theirs = sklearn.datasets.load_digits()
    with files("wonderland").joinpath("data/digits.npz").open("rb") as file:
        ours = np.load(file, allow_pickle=False)
        images, labels = ours["images"], ours["labels"]
    assert images.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(images, theirs.images)
    np.testing.assert_array_equal(labels, theirs.target)


def test_the_split_loses_and_repeats_nothing():
    theirs = sklearn.datasets.load_digits()
    digits = load_digits()
    images = np.concatenate([digits.train_x, digits.test_x]) * 16
    labels = np.concatenate([digits.train_y, digits.test_y])
    np.testing.assert_array_equal(by_pixels(images, labels), by_pixels(theirs.images, theirs.target))


def test_the_split_is_stratified():
    digits = load_digits()
    held_out = np.bincount(digits.test_y)
    every = held_out + np.bincount(digits.train_y)
    np.testing.assert_array_equal(held_out, every // 4)


def test_values_are_scaled_and_read_only():
    digits = load_digits()
    for images in (digits.train_x, digits.test_x):
        assert images.dtype == np.float64
        assert images.shape[1:] == (8, 8)
        assert (images.min(), images.max()) == (0, 1)
    for array in (digits.train_x, digits.train_y, digits.test_x, digits.test_y):
        assert not array.flags.writeable


@pytest.mark.parametrize("task", sorted(TRANSFORMS.keys() - {"inverted"}))
def test_a_task_moves_pixels_and_changes_none(task):
    # Every pixel has a value of its own here, so one image tells where each pixel goes.
    one = np.arange(64.0).reshape(1, 8, 8)
    where = transform(task, one).reshape(64).astype(int)
    assert sorted(where) == list(range(64))
    images = load_digits().test_x
    before = images.copy()
    moved = transform(task, images)
    np.testing.assert_array_equal(moved.reshape(-1, 64), images.reshape(-1, 64)[:, where])
    np.testing.assert_array_equal(images, before)


def test_tasks_differ_and_their_symmetries_hold():
    images = load_digits().test_x[:5]

    def repeated(task, times):
        result = images
        for _ in range(times):
            result = transform(task, result)
        return result

    np.testing.assert_array_equal(transform("upright", images), images)
    np.testing.assert_array_equal(repeated("rotated", 4), images)
    np.testing.assert_array_equal(repeated("mirrored", 2), images)
    np.testing.assert_array_equal(repeated("inverted", 2), images)
    np.testing.assert_array_equal(transform("inverted", images) + images, 1)
    # Left and right change places; a quarter turn to the left puts the right column on top.
    one = np.arange(64.0).reshape(1, 8, 8)
    np.testing.assert_array_equal(transform("mirrored", one)[0, 3], one[0, 3, ::-1])
    np.testing.assert_array_equal(transform("rotated", one)[0, 0], one[0, :, 7])
    assert len({transform(task, images).tobytes() for task in TRANSFORMS}) == len(TRANSFORMS)


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        ("sideways", ValueError, "task = 'sideways'.*upright, rotated, permuted, mirrored"),
        ("", ValueError, "task = ''"),
        (None, TypeError, "task = None"),
        (3, TypeError, "task = 3"),
    ],
)
def test_an_unknown_task_is_refused(task, error, message):
    with pytest.raises(error, match=message):
        transform(task, load_digits().test_x)
