"""Chapter 6: the spectra of a whole checkpoint, the reader's own or one at hand, and a plan for its layers."""

import json
from dataclasses import replace
from io import StringIO
from typing import Any

import panel as pn
import param

from wonderland.backend.headers import plain
from wonderland.backend.plan import AMOUNTS, LEAST, Plan, planned, read_shares, retained, target
from wonderland.backend.tensors import Skipped, Spectrum
from wonderland.demos import checkpoints, jobs
from wonderland.demos.base import Demo, Readout
from wonderland.demos.canvas import Canvas, Marks
from wonderland.demos.checkpoints import Alike, Listing, Rows
from wonderland.demos.parameters import Real, Whole
from wonderland.demos.weights_controls import beside
from wonderland.demos.weights_map import WeightsMeasure, layer_marks, map_marks, pictures
from wonderland.demos.weights_words import describe, details, readouts
from wonderland.theme import palette

DIGITS, VOICE = "the digits’ network", "a voice detector, Silero"


class WeightsExplorer(Demo):
    """The singular values of every layer of a checkpoint, and how many a rule would keep of each."""

    model = param.Selector(
        default="digits",
        objects={DIGITS: "digits"} | ({VOICE: "voice"} if checkpoints.voice() else {}),
        label="Checkpoint",
        doc="What to look into: the network that chapter 11 races, or your own file.",
    )
    layer = Whole(
        default=1,
        bounds=(1, None),
        softbounds=(1, 3),
        label="Layer",
        doc="The layer to look at, from the top of the map.",
    )
    rule = param.Selector(
        default="energy",
        objects={
            "energy": "energy",
            "number": "number",
            "effective rank": "effective-rank",
            "importance, the paper’s rule": "importance",
        },
        label="Choose k by",
        doc="Of every layer: its energy, one number for all, more where more directions pull, or more where a layer "
        "changes its input less.",
    )
    energy = Real(
        default=AMOUNTS["energy"],
        bounds=(0, 1),
        softbounds=(0.5, 0.99),
        step=0.01,
        label="Share of energy to hold",
        doc="k is the fewest directions that hold this share of ‖W‖².",
    )
    number = Whole(
        default=AMOUNTS["number"],
        bounds=(1, None),
        softbounds=(1, 128),
        label="k in every layer",
        doc="Less where a layer has fewer directions.",
    )
    share = Real(
        default=AMOUNTS["effective-rank"],
        bounds=(LEAST, 1),
        step=0.01,
        label="Mean share to protect",
        doc="Of each layer's directions; a layer with more of them pulling, or of more importance, gets more.",
    )

    title = "Layer by layer"
    controls = ("model", "layer", "rule", "energy", "number", "share")
    code = (planned, retained, Spectrum)
    axes = {
        "layer": (1, 2, 3),
        "rule": ("energy", "number", "effective-rank", "importance"),
        "energy": (0.5, 0.7, 0.8, 0.9, 0.95),
        "number": (4, 8, 16),
        "share": (0.4, 0.6, 0.8),
    }

    def __init__(self, **params: Any) -> None:
        self._worker = jobs.Worker(self._on_rows, self._on_end)
        self._listings: dict[str, Listing] = {}
        self._rows: Rows = {}
        self._alike: Alike | None = None
        self._shares: dict[str, dict[str, float]] = {}
        self._uploads = 0
        self.stopped = False
        self.trouble = ""
        own = self._find()
        wanted = {"model": "file" if own else "digits"}
        wanted |= {name: params.pop(name) for name in ("model", "layer") if name in params}
        super().__init__(**params)
        self.param.model.objects = self._options()  # the class's are every reader's; these are this one's
        self.param.update(**wanted)
        if self.model == "digits":  # as it was: nothing has moved that would begin
            self._follow()
            super()._on_controls()
        if self.problem:
            raise ValueError(self.problem)
        if own:
            self.param.model.default = "file"  # afterwards, or there would be no change to follow

    def _find(self) -> bool:
        """List what is at hand; say whether the server was told of a checkpoint."""
        self._listings["digits"] = checkpoints.digits()
        if path := checkpoints.voice():
            self._listings["voice"] = checkpoints.of_file(path, "Silero’s voice detector")
        path = checkpoints.configured()
        if path is None:
            return False
        try:
            self._listings["file"] = checkpoints.of_file(path)
        except ValueError as error:
            self.trouble = f"The weights this page was started with: {str(error).replace(str(path), plain(path.name))}"
        return "file" in self._listings

    def _options(self) -> dict[str, str]:
        titles = {self._upload: "yours: {}", "file": "this server’s: {}", "digits": DIGITS, "voice": VOICE}
        there = {key: title for key, title in titles.items() if key in self._listings}
        return {title.format(self._listings[key].title): key for key, title in there.items()}

    @property
    def _upload(self) -> str:
        """Key of the reader's latest file: a new one, or a select would go on showing the last one's name."""
        return f"upload {self._uploads}"

    # Numbers

    def measure(self) -> WeightsMeasure:
        listing = self._listings[self.model]
        count = len(listing.names)
        if self.layer > count:
            held = f"{count:,} matrices" if count > 1 else "1 matrix"
            raise ValueError(f"Layer = {self.layer:,} is outside 1…{count:,}: {listing.title} has {held}.")
        found = [row for name in listing.names if isinstance(row := self._rows.get(name), Spectrum)]
        return WeightsMeasure(
            listing, dict(self._rows), self.layer, self._plan(found), self._worker.busy,
            self._alike if self.measured else None, self._shares.get(self.model, {}),
        )  # fmt: skip

    def _plan(self, found: list[Spectrum]) -> Plan:
        """What the rule says of the layers found."""
        if self.rule != "importance":
            amount = {"energy": self.energy, "number": self.number, "effective-rank": self.share}[self.rule]
            return planned(found, self.rule, amount)
        if self.measured:
            amount, shares = self.share, retained(self._alike.by_layer, trr=self.share) if self._alike else {}
        else:
            amount, shares = None, self._shares.get(self.model, {})
        there = set(map(target, found))  # the rest is still to come
        shares = {name: share for name, share in shares.items() if name in there}
        if not shares:
            return Plan(self.rule, amount, ())
        return replace(planned(found, self.rule, shares=shares), amount=amount)

    @property
    def measured(self) -> bool:
        """Whether there are data with the checkpoint, to measure importance on."""
        return self.model == "digits"

    def _on_controls(self, *events: param.parameterized.Event) -> None:
        moved = {event.name for event in events}
        count = len(self._listings[self.model].names)
        if moved == {"model"} and self.layer > count:
            self.layer = 1  # moved together, as by an address, a layer that is not there is an error to report
        if "model" in moved:
            self.param.layer.softbounds = (1, count)
            self._follow()
        super()._on_controls(*events)

    def _follow(self) -> None:
        """Turn to another checkpoint; before a page stands, its spectra wait."""
        self._rows, self.stopped = {}, False
        self._worker.cancel()
        if not jobs.served() or pn.state.loaded:
            self._begin()

    def on_shown(self) -> None:
        pn.state.onload(self._on_loaded)  # the page comes first

    def _on_loaded(self) -> None:
        if not (self._worker.busy or self._rows or self.stopped):
            self._begin()
            super()._on_controls()

    def _begin(self) -> None:
        """Take the spectra that are not there yet."""
        self.stopped = False
        listing, known = self._listings[self.model], set(self._rows)
        self._worker.start(lambda: (row for row in listing.stream() if isinstance(row, Alike) or row.name not in known))

    def _on_rows(self, news: list[Spectrum | Skipped | Alike]) -> None:
        for one in news:
            if isinstance(one, Alike):
                self._alike = one
            else:
                self._rows[one.name] = one
        if self.result is not None:
            super()._on_controls()

    def _on_end(self, error: BaseException | None) -> None:
        if error:
            self.stopped = True
            self.trouble = f"The spectra could not be taken ({error})."
        if self.result is not None:
            super()._on_controls()

    def stop_or_go_on(self) -> None:
        """End the work, of which stays what came; or take it up again."""
        if self._worker.busy:
            self._worker.cancel()
            self.stopped = True
        else:
            self._begin()
        super()._on_controls()

    # Pictures

    def marks(self, result: WeightsMeasure) -> Marks:
        return map_marks(result, palette(self.dark)) | layer_marks(result.row, result.chosen, palette(self.dark))

    def pictures(self, canvas: Canvas) -> list[pn.viewable.Viewable]:
        return pictures(canvas, self._on_tap)

    def _on_tap(self, x: float, y: float) -> None:
        count = len(self.result.listing.names)
        if 0 <= y < count:
            self.layer = count - int(y)

    # Words

    def readouts(self, result: WeightsMeasure) -> list[Readout]:
        return readouts(result)

    def describe(self, result: WeightsMeasure) -> str:
        return describe(result)

    def details(self, result: WeightsMeasure) -> str:
        return details(result, self.measured)

    # Controls

    def offered(self, name: str) -> bool:
        if name == "share":
            return self.rule == "effective-rank" or (self.rule == "importance" and self.measured)
        return name not in ("energy", "number") or name == self.rule

    def _controls(self) -> pn.Column:
        column = super()._controls()
        amounts = dict(zip(self.controls, column.objects, strict=False))

        def update(*_: object) -> None:
            for name, widget in amounts.items():
                widget.visible = self.offered(name)

        update()
        self.param.watch(update, ["rule", "model"])
        return column

    def beside(self) -> list[pn.viewable.Viewable]:
        return beside(self)

    def take(self, name: str, content: bytes) -> None:
        """Look into an uploaded file; whatever is wrong with it is said, and the last checkpoint stands."""
        try:
            listing = checkpoints.of_upload(name, content)
        except ValueError as error:
            self.trouble = str(error)
            return
        self.trouble = ""
        if pn.state.curdoc and not self._uploads:
            pn.state.on_session_destroyed(lambda _: self._listings[self._upload].discard())
        self._shares.pop(self._upload, None)
        before = self._listings.pop(self._upload, None)
        self._uploads += 1
        with param.parameterized.batch_call_watchers(self):
            self._listings[self._upload] = listing
            self.param.model.objects = self._options()
            self.param.update(model=self._upload, layer=1)
        if before:
            before.discard()

    def take_shares(self, text: str) -> None:
        """Take the share to keep of each layer, as JSON; empty, there is none.

        Raises
        ------
        ValueError
            If it is no such JSON, or names a layer that is not there; the last shares stand.
        """
        if text.strip():
            self._shares[self.model] = read_shares(text, self._listings[self.model].layers)
        else:
            self._shares.pop(self.model, None)
        super()._on_controls()

    def plan_file(self) -> StringIO:
        """The plan as JSON, with ``keep`` for the engine."""
        result = self.result
        return StringIO(json.dumps({"checkpoint": result.listing.title, **result.plan.as_table()}, indent=1))
