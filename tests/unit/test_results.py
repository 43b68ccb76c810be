"""Result records, files and the manifest against the shapes that AWS writes (`aws-distributed-map.md` §5.3 to §5.5,
§12), and where their outcomes are found.
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
from maprun.core.results import Again, Names, ResultFile
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
        "an aborted child has a cause and no error",  # radkawar/stackd, redrive_map.json: Redrive-1/FAILED_0.json
        outcome(ChildStatus.ABORTED),
        {
            **COMMON,
            "Cause": "The map run execution [arn:maprun:states:us-west-2:default:mapRun:airports/air:6a1f] which was "
            "managing this resource was aborted",
            "RedriveStatus": "REDRIVABLE_BY_MAP_RUN",
            "Status": "ABORTED",
        },
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


# Records of a failed, a pending and a succeeded child as AWS wrote them, byte for byte, but for the names and ARNs.
OURS = (
    '"ExecutionArn":"arn:maprun:states:us-west-2:default:execution:airports/air:airports-7",%s"Name":"airports-7",%s'
    '"StateMachineArn":"arn:maprun:states:us-west-2:default:stateMachine:airports/air",%s'
)
RECORDED: list[tuple[str, str, Outcome | None, str]] = [
    (
        "cancel_pending: FAILED_0.json",
        '{"index":0,"source":"STATE_DATA","value":{"n":0,"wait":25,"fail":true}}',
        Outcome(
            7,
            1,
            ChildStatus.FAILED,
            failure=Failure("OwnedItemFailure", "intentional bounded native observation"),
            started=1790204299.314,
            stopped=1790204324.406,
        ),
        r'{"Cause":"intentional bounded native observation","Error":"OwnedItemFailure",'
        + OURS
        % (
            r'"Input":"{\"index\":0,\"source\":\"STATE_DATA\",\"value\":{\"n\":0,\"wait\":25,\"fail\":true}}",'
            r'"InputDetails":{"Included":true},',
            '"OutputDetails":{"Included":true},"RedriveCount":0,"RedriveStatus":"REDRIVABLE_BY_MAP_RUN",'
            '"StartDate":"2026-09-23T22:58:19.314Z",',
            '"Status":"FAILED","StopDate":"2026-09-23T22:58:44.406Z"}',
        ),
    ),
    (
        "cancel_pending: PENDING_0.json",
        '{"index":2,"source":"STATE_DATA","value":{"n":2,"wait":0,"fail":false}}',
        None,
        r'{"Input":"{\"index\":2,\"source\":\"STATE_DATA\",\"value\":{\"n\":2,\"wait\":0,\"fail\":false}}",'
        r'"InputDetails":{"Included":true},"Status":"PENDING"}',
    ),
    (
        "csv_pipe_batch: SUCCEEDED_0.jsonl, with the batch as its input",
        r'{"BatchInput":{"tag":"csv-batch"},"Items":[{"index":1,"value":{"blank":"x","text":"two \"quoted\""}}]}',
        Outcome(
            7,
            1,
            ChildStatus.SUCCEEDED,
            output=msgspec.Raw(rb'[{"index":1,"value":{"blank":"x","text":"two \"quoted\""}}]'),
            started=1790204391.865,
            stopped=1790204399.951,
        ),
        "{"
        + OURS
        % (
            r'"Input":"{\"BatchInput\":{\"tag\":\"csv-batch\"},\"Items\":[{\"index\":1,\"value\":{\"blank\":\"x\",'
            r'\"text\":\"two \\\"quoted\\\"\"}}]}","InputDetails":{"Included":true},',
            r'"Output":"[{\"index\":1,\"value\":{\"blank\":\"x\",\"text\":\"two \\\"quoted\\\"\"}}]",'
            r'"OutputDetails":{"Included":true},"RedriveCount":0,"RedriveStatus":"NOT_REDRIVABLE",'
            r'"RedriveStatusReason":"Execution is SUCCEEDED and cannot be redriven",'
            r'"StartDate":"2026-09-23T22:59:51.865Z",',
            '"Status":"SUCCEEDED","StopDate":"2026-09-23T22:59:59.951Z"}',
        ),
    ),
]


@pytest.mark.parametrize(("given", "ended", "text"), [row[1:] for row in RECORDED], ids=[row[0] for row in RECORDED])
def test_a_recorded_record(given: str, ended: Outcome | None, text: str) -> None:
    assert results.record(NAMES, Batch(7, 1, msgspec.Raw(given.encode())), ended).decode() == text


def test_a_recorded_record_of_a_redriven_child() -> None:
    """`attempt2:standard:terminal-exports`, Redrive-2/SUCCEEDED_0.json, the first record, with shorter data."""
    ended = Outcome(7, 2, ChildStatus.SUCCEEDED, output=msgspec.Raw(b'"repaired"'), started=1790219028.129)
    written = results.record(
        NAMES, BATCH, msgspec.structs.replace(ended, stopped=1790219028.308), Again(1, 1790218979.213)
    )
    assert written.decode() == "{" + OURS % (
        r'"Input":"{\"IATA\":\"NRT\"}","InputDetails":{"Included":true},',
        r'"Output":"\"repaired\"","OutputDetails":{"Included":true},"RedriveCount":1,'
        '"RedriveDate":"2026-09-24T03:03:48.129Z","RedriveStatus":"NOT_REDRIVABLE",'
        '"RedriveStatusReason":"Execution is SUCCEEDED and cannot be redriven","StartDate":"2026-09-24T03:02:59.213Z",',
        '"Status":"SUCCEEDED","StopDate":"2026-09-24T03:03:48.308Z"}',
    )


RUN_ARN = "arn:aws:states:us-west-2:000000000000:mapRun:sd-sfn-map-35d090a7dd-lifecycle/LifeMap:40663f35"
RECORDED_MANIFEST = (  # cancel_pending, with a shorter id
    f'{{"DestinationBucket":"sd-sfn-map-35d090a7dd","MapRunArn":"{RUN_ARN}",'
    '"ResultFiles":{"FAILED":[{"Key":"results/cancel/40663f35/FAILED_0.json","Size":814}],'
    '"PENDING":[{"Key":"results/cancel/40663f35/PENDING_0.json","Size":543}],'
    '"SUCCEEDED":[{"Key":"results/cancel/40663f35/SUCCEEDED_0.json","Size":1857}]}}'
)


def test_the_recorded_manifest() -> None:
    folder = results.folder("results/cancel", "40663f35")
    sizes = {"FAILED": 814, "PENDING": 543, "SUCCEEDED": 1857}
    files = {name: [ResultFile(f"{folder}{name}_0.json", size)] for name, size in sizes.items()}
    assert results.manifest("sd-sfn-map-35d090a7dd", RUN_ARN, files).decode() == RECORDED_MANIFEST


def test_the_manifest_is_compact_and_always_names_all_three_categories() -> None:
    written = results.manifest("b", "arn:x", {"FAILED": [ResultFile("p/u/FAILED_0.json", 814)]})
    files = b'{"FAILED":[{"Key":"p/u/FAILED_0.json","Size":814}],"PENDING":[],"SUCCEEDED":[]}'
    assert written == b'{"DestinationBucket":"b","MapRunArn":"arn:x","ResultFiles":' + files + b"}"


@pytest.mark.parametrize(("prefix", "folder"), [("", "u/"), ("p", "p/u/"), ("p/", "p/u/"), ("a/b", "a/b/u/")])
def test_a_slash_is_added_behind_the_prefix(prefix: str, folder: str) -> None:
    assert results.folder(prefix, "u") == folder
    assert results.folder(prefix, "u", 12) == f"{folder}Redrive-12/"


def test_the_result_with_a_bucket_names_the_manifest() -> None:
    assert json.loads(results.exported_result("arn:x", "b", "p/manifest.json")) == {
        "MapRunArn": "arn:x",
        "ResultWriterDetails": {"Bucket": "b", "Key": "p/manifest.json"},
    }


def test_a_tolerated_failure_stands_as_status_error_and_cause() -> None:  # rep-tolerated_failure_output_entry
    entry = results.failed_entry(outcome(ChildStatus.FAILED, failure=Failure("Boom", "item failed")))
    assert json.loads(entry) == {"Status": "FAILED", "Error": "Boom", "Cause": "item failed"}


def test_too_large_is_told_in_the_words_of_aws() -> None:
    failure = results.too_large(RUN).failure
    assert failure.error == "States.DataLimitExceeded"
    assert failure.cause == (
        "The state/task 'airports' returned a result with a size exceeding the maximum number of bytes service limit."
    )
    assert "spec.resultWriter" in failure.hint


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
