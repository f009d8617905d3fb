"""One color is one concept, and every one can be read."""

from dataclasses import asdict

import pytest

from wonderland.theme import DARK, LIGHT, Palette


def luminance(color: str) -> float:
    """WCAG 2.2 relative luminance."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("ink", [DARK, LIGHT], ids=["dark", "light"])
@pytest.mark.parametrize("concept", ["text", "muted", "original", "rotated", "critical", "safe", "lora"])
def test_text_in_every_concept_has_contrast(ink: Palette, concept: str) -> None:
    for ground in (ink.page, ink.panel):
        assert contrast(getattr(ink, concept), ground) >= 4.5


@pytest.mark.parametrize("ink", [DARK, LIGHT], ids=["dark", "light"])
def test_marks_stand_out_and_concepts_differ(ink: Palette) -> None:
    assert contrast(ink.neutral, ink.panel) >= 3
    colors = [color for name, color in asdict(ink).items() if name not in ("page", "panel", "edge", "grid")]
    assert len(set(colors)) == len(colors)


def test_the_dark_palette_is_the_tutorials() -> None:
    assert (DARK.page, DARK.panel, DARK.edge, DARK.text) == ("#0d0d0f", "#16161a", "#2a2a32", "#e4e4e7")
    assert (DARK.original, DARK.rotated, DARK.critical) == ("#60a5fa", "#fb923c", "#f87171")
    assert (DARK.safe, DARK.lora, DARK.neutral) == ("#4ade80", "#fbbf24", "#6b7280")
