"""The page's address: which chapter, and the state of its demo.

`?chapter=3&angle=120&map=shear` says all of it; parameters at their defaults are left out.
"""

import re
from urllib.parse import parse_qsl, urlencode

import numpy as np
import param
from panel.custom import JSComponent

from wonderland.demos.base import Demo
from wonderland.demos.parameters import Matrix

NARROW = 1000
"""Pixels below which the sidebar lies over the text instead of beside it."""
LONGEST = 8000
"""Characters of an address that are read; more is refused."""


class Address(JSComponent):
    """Keeps `search` and the browser's address bar the same, and follows links to chapters in place.

    A new chapter is a new entry of the browser's history; a demo's state replaces the present entry.
    """

    search = param.String(default="", doc="The address from its question mark on.")
    heading = param.String(default="", doc="Title of the browser's tab.")

    _esm = """
    export function render({ model }) {
      // While a chapter is built, the page around it grows, and a figure that is not laid out yet is asked for its
      // measures: an error in the console, and nothing else (bokeh 3.9.2, 2026-11-25).
      const figure = Bokeh.require('models/plots/plot').PlotView.prototype
      for (const step of ['_measure_layout', '_after_layout']) {
        const take = figure[step]
        figure[step] = function () { if (this.layout) take.call(this) }
      }
      // A message that shows or hides something lays the page out, and figures are painted, while what they know of
      // their columns is half new, half old: an error, and the rest of the message is lost (bokeh 3.9.2, 2026-11-25).
      // So they wait for its end.
      const { paint } = figure
      figure.paint = function () {
        if (this.model.document?._hold_models_freeze) this.request_repaint()
        else paint.call(this)
      }
      // And every line and word of a figure asks the page's styles at each painting how it is to look, a quarter of the
      // time that takes; ours do not say.
      Bokeh.require('core/visuals/visual').VisualProperties.prototype._get_css_value = () => ''
      const chapter = (search) => new URLSearchParams(search).get('chapter') || '0'
      const find = (selector, root = document) => {
        const hosts = [...root.querySelectorAll('*')].filter((el) => el.shadowRoot)
        return root.querySelector(selector) ?? hosts.reduce((hit, el) => hit ?? find(selector, el.shadowRoot), null)
      }
      const top = () => find('.main-content')?.scrollTo(0, 0)
      const focused = (el = document.activeElement) => el?.shadowRoot?.activeElement
        ? focused(el.shadowRoot.activeElement) : el
      // The chapter is laid out more than once while it arrives, and each time the focus falls to the floor.
      const toHeading = (tries = 30, arrived = false) => {
        const h1 = find('header.chapter h1')
        const here = h1 && model.heading.startsWith(h1.textContent)
        const free = !arrived || !focused()?.matches('a, button, input, [tabindex]')
        if (here && free) h1.focus({ preventScroll: true })
        if (tries) setTimeout(() => toHeading(tries - 1, arrived || here), 80)
      }
      // The contents lie beside the text, or over it and closed: what only the browser knows, it sets itself.
      const narrow = window.matchMedia('(max-width: %dpx)')
      const whenPage = (act) => {
        const roots = (window.Bokeh?.documents ?? []).flatMap((doc) => doc.roots())
        const page = roots.find((root) => root.data?.sidebar_open != null)
        if (page) act(page.data)
        else setTimeout(whenPage, 50, act)
      }
      const fitDrawer = () => whenPage((page) => { page.sidebar_open = !narrow.matches })
      // The theme that a reader chose is theirs on the next visit, too: the cookie tells the server, which builds the
      // page in it.
      whenPage((page) => {
        const keep = () => {
          const theme = page.dark_theme ? 'dark' : 'light'
          window.localStorage.setItem('wonderland-theme', theme)
          document.cookie = `wonderland-theme=${theme}; path=/; max-age=31536000; SameSite=Lax`
        }
        const chosen = window.localStorage.getItem('wonderland-theme')
        if (chosen) { page.dark_theme = chosen === 'dark'; keep() }
        page.properties.dark_theme.change.connect(keep)
      })
      const onClick = (event) => {
        if (event.defaultPrevented || event.button) return
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return
        const link = event.composedPath().find((node) => node.tagName === 'A')
        const href = link?.getAttribute('href')
        if (href === '#text') { event.preventDefault(); top(); toHeading() }
        if (!href?.startsWith('?chapter=')) return
        event.preventDefault()
        if (href !== window.location.search) model.search = href
        top()
        if (narrow.matches) fitDrawer()
      }
      const onPop = () => { model.search = window.location.search }
      document.addEventListener('click', onClick)
      window.addEventListener('popstate', onPop)
      model.on('search', () => {
        if (window.location.search === model.search) return
        const turned = chapter(window.location.search) !== chapter(model.search)
        const url = window.location.pathname + model.search
        window.history[turned ? 'pushState' : 'replaceState']({}, '', url)
      })
      const name = () => { if (model.heading) document.title = model.heading }
      model.on('heading', () => { name(); top(); toHeading() })
      model.on('remove', () => {
        document.removeEventListener('click', onClick)
        window.removeEventListener('popstate', onPop)
      })
      name()
      // What could not be read of an address is no part of it.
      if (window.location.search !== model.search) {
        window.history.replaceState({}, '', window.location.pathname + model.search)
      }
      narrow.addEventListener('change', fitDrawer)
      fitDrawer()
      const empty = document.createElement('div')
      empty.hidden = true
      return empty
    }
    """.replace("%d", str(NARROW - 1))


def encode(chapter: int, *demos: Demo | None) -> str:
    """The address of a chapter with its demos' state, from the question mark on."""
    state = {name: text for demo in demos if demo for name, text in _changed(demo).items()}
    return "?" + urlencode({"chapter": chapter, **state})


def decode(search: str) -> tuple[int, dict[str, str], list[str]]:
    """Read an address.

    Returns
    -------
    chapter, state, problems
        The chapter's number, the demo's parameters as text, and what could not be read, in words.
    """
    if len(search) > LONGEST:
        return (
            0,
            {},
            [f"The address has {len(search):,} characters; at most {LONGEST:,} are read. Here is the start."],
        )
    state = dict(parse_qsl(search.lstrip("?"), keep_blank_values=True))
    text = state.pop("chapter", "0")
    if not re.fullmatch("[0-9]|1[0-3]", text):
        return 0, {}, [f"The address asks for chapter “{text[:40]}”; there are 1…13. Here is the opening."]
    return int(text), state, []


def apply(demo: Demo, state: dict[str, str]) -> list[str]:
    """Set a demo's parameters from an address; what cannot be set stays as it was and is reported in words."""
    problems = []
    for name, text in state.items():
        if name not in demo.state_names():
            problems.append(f"“{name}” is no control of {demo.title}; it is ignored.")
            continue
        try:
            setattr(demo, name, _value(demo.param[name], text))
        except ValueError as problem:
            problems.append(f"From the address: {problem}")
    return problems


def shared(state: dict[str, str], demos: list[Demo]) -> list[dict[str, str]]:
    """What of an address each demo of a chapter gets: its own names, and the first demo what none has.

    Demos of one chapter share no name; if they did, the first would get it.
    """
    owners = {name: n for n, demo in reversed(list(enumerate(demos))) for name in demo.state_names()}
    return [{name: text for name, text in state.items() if owners.get(name, 0) == n} for n in range(len(demos))]


def _changed(demo: Demo) -> dict[str, str]:
    changed = {}
    for name in demo.state_names():
        parameter, value = demo.param[name], getattr(demo, name)
        if np.array_equal(value, parameter.default):
            continue
        changed[name] = _text(value)
    return changed


def _text(value: object) -> str:
    if isinstance(value, np.ndarray):
        # Every digit: a repaired matrix would come back broken if it were rounded.
        return ";".join(",".join(repr(cell).removesuffix(".0") for cell in row) for row in value.tolist())
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _value(parameter: param.Parameter, text: str) -> object:
    if isinstance(parameter, Matrix):
        try:
            rows = [[float(cell) for cell in row.split(",")] for row in text.split(";")]
            return np.array(rows)
        except ValueError:
            raise ValueError(f"{parameter.label} is “{text[:60]}”: give rows like 1,0;0,1.") from None
    if isinstance(parameter, param.Boolean):
        if text not in ("True", "False"):
            raise ValueError(f"{parameter.label} is “{text[:60]}”: give True or False.")
        return text == "True"
    if isinstance(parameter, param.Selector):
        for value in parameter.objects:
            if str(value) == text:
                return value
        raise ValueError(f"{parameter.label} is “{text[:60]}”: give one of {', '.join(map(str, parameter.objects))}.")
    return text
