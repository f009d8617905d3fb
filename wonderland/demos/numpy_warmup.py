"""Chapter 8: the projection on nine numbers, one line of NumPy at a time."""

import ast
import html as _html
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import holoviews as hv
import numpy as np
import panel as pn

from wonderland.demos.amounts import minus
from wonderland.demos.base import Claim, Demo, Readout
from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.parameters import Choice, Matrix, Whole
from wonderland.theme import MONO, html, palette

WEIGHT = np.array([[2.0, 0.5, 0.0], [0.0, 1.5, 0.1], [0.0, 0.0, 0.2]])
GRADIENT = np.array([[0.1, -0.2, 0.05], [0.05, 0.1, -0.1], [-0.2, 0.0, 0.2]])
ORDER = 3
LARGEST = 1e6

_WHOLE_ROW = {"grid-column": "1 / -1"}
_STEPS = """
ol { list-style: none; margin: 4px 0 10px; padding: 0; }
li { display: grid; grid-template-columns: minmax(0, 1fr) minmax(250px, 40%); gap: 4px 34px;
  padding: 14px 0; align-items: center; border-top: 1px solid var(--w-edge); }
h3 { font: 500 15px/1.45 var(--sans); margin: 0 0 4px; }
h3 span { color: var(--w-muted); font-family: var(--mono); margin-right: 9px; }
.made { display: flex; flex-wrap: wrap; gap: 6px 26px; overflow-x: auto; }
figure { margin: 0; }
figcaption { font: 400 13px/1.4 var(--sans); color: var(--concept, var(--w-muted)); margin-bottom: 2px; }
.matrix { color: var(--concept, var(--w-text)); }
pre { padding: 9px 13px; margin: 0; }
@media (max-width: 700px) { li { grid-template-columns: minmax(0, 1fr); } }
"""


def decompose(W: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular value decomposition of W: W = U · diag(S) · Vt."""
    U, S, Vt = np.linalg.svd(W)
    return U, S, Vt


def protect(U: np.ndarray, Vt: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k strongest directions on each side, as columns, m×k and n×k."""
    U_high, V_high = U[:, :k], Vt[:k].T
    return U_high, V_high


def joint(G: np.ndarray, U_high: np.ndarray, V_high: np.ndarray) -> np.ndarray:
    """The tale's rule: take out the protected corner (arXiv 2504.07097)."""
    projected = G - U_high @ (U_high.T @ G @ V_high) @ V_high.T
    return projected


def two_sided(G: np.ndarray, U_high: np.ndarray, V_high: np.ndarray) -> np.ndarray:
    """Take out the protected rows, then the protected columns."""
    rows_out = G - U_high @ (U_high.T @ G)
    projected = rows_out - (rows_out @ V_high) @ V_high.T
    return projected


def right_only(G: np.ndarray, U_high: np.ndarray, V_high: np.ndarray) -> np.ndarray:
    """Take out the protected columns (arXiv 2103.09762)."""
    projected = G - (G @ V_high) @ V_high.T
    return projected


def removed_share(G: np.ndarray, projected: np.ndarray) -> float:
    """Share of ‖G‖² that a rule took out, 0 for a zero gradient."""
    removed = np.sum((G - projected) ** 2) / (np.sum(G**2) or 1)
    return removed


def pull(G: np.ndarray, projected: np.ndarray, V_high: np.ndarray) -> list[float]:
    """How hard a gradient pulls at the protected inputs, and how hard what a rule left of it does."""
    pulls = [float(np.linalg.norm(each @ V_high)) for each in (G, projected)]
    return pulls


RULES: dict[str, Callable] = {"joint": joint, "right-only": right_only, "two-sided": two_sided}


@dataclass(frozen=True)
class WarmupMeasure:
    """Every intermediate result of the sum, for all three rules.

    Parameters
    ----------
    W, G, k
        The weight and the gradient, m×n, and how many directions are protected.
    rule
        The rule chosen; the others are measured besides.
    U, S, Vt
        Singular value decomposition of the weight.
    U_high, V_high
        The k protected directions as columns, m×k and n×k.
    projected
        What each rule leaves of the gradient.
    removed
        Share of the gradient's energy that each rule removes.
    before
        ‖G·V_h‖.
    after
        ‖G̃·V_h‖ for each rule.
    """

    W: np.ndarray
    G: np.ndarray
    k: int
    rule: str
    U: np.ndarray
    S: np.ndarray
    Vt: np.ndarray
    U_high: np.ndarray
    V_high: np.ndarray
    projected: dict[str, np.ndarray]
    removed: dict[str, float]
    before: float
    after: dict[str, float]

    def left(self, rule: str) -> float:
        """Share of ‖G·V_h‖ that a rule leaves; 0 where there was none."""
        return self.after[rule] / self.before if self.before else 0.0

    def stopped(self, rule: str) -> bool:
        """Whether a rule leaves nothing of ‖G·V_h‖ but rounding."""
        return self.left(rule) < 1e-9


def work_out(W: np.ndarray, G: np.ndarray, k: int, rule: str = "joint") -> WarmupMeasure:
    """Run every step on a weight W and a gradient G, both m×n, under every rule."""
    U, S, Vt = decompose(W)
    U_high, V_high = protect(U, Vt, k)
    projected = {name: project(G, U_high, V_high) for name, project in RULES.items()}
    return WarmupMeasure(
        W=W,
        G=G,
        k=k,
        rule=rule,
        U=U,
        S=S,
        Vt=Vt,
        U_high=U_high,
        V_high=V_high,
        projected=projected,
        removed={name: float(removed_share(G, left)) for name, left in projected.items()},
        before=pull(G, G, V_high)[0],
        after={name: pull(G, left, V_high)[1] for name, left in projected.items()},
    )


@cache
def lines_of(function: Callable) -> str:
    """The lines that a function runs, read from its source: no signature, no docstring, no closing return."""
    source = textwrap.dedent(inspect.getsource(function))
    body = ast.parse(source).body[0].body[1:-1]
    return "\n".join(ast.get_source_segment(source, statement) for statement in body)


class NumpyWarmup(Demo):
    """The tutorial's projection on a 3×3 weight, step by step, with the code that ran."""

    W = Matrix(default=WEIGHT, label="W", doc="The weight, 3×3.")
    G = Matrix(default=GRADIENT, label="G", doc="The gradient, 3×3.")
    k = Whole(default=1, bounds=(0, ORDER), label="Cut-off k", doc="How many directions are protected.")
    rule = Choice(default="joint", objects=list(RULES), label="Rule", doc="How the gradient is projected.")

    title = "A sum on the board"
    wide = True
    controls = ("W", "G", "k", "rule")
    code = (decompose, protect, *RULES.values(), removed_share, pull)
    axes = {"k": range(ORDER + 1), "rule": tuple(RULES)}

    def measure(self) -> WarmupMeasure:
        for name in ("W", "G"):
            _refuse(name, getattr(self, name))
        return work_out(self.W, self.G, self.k, self.rule)

    # Steps and picture

    def marks(self, result: WarmupMeasure) -> Marks:
        ink = palette(self.dark)
        shares = np.array([float(result.before > 0), *map(result.left, RULES)])
        lengths = [result.before, *result.after.values()]
        rows = np.arange(len(shares))[::-1]
        return {
            "bars": {
                "x0": np.zeros(len(rows)),
                "y0": rows - 0.3,
                "x1": shares,
                "y1": rows + 0.3,
                "ink": [ink.neutral, *[ink.critical] * len(RULES)],
                "alpha": [1.0, *[1.0 if rule == result.rule else 0.35 for rule in RULES]],
            },
            "lengths": {"x": shares + 0.025, "y": rows, "text": [f"{length:.4f}" for length in lengths]},
        }

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        words = {"text_align": "left", "text_baseline": "middle", "text_font_size": "14px", "text_font": MONO}
        bars = canvas.picture(
            canvas.draw(hv.Rectangles, "bars", fields={"fill_color": "ink", "fill_alpha": "alpha"}, line_color=None),
            canvas.draw(hv.Labels, "lengths", text_color=canvas.palette.text, **words),
            title="‖G·Vₕ‖, before and after",
            xlim=(0, 1.45),
            ylim=(-0.6, 3.6),
            xticks=[(0, "none"), (0.5, "half"), (1, "all of it")],
            yticks=list(enumerate(["before", *RULES][::-1])),
            height=240,
            grid=False,  # its lines would run through the numbers
            max_width=760,
        )
        bars.styles = _WHOLE_ROW
        return [self._steps, bars]

    def _controls(self) -> pn.Column:
        column = super()._controls()
        for matrix in column[:2]:  # beside each of them two rows: the cut-off and the rule
            matrix.styles = {"grid-row": "span 2"}
        return column

    @cached_property
    def _steps(self) -> pn.pane.HTML:
        pane = html(self._steps_html(self.result), "demo", styles=_WHOLE_ROW)
        pane.stylesheets = [*pane.stylesheets, _STEPS]
        return pane

    def _redraw(self) -> None:
        super()._redraw()
        if self._canvas is not None:
            self._steps.object = self._steps_html(self.result)

    def _steps_html(self, result: WarmupMeasure) -> str:
        W, G, rule = result.W, result.G, result.rule
        projected = result.projected[rule]
        removed = np.array([[result.removed[rule]]])
        before, after = np.array([[result.before]]), np.array([[result.after[rule]]])
        steps = [
            ("The weight", _literal("W", W), [("W", W, "original")]),
            ("Its singular values", lines_of(decompose), [("S", result.S[None], "text")]),
            (
                "The protected directions",
                f"k = {result.k}\n{lines_of(protect)}",
                [("U_high", result.U_high, "critical"), ("V_high", result.V_high, "critical")],
            ),
            ("The gradient", _literal("G", G), [("G", G, "text")]),
            (f"The projected gradient, {rule}", lines_of(RULES[rule]), [("projected", projected, "safe")]),
            (
                "The measurement",
                f"{lines_of(removed_share)}\n{lines_of(pull)}",
                [
                    ("removed", removed, "lora"),
                    ("pulls, G", before, "text"),
                    ("pulls, projected", after, "safe" if result.stopped(rule) else "critical"),
                ],
            ),
        ]
        items = "".join(
            f"<li><div><h3><span>{number}</span>{_html.escape(title)}</h3>"
            f"<pre tabindex='0'><code>{_html.escape(code)}</code></pre></div>"
            f"<div class='made'>{''.join(_matrix_html(*made) for made in matrices)}</div></li>"
            for number, (title, code, matrices) in enumerate(steps, start=1)
        )
        return f"<ol>{items}</ol>"

    # The words

    def readouts(self, result: WarmupMeasure) -> list[Readout]:
        other = "joint" if result.rule == "two-sided" else "two-sided"
        readouts = [Readout("‖G·Vₕ‖ before", f"{result.before:.4f}", "neutral")]
        for rule in (result.rule, other):
            stopped = result.stopped(rule)
            readouts += [
                Readout(
                    f"after, {rule}",
                    f"{result.after[rule]:.4f}",
                    "safe" if stopped else "critical",
                    "ok" if stopped else "off",
                ),
                Readout(f"‖G‖² removed, {rule}", f"{100 * result.removed[rule]:.1f} %", "lora"),
            ]
        return readouts

    def describe(self, result: WarmupMeasure) -> str:
        values = ", ".join(f"{value:.4f}" for value in result.S)
        after = "; ".join(
            f"{rule} leaves {result.after[rule]:.4f}, removing {100 * result.removed[rule]:.1f} percent of the energy"
            for rule in RULES
        )
        projected = "; ".join(", ".join(map(_number, row)) for row in result.projected[result.rule])
        return (
            f"Six steps with their code and matrices. The singular values of W are {values}; {result.k} of 3 "
            f"directions are protected. The rule is {result.rule}, and the gradient it leaves is {projected}. "
            f"Bars show the length of G V_h: {result.before:.4f} before; {after}."
        )

    def claims(self, result: WarmupMeasure) -> list[Claim]:
        left = result.left("joint")
        if result.before:
            measured = (
                f"The joint rule removes {result.removed['joint']:.1%} of this gradient’s energy and leaves "
                f"{left:.0%} of ‖G·Vₕ‖; the two-sided rule removes {result.removed['two-sided']:.1%} and leaves "
                f"{result.left('two-sided'):.0%}."
            )
        else:
            measured = "This gradient does not pull at the protected inputs at all: there is nothing to keep off."
        return [
            Claim(
                "joint-rule",
                "The projection keeps the update out of the critical directions.",
                measured,
                "holds" if result.stopped("joint") else "partly" if left < 0.5 else "fails",
                tested=result.before > 0,
            )
        ]


def _refuse(name: str, M: np.ndarray) -> None:
    """Raise ValueError for a matrix that does not fit the board."""
    if M.shape != (ORDER, ORDER):
        raise ValueError(f"{name} is {M.shape[0]}×{M.shape[1]}: give {ORDER} rows of {ORDER} numbers.")
    if np.abs(M).max() > LARGEST:
        raise ValueError(f"{name} holds {M.flat[np.abs(M).argmax()]:g}: give numbers within ±{LARGEST:,.0f}.")


def _literal(name: str, M: np.ndarray) -> str:
    """The line that makes a matrix."""
    start = f"{name} = np.array(["
    return start + (",\n" + " " * len(start)).join(str(row) for row in M.tolist()) + "])"


def _number(value: float) -> str:
    text = f"{round(value, 4) + 0.0:.4f}" if abs(value) < 1000 else f"{value:.5g}"
    return minus(text)


def _matrix_html(name: str, M: np.ndarray, concept: str) -> str:
    cells = [[_number(value) for value in row] for row in M]
    spoken = f"{name}: " + ("; ".join(", ".join(row) for row in cells) if M.size else "no direction at all")
    body = "".join(f"<span>{cell}</span>" for row in cells for cell in row) or "none"
    columns = max(M.shape[1], 1)
    return (
        f'<figure style="--concept: var(--w-{concept})"><figcaption>{name}</figcaption>'
        f'<div class="matrix" role="img" aria-label="{spoken}" style="grid-template-columns: repeat({columns}, auto)">'
        f"{body}</div></figure>"
    )
