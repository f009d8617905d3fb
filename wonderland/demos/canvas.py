"""HoloViews figures that are drawn once and then fed in place.

A `DynamicMap` rebuilds every element on every change, about 5 ms an element; a figure here hands its new columns
straight to the Bokeh sources that HoloViews made, which costs well under a millisecond and never flickers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.core.property.vectorization import Field
from bokeh.events import Pan, PanEnd, PanStart, Tap
from holoviews.plotting.bokeh.plot import BokehPlot

from wonderland.theme import MONO, SANS, Palette

Columns = Mapping[str, Sequence[Any] | np.ndarray]
Marks = Mapping[str, Columns]

hv.Store.set_current_backend("bokeh")


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

    def draw(self, element: type[hv.Element], mark: str, fields: Mapping[str, str] | None = None, **opts: Any) -> Any:
        """A HoloViews element showing one mark.

        Parameters
        ----------
        element
            `hv.Points`, `hv.Segments`, `hv.Rectangles`, `hv.Labels`, `hv.Curve`, `hv.Path`, …
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

        def connect(plot: BokehPlot, _: object) -> None:
            for name, column in (fields or {}).items():
                setattr(plot.handles["glyph"], name, Field(column))
            plot.handles["source"].update(name=mark, data=dict(self.marks[mark]))
            self._plots[mark].append(plot)

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
        xticks: Any = None,
        yticks: Any = None,
        logx: bool = False,
        bare: bool = False,
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
        bare
            No axes and no grid.
        on_drag
            Called with the pointer's x, y and "start", "move" or "end".
        on_tap
            Called with the x, y of a click.
        """

        def dress(plot: BokehPlot, _: object) -> None:
            self._dress(plot.state, bare)
            if on_drag:
                for event, phase in ((PanStart, "start"), (Pan, "move"), (PanEnd, "end")):
                    plot.state.on_event(event, lambda e, phase=phase: on_drag(e.x, e.y, phase))
            if on_tap:
                plot.state.on_event(Tap, lambda e: on_tap(e.x, e.y))

        opts: dict[str, Any] = {"aspect": 1} if square else {"height": height}
        if xticks is not None:
            opts["xticks"] = xticks
        if yticks is not None:
            opts["yticks"] = yticks
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
            title=title,
            logx=logx,
            **opts,
        )
        return pn.pane.HoloViews(
            overlay,
            sizing_mode="stretch_width",
            min_width=min_width,
            max_width=max_width,
            theme=None,
            margin=0,
        )

    def feed(self, marks: Marks) -> None:
        """Show new marks: only columns that changed travel."""
        stale = []
        for name, columns in marks.items():
            if _same(columns, self.marks[name]):
                continue
            self.marks[name] = columns
            # Plots that left the page (another chapter came) are let go; before the page is up, none is on it.
            on_page = [plot for plot in self._plots[name] if plot.state.document is not None]
            self._plots[name] = on_page or self._plots[name]
            for plot in self._plots[name]:
                plot.handles["source"].data = dict(columns)
                if plot.root not in [p.root for p in stale]:
                    stale.append(plot)
        for plot in stale:
            plot.push()  # notebooks; a server's document sends by itself

    def _dress(self, figure: Any, bare: bool) -> None:
        ink = self.palette
        figure.background_fill_alpha = figure.border_fill_alpha = 0
        figure.outline_line_color = None
        figure.toolbar.tools = []
        figure.min_border = 0 if bare else 12
        figure.title.text_font = SANS
        figure.title.text_font_size = "14px"
        figure.title.text_font_style = "normal"
        figure.title.text_color = ink.muted
        for grid in figure.grid:
            grid.grid_line_color = ink.grid
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


def _same(new: Columns, old: Columns) -> bool:
    return new.keys() == old.keys() and all(np.array_equal(new[name], old[name]) for name in new)
