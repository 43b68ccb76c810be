"""From the result to the output: resultSelector, resultPath and JSONata output (§5.5), with what was recorded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import outputs, paths, selection
from maprun.errors import RunFailed
from maprun.model import MapRunSpec, RunRef

RUN = RunRef("default", "M", "6a1f", 0.0)
WHERE = "An error occurred while executing the state 'M' (entered at the event id #2). "


def output(result: Any, **fields: Any) -> Any:
    spec = msgspec.convert({"itemProcessor": {"jobTemplate": {}}} | fields, MapRunSpec)
    made = outputs.output_of(spec, selection.context_for(RUN, spec, 0.0), msgspec.json.encode(result))
    return msgspec.json.decode(made)


ORDER = {"delivery-partner": "UQS", "shipped": ["A", "B", "C"]}
ITEMS = [{"constant_value": "HelloWorld"}]

OUTPUTS: list[tuple[str, Any, dict[str, Any], Any]] = [
    ("nothing set: the result", [1, 2], {"input": {"a": 1}}, [1, 2]),
    ("$ is the result too", [1, 2], {"input": {"a": 1}, "resultPath": "$"}, [1, 2]),
    ("a new key of the input (§5.5)", [1], {"input": {"a": 1}, "resultPath": "$.r"}, {"a": 1, "r": [1]}),
    ("objects on the way are made", 1, {"input": {"a": 1}, "resultPath": "$.b.c"}, {"a": 1, "b": {"c": 1}}),
    (
        "what is there is replaced",
        1,
        {"input": {"a": {"b": 0, "c": 0}}, "resultPath": "$.a.b"},
        {"a": {"b": 1, "c": 0}},
    ),
    ("a name in brackets", 1, {"input": {}, "resultPath": "$['a b']['c.d']"}, {"a b": {"c.d": 1}}),
    ("an index that is there", 9, {"input": [0, {"x": 1}], "resultPath": "$[1].y"}, [0, {"x": 1, "y": 9}]),
    (
        "map_state_item_selector_singleton: into the input as it is before inputPath",
        ITEMS,
        {"input": {"detail": ORDER}, "inputPath": "$.detail", "resultPath": "$.detail.shipped_output"},
        {"detail": {**ORDER, "shipped_output": ITEMS}},
    ),
    (
        "base_inspection_level_debug_IO_RESULT_PASS_STATE: the same",
        {"resultKey": "result value"},
        {"input": {"initialData": {"f": 1}, "u": {}}, "inputPath": "$.initialData", "resultPath": "$.modifiedData"},
        {"initialData": {"f": 1}, "u": {}, "modifiedData": {"resultKey": "result value"}},
    ),
    (
        "map_state_config_distributed_reentrant_lambda: $.Values",
        ["HelloWorld"],
        {"input": {"Values": ["a"], "Iterations": 0}, "resultPath": "$.Values"},
        {"Values": ["HelloWorld"], "Iterations": 0},
    ),
    ("resultSelector: $ is the result", [1, 2], {"resultSelector": {"first.$": "$[0]", "n": 1}}, {"first": 1, "n": 1}),
    (
        "resultSelector: $$ is the context object",
        [],
        {"resultSelector": {"name.$": "$$.Execution.Name"}},
        {"name": "M"},
    ),
    (
        "resultSelector: intrinsic functions",
        [1, 2, 3],
        {"resultSelector": {"n.$": "States.ArrayLength($)"}},
        {"n": 3},
    ),
    (
        "resultSelector, then resultPath",
        {"MapRunArn": "arn", "ResultWriterDetails": {"Bucket": "b", "Key": "k"}},
        {"input": {"a": 1}, "resultSelector": {"key.$": "$.ResultWriterDetails.Key"}, "resultPath": "$.map"},
        {"a": 1, "map": {"key": "k"}},
    ),
    (
        "resultSelector: an empty object",
        [1],
        {"resultSelector": {}},
        {},
    ),
    (
        "JSONata: base_map_state_inspect: $states has input, context and result",
        [1, 1, 1],
        {"queryLanguage": "JSONata", "input": {"Values": [1]}, "output": "{% $keys($states) ~> $sort %}"},
        ["context", "input", "result"],
    ),
    (
        "JSONata: base_cases_BASE_EMPTY: an empty object",
        [1],
        {"queryLanguage": "JSONata", "output": {}},
        {},
    ),
    ("JSONata: base_output_any_non_dict_BOOL", [1], {"queryLanguage": "JSONata", "output": True}, True),
    ("JSONata: base_output_any_non_dict_INT", [1], {"queryLanguage": "JSONata", "output": 0}, 0),
    (
        "JSONata: base_output_any_non_dict_JSONATA_EXPR",
        [1],
        {"queryLanguage": "JSONata", "input": {"input_value": "s"}, "output": "{% $states.input %}"},
        {"input_value": "s"},
    ),
    (
        "JSONata: map_state_failure_count_TRACE-MAP_TASK_STATE: computed of the result",
        [1, 1, 0],
        {
            "queryLanguage": "JSONata",
            "output": {
                "result": "{% $map($states.result, function($v) { $v = 1 ? 'pass' : 'failed' }) %}",
                "successCount": "{% $count($states.result[$ = 1]) %}",
                "failedCount": "{% $count($states.result[$ = 0]) %}",
            },
        },
        {"result": ["pass", "pass", "failed"], "successCount": 2, "failedCount": 1},
    ),
]


@pytest.mark.parametrize(
    ("result", "fields", "expected"), [row[1:] for row in OUTPUTS], ids=[row[0] for row in OUTPUTS]
)
def test_the_output(result: Any, fields: dict[str, Any], expected: Any) -> None:
    assert output(result, **fields) == expected


CONFLICT = "States.ReferencePathConflict"

FAILURES: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "resultSelector: nothing there, behind the sentence about the state",
        {"resultSelector": {"x.$": "$.nothing"}},
        "States.Runtime",
        WHERE + "The JSONPath '$.nothing' specified for the field 'x.$' could not be found in the input '[1]'",
    ),
    (
        "resultPath: an input that is no object (users' reports)",
        {"input": "input1", "resultPath": "$.someTaskResult"},
        CONFLICT,
        'Unable to apply ReferencePath $.someTaskResult to input "input1"',
    ),
    (
        "resultPath: something else on the way",
        {"input": {"a": 1}, "resultPath": "$.a.b"},
        CONFLICT,
        'Unable to apply ReferencePath $.a.b to input {"a":1}',
    ),
    (
        "resultPath: null on the way is something else",
        {"input": {"a": None}, "resultPath": "$.a.b"},
        CONFLICT,
        'Unable to apply ReferencePath $.a.b to input {"a":null}',
    ),
    (
        "resultPath: an index that is not there",
        {"input": {"a": []}, "resultPath": "$.a[0]"},
        CONFLICT,
        'Unable to apply ReferencePath $.a[0] to input {"a":[]}',
    ),
    (
        "resultPath: an index into an object",
        {"input": {}, "resultPath": "$[0]"},
        CONFLICT,
        "Unable to apply ReferencePath $[0] to input {}",
    ),
    (
        "JSONata: an expression that gives nothing",
        {"queryLanguage": "JSONata", "output": {"x": "{% $states.result.nothing %}"}},
        "States.QueryEvaluationError",
        WHERE + "The JSONata expression '$states.result.nothing' specified for the field 'Output/x' returned nothing "
        "(undefined).",
    ),
]


@pytest.mark.parametrize(("fields", "error", "cause"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
def test_what_fails(fields: dict[str, Any], error: str, cause: str) -> None:
    with pytest.raises(RunFailed) as caught:
        output([1], **fields)
    assert (caught.value.failure.error, caught.value.failure.cause) == (error, cause)
    assert caught.value.failure.hint.startswith("spec.")


def test_an_output_nested_too_deep_to_be_kept_fails_the_run() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    path = "$" + ".a" * 100
    with pytest.raises(RunFailed, match="the output cannot be written as JSON: JSON is nested deeper than 256"):
        output(deep, input={}, resultPath=path)


def test_a_result_that_nobody_reads_stays_as_it_is() -> None:
    spec = msgspec.convert({"itemProcessor": {"jobTemplate": {}}}, MapRunSpec)
    assert outputs.output_of(spec, {}, b'[1.50, {"a" :1}]') == b'[1.50, {"a" :1}]'


def test_without_a_path_the_input_is_the_output() -> None:  # map_state: ResultPath null
    assert outputs.placed(None, {"arr": [1]}, "result") == {"arr": [1]}


keys = st.sampled_from("abc")
documents = st.recursive(st.integers(), lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=8)


@given(documents, st.lists(keys, min_size=1, max_size=4))
def test_what_was_placed_is_found_there_and_nothing_else_changed(document: Any, names: list[str]) -> None:
    path, before = "$." + ".".join(names), msgspec.json.encode(document)
    try:
        placed = outputs.placed(path, document, "the result")
    except RunFailed:
        at = next(end for end in range(len(names)) if not isinstance(found(document, names[:end]), dict))
        assert found(document, names[:at]) is not None
        return
    assert paths.evaluate(path, placed) == "the result"
    assert msgspec.json.encode(document) == before, "the input is not changed in place"
    assert set(placed) == {*document, names[0]}
    assert all(placed[name] == document[name] for name in document if name != names[0])


def found(document: Any, names: list[str]) -> Any:
    for name in names:
        document = document.get(name, {}) if isinstance(document, dict) else None
    return document
