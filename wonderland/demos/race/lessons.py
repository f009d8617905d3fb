"""What a reader can find in the race by turning one control: states of the demo, each with what to look for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Lesson:
    """A state of the race's controls, and a question to bring to it."""

    label: str
    state: Mapping[str, Any]
    words: str


LESSONS = (
    Lesson(
        "Energy kept, task lost",
        {"methods": "full,oft,osft", "view": "layers", "weights": "energy"},
        "OFT turns every layer and keeps its neurons’ energy to rounding. Look right: is what it kept what the old "
        "task needed?",
    ),
    Lesson(
        "Direction, not size",
        {"methods": "full,osft,osft-random", "view": "layers", "weights": "drift"},
        "On the left, how far the weights went; on the right, what was forgotten. Does who goes furthest forget most?",
    ),
    Lesson(
        "The basis",
        {"methods": "osft,osft-random,gpm", "view": "curves"},
        "Three sets of protected directions: random ones, the weight’s own, and, in GPM, those of the old activations. "
        "Which of them did the old task stand on?",
    ),
    Lesson(
        "Project before Adam",
        {"methods": "osft,osft-dense,osft-gradient", "view": "layers", "weights": "leak", "optimizer": "adamw"},
        "The gradient alone is projected, and then Adam rescales each entry: look how far that leaks. Choose SGD under "
        "More controls, run it again, and all that is left of it is rounding.",
    ),
    Lesson(
        "Labels that contradict",
        {"course": "upright,contradictory", "methods": "full,osft,gpm,joint", "view": "plane"},
        "The same images, each called by the next digit’s name: nobody can have both. Press Run the race, and see "
        "whether any cloud comes near the upper right corner.",
    ),
)


def lesson_of(state: Mapping[str, Any]) -> Lesson | None:
    """The lesson whose controls stand as it asks, if there is one."""
    return next((each for each in LESSONS if all(state[name] == value for name, value in each.state.items())), None)
