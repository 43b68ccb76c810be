"""MapRun's Prometheus metrics: counters that the engine feeds, and series of live runs that are read when scraped.

Rule 1: what grows with the number of runs is read from live snapshots and vanishes with the run (design §2);
        a counter knows the namespace, never a run.
Rule 2: counters belong to this process. They start at 0, and an outcome is counted once, by the operator that made it
        durable.
Rule 3: nothing here blocks or raises; counting one outcome takes microseconds, a scrape is O(live runs).
Rule 4: names, labels and meanings are API. docs/metrics.md lists them all, and a test holds the two together.
"""

from __future__ import annotations

import platform
from collections import Counter as Tallies
from collections.abc import Iterable, Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, disable_created_metrics
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from maprun.core import status
from maprun.core.status import Snapshot
from maprun.model import RunRef
from maprun.records import Attempt, ChildStatus, Outcome, RunStatus

EXECUTION_BUCKETS: Final = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)  # seconds
FLUSH_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)  # seconds

# Values of the label `state`; the keys are AWS's counters (`aws-distributed-map.md` §6.1).
STATES: Final = {x: x for x in ("pending", "running", "succeeded", "failed", "aborted")} | {"timedOut": "timed_out"}
FINAL_RUNS: Final = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.ABORTED)


class Throttle(StrEnum):
    """Why a create had to wait, the values of the label `reason`."""

    TOO_MANY_REQUESTS = "too_many_requests"  # the API server answered 429
    QUOTA = "quota"  # a ResourceQuota of the namespace is used up
    OTHER = "other"


_THROTTLES: Final = frozenset(Throttle)


class Telemetry:
    """All metrics of one operator process, registered in `registry`; `DuplicateTimeseries` when it has one already.

    Engines report through `reporter(run)`; `throttled` is for whoever writes Jobs, `journal_flushed` for the journal.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series, and no query needs them
        self._families = _Families(registry)
        self._namespaces: dict[str, _Namespace] = {}
        self._live = _LiveRuns(self._namespaces)
        registry.register(self._live)
        Info("maprun_build", "Version of the operator and of its Python; the value is 1.", registry=registry).info(
            {"version": _version(), "python": platform.python_version()}
        )

    def reporter(self, run: RunRef) -> TelemetryReporter:
        """The reporter of one engine. The run counts as open from now until `finished` or `close`."""
        if run.namespace not in self._namespaces:
            self._namespaces[run.namespace] = _Namespace(self._families, run.namespace)
        return TelemetryReporter(run, self._namespaces[run.namespace], self._live)

    def throttled(self, reason: str) -> None:
        """A create of a child's Job was refused for now; an unknown reason counts as `other`."""
        self._families.throttled[Throttle(reason) if reason in _THROTTLES else Throttle.OTHER].inc()

    def journal_flushed(self, seconds: float, records: int) -> None:
        """A journal segment with so many records became durable, `seconds` after its write began."""
        self._families.flushes.observe(seconds)
        self._families.flushed.inc(records)


class TelemetryReporter:
    """`ports.Reporter` of one run. Whoever ends the engine early calls `close`; it is harmless after `finished`."""

    def __init__(self, run: RunRef, counts: _Namespace, live: _LiveRuns) -> None:
        self._key, self._counts, self._live = (run.namespace, run.name), counts, live
        self._unfinished = False
        self.snapshot: Snapshot | None = None
        live.add(self._key, self)

    def launched(self, attempt: Attempt) -> None:
        """Counts an attempt, and with the first one its child execution."""
        self._counts.attempts_started.inc()
        if attempt.number == 1:
            self._counts.executions_started.inc()

    def recorded(self, outcome: Outcome) -> None:
        """Counts what the attempt led to: the child's end, a retry, or another attempt after an infrastructure loss."""
        if outcome.status is ChildStatus.LOST:
            self._counts.attempts_lost.inc()
        elif outcome.retry is not None:
            self._counts.retries.inc()
        else:
            self._ended(outcome)

    def _ended(self, outcome: Outcome) -> None:
        self._counts.executions_ended[outcome.status].inc()
        if outcome.started is not None and outcome.stopped is not None:
            # The two times may come from the clocks of two machines.
            self._counts.duration.observe(max(0.0, outcome.stopped - outcome.started))

    def progressed(self, snapshot: Snapshot) -> None:
        """Keeps the snapshot for the next scrape."""
        self.snapshot = snapshot
        self._unfinished |= not snapshot.ended

    async def finished(self, snapshot: Snapshot) -> None:
        """Counts the run's end and drops its series; a run that had ended before this engine saw it was counted."""
        if self._unfinished and snapshot.ended:
            self._counts.runs_finished[snapshot.status].inc()
        self._unfinished = False
        self.close()

    def close(self) -> None:
        """The run is no longer open here; its series vanish."""
        self.snapshot = None
        self._live.remove(self._key, self)


class _Families:
    """Every counter and histogram, by the name it has in docs/metrics.md."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"maprun_{name}_total", text, labels, registry=registry)

        space = "namespace"
        self.executions_started = counter("executions_started", "Child executions that were started.", space)
        self.executions_ended = {
            ChildStatus.SUCCEEDED: counter("executions_succeeded", "Child executions that ended in SUCCEEDED.", space),
            ChildStatus.FAILED: counter("executions_failed", "Child executions that ended in FAILED.", space),
            ChildStatus.ABORTED: counter("executions_aborted", "Child executions that ended in ABORTED.", space),
            ChildStatus.TIMED_OUT: counter("executions_timed_out", "Child executions that ended in TIMED_OUT.", space),
        }
        self.attempts_started = counter("attempts_started", "Attempts that were started, retries among them.", space)
        self.attempts_lost = counter("attempts_lost", "Attempts lost to the infrastructure and made again.", space)
        self.retries = counter("retries", "Attempts that failed and are followed by a retry.", space)
        self.runs_finished = counter("map_runs_finished", "Map runs that ended, by their status.", space, "status")
        throttled = counter("throttled_creates", "Creates of Jobs that were refused for now.", "reason")
        self.throttled = {reason: throttled.labels(reason.value) for reason in Throttle}
        self.duration = Histogram(
            "maprun_execution_duration_seconds",
            "Time of child executions from the start of their first attempt to their end.",
            [space],
            registry=registry,
            buckets=EXECUTION_BUCKETS,
        )
        self.flushes = Histogram(
            "maprun_journal_flush_seconds",
            "Time until a journal segment was durable.",
            registry=registry,
            buckets=FLUSH_BUCKETS,
        )
        self.flushed = counter("journal_records", "Records that became durable in a journal.")


class _Namespace:
    """The families bound to one namespace: its series are there from its first run on; counting needs no look-up."""

    def __init__(self, families: _Families, namespace: str) -> None:
        self.executions_started = families.executions_started.labels(namespace)
        self.executions_ended = {end: family.labels(namespace) for end, family in families.executions_ended.items()}
        self.attempts_started = families.attempts_started.labels(namespace)
        self.attempts_lost = families.attempts_lost.labels(namespace)
        self.retries = families.retries.labels(namespace)
        self.duration = families.duration.labels(namespace)
        self.runs_finished = {end: families.runs_finished.labels(namespace, end.lower()) for end in FINAL_RUNS}


class _LiveRuns(Collector):
    """The series of live runs, by namespace and name: a later run of the same name takes the earlier one's place."""

    def __init__(self, namespaces: Iterable[str]) -> None:
        self._namespaces = namespaces
        self._runs: dict[tuple[str, str], TelemetryReporter] = {}

    def add(self, key: tuple[str, str], reporter: TelemetryReporter) -> None:
        self._runs[key] = reporter

    def remove(self, key: tuple[str, str], reporter: TelemetryReporter) -> None:
        if self._runs.get(key) is reporter:
            del self._runs[key]

    def collect(self) -> Iterator[Metric]:
        """Yields the same families with any number of runs."""
        runs = dict(self._runs)
        looks = [(key, run.snapshot) for key, run in runs.items() if run.snapshot is not None]
        yield self._open(runs)
        yield from self._slots([(namespace, at) for (namespace, _), at in looks])
        yield from _per_run(looks)

    describe = collect

    def _open(self, runs: Iterable[tuple[str, str]]) -> Metric:
        tallies = Tallies(namespace for namespace, _ in runs)
        return self._by_namespace("maprun_map_runs_open", "Map runs that this operator is driving.", tallies)

    def _slots(self, looks: Iterable[tuple[str, Snapshot]]) -> Iterator[Metric]:
        """Unfinished children of live runs: those that hold a slot, and those that wait for one."""
        running, waiting = Tallies[str](), Tallies[str]()
        for namespace, at in looks:
            counts = status.execution_counts(at)
            running[namespace] += counts["running"]
            waiting[namespace] += counts["pending"]
        yield self._by_namespace("maprun_executions_running", "Child executions that have a live attempt.", running)
        yield self._by_namespace("maprun_backlog", "Planned child executions of live runs that hold no slot.", waiting)

    def _by_namespace(self, name: str, text: str, tallies: Tallies[str]) -> Metric:
        family = GaugeMetricFamily(name, text, labels=["namespace"])
        for namespace in tuple(self._namespaces):
            family.add_metric([namespace], tallies[namespace])
        return family


def _per_run(looks: Iterable[tuple[tuple[str, str], Snapshot]]) -> Iterator[Metric]:
    """The series of each run. The start is unknown, and left out, until the journal is open."""
    items = GaugeMetricFamily("maprun_items", "Items of a live run by state.", labels=["namespace", "name", "state"])
    limit = GaugeMetricFamily(
        "maprun_run_concurrency_limit", "Most child executions at once in force.", labels=["namespace", "name"]
    )
    start = GaugeMetricFamily(
        "maprun_run_start_time_seconds", "Start of a live run in seconds since the epoch.", labels=["namespace", "name"]
    )
    for key, at in looks:
        counts = status.item_counts(at)
        for field, state in STATES.items():
            items.add_metric([*key, state], counts[field])
        limit.add_metric(key, at.limit)
        if at.progress.started is not None:
            start.add_metric(key, at.progress.started)
    return iter((items, limit, start))


def _version() -> str:
    """The installed package's version; a source tree on the path has none."""
    try:
        return version("maprun")
    except PackageNotFoundError:
        return "unknown"
