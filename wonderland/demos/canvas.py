"""HoloViews figures that are drawn once and then fed in place.

A `DynamicMap` rebuilds every element on every change, about 5 ms an element; a figure here hands its new columns
straight to the Bokeh sources that HoloViews made, which costs well under a millisecond and never flickers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.core.property.vectorization import Field, Value
from bokeh.events import Tap
from bokeh.models import Patches
from holoviews.plotting.bokeh.plot import BokehPlot

from wonderland.demos.drag import follow_drag
from wonderland.theme import MONO, SANS, Palette

Columns = Mapping[str, Sequence[Any] | np.ndarray]
Marks = Mapping[str, Columns]

hv.Store.set_current_backend("bokeh")

HINT = "hint"
"""The mark of words on what a pointer does in a picture; a recording, where it does nothing, leaves it out."""
SHORT = 256
"""Numbers in an array, at most, that reach the browser sooner written out: an array is two messages of its own."""


class Canvas:
    """Draws the marks of one demo in one palette and keeps them up to date.

    Parameters
    ----------
    marks
        For every mark its columns: the element's key dimensions first (`x`, `y` for points; `x0`, `y0`, `x1`, `y1`
        for segments and rectangles; `x`, `y`, text for labels), any columns that style it after them.
    palette
        The colors to draw in.
    """

    def __init__(self, marks: Marks, palette: Palette) -> None:
        self.palette = palette
        self.marks = dict(marks)
        self._plots: dict[str, list[BokehPlot]] = {name: [] for name in marks}
        self._framed: dict[str, list[BokehPlot]] = {}

    def draw(self, element: type[hv.Element], mark: str, fields: Mapping[str, str] | None = None, **opts: Any) -> Any:
        """A HoloViews element showing one mark.

        Parameters
        ----------
        element
            `hv.Points`, `hv.Segments`, `hv.Rectangles`, `hv.Labels`, `hv.Curve`, `hv.Path`, …; for `hv.Image` the
            columns are those of Bokeh's image glyph: image (one matrix, its first row lowest), x, y, dw, dh; for
            `hv.Path` and `hv.Polygons`, which are without holes here, xs and ys hold a whole line each.
        mark
            Name of the mark.
        fields
            Glyph properties that follow a column, for example ``{"fill_color": "ink"}``.
        **opts
            HoloViews options.
        """
        columns = self.marks[mark]
        names = list(columns)
        keys = len(element.param.kdims.default)
        values = 1 if issubclass(element, hv.Curve | hv.Labels | hv.Scatter) else 0

        # HoloViews would take a family of fonts for the name of a column.
        font = opts.pop("text_font", SANS) if issubclass(element, hv.Labels) else None

        def connect(plot: BokehPlot, _: object) -> None:
            glyph = plot.handles["glyph"]
            for name, column in (fields or {}).items():
                setattr(glyph, name, Field(column))
            if issubclass(element, hv.Rectangles):
                renderer = plot.handles["glyph_renderer"]
                variants = [renderer.selection_glyph, renderer.nonselection_glyph, renderer.muted_glyph]
                for side, column in zip(("left", "bottom", "right", "top"), names, strict=False):
                    for quad in (glyph, *filter(None, variants)):
                        setattr(quad, side, Field(column))
            if issubclass(element, hv.Polygons):  # HoloViews is prepared for holes, which would nest the columns
                look = {name: getattr(glyph, name) for name in ("fill_color", "fill_alpha", "line_color")}
                patches = Patches(xs=Field(names[0]), ys=Field(names[1]), **look)
                others = dict.fromkeys(("selection_glyph", "nonselection_glyph", "muted_glyph"))
                plot.handles["glyph_renderer"].update(glyph=patches, **others)
            if issubclass(element, hv.Curve):
                glyph.line_join = "round"  # the default draws thorns where points lie on a straight line
            if font:
                glyph.text_font = Value(font)
            plot.handles["source"].update(name=mark, data=_written(self.marks[mark]))
            self._plots[mark].append(plot)

        if issubclass(element, hv.Image):
            x, y, dw, dh = (columns[name][0] for name in ("x", "y", "dw", "dh"))
            made = element(columns["image"][0][::-1], bounds=(x, y, x + dw, y + dh))
            return made.opts(hooks=[connect], apply_ranges=False, **opts)
        if issubclass(element, hv.Path):
            data: Any = [np.column_stack(line) for line in zip(*(columns[name] for name in names[:2]), strict=True)]
        else:
            data = {name: list(columns[name]) for name in names[: keys + values]}
        made = element(data, kdims=names[:keys], vdims=names[keys : keys + values])
        return made.opts(hooks=[connect], apply_ranges=False, **opts)

    def picture(
        self,
        *elements: hv.Element,
        xlim: tuple[float, float],
        ylim: tuple[float, float],
        square: bool = False,
        height: int = 320,
        xlabel: str = "",
        ylabel: str = "",
        title: str = "",
        hint: str = "",
        xticks: Any = None,
        yticks: Any = None,
        logx: bool = False,
        logy: bool = False,
        xformat: str = "",
        bare: bool = False,
        grid: bool = True,
        frame: str = "",
        min_width: int = 240,
        max_width: int = 620,
        on_drag: Callable[[float, float, str], None] | None = None,
        on_tap: Callable[[float, float], None] | None = None,
    ) -> pn.pane.HoloViews:
        """A pane with the elements on fixed axes.

        Parameters
        ----------
        *elements
            What `draw` made, back to front.
        xlim, ylim
            Fixed limits.
        square
            One unit is as long on both axes; give limits of equal span.
        height
            Height in pixels of a picture that is not square.
        title, hint
            What stands above; the hint is what a pointer does there.
        xticks, yticks
            Where the ticks are; an empty `yticks` leaves the y axis and its grid out.
        xformat
            How numbers at the horizontal axis are written, in the manner of C's printf; else as Bokeh does.
        bare
            No axes and no grid.
        grid
            Lines at the ticks.
        frame
            Name of a mark with columns x and y, two limits each, that the limits follow; for a picture whose scale
            depends on what is chosen. A column ticks moves those of the horizontal axis; `xticks` must be given.
        on_drag
            A method of the demo, called with the pointer's x, y and "start", "move" or "end"; see `demos.drag`.
        on_tap
            Called with the x, y of a click.
        """

        def dress(plot: BokehPlot, _: object) -> None:
            self._dress(plot.state, bare)
            plot.state.xgrid.visible = grid
            plot.state.ygrid.visible = grid and (yticks is None or len(yticks) > 0)
            if square:
                _even_borders(plot.state, bare, bool(title), bool(xlabel), bool(ylabel))
            plot.state.title.tags = [title]
            if frame:
                plot.state.tags = [f"frame: {frame}"]  # for a recording, where no Python follows it
                _reframe(plot.state, self.marks[frame])
                self._framed.setdefault(frame, []).append(plot)
            if on_drag:
                follow_drag(plot.state, on_drag)
            if on_tap:
                plot.state.on_event(Tap, lambda e: on_tap(e.x, e.y))

        opts: dict[str, Any] = {"aspect": 1} if square else {"height": height}
        if xticks is not None:
            opts["xticks"] = xticks
        if yticks is not None:
            opts |= {"yticks": yticks} if len(yticks) else {"yaxis": None}
        if xformat:
            opts["xformatter"] = xformat
        if bare:
            opts |= {"xaxis": None, "yaxis": None}
        overlay = hv.Overlay(elements).opts(
            hooks=[dress],
            xlim=xlim,
            ylim=ylim,
            responsive=True,
            toolbar=None,
            default_tools=[],
            show_legend=False,
            show_grid=not bare,
            show_frame=False,
            xlabel=xlabel,
            ylabel=ylabel,
            title=f"{title} — {hint}" if hint else title,
            logx=logx,
            logy=logy,
            **opts,
        )
        return pn.pane.HoloViews(
            overlay,
            sizing_mode="stretch_width",
            min_width=min_width,
            max_width=max_width,
            theme=None,
            # A finger that sets out sideways drags; one that sets out up or down still scrolls the page.
            styles={"touch-action": "pan-y"} if on_drag else {},
            linked_axes=False,  # else pictures beside one another take the widest limits of all
            margin=0,
        )

    def feed(self, marks: Marks) -> None:
        """Show new marks: only columns that changed travel."""
        stale = []
        for name, columns in marks.items():
            if _same(columns, self.marks[name]):
                continue
            self.marks[name] = columns
            self._plots[name] = _on_page(self._plots[name])
            if name in self._framed:
                self._framed[name] = _on_page(self._framed[name])
                for plot in self._framed[name]:
                    _reframe(plot.state, columns)
            for plot in self._plots[name]:
                plot.handles["source"].data = _written(columns)
                if plot.root not in [p.root for p in stale]:
                    stale.append(plot)
        for plot in stale:
            plot.push()  # notebooks; a server's document sends by itself

    def _dress(self, figure: Any, bare: bool) -> None:
        ink = self.palette
        figure.output_backend = "canvas"  # WebGL earns nothing on so few marks, and a page may hold few of its contexts
        figure.background_fill_alpha = figure.border_fill_alpha = 0
        figure.outline_line_color = None
        figure.frame_align = False  # else a neighbor's long labels would make this frame narrower, too
        figure.toolbar.tools = []
        figure.min_border = 0 if bare else 12
        figure.title.text_font = SANS
        figure.title.text_font_size = "14px"
        figure.title.text_font_style = "normal"
        figure.title.text_color = ink.muted
        for grid in figure.grid:
            grid.grid_line_color = None if bare else ink.grid
        for axis in figure.axis:
            axis.axis_line_color = None
            axis.major_tick_line_color = None
            axis.minor_tick_line_color = None
            axis.major_label_text_color = ink.muted
            axis.major_label_text_font = MONO
            axis.major_label_text_font_size = "13px"
            axis.axis_label_text_color = ink.muted
            axis.axis_label_text_font = SANS
            axis.axis_label_text_font_size = "13px"
            axis.axis_label_text_font_style = "normal"


def _on_page(plots: list[BokehPlot]) -> list[BokehPlot]:
    """Let go of plots that left the page, as another chapter came; before the page is up, none is on it."""
    return [plot for plot in plots if plot.state.document is not None] or plots


def _even_borders(figure: Any, bare: bool, title: bool, xlabel: bool, ylabel: bool) -> None:
    """Borders as wide together as they are high, so that the frame of a square figure is square."""
    left, right, top, bottom = (10, 10, 10, 10) if bare else (34 + 22 * ylabel, 12, 12, 26 + 22 * xlabel)
    top += 16 * title
    spare = left + right - top - bottom
    figure.min_border_left, figure.min_border_right = left, right + max(0, -spare)
    figure.min_border_top, figure.min_border_bottom = top, bottom + max(0, spare)


def _reframe(figure: Any, limits: Columns) -> None:
    for limited, name in ((figure.x_range, "x"), (figure.y_range, "y")):
        start, end = limits[name]
        limited.update(start=start, end=end)
    if "ticks" in limits:
        figure.xaxis[0].ticker.ticks = list(limits["ticks"])


def _written(columns: Columns) -> dict[str, Any]:
    """Columns as they reach the browser soonest: short arrays as plain numbers."""

    def written(column: Any) -> Any:
        if isinstance(column, np.ndarray):
            return column.tolist() if column.ndim == 1 and column.size <= SHORT else column
        if len(column) and isinstance(column[0], np.ndarray):
            return [written(row) for row in column]
        return column

    return {name: written(column) for name, column in columns.items()}


def _same(new: Columns, old: Columns) -> bool:
    return new.keys() == old.keys() and all(np.array_equal(new[name], old[name]) for name in new)
