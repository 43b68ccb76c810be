"""The status object and what a look at a run says, as a user sees it in `kubectl get` and `describe`."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from maprun.core import rendering, status
from maprun.core.scheduling import PlanView
from maprun.core.status import Snapshot
from maprun.core.tallies import Tally
from maprun.errors import Failure, Reason, StatesError
from maprun.model_status import MapRunStatus
from maprun.records import ChildStatus, Exported, PlanSeal, Record, RunStatus, Verdict
from tests.unit.looks import (
    ABORTED,
    ALL,
    ALL_TEN,
    DONE,
    EXCEEDED,
    FAILED,
    HALF,
    HELD,
    REDRIVEN,
    RELEASED,
    SOME_REDRIVEN,
    SUCCEEDED,
    TIMED_OUT,
    UNWRITTEN,
    ended,
    snapshot,
)

HINTED = Failure(StatesError.ITEM_READER_FAILED, "x" * 2_000, "spec.itemReader must be an array")
REFUSED = Verdict(RunStatus.FAILED, 1.0, Failure("States.Runtime", "bad"), Reason.INVALID_JOB_TEMPLATE)
TOO_LARGE = Exported(110.0, 10, failure=Failure("States.DataLimitExceeded", "too large"))
UNREAD: dict[str, Any] = {"children": 0, "sealed": False}
WRITER = {"resource": "s3:putObject", "parameters": {"bucket": "results", "prefix": "p"}}
AGAIN = "; to run again what did not succeed, raise spec.redrives to 1"
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
        snapshot([*ALL, SUCCEEDED, DONE]),
        ("True", "Succeeded", "10 of 10 items succeeded, 0 failed"),
    ),
    (
        "when too much failed",
        snapshot([FAILED, DONE]),
        (
            "False",
            "ToleratedFailureThresholdExceeded",
            f"{EXCEEDED.error}: {EXCEEDED.cause} (0 of 10 items failed; 10 never started){AGAIN}",
        ),
    ),
    (
        "when too much failed, with the error that is most frequent",
        snapshot([ended(3, ChildStatus.FAILED), FAILED, DONE]),
        (
            "False",
            "ToleratedFailureThresholdExceeded",
            f"{EXCEEDED.error}: {EXCEEDED.cause} "
            f"(1 of 10 items failed, most with Boom: it broke; 9 never started){AGAIN}",
        ),
    ),
    (
        "when AWS's words do not name the field",
        snapshot([Verdict(RunStatus.FAILED, 100.0, HINTED), DONE]),
        (
            "False",
            "ItemReaderFailed",
            # 1,024 in all
            f"States.ItemReaderFailed: {'x' * (964 - len(AGAIN))} (spec.itemReader must be an array){AGAIN}",
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
        (
            "Unknown",
            "ToleratedFailureThresholdExceeded",
            f"{EXCEEDED.error}: {EXCEEDED.cause} (0 of 10 items failed)",
        ),
    ),
    (
        "when the template was refused",
        snapshot([REFUSED, Exported(2.0, 0)]),
        ("False", "InvalidJobTemplate", "States.Runtime: bad"),
    ),
    (
        "when the results could not be written",
        snapshot([*ALL, SUCCEEDED, UNWRITTEN]),
        (
            "False",
            "ResultWriterFailed",
            "States.ResultWriterFailed: no bucket; to write the results again, raise spec.redrives to 1",
        ),
    ),
    (
        "when the dataset could not be read",
        snapshot([Verdict(RunStatus.FAILED, 100.0, Failure("States.ItemReaderFailed", "gone")), DONE], **UNREAD),
        (
            "False",
            "ItemReaderFailed",
            "States.ItemReaderFailed: gone; to read the dataset again, raise spec.redrives to 1",
        ),
    ),
    (
        "when the output is too large, which it would be again",
        snapshot([*ALL, SUCCEEDED, TOO_LARGE]),
        ("False", "DataLimitExceeded", "States.DataLimitExceeded: too large"),
    ),
    (
        "while it is held and children still run",
        snapshot([*ALL[:3], HELD], active=2),
        (
            "Unknown",
            "Running",
            "3 of 10 items succeeded, 0 failed, 2 running, 5 pending; suspended: the 2 running children may end",
        ),
    ),
    (
        "while it is held and nothing runs",
        snapshot([*ALL[:3], HELD], suspend=True),
        (
            "Unknown",
            "Suspended",
            "3 of 10 items succeeded, 0 failed, 0 running, 7 pending; suspended until spec.suspend is false",
        ),
    ),
    (
        "while a ceiling of the operator lets nothing start",
        snapshot([], waiting="waits for capacity", capacity="waits for capacity"),
        (
            "Unknown",
            "WaitingForCapacity",
            "0 of 10 items succeeded, 0 failed, 0 running, 10 pending; waits for capacity",
        ),
    ),
    (
        "while a ceiling bounds what runs",
        snapshot([], active=1, waiting="waits for capacity", capacity="waits for capacity"),
        ("Unknown", "Running", "0 of 10 items succeeded, 0 failed, 1 running, 9 pending; waits for capacity"),
    ),
    (
        "while an aborted run stops its children",
        snapshot([*ALL[:3], ABORTED], active=2, abort=True),
        ("Unknown", "Aborted", "3 of 10 items succeeded, 0 failed; stopping 2 running children"),
    ),
    (
        "when it was aborted",
        snapshot([*HALF, ABORTED, DONE], abort=True),
        (
            "False",
            "Aborted",
            "3 of 10 items succeeded, 2 failed, 1 aborted, 4 never started; to run again what did not succeed, "
            "set spec.abort to false and raise spec.redrives to 1 in one edit",
        ),
    ),
    (
        "when its time was over",
        snapshot([*HALF, TIMED_OUT, DONE], timeoutSeconds=30),
        (
            "False",
            "TimedOut",
            "States.Timeout (the run took longer than the 30 seconds of spec.timeoutSeconds); "
            f"3 of 10 items succeeded, 2 failed, 1 aborted, 4 never started{AGAIN}",
        ),
    ),
    (
        "when it was aborted and its results could not be written",
        snapshot([*ALL[:9], ABORTED, UNWRITTEN]),
        ("False", "ResultWriterFailed", f"States.ResultWriterFailed: no bucket{AGAIN}"),
    ),
    (
        "while it is redriven",
        snapshot(REDRIVEN, active=1, redoing=1, redrives=1),
        (
            "Unknown",
            "Running",
            "3 of 10 items succeeded, 0 failed, 2 waiting to be redriven, 1 running, 4 pending",
        ),
    ),
    (
        "when it has failed again",
        snapshot([*SOME_REDRIVEN, ended(3, ChildStatus.FAILED, attempt=2), FAILED, DONE], redrives=1),
        (
            "False",
            "ToleratedFailureThresholdExceeded",
            f"{EXCEEDED.error}: {EXCEEDED.cause} (2 of 10 items failed, most with Boom: it broke; 4 never started); "
            "to run again what did not succeed, raise spec.redrives to 2",
        ),
    ),
    (
        "when it bears the failures that are left, and others stay aside",
        snapshot([*SOME_REDRIVEN, ended(3, attempt=2), FAILED, DONE], redrives=1, toleratedFailureCount=1),
        (
            "False",
            "ToleratedFailureThresholdExceeded",
            f"{EXCEEDED.error}: {EXCEEDED.cause} (as before redrive 1, which left some aside that did not succeed; "
            "now 1 of 10 items failed; 4 never started); to run again what did not succeed, raise spec.redrives to 2",
        ),
    ),
    (
        "when another redrive is wanted already",
        snapshot([*ALL[:9], ended(9, ChildStatus.FAILED), FAILED, DONE], redrives=1),
        (
            "False",
            "ToleratedFailureThresholdExceeded",
            f"{EXCEEDED.error}: {EXCEEDED.cause} (1 of 10 items failed, most with Boom: it broke); redrive 1 follows",
        ),
    ),
    (
        "when another redrive of some is wanted already",
        snapshot([*HALF, ABORTED, DONE], redrives=1, redriveFilter={"indexes": "3"}),
        (
            "False",
            "Aborted",
            "3 of 10 items succeeded, 2 failed, 1 aborted, 4 never started; "
            "redrive 1 follows if spec.redriveFilter chooses any of that",
        ),
    ),
    (
        "when an aborted run was to be redriven more often",
        snapshot([*HALF, ABORTED, DONE], abort=True, redrives=2),
        (
            "False",
            "Aborted",
            "3 of 10 items succeeded, 2 failed, 1 aborted, 4 never started; to run again what did not succeed, "
            "set spec.abort to false and raise spec.redrives to 3 in one edit",
        ),
    ),
]


@pytest.mark.parametrize(("at", "expected"), [row[1:] for row in CONDITIONS], ids=[row[0] for row in CONDITIONS])
def test_the_condition_tells_where_the_run_stands(at: Snapshot, expected: tuple[str, str, str]) -> None:
    rendered = rendering.render(at, 7)
    condition = rendered["conditions"][0]
    assert (condition["status"], condition["reason"], condition["message"]) == expected
    assert condition["observedGeneration"] == rendered["observedGeneration"] == 7
    msgspec.convert(rendered, MapRunStatus)


def test_counts_add_up_and_a_child_between_attempts_is_pending() -> None:
    counts = rendering.render(
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


COUNTERS: list[tuple[str, Snapshot, dict[str, int]]] = [
    (
        "what waits to be redriven is neither pending nor failed",
        snapshot(REDRIVEN),
        {"pending": 4, "running": 0, "succeeded": 3, "failed": 0, "pendingRedrive": 3, "failuresNotRedrivable": 0},
    ),
    (
        "what runs again is running",
        snapshot(REDRIVEN, active=3, redoing=2),
        {"pending": 3, "running": 3, "pendingRedrive": 1},
    ),
    (
        "what ended again is what it became",
        snapshot([*REDRIVEN, ended(3, attempt=2), ended(4, ChildStatus.FAILED, attempt=2)]),
        {"pending": 4, "succeeded": 4, "failed": 1, "timedOut": 0, "aborted": 0, "pendingRedrive": 1},
    ),
    (
        "what the redrive did not choose keeps its end, and is told apart",
        snapshot(SOME_REDRIVEN),
        {"timedOut": 1, "aborted": 1, "failuresNotRedrivable": 2, "pendingRedrive": 1, "pending": 4},
    ),
    (
        "what the redrive never came to is what it was",
        snapshot([*REDRIVEN, ABORTED, DONE]),
        {"failed": 1, "timedOut": 1, "aborted": 1, "pending": 4, "pendingRedrive": 0, "resultsWritten": 10},
    ),
]


@pytest.mark.parametrize(("at", "expected"), [row[1:] for row in COUNTERS], ids=[row[0] for row in COUNTERS])
def test_a_redrive_counts_each_item_once(at: Snapshot, expected: dict[str, int]) -> None:
    counts = status.item_counts(at)
    assert expected.items() <= counts.items()
    assert sum(counts[state] for state in STATES) == counts["total"]


STATES = ("pending", "running", "succeeded", "failed", "timedOut", "aborted", "pendingRedrive")


def test_items_are_counted_apart_from_children() -> None:
    """As recorded while `csv_pipe_batch` ran: 4 items in 2 children, one of which runs."""
    at = snapshot([])
    running = msgspec.structs.replace(at, plan=PlanView(2, 4, PlanSeal(2, 4, 1)), active=Tally(1, 2))
    rendered = rendering.render(running, 1)
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
    rendered = rendering.render(msgspec.structs.replace(at, plan=PlanView(2, 4, PlanSeal(2, 4, 1))), 1)
    zero = {"pending", "running", "failed", "timedOut", "aborted", "failuresNotRedrivable", "pendingRedrive"}
    assert rendered["itemCounts"] == {"succeeded": 4, "total": 4, "resultsWritten": 4} | dict.fromkeys(zero, 0)
    assert rendered["executionCounts"] == {"succeeded": 2, "total": 2, "resultsWritten": 2} | dict.fromkeys(zero, 0)


def test_results_written_counts_every_record_at_the_end_pending_ones_too() -> None:
    assert rendering.render(snapshot([ended(0), FAILED, Exported(1.0, 10)]), 1)["itemCounts"]["resultsWritten"] == 10


def test_the_transition_time_moves_only_with_the_condition() -> None:
    first = rendering.render(snapshot([]), 1)
    later = rendering.render(msgspec.structs.replace(snapshot(ALL[:1]), now=500.0), 1, first)
    final = rendering.render(
        msgspec.structs.replace(snapshot([*ALL, SUCCEEDED, Exported(1.0, 10)]), now=900.0), 1, later
    )
    assert [each["conditions"][0]["lastTransitionTime"] for each in (first, later, final)] == [
        "1970-01-01T00:02:00Z",
        "1970-01-01T00:02:00Z",
        "1970-01-01T00:15:00Z",
    ]


ENDING = {"completionTime", "output", "resultWriterDetails"}


def test_a_redrive_takes_the_end_back_and_keeps_the_start() -> None:
    end = Exported(110.0, 10, msgspec.Raw(b"[]"), manifest="p/6a1f/manifest.json")
    before = rendering.render(snapshot([*HALF, FAILED, end], resultWriter=WRITER), 1)
    during = rendering.render(snapshot(REDRIVEN, resultWriter=WRITER), 2)
    assert before.keys() >= ENDING
    assert not ENDING & during.keys()
    assert set(rendering.PASSING) == ENDING | {"redriveTime", "outputLocation"}
    assert (before["redriveCount"], "redriveTime" in before) == (0, False)
    assert (during["redriveCount"], during["redriveTime"]) == (1, "1970-01-01T00:03:20Z")
    assert before["startTime"] == during["startTime"] == "1970-01-01T00:01:00Z"


@pytest.mark.parametrize(
    ("records", "spec", "expected"),
    [
        pytest.param([], {}, None, id="a run that was never held"),
        pytest.param([HELD], {"suspend": True}, ("True", "Suspended"), id="a run that is held"),
        pytest.param([HELD, RELEASED], {}, ("False", "Resumed"), id="a run that goes on"),
        pytest.param([HELD, ABORTED, DONE], {"suspend": True}, ("False", "Aborted"), id="a run that ended held"),
    ],
)
def test_a_second_condition_tells_whether_a_run_is_held(
    records: list[Record], spec: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    rendered = rendering.render(snapshot(records, **spec), 1)
    told = {each["type"]: (each["status"], each["reason"]) for each in rendered["conditions"]}
    assert told.get("Suspended") == expected
    msgspec.convert(rendered, MapRunStatus)


def test_a_run_that_was_held_says_so_in_later_redrives_too() -> None:
    held = rendering.render(snapshot([HELD, RELEASED]), 1)
    later = rendering.render(snapshot(REDRIVEN), 2, held)
    assert [each["type"] for each in later["conditions"]] == ["Succeeded", "Suspended"]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param([*ALL, SUCCEEDED], RunStatus.RUNNING, id="as long as the results are not written"),
        pytest.param([*ALL, SUCCEEDED, DONE], RunStatus.SUCCEEDED, id="a good end"),
        pytest.param([*ALL, SUCCEEDED, UNWRITTEN], RunStatus.FAILED, id="a good end without results"),
        pytest.param([FAILED, DONE], RunStatus.FAILED, id="too many failures"),
        pytest.param([ABORTED, DONE], RunStatus.ABORTED, id="an abort"),
        pytest.param([TIMED_OUT, DONE], RunStatus.ABORTED, id="a timeout"),
        pytest.param([TIMED_OUT, UNWRITTEN], RunStatus.FAILED, id="a timeout without results"),
        pytest.param(REDRIVEN, RunStatus.RUNNING, id="a redrive"),
    ],
)
def test_the_status_is_that_of_the_verdict_once_the_results_are_written(
    records: list[Record], expected: RunStatus
) -> None:
    assert snapshot(records).status is expected


def test_a_small_output_is_shown_and_a_large_one_is_pointed_at() -> None:
    small = rendering.render(snapshot([*ALL, SUCCEEDED, Exported(1.0, 10, msgspec.Raw(b"[1,2]"))]), 1)
    large = rendering.render(
        snapshot([*ALL, SUCCEEDED, Exported(1.0, 10, msgspec.Raw(b'["' + b"x" * 9000 + b'"]'))]), 1
    )
    assert (small["output"], "outputLocation" in small) == ([1, 2], False)
    assert (large["outputLocation"], "output" in large) == ("file:///state/output.json", False)


LARGEST = b'"' + b"x" * 8_190 + b'"'


@pytest.mark.parametrize(
    ("output", "manifest", "shown"),
    [
        pytest.param(LARGEST, "", True, id="8 KiB"),
        pytest.param(b"[" + b"1," * 4_095 + b"1]", "", False, id="one byte more"),
        pytest.param(LARGEST, "p/6a1f/manifest.json", False, id="8 KiB beside the manifest's key"),
        pytest.param(b"[" + b"1e15," * 1_000 + b"1]", "", False, id="numbers that are longer in a status"),
    ],
)
def test_an_output_is_shown_as_long_as_it_leaves_room_in_the_status(output: bytes, manifest: str, shown: bool) -> None:
    exported = Exported(1.0, 10, msgspec.Raw(output), manifest=manifest)
    rendered = rendering.render(snapshot([*ALL, SUCCEEDED, exported], resultWriter=WRITER), 1)
    assert ("output" in rendered, "outputLocation" in rendered) == (shown, not shown)
    assert len(msgspec.json.encode(rendered)) <= 10_240


def test_with_a_writer_the_status_names_the_manifest() -> None:
    exported = Exported(1.0, 10, msgspec.Raw(b'{"selected":1}'), manifest="p/6a1f/manifest.json")
    rendered = rendering.render(snapshot([*ALL, SUCCEEDED, exported], resultWriter=WRITER), 1)
    assert rendered["resultWriterDetails"] == {"bucket": "results", "key": "p/6a1f/manifest.json"}


def test_the_most_frequent_errors_come_first_ten_at_most_each_with_one_example() -> None:
    records: list[Record] = [ended(child, ChildStatus.FAILED, f"E{child % 12}") for child in range(30)]
    failures = rendering.render(snapshot(records, children=30), 1)["failures"]
    assert [failure["error"] for failure in failures] == ["E0", "E1", "E2", "E3", "E4", "E5", "E10", "E11", "E6", "E7"]
    assert failures[0] == {"error": "E0", "count": 3, "cause": "it broke", "child": "airports-0"}


def test_the_status_stays_below_ten_kilobytes_whatever_fails() -> None:
    records: list[Record] = [ended(child, ChildStatus.FAILED, f"{child}" * 100, "c" * 100_000) for child in range(500)]
    assert len(msgspec.json.encode(rendering.render(snapshot(records, children=500), 1))) < 10_240


@pytest.mark.parametrize("letter", ["x", "中", '"'])
def test_the_status_stays_below_ten_kilobytes_with_the_largest_output_too(letter: str) -> None:
    records: list[Record] = [
        ended(child, ChildStatus.FAILED, f"{child}" + letter * 200, letter * 999) for child in ALL_TEN
    ]
    output = msgspec.Raw(msgspec.json.encode(["y" * 8_000]))
    rendered = rendering.render(snapshot([*records, SUCCEEDED, Exported(1.0, 10, output)]), 1)
    assert len(msgspec.json.encode(rendered)) <= 10_240
    assert rendered["output"] == ["y" * 8_000]
    assert rendered["failures"], "what went wrong is told, if only by name"
