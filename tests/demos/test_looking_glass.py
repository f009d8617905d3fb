"""Chapter 1: turning keeps what adding does not."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderland import LookingGlass
from wonderland.demos.looking_glass import LIMIT, LONGEST

states = {"seed": st.integers(0, 99), "angle": st.integers(-179, 179), "size": st.floats(0, 1)}


def neuron_angles(W: np.ndarray) -> list[float]:
    """Angles between rows 1 and 2, 1 and 3, 2 and 3, from their directions in the plane."""
    bearing = np.degrees(np.arctan2(W[:, 1], W[:, 0]))
    return [abs((bearing[i] - bearing[j] + 180) % 360 - 180) for i, j in ((0, 1), (0, 2), (1, 2))]


def test_defaults() -> None:
    demo = LookingGlass()
    assert (demo.side, demo.angle, demo.size) == ("W·R", 50, 0.5)
    assert demo.result.original.W.shape == (3, 2)


@given(**states)
@settings(deadline=None, max_examples=40)
def test_every_neuron_turns_by_the_angle_and_nothing_else_changes(seed: int, angle: int, size: float) -> None:
    result = LookingGlass(seed=seed, angle=angle, size=size).result
    W = result.original.W
    turn = np.exp(1j * np.radians(angle))
    neurons = (W[:, 0] + 1j * W[:, 1]) * turn  # as complex numbers, a turn is a product
    np.testing.assert_allclose(result.turned.W, np.column_stack([neurons.real, neurons.imag]), atol=1e-9)
    np.testing.assert_allclose(result.turned.lengths, result.original.lengths, rtol=1e-9)
    np.testing.assert_allclose(result.turned.angles, result.original.angles, atol=1e-9)
    np.testing.assert_allclose(result.turned.singular_values, result.original.singular_values, rtol=1e-9)
    assert result.determinant == pytest.approx(1, abs=1e-9)
    assert max(result.changes(result.turned)) < 1e-9


@given(**states)
@settings(deadline=None, max_examples=40)
def test_from_the_left_it_keeps_the_columns_instead(seed: int, angle: int, size: float) -> None:
    result = LookingGlass(seed=seed, angle=angle, size=size, side="R·W").result
    W, moved = result.original.W, result.turned.W
    np.testing.assert_allclose(moved.T @ moved, W.T @ W, atol=1e-9)
    np.testing.assert_allclose(result.turned.column_lengths, result.original.column_lengths, rtol=1e-9)
    assert result.turned.column_angle == pytest.approx(result.original.column_angle, abs=1e-6)
    assert result.R.shape == (3, 3)
    assert np.trace(result.R) == pytest.approx(1 + 2 * np.cos(np.radians(angle)), abs=1e-9)
    assert result.determinant == pytest.approx(1, abs=1e-9)
    if abs(angle) > 5:
        assert max(result.changes(result.turned)) > 1e-3


@given(**states)
@settings(deadline=None, max_examples=40)
def test_adding_is_of_rank_one_and_of_the_size_asked(seed: int, angle: int, size: float) -> None:
    result = LookingGlass(seed=seed, angle=angle, size=size).result
    W = result.original.W
    added = result.added.W - W
    assert np.sqrt((added**2).sum()) == pytest.approx(size * np.sqrt((W**2).sum()), abs=1e-9)
    minors = [added[i, 0] * added[j, 1] - added[i, 1] * added[j, 0] for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(minors, 0, atol=1e-9)
    np.testing.assert_allclose(result.added.angles, neuron_angles(result.added.W), atol=1e-5)
    np.testing.assert_allclose(result.added.lengths, np.hypot(*result.added.W.T), rtol=1e-9)


@given(**states, side=st.sampled_from(["W·R", "R·W"]))
@settings(deadline=None, max_examples=40)
def test_no_arrow_leaves_the_picture(seed: int, angle: int, size: float, side: str) -> None:
    result = LookingGlass(seed=seed, angle=angle, size=size, side=side).result
    for of in (result.original, result.turned, result.added):
        assert of.lengths.max() <= LONGEST + 1e-9 < LIMIT


def test_the_table_holds_every_number() -> None:
    demo = LookingGlass(size=0.75)
    result = demo.result
    table = demo.details(result)
    for of in (result.original, result.turned, result.added):
        for value in (*of.lengths, *of.column_lengths, *of.singular_values):
            assert f">{value:.3f}<" in table
        for value in (*of.angles, of.column_angle):
            assert f">{value:.1f}°<" in table


def test_the_claim_says_whose_spectrum_it_is() -> None:
    demo = LookingGlass()
    (claim,) = demo.claims(demo.result)
    assert (claim.key, claim.verdict) == ("stable", "partly")
    for sigma in np.sqrt(np.linalg.eigvalsh(demo.result.original.W.T @ demo.result.original.W)):
        assert f"{sigma:.3f}" in claim.measured
    for sigma in np.sqrt(np.linalg.eigvalsh(demo.result.added.W.T @ demo.result.added.W)):
        assert f"{sigma:.3f}" in claim.measured


def drag(demo: LookingGlass, *degrees: float) -> None:
    for phase, angle in zip(["start", *["move"] * len(degrees)], (degrees[0], *degrees), strict=True):
        demo._on_drag(np.cos(np.radians(angle)), np.sin(np.radians(angle)), phase)


def test_dragging_turns_by_what_the_pointer_turned_and_stops_short_of_half_a_turn() -> None:
    demo = LookingGlass(angle=10)
    drag(demo, 170, 185, 200)  # across the negative x axis, where the bearing jumps
    assert demo.angle == 40
    drag(demo, 0, 60, 120, 180, 240)
    assert demo.angle == 179
    drag(demo, 0, -30)
    assert demo.angle == 149


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("angle", 180, "Angle of R in degrees = 180 is out of range: give a whole number, -179…179."),
        ("angle", float("nan"), "is nan"),
        ("angle", 10**12, "= 1,000,000,000,000 is out of range"),
        ("angle", "", "is empty"),
        ("size", -0.05, "= -0.05 is out of range: give a number, 0…1."),
        ("size", float("inf"), "is inf"),
        ("size", "tall", "“tall”"),
        ("seed", 100, "Seed = 100 is out of range"),
        ("seed", 0.5, "Seed is 0.5"),
        ("side", "W+R", "W+R"),
    ],
)
def test_bad_input_is_refused_by_name(name: str, value: object, message: str) -> None:
    demo = LookingGlass()
    before = demo.result
    with pytest.raises(ValueError, match=re.escape(message)):
        setattr(demo, name, value)
    assert demo.result is before
