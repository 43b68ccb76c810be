"""Result records, files and the manifest against the shapes that AWS writes (`aws-distributed-map.md` §5.3 to §5.5,
§12).
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import results
from maprun.core.finals import Finals, Place
from maprun.core.results import Names, ResultFile
from maprun.errors import Failure
from maprun.model import RunRef
from maprun.records import Batch, ChildStatus, Outcome, Retry

RUN = RunRef("default", "airports", "6a1f", 0.0)
NAMES = Names(RUN, "us-west-2", "air")
BATCH = Batch(7, 1, msgspec.Raw(b'{"IATA":"NRT"}'))
STARTED, STOPPED = 1790204325.09, 1790204326.5
COMMON = {
    "ExecutionArn": "arn:maprun:states:us-west-2:default:execution:airports/air:airports-7",
    "Input": '{"IATA":"NRT"}',
    "InputDetails": {"Included": True},
    "Name": "airports-7",
    "OutputDetails": {"Included": True},
    "RedriveCount": 0,
    "StartDate": "2026-09-23T22:58:45.09Z",
    "StateMachineArn": "arn:maprun:states:us-west-2:default:stateMachine:airports/air",
    "StopDate": "2026-09-23T22:58:46.5Z",
}
FAILED = {**COMMON, "RedriveStatus": "REDRIVABLE_BY_MAP_RUN", "Error": "Boom", "Cause": "it broke"}


def outcome(status: ChildStatus, output: bytes = b"", failure: Failure | None = None) -> Outcome:
    return Outcome(7, 1, status, output=msgspec.Raw(output), failure=failure, started=STARTED, stopped=STOPPED)


RECORDS: list[tuple[str, Outcome | None, dict[str, Any]]] = [
    (
        "a success carries its output as a JSON string",
        outcome(ChildStatus.SUCCEEDED, b'"abc"'),
        {
            **COMMON,
            "Output": '"abc"',
            "Status": "SUCCEEDED",
            "RedriveStatus": "NOT_REDRIVABLE",
            "RedriveStatusReason": "Execution is SUCCEEDED and cannot be redriven",
        },
    ),
    (
        "a failure carries error and cause and no output",
        outcome(ChildStatus.FAILED, failure=Failure("Boom", "it broke")),
        {**FAILED, "Status": "FAILED"},
    ),
    (
        "a time-out is told by its status",
        outcome(ChildStatus.TIMED_OUT, failure=Failure("Boom", "it broke")),
        {**FAILED, "Status": "TIMED_OUT"},
    ),
    (
        "an aborted child has neither error nor cause",
        outcome(ChildStatus.ABORTED),
        {**COMMON, "RedriveStatus": "REDRIVABLE_BY_MAP_RUN", "Status": "ABORTED"},
    ),
    (
        "a pending child has exactly three keys",
        None,
        {"Input": '{"IATA":"NRT"}', "InputDetails": {"Included": True}, "Status": "PENDING"},
    ),
]


@pytest.mark.parametrize(("ended", "expected"), [row[1:] for row in RECORDS], ids=[row[0] for row in RECORDS])
def test_a_record_is_what_aws_writes(ended: Outcome | None, expected: dict[str, Any]) -> None:
    written = json.loads(results.record(NAMES, BATCH, ended))
    assert written == expected
    assert list(written) == sorted(written), "AWS writes the keys in alphabetical order"


def test_the_manifest_is_compact_and_always_names_all_three_categories() -> None:
    written = results.manifest("b", "arn:x", {"FAILED": [ResultFile("p/u/FAILED_0.json", 814)]})
    files = b'{"FAILED":[{"Key":"p/u/FAILED_0.json","Size":814}],"PENDING":[],"SUCCEEDED":[]}'
    assert written == b'{"DestinationBucket":"b","MapRunArn":"arn:x","ResultFiles":' + files + b"}"


@pytest.mark.parametrize(("prefix", "folder"), [("", "u/"), ("p", "p/u/"), ("p/", "p/u/"), ("a/b", "a/b/u/")])
def test_a_slash_is_added_behind_the_prefix(prefix: str, folder: str) -> None:
    assert results.folder(prefix, "u") == folder


def test_the_output_with_a_writer_names_the_manifest() -> None:
    assert json.loads(results.exported_output("arn:x", "b", "p/manifest.json")) == {
        "MapRunArn": "arn:x",
        "ResultWriterDetails": {"Bucket": "b", "Key": "p/manifest.json"},
    }


def test_the_inline_output_stands_in_item_order_with_tolerated_failures_in_their_place() -> None:
    ended = [
        outcome(ChildStatus.SUCCEEDED, b"1"),
        outcome(ChildStatus.FAILED, failure=Failure("Boom", "it broke")),
        outcome(ChildStatus.SUCCEEDED),
    ]
    written = results.inline_output(ended)
    assert isinstance(written, bytes)
    assert json.loads(written) == [1, {"Status": "FAILED", "Error": "Boom", "Cause": "it broke"}, None]


def test_nothing_to_run_gives_an_empty_array() -> None:
    assert results.inline_output([]) == b"[]"


@pytest.mark.parametrize(
    ("size", "fits"), [(256 * 1024 - 4, True), (256 * 1024 - 3, False)], ids=["262,144 bytes fit", "one more does not"]
)
def test_an_inline_output_is_at_most_256_kib(size: int, fits: bool) -> None:
    written = results.inline_output([outcome(ChildStatus.SUCCEEDED, b'"' + b"x" * size + b'"')])
    assert isinstance(written, bytes) is fits
    if isinstance(written, Failure):
        assert written.error == "States.DataLimitExceeded"


@given(
    st.lists(
        st.binary(min_size=1, max_size=9).map(lambda raw: json.dumps(raw.hex()).encode()), min_size=1, max_size=30
    ),
    st.integers(1, 80),
)
def test_files_that_roll_over_hold_every_record_once_in_order(records: list[bytes], limit: int) -> None:
    rest, files = iter(records), []
    while (first := next(rest, None)) is not None:
        files.append(b"".join(results.array_file(rest, first, limit)))
    assert [value for file in files for value in json.loads(file)] == [json.loads(record) for record in records]
    assert all(len(file) <= limit + max(map(len, records)) + 2 for file in files)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3), st.booleans(), st.booleans()), max_size=40))
def test_the_index_finds_the_outcome_that_progress_counts(history: list[tuple[int, int, bool, bool]]) -> None:
    from maprun.core.progress import Progress

    outcomes = [
        Outcome(
            child,
            attempt,
            ChildStatus.SUCCEEDED if good else ChildStatus.FAILED,
            retry=Retry(0, 1.0) if again and not good else None,
        )
        for child, attempt, good, again in history
    ]
    finals = Finals(10)
    for line, ended in enumerate(outcomes):
        finals.add(Place(1, line), ended)
    progress = Progress().with_records(outcomes)
    placed = {name: dict(finals.of(name)) for name in results.CATEGORIES}
    assert {child for name in ("SUCCEEDED", "FAILED") for child in placed[name]} == set(progress.done)
    assert set(placed["PENDING"]) == set(range(10)) - set(progress.done)
    for name in ("SUCCEEDED", "FAILED"):
        for child, place in placed[name].items():
            assert place is not None
            assert (outcomes[place.line].child, results.category(outcomes[place.line])) == (child, name)
    assert len(placed["SUCCEEDED"]) == progress.tally(ChildStatus.SUCCEEDED).children
