"""MapRun's Prometheus metrics: everything that one operator process exposes, in one registry.

Rule 1: counters and histograms belong to this process. They start at 0, and what can be known in advance is there from
        the start, so that `rate()` and `increase()` see the first event.
Rule 2: labels are bounded. A counter knows the namespace, never a run; what grows with the number of runs is read from
        live ones and vanishes with them (design §2).
Rule 3: nothing here blocks or raises; counting takes microseconds, a scrape is O(live runs).
Rule 4: names, labels and meanings are API. docs/metrics.md lists them all, and a test holds the two together.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector, disable_created_metrics

from maprun.adapters.sharing import Capacities
from maprun.adapters.telemetry_health import OperatorHealth
from maprun.adapters.telemetry_live import LiveRuns
from maprun.adapters.telemetry_runs import Namespaces, TelemetryReporter
from maprun.model import RunRef

SCOPES: Final = ("namespace", "cluster")  # values of the label `scope`


class Telemetry:
    """All metrics of one operator process, registered in `registry`; `DuplicateTimeseries` when it has one already.

    Engines report through `reporter(run)`; `health` is the observer of the adapters. `clock` gives seconds since the
    epoch.
    """

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.time) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series, and no query needs them
        self._clock = clock
        self._namespaces = Namespaces(registry)
        self._live = LiveRuns(self._namespaces, clock)
        self.health = OperatorHealth(registry)
        self._ceilings = Gauge(
            "maprun_capacity_ceiling",
            "Most children of the runs that share it; 0: no bound.",
            ["scope"],
            registry=registry,
        )
        for scope in SCOPES:
            self._ceilings.labels(scope)
        self._granted = Gauge(
            "maprun_capacity_children", "Children that count against the operator's ceilings.", registry=registry
        )
        self._restarts = Counter(
            "maprun_run_restarts_total", "Engines that met a defect and were started again.", registry=registry
        )
        registry.register(self._live)
        ProcessCollector(registry=registry)
        Info("maprun_build", "Version of the operator and of its Python; the value is 1.", registry=registry).info(
            {"version": _version(), "python": platform.python_version()}
        )

    def shares(self, capacities: Capacities) -> None:
        """Read from now on what all runs share."""
        for scope, ceiling in zip(SCOPES, (capacities.namespace_ceiling, capacities.cluster_ceiling), strict=True):
            self._ceilings.labels(scope).set(ceiling)
        self._granted.set_function(lambda: capacities.granted)

    def reporter(self, run: RunRef) -> TelemetryReporter:
        """The reporter of one run. It counts as open from now until `finished` or `close`."""
        return TelemetryReporter(run, self._namespaces.of(run.namespace), self._live, self._clock)

    def waits(self, run: RunRef, reason: str) -> None:
        """Nothing drives the run until something outside is mended; `reason` is that of its condition."""
        self._namespaces.of(run.namespace)
        self._live.waits((run.namespace, run.name), reason)

    def goes_on(self, run: RunRef) -> None:
        """It does not wait any more."""
        self._live.waits((run.namespace, run.name), "")

    def run_restarted(self) -> None:
        """The engine of a run broke, and is started again."""
        self._restarts.inc()


def _version() -> str:
    """The installed package's version; a source tree on the path has none."""
    try:
        return version("maprun")
    except PackageNotFoundError:
        return "unknown"
