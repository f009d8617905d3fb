"""Who can race on the page, over what, and in which color: as data, without torch."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from wonderland.theme import Palette, mixed, readable

TUNED = Path(__file__).parents[2] / "data" / "tuning.json"
OPTIMIZERS = ("adamw", "momentum", "sgd")
SCENARIOS = {"task": "told which task an image is of", "class": "not told which"}
LEARNING_RATES = (1e-12, 1e12)

TASKS = {
    "upright": "the digits as they are",
    "rotated": "turned by 90°",
    "permuted": "their pixels shuffled, always the same way",
    "mirrored": "left and right exchanged",
    "inverted": "ink and paper exchanged",
    "low": "the digits 0–4 alone",
    "high": "the digits 5–9 alone",
    "contradictory": "upright, each called by the next digit's name",
}
"""The backend's tasks, and what each shows."""


@dataclass(frozen=True)
class Runner:
    """A method on the page.

    `concept` names a color of the palette; of those that share it, `shade` mixes in the color of text, and `dash`, a
    name or lengths of pixels, tells them apart without any color.
    """

    label: str
    spoken: str
    concept: str
    shade: float = 0.0
    dash: str = "solid"

    def ink(self, palette: Palette) -> str:
        """Its color, one in which its name can be read as well."""
        color = getattr(palette, readable(self.concept))
        return mixed(color, palette.text, self.shade) if self.shade else color

    @property
    def css(self) -> str:
        """The same color in the words of a stylesheet, in whichever theme is on."""
        return f"color-mix(in srgb, var(--w-{readable(self.concept)}), var(--w-text) {self.shade:.0%})"


METHODS = {
    "full": Runner("full", "full fine-tuning", "critical"),
    "l2sp": Runner("full, L2-SP", "full fine-tuning with L2-SP", "critical", 0.3, "dashed"),
    "lora": Runner("LoRA", "LoRA", "lora"),
    "oft": Runner("OFT", "OFT", "original"),
    "osft": Runner("OSFT", "OSFT, two-sided", "safe"),
    "osft-joint": Runner("OSFT joint", "OSFT by the joint formula", "safe", 0.2, "dashed"),
    "osft-dense": Runner("OSFT update", "OSFT, the update projected", "safe", 0.1, "dotted"),
    "osft-gradient": Runner("OSFT gradient", "OSFT, only the gradient projected", "safe", 0.3, "dotdash"),
    "osft-random": Runner("OSFT random", "OSFT in random directions", "safe", 0.45, "2 9"),
    "gpm": Runner("GPM", "GPM, OSFT in the directions of the old activations", "safe", 0.35, "14 5"),
    "replay": Runner("replay", "replay of old images", "neutral"),
    "joint": Runner("joint training", "joint training, the upper bound", "neutral", 0.5, "dashed"),
    "frozen": Runner("frozen", "the frozen network, the floor", "neutral", 0.0, "dotted"),
}
"""The backend's methods, in its order."""


@cache
def tuned() -> dict[str, dict[str, float]]:
    """Learning rate of each method by optimizer, as the sweep on validation images chose them."""
    return json.loads(TUNED.read_text(encoding="utf-8"))["chosen"]
