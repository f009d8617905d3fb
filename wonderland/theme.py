"""One color is one concept, on the page and in every picture, in dark and in light."""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import panel as pn
from bokeh.model import Model

ASSETS = Path(__file__).parent / "assets"

SERIF = "Charter, 'Bitstream Charter', 'Iowan Old Style', 'Palatino Linotype', Palatino, Georgia, serif"
SANS = "Roboto, 'Helvetica Neue', Arial, sans-serif"
MONO = "ui-monospace, 'SF Mono', 'Cascadia Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace"


@dataclass(frozen=True)
class Palette:
    """The colors of one theme, named by what they stand for.

    `original` is the pretrained weight and OFT, `rotated` what a map made of it, `critical` the protected
    directions and full fine-tuning, `safe` the free directions and OSFT, `lora` LoRA and the projected part,
    `neutral` everything that makes no claim.
    """

    page: str
    panel: str
    edge: str
    grid: str
    text: str
    muted: str
    original: str
    rotated: str
    critical: str
    safe: str
    lora: str
    neutral: str

    def variables(self) -> dict[str, str]:
        """The palette as CSS custom properties, `--w-text` and so on."""
        return {f"--w-{name}": color for name, color in asdict(self).items()}


DARK = Palette(
    page="#0d0d0f",
    panel="#16161a",
    edge="#2a2a32",
    grid="#1f1f2a",
    text="#e4e4e7",
    muted="#8888a0",
    original="#60a5fa",
    rotated="#fb923c",
    critical="#f87171",
    safe="#4ade80",
    lora="#fbbf24",
    neutral="#6b7280",
)

# Every concept keeps its hue; each is dark enough for text at 4.5:1 on `panel`.
LIGHT = Palette(
    page="#faf8f3",
    panel="#ffffff",
    edge="#ddd8cc",
    grid="#ece8de",
    text="#1f1d1a",
    muted="#5f5b66",
    original="#1d4ed8",
    rotated="#c2410c",
    critical="#be123c",
    safe="#15803d",
    lora="#8a5a00",
    neutral="#565c66",
)


class Assets:
    """Names the files that the server may hand out (see Panel's component resources)."""

    _css = ["assets/fonts/stix-two-math.woff2"]


class Html(pn.pane.HTML):
    """HTML that sends its text alone when that changes.

    Panel's own (1.9.4) sends its stylesheets, too; those in a notebook lie on another host, and belong to one display.
    """

    def _update(self, ref: str, model: Model) -> None:
        model.text = self._transform_object(self.object)["object"]


def palette(dark: bool) -> Palette:
    """The palette of the dark or the light theme."""
    return DARK if dark else LIGHT


def readable(concept: str) -> str:
    """The color in which a concept can be read; neutral is a color for marks."""
    return "muted" if concept == "neutral" else concept


@cache
def mixed(under: str, over: str, share: float) -> str:
    """A color between two, given as #rrggbb."""
    pairs = ((int(under[i : i + 2], 16), int(over[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


@cache
def stylesheet(name: str) -> str:
    """The text of one of the package's stylesheets, for a component's `stylesheets`."""
    return (ASSETS / f"{name}.css").read_text(encoding="utf-8")


def html(content: str, *sheets: str, **params: object) -> pn.pane.HTML:
    """An HTML pane that wears the document's own stylesheets."""
    params.setdefault("sizing_mode", "stretch_width")
    params.setdefault("margin", 0)
    return Html(content, stylesheets=[stylesheet(sheet) for sheet in sheets], **params)
