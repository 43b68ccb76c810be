"""The events of a run: its turns, each told once, in each of its rounds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from maprun.core.events import TURNS, Event, events, looked
from maprun.core.scheduling import PlanView
from maprun.core.status import Snapshot
from maprun.errors import Reason
from maprun.records import ChildStatus, PlanSeal, Record, Redriven, Suspended
from tests.unit.looks import (
    ABORTED,
    ALL,
    DONE,
    FAILED,
    HALF,
    HELD,
    REDO,
    REDRIVEN,
    RELEASED,
    SOME_REDRIVEN,
    SUCCEEDED,
    TIMED_OUT,
    UNWRITTEN,
    ended,
    snapshot,
)

BEARS = {"toleratedFailureCount": 10}
FAILURE = ended(0, ChildStatus.FAILED)


def happened(before: Snapshot | None, now: Snapshot, generation: int = 7) -> list[Event]:
    return list(events(before, now, generation))


TURNS_OF_A_RUN: list[tuple[str, Snapshot | None, Snapshot, list[str]]] = [
    ("a run begins", None, snapshot([], children=0, sealed=False), ["started"]),
    ("the dataset is read", snapshot([], sealed=False), snapshot([]), ["planned"]),
    ("a first error of its name", snapshot([]), snapshot([FAILURE], **BEARS), ["changed.tolerance.7", "error.Boom"]),
    (
        "a second error of its name is no event",
        snapshot([FAILURE], **BEARS),
        snapshot([FAILURE, ended(1, ChildStatus.FAILED)], **BEARS),
        [],
    ),
    (
        "half of the tolerance is used",
        snapshot([FAILURE], toleratedFailureCount=4),
        snapshot([FAILURE, ended(1, ChildStatus.FAILED)], toleratedFailureCount=4),
        ["tolerance.50"],
    ),
    ("the end", snapshot([*ALL, SUCCEEDED]), snapshot([*ALL, SUCCEEDED, DONE]), ["finished"]),
    ("nothing new", snapshot(ALL[:2]), snapshot(ALL[:5]), []),
    ("a store holds the run up", snapshot([]), snapshot([], trouble="away"), ["trouble.away"]),
    ("its children wait for something", snapshot([]), snapshot([], waiting="quota"), ["waiting.quota"]),
    ("it is held", snapshot([]), snapshot([HELD], suspend=True), ["held.70.0"]),
    ("it is still held", snapshot([HELD]), snapshot([HELD]), []),
    ("it goes on", snapshot([HELD], suspend=True), snapshot([HELD, RELEASED]), ["held.70.0.no-more"]),
    ("it is held again", snapshot([HELD, RELEASED]), snapshot([HELD, RELEASED, Suspended(95.0, True)]), ["held.95.0"]),
    ("an operator finds it held", None, snapshot([HELD]), ["started", "planned", "held.70.0"]),
    ("it is aborted", snapshot(HALF, abort=True), snapshot([*HALF, ABORTED], abort=True), ["stopped"]),
    ("its time is over", snapshot([], timeoutSeconds=30), snapshot([TIMED_OUT], timeoutSeconds=30), ["stopped"]),
    ("it fails", snapshot([]), snapshot([FAILED]), []),
    ("a redrive begins", snapshot([*HALF, FAILED, DONE]), snapshot(REDRIVEN), ["redriven"]),
    ("an operator finds a redrive under way", None, snapshot(REDRIVEN), ["redriven"]),
    (
        "an error comes again in a redrive",
        snapshot(REDRIVEN),
        snapshot([*REDRIVEN, ended(3, ChildStatus.FAILED, attempt=2)]),
        ["error.Boom"],
    ),
    (
        "a redrive was over before it was told",
        snapshot([*HALF, FAILED, DONE]),
        snapshot([*REDRIVEN, ended(3, attempt=2), FAILED, DONE]),
        ["redriven", "finished"],
    ),
    (
        "an aborted run takes its verdict back after a redrive of some",
        snapshot(SOME_REDRIVEN),
        snapshot([*SOME_REDRIVEN, ended(3, attempt=2), ABORTED]),
        [],
    ),
    (
        "a run that was over takes its verdict back after a redrive of some",
        snapshot(SOME_REDRIVEN, timeoutSeconds=30),
        snapshot(
            [*SOME_REDRIVEN, ended(3, attempt=2), msgspec.structs.replace(TIMED_OUT, at=210.0)], timeoutSeconds=30
        ),
        [],
    ),
    (
        "a dataset is read anew",
        snapshot([FAILED, DONE, Redriven(1, 200.0, reread=True)], children=0, sealed=False),
        snapshot([FAILED, DONE, Redriven(1, 200.0, reread=True)]),
        ["planned"],
    ),
    (
        "an operator finds a dataset that is read anew",
        None,
        snapshot([FAILED, DONE, Redriven(1, 200.0, reread=True)]),
        ["redriven", "planned"],
    ),
]


@pytest.mark.parametrize(
    ("before", "now", "expected"), [row[1:] for row in TURNS_OF_A_RUN], ids=[row[0] for row in TURNS_OF_A_RUN]
)
def test_events_mark_the_turns_of_a_run(before: Snapshot | None, now: Snapshot, expected: list[str]) -> None:
    told = happened(before, now)
    assert [event.key for event in told] == expected
    assert {event.round for event in told} <= {now.progress.redrives}
    assert all(event.turn in TURNS for event in told)


CEILING = 1_000  # of the operator, in `snapshot`
CHANGES: list[tuple[str, Snapshot, dict[str, Any], Reason, str]] = [
    (
        "fewer than run",
        snapshot([], children=100, maxConcurrency=50, active=50),
        {"maxConcurrency": 20},
        Reason.CONCURRENCY_CHANGED,
        "maxConcurrency is 20 now, was 50; 30 more children are running than may: they are let end",
    ),
    ("more", snapshot([]), {"maxConcurrency": 9}, Reason.CONCURRENCY_CHANGED, "maxConcurrency is 9 now, was 4"),
    (
        "the operator's own ceiling",
        snapshot([]),
        {"maxConcurrency": 0},
        Reason.CONCURRENCY_CHANGED,
        "maxConcurrency is 0 now, was 4; the operator's own ceiling is 1000",
    ),
    (
        "both tolerances",
        snapshot([FAILURE], **BEARS),
        {"toleratedFailureCount": None, "toleratedFailurePercentage": "50"},
        Reason.TOLERANCE_CHANGED,
        "toleratedFailureCount is not set now, was 10; toleratedFailurePercentage is 50 now, was not set; "
        "1 items failed so far",
    ),
    (
        "a timeout that is not over",
        snapshot([]),
        {"timeoutSeconds": 300},
        Reason.TIMEOUT_CHANGED,
        "timeoutSeconds is 300 now, was not set; 240 seconds are left",
    ),
    (
        "a timeout that is over",
        snapshot([], timeoutSeconds=300),
        {"timeoutSeconds": 60},
        Reason.TIMEOUT_CHANGED,
        "timeoutSeconds is 60 now, was 300; that time is over already",
    ),
    (
        "no timeout any more",
        snapshot([], timeoutSeconds=300),
        {"timeoutSeconds": None},
        Reason.TIMEOUT_CHANGED,
        "timeoutSeconds is not set now, was 300",
    ),
]


@pytest.mark.parametrize(
    ("before", "change", "reason", "message"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES]
)
def test_a_change_of_a_limit_says_what_it_was_and_what_follows(
    before: Snapshot, change: dict[str, Any], reason: Reason, message: str
) -> None:
    (told,) = happened(before, edited(before, **change))
    assert (told.reason, told.message) == (reason, message)


def edited(at: Snapshot, **change: Any) -> Snapshot:
    """The same look under a spec with these fields in place."""
    spec = msgspec.convert(msgspec.to_builtins(at.spec) | change, type(at.spec))
    return msgspec.structs.replace(at, spec=spec, limit=spec.concurrency or CEILING)


def test_a_limit_that_changes_back_and_forth_is_told_each_time() -> None:
    """The name of an event follows from its key: the same key again would be swallowed."""
    low, high = snapshot([]), snapshot([], maxConcurrency=9)
    keys = [event.key for at in range(4) for event in happened(*((low, high) if at % 2 else (high, low)), at)]
    assert len(set(keys)) == 4


MESSAGES: list[tuple[str, Snapshot | None, Snapshot, str]] = [
    (
        "a redrive of all that did not succeed",
        None,
        snapshot(REDRIVEN),
        "Redrive 1 begins: 2 failed children, 1 aborted ones and 4 that never started run again",
    ),
    ("a redrive of one child", None, snapshot(SOME_REDRIVEN), "Redrive 1 begins: 1 failed children run again"),
    (
        "a redrive of some that never started",
        None,
        snapshot([*HALF, FAILED, DONE, Redriven(1, 200.0, {}, only="5-7,50-99")]),
        "Redrive 1 begins: 2 that never started run again",
    ),
    (
        "a redrive of a run whose dataset could not be read",
        None,
        snapshot([FAILED, DONE, Redriven(1, 200.0, reread=True)], children=0, sealed=False),
        "Redrive 1 begins: the dataset is read again",
    ),
    (
        "a redrive of a run whose results could not be written",
        None,
        snapshot([*ALL, SUCCEEDED, UNWRITTEN, Redriven(1, 200.0)]),
        "Redrive 1 begins: the results are written again",
    ),
    (
        "an abort",
        snapshot(HALF, active=2),
        snapshot([*HALF, ABORTED], active=2, abort=True),
        "spec.abort is true: 2 running children are stopped, 2 items stay pending",
    ),
    (
        "a timeout",
        snapshot(HALF, timeoutSeconds=30),
        snapshot([*HALF, TIMED_OUT], timeoutSeconds=30),
        "spec.timeoutSeconds, 30, is over: 0 running children are stopped, 4 items stay pending",
    ),
    ("a suspension", snapshot([]), snapshot([HELD]), "No child is started any more"),
    (
        "a suspension while children run",
        snapshot([], active=3),
        snapshot([HELD], active=3),
        "No child is started any more; 3 running children may end",
    ),
]


@pytest.mark.parametrize(("before", "now", "message"), [row[1:] for row in MESSAGES], ids=[row[0] for row in MESSAGES])
def test_an_event_says_it_in_numbers(before: Snapshot | None, now: Snapshot, message: str) -> None:
    assert message in [event.message for event in happened(before, now)]


def test_failures_of_an_earlier_round_do_not_use_up_the_tolerance_of_a_redrive() -> None:
    tolerant = {"toleratedFailureCount": 2}
    assert [event.key for event in happened(None, snapshot(SOME_REDRIVEN, **tolerant))] == ["redriven"]
    failed: list[Record] = [*SOME_REDRIVEN, ended(3, ChildStatus.FAILED, attempt=2)]
    (tolerance,) = (
        event
        for event in happened(snapshot(SOME_REDRIVEN, **tolerant), snapshot(failed, **tolerant))
        if event.reason is Reason.TOLERANCE
    )
    assert tolerance.message == "50 % of the tolerated failures are used: 1 items failed"


def test_what_a_ceiling_holds_up_is_told_as_such() -> None:
    (told,) = happened(snapshot([]), snapshot([], waiting="no room", capacity="no room"))
    assert (told.reason, told.message) == (Reason.WAITING_FOR_CAPACITY, "no room")


def test_a_look_at_a_run_that_has_ended_tells_its_end_only() -> None:
    (told,) = looked(snapshot([*HALF, FAILED, DONE], **BEARS), 7, asked=True)
    assert told.turn == "finished"


def test_a_redrive_of_what_has_all_succeeded_is_answered_each_time_it_is_asked_for() -> None:
    at = snapshot([*ALL, SUCCEEDED, DONE], redrives=1)
    (_, first), (_, second) = looked(at, 7, asked=True), looked(at, 8, asked=True)
    assert (first.reason, first.message) == (
        Reason.NOT_REDRIVABLE,
        "The run stays as it is: there is nothing to redrive; 10 of 10 items succeeded, 0 failed",
    )
    assert first.key != second.key


def test_redrives_that_were_wanted_from_the_beginning_are_no_question_when_all_has_succeeded() -> None:
    (told,) = looked(snapshot([*ALL, SUCCEEDED, DONE], redrives=3), 7, asked=False)
    assert told.turn == "finished"


def test_a_filter_that_chooses_nothing_is_named() -> None:
    chosen = {"errorEquals": ["Other"]}
    *_, told = looked(snapshot([*HALF, FAILED, DONE], redrives=1, redriveFilter=chosen), 7, asked=True)
    assert told.message == (
        "The run stays as it is: spec.redriveFilter chooses nothing that did not succeed; "
        "3 of 10 items succeeded, 2 failed, 1 aborted, 4 never started"
    )


def test_an_aborted_run_is_not_told_that_it_cannot_be_redriven() -> None:
    (told,) = looked(snapshot([*HALF, ABORTED, DONE], abort=True, redrives=1), 7, asked=True)
    assert told.turn == "finished"


def test_the_end_of_each_round_is_an_event_of_its_own() -> None:
    first = happened(snapshot(HALF), snapshot([*HALF, FAILED, DONE]))
    second = happened(snapshot(REDRIVEN), snapshot([*REDRIVEN, FAILED, DONE]))
    assert [(event.key, event.round) for event in (*first, *second)] == [("finished", 0), ("finished", 1)]


def test_a_plan_that_goes_on_in_a_redrive_is_not_told_by_an_operator_that_finds_it_sealed() -> None:
    view = PlanView(10, 10, PlanSeal(10, 10, 1))
    found = msgspec.structs.replace(snapshot([*HALF, FAILED, DONE, Redriven(1, 200.0, REDO)]), plan=view)
    assert [event.key for event in happened(None, found)] == ["redriven"]
