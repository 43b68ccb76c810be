"""Executions: what states make of data, what they assign, how they fail, and the history of it all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from maprun.core.asl import document
from maprun.core.asl.document import DefinitionInvalid
from maprun.core.asl.machine import Answer, Asked, Ended, MapRun, Waiting, execute
from maprun.errors import Failure
from maprun.model import QueryLanguage
from maprun.model_reading import InputType

CONTEXT: dict[str, Any] = {
    "Execution": {"Id": "arn:…:execution:machine:1", "Input": {"start": 1}, "Name": "1", "RedriveCount": 0},
    "StateMachine": {"Id": "arn:…:stateMachine:machine", "Name": "machine"},
}
AT = "2026-01-01T00:00:00Z"
DISTRIBUTED = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
CHILD: dict[str, Any] = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
INLINE: dict[str, Any] = {"Type": "Map", "ItemProcessor": CHILD, "End": True}
OUTSIDE: dict[str, Any] = {"Type": "Map", "ItemProcessor": {"ProcessorConfig": DISTRIBUTED, **CHILD}, "End": True}
CSV = {"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["a"]}
READER: dict[str, Any] = {
    "Resource": "arn:aws:states:::s3:getObject",
    "ReaderConfig": CSV,
    "Parameters": {"Bucket": "data", "Key.$": "$.key"},
}


def refuse(asked: Asked) -> Answer:
    raise AssertionError(f"nothing should be asked, but {asked}")


def run(definition: dict[str, Any], given: Any = None, answer: Callable[[Asked], Any] = refuse) -> Ended:
    """Drive an execution to its end."""
    steps = execute(document.machine(definition), {} if given is None else given, CONTEXT, AT)
    told = None
    while True:
        try:
            told = answer(steps.send(told))
        except StopIteration as end:
            ended: Ended = end.value
            return ended


def machine(*states: dict[str, Any], language: str = "JSONPath") -> dict[str, Any]:
    """States called A, B, … one behind the other."""
    names = "ABCDEF"[: len(states)]
    chained = {
        name: state if name == names[-1] or state["Type"] == "Fail" else {**state, "Next": names[number + 1]}
        for number, (name, state) in enumerate(zip(names, states, strict=True))
    }
    return {"StartAt": "A", "QueryLanguage": language, "States": chained}


def passing(**fields: Any) -> dict[str, Any]:
    return {"Type": "Pass", **fields}


def types(ended: Ended) -> list[str]:
    return [event.type for event in ended.history]


@pytest.mark.parametrize(
    ("fields", "given", "output"),
    [
        pytest.param({}, {"a": 1}, {"a": 1}, id="the input passes"),
        pytest.param({"InputPath": "$.a"}, {"a": [1]}, [1], id="a part of the input"),
        pytest.param({"InputPath": None}, {"a": 1}, {}, id="no input"),
        pytest.param({"InputPath": "$$.Execution.Name"}, {}, "1", id="the context object"),
        pytest.param({"Parameters": {"x.$": "$.a", "y": 2}}, {"a": 1}, {"x": 1, "y": 2}, id="parameters"),
        pytest.param({"Parameters": {"x.$": "$$.State.Name"}}, {}, {"x": "A"}, id="the state's own context"),
        pytest.param({"Result": None}, {"a": 1}, None, id="a result of null"),
        pytest.param({"Result": 1, "Parameters": {"x": 2}}, {}, 1, id="a result counts more than parameters"),
        pytest.param({"Result": 1, "ResultPath": "$.r.s"}, {"a": 2}, {"a": 2, "r": {"s": 1}}, id="a place for it"),
        pytest.param({"Result": 1, "ResultPath": None}, {"a": 2}, {"a": 2}, id="a result that is dropped"),
        pytest.param(
            {"InputPath": "$.a", "Result": 1, "ResultPath": "$.r"},
            {"a": 2},
            {"a": 2, "r": 1},
            id="beside all input",
        ),
        pytest.param({"OutputPath": "$.a"}, {"a": 1}, 1, id="a part of the output"),
        pytest.param({"OutputPath": None}, {"a": 1}, {}, id="no output"),
        pytest.param({"Parameters": {"x.$": "States.MathAdd($.a, 1)"}}, {"a": 1}, {"x": 2}, id="an intrinsic function"),
    ],
)
def test_a_pass_state(fields: dict[str, Any], given: Any, output: Any) -> None:
    ended = run(machine(passing(**fields)), given)
    assert (ended.failure, ended.output) == (None, output)
    assert types(ended) == ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"]


@pytest.mark.parametrize(
    ("fields", "output"),
    [
        pytest.param({}, {"a": [1]}, id="the input passes"),
        pytest.param({"Output": {"x": "{% $states.input.a[0] + 1 %}", "y": "$.a"}}, {"x": 2, "y": "$.a"}, id="output"),
        pytest.param({"Output": "{% $states.context.State.Name %}"}, "A", id="the context object"),
        pytest.param({"Output": None}, None, id="an output of null"),
    ],
)
def test_a_pass_state_in_jsonata(fields: dict[str, Any], output: Any) -> None:
    assert run(machine(passing(**fields), language="JSONata"), {"a": [1]}).output == output


ASSIGN = passing(Assign={"n": 2, "word": "two", "object": {"list": [1, 2]}})


@pytest.mark.parametrize(
    ("fields", "output"),
    [
        pytest.param({"InputPath": "$n"}, 2, id="as input"),
        pytest.param({"OutputPath": "$object.list[1]"}, 2, id="as output"),
        pytest.param({"Parameters": {"x.$": "$object.list", "y": "$n"}}, {"x": [1, 2], "y": "$n"}, id="in a template"),
        pytest.param(
            {"Parameters": {"x.$": "States.Format('$n is {} or {}', $word, $.a)"}},
            {"x": "$n is two or 1"},
            id="in a call",
        ),
        pytest.param({"Parameters": {"x.$": "$$.Execution.Name"}}, {"x": "1"}, id="the context object is no variable"),
    ],
)
def test_variables_are_read(fields: dict[str, Any], output: Any) -> None:
    assert run(machine(ASSIGN, passing(**fields)), {"a": 1}).output == output


def test_variables_are_read_in_jsonata() -> None:
    definition = machine(ASSIGN, passing(Output="{% $n + $count($object.list) %}"), language="JSONata")
    assert run(definition).output == 4


def test_the_context_object_shows_no_variables() -> None:
    output = run(machine(ASSIGN, passing(Parameters={"all.$": "$$"}))).output
    assert set(output["all"]) == {"Execution", "State", "StateMachine"}


def test_assign_sees_the_result_and_the_variables_as_they_were() -> None:
    swap = passing(Result={"z": 3}, Assign={"n.$": "$.z", "old.$": "$n"})
    assert run(machine(ASSIGN, swap, passing(Parameters={"n.$": "$n", "old.$": "$old"}))).output == {"n": 3, "old": 2}


@pytest.mark.parametrize(
    ("states", "error", "cause", "last"),
    [
        pytest.param(
            [passing(InputPath="$.none")],
            "States.Runtime",
            "An error occurred while executing the state 'A' (entered at the event id #2). "
            "Invalid path '$.none' : No results for path: $['none']",
            ["PassStateEntered", "ExecutionFailed"],
            id="a path to nothing",
        ),
        pytest.param(
            [ASSIGN, passing(Parameters={"x.$": "$none.y"})],
            "States.Runtime",
            "An error occurred while executing the state 'B' (entered at the event id #4). The JSONPath '$none.y' "
            "specified for the field 'x.$' could not be found in the input",
            ["PassStateEntered", "ExecutionFailed"],
            id="a variable that is not there is told as it was written",
        ),
        pytest.param(
            [passing(QueryLanguage="JSONata", Assign={"x": "{% $none %}"})],
            "States.QueryEvaluationError",
            "An error occurred while executing the state 'A' (entered at the event id #2). The JSONata expression "
            "'$none' specified for the field 'Assign/x' returned nothing (undefined).",
            ["PassStateEntered", "EvaluationFailed", "ExecutionFailed"],
            id="an expression that gives nothing",
        ),
        pytest.param(
            [{"Type": "Fail", "Error": "Boom", "Cause": "broken"}],
            *("Boom", "broken", ["FailStateEntered", "ExecutionFailed"]),
            id="a Fail state",
        ),
        pytest.param(
            [{"Type": "Fail", "ErrorPath": "$$.State.Name", "CausePath": "States.Format('{}!', $$.StateMachine.Name)"}],
            *("A", "machine!", ["FailStateEntered", "ExecutionFailed"]),
            id="a Fail state with paths",
        ),
        pytest.param([{"Type": "Fail"}], *("", "", ["FailStateEntered", "ExecutionFailed"]), id="a Fail without words"),
        pytest.param(
            [{**INLINE, "ItemProcessor": {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Boom"}}}}],
            *("Boom", "", ["FailStateEntered", "MapIterationFailed", "MapStateFailed", "ExecutionFailed"]),
            id="a Fail state inside an inline Map",
        ),
        pytest.param(
            [{**INLINE, "MaxConcurrencyPath": "$[0].n"}],
            "States.Runtime",
            "An error occurred while executing the state 'A' (entered at the event id #2). The MaxConcurrencyPath "
            'field refers to value "x" which is not a valid integer: $[0].n',
            ["MapStateEntered", "ExecutionFailed"],
            id="a wrong concurrency, before the state has started",
        ),
        pytest.param(
            [{**OUTSIDE, "ToleratedFailureCountPath": "$[0].n"}],
            "States.Runtime",
            "An error occurred while executing the state 'A' (entered at the event id #2). The "
            'ToleratedFailureCountPath field refers to value "x" which is not a valid integer: $[0].n',
            ["MapStateEntered", "MapStateStarted", "ExecutionFailed"],
            id="a wrong tolerance, behind the start",
        ),
    ],
)
def test_failures(states: list[dict[str, Any]], error: str, cause: str, last: list[str]) -> None:
    ended = run(machine(*states), [{"n": "x"}])
    assert ended.failure
    assert ended.failure.error == error
    assert ended.failure.cause.startswith(cause)
    assert cause or not ended.failure.cause
    assert types(ended)[-len(last) :] == last


@pytest.mark.parametrize(
    ("language", "fields", "given", "output"),
    [
        pytest.param("JSONPath", {}, [1, 2], [1, 2], id="the input itself"),
        pytest.param("JSONPath", {"ItemsPath": "$.l"}, {"l": [1]}, [1], id="an array in the input"),
        pytest.param(
            "JSONPath", {"InputPath": "$.i", "ItemsPath": "$.l"}, {"i": {"l": [1]}}, [1], id="behind InputPath"
        ),
        pytest.param(
            "JSONPath",
            {"ItemSelector": {"v.$": "$$.Map.Item.Value", "i.$": "$$.Map.Item.Index", "all.$": "$"}},
            ["x"],
            [{"v": "x", "i": 0, "all": ["x"]}],
            id="a selector",
        ),
        pytest.param("JSONPath", {"Parameters": {"v.$": "$$.Map.Item.Value"}}, [1], [{"v": 1}], id="its older name"),
        pytest.param(
            "JSONPath", {"ResultSelector": {"n.$": "States.ArrayLength($)"}}, [5], {"n": 1}, id="a result selector"
        ),
        pytest.param("JSONata", {"Items": "{% [1, 2] %}"}, {}, [1, 2], id="items by an expression"),
        pytest.param(
            "JSONata", {"Items": [], "Output": "{% $count($states.result) %}"}, {}, 0, id="no items, and output"
        ),
    ],
)
def test_an_inline_map(language: str, fields: dict[str, Any], given: Any, output: Any) -> None:
    ended = run(machine({**INLINE, **fields}, language=language), given)
    assert (ended.failure, ended.output) == (None, output)


def test_iterations_see_outer_variables_and_keep_their_own() -> None:
    inner = {"StartAt": "P", "States": {"P": passing(Parameters={"n.$": "$n"}, Assign={"n": 9})}}
    both = machine(ASSIGN, passing(Result=[1, 2]), {**INLINE, "ItemProcessor": inner}, passing(OutputPath="$n"))
    ended = run(both)
    assert ended.output == 2
    assert [e.details["output"] for e in ended.history if e.details.get("name") == "P" and "output" in e.details] == [
        {"n": 2},
        {"n": 2},
    ]


def asked_for(state: dict[str, Any], given: Any, *before: dict[str, Any], language: str = "JSONPath") -> MapRun:
    """What the machine asks of the outside."""
    seen: list[Asked] = []

    def answer(asked: Asked) -> Answer:
        seen.append(asked)
        return Answer(output=["done"])

    ended = run(machine(*before, state, language=language), given, answer)
    assert ended.failure is None, ended.failure
    (asked,) = seen
    assert isinstance(asked, MapRun)
    return asked


def test_a_distributed_map_asks_for_its_run() -> None:
    batcher = {"MaxItemsPerBatchPath": "$.size", "BatchInput": {"Tag.$": "$.key"}}
    writer = {
        "Resource": "arn:aws:states:::s3:putObject",
        "Parameters": {"Bucket": "results", "Prefix.$": "$.key"},
        "WriterConfig": {"Transformation": "COMPACT", "OutputType": "JSONL"},
    }
    state = {
        **OUTSIDE, "Label": "mine", "ItemReader": READER, "ItemBatcher": batcher, "ResultWriter": writer,
        "ToleratedFailurePercentage": 1.5, "MaxConcurrency": 3,
    }  # fmt: skip
    spec = asked_for(state, {"key": "rows.csv", "size": "2"}).run.spec
    assert (spec.concurrency, spec.tolerated_failure_percentage, spec.label) == (3, "1.5", "mine")
    assert spec.item_reader
    assert spec.item_reader.key == "rows.csv"
    assert spec.item_reader.reader_config.input_type is InputType.CSV
    assert spec.item_reader.reader_config.csv_headers == ["a"]
    assert spec.item_batcher
    assert (spec.item_batcher.most_items, spec.item_batcher.batch_input) == (2, {"Tag": "rows.csv"})
    assert spec.result_writer
    assert (spec.result_writer.bucket, spec.result_writer.prefix) == ("results", "rows.csv")


def test_a_run_reads_variables() -> None:
    reader = {**READER, "ReaderConfig": {**CSV, "MaxItemsPath": "$n"}}
    state = {**OUTSIDE, "ItemReader": reader, "ItemSelector": {"w.$": "$word"}, "MaxConcurrencyPath": "$n"}
    asked = asked_for(state, {"key": "k"}, ASSIGN)
    spec = asked.run.spec
    assert spec.item_reader
    assert (spec.item_reader.reader_config.limit, spec.concurrency) == (2, 2)
    assert asked.run.context["Variables"]["word"] == "two"


def test_a_run_in_jsonata_reads_variables() -> None:
    fields = {"Items": "{% $object.list %}", "MaxConcurrency": "{% $n + 1 %}"}
    asked = asked_for({**OUTSIDE, **fields}, {}, ASSIGN, language="JSONata")
    assert asked.run.spec.query_language is QueryLanguage.JSONATA
    assert asked.run.spec.concurrency == 3


@pytest.mark.parametrize(
    ("fields", "finishes", "output"),
    [
        pytest.param({}, True, "result", id="the run makes the output"),
        pytest.param({"ResultSelector": {"r.$": "$"}, "ResultPath": "$.x"}, True, "result", id="with its own fields"),
        pytest.param({"ResultPath": None}, False, [1], id="a result that is dropped"),
        pytest.param({"ResultSelector": {"n.$": "$$.Execution.Name"}}, False, {"n": "1"}, id="a look at the context"),
        pytest.param({"ResultSelector": {"r.$": "$"}, "OutputPath": "$.r"}, False, "result", id="a part of the output"),
        pytest.param({"Assign": {"r.$": "$"}}, False, "result", id="variables"),
    ],
)
def test_who_makes_the_output(fields: dict[str, Any], finishes: bool, output: Any) -> None:
    seen: list[bool] = []

    def answer(asked: Asked) -> Answer:
        assert isinstance(asked, MapRun)
        seen.append(asked.run.finishes)
        return Answer(output="result")

    assert run(machine({**OUTSIDE, **fields}), [1], answer).output == output
    assert seen == [finishes]


@pytest.mark.parametrize(
    ("state", "answer", "between"),
    [
        pytest.param(OUTSIDE, Answer(output=[]), ["MapRunSucceeded", "MapStateSucceeded", "MapStateExited"], id="good"),
        pytest.param(
            OUTSIDE,
            Answer(failure=Failure("States.ItemReaderFailed", "bad")),
            ["MapRunFailed", "MapStateFailed"],
            id="bad",
        ),
        pytest.param(
            {
                **OUTSIDE,
                "ItemReader": {
                    **READER,
                    "ReaderConfig": {**CSV, "MaxItemsPath": "$[0]"},
                    "Parameters": {"Bucket": "data", "Key": "k"},
                },
            },
            None,
            ["MapRunFailed", "MapStateFailed"],
            id="a number that the reader does not take ends the run, not the state",
        ),
    ],
)
def test_the_history_of_a_run(state: dict[str, Any], answer: Answer | None, between: list[str]) -> None:
    ended = run(machine(state), [-1], lambda asked: answer)
    assert types(ended)[1:-1] == ["MapStateEntered", "MapStateStarted", "MapRunStarted", *between]
    assert (ended.failure is None) is (types(ended)[-1] == "ExecutionSucceeded")


def test_a_sentence_about_the_state_is_of_this_state() -> None:
    cause = "An error occurred while executing the state 'machine' (entered at the event id #2). No."
    ended = run(machine(passing(), OUTSIDE), [1], lambda asked: Answer(failure=Failure("States.Runtime", cause)))
    assert ended.failure
    assert ended.failure.cause == cause.replace("'machine'", "'B'").replace("#2", "#4")


def test_a_wait_is_told_and_passes() -> None:
    seen: list[Asked] = []
    ended = run(machine({"Type": "Wait", "Seconds": 8}, {"Type": "Succeed"}), {"a": 1}, seen.append)
    assert [type(asked) for asked in seen] == [Waiting]
    assert ended.output == {"a": 1}
    assert types(ended)[-3:] == ["SucceedStateEntered", "SucceedStateExited", "ExecutionSucceeded"]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        pytest.param({"Type": "Task", "Resource": "arn:…"}, "a Task state (A) cannot be run here", id="a Task"),
        pytest.param(
            {**OUTSIDE, "Retry": [{"ErrorEquals": ["States.ALL"]}]},
            "Retry and Catch are not run here",
            id="a Retry",
        ),
        pytest.param({**OUTSIDE, "ItemReader": {"Resource": "x"}}, "itemReader.resource", id="a spec that is wrong"),
        pytest.param(passing(Parameters={"x.$": 1}), "must be a string with a JSONPath", id="a template that is wrong"),
    ],
)
def test_what_cannot_be_run(state: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionInvalid) as refused:
        run(machine(state), [1], lambda asked: Answer(failure=Failure("Boom", "")))
    assert told in str(refused.value)
