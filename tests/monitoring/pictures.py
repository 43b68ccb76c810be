"""Draws docs/pictures: `python -m tests.monitoring.pictures [SECONDS]` starts a cluster, an operator with runs of every
fate and a Prometheus, watches them for so long (180 if not said), and draws rows of the dashboard from what was seen.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from tests.cluster.commands import program
from tests.cluster.lifecycle import started
from tests.monitoring import grafana
from tests.monitoring.drawing import Canvas
from tests.monitoring.drawing_parts import EDGE, NARROW, PAGE, PANEL, TEXT
from tests.monitoring.watched import watched
from tools.dashboard.__main__ import COLUMNS, REPOSITORY
from tools.dashboard.queries import OPERATOR

TARGET: Final = REPOSITORY / "docs" / "pictures"
PICTURES: Final = {
    "runs": ("Open runs", "Progress by run"),
    "work": ("Throughput", "Failures", "Duration of children"),
    "operator": ("Operator health", "Operator at work"),
}
DPI: Final = 130
WIDTH: Final = 11.5  # inches
CELL: Final = 0.3  # inches: the height of a row of the grid
MARGIN: Final = 0.06  # inches
COLOURS: Final = 200  # of a picture: a third of the size
SKIPPED: Final = 20.0  # seconds, in which the runs begin
STEP: Final = 3.0  # seconds
INSET: Final = 0.16  # inches: from the frame to its title

Json = dict[str, Any]


def main(arguments: Sequence[str]) -> None:
    """Watch, then draw."""
    seconds = float(arguments[0]) if arguments else 180.0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(started("fake"))
        live = stack.enter_context(watched(cluster, Path(program("prometheus")), folder, eager=False))
        begin = max(up.points[-1][1] for up in live.prometheus.query(f"process_start_time_seconds {OPERATOR}"))
        time.sleep(max(0.0, begin + seconds - time.time()))
        canvas = Canvas(live.prometheus, begin, begin + SKIPPED, time.time(), STEP)
        for name, rows in PICTURES.items():
            _write(TARGET / f"{name}.png", _picture(canvas, rows))


def _picture(canvas: Canvas, titles: Sequence[str]) -> Figure:
    panels = _of_rows(titles)
    top = min(panel["gridPos"]["y"] for panel in panels)
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    height = (bottom - top) * CELL
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=PAGE)
    for panel in panels:
        at = panel["gridPos"]
        box = (
            at["x"] / COLUMNS * WIDTH,
            (bottom - at["y"] - at["h"]) * CELL,
            at["w"] / COLUMNS * WIDTH,
            at["h"] * CELL,
        )
        if panel["type"] == "row":
            figure.text(0.008, (box[1] + box[3] / 2) / height, panel["title"], color=TEXT, fontsize=13, va="center")
        else:
            _place(figure, box, canvas, panel)
    return figure


def _of_rows(titles: Sequence[str]) -> list[Json]:
    """The titles of these rows, and the panels in them."""
    chosen, inside = [], False
    for panel in grafana.dashboard()["panels"]:
        if panel["type"] == "row":
            inside = panel["title"] in titles
        if inside:
            chosen.append(panel)
    return chosen


def _place(figure: Figure, box: tuple[float, float, float, float], canvas: Canvas, panel: Json) -> None:
    """A panel in its frame; `box` is x, y, width and height in inches."""
    x, y, w, h = box
    width, height = figure.get_size_inches()
    frame = ((x + MARGIN) / width, (y + MARGIN) / height), (w - 2 * MARGIN) / width, (h - 2 * MARGIN) / height
    patch = FancyBboxPatch(
        *frame, boxstyle="square,pad=0", fc=PANEL, ec=EDGE, lw=0.8, zorder=-1, transform=figure.transFigure
    )
    figure.add_artist(patch)
    left, right, below, above = _insets(panel)
    above_it = (y + h - 0.3) / height
    size = 9.0 if panel["gridPos"]["w"] < NARROW else 11.0
    figure.text((x + INSET) / width, above_it, panel["title"], color=TEXT, fontsize=size, va="baseline")
    axes = figure.add_axes(
        ((x + left) / width, (y + below) / height, (w - left - right) / width, (h - below - above) / height)
    )
    canvas.draw(axes, panel)


def _insets(panel: Json) -> tuple[float, float, float, float]:
    """Room for the axes and the legend, in inches: left, right, below, above."""
    below = 0.88 if panel["gridPos"]["w"] <= NARROW else 0.72
    return {
        "timeseries": (0.68, 0.2, below, 0.45),
        "heatmap": (0.68, 0.2, 0.35, 0.45),
        "bargauge": (0.2, 0.25, 0.2, 0.45),
    }.get(panel["type"], (0.15, 0.15, 0.1, 0.42))


def _write(file: Path, figure: Figure) -> None:
    """As a PNG."""
    raw = io.BytesIO()
    figure.savefig(raw, format="png")
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.open(raw).convert("RGB").quantize(COLOURS).save(file, optimize=True)
    print(f"{file.relative_to(REPOSITORY)}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
