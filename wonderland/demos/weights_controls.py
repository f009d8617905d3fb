"""The controls of a checkpoint's map that no parameter is edited by: names, progress, the plan's file, the upload."""

from typing import TYPE_CHECKING

import panel as pn
import panel_material_ui as pmui
import param

from wonderland.demos.checkpoints import LARGEST_UPLOAD
from wonderland.demos.fields import FieldError
from wonderland.demos.weights_words import shortened
from wonderland.theme import html

if TYPE_CHECKING:
    from wonderland.demos.weights import WeightsExplorer

LARGEST_JSON = 2**20
"""Bytes of a file of shares."""
_LIMIT = (
    f'<p class="detail">Safetensors, up to {LARGEST_UPLOAD >> 20} MiB. Larger ones, and checkpoints in parts: '
    "<code>wonderland serve --weights PATH</code></p>"
)


def beside(demo: "WeightsExplorer") -> list[pn.viewable.Viewable]:
    """Make them for a demo."""
    small = {"size": "small", "margin": (4, 8, 4, 0)}
    names = pmui.Select(label="Layer by name", size="small", sizing_mode="stretch_width", margin=(8, 0))
    go = pmui.Button(**small, variant="outlined", on_click=lambda _: demo.stop_or_go_on())
    plan = pmui.FileDownload(**small, callback=demo.plan_file, filename="plan.json", label="The plan as JSON")
    plan.variant = "outlined"  # given above, it would be taken for a button_style too, with a warning (panel 1.9.4)
    upload = pmui.FileInput(
        **small, accept=".safetensors", max_file_size=LARGEST_UPLOAD, label="Your own file", variant="outlined"
    )
    trouble, progress = FieldError(text=demo.trouble), html("", "demo")

    def update(*_: object) -> None:
        result = demo.result
        listed = {shortened(name, 44): at for at, name in enumerate(result.listing.names, 1)}
        if names.options != listed:
            # It goes on showing the name that it had for a value, unless it had none (panel-material-ui 0.16.6).
            names.param.update(options=listed, value=None)
        names.value = result.layer
        total, done = len(result.listing.names), len(result.rows)
        go.visible = result.busy or demo.stopped
        go.label = "Stop here" if result.busy else "Go on"
        bar = f'<progress max="{total}" value="{done}" aria-label="Layers taken apart"></progress>'
        progress.object = bar if result.busy else ""
        trouble.text = demo.trouble

    def on_upload(event: param.parameterized.Event) -> None:
        if event.new:
            demo.take(upload.filename or "your file", event.new)
            trouble.text = demo.trouble
            upload.clear()  # or the server would hold it twice

    def on_name(event: param.parameterized.Event) -> None:
        if event.new:
            demo.layer = event.new

    update()
    demo.param.watch(update, "result")
    names.param.watch(on_name, "value")
    upload.param.watch(on_upload, "value")
    return [shares_field(demo), names, progress, pn.Row(go, plan, margin=0), upload, html(_LIMIT, "demo"), trouble]


def shares_field(demo: "WeightsExplorer") -> pn.Column:
    """Where a reader gives the share to keep of each layer, pasted or as a file; there while it is asked for."""
    box = pmui.TextAreaInput(
        label="Share to keep of each layer, as JSON",
        placeholder='{"layers.0.up": 0.8, "layers.0.down": 0.7}',
        size="small",
        rows=4,
        sizing_mode="stretch_width",
        margin=(8, 0, 4, 0),
    )
    file = pmui.FileInput(
        accept=".json",
        max_file_size=LARGEST_JSON,
        label="The same from a file",
        size="small",
        variant="outlined",
        margin=(4, 8, 4, 0),
    )
    wrong = FieldError()
    field = pn.Column(box, file, wrong, sizing_mode="stretch_width", margin=0)

    def take(text: str) -> None:
        try:
            demo.take_shares(text)
        except ValueError as error:
            wrong.text = f"Share to keep of each layer: {error}"
        else:
            wrong.text = ""

    def on_file(event: param.parameterized.Event) -> None:
        if event.new:
            take(event.new.decode("utf-8", errors="replace"))
            file.clear()

    def update(*_: object) -> None:
        field.visible = demo.rule == "importance" and not demo.measured

    def on_model(*_: object) -> None:
        box.value = wrong.text = ""  # another checkpoint has other layers
        update()

    update()
    box.param.watch(lambda event: take(event.new), "value")
    file.param.watch(on_file, "value")
    demo.param.watch(update, "rule")
    demo.param.watch(on_model, "model")
    return field
