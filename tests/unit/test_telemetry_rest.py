"""Why a run starts nothing although nothing is wrong."""

from __future__ import annotations

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from maprun.adapters.telemetry_rest import Rest, rests
from maprun.core.intervals import IntervalSet
from maprun.core.progress import Between, Progress, Tally
from maprun.core.tallies import Waiting
from maprun.records import ChildStatus
from tests.unit.live_run import NOW, at, half_way, telemetry, values
from tests.unit.live_run import RUN as run

SOON = Between(1, NOW + 60)
DUE = Between(1, NOW - 1)


@pytest.mark.parametrize(
    ("between", "waiting", "expected"),
    [
        pytest.param([], 0, False, id="nothing waits"),
        pytest.param([SOON], 1, True, id="the one child that waits has its time"),
        pytest.param([SOON, SOON], 2, True, id="all that wait have their time"),
        pytest.param([SOON], 2, False, id="another child could start"),
        pytest.param([SOON, DUE], 2, False, id="the time of one has come"),
        pytest.param([DUE], 1, False, id="the time has come"),
        pytest.param([SOON, SOON], 1, True, id="one of them was counted as running a moment ago"),
    ],
)
def test_retries_explain_the_rest_only_when_they_explain_all_of_it(
    between: list[Between], waiting: int, expected: bool
) -> None:
    progress = Progress(between=dict(enumerate(between)))
    assert rests(at(progress, children=9), waiting, NOW)[Rest.RETRIES] is expected


def test_a_run_that_is_held_rests() -> None:
    held = at(Progress(started=1.0, suspended_at=2.0), children=9)
    assert rests(held, 9, NOW) == {Rest.SUSPENDED: True, Rest.CAPACITY: False, Rest.RETRIES: False}


def test_a_run_under_a_ceiling_rests() -> None:
    full = msgspec.structs.replace(half_way(), capacity="waits for capacity: 2 of 2")
    assert rests(full, 5, NOW) == {Rest.SUSPENDED: False, Rest.CAPACITY: True, Rest.RETRIES: False}


def test_every_live_run_says_of_each_reason_whether_it_holds() -> None:
    registry = CollectorRegistry()
    reporter = telemetry(registry).reporter(run)
    reporter.progressed(msgspec.structs.replace(half_way(), capacity="waits for capacity"))
    key = (run.name, run.namespace)
    found = values(registry, "maprun_run_resting")
    assert found == {(*key, "suspended"): 0, (*key, "capacity"): 1, (*key, "retries"): 0}
    reporter.close()
    assert values(registry, "maprun_run_resting") == {}


def test_children_that_wait_to_be_redriven_are_part_of_the_backlog() -> None:
    registry = CollectorRegistry()
    redo = {ChildStatus.FAILED: Waiting(IntervalSet().with_all([3, 4]), 2)}
    done, succeeded = IntervalSet().with_all(range(3)), {ChildStatus.SUCCEEDED: Tally(3, 3)}
    progress = Progress(done=done, begun=IntervalSet().with_all(range(5)), tallies=succeeded, redo=redo, redrives=2)
    telemetry(registry).reporter(run).progressed(at(progress, children=6))
    states = {state: value for (_, _, state), value in values(registry, "maprun_run_executions").items()}
    assert (states["pending"], states["pending_redrive"]) == (1, 2)
    assert values(registry, "maprun_backlog") == {(run.namespace,): 3}
    assert values(registry, "maprun_run_redrives") == {(run.name, run.namespace): 2}
