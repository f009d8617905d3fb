"""The tutorial's comparison of OFT, LoRA and OSFT, with what did not hold corrected beside it."""

from dataclasses import dataclass

from wonderland.maths import counting

INPUTS, OUTPUTS, RANK, BLOCK = 512, 256, 16, 16
METHODS = ("OFT", "LoRA", "OSFT")


@dataclass(frozen=True)
class Cell:
    """What the tutorial says; where it does not hold, what does, and the chapter and source that say so."""

    tale: str
    corrected: str = ""
    chapter: int = 0
    source: str = ""


def comparison_html() -> str:
    """The comparison as an HTML table in a scrolling frame; its counts are computed for one layer, 512→256."""
    head = "".join(f'<th scope="col">{method}</th>' for method in METHODS)
    rows = "".join(
        f'<tr><th scope="row">{question}</th>{"".join(_td(cell) for cell in cells)}</tr>'
        for question, cells in comparison().items()
    )
    caption = "Three methods as the tale compares them. Struck out is what did not hold; beside it, what does."
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Comparison of OFT, LoRA and OSFT">'
        f'<table class="comparison"><caption>{caption}</caption><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def comparison() -> dict[str, tuple[Cell, Cell, Cell]]:
    """The tutorial's rows, each with its cells for OFT, LoRA and OSFT."""
    n, m = INPUTS, OUTPUTS
    half = min(n, m) // 2
    full, oft = counting.full(n, m), counting.oft(n, m, block=BLOCK)
    factored, core = counting.osft_factored(n, m, half), counting.osft_core(n, m, half)
    return {
        "Approach": (
            Cell("turns the weight, W·R"),
            Cell("adds a product of low rank, W + BA"),
            Cell(
                "orthogonal, and protects a subspace",
                "Nothing in it is turned: only the update is kept clear of the protected directions.",
                5,
            ),
        ),
        "Preserves geometry": (
            Cell(
                "yes",
                "The angles between the neurons, exactly. What the neurons answer moves.",
                4,
                "arXiv 2306.07280",
            ),
            Cell("no"),
            Cell(
                "yes",
                "No: it preserves the protected triplets, if the update is constrained on both sides.",
                7,
                "arXiv 2504.07097",
            ),
        ),
        "Catastrophic forgetting": (
            Cell("reduced", "Not by its geometry: angles kept are not a task kept.", 4),
            Cell("possible"),
            Cell(
                "eliminated",
                "No: “near-negligible”, its authors write, and a race shows how near.",
                11,
                "arXiv 2504.07097",
            ),
        ),
        "Best for": (
            Cell("a neighboring domain; few examples"),
            Cell("fine-tuning language models in general"),
            Cell("tasks one after another; many tasks"),
        ),
        f"Parameters; for {n}→{m}, rank {RANK}, of {full:,}": (
            Cell(
                f"rank²: {counting.rank_squared(RANK):,}",
                f"in·(b − 1)/2: {oft:,} with blocks of {BLOCK}.",
                10,
                "arXiv 2306.07280, as peft builds it",
            ),
            Cell(f"rank·(in + out): {counting.lora(n, m, RANK):,}"),
            Cell(
                "rank², with some overhead for the SVD",
                f"(min(in, out) − k)·(in + out + 1) factored, (out − k)·(in − k) as C: {factored:,} and {core:,} "
                f"with half of the directions protected.",
                10,
                "arXiv 2504.07097; factored, as peft builds it",
            ),
        ),
    }


def _td(cell: Cell) -> str:
    if not cell.corrected:
        return f"<td>{cell.tale}</td>"
    link = f'<a href="?chapter={cell.chapter}">chapter {cell.chapter}</a>'
    where = f"{link}; {cell.source}" if cell.source else link
    return f'<td><del>{cell.tale}</del> <ins class="corrected">{cell.corrected}</ins> <small>({where})</small></td>'
