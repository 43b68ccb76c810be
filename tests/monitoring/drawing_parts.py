"""What the drawings of panels have in common: colours, axes, legends, lines on top of one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import DateFormatter, MinuteLocator, date2num, num2date
from matplotlib.lines import Line2D

PAGE: Final = "#111217"
PANEL: Final = "#181b1f"
EDGE: Final = "#2a2d33"
TEXT: Final = "#ccccdc"
FAINT: Final = "#8e8e9c"
PALETTE: Final = (
    "#73bf69",
    "#f2cc0c",
    "#5794f2",
    "#ff780a",
    "#f2495c",
    "#b877d9",
    "#37c6c0",
    "#ff9ed2",
    "#a6d96a",
    "#b0b7c3",
)
NAMED: Final = {
    "green": "#73bf69",
    "red": "#f2495c",
    "orange": "#ff9830",
    "blue": "#5794f2",
    "light-blue": "#8AB8FF",
    "gray": "#5f6570",
    "purple": "#b877d9",
    "text": TEXT,
}
HEAT: Final = LinearSegmentedColormap.from_list("heat", [PANEL, "#7a3b10", "#c15c17", "#ff9830", "#ffe0b5"])
LEGEND: Final[dict[str, Any]] = {
    "loc": "upper left",
    "frameon": False,
    "fontsize": 8.0,
    "handlelength": 1.0,
    "handletextpad": 0.4,
    "columnspacing": 1.0,
    "labelcolor": TEXT,
}
HANDLE: Final = 4  # characters, as wide as what stands before a name
CHARACTERS: Final = 5.6  # of the legend, in a column of the grid
NARROW: Final = 6  # columns of the grid

Lines = Sequence[tuple[str, list[float], list[float]]]
"""Names, moments and values."""


def reached(thresholds: Mapping[str, Any] | None, value: float) -> str:
    """The colour of the last threshold that the value has reached."""
    steps = (thresholds or {}).get("steps") or [{"value": None, "color": "text"}]
    return [NAMED[step["color"]] for step in steps if step["value"] is None or value >= step["value"]][-1]


def moment(at: float) -> float:
    """Seconds since the epoch as matplotlib counts time."""
    return float(date2num(datetime.fromtimestamp(at, UTC)))


def clock(axes: Axes) -> None:
    """Whole minutes, but for one so near to the left that it would meet the numbers there."""
    low, high = axes.get_xlim()
    marks = [mark for mark in MinuteLocator().tick_values(num2date(low), num2date(high)) if low < mark <= high]
    axes.set_xticks([mark for mark in marks if mark - low > (high - low) * 0.08])
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))


def bare(axes: Axes) -> None:
    """No marks at the axes."""
    axes.set_xticks([])
    axes.set_yticks([])


def stacked(axes: Axes, lines: Lines, colours: Sequence[str]) -> None:
    """Areas on top of one another."""
    x, heights = together(lines)
    names = [name for name, *_ in lines]
    axes.stackplot(x, heights, labels=names, colors=colours, alpha=0.75, lw=0)


def bars(axes: Axes, lines: Lines, colours: Sequence[str]) -> None:
    """Bars on top of one another."""
    x, heights = together(lines)
    bottom = np.zeros(len(x))
    for (name, *_), height, colour in zip(lines, heights, colours, strict=True):
        if height.any():
            axes.bar(x, height, bottom=bottom, width=(x[1] - x[0]) * 0.8, color=colour, label=name)
            bottom += height


def together(lines: Lines) -> tuple[list[float], list[Any]]:
    """All lines at the same moments, 0 where one has nothing."""
    x = sorted({at for _, times, _ in lines for at in times})
    return x, [
        np.nan_to_num([dict(zip(times, values, strict=True)).get(at, 0.0) for at in x]) for _, times, values in lines
    ]


def legend(axes: Axes, lines: Lines, width: int) -> None:
    """The names below the axes, in their order: of the largest, as many as there is room for in a panel so wide."""
    rows = 3 if width <= NARROW else 2
    largest = sorted(lines, key=lambda line: -max(np.nan_to_num(line[2]), default=0.0))
    columns = next(n for n in (3, 2, 1) if n == 1 or fits([name for name, *_ in largest[: rows * n]], n, width))
    chosen = {name for name, *_ in largest[: rows * columns] if name}
    pairs = [(handle, name) for handle, name in zip(*axes.get_legend_handles_labels(), strict=True) if name in chosen]
    if pairs:
        legend = axes.legend(*zip(*pairs, strict=True), ncols=columns, bbox_to_anchor=(-1.2 / width, -0.1), **LEGEND)
        for handle in legend.legend_handles:
            if isinstance(handle, Line2D):
                handle.set_linewidth(3)


def fits(names: Sequence[str], columns: int, width: int) -> bool:
    """Whether so many columns of names have room in a panel of a width (columns of the grid), by a guess."""
    return columns * (HANDLE + max(map(len, names), default=0)) <= width * CHARACTERS
