"""Draws panels of the dashboard with matplotlib, from what a Prometheus answers: close to Grafana's dark look.

Rule 1: titles, units, legends, colours, thresholds and columns are those of the dashboard's JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from tests.monitoring.drawing_parts import (
    EDGE,
    FAINT,
    HEAT,
    NAMED,
    PALETTE,
    PANEL,
    TEXT,
    bare,
    bars,
    clock,
    legend,
    moment,
    reached,
    stacked,
)
from tests.monitoring.grafana import ALL, filled
from tests.monitoring.prometheus_process import PrometheusProcess, Series
from tests.monitoring.units import size_of, written

Json = Mapping[str, Any]

RATE_INTERVAL: Final = "20s"
WIDE: Final = 1.35  # a column with bars, to others


class Canvas:
    """Draws on axes what the panels show from `start` to `end`; what they add up is added up from `begin` on. All are
    seconds since the epoch.
    """

    def __init__(self, prometheus: PrometheusProcess, begin: float, start: float, end: float, step: float) -> None:
        self._prometheus, self._start, self._end, self._step = prometheus, start, end, step
        self._chosen = {**ALL, "__rate_interval": RATE_INTERVAL, "__range": f"{end - begin:.0f}s"}
        self._kinds: dict[str, Callable[[Axes, Json], None]] = {
            "stat": self._stat,
            "timeseries": self._timeseries,
            "bargauge": self._bargauge,
            "heatmap": self._heatmap,
            "table": self._table,
        }

    def draw(self, axes: Axes, panel: Json) -> None:
        """What the panel shows; its frame and its title are the caller's."""
        axes.set_facecolor(PANEL)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.tick_params(colors=FAINT, labelsize=9, length=0)
        self._kinds[panel["type"]](axes, panel)

    def _asked(self, panel: Json) -> list[tuple[str, Series]]:
        """The series of all queries of a panel, each with its name."""
        found = []
        for target in panel["targets"]:
            expression = filled(target["expr"], self._chosen)
            if target["instant"]:
                answer = self._prometheus.query(expression)
            else:
                answer = self._prometheus.query_range(expression, self._start, self._end, self._step)
            found += [(name_of(target.get("legendFormat", ""), series.labels), series) for series in answer]
        return found

    def _columns(self, series: Series) -> tuple[list[float], list[float]]:
        """Moments and values, with a hole where the series has one."""
        known = dict(series.points)
        first, last = min(known), max(known)
        moments = [first + self._step * at for at in range(round((last - first) / self._step) + 1)]
        return [moment(at) for at in moments], [known.get(round(at, 3), float("nan")) for at in moments]

    def _stat(self, axes: Axes, panel: Json) -> None:
        bare(axes)
        defaults = panel["fieldConfig"]["defaults"]
        (name, series), *_ = self._asked(panel) or [("none", Series({}, [(self._end, float("nan"))]))]
        value = series.points[-1][1]
        if panel["options"].get("textMode") == "name":
            _centred(axes, 0.42, name, 15, TEXT)
            return
        colour = reached(defaults.get("thresholds"), value)
        if len(series.points) > 1:
            x, y = self._columns(series)
            axes.fill_between(x, y, color=colour, alpha=0.15, lw=0)
            axes.plot(x, y, color=colour, lw=1, alpha=0.7)
            axes.set_ylim(0, max(1e-9, *series.finite) * 2.6)
            axes.margins(x=0)
        text = written(value, defaults["unit"])
        _centred(axes, 0.55, text, 21, colour)

    def _timeseries(self, axes: Axes, panel: Json) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        custom, fixed = defaults["custom"], _fixed(panel)
        lines = [(name, *self._columns(series)) for name, series in self._asked(panel)]
        colours = [fixed.get(name, PALETTE[at % len(PALETTE)]) for at, (name, *_) in enumerate(lines)]
        if custom.get("drawStyle") == "bars":
            bars(axes, lines, colours)
        elif custom["stacking"]["mode"] == "normal":
            stacked(axes, lines, colours)
        else:
            for (name, x, y), colour in zip(lines, colours, strict=True):
                axes.plot(x, y, color=colour, lw=1.3, label=name)
                axes.fill_between(x, y, color=colour, alpha=0.06, lw=0)
        self._framed(axes, panel)
        legend(axes, lines, panel["gridPos"]["w"])

    def _framed(self, axes: Axes, panel: Json) -> None:
        unit = panel["fieldConfig"]["defaults"]["unit"]
        most = axes.get_ylim()[1] if axes.get_ylim()[1] > 1e-9 and axes.has_data() else 1.0
        size = size_of(most, unit)
        marks = [mark * size for mark in MaxNLocator(4).tick_values(0, most / size) if mark * size <= most * 1.001]
        axes.set(xlim=(moment(self._start), moment(self._end)), ylim=(0, most))
        axes.set_yticks(marks, [written(mark, unit) for mark in marks])
        axes.grid(color=EDGE, lw=0.7)
        axes.set_axisbelow(True)
        clock(axes)

    def _bargauge(self, axes: Axes, panel: Json) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        bars = sorted(((name, series.points[-1][1]) for name, series in self._asked(panel)), key=lambda each: each[1])[
            -8:
        ]
        most = defaults.get("max") or max((value for _, value in bars), default=1.0)
        for at, (name, value) in enumerate(bars):
            axes.barh(at, most, height=0.36, color=EDGE, left=0)
            axes.barh(at, value, height=0.36, color=reached(defaults.get("thresholds"), value))
            axes.text(0, at + 0.26, name, ha="left", va="bottom", fontsize=9, color=TEXT)
            text = written(value, defaults["unit"])
            axes.text(most, at + 0.26, text, ha="right", va="bottom", fontsize=9, color=TEXT)
        axes.set(xlim=(0, most), ylim=(-0.5, len(bars) - 0.1))
        bare(axes)

    def _heatmap(self, axes: Axes, panel: Json) -> None:
        rows = sorted(self._asked(panel), key=lambda each: float(each[0]))
        times = sorted({at for _, series in rows for at, _ in series.points})
        heights = np.array([[dict(series.points).get(at, 0.0) for at in times] for _, series in rows])
        cells = np.clip(np.diff(np.nan_to_num(heights), axis=0, prepend=0), 0, None)
        edges = [moment(at) for at in [*times, times[-1] + self._step]]
        axes.pcolormesh(edges, range(len(rows) + 1), cells, cmap=HEAT, norm=PowerNorm(0.5), edgecolors=PANEL, lw=0.4)
        names = [written(float(name), "s") if name != "+Inf" else "more" for name, _ in rows]
        axes.set_yticks([at + 1 for at in range(len(rows))], names)
        axes.set_xlim(edges[0], edges[-1])
        clock(axes)

    def _table(self, axes: Axes, panel: Json) -> None:
        axes.set(xlim=(0, 1), ylim=(0, 1))
        bare(axes)
        organized = next(each for each in panel["transformations"] if each["id"] == "organize")["options"]
        titles = organized["renameByName"]
        fields = sorted(titles, key=organized["indexByName"].__getitem__)
        keys = [field for field in fields if not field.startswith("Value #")]
        lines: dict[tuple[str, ...], dict[str, float]] = {}
        for target in panel["targets"]:
            for series in self._prometheus.query(filled(target["expr"], self._chosen)):
                line = lines.setdefault(tuple(series.labels[key] for key in keys), {})
                line[f"Value #{target['refId']}"] = series.points[-1][1]
        units = _overrides(panel, "unit")
        bars = _overrides(panel, "custom.cellOptions")
        height = 1 / (max(5, len(lines)) + 1)
        widths = [WIDE if titles[key] in bars else 1.0 for key in fields]
        for at, key in enumerate(fields):
            x, width = sum(widths[:at]) / sum(widths) + 0.006, widths[at] / sum(widths)
            axes.text(x, 1 - height / 2, titles[key], fontsize=9.5, color="#6e9fff", va="center")
            for row, (labels, values) in enumerate(sorted(lines.items()), 1):
                y = 1 - height * (row + 0.5)
                if key in keys:
                    axes.text(x, y, labels[keys.index(key)], fontsize=10, color=TEXT, va="center")
                elif key in values:
                    _cell(axes, (x, y, width, height), values[key], units[titles[key]], bar=titles[key] in bars)
        for row in range(1, len(lines) + 1):
            axes.axhline(1 - height * row, color=EDGE, lw=0.7)


def _centred(axes: Axes, height: float, text: str, size: float, colour: str) -> None:
    """The text in so many points, or in less where it would be wider than the panel, as Grafana writes it."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    points = axes.get_window_extent().width * 72 / figure.dpi
    size = min(size, points / (0.65 * max(1, len(text))))
    axes.text(0.5, height, text, ha="center", va="center", fontsize=size, color=colour, transform=axes.transAxes)


def name_of(legend: str, labels: Mapping[str, str]) -> str:
    """The name of a series: the legend with the labels' values."""
    for label, value in labels.items():
        legend = legend.replace(f"{{{{{label}}}}}", value)
    return legend


def _cell(axes: Axes, box: tuple[float, float, float, float], value: float, unit: str, *, bar: bool) -> None:
    x, y, width, height = box
    if bar:
        full = width * 0.5
        axes.barh(y, full, height=height * 0.45, left=x, color=EDGE)
        axes.barh(y, full * min(1.0, value), height=height * 0.45, left=x, color=NAMED["blue"])
        x += full + 0.006
    axes.text(x, y, written(value, unit), fontsize=10, color=TEXT, va="center")


def _fixed(panel: Json) -> dict[str, str]:
    return {name: NAMED[value["fixedColor"]] for name, value in _overrides(panel, "color").items()}


def _overrides(panel: Json, field: str) -> dict[str, Any]:
    """What a panel sets of a field for series or columns of a name."""
    return {
        each["matcher"]["options"]: one["value"]
        for each in panel["fieldConfig"].get("overrides", ())
        for one in each["properties"]
        if one["id"] == field
    }
