"""The runner of recorded cases: what it compares, what it counts as failed, and what it prints.

The cases that lie at `../shared/conformance` are run, too, when they are there: those of the areas below whose machine
has no states but Pass, Map, Succeed, Fail and Wait.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.conformance import judging
from tools.conformance.__main__ import main
from tools.conformance.cases import UNREADABLE, Case, load, parse
from tools.conformance.matching import difference
from tools.conformance.running import judge

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "conformance"
AREAS = ["reader-*", "items-path", "item-selector", "item-batcher", "result-writer", "intrinsics", "context"]
RUN_HERE = {"Pass", "Map", "Succeed", "Fail", "Wait"}

PASS = {"Type": "Pass", "End": True}
CHILDREN = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "P"}
CSV = {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"}
UUID = "d3aa0dcc-6d03-40e1-ab89-cb94be1920d4"
DETAILS = {"Bucket": "<results>", "Key": f"out/{UUID}/manifest.json"}
COUNTERS = ["pending", "running", "succeeded", "failed", "timedOut", "aborted", "total", "resultsWritten"]
COUNTERS += ["failuresNotRedrivable", "pendingRedrive"]
CHOICE = ["ChoiceStateEntered", "ChoiceStateExited"]  # cut away from the definition
DUPLICATES = {"error": "States.ItemReaderFailed", "cause": "CSV headers cannot contain duplicates."}
MEMBER = {"Key": "a", "Value": 1}
ARN = "arn:aws:states:r:1:mapRun:m/l:u"


def machine(state: dict[str, Any]) -> dict[str, Any]:
    return {"StartAt": "A", "States": {"A": {"End": True, **state}}}


def mapping(*states: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A distributed Map; its children are Pass, or the states given, one behind the other."""
    given = states or (PASS,)
    names = ["P", "Q"][: len(given)]
    return machine(
        {"Type": "Map", **fields, "ItemProcessor": {**CHILDREN, "States": dict(zip(names, given, strict=True))}}
    )


def case(definition: Any, given: Any, **expected: Any) -> dict[str, Any]:
    return {
        "name": "made-up",
        "area": "own",
        "definition": definition,
        "inputs": {"execution_input": given},
        "expected": expected,
    }


def succeeded(output: Any) -> dict[str, Any]:
    return {"status": "SUCCEEDED", "output": output}


def batched() -> dict[str, Any]:
    """Two batches of a file, each child held for a while, the results in a bucket."""
    reader = {
        "Resource": "arn:aws:states:::s3:getObject",
        "ReaderConfig": CSV,
        "Parameters": {"Bucket": "a_bucket", "Key": "rows.csv"},
    }
    writer = {
        "Resource": "arn:aws:states:::s3:putObject",
        "Parameters": {"Bucket": "<results>", "Prefix": "out"},
        "WriterConfig": {"Transformation": "COMPACT", "OutputType": "JSONL"},
    }
    fields = {"ItemReader": reader, "ItemBatcher": {"MaxItemsPerBatch": 2}, "ResultWriter": writer, "MaxConcurrency": 1}
    wait = {"Type": "Wait", "Seconds": 60, "Next": "Q"}
    counts = {"pending": 0, "running": 0, "succeeded": 3, "failed": 0, "total": 3, "resultsWritten": 3}
    made = case(
        mapping(wait, {**PASS, "OutputPath": "$.Items[0].n"}, **fields),
        {},
        outcome=succeeded({"MapRunArn": "<arn>", "ResultWriterDetails": DETAILS}),
        map_state_started_length=[0],
        child_inputs=[{"Items": [{"n": "1"}, {"n": "2"}]}, {"Items": [{"n": "3"}]}],
        children_itemCount=[2, 1],
        children=[{"index": 1, "status": "SUCCEEDED", "output": "3"}],
        map_run={"status": "SUCCEEDED", "maxConcurrency": 1, "itemCounts": {**counts}},
        map_run_while_running={"status": "RUNNING", "itemCounts": {"pending": 1, "running": 2}, "stopDate": "<absent>"},
        map_runs=[{"mapRunArn": "map_run_arn", "status": "SUCCEEDED"}],
        s3_results={
            f"out/{UUID}/SUCCEEDED_0.jsonl": '"1"\n"3"\n',
            f"out/{UUID}/manifest.json": json.dumps(
                {
                    "DestinationBucket": "<results>",
                    "MapRunArn": "<arn>",
                    "ResultFiles": {
                        "FAILED": [], "PENDING": [], "SUCCEEDED": [{"Key": f"out/{UUID}/SUCCEEDED_0.jsonl", "Size": 8}]
                    },
                }
            ),
        },
    )  # fmt: skip
    for told in ("map_run", "map_run_while_running"):
        counts = made["expected"][told]["itemCounts"]
        whole = {name: counts.get(name, 0) for name in COUNTERS} | {"total": 3}
        made["expected"][told]["itemCounts"] = whole
    made["inputs"]["s3_objects"] = [{"Bucket": "a_bucket", "Key": "rows.csv", "content": "n\n1\n2\n3\n"}]
    return made


PASSES: list[tuple[str, dict[str, Any]]] = [
    ("a Pass state", case(machine({"Type": "Pass", "InputPath": "$.a"}), {"a": 1}, outcome=succeeded(1))),
    ("an array as a text", case(machine(PASS), [1], outcome=succeeded("[1]"))),
    ("a placeholder", case(machine(PASS), {"t": 5}, outcome=succeeded({"t": "<time>"}))),
    (
        "a failure and its events",
        case(
            machine({"Type": "Fail", "Error": "Boom"}) | {"States": {"A": {"Type": "Fail", "Error": "Boom"}}},
            {},
            outcome={"status": "FAILED", "error": "Boom", "cause": None},
            event_types=["ExecutionStarted", *CHOICE, "FailStateEntered", "ExecutionFailed"],
        ),
    ),
    (
        "several runs, each with its own answer",
        {
            **case(machine(PASS), None),
            "inputs": {"runs": [{"op": "start_execution", "input": n} for n in (1, 2)]},
            "expected": {"runs": [{"outcome": succeeded(n)} for n in (1, 2)]},
        },
    ),
    (
        "definitions by number",
        {
            **case(None, None),
            "definitions": [machine(PASS), machine({"Type": "Pass", "Result": 7})],
            "inputs": {"runs": [{"op": "start_execution", "definition": 1, "input": {}}]},
            "expected": {"runs": [{"outcome": succeeded(7)}]},
        },
    ),
    (
        "items of an object",
        case(mapping(ItemsPath="$.o"), {"o": {"a": 1}}, child_inputs=[MEMBER], map_state_started_length=[1]),
    ),
    (
        "a broken reader",
        case(
            mapping(ItemReader={
                "Resource": "arn:aws:states:::s3:getObject",
                "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["a", "a"]},
                "Parameters": {"Bucket": "data", "Key": "k"},
            }) ,
            {},
            outcome={"status": "FAILED", **DUPLICATES},
            map_runs=[{"mapRunArn": "<arn>", "status": "FAILED", **DUPLICATES}],
        ) | {"inputs": {"execution_input": {}, "s3_objects": [{"Bucket": "data", "Key": "k", "content": "1,2"}]}},
    ),
    ("batches and results", batched()),
    (
        "a test of a state",
        {
            **case({"Type": "Pass", "InputPath": "$.a", "Next": "B"}, None),
            "inputs": {"request": {"op": "test_state", "input": {"a": 1}, "inspectionLevel": "INFO"}},
            "expected": {"test_case_response": {"status": "SUCCEEDED", "output": 1, "nextState": "B"}},
        },
    ),
    (
        "a rule in prose",
        {**case(None, None), "inputs": {}, "expected": {"rules": ["fewer fields than headers -> empty strings"]}},
    ),
]  # fmt: skip

FAILS: list[tuple[str, dict[str, Any], str]] = [
    (
        "another output",
        case(machine(PASS), {"a": 1}, outcome=succeeded({"a": 2})),
        "outcome.output.a: recorded 2, found 1",
    ),
    (
        "too much output",
        case(machine(PASS), {"a": 1}, outcome=succeeded({})),
        'outcome.output.a: recorded "<absent>", found 1',
    ),
    ("true is not 1", case(machine(PASS), 1, outcome=succeeded(True)), "outcome.output: recorded true, found 1"),
    ("another event", case(machine(PASS), {}, event_types=["ExecutionStarted"]), "event_types.: 1 recorded, 4 found"),
    (
        "another length",
        case(mapping(), [1], map_state_started_length=[2]),
        "map_state_started_length[0]: recorded 2, found 1",
    ),
    ("a result file that was not recorded", batched() | {"expected": {"s3_results": {}}}, "s3_results: ['out/"),
    ("a number of items", case(mapping(), [1], children_itemCount=[2]), "children_itemCount[0]: recorded 2, found 1"),
    ("nothing recorded", case(machine(PASS), {}), "nothing was recorded"),
    ("what nobody judges", case(machine(PASS), {}, colour="red"), "colour: there is no way to judge this here"),
    (
        "a Task",
        case(machine({"Type": "Task", "Resource": "arn:…"}), {}, outcome=succeeded({})),
        "cannot be run: a Task state",
    ),
    (
        "a Task in a child",
        case(mapping({"Type": "Task", "Resource": "arn:…", "End": True}), [1], outcome=succeeded([1])),
        "cannot be run: a Task state",
    ),
    (
        "no execution",
        {**case(None, None, outcome={}), "inputs": {"mapRunArn": "x"}},
        "cannot be run: there is no execution",
    ),
    ("runs without answers", {**case({}, 1, runs=[]), "inputs": {"runs": [{}]}}, "the runs and what was recorded"),
    (
        "a fact that nobody knows",
        case(mapping(), [1], facts=["the sky is blue"]),
        "facts: there is no check of 'the sky is blue'",
    ),
    ("no map run", case(machine(PASS), {}, child_inputs=[]), "the runner broke: LookupError: there are 0 map runs"),
]


@pytest.mark.parametrize("made", [pytest.param(made, id=name) for name, made in PASSES])
def test_what_passes(made: dict[str, Any]) -> None:
    assert judge(parse(made)).why == ""


@pytest.mark.parametrize(("made", "why"), [pytest.param(made, why, id=name) for name, made, why in FAILS])
def test_what_fails_and_why(made: dict[str, Any], why: str) -> None:
    assert judge(parse(made)).why.startswith(why)


@pytest.mark.parametrize(
    ("recorded", "found", "same"),
    [
        pytest.param({"a": 1}, {"a": 1.0}, True, id="numbers by value"),
        pytest.param("{\"a\": [1]}", '{"a":[1]}', True, id="two texts of one value"),
        pytest.param({"a": 1}, '{"a":1}', True, id="a value and its text"),
        pytest.param("1", "2", False, id="texts of numbers"),
        pytest.param("a<x>c", "abbc", True, id="a placeholder inside"),
        pytest.param("a<x>c", "abbd", False, id="what stands around a placeholder counts"),
        pytest.param({"a": "<absent>"}, {}, True, id="absent"),
        pytest.param({"a": "<absent>"}, {"a": None}, False, id="null is not absent"),
        pytest.param({"a": "<x>"}, {}, False, id="a placeholder is not absent"),
        pytest.param(ARN, "arn:maprun:states:x:n:mapRun:a/b:c", True, id="an ARN of a kind"),
        pytest.param(ARN, "arn:maprun:states:x:n:execution:a:b", False, id="of another kind"),
        pytest.param(f"p/{UUID}/f.json", "p/else/f.json", True, id="a made-up id"),
        pytest.param(f"p/{UUID}/f.json", "p/else/g.json", False, id="what stands around an id counts"),
        pytest.param("2026-09-23T22:58:45.090Z", "2027-01-01T00:00:00Z", True, id="a time"),
        pytest.param("2026-09-23T22:58:45.090Z", "soon", False, id="not a time"),
        pytest.param([1, 2], [2, 1], False, id="order counts"),
        pytest.param(None, False, False, id="null is not false"),
    ],
)  # fmt: skip
def test_when_values_match(recorded: Any, found: Any, same: bool) -> None:
    assert (difference(recorded, found) is None) is same


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cases").mkdir()
    made = case(machine(PASS), 1, outcome=succeeded(1))
    for name, area, output in (("a", "reader-csv", 1), ("b", "reader-json", 2), ("c", "context", 1)):
        text = json.dumps({**made, "name": name, "area": area, "expected": {"outcome": succeeded(output)}})
        (tmp_path / "cases" / f"{name}.json").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("areas", "printed", "code"),
    [
        pytest.param(
            [],
            ["area         passed  failed  cases",
             "context           1       0      1",
             "reader-csv        1       0      1",
             "reader-json       0       1      1",
             "",
             "FAILED reader-json b: outcome.output: recorded 2, found 1",
             "",
             "2 passed, 1 failed"],
            1,
            id="all areas",
        ),
        pytest.param(
            ["--area", "context", "--area", "*-csv"],
            ["area        passed  failed  cases",
             "context          1       0      1",
             "reader-csv       1       0      1",
             "",
             "2 passed, 0 failed"],
            0,
            id="some areas",
        ),
    ],
)  # fmt: skip
def test_the_report(
    folder: Path, capsys: pytest.CaptureFixture[str], areas: list[str], printed: list[str], code: int
) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(folder), *areas])
    assert capsys.readouterr().out.splitlines() == printed
    assert int(end.value.code or 0) == code


def test_an_empty_choice_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(folder), "--area", "none"])
    assert end.value.code == 2
    assert "has no cases" in capsys.readouterr().err


def test_a_broken_file_is_a_case_that_fails(folder: Path) -> None:
    (folder / "cases" / "d.json").write_text("{")
    broken = list(load(folder, ["context"]))[-1]
    assert (broken.area, broken.name) == (UNREADABLE, "d")
    assert judge(broken).why.startswith("the file is no case")


def runs_here(each: Case) -> bool:
    return judging.types_of([each.definition, each.definitions]) <= RUN_HERE


RECORDED = [each for each in load(FOLDER, AREAS) if runs_here(each)] if FOLDER.is_dir() else []

if RECORDED:

    @pytest.mark.parametrize("recorded", [pytest.param(each, id=each.name) for each in RECORDED])
    def test_recorded(recorded: Case) -> None:
        assert judge(recorded).why == ""
