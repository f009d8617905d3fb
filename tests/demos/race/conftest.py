"""A race made by hand."""

import pytest

from tests.demos.race.test_races import SETTING, course
from wonderland.demos.race import races


@pytest.fixture
def race() -> races.Race:
    """Two seeds of every method on a course of three tasks, with accuracies that can be read off."""
    made = races.Race(SETTING)
    for method in SETTING.methods:
        made = made.extended(course(method, 3) + course(method, 4, 0.1))
    return made
