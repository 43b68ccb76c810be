"""The fold over the journal: each child once, whatever the order of its records, and back from a snapshot."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import progress
from maprun.core.progress import OTHER_ERRORS, Between, FailureTally, Progress, Tally
from maprun.errors import Failure
from maprun.records import Attempt, ChildStatus, Exported, Opened, Outcome, Record, Retry, RunStatus, Verdict


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
