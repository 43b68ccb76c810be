"""A live run half-way for the tests of metrics and probes, and how they read a registry."""

from __future__ import annotations

import msgspec
from prometheus_client import CollectorRegistry

from maprun.adapters.telemetry import Telemetry
from maprun.core.intervals import IntervalSet
from maprun.core.progress import FailureTally, Progress, Tally
from maprun.core.scheduling import PlanView
from maprun.core.status import Snapshot
from maprun.model import MapRunSpec, RunRef
from maprun.records import ChildStatus, PlanSeal

NOW = 1_790_000_100.0
RUN = RunRef("lab", "airports", "0f9c1e6a-8c3b-4c51-9a55-1a2b3c4d5e6f", 1_790_000_000.0)
SPEC = msgspec.convert({"maxConcurrency": 4, "itemProcessor": {"jobTemplate": {}}}, MapRunSpec)


def at(progress: Progress, *, children: int = 0, active: int = 0) -> Snapshot:
    """A look at a run whose plan has that many children with one item each."""
    plan = PlanView(children, children, PlanSeal(children, children, 1))
    return Snapshot(RUN, SPEC, "local", plan, progress, Tally(active, active), limit=4, now=NOW)


def half_way() -> Snapshot:
    """20 children: 12 final, 3 running, 5 waiting."""
    tallies = {
        ChildStatus.SUCCEEDED: Tally(8, 8),
        ChildStatus.FAILED: Tally(2, 2),
        ChildStatus.TIMED_OUT: Tally(1, 1),
        ChildStatus.ABORTED: Tally(1, 1),
    }
    failures = {"Boom": FailureTally(2, "", 3), "States.Timeout": FailureTally(1, "", 5)}
    done = IntervalSet().with_all(range(12))
    progress = Progress(done=done, tallies=tallies, failures=failures, started=1_790_000_007.5)
    return at(progress, children=20, active=3)


def everything() -> CollectorRegistry:
    """A registry in which each series has a sample."""
    registry = CollectorRegistry()
    made = telemetry(registry)
    made.reporter(RUN).progressed(half_way())
    made.waits(msgspec.structs.replace(RUN, name="waiting"), "SecretNotFound")
    return registry


def telemetry(registry: CollectorRegistry) -> Telemetry:
    """Metrics whose clock stands still at `NOW`."""
    return Telemetry(registry, lambda: NOW)


def values(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """The samples of this name, by the values of their labels in the order of the labels' names."""
    samples = (sample for family in registry.collect() for sample in family.samples if sample.name == name)
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in samples}
