"""How many series there are: none of a run that has ended, a bounded number of a namespace and of a live run."""

from __future__ import annotations

from collections import Counter

from prometheus_client import CollectorRegistry

from maprun.adapters.telemetry import Telemetry
from maprun.adapters.telemetry_live import SERIES_OF_A_RUN
from maprun.adapters.telemetry_runs import FOREIGN_ERRORS, TelemetryReporter
from maprun.core.progress import FailureTally, Progress
from maprun.core.status import Snapshot
from maprun.errors import Failure
from maprun.model import RunRef
from maprun.records import Attempt, ChildStatus, Exported, Outcome, RunStatus, Verdict
from tests.unit.live_run import at

RUNS = 10_000
NAMESPACES = 100
OF_THE_OPERATOR = 500  # with no run at all
OF_A_NAMESPACE = 50 + FOREIGN_ERRORS


def series(registry: CollectorRegistry) -> Counter[str]:
    """How many series each metric has."""
    return Counter(sample.name for family in registry.collect() for sample in family.samples)


def begun(telemetry: Telemetry, number: int, namespace: str) -> TelemetryReporter:
    """A run with children that succeed, fail with an error that no other run has, and are lost."""
    reporter = telemetry.reporter(RunRef(namespace, f"run-{number}", str(number), 0.0))
    reporter.launched(Attempt(0, 1))
    reporter.recorded(Outcome(0, 1, ChildStatus.SUCCEEDED, started=1.0, stopped=2.0))
    reporter.recorded(Outcome(1, 1, ChildStatus.FAILED, failure=Failure(f"Error{number}")))
    reporter.recorded(Outcome(2, 1, ChildStatus.LOST))
    failures = {f"Error{number}.{each}": FailureTally(each, "", each) for each in range(20)}
    reporter.progressed(at(Progress(failures=failures, started=1.0), children=9))
    return reporter


def final() -> Snapshot:
    return at(Progress(verdict=Verdict(RunStatus.SUCCEEDED, 1.0), exported=Exported(2.0, 0)))


async def test_ten_thousand_finished_runs_in_a_hundred_namespaces_leave_no_series_of_their_own() -> None:
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    assert series(registry).total() <= OF_THE_OPERATOR
    for number in range(RUNS // 2):
        await begun(telemetry, number, f"space-{number % NAMESPACES}").finished(final())
    before = series(registry)
    for number in range(RUNS // 2, RUNS):
        await begun(telemetry, number, f"space-{number % NAMESPACES}").finished(final())
    assert series(registry) == before
    assert before.total() <= OF_THE_OPERATOR + NAMESPACES * OF_A_NAMESPACE
    ended = [each.samples for each in registry.collect() if each.name == "maprun_map_runs_finished"]
    assert sum(sample.value for sample in ended[0]) == RUNS


def test_a_live_run_has_few_series_and_they_all_go_with_it() -> None:
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    begun(telemetry, 0, "lab").close()
    none = series(registry)
    live = [begun(telemetry, 0, "lab")]
    one = series(registry)
    assert (one - none).total() == SERIES_OF_A_RUN
    live += [begun(telemetry, 0, "lab") for _ in range(3)]  # they have the same name: the last one shows
    assert series(registry) == one
    for reporter in live:
        reporter.close()
    assert series(registry) == none
