"""Every query of the dashboard, asked of a real Prometheus while runs are under way: none comes back empty."""

from __future__ import annotations

import time
from typing import Final

import pytest

from tests.monitoring import grafana
from tests.monitoring.grafana import Query
from tests.monitoring.watched import ENDED, SPACES, Watched
from tests.operator_process import eventually

BOARD: Final = grafana.dashboard()
WINDOW: Final = 120.0  # seconds
STEP: Final = 2.0
SECONDS: Final = 30.0
ONE: Final = {"namespace": "etl", "run": "orders"}
TWO: Final = {"namespace": "(etl|media)", "run": "(orders|captions)"}


@pytest.mark.parametrize("query", [*grafana.queries(BOARD)], ids=lambda query: f"{query.panel} {query.ref}")
def test_no_panel_is_empty(query: Query, live: Watched) -> None:
    eventually(lambda: answered(query, live), SECONDS, lambda: f"empty: {query.panel}, {query.ref}: {query.expression}")


@pytest.mark.parametrize("chosen", [ONE, TWO], ids=["one run", "two runs of two namespaces"])
def test_a_choice_of_runs_shows_these_and_no_others(chosen: dict[str, str], live: Watched) -> None:
    asked = [query for query in grafana.queries(BOARD, chosen) if "{{namespace}}/{{name}}" in query.legend]
    assert len(asked) >= 4
    shown = {each.labels["name"] for query in asked for each in live.prometheus.query(query.expression)}
    assert shown == set(chosen["run"].strip("()").split("|"))


def test_the_variables_offer_namespaces_and_runs_also_ended_ones(live: Watched) -> None:
    offered = {}
    for name in ("namespace", "run"):
        selector, label = grafana.asked(grafana.variables(BOARD)[name])
        offered[name] = set(live.prometheus.label_values(label, selector, WINDOW))
    assert offered["namespace"] == set(SPACES)
    assert {"orders", "transcode", "thumbnails"} <= offered["run"]
    assert {"again", "held"} <= offered["run"]
    assert {name for _, name in ENDED} <= offered["run"], "runs that have ended can still be chosen"


def answered(query: Query, live: Watched) -> bool:
    """Whether there is at least one number, and not only the one that a query falls back to."""
    expression, now = query.expression.removesuffix(" or vector(0)"), time.time()
    if query.instant:
        found = live.prometheus.query(expression)
    else:
        found = live.prometheus.query_range(expression, now - WINDOW, now, STEP)
    return any(each.finite for each in found)
