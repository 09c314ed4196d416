"""Figures of studies: panels in a row, lines with error bars, one legend for all panels."""

from collections.abc import Collection, Sequence
from typing import Any

from plotly.graph_objects import Figure
from plotly.subplots import make_subplots

# Okabe and Ito's colours, darkened to be legible on white; the page has its own for dark mode
COLOURS = ("#0072b2", "#c24e00", "#00795a", "#9b3f7e", "#7a5f00")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up")
NUMBER = ".4~g"


def panels(*titles: str, x: str, log: str = "") -> Figure:
    """Empty panels side by side; `log` names the logarithmic axes, "x", "y" or "xy"."""
    figure = make_subplots(1, len(titles), subplot_titles=titles, horizontal_spacing=0.1)
    figure.update_layout(template="none", hovermode="closest")
    figure.update_xaxes(title_text=x, type="log" if "x" in log else "linear")
    figure.update_yaxes(
        type="log" if "y" in log else "linear",
        exponentformat="power",
        rangemode="normal" if "y" in log else "tozero",
    )
    return figure


def line(
    figure: Figure,
    panel: int,
    name: str,
    x: Sequence[float | str],
    y: Sequence[float],
    sd: Sequence[float | None] | None = None,
    *,
    shown: bool = True,
) -> None:
    """Add a line to panel 1, 2, …; lines of one name look alike and share an entry of the legend.

    `sd` are the half lengths of the error bars; lines not `shown` are hidden until chosen in the
    legend.
    """
    drawn: Any = figure.data
    known = {trace.name: trace.meta for trace in drawn}
    look = known[name] if name in known else _free_look(known.values(), shown)
    dash, symbol = _dash_and_symbol(look)
    spread = [value or 0.0 for value in sd] if sd is not None else None
    said = f"%{{x}}: %{{y:{NUMBER}}}"
    if spread is not None:
        said += f" ± %{{error_y.array:{NUMBER}}}"
    figure.add_scatter(
        x=list(x),
        y=list(y),
        error_y=None if spread is None else {"type": "data", "array": spread, "width": 3},
        name=name,
        legendgroup=name,
        showlegend=name not in known,
        visible=True if shown else "legendonly",
        mode="lines+markers",
        line={"color": COLOURS[look % len(COLOURS)], "dash": dash, "width": 2},
        marker={"symbol": symbol, "size": 8},
        hovertemplate=f"{said}<extra>{name}</extra>",
        meta=look,
        row=1,
        col=panel,
    )


def _free_look(taken: Collection[int], shown: bool) -> int:
    """The first free look. One of each colour is kept for lines that are shown at first."""
    look = 0 if shown else len(COLOURS)
    while look in taken:
        look += 1
    return look


def _dash_and_symbol(look: int) -> tuple[str, str]:
    """Lines of one colour differ in both until all dashes are in use, then in their marks."""
    turn, colour = divmod(look, len(COLOURS))
    dash = (colour + turn) % len(DASHES)
    return DASHES[dash], SYMBOLS[(dash + turn // len(DASHES)) % len(SYMBOLS)]
