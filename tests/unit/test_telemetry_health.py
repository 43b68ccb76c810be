"""How the operator itself is doing: what the adapters tell becomes series, all of them there from the start."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from maprun.adapters.telemetry_health import API_CODES, S3_CODES, OperatorHealth, Queue, Throttle
from tests.unit.live_run import values

Told = dict[tuple[str, ...], float]


def changed(tell: Callable[[OperatorHealth], None], name: str) -> Told:
    """The series of this name that are not 0 behind what is told."""
    registry = CollectorRegistry()
    tell(OperatorHealth(registry))
    return {labels: value for labels, value in values(registry, name).items() if value}


def two_waits(health: OperatorHealth) -> None:
    health.write_waited(0.5)
    health.write_waited(1.0)


def seven_records_of_which_two_are_done(health: OperatorHealth) -> None:
    health.journal_queued(7)
    health.journal_queued(-2)


def led_once(health: OperatorHealth) -> None:
    health.leads(True)
    health.leads(False)


COUNTS: list[tuple[str, str, Callable[[OperatorHealth], None], Told]] = [
    (
        "a request by verb and status",
        "maprun_api_requests_total",
        lambda health: health.api_called("create", 201, 0.02),
        {("201", "create"): 1},
    ),
    (
        "a request that got no answer",
        "maprun_api_requests_total",
        lambda health: health.api_called("get", 0, 30.0),
        {("none", "get"): 1},
    ),
    (
        "a status that was not foreseen",
        "maprun_api_requests_total",
        lambda health: health.api_called("get", 418, 0.1),
        {("418", "get"): 1},
    ),
    (
        "its time",
        "maprun_api_request_duration_seconds_sum",
        lambda health: health.api_called("get", 200, 0.25),
        {("get",): 0.25},
    ),
    (
        "a watch",
        "maprun_api_requests_total",
        lambda health: health.api_called("watch", 200, 290.0),
        {("200", "watch"): 1},
    ),
    (
        "not the time of a watch",
        "maprun_api_request_duration_seconds_count",
        lambda health: health.api_called("watch", 200, 290.0),
        {},
    ),
    (
        "a request to S3",
        "maprun_s3_requests_total",
        lambda health: health.s3_called("GetObject", 206, 0.02),
        {("206", "GetObject"): 1},
    ),
    (
        "an operation that was not foreseen",
        "maprun_s3_request_duration_seconds_count",
        lambda health: health.s3_called("HeadBucket", 200, 0.02),
        {("HeadBucket",): 1},
    ),
    (
        "a status that no standard knows",
        "maprun_s3_requests_total",
        lambda health: health.s3_called("GetObject", 999, 0.02),
        {("other", "GetObject"): 1},
    ),
    (
        "the time that writes wait",
        "maprun_api_write_wait_seconds_total",
        two_waits,
        {(): 1.5},
    ),
    (
        "a watch that broke",
        "maprun_watch_restarts_total",
        lambda health: health.watch_restarted("pods"),
        {("pods",): 1},
    ),
    (
        "records that wait and no longer wait",
        "maprun_queue_depth",
        seven_records_of_which_two_are_done,
        {("journal_records",): 5},
    ),
    (
        "the time of a flush",
        "maprun_journal_flush_seconds_sum",
        lambda health: health.journal_flushed(0.5, 9),
        {(): 0.5},
    ),
    ("its records", "maprun_journal_records_total", lambda health: health.journal_flushed(0.5, 9), {(): 9}),
    ("a write that failed", "maprun_journal_errors_total", lambda health: health.journal_failed(), {(): 1}),
    ("that it leads", "maprun_leader", lambda health: health.leads(True), {(): 1}),
    ("that it leads no longer", "maprun_leader", led_once, {}),
    ("how often it began to", "maprun_leader_transitions_total", led_once, {(): 1}),
    ("how late the loop was", "maprun_event_loop_lag_seconds_sum", lambda health: health.loop_lagged(0.25), {(): 0.25}),
    *(
        (
            f"a create put off: {reason}",
            "maprun_throttled_creates_total",
            lambda health, reason=reason: health.write_throttled(reason),
            {(label,): 1},
        )
        for reason, label in [*((each.value, each.value) for each in Throttle), ("something new", "other")]
    ),
]


@pytest.mark.parametrize(("name", "tell", "expected"), [row[1:] for row in COUNTS], ids=[row[0] for row in COUNTS])
def test_what_is_told_is_counted(name: str, tell: Callable[[OperatorHealth], None], expected: Told) -> None:
    assert changed(tell, name) == expected


def test_the_write_budget_is_read_with_each_scrape() -> None:
    registry, now = CollectorRegistry(), [100.0, 3.0]
    OperatorHealth(registry).reads(lambda: now[0], lambda: now[1])
    assert values(registry, "maprun_api_write_rate") == {(): 100.0}
    now[:] = [50.0, 8.0]
    assert values(registry, "maprun_api_write_rate") == {(): 50.0}
    assert values(registry, "maprun_queue_depth") == {("api_writes",): 8.0, ("journal_records",): 0.0}


STARTS = [
    ("maprun_api_requests_total", {(code, verb) for verb in API_CODES for code in ("none", "429", "500", "503")}),
    ("maprun_api_requests_total", {("201", "create"), ("409", "create"), ("200", "watch"), ("404", "get")}),
    ("maprun_api_request_duration_seconds_count", {(verb,) for verb in API_CODES if verb != "watch"}),
    ("maprun_s3_requests_total", {(code, operation) for operation in S3_CODES for code in ("none", "500", "503")}),
    ("maprun_s3_requests_total", {("200", "PutObject"), ("412", "PutObject"), ("204", "DeleteObject")}),
    ("maprun_s3_request_duration_seconds_count", {(operation,) for operation in S3_CODES}),
    ("maprun_watch_restarts_total", {("jobs",), ("pods",)}),
    ("maprun_queue_depth", {(queue.value,) for queue in Queue}),
    ("maprun_throttled_creates_total", {(reason.value,) for reason in Throttle}),
    ("maprun_leader", {()}),
    ("maprun_leader_transitions_total", {()}),
    *((f"maprun_{name}_total", {()}) for name in ("api_write_wait_seconds", "journal_records", "journal_errors")),
]


@pytest.mark.parametrize(("name", "expected"), STARTS)
def test_what_is_known_in_advance_is_there_at_zero(name: str, expected: set[tuple[str, ...]]) -> None:
    registry = CollectorRegistry()
    OperatorHealth(registry).reads(lambda: 0.0, lambda: 0.0)
    found = values(registry, name)
    assert expected <= set(found)
    assert set(found.values()) == {0.0}
