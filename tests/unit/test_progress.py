"""The fold over the journal: each child once, whatever the order of its records, and back from a snapshot."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import progress
from maprun.core.intervals import IntervalSet
from maprun.core.progress import OTHER_ERRORS, Progress
from maprun.core.tallies import Between, FailureTally, Tally
from maprun.errors import Failure
from maprun.records import (
    Attempt,
    ChildStatus,
    Exported,
    Opened,
    Outcome,
    Record,
    Redo,
    Redriven,
    Retry,
    RunStatus,
    Suspended,
    Verdict,
)


def ended(
    child: int,
    attempt: int = 1,
    status: ChildStatus = ChildStatus.SUCCEEDED,
    *,
    retry: Retry | None = None,
    error: str = "Boom",
    items: int = 1,
) -> Outcome:
    failure = None if status is ChildStatus.SUCCEEDED else Failure(error, f"{child}/{attempt}")
    return Outcome(child, attempt, status, items, failure=failure, started=float(attempt), retry=retry)


ROWS: list[tuple[str, list[Record], dict[str, object]]] = [
    ("nothing written is no progress", [], {"finished": Tally(), "failed_items": 0, "started": None}),
    ("the first opening is the start of the run", [Opened("a", 5.0), Opened("b", 9.0)], {"started": 5.0}),
    ("a success counts its items", [ended(0, items=3), ended(1)], {"finished": Tally(2, 4), "failed_items": 0}),
    (
        "failures and time-outs count against the tolerance, aborted children do not",
        [
            ended(0, status=ChildStatus.FAILED, items=2),
            ended(1, status=ChildStatus.TIMED_OUT),
            ended(2, status=ChildStatus.ABORTED),
        ],
        {"failed_items": 3},
    ),
    (
        "the first final outcome of a child stands",
        [ended(0), ended(0, 2, ChildStatus.FAILED)],
        {"finished": Tally(1, 1), "failed_items": 0},
    ),
    (
        "a retried attempt is not final and spends its retrier",
        [ended(0, status=ChildStatus.FAILED, retry=Retry(1, 8.0))],
        {"finished": Tally(), "retries": 1, "between": {0: Between(1, 8.0, (0, 1), 0, 1.0)}},
    ),
    (
        "a lost attempt spends no retrier",
        [ended(0, status=ChildStatus.LOST, retry=Retry(-1, 8.0))],
        {"retries": 0, "between": {0: Between(1, 8.0, (), 1, 1.0)}},
    ),
    (
        "a retry after a loss ends the row of losses",
        [ended(0, status=ChildStatus.LOST, retry=Retry(-1, 8.0)), ended(0, 2, ChildStatus.FAILED, retry=Retry(0, 9.0))],
        {"between": {0: Between(2, 9.0, (1,), 0, 1.0)}},
    ),
    (
        "an attempt that was settled before is not counted again",
        [ended(0, 2, ChildStatus.FAILED, retry=Retry(0, 9.0)), ended(0, 1)],
        {"finished": Tally()},
    ),
    (
        "the end of a child clears what waited",
        [ended(0, status=ChildStatus.FAILED, retry=Retry(0, 9.0)), ended(0, 2)],
        {"between": {}, "finished": Tally(1, 1), "retries": 1},
    ),
    (
        "an error keeps its first cause and child",
        [ended(3, status=ChildStatus.FAILED), ended(1, status=ChildStatus.FAILED)],
        {"failures": {"Boom": FailureTally(2, "3/1", 3)}},
    ),
    (
        "the first verdict stands",
        [Verdict(RunStatus.FAILED, 1.0), Verdict(RunStatus.SUCCEEDED, 2.0)],
        {"verdict": Verdict(RunStatus.FAILED, 1.0)},
    ),
]


@pytest.mark.parametrize(("records", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_progress_is_what_the_records_say(records: list[Record], expected: dict[str, object]) -> None:
    folded = Progress().with_records(records)
    assert {name: getattr(folded, name) for name in expected} == expected


FAILED, TIMED_OUT, ABORTED = ChildStatus.FAILED, ChildStatus.TIMED_OUT, ChildStatus.ABORTED
FIRST_ROUND: list[Record] = [
    Opened("a", 5.0),
    ended(0, items=3),
    ended(1, 2, status=FAILED, items=2),
    ended(2, status=TIMED_OUT),
    ended(3, 4, status=ABORTED, items=5),
    Verdict(RunStatus.FAILED, 50.0),
    Exported(51.0, 6),
]
AGAIN = Redriven(
    1, 100.0, redo={FAILED: Redo("1", 2), ABORTED: Redo("3", 5)}, only="4", before=Verdict(RunStatus.FAILED, 50.0)
)
SECOND_ROUND: list[Record] = [*FIRST_ROUND, AGAIN]


def numbers(*members: int) -> IntervalSet:
    return IntervalSet(members)


ROUNDS: list[tuple[str, list[Record], dict[str, object]]] = [
    (
        "a redrive opens verdict and export again, and its clock begins anew",
        SECOND_ROUND,
        {"redrives": 1, "verdict": None, "exported": None, "started": 5.0, "round_started": 100.0, "failures": {}},
    ),
    (
        "children to be redriven are no longer final; what it leaves is carried to its end",
        SECOND_ROUND,
        {
            "done": numbers(0, 2),
            "finished": Tally(2, 4),
            "pending_redrive": Tally(2, 7),
            "left": Tally(1, 1),
            "carried": 1,
            "begun": numbers(0, 1, 2, 3),
            "only": numbers(4),
            "before": Verdict(RunStatus.FAILED, 50.0),
        },
    ),
    (
        "attempts of redriven children count on from the largest number of any",
        SECOND_ROUND,
        {"floor": 4, "highest": 4},
    ),
    (
        "a late outcome of an earlier round is settled",
        [*SECOND_ROUND, ended(1, 4)],
        {"finished": Tally(2, 4), "pending_redrive": Tally(2, 7)},
    ),
    (
        "a redriven child that succeeds is final again",
        [*SECOND_ROUND, ended(1, 5, items=2)],
        {"finished": Tally(3, 6), "failed_items": 1, "pending_redrive": Tally(1, 5)},
    ),
    (
        "a redriven child that is retried waits like any other, its retriers are unspent",
        [*SECOND_ROUND, ended(1, 5, status=FAILED, items=2, retry=Retry(1, 110.0))],
        {
            "between": {1: Between(5, 110.0, (0, 1), 0, 5.0, 2)},
            "pending_redrive": Tally(1, 5),
            "begun": numbers(0, 1, 2, 3),
        },
    ),
    (
        "what a redrive never came to is at its end what it was before",
        [*SECOND_ROUND, ended(1, 5, items=2), Verdict(RunStatus.ABORTED, 120.0), Exported(121.0, 6)],
        {"done": numbers(0, 1, 2, 3), "finished": Tally(4, 11), "pending_redrive": Tally(), "redo": {}, "only": None},
    ),
    (
        "a redrive that reads anew has a plan of its own, the next one keeps it",
        [Exported(2.0, 0), Redriven(1, 3.0, reread=True), *FIRST_ROUND[5:], Redriven(2, 60.0)],
        {"plan": 1, "redrives": 2},
    ),
    (
        "a hold that ended is remembered by its length",
        [Opened("a", 5.0), Suspended(20.0, True), Suspended(50.0, False)],
        {"suspended_at": None, "suspended_for": 30.0},
    ),
    (
        "a hold begins once",
        [Opened("a", 5.0), Suspended(20.0, True), Suspended(30.0, True)],
        {"suspended_at": 20.0, "suspended_for": 0.0},
    ),
    ("a hold that never began does not end", [Opened("a", 5.0), Suspended(20.0, False)], {"suspended_for": 0.0}),
    (
        "a redrive of a run that is held is held from its start",
        [Opened("a", 5.0), Suspended(20.0, True), *FIRST_ROUND[5:], Redriven(1, 100.0)],
        {"suspended_at": 100.0, "suspended_for": 0.0},
    ),
]


@pytest.mark.parametrize(("records", "expected"), [row[1:] for row in ROUNDS], ids=[row[0] for row in ROUNDS])
def test_rounds_and_holds(records: list[Record], expected: dict[str, object]) -> None:
    folded = Progress().with_records(records)
    assert {name: getattr(folded, name) for name in expected} == expected
    assert progress.decode(progress.encode(folded)) == folded


@pytest.mark.parametrize(
    ("records", "seconds"),
    [
        pytest.param([], 0.0, id="a run that has not begun took no time"),
        pytest.param([Opened("a", 5.0)], 95.0, id="a run takes time from its start"),
        pytest.param([Opened("a", 5.0), Opened("b", 50.0)], 95.0, id="an operator that takes over changes nothing"),
        pytest.param([Opened("a", 5.0), Suspended(20.0, True)], 15.0, id="while it is held the clock stands still"),
        pytest.param(
            [Opened("a", 5.0), Suspended(20.0, True), Suspended(50.0, False)],
            65.0,
            id="behind the hold the clock goes on",
        ),
        pytest.param(
            [Opened("a", 5.0), Suspended(20.0, True), Suspended(2.0, False)],
            95.0,
            id="a hold in which the clock was set back takes no time away",
        ),
        pytest.param([*SECOND_ROUND], 0.0, id="a redrive begins anew"),
    ],
)
def test_a_round_takes_time_without_its_holds(records: list[Record], seconds: float) -> None:
    assert Progress().with_records(records).running_for(100.0) == seconds


def test_a_child_that_never_started_may_start_when_its_round_allows_it() -> None:
    folded = Progress().with_records(SECOND_ROUND)
    assert list(folded.never_started(7)) == [4]
    assert list(folded.never_started(4)) == []
    assert list(Progress().with_records(FIRST_ROUND).never_started(7)) == [4, 5, 6]


def test_a_snapshot_of_another_version_is_no_snapshot() -> None:
    with pytest.raises(msgspec.DecodeError):
        progress.decode(b'{"done":"0-9","progress":{"retries":1}}')


def test_a_snapshot_with_a_broken_set_is_no_snapshot() -> None:
    data = progress.encode(Progress().with_records(FIRST_ROUND))
    with pytest.raises(ValueError, match="interval set"):
        progress.decode(data.replace(b'"0-3"', b'"3-0"'))


def test_error_names_without_end_are_counted_together() -> None:
    folded = Progress().with_records(ended(child, status=ChildStatus.FAILED, error=f"E{child}") for child in range(150))
    assert len(folded.failures) == 101
    assert folded.failures[OTHER_ERRORS].count == 50


def test_an_attempt_is_settled_once_it_or_a_later_one_is_known() -> None:
    folded = Progress().with_records([ended(0), ended(1, 2, ChildStatus.FAILED, retry=Retry(0, 1.0))])
    assert [folded.settles(Attempt(*key)) for key in ((0, 1), (0, 9), (1, 1), (1, 2), (1, 3), (2, 1))] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]


retries = st.none() | st.builds(Retry, st.integers(-1, 2), st.floats(0, 1e6))
outcomes = st.builds(
    lambda child, attempt, status, items, retry, error: (
        ended(
            child,
            attempt,
            ChildStatus.LOST if retry and retry.retrier < 0 else status,
            retry=retry if status is not ChildStatus.SUCCEEDED else None,
            error=error,
            items=items,
        )
        if status is not ChildStatus.SUCCEEDED
        else ended(child, attempt, items=items)
    ),
    st.integers(0, 12),
    st.integers(1, 4),
    st.sampled_from([ChildStatus.SUCCEEDED, ChildStatus.FAILED, ChildStatus.TIMED_OUT, ChildStatus.ABORTED]),
    st.integers(1, 5),
    retries,
    st.sampled_from(["A", "B"]),
)
histories = st.lists(
    outcomes
    | st.builds(Opened, st.just("w"), st.floats(0, 9))
    | st.builds(Suspended, st.integers(0, 9).map(float), st.booleans())
    | st.builds(Exported, st.floats(0, 9), st.integers(0, 9)),
    max_size=40,
)


@given(histories, st.integers(0, 40))
def test_folding_in_two_parts_or_through_a_snapshot_is_folding_at_once(records: list[Record], cut: int) -> None:
    whole = Progress().with_records(records)
    first = Progress().with_records(records[:cut])
    assert first.with_records(records[cut:]) == whole
    assert progress.decode(progress.encode(first)).with_records(records[cut:]) == whole


@given(histories)
def test_every_final_child_is_in_exactly_one_tally(records: list[Record]) -> None:
    folded = Progress().with_records(records)
    assert folded.finished.children == len(folded.done)
    assert not set(folded.between) & set(folded.done)


@given(histories)
def test_records_survive_the_file_format(records: list[Record]) -> None:
    decoder = msgspec.json.Decoder(Record)
    assert [decoder.decode(msgspec.json.encode(record)) for record in records] == records
