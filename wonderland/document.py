"""The chapters and their demos as one page: contents at the side, one chapter at a time on screen."""

import html as _html
from functools import partial

import panel as pn
import panel_material_ui as pmui
import param
from panel.util import edit_readonly

import wonderland
from wonderland import address, ledger
from wonderland.demos.base import Claim, Demo
from wonderland.prose import Chapter, chapters
from wonderland.slot import slot
from wonderland.theme import DARK, LIGHT, SANS, Assets, html, palette

TITLE = "Down the Orthogonal Rabbit Hole"
LEVELS = {1: "The Surface", 2: "Deeper Down", 3: "The Wonderland"}

_FONT = """
@font-face { font-family: 'Wonderland Math'; font-display: block;
  src: url(components/wonderland.theme/Assets/_css/%s) format('woff2'); }
"""
_FOCUS = {"outline": "2px solid var(--w-original)", "outlineOffset": "2px"}
_MAIN = """
:host { width: 100%; max-height: none !important; max-width: 72rem; box-sizing: border-box;
  padding: 0 44px; margin: 0 auto !important; }
@media (max-width: 900px) { :host { padding: 0 26px; } }
@media (max-width: 600px) { :host { padding: 0 16px; } }
"""


class Document(pn.viewable.Viewer):
    """One reader's page.

    A chapter is built when it is opened, and what a demo shows when a reader comes near; the demo then lives as long
    as the session, so going back finds it as it was left.
    """

    chapter = param.Integer(default=0, bounds=(0, 13), doc="Number of the chapter on screen; 0 is the opening.")
    busy = param.Boolean(
        default=False, constant=True, doc="What the template follows in place of Panel's flag; never true."
    )

    def __init__(self, search: str = "", dark: bool = True, narrow: bool = False) -> None:
        super().__init__()
        self.demos: dict[str, Demo] = {}
        self.found: dict[str, Claim] = {}  # what the ledger measured by itself
        self._dark = dark
        self._address = address.Address(search=search)
        # A phone's drawer lies outside the page, where its colors are not known.
        self._sidebar = html("", "sidebar", styles=palette(dark).variables())
        self._main = pn.Column(sizing_mode="stretch_width", margin=0, stylesheets=[_MAIN])
        self._page = self._make_page(narrow)
        self._go(search)
        # What a reader does between the page's sending and its standing would be lost (panel 1.9.4): it waits.
        self._address.param.watch(lambda event: pn.state.onload(partial(self._on_address, event)), "search")
        self._page.param.watch(lambda event: pn.state.onload(partial(self._on_theme, event)), "dark_theme")

    def __panel__(self) -> pmui.Page:
        return self._page

    @property
    def page(self) -> pmui.Page:
        """The template, ready to be served."""
        return self._page

    def demo(self, name: str) -> Demo:
        """The session's own demo of that class, made on first use."""
        if name not in self.demos:
            demo = getattr(wonderland, name)(dark=self._dark)
            demo.param.watch(self._on_state, demo.state_names())
            self.demos[name] = demo
        return self.demos[name]

    # Address → page

    def _go(self, search: str) -> None:
        number, state, problems = address.decode(search)
        self.chapter = number
        demos = self._demos_of(number)
        if not demos:
            problems += [f"“{name}” is no control of this chapter; it is ignored." for name in state]
        for demo, own in zip(demos, address.shared(state, demos), strict=True):
            with param.parameterized.batch_call_watchers(demo):
                demo.reset()
                problems += address.apply(demo, own)
        self._show(problems)

    def _on_address(self, event: param.parameterized.Event) -> None:
        number, state, _ = address.decode(event.new)
        demos = self._demos_of(number)
        if number != self.chapter and demos and (not state or event.new == address.encode(number, *demos)):
            self.chapter = number  # a plain link, or the way back, finds the demo as it was left
            self._show([])
        elif event.new != self._here():
            self._go(event.new)

    # Page → address

    def _on_state(self, *_: object) -> None:
        if pn.state.loaded:
            self._tell_address()
        else:  # it would be lost (panel 1.9.4)
            pn.state.onload(self._tell_address)

    def _tell_address(self) -> None:
        self._address.search = self._here()

    def _here(self) -> str:
        """The present address; nothing for the opening as it first stands."""
        search = address.encode(self.chapter, *self._demos_of(self.chapter))
        return "" if search == "?chapter=0" else search

    def _demos_of(self, number: int) -> list[Demo]:
        return [self.demo(name) for kind, name in chapters()[number].parts if kind == "demo"]

    def _on_theme(self, event: param.parameterized.Event) -> None:
        self._dark = event.new
        self._sidebar.styles = palette(event.new).variables()
        for demo in self.demos.values():
            demo.dark = event.new

    # One chapter

    def _show(self, problems: list[str]) -> None:
        chapter = chapters()[self.chapter]
        pieces: list[pn.viewable.Viewable] = [html(header_html(chapter), "prose")]
        if problems:
            notices = "".join(f'<p class="notice" role="alert">{_html.escape(text)}</p>' for text in problems)
            pieces.append(html(notices, "prose"))
        for kind, content in chapter.parts:
            pieces.append(self._part(kind, content))
        pieces.append(html(turn_html(self.chapter), "prose"))
        self._main.objects = pieces
        self._sidebar.object = sidebar_html(self.chapter)
        self._address.heading = f"{chapter.title} · {TITLE}" if chapter.number else TITLE
        self._address.search = self._here()

    def _part(self, kind: str, content: str) -> pn.viewable.Viewable:
        if kind == "html":
            return html(f'<div class="prose">{content}</div>', "prose")
        if kind == "demo":
            make = partial(self._card, content)
            return slot(make) if self.chapter else make()  # the opening begins with its picture
        if kind == "contents":
            return html(f'<div class="contents">{contents_html()}</div>', "prose", margin=(0, 0, 20, 0))
        return getattr(ledger, kind)(self)

    def _card(self, name: str) -> pn.Column:
        demo = self.demo(name)
        card = pn.Column(demo, sizing_mode="stretch_width", margin=(10, 0, 34, 0))
        demo.on_shown()
        return card

    def _make_page(self, narrow: bool) -> pmui.Page:
        def mode(ink, name: str) -> dict:
            return {
                "palette": {
                    "mode": name,
                    "primary": {"main": ink.original},
                    "error": {"main": ink.critical},
                    "background": {"default": ink.page, "paper": ink.page},
                    "text": {"primary": ink.text, "secondary": ink.muted},
                    "divider": ink.edge,
                },
                "components": {
                    "MuiDrawer": {"styleOverrides": {"paper": {"backgroundImage": "none"}}},
                    "MuiButtonBase": {"styleOverrides": {"root": {"&.Mui-focusVisible": _FOCUS}}},
                    # Drawn at three quarters of its size over its field, with a gap in the border to match: 13 px.
                    "MuiInputLabel": {"styleOverrides": {"shrink": {"fontSize": "17.4px"}}},
                    "MuiOutlinedInput": {"styleOverrides": {"notchedOutline": {"fontSize": "17.4px"}}},
                },
                "typography": {"fontFamily": SANS, "button": {"textTransform": "none"}},
            }

        variables = {
            "&.mui-dark": DARK.variables(),
            "&.mui-light": LIGHT.variables(),
            "& .header": {
                "backgroundColor": "var(--w-page)",
                "backgroundImage": "none",
                "color": "var(--w-text)",
                "boxShadow": "none",
                "borderBottom": "1px solid var(--w-edge)",
            },
            "& .title": {"color": "var(--w-text)", "fontSize": "18px", "fontWeight": 500},
            "& .sidebar": {"backgroundColor": "var(--w-page)", "borderRight": "1px solid var(--w-edge)"},
            "& .main": {"backgroundColor": "var(--w-page)"},
            "@media (prefers-reduced-motion: reduce)": {
                "& *": {"transition": "none !important", "animation": "none !important"}
            },
        }
        page = pmui.Page(
            title=TITLE,
            main=[self._main, self._address],
            sidebar=[self._sidebar],
            sidebar_width=290,
            sidebar_resizable=False,
            sidebar_open=not narrow,
            dark_theme=self._dark,
            theme_config={
                "dark": mode(DARK, "dark"),
                "light": mode(LIGHT, "light"),
                "breakpoints": {"values": {"xs": 0, "sm": address.NARROW, "md": 1100, "lg": 1280, "xl": 1600}},
            },
            sx=variables,
            raw_css=[_FONT % Assets._css[0]],
            site_url="?chapter=0",
            meta_description="Orthogonal fine-tuning, explained by experiments you run yourself.",
            busy_indicator=None,
        )
        # Page follows Panel's busy flag, which turns twice for every control that any reader moves; each turn makes
        # Panel walk every model of the page (1.9.4), 20 to 40 ms before the picture is even asked for, and then ask all
        # other readers' pages. It is given a flag of its own to follow, which never turns.
        with edit_readonly(page):
            page.busy = self.param.busy
        return page


def header_html(chapter: Chapter) -> str:
    """The head of a chapter: its drawing, number and title, and what it promises."""
    number = f"{LEVELS[chapter.level]} · Chapter {chapter.number}" if chapter.number else ""
    promise = f'<p class="promise">{chapter.promise}</p>' if chapter.number else ""
    return (
        f'<header class="chapter"><div class="motif">{chapter.motif}</div><div><p class="number">{number}</p>'
        f'<h1 tabindex="-1">{chapter.title}</h1><p class="subtitle">{chapter.subtitle}</p></div>{promise}</header>'
    )


def sidebar_html(current: int) -> str:
    """The contents at the side, the present chapter marked."""

    def link(chapter: Chapter) -> str:
        here = ' aria-current="page"' if chapter.number == current else ""
        number, title = (chapter.number, chapter.title) if chapter.number else ("", "The opening")
        return f'<li><a href="?chapter={chapter.number}"{here}><span>{number}</span>{title}</a></li>'

    opening, *rest = chapters()
    blocks = [f"<ol>{link(opening)}</ol>"]
    for level, name in LEVELS.items():
        items = "".join(link(chapter) for chapter in rest if chapter.level == level)
        blocks.append(f"<p>{name}</p><ol>{items}</ol>")
    skip = '<a class="skip" href="#text">Skip to the text</a>'
    return f'{skip}<nav aria-label="Chapters">{"".join(blocks)}</nav>'


def contents_html() -> str:
    """The contents on the opening page, a column for each level."""

    def item(chapter: Chapter) -> str:
        return (
            f'<li><span>{chapter.number}</span><div><a href="?chapter={chapter.number}">{chapter.title}</a>'
            f"<small>{chapter.subtitle}</small></div></li>"
        )

    def column(level: int, name: str) -> str:
        items = "".join(item(chapter) for chapter in chapters()[1:] if chapter.level == level)
        return f"<section><h3>{name}</h3><ol>{items}</ol></section>"

    return "".join(column(level, name) for level, name in LEVELS.items())


def turn_html(current: int) -> str:
    """Links to the chapters before and after."""

    def link(number: int, label: str, relation: str) -> str:
        chapter = chapters()[number]
        return f'<a rel="{relation}" href="?chapter={number}"><small>{label}</small>{chapter.title}</a>'

    before = link(current - 1, "Previous", "prev") if current else ""
    after = link(current + 1, "Next", "next") if current + 1 < len(chapters()) else ""
    return f'<nav class="turn" aria-label="Previous and next chapter">{before}{after}</nav>'
