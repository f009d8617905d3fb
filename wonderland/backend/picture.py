"""The curves of a race as an SVG file: a panel a task, a line a method."""

from collections.abc import Sequence
from html import escape
from statistics import mean

from wonderland.backend.race import RacePoint, RaceSettings

WIDTH, HEIGHT = 760, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 150, 34, 34
LINE = 15
# Paul Tol's bright scheme, which the color-blind can tell apart too.
INKS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#777777")
DASHES = ("none", "6 3", "2 3")


def picture(points: Sequence[RacePoint], settings: RaceSettings) -> str:
    """Draw accuracy over training steps, mean over the seeds that have not diverged.

    Returns
    -------
    str
        An SVG document.
    """
    height = HEIGHT * len(settings.tasks)
    panels = "".join(_panel(points, settings, at) for at in range(len(settings.tasks)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="13"><title>{escape(" → ".join(settings.tasks))}</title>'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>{panels}</svg>\n'
    )


def _panel(points: Sequence[RacePoint], settings: RaceSettings, task: int) -> str:
    top, span = HEIGHT * task + TOP, settings.steps * (len(settings.tasks) - 1)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(step: float) -> str:
        return f"{LEFT + width * step / span:.1f}"

    def y(accuracy: float) -> float:
        return top + height * (1 - accuracy)

    parts = [f'<text x="{LEFT}" y="{top - 12}" font-weight="bold">{escape(settings.tasks[task])}, %</text>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<path d="M{LEFT} {y(share):.1f}h{width}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{100 * share:.0f}</text>')
    for learned in range(len(settings.tasks)):
        step = learned * settings.steps
        unit = " steps" if step == span else ""
        parts.append(f'<text x="{x(step)}" y="{top + height + 18}" text-anchor="middle">{step:,}{unit}</text>')
        if 0 < step < span:
            parts.append(f'<path d="M{x(step)} {top}v{height}" stroke="#999999" stroke-dasharray="3 3"/>')
    ends = []
    for at, entrant in enumerate(settings.methods):
        style = f'stroke="{INKS[at % len(INKS)]}" stroke-dasharray="{DASHES[at // len(INKS) % len(DASHES)]}"'
        if line := _means([point for point in points if point.method == entrant.name], settings.steps, task):
            path = " ".join(f"{x(step)},{y(value):.1f}" for step, value in line)
            parts.append(f'<polyline points="{path}" fill="none" stroke-width="2" {style}/>')
            ends.append((y(line[-1][1]), entrant.name, INKS[at % len(INKS)]))
    return "".join(parts) + _names(ends)


def _means(points: Sequence[RacePoint], steps: int, task: int) -> list[tuple[int, float]]:
    """A method's mean accuracy on a task at each step of the whole course."""
    at_step: dict[int, list[float]] = {}
    for point in points:
        if point.task and not point.diverged:
            at_step.setdefault((point.task - 1) * steps + point.step, []).append(point.accuracy[task])
    return [(step, mean(values)) for step, values in sorted(at_step.items())]


def _names(ends: list[tuple[float, str, str]]) -> str:
    """The methods' names behind their lines, none on another."""
    made, free = [], float("-inf")
    for height, name, ink in sorted(ends):
        free = max(height, free + LINE)
        made.append(f'<text x="{WIDTH - RIGHT + 8}" y="{free + 4:.1f}" fill="{ink}">{escape(name)}</text>')
    return "".join(made)
