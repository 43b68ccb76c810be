"""What is counted when, and that nothing in the metrics outlives its run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import closing

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from maprun.adapters.sharing import Capacities
from maprun.adapters.telemetry import Telemetry
from maprun.adapters.telemetry_runs import OWN_ERRORS, TelemetryReporter
from maprun.core.intervals import IntervalSet
from maprun.core.progress import OTHER_ERRORS, FailureTally, Progress, Waiting
from maprun.core.status import Snapshot
from maprun.engine import Engine, Settings
from maprun.errors import Failure
from maprun.model import MapRunSpec, RunRef
from maprun.records import Attempt, ChildStatus, Exported, Outcome, Retry, RunStatus, Verdict
from tests.unit.live_run import RUN, at, half_way, values
from tests.unit.world import (
    FakeExporter,
    FakeJournal,
    FakeLauncher,
    FakePlan,
    FakeRedriver,
    Fuse,
    World,
    fails,
    succeeds,
)

EXECUTIONS = "maprun_execution_duration_seconds"
HALF_WAY = {
    "pending": 5,
    "pending_redrive": 0,
    "running": 3,
    "succeeded": 8,
    "failed": 2,
    "timed_out": 1,
    "aborted": 1,
}


def ended(failure: Failure | None = None) -> Snapshot:
    """The last look at a run."""
    verdict = Verdict(RunStatus.FAILED if failure else RunStatus.SUCCEEDED, 1.0, failure)
    return at(Progress(verdict=verdict, exported=Exported(2.0, 0)))


def outcome(status: ChildStatus, *, retrier: int | None = None, started: float | None = 10.0) -> Outcome:
    retry = None if retrier is None else Retry(retrier, 20.0)
    return Outcome(0, 1, status, failure=Failure("E"), started=started, stopped=12.5, retry=retry)


def counted(registry: CollectorRegistry) -> dict[str, float]:
    """What is not 0 among the counters of the namespace, and the number of durations."""
    found: dict[str, float] = {}
    for family in registry.collect():
        for sample in family.samples:
            if sample.labels.get("namespace") == "lab" and sample.name.endswith(("_total", "_seconds_count")):
                found[sample.name] = found.get(sample.name, 0) + sample.value
    return {name: value for name, value in found.items() if value}


# Reports of the engine.

REPORTS: list[tuple[str, Callable[[TelemetryReporter], None], dict[str, float]]] = [
    (
        "a first attempt starts a child",
        lambda reporter: reporter.launched(Attempt(0, 1)),
        {"maprun_executions_started_total": 1, "maprun_attempts_started_total": 1},
    ),
    (
        "a later attempt belongs to the same child",
        lambda reporter: reporter.launched(Attempt(0, 2)),
        {"maprun_attempts_started_total": 1},
    ),
    (
        "a success ends a child",
        lambda reporter: reporter.recorded(outcome(ChildStatus.SUCCEEDED)),
        {"maprun_executions_succeeded_total": 1, f"{EXECUTIONS}_count": 1},
    ),
    (
        "a failure ends a child",
        lambda reporter: reporter.recorded(outcome(ChildStatus.FAILED)),
        {"maprun_executions_failed_total": 1, "maprun_attempts_failed_total": 1, f"{EXECUTIONS}_count": 1},
    ),
    (
        "a timeout ends a child",
        lambda reporter: reporter.recorded(outcome(ChildStatus.TIMED_OUT)),
        {"maprun_executions_timed_out_total": 1, "maprun_attempts_failed_total": 1, f"{EXECUTIONS}_count": 1},
    ),
    (
        "an abort ends a child",
        lambda reporter: reporter.recorded(outcome(ChildStatus.ABORTED)),
        {"maprun_executions_aborted_total": 1, f"{EXECUTIONS}_count": 1},
    ),
    (
        "a child without a known start has no duration",
        lambda reporter: reporter.recorded(outcome(ChildStatus.ABORTED, started=None)),
        {"maprun_executions_aborted_total": 1},
    ),
    (
        "a failure with a retry does not end the child",
        lambda reporter: reporter.recorded(outcome(ChildStatus.FAILED, retrier=0)),
        {"maprun_retries_total": 1, "maprun_attempts_failed_total": 1},
    ),
    (
        "a timeout with a retry does not end the child",
        lambda reporter: reporter.recorded(outcome(ChildStatus.TIMED_OUT, retrier=1)),
        {"maprun_retries_total": 1, "maprun_attempts_failed_total": 1},
    ),
    (
        "an infrastructure loss is neither an end nor a retry",
        lambda reporter: reporter.recorded(outcome(ChildStatus.LOST, retrier=-1)),
        {"maprun_attempts_lost_total": 1},
    ),
]


@pytest.mark.parametrize(("report", "expected"), [row[1:] for row in REPORTS], ids=[row[0] for row in REPORTS])
def test_each_report_is_counted_once(report: Callable[[TelemetryReporter], None], expected: dict[str, float]) -> None:
    registry = CollectorRegistry()
    report(Telemetry(registry).reporter(RUN))
    assert counted(registry) == expected


DURATIONS = [
    ("from the child's first start to its end", 10.0, 12.5, 2.5),
    ("never negative, when the clocks of two machines differ", 12.5, 12.0, 0.0),
]


@pytest.mark.parametrize(("started", "stopped", "seconds"), [r[1:] for r in DURATIONS], ids=[r[0] for r in DURATIONS])
def test_durations(started: float, stopped: float, seconds: float) -> None:
    registry = CollectorRegistry()
    Telemetry(registry).reporter(RUN).recorded(
        Outcome(0, 1, ChildStatus.SUCCEEDED, started=started, stopped=stopped),
    )
    assert values(registry, f"{EXECUTIONS}_sum") == {("lab",): seconds}


def test_a_namespace_starts_with_every_series_at_zero() -> None:
    registry = CollectorRegistry()
    with closing(Telemetry(registry).reporter(RUN)):
        assert values(registry, "maprun_executions_failed_total") == {("lab",): 0}
        assert set(values(registry, "maprun_map_runs_finished_total").values()) == {0}
        assert len(values(registry, "maprun_map_runs_finished_total")) == 3


ENDINGS = [
    ("a success", ended(), {("lab", "succeeded"): 1, ("lab", "failed"): 0, ("lab", "aborted"): 0}),
    ("a failure", ended(Failure("E")), {("lab", "succeeded"): 0, ("lab", "failed"): 1, ("lab", "aborted"): 0}),
]


@pytest.mark.parametrize(("last", "expected"), [row[1:] for row in ENDINGS], ids=[row[0] for row in ENDINGS])
async def test_the_end_of_a_run_is_counted_once(last: Snapshot, expected: dict[tuple[str, ...], float]) -> None:
    registry = CollectorRegistry()
    reporter = Telemetry(registry).reporter(RUN)
    reporter.progressed(at(Progress()))
    reporter.progressed(last)
    await reporter.finished(last)
    await reporter.finished(last)
    assert values(registry, "maprun_map_runs_finished_total") == expected


async def test_a_run_that_had_ended_before_is_not_counted_again() -> None:
    registry = CollectorRegistry()
    await Telemetry(registry).reporter(RUN).finished(ended())
    assert set(values(registry, "maprun_map_runs_finished_total").values()) == {0}


@pytest.mark.looptime
async def test_the_counters_of_a_whole_run_agree_with_its_journal() -> None:
    """Twelve children: one fails for good, one is retried once, one is lost once."""

    def handler(child: int, attempt: int) -> Outcome:
        if child == 3 or (child == 5 and attempt == 1):
            return fails(child, attempt, "Boom" if child == 3 else "Flaky")
        if child == 7 and attempt == 1:
            return Outcome(child, attempt, ChildStatus.LOST, failure=Failure("", "node gone"))
        return succeeds(child, attempt)

    world, registry = World(12, handler), CollectorRegistry()
    retry = [{"errorEquals": ["Flaky"], "intervalSeconds": 1, "maxAttempts": 3}]
    fields = {"itemProcessor": {"jobTemplate": {}, "retry": retry}, "toleratedFailureCount": 1, "maxConcurrency": 4}
    spec, fuse = msgspec.convert(fields, MapRunSpec), Fuse()
    engine = Engine(
        RUN,
        lambda: spec,
        journal=FakeJournal(world, fuse, world.writer),
        plan=FakePlan(world, fuse),
        launcher=FakeLauncher(world, fuse),
        exporter=FakeExporter(world, fuse),
        redriver=FakeRedriver(world, fuse),
        reporter=Telemetry(registry).reporter(RUN),
        clock=lambda: asyncio.get_running_loop().time(),
        rng=random.Random(1),
        settings=Settings(),
    )
    await engine.run()
    assert counted(registry) == {
        "maprun_executions_started_total": 12,
        "maprun_executions_succeeded_total": 11,
        "maprun_executions_failed_total": 1,
        "maprun_attempts_started_total": 14,
        "maprun_attempts_failed_total": 2,
        "maprun_attempts_lost_total": 1,
        "maprun_retries_total": 1,
        "maprun_map_runs_finished_total": 1,
        f"{EXECUTIONS}_count": 12,
    }


# Series of live runs.


def test_a_live_run_shows_its_items_limit_and_start() -> None:
    registry = CollectorRegistry()
    Telemetry(registry).reporter(RUN).progressed(half_way())
    states = {state: value for (_, _, state), value in values(registry, "maprun_items").items()}
    assert states == HALF_WAY
    assert values(registry, "maprun_run_concurrency_limit") == {("airports", "lab"): 4}
    assert values(registry, "maprun_run_start_time_seconds") == {("airports", "lab"): 1_790_000_007.5}
    assert values(registry, "maprun_executions_running") == {("lab",): 3}
    assert values(registry, "maprun_backlog") == {("lab",): 5}


async def finish(reporter: TelemetryReporter) -> None:
    await reporter.finished(ended())


async def give_up(reporter: TelemetryReporter) -> None:
    reporter.close()


@pytest.mark.parametrize("leave", [finish, give_up], ids=["when it ends", "when its engine stops early"])
async def test_the_series_of_a_run_vanish(leave: Callable[[TelemetryReporter], Coroutine[None, None, None]]) -> None:
    registry = CollectorRegistry()
    reporter = Telemetry(registry).reporter(RUN)
    reporter.progressed(half_way())
    assert values(registry, "maprun_map_runs_open") == {("lab",): 1}
    await leave(reporter)
    reporter.close()
    assert b'name="' not in generate_latest(registry)
    assert values(registry, "maprun_map_runs_open") == values(registry, "maprun_backlog") == {("lab",): 0}


def test_a_run_is_open_before_its_journal_is() -> None:
    registry = CollectorRegistry()
    reporter = Telemetry(registry).reporter(RUN)
    assert values(registry, "maprun_map_runs_open") == {("lab",): 1}
    assert values(registry, "maprun_items") == {}
    reporter.progressed(at(Progress()))
    assert values(registry, "maprun_run_start_time_seconds") == {}, "unknown"


def test_a_run_made_again_takes_the_place_of_the_deleted_one() -> None:
    """No series appears twice in one scrape, and the earlier engine's end leaves the later run alone."""
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    earlier = telemetry.reporter(RUN)
    later = telemetry.reporter(RunRef("lab", "airports", "another", 1_790_000_050.0))
    earlier.progressed(at(Progress(), children=1))
    later.progressed(at(Progress(), children=2))
    earlier.close()
    assert values(registry, "maprun_map_runs_open") == {("lab",): 1}
    assert sum(values(registry, "maprun_items").values()) == 2


STATUSES = st.sampled_from([ChildStatus.SUCCEEDED, ChildStatus.FAILED, ChildStatus.TIMED_OUT, ChildStatus.ABORTED])


@settings(deadline=None)
@given(st.lists(STATUSES, max_size=30), st.integers(0, 40), st.integers(0, 40))
def test_the_states_of_a_run_always_add_up_to_its_items(ends: list[ChildStatus], more: int, active: int) -> None:
    progress = Progress().with_records([Outcome(child, 1, status) for child, status in enumerate(ends)])
    registry = CollectorRegistry()
    Telemetry(registry).reporter(RUN).progressed(at(progress, children=len(ends) + more, active=active))
    shown = values(registry, "maprun_items").values()
    assert sum(shown) == len(ends) + more
    assert min(shown) >= 0


# Failed attempts by error.

FAILED = "maprun_attempts_failed_total"
AT_ZERO = {
    *("States.TaskFailed", "States.Timeout", "States.DataLimitExceeded", "Job.OOMKilled", "Job.Lost", "Job.Refused"),
    *("Job.StartFailed", "other"),
}


def by_error(registry: CollectorRegistry) -> dict[str, float]:
    return {error: value for (error, _), value in values(registry, FAILED).items()}


def failed(error: str, status: ChildStatus = ChildStatus.FAILED, retrier: int | None = None) -> Outcome:
    return Outcome(0, 1, status, failure=Failure(error), retry=None if retrier is None else Retry(retrier, 20.0))


ATTEMPTS = [
    ("a failure that ends the child", failed("Boom"), {"Boom": 1}),
    ("a failure that is retried", failed("Boom", retrier=0), {"Boom": 1}),
    ("a timeout", failed("States.Timeout", ChildStatus.TIMED_OUT), {"States.Timeout": 1}),
    ("no success", Outcome(0, 1, ChildStatus.SUCCEEDED), {}),
    ("no abort", failed("Boom", ChildStatus.ABORTED), {}),
    ("no loss: it is counted as lost", failed("Job.Lost", ChildStatus.LOST, -1), {}),
    ("a failure without a name is other", Outcome(0, 1, ChildStatus.FAILED), {"other": 1}),
    ("so is an empty name", failed(""), {"other": 1}),
    ("a long name is cut", failed("x" * 300), {"x" * 128: 1}),
    ("a name of AWS that a child uses is no foreign one", failed("States.Runtime"), {"States.Runtime": 1}),
]


@pytest.mark.parametrize(("told", "expected"), [row[1:] for row in ATTEMPTS], ids=[row[0] for row in ATTEMPTS])
def test_failed_attempts_are_counted_by_error(told: Outcome, expected: dict[str, float]) -> None:
    registry = CollectorRegistry()
    Telemetry(registry).reporter(RUN).recorded(told)
    assert by_error(registry) == dict.fromkeys(AT_ZERO, 0.0) | expected


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(), max_size=120))
def test_whatever_names_errors_have_their_series_are_few_and_their_sum_is_right(errors: list[str]) -> None:
    registry = CollectorRegistry()
    reporter = Telemetry(registry).reporter(RUN)
    for error in errors:
        reporter.recorded(failed(error))
    scraped = list(parse_text(generate_latest(registry).decode()))
    (family,) = (each for each in scraped if f"{each.name}_total" == FAILED)
    assert sum(sample.value for sample in family.samples) == len(errors)
    assert len(family.samples) <= len(OWN_ERRORS) + 30 + 1
    assert all(0 < len(sample.labels["error"]) <= 128 for sample in family.samples)


def test_the_first_thirty_foreign_names_keep_their_series_and_the_next_are_other() -> None:
    registry = CollectorRegistry()
    reporter = Telemetry(registry).reporter(RUN)
    for number in [*range(40), *range(40)]:
        reporter.recorded(failed(f"Error{number}"))
    reporter.recorded(failed("States.ResultWriterFailed"))
    named = {f"Error{number}": 2.0 for number in range(30)} | {"States.ResultWriterFailed": 1.0}
    assert by_error(registry) == dict.fromkeys(AT_ZERO, 0.0) | named | {"other": 20.0}


# More series of live runs.


def test_a_live_run_shows_its_executions_and_its_failures() -> None:
    registry = CollectorRegistry()
    Telemetry(registry).reporter(RUN).progressed(half_way())
    executions = {state: value for (_, _, state), value in values(registry, "maprun_run_executions").items()}
    assert executions == HALF_WAY
    failures = {error: value for (error, _, _), value in values(registry, "maprun_run_failures").items()}
    assert failures == {"Boom": 2, "States.Timeout": 1}


FAILURES = [
    ("names that are the same once cut are one", {"x" * 128 + "a": 2, "x" * 128 + "b": 3}, {"x" * 128: 5}),
    ("what the journal counts together is other", {OTHER_ERRORS: 4, "other": 1, "": 1}, {"other": 6}),
    ("the ten most frequent are shown", {f"E{n}": 20 - n for n in range(12)}, {f"E{n}": 20 - n for n in range(10)}),
]


@pytest.mark.parametrize(("known", "shown"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
def test_failures_of_a_run(known: dict[str, int], shown: dict[str, float]) -> None:
    registry = CollectorRegistry()
    failures = {error: FailureTally(count, "", 0) for error, count in known.items()}
    Telemetry(registry).reporter(RUN).progressed(at(Progress(failures=failures)))
    assert {error: value for (error, _, _), value in values(registry, "maprun_run_failures").items()} == shown


PROGRESS = "maprun_run_last_progress_timestamp_seconds"
MOVES: list[tuple[str, Callable[[TelemetryReporter], None], float]] = [
    ("before the first attempt it is the run's start", lambda reporter: None, 105.0),
    ("a start of an attempt counts", lambda reporter: reporter.launched(Attempt(0, 1)), 200.0),
    ("so does an end, whatever it was", lambda reporter: reporter.recorded(failed("Boom", retrier=0)), 200.0),
    ("a new look does not", lambda reporter: reporter.progressed(at(Progress(started=105.0), active=1)), 105.0),
]


@pytest.mark.parametrize(("move", "expected"), [row[1:] for row in MOVES], ids=[row[0] for row in MOVES])
def test_the_last_progress_of_a_run(move: Callable[[TelemetryReporter], None], expected: float) -> None:
    registry, now = CollectorRegistry(), [100.0]
    reporter = Telemetry(registry, lambda: now[0]).reporter(RUN)
    reporter.progressed(at(Progress(started=105.0)))
    now[0] = 200.0
    move(reporter)
    assert list(values(registry, PROGRESS).values()) == [expected]


def test_a_run_that_was_taken_over_made_no_progress_known_to_us_before() -> None:
    registry = CollectorRegistry()
    Telemetry(registry, lambda: 5000.0).reporter(RUN).progressed(at(Progress(started=105.0)))
    assert list(values(registry, PROGRESS).values()) == [5000.0]


def test_a_run_that_waits_is_counted_by_its_reason_until_it_goes_on() -> None:
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    telemetry.waits(RUN, "SecretNotFound")
    telemetry.waits(RUN, "StoreUnavailable")
    assert values(registry, "maprun_map_runs_waiting") == {("lab", "StoreUnavailable"): 1.0}
    telemetry.goes_on(RUN)
    assert values(registry, "maprun_map_runs_waiting") == {}


# Redrives.


def redriven(began: float, redrives: int = 1) -> Snapshot:
    """A run that failed and runs three of its children again."""
    redo = {ChildStatus.FAILED: Waiting(IntervalSet(range(3)), 3)}
    return at(Progress(started=1.0, redrives=redrives, round_started=began, redo=redo), children=3)


REDRIVEN = {"maprun_map_runs_redriven_total": 1, "maprun_executions_redriven_total": 3}
BEGINS = [
    pytest.param([redriven(200.0), redriven(200.0)], REDRIVEN, id="one that begins here is counted once"),
    pytest.param([redriven(50.0)], {}, id="one that an earlier operator began was counted there"),
    pytest.param([redriven(50.0), redriven(200.0, 2)], REDRIVEN, id="the next one counts again"),
]


@pytest.mark.parametrize(("looks", "expected"), BEGINS)
def test_redrives_are_counted_where_they_begin(looks: list[Snapshot], expected: dict[str, float]) -> None:
    registry = CollectorRegistry()
    reporter = Telemetry(registry, lambda: 100.0).reporter(RUN)
    for look in looks:
        reporter.progressed(look)
    assert counted(registry) == expected


async def test_a_run_that_is_redriven_after_its_end_is_live_again() -> None:
    registry = CollectorRegistry()
    reporter = Telemetry(registry).reporter(RUN)
    reporter.progressed(half_way())
    await reporter.finished(ended())
    assert values(registry, "maprun_map_runs_open") == {("lab",): 0}
    reporter.progressed(half_way())
    assert values(registry, "maprun_map_runs_open") == {("lab",): 1}
    await reporter.finished(ended())
    assert counted(registry)["maprun_map_runs_finished_total"] == 2


def test_the_ceilings_and_what_counts_against_them() -> None:
    registry, capacities = CollectorRegistry(), Capacities(5, 20)
    Telemetry(registry).shares(capacities)
    capacities.of(RUN, lambda: None).ask(3, 9)
    assert values(registry, "maprun_capacity_ceiling") == {("namespace",): 5, ("cluster",): 20}
    assert values(registry, "maprun_capacity_children") == {(): 5}
