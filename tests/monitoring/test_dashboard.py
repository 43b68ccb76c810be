"""The dashboard as a file: it is what its source says, Grafana's types know all of it, and any Grafana can have it."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.monitoring import grafana, promql
from tools.dashboard.__main__ import COLUMNS, REPOSITORY, main

Json = dict[str, Any]

BOARD: Final = grafana.dashboard()
PANELS: Final = grafana.panels(BOARD)
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
METRICS: Final = REPOSITORY / "docs" / "metrics.md"
NAMED: Final = re.compile(r"`((?:maprun|process)_\w+)`")
OF_PROMETHEUS: Final = {"ALERTS"}
SUFFIXES: Final = re.compile(r"_(bucket|count|sum)$")

plugins.register_default_plugins()

each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: f"{panel['id']} {panel['title']}")


def test_the_file_is_what_its_source_says() -> None:
    assert main(["--check"]) == 0


def test_a_file_that_is_old_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "dashboard.json"
    old.write_text("{}")
    monkeypatch.setattr("tools.dashboard.__main__.TARGET", old)
    monkeypatch.setattr("tools.dashboard.__main__.REPOSITORY", tmp_path)
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0


def test_grafanas_types_know_every_field() -> None:
    assert known(BOARD) == BOARD


INTO: Final[dict[str, Callable[[Json], Json]]] = {
    "the dashboard": lambda board: board,
    "a panel": lambda board: panel_of(board, "timeseries"),
    "the options of lines": lambda board: panel_of(board, "timeseries")["options"],
    "the options of a heat map": lambda board: panel_of(board, "heatmap")["options"],
    "a field": lambda board: panel_of(board, "stat")["fieldConfig"]["defaults"],
    "a query": lambda board: panel_of(board, "stat")["targets"][0],
    "a variable": lambda board: grafana.variables(board)["run"],
}


@pytest.mark.parametrize("where", INTO.values(), ids=INTO)
def test_a_field_that_grafana_does_not_know_would_be_noticed(where: Callable[[Json], Json]) -> None:
    board = copy.deepcopy(BOARD)
    where(board)["madeUp"] = 1
    assert known(board) != board


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    cells = list(itertools.chain.from_iterable(cells_of(panel) for panel in BOARD["panels"]))
    assert len(set(cells)) == len(cells)
    assert {x for x, _ in cells} == set(range(COLUMNS))


@each_panel
def test_a_panel_says_what_it_shows(panel: Json) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 20
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


@each_panel
def test_a_panel_asks_the_data_source_that_is_chosen(panel: Json) -> None:
    assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [SOURCE] * (
        len(panel["targets"]) + 1
    )
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@each_panel
def test_a_rate_follows_the_scrape_interval(panel: Json) -> None:
    for target in panel["targets"]:
        assert not re.search(r"(rate|increase)\([^)]*\[\d", target["expr"]), target["expr"]


def test_every_metric_is_documented() -> None:
    documented = {*NAMED.findall(METRICS.read_text())}
    asked = {metric for query in grafana.queries(BOARD) for metric in names(query.expression)}
    missing = {each for each in asked if each not in documented and SUFFIXES.sub("", each) not in documented}
    assert not {each for each in missing if not each.startswith("process_")} - OF_PROMETHEUS


def test_no_data_source_is_wired_in_and_none_is_asked_for_at_the_import() -> None:
    sources = [found for found in walked(BOARD) if isinstance(found, dict) and found.get("type") == "prometheus"]
    assert len(sources) > len(PANELS)
    assert all(each.get("uid") == SOURCE["uid"] for each in sources)
    assert not {"__inputs", "__requires", "id"} & set(BOARD)


def test_its_name_and_its_variables() -> None:
    variables = grafana.variables(BOARD)
    assert BOARD["uid"] == "maprun"
    assert BOARD["tags"] == ["maprun", "kubernetes"]
    assert BOARD["refresh"]
    assert list(variables) == ["datasource", "namespace", "run"]
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"


@pytest.mark.parametrize("name", ["namespace", "run"])
def test_one_many_or_all_can_be_chosen(name: str) -> None:
    variable = grafana.variables(BOARD)[name]
    assert variable["multi"]
    assert variable["includeAll"]
    assert variable["allValue"] == ".*"
    assert variable["refresh"] == 2, "asked for again when the time range changes, so that ended runs can be found"
    assert variable["datasource"] == SOURCE


def known(board: Json) -> Json:
    """The dashboard, read with Grafana's types and written again."""
    read: Json = json.loads(JSONEncoder().encode(Dashboard.from_json(copy.deepcopy(board))))
    return read


def panel_of(board: Json, kind: str) -> Json:
    """The first panel of a kind."""
    found: Json = next(panel for panel in board["panels"] if panel["type"] == kind)
    return found


def cells_of(panel: Json) -> Iterator[tuple[int, int]]:
    """The cells of the grid that a panel covers."""
    at = panel["gridPos"]
    return itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))


def names(expression: str) -> set[str]:
    """The metrics that a query asks for."""
    return {selector.split("{")[0] for selector in promql.selectors(expression)}


def walked(value: Any) -> Iterator[Any]:
    """The value and everything in it."""
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from walked(each)
