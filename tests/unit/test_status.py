"""The status object and the events, as a user sees them in `kubectl get` and `describe`."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from maprun.core import status
from maprun.core.progress import Progress, Tally
from maprun.core.scheduling import PlanView
from maprun.core.status import Snapshot
from maprun.errors import Failure, Reason, StatesError
from maprun.model import MapRunSpec, RunRef
from maprun.model_status import MapRunStatus
from maprun.records import ChildStatus, Exported, Opened, Outcome, PlanSeal, Record, RunStatus, Verdict

RUN = RunRef("default", "airports", "6a1f", 0.0)
EXCEEDED = Failure(
    StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD, "The specified tolerated failure threshold was exceeded"
)
HINTED = Failure(StatesError.ITEM_READER_FAILED, "x" * 2_000, "spec.itemReader must be an array")
WRITER = {"resource": "s3:putObject", "parameters": {"bucket": "results", "prefix": "p"}}


def ended(
    child: int, status: ChildStatus = ChildStatus.SUCCEEDED, error: str = "Boom", cause: str = "it broke"
) -> Outcome:
    return Outcome(
        child,
        1,
        status,
        failure=None if status is ChildStatus.SUCCEEDED else Failure(error, cause),
        started=1.0,
        stopped=2.0,
    )


def snapshot(
    records: list[Record],
    *,
    children: int = 10,
    sealed: bool = True,
    active: int = 0,
    trouble: str = "",
    waiting: str = "",
    **fields: Any,
) -> Snapshot:
    spec = msgspec.convert({"maxConcurrency": 4, "itemProcessor": {"jobTemplate": {}}} | fields, MapRunSpec)
    plan = PlanView(children, children, PlanSeal(children, children, 1) if sealed else None)
    progress = Progress().with_records([Opened("w", 60.0), *records])
    place = "file:///state/output.json"
    return Snapshot(RUN, spec, "us-west-2", plan, progress, Tally(active, active), 4, 120.0, trouble, place, waiting)


SUCCEEDED = Verdict(RunStatus.SUCCEEDED, 100.0)
FAILED = Verdict(RunStatus.FAILED, 100.0, EXCEEDED)
ALL_TEN = range(10)
ALL = [ended(child) for child in ALL_TEN]
CONDITIONS: list[tuple[str, Snapshot, tuple[str, str, str]]] = [
    (
        "before the first item is read",
        snapshot([], children=0, sealed=False),
        (
            "Unknown",
            "Planning",
            "0 of 0 items succeeded, 0 failed, 0 running, 0 pending (the dataset is still being read)",
        ),
    ),
    (
        "while children run",
        snapshot([*ALL[:3], ended(3, ChildStatus.FAILED)], active=2),
        ("Unknown", "Running", "3 of 10 items succeeded, 1 failed, 2 running, 4 pending"),
    ),
    (
        "while something holds it up",
        snapshot([], waiting="quota is used up"),
        ("Unknown", "Running", "0 of 10 items succeeded, 0 failed, 0 running, 10 pending; quota is used up"),
    ),
    (
        "while results are written",
        snapshot([*ALL, SUCCEEDED]),
        ("Unknown", "Exporting", "10 of 10 items succeeded, 0 failed; writing the results"),
    ),
    (
        "at a good end",
        snapshot([*ALL, SUCCEEDED, Exported(110.0, 10)]),
        ("True", "Succeeded", "10 of 10 items succeeded, 0 failed"),
    ),
    (
        "when too much failed",
        snapshot([FAILED, Exported(110.0, 10)]),
        ("False", "ToleratedFailureThresholdExceeded", f"{EXCEEDED.error}: {EXCEEDED.cause}"),
    ),
    (
        "when too much failed, with the error that is most frequent",
        snapshot([ended(3, ChildStatus.FAILED), FAILED, Exported(110.0, 10)]),
        (
            "False",
            "ToleratedFailureThresholdExceeded",
            f"{EXCEEDED.error}: {EXCEEDED.cause} (1 of 10 items failed, most with Boom: it broke)",
        ),
    ),
    (
        "when AWS's words do not name the field",
        snapshot([Verdict(RunStatus.FAILED, 100.0, HINTED), Exported(110.0, 10)]),
        (
            "False",
            "ItemReaderFailed",
            f"States.ItemReaderFailed: {'x' * 964} (spec.itemReader must be an array)",  # 1,024 in all
        ),
    ),
    (
        "while its results cannot be written",
        snapshot([*ALL, SUCCEEDED], trouble="the bucket is away"),
        ("Unknown", "Exporting", "10 of 10 items succeeded, 0 failed; writing the results; the bucket is away"),
    ),
    (
        "while a failed run is exported",
        snapshot([FAILED]),
        ("Unknown", "ToleratedFailureThresholdExceeded", f"{EXCEEDED.error}: {EXCEEDED.cause}"),
    ),
    (
        "when the template was refused",
        snapshot(
            [
                Verdict(RunStatus.FAILED, 1.0, Failure("States.Runtime", "bad"), Reason.INVALID_JOB_TEMPLATE),
                Exported(2.0, 0),
            ]
        ),
        ("False", "InvalidJobTemplate", "States.Runtime: bad"),
    ),
    (
        "when the results could not be written",
        snapshot([*ALL, SUCCEEDED, Exported(110.0, 10, failure=Failure("States.ResultWriterFailed", "no bucket"))]),
        ("False", "ResultWriterFailed", "States.ResultWriterFailed: no bucket"),
    ),
]


@pytest.mark.parametrize(("at", "expected"), [row[1:] for row in CONDITIONS], ids=[row[0] for row in CONDITIONS])
def test_the_condition_tells_where_the_run_stands(at: Snapshot, expected: tuple[str, str, str]) -> None:
    rendered = status.render(at, 7)
    condition = rendered["conditions"][0]
    assert (condition["status"], condition["reason"], condition["message"]) == expected
    assert condition["observedGeneration"] == rendered["observedGeneration"] == 7
    msgspec.convert(rendered, MapRunStatus)


def test_counts_add_up_and_a_child_between_attempts_is_pending() -> None:
    counts = status.render(
        snapshot([ended(0), ended(1, ChildStatus.TIMED_OUT), ended(2, ChildStatus.ABORTED)], active=3), 1
    )["executionCounts"]
    assert counts == {
        "pending": 4,
        "running": 3,
        "succeeded": 1,
        "failed": 0,
        "timedOut": 1,
        "aborted": 1,
        "total": 10,
        "resultsWritten": 0,
        "failuresNotRedrivable": 0,
        "pendingRedrive": 0,
    }


def test_items_are_counted_apart_from_children() -> None:
    """As recorded while `csv_pipe_batch` ran: 4 items in 2 children, one of which runs."""
    at = snapshot([])
    running = msgspec.structs.replace(at, plan=PlanView(2, 4, PlanSeal(2, 4, 1)), active=Tally(1, 2))
    rendered = status.render(running, 1)
    assert {name: rendered["itemCounts"][name] for name in ("pending", "running", "total")} == {
        "pending": 2,
        "running": 2,
        "total": 4,
    }
    assert {name: rendered["executionCounts"][name] for name in ("pending", "running", "total")} == {
        "pending": 1,
        "running": 1,
        "total": 2,
    }


def test_at_the_end_every_record_and_every_item_in_it_is_written() -> None:
    """As recorded at the end of `csv_pipe_batch`."""
    records: list[Record] = [msgspec.structs.replace(ended(child), items=2) for child in range(2)]
    at = snapshot([*records, SUCCEEDED, Exported(1.0, 2)])
    rendered = status.render(msgspec.structs.replace(at, plan=PlanView(2, 4, PlanSeal(2, 4, 1))), 1)
    zero = {"pending", "running", "failed", "timedOut", "aborted", "failuresNotRedrivable", "pendingRedrive"}
    assert rendered["itemCounts"] == {"succeeded": 4, "total": 4, "resultsWritten": 4} | dict.fromkeys(zero, 0)
    assert rendered["executionCounts"] == {"succeeded": 2, "total": 2, "resultsWritten": 2} | dict.fromkeys(zero, 0)


def test_results_written_counts_every_record_at_the_end_pending_ones_too() -> None:
    assert status.render(snapshot([ended(0), FAILED, Exported(1.0, 10)]), 1)["itemCounts"]["resultsWritten"] == 10


def test_the_transition_time_moves_only_with_the_condition() -> None:
    first = status.render(snapshot([]), 1)
    later = status.render(msgspec.structs.replace(snapshot(ALL[:1]), now=500.0), 1, first)
    final = status.render(msgspec.structs.replace(snapshot([*ALL, SUCCEEDED, Exported(1.0, 10)]), now=900.0), 1, later)
    assert [each["conditions"][0]["lastTransitionTime"] for each in (first, later, final)] == [
        "1970-01-01T00:02:00Z",
        "1970-01-01T00:02:00Z",
        "1970-01-01T00:15:00Z",
    ]


def test_a_small_output_is_shown_and_a_large_one_is_pointed_at() -> None:
    small = status.render(snapshot([*ALL, SUCCEEDED, Exported(1.0, 10, msgspec.Raw(b"[1,2]"))]), 1)
    large = status.render(snapshot([*ALL, SUCCEEDED, Exported(1.0, 10, msgspec.Raw(b'["' + b"x" * 9000 + b'"]'))]), 1)
    assert (small["output"], "outputLocation" in small) == ([1, 2], False)
    assert (large["outputLocation"], "output" in large) == ("file:///state/output.json", False)


def test_with_a_writer_the_status_names_the_manifest() -> None:
    exported = Exported(1.0, 10, msgspec.Raw(b'{"selected":1}'), manifest="p/6a1f/manifest.json")
    rendered = status.render(snapshot([*ALL, SUCCEEDED, exported], resultWriter=WRITER), 1)
    assert rendered["resultWriterDetails"] == {"bucket": "results", "key": "p/6a1f/manifest.json"}


def test_the_most_frequent_errors_come_first_ten_at_most_each_with_one_example() -> None:
    records: list[Record] = [ended(child, ChildStatus.FAILED, f"E{child % 12}") for child in range(30)]
    failures = status.render(snapshot(records, children=30), 1)["failures"]
    assert [failure["error"] for failure in failures] == ["E0", "E1", "E2", "E3", "E4", "E5", "E10", "E11", "E6", "E7"]
    assert failures[0] == {"error": "E0", "count": 3, "cause": "it broke", "child": "airports-0"}


def test_the_status_stays_below_ten_kilobytes_whatever_fails() -> None:
    records: list[Record] = [ended(child, ChildStatus.FAILED, f"{child}" * 100, "c" * 100_000) for child in range(500)]
    assert len(msgspec.json.encode(status.render(snapshot(records, children=500), 1))) < 10_240


@pytest.mark.parametrize("letter", ["x", "中", '"'])
def test_the_status_stays_below_ten_kilobytes_with_the_largest_output_too(letter: str) -> None:
    records: list[Record] = [
        ended(child, ChildStatus.FAILED, f"{child}" + letter * 200, letter * 999) for child in ALL_TEN
    ]
    output = msgspec.Raw(msgspec.json.encode(["y" * 8_000]))
    rendered = status.render(snapshot([*records, SUCCEEDED, Exported(1.0, 10, output)]), 1)
    assert len(msgspec.json.encode(rendered)) <= 10_240
    assert rendered["output"] == ["y" * 8_000]
    assert rendered["failures"], "what went wrong is told, if only by name"


def keys(before: Snapshot | None, now: Snapshot) -> list[str]:
    return [event.key for event in status.events(before, now)]


EVENTS: list[tuple[str, Snapshot | None, Snapshot, list[str]]] = [
    ("a run begins", None, snapshot([], children=0, sealed=False), ["started"]),
    ("the dataset is read", snapshot([], sealed=False), snapshot([]), ["planned"]),
    (
        "a first error of its name",
        snapshot([]),
        snapshot([ended(0, ChildStatus.FAILED)], toleratedFailureCount=10),
        ["error.Boom"],
    ),
    (
        "a second error of its name is no event",
        snapshot([ended(0, ChildStatus.FAILED)], toleratedFailureCount=10),
        snapshot([ended(0, ChildStatus.FAILED), ended(1, ChildStatus.FAILED)], toleratedFailureCount=10),
        [],
    ),
    (
        "half of the tolerance is used",
        snapshot([ended(0, ChildStatus.FAILED)], toleratedFailureCount=4),
        snapshot([ended(0, ChildStatus.FAILED), ended(1, ChildStatus.FAILED)], toleratedFailureCount=4),
        ["tolerance.50"],
    ),
    ("the end", snapshot([*ALL, SUCCEEDED]), snapshot([*ALL, SUCCEEDED, Exported(1.0, 10)]), ["finished"]),
    ("nothing new", snapshot(ALL[:2]), snapshot(ALL[:5]), []),
    ("a store holds the run up", snapshot([]), snapshot([], trouble="away"), ["trouble.away"]),
    ("its children wait for something", snapshot([]), snapshot([], waiting="quota"), ["waiting.quota"]),
]


@pytest.mark.parametrize(("before", "now", "expected"), [row[1:] for row in EVENTS], ids=[row[0] for row in EVENTS])
def test_events_mark_the_turns_of_a_run(before: Snapshot | None, now: Snapshot, expected: list[str]) -> None:
    assert keys(before, now) == expected
