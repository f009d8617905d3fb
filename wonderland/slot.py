"""Where a demo will stand: it is built when a reader comes near."""

from collections.abc import Callable

import panel as pn
import param
from panel.custom import JSComponent

HEIGHT = 900
"""Pixels that a demo is given before it is there, as most of them take."""


class Slot(JSComponent):
    """An empty place that says, once, that it is on screen or about to be.

    A reader who goes by keyboard is near everything: Tab would pass over what is not there.
    """

    near = param.Boolean(default=False, doc="Whether the reader has come near.")

    _esm = """
    const scroller = (el) => {
      for (let at = el; at; at = at.assignedSlot ?? at.parentElement ?? at.getRootNode().host)
        if (/auto|scroll/.test(getComputedStyle(at).overflowY)) return at
      return null
    }
    export function render({ model }) {
      const room = document.createElement('div')
      room.className = 'room'
      room.style.height = `${model.min_height}px`
      const come = () => { model.near = true }
      const onKey = (event) => { if (event.key === 'Tab') come() }
      let watch
      window.addEventListener('keydown', onKey, true)
      model.on('after_render', () => {
        // A screen's height ahead, so that the picture is there when the reader is.
        watch = new IntersectionObserver(
          (seen) => { if (seen.some((one) => one.isIntersecting)) come() },
          { root: scroller(room), rootMargin: '100% 0px' },
        )
        watch.observe(room)
      })
      model.on('remove', () => {
        watch?.disconnect()
        window.removeEventListener('keydown', onKey, true)
      })
      return room
    }
    """


def slot(build: Callable[[], pn.viewable.Viewable]) -> pn.Column:
    """A place that fills itself with what `build` makes, when a reader comes near."""
    empty = Slot(sizing_mode="stretch_width", min_height=HEIGHT, margin=0)
    place = pn.Column(empty, sizing_mode="stretch_width", margin=0)

    def fill() -> None:
        place.objects = [build()]

    # What changes before the page stands would be lost (panel 1.9.4).
    empty.param.watch(lambda _: pn.state.onload(fill), "near", onlychanged=True)
    return place
