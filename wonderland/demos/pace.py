"""Never ahead of the browser: what a reader asks for waits until the picture before has been painted."""

import time
from collections.abc import Callable
from typing import Any

import panel as pn
import param
from panel.custom import JSComponent

from wonderland.demos import jobs

PATIENCE = 0.6
"""Seconds after which a browser that has not answered is no longer waited for: a hidden page paints nothing."""


class Pace(JSComponent):
    """Keeps one picture under way at a time, and of the wishes that come meanwhile the latest of each kind.

    A slider sends a value with every move, faster than many a machine can draw. Played one after another, the values
    would still be arriving seconds after the hand has stopped.
    """

    sent = param.Integer(default=0, doc="Pictures that have set out for the browser.")
    painted = param.Integer(default=0, doc="The last of them that the browser has painted.")

    _esm = """
    export function render({ model }) {
      const nothing = document.createElement('div')
      nothing.hidden = true
      // A figure takes the focus and does nothing with it: the sliders do all that its handles do.
      const mute = (root) => {
        for (const el of root.querySelectorAll('*')) {
          if (el.matches('.bk-events')) el.tabIndex = -1
          if (el.shadowRoot) mute(el.shadowRoot)
        }
      }
      const tidy = () => {
        let host = nothing.getRootNode().host
        while (host && !host.classList.contains('demo')) host = host.getRootNode().host
        if (host) mute(host.shadowRoot)
      }
      for (const wait of [200, 1000, 3000]) setTimeout(tidy, wait)
      model.on('sent', () => requestAnimationFrame(() => setTimeout(() => { model.painted = model.sent; tidy() }, 0)))
      return nothing
    }
    """

    def __init__(self, **params: Any) -> None:
        super().__init__(width=0, height=0, margin=0, **params)
        self._waiting: dict[str, Callable[[], object]] = {}
        self._since = 0.0
        self._timer: Any = None
        self.param.watch(lambda _: self._go(), "painted")

    def do(self, kind: str, action: Callable[[], object]) -> None:
        """Act now if nothing is under way, else when it has arrived; of each kind the latest action counts."""
        self._waiting[kind] = action
        if not self._under_way():
            self._go()
        elif self._timer is None:
            self._timer = pn.state.curdoc.add_timeout_callback(self._give_up, int(1000 * PATIENCE))

    def set_out(self) -> None:
        """A picture is on its way."""
        self._since = time.monotonic()
        self.sent += 1

    def flush(self) -> None:
        """Act on whatever is waiting: something else is about to happen that builds on it."""
        self._go()

    def _under_way(self) -> bool:
        return jobs.served() and self.painted < self.sent and time.monotonic() - self._since < PATIENCE

    def _give_up(self) -> None:
        self._timer = None
        self._go()

    def _go(self) -> None:
        if self._timer is not None:
            pn.state.curdoc.remove_timeout_callback(self._timer)
            self._timer = None
        waiting, self._waiting = self._waiting, {}
        for action in waiting.values():
            action()
