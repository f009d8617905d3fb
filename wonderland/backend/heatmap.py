"""The spectra of a checkpoint as an SVG file: a row a layer, σ/σ₁ from its first direction to its last."""

from collections.abc import Sequence
from html import escape
from itertools import groupby

from wonderland.backend.headers import plain
from wonderland.backend.plan import Plan
from wonderland.backend.tensors import Spectrum

WIDTH, LEFT, TOP, BOTTOM = 900, 300, 62, 34
CELLS = 64
# Steps of color from nothing to σ₁: neighbors of one color are drawn as one.
STEPS = 32
LOW, HIGH, CUT = (247, 249, 252), (38, 70, 131), "#ee6677"
# Rows this high have room for their names.
NAMED, THIN, MANY = 17, 4, 80


def heatmap(spectra: Sequence[Spectrum], plan: Plan, title: str) -> str:
    """Draw every layer, and where the plan cuts it.

    Returns
    -------
    str
        An SVG document.
    """
    row = NAMED if len(spectra) <= MANY else THIN
    height = TOP + row * len(spectra) + BOTTOM
    span = WIDTH - LEFT - 20
    k_of = {layer.name: layer.k for layer in plan.layers}
    parts = [
        f'<text x="{LEFT}" y="20" font-weight="bold">{escape(plain(title))}: σ/σ₁, strongest direction left</text>',
        f'<text x="{LEFT}" y="40"><tspan fill="{CUT}">❘</tspan> left of it what the plan protects, by '
        f"{escape(plan.rule)}</text>",
    ]
    for at, spectrum in enumerate(spectra):
        y, count = TOP + row * at, len(spectrum.sigma)
        levels = [round(STEPS * float(value)) for value in sampled(spectrum, CELLS)]
        first = 0
        for level, run in groupby(levels):
            cells = len(list(run))
            x, wide = LEFT + span * first / CELLS, span * cells / CELLS
            size = f'width="{wide + 0.3:.1f}" height="{row - (row > THIN)}"'
            parts.append(f'<rect x="{x:.1f}" y="{y}" {size} fill="{_ink(level)}"/>')
            first += cells
        if row == NAMED or at % 10 == 0:
            name = escape(plain(spectrum.name, 40))
            parts.append(f'<text x="{LEFT - 8}" y="{y + min(row, 12)}" text-anchor="end">{name}</text>')
        if k := k_of.get(spectrum.name):
            parts.append(f'<path d="M{LEFT + span * k / count:.1f} {y}v{row}" stroke="{CUT}" stroke-width="2"/>')
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = LEFT + span * share
        parts.append(f'<text x="{x:.0f}" y="{height - 12}" text-anchor="middle">{share:.0%}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12"><title>{escape(plain(title))}</title><rect width="{WIDTH}" height="{height}" fill="white"/>'
        f"{''.join(parts)}</svg>\n"
    )


def sampled(spectrum: Spectrum, cells: int) -> list[float]:
    """σ/σ₁ where each of `cells` equal parts of the directions begins."""
    count = len(spectrum.sigma)
    return [float(spectrum.sigma[at * count // cells] / spectrum.sigma[0]) for at in range(cells)]


def _ink(level: int) -> str:
    return "#" + "".join(f"{round(a + (b - a) * level / STEPS):02x}" for a, b in zip(LOW, HIGH, strict=True))
