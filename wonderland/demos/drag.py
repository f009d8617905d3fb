"""A pointer that drags on a picture."""

from collections.abc import Callable
from typing import Any

import numpy as np
from bokeh.events import Pan, PanEnd, PanStart

_JUMP = 40  # pixels: a pointer is let go near where it was last seen, but a cancelled one ends in the window's corner


def follow_drag(figure: Any, on_drag: Callable[[float, float, str], None]) -> None:
    """Call a demo's method with the pointer's x, y and "start", "move" or "end" for every drag on a Bokeh figure.

    A finger that is to scroll the page drags for some pixels, until the browser knows and cancels the drag. Whatever
    it moved then goes back: the demo's parameters are again what they were at the start.
    """
    demo = on_drag.__self__
    before: dict[str, Any] = {}
    last = (0.0, 0.0)

    def on_start(event: PanStart) -> None:
        nonlocal last
        last = event.sx, event.sy
        before.update({name: getattr(demo, name) for name in demo.state_names()})
        on_drag(event.x, event.y, "start")

    def on_move(event: Pan) -> None:
        nonlocal last
        last = event.sx, event.sy
        on_drag(event.x, event.y, "move")

    def on_end(event: PanEnd) -> None:
        jump = np.hypot(event.sx - last[0], event.sy - last[1])
        cancelled = event.sx < 0 and jump > _JUMP
        if jump and not cancelled:  # a busy browser may tell of the last move by its end alone
            on_drag(event.x, event.y, "move")
        on_drag(event.x, event.y, "end")
        if cancelled:
            demo.param.update(**before)

    for kind, follow in ((PanStart, on_start), (Pan, on_move), (PanEnd, on_end)):
        figure.on_event(kind, follow)
