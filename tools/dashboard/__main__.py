"""Writes the Grafana dashboard, charts/maprun/files/dashboard.json: `python -m tools.dashboard`, or `--check` to fail
when the file is old.

Rule 1: the JSON is made with Grafana's own types, so that a field it does not know cannot be written.
Rule 2: nothing in it belongs to one Grafana: the data source is a variable, and importing it asks no question.
Rule 3: the same source gives the same bytes; panels are numbered in their order.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    GridPos,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from tools.dashboard import children, operator, runs
from tools.dashboard.panels import SOURCE, Panel

REPOSITORY: Final = Path(__file__).resolve().parents[2]
TARGET: Final = REPOSITORY / "charts" / "maprun" / "files" / "dashboard.json"
COLUMNS: Final = 24
ROWS: Final = (
    ("Open runs", runs.open_runs),
    ("Progress by run", runs.progress),
    ("Throughput", children.throughput),
    ("Failures", children.failures),
    ("Duration of children", children.latency),
    ("Backlog and concurrency", children.capacity),
    ("Operator health", operator.state),
    ("Operator at work", operator.work),
)


def main(arguments: list[str]) -> int:
    """Write the dashboard, or with `--check` compare it; the exit code is 1 when it differs."""
    text, name = render(), TARGET.relative_to(REPOSITORY)
    if arguments != ["--check"]:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_text(text)
    elif not TARGET.exists() or TARGET.read_text() != text:
        print(f"{name} does not match tools/dashboard: run `make generate`")
        return 1
    print(f"{name} matches its source")
    return 0


def render() -> str:
    """The dashboard as JSON."""
    return JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False).encode(_dashboard().build()) + "\n"


def _dashboard() -> dashboard.Dashboard:
    made = dashboard.Dashboard("MapRun").uid("maprun").tags(["maprun", "kubernetes"]).editable()
    made.description("Map runs, their children, and the operator that drives them.")
    made.time("now-1h", "now").refresh("30s").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    made.variables([_datasource(), _namespace(), _run()])
    for panel in _placed():
        made.with_row(panel) if isinstance(panel, dashboard.Row) else made.with_panel(panel)
    return made


def _placed() -> Iterable[Panel | dashboard.Row]:
    """Rows and panels from left to right and top to bottom, each with its number and its place."""
    number, y = 0, 0
    for title, panels in ROWS:
        number += 1
        yield dashboard.Row(title).id(number).grid_pos(GridPos(h=1, w=COLUMNS, x=0, y=y))
        x, y, height = 0, y + 1, 0
        for panel in panels():
            at = panel.build().grid_pos
            assert at is not None
            if x + at.w > COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            yield panel.id(number).grid_pos(GridPos(h=at.h, w=at.w, x=x, y=y))
            x, height = x + at.w, max(height, at.h)
        y += height


def _datasource() -> dashboard.DatasourceVariable:
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _namespace() -> dashboard.QueryVariable:
    chosen = _chosen("namespace", "Namespace", "label_values(maprun_map_runs_open, namespace)")
    return chosen.description("Namespaces that had a run in the time range.")


def _run() -> dashboard.QueryVariable:
    chosen = _chosen("run", "Run", 'label_values(maprun_items{namespace=~"$namespace"}, name)')
    return chosen.description("Runs that were live in the time range, also those that have ended since.")


def _chosen(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """One, many or all values of a label, asked for anew with each change of the time range."""
    every = VariableOption(selected=True, text=["All"], value=["$__all"])
    variable = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(query).current(every)
    variable.multi(True).include_all(True).all_value(".*")
    return variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
