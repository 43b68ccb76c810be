"""Names of the metrics, and that docs/metrics.md says what the code does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric

from maprun.adapters.telemetry import EXECUTION_BUCKETS, FLUSH_BUCKETS, Throttle
from tests.unit.live_run import everything, values

DOC = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def exposed(family: Metric) -> str:
    """The name as users write it."""
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def labels(family: Metric) -> set[str]:
    return {label for sample in family.samples for label in sample.labels} - {"le"}


def described() -> set[tuple[str, str, frozenset[str]]]:
    """(name, type, labels) of each metric in the code."""
    kinds = {"info": "gauge"}
    return {(exposed(f), kinds.get(f.type, f.type), frozenset(labels(f))) for f in everything().collect()}


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of each row of the table under a heading of the page."""
    section = DOC.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:])


def ticked(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_the_page_lists_every_metric_with_its_type_and_labels() -> None:
    listed = {(ticked(row[0])[0], row[1], frozenset(ticked(row[3]))) for row in rows("What there is")}
    assert listed == described()


def test_every_metric_that_the_page_names_exists() -> None:
    known = {sample.name for family in everything().collect() for sample in family.samples}
    known |= {name for name, _, _ in described()}
    assert set(re.findall(r"\bmaprun_\w+", DOC)) <= known


def test_the_page_names_the_values_of_closed_labels() -> None:
    by_name = {ticked(row[0])[0]: set(ticked(row[4])) for row in rows("What there is")}
    assert {reason.value for reason in Throttle} <= by_name["maprun_throttled_creates_total"]
    assert {state for _, _, state in values(everything(), "maprun_items")} <= by_name["maprun_items"]
    statuses = {status for _, status in values(everything(), "maprun_map_runs_finished_total")}
    assert statuses <= by_name["maprun_map_runs_finished_total"]


def test_queries_use_only_labels_and_values_that_exist() -> None:
    queries = "\n".join(re.findall(r"```promql\n(.*?)```", DOC, re.DOTALL))
    states = {state for _, _, state in values(everything(), "maprun_items")}
    assert queries.count("maprun_") >= 3
    assert {state for found in re.findall(r'state=~?"([^"]+)"', queries) for state in found.split("|")} <= states
    assert set(re.findall(r"(?:by|on) \(([^)]+)\)", queries)) <= {"namespace", "namespace, name"}


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
    ("in the namespace maprun, in snake case", lambda name, _: bool(re.fullmatch(r"maprun(_[a-z]+)+", name))),
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
    assert [exposed(f) for f in everything().collect() if not rule(exposed(f), f)] == []


@pytest.mark.parametrize("buckets", [EXECUTION_BUCKETS, FLUSH_BUCKETS], ids=["executions", "flushes"])
def test_buckets_are_few_and_in_order(buckets: tuple[float, ...]) -> None:
    assert list(buckets) == sorted(set(buckets))
    assert len(buckets) <= 12
