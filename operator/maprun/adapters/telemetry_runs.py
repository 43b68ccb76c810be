"""Counters and durations of child executions and map runs, by namespace; the engine feeds them.

Rule 1: an outcome is counted once, by the operator that made it durable.
Rule 2: the series of a namespace are bound with its first run: from then on counting needs no look-up.
Rule 3: users choose the names of errors. The first thirty of a namespace get a series each, the rest is `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from maprun.adapters.telemetry_live import OTHER, LiveRuns, error_label
from maprun.core.progress import Progress
from maprun.core.status import Snapshot
from maprun.errors import Failure, StatesError
from maprun.model import RunRef
from maprun.records import Attempt, ChildStatus, Outcome, RunStatus

EXECUTION_BUCKETS: Final = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)  # seconds
FINAL_RUNS: Final = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.ABORTED)
FAILED_ATTEMPTS: Final = (ChildStatus.FAILED, ChildStatus.TIMED_OUT)
OWN_ERRORS: Final = frozenset(error.value for error in StatesError)
# What MapRun itself says of an attempt. Its other names are about a run; a child may use them all the same.
ATTEMPT_ERRORS: Final = (
    *(StatesError.TASK_FAILED, StatesError.TIMEOUT, StatesError.DATA_LIMIT_EXCEEDED, StatesError.JOB_OOM_KILLED),
    *(StatesError.JOB_LOST, StatesError.JOB_REFUSED, StatesError.JOB_START_FAILED),
)
FOREIGN_ERRORS: Final = 30  # names that are not MapRun's own, in one namespace


class TelemetryReporter:
    """`ports.Reporter` of one run. Whoever ends the run early calls `close`; it is harmless after `finished`."""

    def __init__(self, run: RunRef, counts: NamespaceCounts, live: LiveRuns, clock: Callable[[], float]) -> None:
        self._key, self._counts, self._live, self._clock = (run.namespace, run.name), counts, live, clock
        self._unfinished = self._closed = False
        self._begun = clock()
        self._redrives = 0  # of which we know
        self.snapshot: Snapshot | None = None
        self.moved = self._begun
        live.add(self._key, self)

    def launched(self, attempt: Attempt) -> None:
        """Counts an attempt, and with the first one its child execution."""
        self.moved = self._clock()
        self._counts.attempts_started.inc()
        if attempt.number == 1:
            self._counts.executions_started.inc()

    def recorded(self, outcome: Outcome) -> None:
        """Counts what the attempt led to: the child's end, a retry, or another attempt after an infrastructure loss."""
        self.moved = self._clock()
        if outcome.status is ChildStatus.LOST:
            self._counts.attempts_lost.inc()
            return
        if outcome.status in FAILED_ATTEMPTS:
            self._counts.errors.count(outcome.failure)
        if outcome.retry is not None:
            self._counts.retries.inc()
        else:
            self._ended(outcome)

    def _ended(self, outcome: Outcome) -> None:
        self._counts.executions_ended[outcome.status].inc()
        if outcome.started is not None and outcome.stopped is not None:
            # The two times may come from the clocks of two machines.
            self._counts.duration.observe(max(0.0, outcome.stopped - outcome.started))

    def progressed(self, snapshot: Snapshot) -> None:
        """Keeps the snapshot for the next scrape. The first one of a redrive counts it, if it began here."""
        if self._closed:  # the run ended, and is redriven
            self._closed = False
            self._live.add(self._key, self)
        self.snapshot = snapshot
        self._unfinished |= not snapshot.ended
        if snapshot.progress.redrives > self._redrives:
            self._redriven(snapshot.progress)

    def _redriven(self, progress: Progress) -> None:
        self._redrives = progress.redrives
        if progress.round_started is not None and progress.round_started >= self._begun:
            self._counts.runs_redriven.inc()
            self._counts.executions_redriven.inc(progress.pending_redrive.children)

    async def finished(self, snapshot: Snapshot) -> None:
        """Counts the run's end and drops its series; a run that had ended before we saw it was counted then."""
        if self._unfinished and snapshot.ended:
            self._counts.runs_finished[snapshot.status].inc()
        self._unfinished = False
        self.close()

    def close(self) -> None:
        """The run is no longer open here; its series vanish."""
        self._closed = True
        self.snapshot = None
        self._live.remove(self._key, self)


class Namespaces:
    """The counters of each namespace that had a run, in the order of their first ones."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._families = _Families(registry)
        self._known: dict[str, NamespaceCounts] = {}

    def of(self, namespace: str) -> NamespaceCounts:
        """The counters of a namespace; all of them are there from now on."""
        if namespace not in self._known:
            self._known[namespace] = NamespaceCounts(self._families, namespace)
        return self._known[namespace]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._known))


class _Families:
    """Every counter and histogram of runs, by the name it has in docs/metrics.md."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"maprun_{name}_total", text, ("namespace", *labels), registry=registry)

        self.executions_started = counter("executions_started", "Child executions that were started.")
        self.executions_ended = {
            ChildStatus.SUCCEEDED: counter("executions_succeeded", "Child executions that ended in SUCCEEDED."),
            ChildStatus.FAILED: counter("executions_failed", "Child executions that ended in FAILED."),
            ChildStatus.ABORTED: counter("executions_aborted", "Child executions that ended in ABORTED."),
            ChildStatus.TIMED_OUT: counter("executions_timed_out", "Child executions that ended in TIMED_OUT."),
        }
        self.attempts_started = counter("attempts_started", "Attempts that were started, retries among them.")
        self.attempts_lost = counter("attempts_lost", "Attempts lost to the infrastructure and made again.")
        self.attempts_failed = counter("attempts_failed", "Attempts that failed or timed out, by error.", "error")
        self.retries = counter("retries", "Attempts that failed and are followed by a retry.")
        self.runs_finished = counter("map_runs_finished", "Map runs that ended, by their status.", "status")
        self.runs_redriven = counter("map_runs_redriven", "Redrives of map runs that began.")
        self.executions_redriven = counter("executions_redriven", "Child executions that a redrive runs again.")
        self.duration = Histogram(
            "maprun_execution_duration_seconds",
            "Time of child executions from the start of their first attempt to their end.",
            ["namespace"],
            registry=registry,
            buckets=EXECUTION_BUCKETS,
        )


class NamespaceCounts:
    """The families bound to one namespace."""

    def __init__(self, families: _Families, namespace: str) -> None:
        self.executions_started = families.executions_started.labels(namespace)
        self.executions_ended = {end: family.labels(namespace) for end, family in families.executions_ended.items()}
        self.attempts_started = families.attempts_started.labels(namespace)
        self.attempts_lost = families.attempts_lost.labels(namespace)
        self.errors = _Errors(lambda error: families.attempts_failed.labels(namespace, error))
        self.retries = families.retries.labels(namespace)
        self.duration = families.duration.labels(namespace)
        self.runs_redriven = families.runs_redriven.labels(namespace)
        self.executions_redriven = families.executions_redriven.labels(namespace)
        self.runs_finished = {end: families.runs_finished.labels(namespace, end.lower()) for end in FINAL_RUNS}


class _Errors:
    """The counters of one namespace by error; `bind` makes one."""

    def __init__(self, bind: Callable[[str], Counter]) -> None:
        self._bind = bind
        self._bound = {error: bind(error) for error in (*map(str, ATTEMPT_ERRORS), OTHER)}
        self._room = FOREIGN_ERRORS

    def count(self, failure: Failure | None) -> None:
        """One more failed attempt."""
        error = error_label(failure.error) if failure else OTHER
        (self._bound.get(error) or self._added(error)).inc()

    def _added(self, error: str) -> Counter:
        if error not in OWN_ERRORS:
            if not self._room:
                return self._bound[OTHER]
            self._room -= 1
        return self._bound.setdefault(error, self._bind(error))
