"""Chapter 4: which updates keep the energy of the neurons, and what the outputs do meanwhile."""

from dataclasses import dataclass
from functools import lru_cache

import holoviews as hv
import numpy as np
import panel as pn
import param

from wonderland.demos.amounts import minus
from wonderland.demos.base import Claim, Demo, Readout
from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.parameters import Choice, Real, Whole
from wonderland.maths import orthogonal
from wonderland.maths.energy import hyperspherical_energy, mean_abs_cosine, unit_rows
from wonderland.maths.subspace import project, split
from wonderland.theme import palette

SAMPLES, FEATURES, RANK, KEPT = 50, 8, 4, 4
OK, CLOSE = 0.01, 0.05
"""The tale marks a change of energy below these OK, or ~."""
WIDEST = 0.2
"""A change of energy beyond ±20% runs off the picture; its number stands beside it."""
TALE = {"original": "original", "OFT": "original", "random": "neutral", "LoRA": "lora"}
UPDATES = {
    "W·R (OFT)": "original",
    "louder neurons": "neutral",
    "R·W": "rotated",
    "random": "neutral",
    "LoRA": "lora",
    "OSFT": "safe",
}
"""Every update of the weight, and the concept that gives its color."""


@dataclass(frozen=True)
class TaleRow:
    """One bar of the tutorial's experiment."""

    energy: float
    delta: float
    mark: str
    update: float
    """‖X′ − X‖ / ‖X‖."""


@dataclass(frozen=True)
class UpdateRow:
    """What one update of the weight does to the energy of the neurons and to the outputs."""

    energy: float
    change: float
    """Of the energy, relative."""
    outputs: float
    """‖Y′ − Y‖ / ‖Y‖, with Y the outputs for all samples."""
    cosine: float
    """Largest change of the cosine between the outputs for two samples."""


@dataclass(frozen=True)
class EnergyMeasure:
    """The tutorial's experiment on samples, and the energy of the neurons of a weight under equal updates."""

    tale: dict[str, TaleRow]
    updates: dict[str, UpdateRow]
    energy: float
    """Hyperspherical energy of W before any update."""
    size: float
    s: int
    half_space: bool


@lru_cache(maxsize=32)
def experiment(seed: int) -> dict[str, np.ndarray]:
    """The tutorial's experiment: X (50×8), and X after OFT, a random map and LoRA."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((SAMPLES, FEATURES))
    Q = orthogonal.haar(FEATURES, rng)
    M = np.eye(FEATURES) + 0.3 * rng.standard_normal((FEATURES, FEATURES))
    A = 0.1 * rng.standard_normal((RANK, FEATURES))
    B = 0.1 * rng.standard_normal((FEATURES, RANK))
    return {"original": X, "OFT": X @ Q.T, "random": X @ M.T, "LoRA": X + X @ A.T @ B.T}


@lru_cache(maxsize=32)
def layer(seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A weight W (8×8) and the direction of each update that is not a rotation, as large as W.

    OSFT's keeps the first 4 of 8 singular directions by the two-sided rule; LoRA's has rank 4.
    """
    rng = np.random.default_rng([seed, 1])
    W, G, H = rng.standard_normal((3, FEATURES, FEATURES))
    BA = rng.standard_normal((FEATURES, RANK)) @ rng.standard_normal((RANK, FEATURES))
    louder = np.abs(rng.standard_normal((FEATURES, 1))) * W
    ways = {"louder neurons": louder, "random": G, "LoRA": BA, "OSFT": project(H, split(W, KEPT), "two-sided")}
    return W, {name: way * np.linalg.norm(W) / np.linalg.norm(way) for name, way in ways.items()}


@lru_cache(maxsize=32)
def unit_skew(seed: int) -> np.ndarray:
    """A random 8×8 skew matrix J with J² = −I: every direction turns alike under its Cayley transform."""
    O = orthogonal.haar(FEATURES, np.random.default_rng([seed, 2]))  # noqa: E741
    return O @ np.kron(np.eye(FEATURES // 2), [[0, -1], [1, 0]]) @ O.T


def updated(seed: int, size: float) -> dict[str, np.ndarray]:
    """W after every update, each with ‖ΔW‖ = size·‖W‖ in the Frobenius norm, 0 < size < 2.

    A rotation that turns every direction by φ moves W by 2·sin(φ/2) of its norm, on either side.
    """
    W, ways = layer(seed)
    R = orthogonal.cayley(np.tan(np.arcsin(size / 2)) * unit_skew(seed))
    rotated = {"W·R (OFT)": W @ R, "R·W": R @ W}
    return {name: rotated[name] if name in rotated else W + size * ways[name] for name in UPDATES}


def measure_tale(images: dict[str, np.ndarray]) -> dict[str, TaleRow]:
    """The tutorial's energy of samples, mean |cos|, after each map, with its marks."""
    X = images["original"]
    before = mean_abs_cosine(X)
    rows = {}
    for name, image in images.items():
        energy = mean_abs_cosine(image)
        delta = energy - before
        mark = "OK" if abs(delta) < OK else "~" if abs(delta) < CLOSE else "✗"
        rows[name] = TaleRow(energy, delta, mark, float(np.linalg.norm(image - X) / np.linalg.norm(X)))
    return rows


def measure_update(W: np.ndarray, updated: np.ndarray, X: np.ndarray, s: int, half_space: bool) -> UpdateRow:
    """Energy of the neurons and outputs for the samples X (p×n), before and after an update of W (m×n)."""
    before = hyperspherical_energy(W, s, half_space)
    energy = hyperspherical_energy(updated, s, half_space)
    Y, moved = X @ W.T, X @ updated.T
    cosines = [unit @ unit.T for unit in (unit_rows(Y), unit_rows(moved))]
    return UpdateRow(
        energy=energy,
        change=(energy - before) / abs(before),
        outputs=float(np.linalg.norm(moved - Y) / np.linalg.norm(Y)),
        cosine=float(np.abs(cosines[1] - cosines[0]).max()),
    )


class EnergyDemo(Demo):
    """The tutorial's energy of samples, and the hyperspherical energy of neurons under updates of one size."""

    regenerate = param.Event(label="Regenerate", doc="Draw the next samples, weight and updates.")
    s = Choice(
        default=1,
        objects=[0, 1, 2],
        label="Exponent s",
        doc="The larger, the more the energy minds the closest pair of neurons.",
    )
    half_space = param.Boolean(
        default=False, label="Half-space", doc="Seat an opposite −ŵ beside every neuron: opposite ones crowd too."
    )
    size = Real(
        default=0.5,
        bounds=(0.05, 1),
        step=0.05,
        label="Every update’s ‖ΔW‖ / ‖W‖",
        doc="All updates of the weight are equally large, so that the comparison is fair.",
    )
    seed = Whole(default=0, bounds=(0, 999_999), label="Seed", doc="Number of the draw.")

    title = "The Hatter’s table"
    wide = True
    controls = ("regenerate", "s", "half_space", "size")
    more = ("seed",)
    code = (experiment, measure_tale, updated, measure_update, hyperspherical_energy)
    axes = {
        "s": (0, 1, 2),
        "half_space": (False, True),
        "size": [round(0.05 * i, 2) for i in range(1, 21)],
        "seed": range(5),
    }
    presses = ("regenerate",)

    def __init__(self, **params: object) -> None:
        super().__init__(**params)
        self.param.watch(self._on_regenerate, "regenerate")

    def measure(self) -> EnergyMeasure:
        images = experiment(self.seed)
        W, _ = layer(self.seed)
        rows = {
            name: measure_update(W, new, images["original"], self.s, self.half_space)
            for name, new in updated(self.seed, self.size).items()
        }
        return EnergyMeasure(
            tale=measure_tale(images),
            updates=rows,
            energy=hyperspherical_energy(W, self.s, self.half_space),
            size=self.size,
            s=self.s,
            half_space=self.half_space,
        )

    def marks(self, result: EnergyMeasure) -> Marks:
        tale = {name: row.energy for name, row in result.tale.items()}
        change = {name: row.change for name, row in result.updates.items()}
        outputs = {name: row.outputs for name, row in result.updates.items()}
        marked = [f"{row.energy:.4f}  {'' if name == 'original' else row.mark}" for name, row in result.tale.items()]
        return {
            **self._bars("tale", tale, TALE, marked, (0, 0.5)),
            **self._bars("change", change, UPDATES, [_percent(v) for v in change.values()], (-WIDEST, WIDEST)),
            **self._bars("outputs", outputs, UPDATES, [f"{v:.0%}" for v in outputs.values()], (0, 1.25)),
        }

    def _bars(
        self, mark: str, values: dict[str, float], concepts: dict[str, str], texts: list[str], limits: tuple
    ) -> Marks:
        """Horizontal bars from the top down, each below its name and its number."""
        ink = palette(self.dark)
        row = -np.arange(len(values), dtype=float)
        ends = np.clip(list(values.values()), *limits)
        lines = {"y": row + 0.2}
        return {
            f"{mark} bars": {
                "x0": np.minimum(ends, 0),
                "y0": row - 0.36,
                "x1": np.maximum(ends, 0),
                "y1": row - 0.1,
                "ink": [getattr(ink, concepts[name]) for name in values],
            },
            f"{mark} names": {"x": np.full(len(row), limits[0])} | lines | {"text": list(values)},
            f"{mark} numbers": {"x": np.full(len(row), limits[1])} | lines | {"text": texts},
        }

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        ink = canvas.palette

        def picture(mark: str, rows: int, limits: tuple, title: str, ticks: list) -> pn.pane.HoloViews:
            line = {"text_color": ink.text, "text_font_size": "14px"}
            return canvas.picture(
                canvas.draw(hv.Rectangles, f"{mark} bars", {"fill_color": "ink", "line_color": "ink"}),
                canvas.draw(hv.Labels, f"{mark} names", text_align="left", **line),
                canvas.draw(hv.Labels, f"{mark} numbers", text_align="right", **line),
                xlim=limits,
                ylim=(-rows + 0.5, 0.5),
                height=340,
                title=title,
                xticks=ticks,
                yticks=[],
            )

        share = [(v / 100, minus(f"{v:+d}%") if v else "0") for v in (-10, 0, 10)]
        return [
            picture("tale", 4, (0, 0.5), "the tale: mean |cos| of the samples", [0, 0.1, 0.2, 0.3, 0.4]),
            picture("change", 6, (-WIDEST, WIDEST), "measured: change of the neurons’ energy", share),
            picture(
                "outputs",
                6,
                (0, 1.25),
                "measured: how far the outputs move",
                [(v / 100, f"{v}%") for v in (0, 50, 100)],
            ),
        ]

    def readouts(self, result: EnergyMeasure) -> list[Readout]:
        oft = result.updates["W·R (OFT)"]
        return [
            Readout(f"energy of W, s = {result.s}", f"{result.energy:.4f}", "original"),
            Readout(
                "OFT: energy changes by", _percent(oft.change), "original", "ok" if abs(oft.change) < 1e-9 else "off"
            ),
            Readout("OFT: the outputs move by", f"{oft.outputs:.0%}", "rotated"),
            Readout("OFT: one pair’s output cosine moves by", f"{oft.cosine:.2f}", "rotated"),
        ]

    def describe(self, result: EnergyMeasure) -> str:
        tale = "; ".join(f"{name} {row.energy:.4f}" for name, row in result.tale.items())
        rows = "; ".join(
            f"{name}: energy {_percent(row.change)}, outputs {row.outputs:.0%}" for name, row in result.updates.items()
        )
        return (
            f"Three charts of bars. The tale, mean absolute cosine of {SAMPLES} samples: {tale}. Measured, change of "
            f"the hyperspherical energy of {FEATURES} neurons with s = {result.s}"
            f"{', half-space' * result.half_space}, and how far the outputs move, every update {result.size:.0%} of "
            f"W: {rows}."
        )

    def details(self, result: EnergyMeasure) -> str:
        tale = [
            (name, f"{row.energy:.4f}", _signed(row.delta), row.mark, f"{row.update:.0%}")
            if name != "original"
            else (name, f"{row.energy:.4f}", "", "", "")
            for name, row in result.tale.items()
        ]
        updates = [
            (
                name,
                minus(f"{row.energy:.4f}"),
                _percent(row.change),
                f"{row.outputs:.0%}",
                f"{row.cosine:.2f}",
            )
            for name, row in result.updates.items()
        ]
        return _table(("the tale", "mean |cos|", "change", "mark", "size of the update"), tale) + _table(
            ("measured", "energy", "change", "outputs move", "a pair’s output cosine moves"), updates
        )

    def claims(self, result: EnergyMeasure) -> list[Claim]:
        oft, lora, drawn = result.updates["W·R (OFT)"], result.updates["LoRA"], result.tale["LoRA"]
        kept = abs(oft.change) < 1e-9
        return [
            Claim(
                "energy",
                "OFT preserves the hyperspherical energy between activations.",
                f"It changes the energy of the neurons by {_percent(oft.change)}. The activations move by "
                f"{oft.outputs:.0%}, and the cosine between two of them by up to {oft.cosine:.2f}.",
                ("partly" if oft.cosine > CLOSE else "holds") if kept else "fails",
            ),
            Claim(
                "lora-energy",
                f"LoRA hardly changes the energy: {_signed(drawn.delta)}, marked {drawn.mark}.",
                f"That update is {drawn.update:.0%} of X. One as large as OFT’s, {result.size:.0%} of W, changes the "
                f"energy of the neurons by {_percent(lora.change)}; OFT’s by {_percent(oft.change)}.",
                # By the tale's own marks.
                "holds" if abs(lora.change) < OK else "partly" if abs(lora.change) < CLOSE else "fails",
            ),
        ]

    def _on_regenerate(self, _: param.parameterized.Event) -> None:
        self.seed = (self.seed + 1) % (self.param.seed.bounds[1] + 1)


def _percent(share: float) -> str:
    """A relative change with its sign; one of rounding as what it is."""
    if abs(share) < 1e-9:
        return f"{100 * abs(share):.0e}%" if share else "0%"
    return minus(f"{100 * share:+.2f}%")


def _signed(value: float) -> str:
    return minus(f"{value:+.4f}")


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    first, *others = heads
    top = "".join(f"<th class='number' scope='col'>{head}</th>" for head in others)
    body = "".join(
        f"<tr><th scope='row'>{name}</th>" + "".join(f"<td class='number'>{cell}</td>" for cell in cells) + "</tr>"
        for name, *cells in rows
    )
    return (
        f"<div class='scroll'><table><thead><tr><th scope='col'>{first}</th>{top}</tr></thead><tbody>{body}</tbody>"
        "</table></div>"
    )
