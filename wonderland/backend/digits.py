"""The 1,797 handwritten digits, and what can be done to their pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from wonderland.maths._check import choice

LARGEST_INK = 16
# One image in four is held out.
HELD_OUT = 4
# One fixed shuffle of the 64 pixels: it is a task, the same for every seed.
PIXEL_ORDER = np.random.default_rng(0).permutation(64)

# What happens to the images (N×8×8) before they are named.
TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "upright": lambda images: images,
    "rotated": lambda images: np.rot90(images, axes=(1, 2)),
    "permuted": lambda images: images.reshape(-1, 64)[:, PIXEL_ORDER].reshape(-1, 8, 8),
    "mirrored": lambda images: images[:, :, ::-1],
    "inverted": lambda images: 1 - images,
}


@dataclass(frozen=True, eq=False)
class Digits:
    """Images and labels, split; the arrays are read-only.

    Parameters
    ----------
    train_x, test_x
        Images, N×8×8 float64, ink from 0 (paper) to 1.
    train_y, test_y
        The digits they show, N int64, 0 to 9.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


@cache
def load_digits() -> Digits:
    """Load the digits, with every fourth image of each digit, in the order of the file, held out.

    So the split is the same always and stratified: 1,352 images to learn from, 445 to test with. The source
    and the licence of the images stand in ``wonderland/data/README.md``.
    """
    with (
        files("wonderland").joinpath("data", "digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as data,
    ):
        images, labels = data["images"] / LARGEST_INK, data["labels"].astype(np.int64)
    held_out = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        held_out[np.flatnonzero(labels == digit)[HELD_OUT - 1 :: HELD_OUT]] = True
    parts = images[~held_out], labels[~held_out], images[held_out], labels[held_out]
    for part in parts:
        part.flags.writeable = False
    return Digits(*parts)


def transform(name: str, images: np.ndarray) -> np.ndarray:
    """Change upright images (N×8×8, ink 0 to 1) as a task wants them.

    Raises
    ------
    TypeError, ValueError
        If the name is none of ``TRANSFORMS``.
    """
    return TRANSFORMS[choice(name, "task", tuple(TRANSFORMS))](images)
