"""The series of live runs: read from their snapshots when Prometheus scrapes, gone with the run.

Rule 1: nothing is remembered here but the runs that are live. A scrape is O(their number), with at most
        `SERIES_OF_A_RUN` series each.
Rule 2: a scrape runs in a thread: it copies what may change meanwhile, and reads immutable snapshots.
Rule 3: no series comes twice in one scrape: of two runs of one name, the later takes the earlier one's place.
"""

from __future__ import annotations

import time
from collections import Counter as Tallies
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from maprun.adapters.telemetry_rest import Rest, rests
from maprun.core import status
from maprun.core.progress import OTHER_ERRORS
from maprun.core.status import Snapshot

# Values of the label `state`; the keys are AWS's counters (`aws-distributed-map.md` §6.1).
STATES: Final = {x: x for x in ("pending", "running", "succeeded", "failed", "aborted")} | {
    "timedOut": "timed_out",
    "pendingRedrive": "pending_redrive",
}
OTHER: Final = "other"  # value of the label `error` for all names that have no series of their own
ERROR_LENGTH: Final = 128  # characters
SERIES_OF_A_RUN: Final = 2 * len(STATES) + status.FAILURES_SHOWN + len(Rest) + 4

Key = tuple[str, str]
"""Namespace and name."""


class LiveRun(Protocol):
    """What is shown of a run: its last snapshot, if there is one, and when something last moved (seconds since the
    epoch).
    """

    @property
    def snapshot(self) -> Snapshot | None: ...
    @property
    def moved(self) -> float: ...


def error_label(error: str) -> str:
    """An error's name as the value of a label. What a journal counts together is `other` here, and so is no name."""
    return error[:ERROR_LENGTH] if error and error != OTHER_ERRORS else OTHER


class LiveRuns(Collector):
    """The live runs by namespace and name. `namespaces`: all that ever had a run."""

    def __init__(self, namespaces: Iterable[str], clock: Callable[[], float] = time.time) -> None:
        self._namespaces, self._clock = namespaces, clock
        self._runs: dict[Key, LiveRun] = {}
        self._waiting: dict[Key, str] = {}

    def add(self, key: Key, run: LiveRun) -> None:
        """The run is live from now on."""
        self._runs[key] = run

    def remove(self, key: Key, run: LiveRun) -> None:
        """It is not any more; a later run of the same name stays."""
        if self._runs.get(key) is run:
            del self._runs[key]

    def waits(self, key: Key, reason: str) -> None:
        """The run waits for something outside, for a `reason` of its condition; "" when it does not."""
        if reason:
            self._waiting[key] = reason
        else:
            self._waiting.pop(key, None)

    def collect(self) -> Iterator[Metric]:
        """Yields the same families with any number of runs."""
        runs = dict(self._runs)
        looks = [_Look(key, at, run.moved) for key, run in runs.items() if (at := run.snapshot) is not None]
        yield self._by_namespace(
            "maprun_map_runs_open", "Map runs that this operator is driving.", ((namespace, 1) for namespace, _ in runs)
        )
        yield self._by_namespace(
            "maprun_executions_running",
            "Child executions that have a live attempt.",
            ((look.key[0], look.executions["running"]) for look in looks),
        )
        yield self._by_namespace(
            "maprun_backlog",
            "Planned child executions of live runs that hold no slot.",
            ((look.key[0], look.waiting) for look in looks),
        )
        yield _waiting(dict(self._waiting))
        yield from (_states(looks, *family) for family in _BY_STATE)
        yield _failures(looks)
        yield _resting(looks, self._clock())
        yield from _moments(looks)

    describe = collect

    def _by_namespace(self, name: str, text: str, parts: Iterable[tuple[str, int]]) -> Metric:
        sums = Tallies[str]()
        for namespace, count in parts:
            sums[namespace] += count
        family = GaugeMetricFamily(name, text, labels=["namespace"])
        for namespace in self._namespaces:
            family.add_metric([namespace], sums[namespace])
        return family


class _Look:
    """One run at one scrape."""

    def __init__(self, key: Key, at: Snapshot, moved: float) -> None:
        self.key, self.at, self.moved = key, at, moved
        self.items, self.executions = status.item_counts(at), status.execution_counts(at)
        self.waiting = self.executions["pending"] + self.executions["pendingRedrive"]


_BY_STATE: Final = (
    ("maprun_items", "Items of a live run by state.", "items"),
    ("maprun_run_executions", "Child executions of a live run by state.", "executions"),
)


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["namespace", "name", *labels])


def _states(looks: Sequence[_Look], name: str, text: str, unit: str) -> Metric:
    family = _family(name, text, "state")
    for look in looks:
        counts: dict[str, int] = getattr(look, unit)
        for field, state in STATES.items():
            family.add_metric([*look.key, state], counts[field])
    return family


def _waiting(reasons: Mapping[Key, str]) -> Metric:
    family = GaugeMetricFamily(
        "maprun_map_runs_waiting",
        "Map runs that nothing drives until something outside is mended.",
        labels=["namespace", "reason"],
    )
    for label, count in Tallies((namespace, reason) for (namespace, _), reason in reasons.items()).items():
        family.add_metric(label, count)
    return family


def _failures(looks: Sequence[_Look]) -> Metric:
    """The most frequent errors of each run. Names that are the same once they are cut are counted together."""
    family = _family("maprun_run_failures", "Child executions of a live run that failed, by error.", "error")
    for look in looks:
        counts = Tallies[str]()
        for each in status.failures(look.at):
            counts[error_label(each["error"])] += each["count"]
        for error, count in counts.items():
            family.add_metric([*look.key, error], count)
    return family


def _resting(looks: Sequence[_Look], now: float) -> Metric:
    family = _family("maprun_run_resting", "Whether a live run starts nothing for this reason, and rightly.", "reason")
    for look in looks:
        for reason, holds in rests(look.at, look.waiting, now).items():
            family.add_metric([*look.key, reason.value], holds)
    return family


def _moments(looks: Sequence[_Look]) -> Iterator[Metric]:
    """The start is unknown, and left out, until the journal is open."""
    limit = _family("maprun_run_concurrency_limit", "Most child executions at once in force.")
    redrives = _family("maprun_run_redrives", "Which redrive of a live run this is; 0 is its first life.")
    start = _family("maprun_run_start_time_seconds", "Start of a live run in seconds since the epoch.")
    moved = _family(
        "maprun_run_last_progress_timestamp_seconds",
        "Last start or end of an attempt of a live run in seconds since the epoch.",
    )
    for look in looks:
        started = look.at.progress.started
        limit.add_metric(look.key, look.at.limit)
        redrives.add_metric(look.key, look.at.progress.redrives)
        moved.add_metric(look.key, max(look.moved, started or 0.0))
        if started is not None:
            start.add_metric(look.key, started)
    return iter((limit, redrives, start, moved))
