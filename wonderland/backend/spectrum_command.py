"""``wonderland spectrum``: the spectra of a checkpoint and a plan for its layers, as a table, files and a picture."""

import csv
import io
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from wonderland.backend.command import check_outputs, hand_out
from wonderland.backend.headers import Checkpoint, plain, read_checkpoint
from wonderland.backend.heatmap import heatmap
from wonderland.backend.plan import AMOUNTS, LARGEST_SHARES, RULES, Plan, Planned, planned, read_shares
from wonderland.backend.tensors import Skipped, Spectrum

BARS = "▁▂▃▄▅▆▇█"
CURVE, NAME = 16, 44
HEAD = ("layer", "type", "m×n", "σ₁", "spectrum, σ/σ₁", "eff. rank", "k", "energy", "free")
SIDES = "<<>><>>>>"
COLUMNS = (
    "name", "type", "shape", "m", "n", "sigma_1", "sigma_last", "effective_rank", "k", "energy", "protected", "free",
    "target", "checksum", "skipped",
)  # fmt: skip


def default_cache() -> Path:
    """The folder for spectra: ``$WONDERLAND_CACHE``, else ``wonderland/spectra`` in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("WONDERLAND_CACHE") or Path(home) / "wonderland") / "spectra"


def add_arguments(parser: ArgumentParser) -> None:
    """Give a parser the flags of a spectrum; torch is not needed for it."""
    add = parser.add_argument
    add("path", type=Path, metavar="PATH", help="a safetensors file, an index, or a folder with either")
    add("--only", metavar="PATTERN", help="layers whose names match, as '*.q_proj.*'; default: all")
    add("--rule", choices=RULES, help="how k is chosen; default: energy, or importance where its shares are given")
    defaults = ", ".join(f"{rule} {amount:g}" for rule, amount in AMOUNTS.items())
    add("--amount", type=float, metavar="X", help=f"the rule's setting; default: {defaults}")
    add("--importance", type=Path, metavar="FILE.json", help="shares by layer, as adaptive_keep returns them")
    add("--csv", type=Path, metavar="FILE", help="write every tensor as a row")
    add("--json", type=Path, metavar="FILE", help="write the plan, keep= for the engine, and every singular value")
    add("--picture", type=Path, metavar="FILE.svg", help="draw the layers as a heat map")
    add("--cache", type=Path, metavar="FOLDER", help="where spectra are kept by checksum; default: the user's cache")
    add("--no-cache", action="store_true", help="keep nothing, and look nothing up")


def run(options: Namespace) -> int:
    """Take the spectra; progress goes to stderr, the table to stdout.

    Returns
    -------
    int
        0; 1 if no tensor has a spectrum, or a file could not be written in the end; 130 if it was interrupted: what
        was computed until then is shown, and kept for the next time.

    Raises
    ------
    TypeError, ValueError
        If the checkpoint cannot be read, a setting is wrong, or a file cannot be written; before anything is computed.
    """
    check_outputs(options, "path", "importance")
    shares = shares_of(options.importance) if options.importance else None
    rule = options.rule or ("importance" if shares else "energy")
    checkpoint = chosen(read_checkpoint(options.path), options.only)
    if rule != "importance":
        planned([], rule, options.amount)  # what is wrong with the amount is said at once
    elif not shares:
        planned([], rule)

    from wonderland.backend.checkpoint import spectra

    rows: list[Spectrum | Skipped] = []
    status = 0
    try:
        for row in _watched(spectra(checkpoint, None if options.no_cache else options.cache or default_cache()),
                            len(checkpoint.tensors) + len(checkpoint.missing)):  # fmt: skip
            rows.append(row)
    except KeyboardInterrupt:
        status = 130
        kept = "" if options.no_cache else " and kept: the same line goes on from here"
        print(f"\ninterrupted: {len(rows)} tensors are done{kept}.", file=sys.stderr)
    found = [row for row in rows if isinstance(row, Spectrum)]
    skipped = [row for row in rows if isinstance(row, Skipped)]
    plan = planned(found, rule, options.amount, shares)
    made = {
        "csv": lambda: as_csv(found, skipped, plan),
        "json": lambda: as_json(options.path, found, skipped, plan),
        "picture": lambda: heatmap(found, plan, options.path.name),
    }
    failed = hand_out(summary(found, skipped, plan), options, made)
    if not found and not status:
        among = f" among the tensors that match only = {options.only!r}" if options.only else ""
        print(f"{options.path} holds no matrix of numbers to take apart{among}.", file=sys.stderr)
        failed = 1
    return status or failed


def chosen(checkpoint: Checkpoint, pattern: str | None) -> Checkpoint:
    """The part of a checkpoint whose names match.

    Raises
    ------
    ValueError
        If nothing does.
    """
    if pattern is None:
        return checkpoint
    parts = [
        {name: value for name, value in part.items() if fnmatchcase(name, pattern)}
        for part in (checkpoint.tensors, checkpoint.missing)
    ]
    if not any(parts):
        some = ", ".join(plain(name, 40) for name in [*checkpoint.tensors, *checkpoint.missing][:3])
        raise ValueError(f"only = {pattern!r} matches no tensor: the first are {some}.")
    return Checkpoint(checkpoint.path, *parts)


def shares_of(path: Path) -> dict[str, float]:
    """Shares of directions by layer, from a JSON file.

    Raises
    ------
    ValueError
        If it cannot be read, is too large, or is no table of numbers.
    """
    try:
        if path.stat().st_size > LARGEST_SHARES:
            raise ValueError(
                f"importance = {path} has {path.stat().st_size:,} bytes: at most {LARGEST_SHARES:,} are read."
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"importance = {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"importance = {path} is not JSON: {error}.") from None
    try:
        return read_shares(text)
    except ValueError as error:
        raise ValueError(f"importance = {path}: {error}") from None


def summary(found: Sequence[Spectrum], skipped: Sequence[Skipped], plan: Plan) -> str:
    """A line for each layer, one for all together, and what was skipped."""
    k_of = {layer.name: layer for layer in plan.layers}
    table = [HEAD, *(_line(row, k_of.get(row.name)) for row in found)]
    widths = [max(len(line[at]) for line in table) for at in range(len(HEAD))]
    lines = [
        "  ".join(f"{cell:{side}{width}}" for cell, width, side in zip(line, widths, SIDES, strict=True))
        for line in table
    ]
    if plan.layers:
        free, whole = sum(layer.free for layer in plan.layers), sum(layer.m * layer.n for layer in plan.layers)
        rule = plan.rule if plan.amount is None else f"{plan.rule} {plan.amount:g}"
        lines.append(
            f"{len(plan.layers):,} layer{'s' * (len(plan.layers) > 1)} by {rule}: {whole - free:,} numbers protected, "
            f"{free:,} free to train ({free / whole:.1%})."
        )
    reasons: dict[str, list[str]] = {}
    for row in skipped:
        reasons.setdefault(row.reason, []).append(plain(row.name, NAME))
    for reason, names in reasons.items():
        lines.append(f"skipped, {reason}: {', '.join(names[:3])}{f' and {len(names) - 3:,} more' * (len(names) > 3)}")
    return "\n".join(line.rstrip() for line in lines)


def curve(row: Spectrum) -> str:
    """A spectrum as a row of bars, from σ₁ on the left, by σ/σ₁."""
    places = [at * (len(row.sigma) - 1) // (CURVE - 1) for at in range(CURVE)]
    return "".join(BARS[min(int(row.sigma[at] / row.sigma[0] * len(BARS)), len(BARS) - 1)] for at in places)


def as_csv(found: Sequence[Spectrum], skipped: Sequence[Skipped], plan: Plan) -> str:
    """Every tensor as a row, every number in full."""
    k_of = {layer.name: layer for layer in plan.layers}
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for row in found:
        layer = k_of.get(row.name)
        chosen = (layer.k, layer.energy, layer.protected, layer.free, layer.target) if layer else ("",) * 5
        own = (row.name, row.dtype, "×".join(map(str, row.shape)), row.m, row.n)
        measured = (float(row.sigma[0]), float(row.sigma[-1]), row.effective_rank)
        rows.writerow([*own, *measured, *chosen, row.checksum, ""])
    for row in skipped:
        rows.writerow([row.name, row.dtype, "×".join(map(str, row.shape)), *[""] * 11, row.reason])
    return out.getvalue()


def as_json(path: Path, found: Sequence[Spectrum], skipped: Sequence[Skipped], plan: Plan) -> str:
    """The plan with ``keep`` for the engine, the versions, and every tensor with all its singular values."""
    from wonderland.backend.provenance import origin, written

    rows = [_told(row) for row in [*found, *skipped]]
    for table, row in zip(rows, found, strict=False):
        table |= {"checksum": row.checksum, "effective_rank": row.effective_rank, "sigma": row.sigma.tolist()}
    for table, row in zip(rows[len(found) :], skipped, strict=True):
        table["skipped"] = row.reason
    return written(origin() | {"checkpoint": path.name} | plan.as_table(), "tensors", rows)


def _told(row: Spectrum | Skipped) -> dict[str, object]:
    return {"name": row.name, "type": row.dtype, "shape": row.shape}


def _line(row: Spectrum, layer: Planned | None) -> tuple[str, ...]:
    """A layer's cells in the table."""
    share = layer.free / (row.m * row.n) if layer else 0
    chosen = (f"{layer.k:,}", f"{layer.energy:.1%}", f"{share:.1%}") if layer else ("–",) * 3
    size, pulling = f"{row.m:,}×{row.n:,}", f"{row.effective_rank:,.1f} of {len(row.sigma):,}"
    return (_shortened(row.name), row.dtype, size, f"{row.sigma[0]:.4g}", curve(row), pulling, *chosen)


def _watched(stream: Iterator[Spectrum | Skipped], total: int) -> Iterator[Spectrum | Skipped]:
    """Hand the rows on, with a bar on stderr."""
    from tqdm import tqdm

    with tqdm(total=total, desc="spectra", unit=" tensors", file=sys.stderr, mininterval=0.5) as bar:
        for row in stream:
            yield row
            bar.set_postfix_str(_shortened(row.name), refresh=False)
            bar.update()


def _shortened(name: str) -> str:
    """A name with its middle left out where it is long: its layer and its kind stand at the ends."""
    name = plain(name, 1000)
    half = NAME // 2
    return name if len(name) <= NAME else f"{name[: half - 1]}…{name[-half:]}"
