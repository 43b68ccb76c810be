"""Names of the metrics, and that docs/metrics.md says what the code does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import promql_parser
import pytest
from prometheus_client.metrics_core import Metric

from maprun.adapters.telemetry_health import (
    API_BUCKETS,
    API_CODES,
    FLUSH_BUCKETS,
    LAG_BUCKETS,
    S3_BUCKETS,
    WATCHED,
    Queue,
    Throttle,
)
from maprun.adapters.telemetry_runs import ATTEMPT_ERRORS, EXECUTION_BUCKETS
from tests.unit.live_run import everything, values

DOC = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


TABLES = ("Runs and their children", "The operator")


def families() -> list[Metric]:
    """Those of MapRun; the client library names those of the process."""
    return [family for family in everything().collect() if not family.name.startswith("process_")]


def exposed(family: Metric) -> str:
    """The name as users write it."""
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def labels(family: Metric) -> set[str]:
    return {label for sample in family.samples for label in sample.labels} - {"le"}


def described() -> set[tuple[str, str, frozenset[str]]]:
    """(name, type, labels) of each metric in the code."""
    kinds = {"info": "gauge"}
    return {(exposed(f), kinds.get(f.type, f.type), frozenset(labels(f))) for f in families()}


def listed() -> dict[str, list[str]]:
    """The rows of both tables, by the name of the metric."""
    return {ticked(row[0])[0]: row for table in TABLES for row in rows(table)}


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of each row of the table under a heading of the page."""
    section = DOC.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:])


def ticked(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_the_page_lists_every_metric_with_its_type_and_labels() -> None:
    assert {(name, row[1], frozenset(ticked(row[3]))) for name, row in listed().items()} == described()


def test_the_page_lists_the_metrics_of_the_process() -> None:
    of_process = {exposed(family) for family in everything().collect()} - {exposed(family) for family in families()}
    assert of_process
    assert set(re.findall(r"\bprocess_\w+", DOC)) == of_process


def test_every_metric_that_the_page_names_exists() -> None:
    known = {sample.name for family in everything().collect() for sample in family.samples}
    known |= {name for name, _, _ in described()}
    assert set(re.findall(r"\bmaprun_\w+", DOC)) <= known


def test_the_page_names_the_values_of_closed_labels() -> None:
    by_name = {name: set(ticked(row[4])) for name, row in listed().items()}
    assert {reason.value for reason in Throttle} <= by_name["maprun_throttled_creates_total"]
    assert {state for _, _, state in values(everything(), "maprun_items")} <= by_name["maprun_items"]
    assert {state for _, _, state in values(everything(), "maprun_run_executions")} <= by_name["maprun_run_executions"]
    statuses = {status for _, status in values(everything(), "maprun_map_runs_finished_total")}
    assert statuses <= by_name["maprun_map_runs_finished_total"]
    assert {str(error) for error in ATTEMPT_ERRORS} <= by_name["maprun_attempts_failed_total"]
    assert {queue.value for queue in Queue} <= by_name["maprun_queue_depth"]
    assert {*API_CODES, "none"} <= by_name["maprun_api_requests_total"]
    assert set(WATCHED) <= by_name["maprun_watch_restarts_total"]


QUERIES = re.findall(r"```promql\n(.*?)```", DOC, re.DOTALL)


@pytest.mark.parametrize("query", QUERIES)
def test_queries_are_valid_and_use_only_labels_that_their_metrics_have(query: str) -> None:
    assert promql_parser.parse(query)
    known = {sample.name for family in families() for sample in family.samples}
    named = set(re.findall(r"\bmaprun_\w+", query))
    assert named <= known
    used = re.findall(r"(?:by|on) \(([^)]+)\)", query) + re.findall(r"[{,](\w+)[=!]", query)
    possible = {
        label for family in families() for sample in family.samples if sample.name in named for label in sample.labels
    }
    assert {label.strip() for found in used for label in found.split(",")} <= possible


def test_queries_use_only_states_that_exist() -> None:
    states = {state for _, _, state in values(everything(), "maprun_items")}
    used = {state for found in re.findall(r'state=~?"([^"]+)"', "".join(QUERIES)) for state in found.split("|")}
    assert len(QUERIES) >= 3
    assert used
    assert used <= states


CLOUDWATCH = (
    "OpenExecutionCount OpenExecutionLimit ExecutionsStarted ExecutionsSucceeded ExecutionsFailed "
    "ExecutionsAborted ExecutionsTimedOut ExecutionThrottled ExecutionTime ExecutionsRedriven "
    "RedrivenExecutionsSucceeded RedrivenExecutionsFailed RedrivenExecutionsAborted RedrivenExecutionsTimedOut "
    "ExpressExecutionMemory ExpressExecutionBilledDuration ExpressExecutionBilledMemory "
    "ApproximateOpenMapRunCount ApproximateMapRunBacklogSize OpenMapRunLimit LambdaFunctionRunTime "
    "LambdaFunctionScheduleTime LambdaFunctionTime LambdaFunctionsFailed LambdaFunctionsScheduled "
    "LambdaFunctionsStarted LambdaFunctionsSucceeded LambdaFunctionsTimedOut ServiceIntegrationRunTime "
    "ServiceIntegrationScheduleTime ServiceIntegrationTime ServiceIntegrationsFailed ServiceIntegrationsScheduled "
    "ServiceIntegrationsStarted ServiceIntegrationsSucceeded ServiceIntegrationsTimedOut ActivityRunTime "
    "ActivityScheduleTime ActivityTime ActivitiesFailed ActivitiesHeartbeatTimedOut ActivitiesScheduled "
    "ActivitiesStarted ActivitiesSucceeded ActivitiesTimedOut ThrottledEvents ProvisionedBucketSize "
    "ProvisionedRefillRate ConsumedCapacity StateMachineCount ActivityCount OpenExecutionCountPerStateMachine"
)


@pytest.mark.parametrize("metric", CLOUDWATCH.split())
def test_each_metric_of_cloudwatch_has_a_counterpart_or_a_reason(metric: str) -> None:
    (here,) = (row[1] for row in rows("Coming from CloudWatch") if metric in ticked(row[0]))
    assert re.match(r"`[^`]*maprun_|no counterpart, because ", here)


RULES: list[tuple[str, Callable[[str, Metric], bool]]] = [
    ("in the namespace maprun, in snake case", lambda name, _: bool(re.fullmatch(r"maprun(_[a-z][a-z0-9]*)+", name))),
    ("counters alone end in _total", lambda name, family: name.endswith("_total") == (family.type == "counter")),
    ("infos alone end in _info", lambda name, family: name.endswith("_info") == (family.type == "info")),
    ("histograms end in their unit", lambda name, family: family.type != "histogram" or name.endswith("_seconds")),
    ("no part is a type", lambda name, _: not {"counter", "gauge", "histogram", "summary"} & set(name.split("_"))),
    ("no unit but the base unit", lambda name, _: not {"ms", "s", "m", "h", "milliseconds"} & set(name.split("_"))),
    ("no end like a part of a histogram", lambda name, _: not name.endswith(("_count", "_sum", "_bucket"))),
    ("the help is a sentence", lambda _, family: bool(re.fullmatch(r"[A-Z].+\.", family.documentation))),
    ("labels are single words", lambda _, family: all(re.fullmatch(r"[a-z]+", label) for label in labels(family))),
]


@pytest.mark.parametrize("rule", [row[1] for row in RULES], ids=[row[0] for row in RULES])
def test_names_follow_the_rules_of_prometheus(rule: Callable[[str, Metric], bool]) -> None:
    assert [exposed(f) for f in families() if not rule(exposed(f), f)] == []


BUCKETS = (EXECUTION_BUCKETS, FLUSH_BUCKETS, LAG_BUCKETS, API_BUCKETS, S3_BUCKETS)


@pytest.mark.parametrize("buckets", BUCKETS, ids=["executions", "flushes", "the loop", "the API server", "S3"])
def test_buckets_are_few_and_in_order(buckets: tuple[float, ...]) -> None:
    assert list(buckets) == sorted(set(buckets))
    assert len(buckets) <= 12
