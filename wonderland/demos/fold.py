"""A part of a card that is folded away."""

import panel as pn
import panel_material_ui as pmui
import param

_QUIET = {
    "&.MuiToggleButton-root": {
        "border": 0,
        "padding": "4px 8px",
        "marginLeft": "-8px",
        "color": "var(--w-muted)",
        "whiteSpace": "nowrap",
    },
    "&.Mui-selected": {"backgroundColor": "transparent", "color": "var(--w-text)"},
}


def fold(label: str, content: pn.viewable.Viewable) -> pn.Column:
    """A disclosure: the content is built only when it is opened."""
    toggle = pmui.Toggle(label=label, size="small", margin=0, sx=_QUIET)
    body = pn.Column(margin=0, sizing_mode="stretch_width", visible=False)

    def on_toggle(event: param.parameterized.Event) -> None:
        if not body.objects:
            body.append(content)
        body.visible = event.new

    toggle.param.watch(on_toggle, "value")
    return pn.Column(toggle, body, sizing_mode="stretch_width", margin=0, css_classes=["fold"])
