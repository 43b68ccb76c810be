"""The kinds of panels of the dashboard, each made by one function: what all panels of a kind share stands here once.

Rule 1: a panel has a title, a unit and a description that says what to look for; every query names the data source
        variable.
Rule 2: panels come without id and place; `tools.dashboard` gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphDrawStyle,
    HeatmapCellLayout,
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = DataSourceRef("prometheus", "${datasource}")
GREEN, ORANGE, RED = "green", "orange", "red"
CALM: Final = ((None, "text"),)

Steps = Sequence[tuple[float | None, str]]
"""Colours from a value on; the first begins below everything."""

Panel = stat.Panel | timeseries.Panel | bargauge.Panel | heatmap.Panel | table.Panel
Kind = TypeVar("Kind", stat.Panel, timeseries.Panel, bargauge.Panel, heatmap.Panel, table.Panel)


class Query(NamedTuple):
    """A PromQL expression and the name of its series, with {{label}} for a label's value."""

    expression: str
    legend: str = ""


class Column(NamedTuple):
    """A column of a table: its title, its unit, and the query with one series for each line."""

    title: str
    unit: str
    expression: str
    bar: bool = False


def number(
    title: str, unit: str, text: str, expression: str, steps: Steps = CALM, *, width: int = 3, now: bool = True
) -> stat.Panel:
    """One large number: the present one, or (`now` false) one over the dashboard's whole time range."""
    panel = stat.Panel().color_mode(BigValueColorMode.VALUE).thresholds(_thresholds(steps))
    panel.graph_mode(BigValueGraphMode.AREA if now else BigValueGraphMode.NONE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).no_value("none")
    return _told(panel, title, unit, text, width, 4).with_target(_target(Query(expression), 0, instant=not now))


def word(title: str, text: str, query: Query, *, width: int = 3) -> stat.Panel:
    """The label that the query's legend names, as text."""
    panel = stat.Panel().text_mode(BigValueTextMode.NAME).graph_mode(BigValueGraphMode.NONE)
    return _told(panel, title, "none", text, width, 4).with_target(_target(query, 0, instant=True))


def lines(title: str, unit: str, text: str, *queries: Query, width: int = 8, stacked: bool = False) -> timeseries.Panel:
    """Lines over time; `stacked` for parts of a whole."""
    panel = timeseries.Panel().min(0).line_width(1).fill_opacity(40 if stacked else 8).show_points(VisibilityMode.NEVER)
    panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL if stacked else StackingMode.NONE))
    return _plotted(_told(panel, title, unit, text, width, 8), queries)


def bars(title: str, unit: str, text: str, *queries: Query, width: int = 8) -> timeseries.Panel:
    """Stacked bars over time, for what comes seldom."""
    panel = timeseries.Panel().min(0).draw_style(GraphDrawStyle.BARS).fill_opacity(80).line_width(0)
    panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    return _plotted(_told(panel, title, unit, text, width, 8), queries)


def gauges(
    title: str, unit: str, text: str, query: Query, *, most: float | None = None, steps: Steps = CALM, width: int = 8
) -> bargauge.Panel:
    """A horizontal bar for each series, as it is now."""
    panel = bargauge.Panel().min(0).orientation(VizOrientation.HORIZONTAL).display_mode(BarGaugeDisplayMode.BASIC)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).thresholds(_thresholds(steps))
    if most is not None:
        panel.max(most)
    return _told(panel, title, unit, text, width, 8).with_target(_target(query, 0, instant=True))


def heat(title: str, unit: str, text: str, expression: str, *, width: int = 12) -> heatmap.Panel:
    """A heat map of a histogram's buckets."""
    colours = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").exponent(0.5).steps(64)
    panel = heatmap.Panel().calculate(False).color(colours.fill("dark-orange")).cell_gap(1).show_legend()
    panel.scale_distribution(common.ScaleDistributionConfig().type(ScaleDistribution.LINEAR))
    panel.rows_frame(heatmap.RowsHeatmapOptions().layout(HeatmapCellLayout.LE))
    panel.y_axis(heatmap.YAxisConfig().unit(unit)).filter_values(heatmap.FilterValueRange().le(1e-9)).show_tooltip()
    target = _target(Query(expression, "{{le}}"), 0).format(PromQueryFormat.HEATMAP)
    return _told(panel, title, unit, text, width, 8).with_target(target)


def lines_of(title: str, text: str, keys: dict[str, str], columns: Sequence[Column], *, width: int = 24) -> table.Panel:
    """A table: a line for each combination of the labels in `keys` (label: title), a column for each query."""
    panel = table.Panel().show_header(True)
    refs = [f"Value #{_ref(number)}" for number in range(len(columns))]
    for at, column in enumerate(columns):
        target = _target(Query(column.expression), at, instant=True).format(PromQueryFormat.TABLE)
        panel.with_target(target).override_by_name(column.title, _properties(column))
    order = {name: at for at, name in enumerate([*keys, *refs])}
    titles = keys | {ref: column.title for ref, column in zip(refs, columns, strict=True)}
    organize = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": titles}
    panel.with_transformation(DataTransformerConfig("merge", options={}))
    panel.with_transformation(DataTransformerConfig("organize", options=organize))
    return _told(panel, title, "short", text, width, 8)


def _properties(column: Column) -> list[DynamicConfigValue]:
    own = [DynamicConfigValue("unit", column.unit)]
    if column.bar:
        cell = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
        own += [DynamicConfigValue("custom.cellOptions", cell), DynamicConfigValue("max", 1)]
    return own


def _told(panel: Kind, title: str, unit: str, text: str, width: int, height: int) -> Kind:
    return panel.title(title).unit(unit).description(text).span(width).height(height).datasource(SOURCE)


def _plotted(panel: timeseries.Panel, queries: Sequence[Query]) -> timeseries.Panel:
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    panel.legend(legend.placement(LegendPlacement.BOTTOM)).tooltip(tooltip)
    for at, query in enumerate(queries):
        panel.with_target(_target(query, at))
    return panel


def _target(query: Query, at: int, *, instant: bool = False) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expression).ref_id(_ref(at)).datasource(SOURCE)
    if query.legend:
        target.legend_format(query.legend)
    return target.instant() if instant else target.range()


def _ref(at: int) -> str:
    return chr(ord("A") + at)


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    config = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE)
    return config.steps([Threshold(value, colour) for value, colour in steps])


def coloured(panel: timeseries.Panel, colours: dict[str, str]) -> timeseries.Panel:
    """The panel with fixed colours for series of these names."""
    for name, colour in colours.items():
        fixed = {"mode": FieldColorModeId.FIXED.value, "fixedColor": colour}
        panel.override_by_name(name, [DynamicConfigValue("color", fixed)])
    return panel
