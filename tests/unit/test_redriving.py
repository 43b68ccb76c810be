"""What a redrive runs again: every way in which a run can have ended, with and without a filter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import choosing
from maprun.core.progress import Progress
from maprun.core.verdicts import EXCEEDED
from maprun.errors import Failure, Reason, StatesError, StoreUnavailable
from maprun.model import MapRunSpec, RedriveFilter
from maprun.records import ChildStatus, Exported, Opened, Outcome, Record, Redo, Redriven, Retry, RunStatus, Verdict
from maprun.redriving import JournalRedriver

FAILED, TIMED_OUT, ABORTED = ChildStatus.FAILED, ChildStatus.TIMED_OUT, ChildStatus.ABORTED
SPEC = msgspec.convert({"itemProcessor": {"jobTemplate": {}}}, MapRunSpec)
ALL: dict[str, Any] = {"errorEquals": ["States.ALL"]}


def good(child: int, attempt: int = 1) -> Outcome:
    return Outcome(child, attempt, ChildStatus.SUCCEEDED)


def bad(child: int, error: str = "Boom", status: ChildStatus = FAILED, *, attempt: int = 1, items: int = 1) -> Outcome:
    return Outcome(child, attempt, status, items, failure=Failure(error) if error else None)


def end(
    status: RunStatus = RunStatus.FAILED,
    failure: Failure | None = EXCEEDED,
    reason: str = "",
    *,
    children: int = 5,
    unwritten: Failure | None = None,
) -> list[Record]:
    return [Verdict(status, 50.0, failure, reason), Exported(60.0, children, failure=unwritten)]


MIXED: list[Record] = [
    Opened("a", 1.0),
    good(0),
    bad(1, items=10),
    bad(2, "States.Timeout", TIMED_OUT),
    bad(3, "", ABORTED),
]
SUCCEEDED = RunStatus.SUCCEEDED, None
READER = Failure(StatesError.ITEM_READER_FAILED, "no such key")


def found(records: list[Record], wanted: dict[str, Any] | None = None) -> Redriven | None:
    numbered = [(1, line, record) for line, record in enumerate(records)]
    filtered = None if wanted is None else msgspec.convert(wanted, RedriveFilter)
    return choosing.redriven(Progress().with_records(records), numbered, filtered, 100.0)


CHOICES: list[tuple[str, list[Record], dict[str, Any] | None, dict[ChildStatus, Redo], str | None]] = [
    (
        "without a filter all that did not succeed",
        [*MIXED, *end()],
        None,
        {FAILED: Redo("1", 10), TIMED_OUT: Redo("2", 1), ABORTED: Redo("3", 1)},
        None,
    ),
    ("an empty filter is none", [good(0), bad(1), *end()], {}, {FAILED: Redo("1", 1)}, None),
    ("by the name of an error", [*MIXED, *end()], {"errorEquals": ["Boom"]}, {FAILED: Redo("1", 10)}, ""),
    (
        "States.ALL stands for every error, also for none",
        [*MIXED, bad(4, "States.Runtime"), *end()],
        ALL,
        {FAILED: Redo("1,4", 11), TIMED_OUT: Redo("2", 1), ABORTED: Redo("3", 1)},
        "",
    ),
    (
        "States.TaskFailed stands for all but a timeout, as in a retrier",
        [*MIXED, bad(4, "States.Runtime"), *end()],
        {"errorEquals": ["States.TaskFailed"]},
        {FAILED: Redo("1", 10)},
        "",
    ),
    (
        "even States.Runtime may be named, which no retrier matches",
        [*MIXED, bad(4, "States.Runtime"), *end()],
        {"errorEquals": ["States.Runtime"]},
        {FAILED: Redo("4", 1)},
        "",
    ),
    (
        "by numbers, those that never started, too",
        [*MIXED, *end(children=9)],
        {"indexes": "4-6,1"},
        {FAILED: Redo("1", 10)},
        "1,4-6",
    ),
    (
        "by both: a child must be named in each, and one that never started has no error",
        [*MIXED, *end(children=9)],
        {"errorEquals": ["Boom", "States.Timeout"], "indexes": "2-6"},
        {TIMED_OUT: Redo("2", 1)},
        "",
    ),
    (
        "numbers may overlap and stand in any order",
        [*MIXED, *end(children=9)],
        {"indexes": "7,3-5,4-6"},
        {ABORTED: Redo("3", 1)},
        "3-7",
    ),
    (
        "what counts is the last error",
        [bad(0, "Flaky"), *end(children=1), Redriven(1, 70.0, {FAILED: Redo("0", 1)}), bad(0, attempt=2), *end()],
        {"errorEquals": ["Boom"]},
        {FAILED: Redo("0", 1)},
        "",
    ),
    (
        "a child that a redrive made succeed does not run again",
        [bad(0), bad(1), *end(), Redriven(1, 70.0, {FAILED: Redo("0-1", 2)}), bad(1, attempt=2), good(0, 2), *end()],
        None,
        {FAILED: Redo("1", 1)},
        None,
    ),
    (
        "a child that a redrive never came to runs again",
        [bad(0, items=3), *end(children=1), Redriven(1, 70.0, {FAILED: Redo("0", 3)}), *end(RunStatus.ABORTED, None)],
        None,
        {FAILED: Redo("0", 3)},
        None,
    ),
    (
        "a retried attempt is no end",
        [Outcome(0, 1, FAILED, failure=Failure("Flaky"), retry=Retry(0, 5.0)), bad(0, attempt=2), *end(children=1)],
        {"errorEquals": ["Boom"]},
        {FAILED: Redo("0", 1)},
        "",
    ),
    (
        "tolerated failures of a run that succeeded",
        [good(0), bad(1), *end(*SUCCEEDED, children=2)],
        None,
        {FAILED: Redo("1", 1)},
        None,
    ),
]


@pytest.mark.parametrize(
    ("records", "wanted", "redo", "only"), [row[1:] for row in CHOICES], ids=[row[0] for row in CHOICES]
)
def test_chooses(
    records: list[Record], wanted: dict[str, Any] | None, redo: dict[ChildStatus, Redo], only: str | None
) -> None:
    record = found(records, wanted)
    assert record is not None
    assert (record.redo, record.only) == (redo, only)


REDRIVABLE: list[tuple[str, list[Record], dict[str, Any] | None, bool]] = [
    ("all children succeeded", [good(0), *end(*SUCCEEDED, children=1)], None, False),
    ("an empty dataset", [*end(*SUCCEEDED, children=0)], None, False),
    ("children are pending", [good(0), *end(RunStatus.ABORTED, None, Reason.ABORTED)], None, True),
    (
        "the dataset was not read to its end when a run was aborted",
        [good(0), *end(RunStatus.ABORTED, None, Reason.ABORTED, children=1)],
        None,
        True,
    ),
    ("the dataset could not be read", end(RunStatus.FAILED, READER, children=0), None, True),
    ("the dataset could not be read, whatever the filter", end(RunStatus.FAILED, READER, children=0), ALL, True),
    (
        "the results could not be written",
        [good(0), *end(*SUCCEEDED, children=1, unwritten=Failure(StatesError.RESULT_WRITER_FAILED))],
        ALL,
        True,
    ),
    ("the filter names no error that there is", [*MIXED, *end()], {"errorEquals": ["Other"]}, False),
    ("the filter names no child that there is", [*MIXED, *end()], {"indexes": "5-9"}, False),
    ("the filter names only a child that succeeded", [*MIXED, *end()], {"indexes": "0"}, False),
    ("the filter names a child that never started", [*MIXED, *end()], {"indexes": "4"}, True),
]


@pytest.mark.parametrize(
    ("records", "wanted", "redrivable"), [row[1:] for row in REDRIVABLE], ids=[row[0] for row in REDRIVABLE]
)
def test_is_there_anything_to_redrive_when(
    records: list[Record], wanted: dict[str, Any] | None, redrivable: bool
) -> None:
    assert (found(records, wanted) is not None) is redrivable


def test_the_record_numbers_the_redrive_and_keeps_the_verdict() -> None:
    again = found([*MIXED, *end(), Redriven(1, 70.0), *end(RunStatus.ABORTED, None, Reason.ABORTED)])
    assert again is not None
    assert (again.number, again.at, again.reread) == (2, 100.0, False)
    assert again.before == Verdict(RunStatus.ABORTED, 50.0, None, Reason.ABORTED)


@pytest.mark.parametrize(
    ("records", "anew"),
    [
        pytest.param([Opened("a", 1.0), *end(children=7)], True, id="no child ever started"),
        pytest.param([good(0), *end(RunStatus.FAILED, READER, children=1)], False, id="some child had started"),
        pytest.param(
            [*end(children=7), Redriven(1, 70.0, reread=True), *end(children=7)], True, id="not even in a redrive"
        ),
    ],
)
def test_the_dataset_is_read_anew_when(records: list[Record], anew: bool) -> None:
    again = found(records)
    assert again is not None
    assert again.reread is anew


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from(list(ChildStatus)[:4]), st.integers(1, 9)),
        unique_by=lambda row: row[0],
    )
)
def test_what_is_opened_again_leaves_what_succeeded(rows: list[tuple[int, ChildStatus, int]]) -> None:
    records: list[Record] = [Outcome(child, 1, status, items, failure=Failure("Boom")) for child, status, items in rows]
    records += end(children=13)
    before, again = Progress().with_records(records), found(records)
    assert again is not None
    after = before.with_records([again])
    assert set(after.done) == {child for child, status, _ in rows if status is ChildStatus.SUCCEEDED}
    assert (after.failed_items, after.left.children) == (0, 0)
    assert after.pending_redrive.items + after.finished.items == before.finished.items
    assert after.with_records([Exported(99.0, 13)]).finished == before.finished


class Flickering:
    """A journal that can be read at the third try."""

    def __init__(self, records: list[Record]) -> None:
        self.records, self.tries = records, 0

    def records_from(self, segment: int = 1) -> Iterator[tuple[int, int, Record]]:
        self.tries += 1
        for line, record in enumerate(self.records):
            if self.tries < 3 and line == 1:
                raise StoreUnavailable("bucket state: no answer")
            yield segment, line, record


async def test_a_store_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maprun.redriving.RETRY_SECONDS", 0.0)
    records: list[Record] = [*MIXED, *end()]
    told: list[str] = []
    redriver = JournalRedriver(Flickering(records), told.append)
    record = await redriver.redriven(Progress().with_records(records), SPEC, 100.0)
    assert record == found(records)
    assert told == ["the redrive cannot begin yet: bucket state: no answer"] * 2 + [""]


async def test_the_filter_is_that_of_the_spec() -> None:
    records: list[Record] = [*MIXED, *end()]
    wanted = msgspec.structs.replace(SPEC, redrive_filter=RedriveFilter(error_equals=["Boom"]))
    reading = Flickering(records)
    reading.tries = 2
    record = await JournalRedriver(reading).redriven(Progress().with_records(records), wanted, 100.0)
    assert record == found(records, {"errorEquals": ["Boom"]})
