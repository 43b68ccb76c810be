"""What a run takes from its input once: values, and AWS's words where there is none that fits.

Sources: §1.2, §3, §12 of the AWS page. The names in the tables' comments are recorded cases.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import resolving
from maprun.core.validation import parse
from maprun.errors import Reason, RunFailed, StatesError
from maprun.fields import MAX_ITEMS
from maprun.model import MAX_CONCURRENCY, MapRunSpec
from tests.spec_cases import LOCAL, Json, jsonata, numbered, reading, resource, writer

CONTEXT: Json = {"State": {"Name": "MapState"}, "Execution": {"Id": "arn", "Name": "run-7"}}
PREFIX = "An error occurred while executing the state 'MapState' (entered at the event id #2). "
RUNTIME, QUERY = StatesError.RUNTIME, StatesError.QUERY_EVALUATION_ERROR
ITEMS = "itemReader.readerConfig.maxItems"
NUMBERS = ["maxConcurrency", "toleratedFailureCount", ITEMS, "itemBatcher.maxItemsPerBatch"]
BYTES, PERCENTAGE = "itemBatcher.maxInputBytesPerBatch", "toleratedFailurePercentage"
EXPRESSION = "{% $states.input.n %}"


def resolved(body: Json, given: Any = None) -> MapRunSpec:
    body["spec"] |= {} if given is None else {"input": given}
    return resolving.resolve(parse(body), CONTEXT)


def by_path(field: str, value: Any) -> MapRunSpec:
    return resolved(numbered(f"{field}Path", "$.n"), {"n": value})


def by_expression(field: str, value: Any) -> MapRunSpec:
    return resolved(numbered(field, EXPRESSION, "JSONata"), {"n": value})


def at(spec: MapRunSpec, field: str) -> Any:
    value = msgspec.to_builtins(spec)
    for name in field.split("."):
        value = value.get(name, 0)
    return value


def failure(call: Any, *arguments: Any) -> tuple[str, str]:
    with pytest.raises(RunFailed) as caught:
        call(*arguments)
    return caught.value.failure.error, caught.value.failure.cause


# ------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("field", [*NUMBERS, BYTES, PERCENTAGE])
@pytest.mark.parametrize("resolve", [by_path, by_expression], ids=["by a path", "by an expression"])
def test_a_number_is_taken_from_the_input_and_its_path_is_gone(resolve: Any, field: str) -> None:
    spec = resolve(field, 5)
    assert str(at(spec, field)) == "5"
    assert at(spec, f"{field}Path") == 0


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        # reference_in_map_state_…: strings of digits
        *(pytest.param(field, "2", 2, id=f"{field} as a string") for field in (*NUMBERS, BYTES)),
        pytest.param("toleratedFailurePercentage", "1", "1", id="a percentage as a string"),
        pytest.param("toleratedFailurePercentage", 1.1, "1.1", id="1.1 percent"),  # …percentage_path_1.1
        pytest.param("toleratedFailurePercentage", 100, "100", id="100 percent"),  # …percentage_path_100
        pytest.param("toleratedFailurePercentage", 100 / 3, "33.333333", id="a third, to 6 places"),
        pytest.param("toleratedFailurePercentage", 0, "0", id="no percent"),
        pytest.param("maxConcurrency", 0, 0, id="0 at once"),  # max_concurrency_path_0
        pytest.param("toleratedFailureCount", 0, 0, id="0 failures"),  # tolerated_failure_count_path_0
        pytest.param(ITEMS, 0, 0, id="0 items: no limit"),  # max_items_paths_0
        pytest.param(ITEMS, 100_000_001, MAX_ITEMS, id="more items than the largest dataset has"),
        pytest.param("maxConcurrency", 10**12, MAX_CONCURRENCY, id="more at once than there may be"),
        pytest.param(BYTES, 10**9, 262_144, id="more bytes than an input may have"),
        pytest.param(ITEMS, 2.0, 2, id="2.0, which the API server makes 2"),
    ],
)
def test_values_that_a_path_may_lead_to(field: str, value: Any, expected: Any) -> None:
    assert at(by_path(field, value), field) == expected


@pytest.mark.parametrize(
    ("field", "value", "error", "cause"),
    [
        pytest.param(
            ITEMS,
            1.5,
            RUNTIME,
            f'{PREFIX}The MaxItemsPath field refers to value "1.5" which is not a valid integer: $.n',
            id="1.5 items",  # max_items_paths_1.5
        ),
        pytest.param(
            ITEMS, -1, StatesError.ITEM_READER_FAILED, "field MaxItems must be positive", id="-1 items"
        ),  # max_items_paths_-1
        pytest.param(
            "maxConcurrency",
            "NoNumber",
            RUNTIME,
            f'{PREFIX}The MaxConcurrencyPath field refers to value "NoNumber" which is not a valid integer: $.n',
            id="a word at once",  # max_concurrency_path_NoNumber
        ),
        pytest.param(
            "toleratedFailureCount",
            {},
            RUNTIME,
            f'{PREFIX}The ToleratedFailureCountPath field refers to value "{{}}" which is not a valid integer: $.n',
            id="an object of failures",  # …count_path_tolerated_failure_count_value0
        ),
        pytest.param(
            "toleratedFailureCount",
            -1,
            RUNTIME,
            f"{PREFIX}ToleratedFailureCount cannot be negative.",
            id="-1 failures",
        ),
        pytest.param("maxConcurrency", -1, RUNTIME, f"{PREFIX}MaxConcurrency cannot be negative.", id="-1 at once"),
        *(
            pytest.param(
                "toleratedFailurePercentage",
                value,
                RUNTIME,
                f"{PREFIX}ToleratedFailurePercentage must be between 0 and 100.",
                id=f"{value} percent",  # …percentage_path_-1, -1.1, 100.1
            )
            for value in (-1, -1.1, 100.1)
        ),
        pytest.param(
            "toleratedFailurePercentage",
            "NoNumber",
            RUNTIME,
            f'{PREFIX}The ToleratedFailurePercentagePath field refers to value "NoNumber"'
            " which is not a valid float: $.n",
            id="a word of percent",
        ),
        pytest.param(
            "toleratedFailurePercentage",
            10**400,
            RUNTIME,
            f'{PREFIX}The ToleratedFailurePercentagePath field refers to value "{10**400}"'
            " which is not a valid float: $.n",
            id="more percent than any double",
        ),
        *(
            pytest.param(
                field,
                value,
                RUNTIME,
                f'{PREFIX}The MaxItemsPath field refers to value "{shown}" which is not a valid integer: $.n',
                id=f"{shown} items",
            )
            for field, value, shown in ((ITEMS, True, "true"), (ITEMS, None, "null"), (ITEMS, " 1", " 1"))
        ),
        *(
            pytest.param(field, 0, RUNTIME, f"{PREFIX}{name} must be positive.", id=f"{name} of 0")
            for field, name in (
                ("itemBatcher.maxItemsPerBatch", "MaxItemsPerBatch"),
                (BYTES, "MaxInputBytesPerBatch"),
            )
        ),
    ],
)
def test_values_that_a_path_must_not_lead_to(field: str, value: Any, error: str, cause: str) -> None:
    assert failure(by_path, field, value) == (error, cause)


def test_a_path_that_leads_nowhere_fails_as_a_state_does() -> None:
    body = numbered("maxConcurrencyPath", "$.missing")
    cause = f"{PREFIX}Invalid path '$.missing' : No results for path: $['missing']"
    assert failure(resolved, body, {}) == (RUNTIME, cause)


def told(value: str, field: str, ending: str) -> str:
    return f"{PREFIX}The JSONata expression '{value}' specified for the field '{field}' {ending}"


@pytest.mark.parametrize(
    ("field", "value", "ending"),
    [
        pytest.param(
            "maxConcurrency",
            "5",
            "returned an unexpected result type. Expected 'number', but was 'string' for value: \"5\"",
            id="a number as text",
        ),
        pytest.param(
            ITEMS,
            [1],
            "returned an unexpected result type. Expected 'number', but was 'array' for value: [1]",
            id="an array",
        ),
        pytest.param(
            "toleratedFailureCount",
            1.5,
            "returned an unexpected result type. Expected 'integer', but was 'number' for value: 1.5",
            id="half a failure",
        ),
    ],
)
def test_an_expression_must_give_a_number(field: str, value: Any, ending: str) -> None:
    name = "ItemReader/ReaderConfig/MaxItems" if field == ITEMS else field[0].upper() + field[1:]
    assert failure(by_expression, field, value) == (QUERY, told("$states.input.n", name, ending))


def test_an_expression_that_gives_nothing_fails() -> None:
    body = numbered("maxConcurrency", EXPRESSION, "JSONata")
    cause = told("$states.input.n", "MaxConcurrency", "returned nothing (undefined).")
    assert failure(resolved, body, {}) == (QUERY, cause)


@given(st.fractions(0, 100).map(float) | st.just(-0.0))
def test_any_percentage_comes_out_in_a_form_that_the_model_reads(value: float) -> None:
    spec = by_path("toleratedFailurePercentage", value)
    again = msgspec.json.decode(msgspec.json.encode(spec), type=MapRunSpec)
    assert abs(float(again.percentage or 0) - value) <= 1e-6


# ----------------------------------------------------------------------------------------------- arguments and batches


def test_arguments_by_paths_and_functions_become_literals() -> None:
    reader = reading(
        {"inputType": "JSON"},
        bucket=None,
        key=None,
        **{"bucket.$": "$.bucket", "key.$": "States.Format('{}.json', $$.Execution.Name)"},
    )
    body = resource(itemReader=reader, resultWriter=writer(bucket=None, **{"bucket.$": "$.to"}))
    spec = resolved(body, {"bucket": "data", "to": "results"})
    assert spec.item_reader
    assert spec.result_writer
    assert (spec.item_reader.bucket, spec.item_reader.key, spec.item_reader.prefix) == ("data", "run-7.json", "")
    assert (spec.result_writer.bucket, spec.result_writer.prefix) == ("results", "")


def test_arguments_by_expressions_become_literals() -> None:
    reader = reading({"inputType": "JSON"}, "arguments", bucket="{% $states.input.bucket %}")
    body = jsonata(itemReader=reader, resultWriter=writer(form="arguments", prefix="{% 'a' & '/b' %}"))
    spec = resolved(body, {"bucket": "data"})
    assert spec.item_reader
    assert spec.result_writer
    assert (spec.item_reader.bucket, spec.item_reader.key, spec.item_reader.arguments) == ("data", "a.csv", None)
    assert (spec.result_writer.bucket, spec.result_writer.prefix) == ("results", "a/b")


def test_a_key_of_a_config_map_may_be_given_by_a_path() -> None:
    spec = resolved(
        resource(itemReader=reading({"inputType": "JSON"}, **LOCAL, key=None, **{"key.$": "$.k"})), {"k": "a"}
    )
    assert spec.item_reader
    assert (spec.item_reader.call.name, spec.item_reader.key) == ("data", "a")


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        pytest.param(
            "Not_A_Bucket", "must be a string that matches '^[a-z0-9][a-z0-9.-]*[a-z0-9]$'", id="no name of a bucket"
        ),
        pytest.param(5, "must be a string, not 5", id="a number"),
        pytest.param(None, "must be a string, not null", id="null"),
    ],
)
def test_what_is_no_bucket_fails_as_the_call_would(value: Any, cause: str) -> None:
    reader = reading({"inputType": "JSON"}, bucket=None, **{"bucket.$": "$.b"})
    body = resource(resultWriter=writer(bucket=None, **{"bucket.$": "$.b"}))
    error, told = failure(resolved, resource(itemReader=reader), {"b": value})
    assert (error, told.partition(": ")[2]) == (StatesError.ITEM_READER_FAILED, cause)
    assert told.startswith("spec.itemReader.parameters.bucket")
    assert failure(resolved, body, {"b": value})[0] == StatesError.RESULT_WRITER_FAILED


def test_the_batches_input_is_made_once_out_of_input_and_context() -> None:
    batcher = {"maxItemsPerBatch": 2, "batchInput": {"run.$": "$$.Execution.Name", "all.$": "$.a", "as it is": [1]}}
    spec = resolved(resource(itemBatcher=batcher), {"a": [1, 2]})
    assert spec.item_batcher
    assert spec.item_batcher.batch_input == {"run": "run-7", "all": [1, 2], "as it is": [1]}
    assert (spec.item_batcher.most_items, spec.item_batcher.most_bytes) == (2, None)


def test_a_batches_input_that_fails_names_its_field() -> None:
    batcher = {"maxItemsPerBatch": 2, "batchInput": {"a": [1, "{% $states.input.a.b %}"]}}
    cause = told("$states.input.a.b", "ItemBatcher/BatchInput/a[1]", "returned nothing (undefined).")
    assert failure(resolved, jsonata(itemBatcher=batcher), {}) == (QUERY, cause)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("{% '\\ud83d' %}", id="half a character"),
        pytest.param("{% $states.input %}", id="257 arrays within each other"),
    ],
)
def test_a_batches_input_must_be_json_that_a_plan_can_hold(value: str) -> None:
    batcher = {"maxItemsPerBatch": 2, "batchInput": {"a": value}}
    deep: Any = 1
    for _ in range(256):
        deep = [deep]
    error, cause = failure(resolved, jsonata(itemBatcher=batcher), deep)
    assert error == RUNTIME
    assert cause.endswith(
        "spec.itemBatcher.batchInput cannot be written as JSON: it holds half a character, or is nested too deeply"
    )


# ------------------------------------------------------------------------------------------- the input, and items of it


def test_everything_sees_the_input_at_the_input_path() -> None:
    body = numbered("maxConcurrencyPath", "$.n")
    body["spec"]["inputPath"] = "$.inner"
    assert resolved(body, {"n": 1, "inner": {"n": 2}}).concurrency == 2


def test_an_input_path_to_nothing_fails_with_the_recorded_words() -> None:
    cause = f"{PREFIX}Invalid path '$.NoSuchInputPath' : No results for path: $['NoSuchInputPath']"
    assert failure(resolved, resource(inputPath="$.NoSuchInputPath"), {}) == (RUNTIME, cause)


def items(body: Json, given: Any) -> Any:
    body["spec"]["input"] = given
    return resolving.items(parse(body), CONTEXT)


@pytest.mark.parametrize(
    ("body", "given", "expected"),
    [
        pytest.param(resource(itemsPath="$.a"), {"a": [1]}, [1], id="an array at a path"),
        pytest.param(resource(itemsPath="$.a"), {"a": {"k": 1}}, {"k": 1}, id="an object at a path"),
        pytest.param(resource(inputPath="$.a", itemsPath="$.b"), {"a": {"b": [2]}}, [2], id="below the inputPath"),
        pytest.param(jsonata(), [1], [1], id="the whole input"),  # map_state_items_input_array_singleton
        pytest.param(jsonata(), {"k": 1}, {"k": 1}, id="the whole input, an object"),
        pytest.param(jsonata(items="{% [] %}"), {}, [], id="no items"),  # items_eval_jsonata_empty
        pytest.param(jsonata(items="{% [1] %}"), {}, [1], id="a single item"),  # items_eval_jsonata_singleton
        pytest.param(jsonata(items="{% [1, 'a', null] %}"), {}, [1, "a", None], id="mixed items"),
        pytest.param(jsonata(items=[1, "{% $number('2') %}", 3]), {}, [1, 2, 3], id="literals and an expression"),
        pytest.param(jsonata(items="{% $states.input.obj %}"), {"obj": {"k": 1}}, {"k": 1}, id="an object"),
        pytest.param(jsonata(items={"k": "{% 1 %}"}), {}, {"k": 1}, id="an object of expressions"),
    ],
)
def test_where_items_come_from(body: Json, given: Any, expected: Any) -> None:
    assert items(body, given) == expected


UNEXPECTED = "returned an unexpected result type. Expected 'array', but was"


@pytest.mark.parametrize(
    ("expression", "ending"),
    [
        pytest.param("true", f"{UNEXPECTED} 'boolean' for value: true", id="true"),  # items_eval_jsonata_fail_boolean
        pytest.param("1", f"{UNEXPECTED} 'number' for value: 1", id="a number"),  # items_eval_jsonata_fail_number
        pytest.param("'string'", f"{UNEXPECTED} 'string' for value: \"string\"", id="text"),  # …sampling_fail_string
        pytest.param("null", f"{UNEXPECTED} 'null' for value: null", id="null"),  # variable_sampling_null
        pytest.param("$doesNotExist", "returned nothing (undefined).", id="nothing"),
    ],
)
def test_items_that_are_none(expression: str, ending: str) -> None:
    body = jsonata(items=f"{{% {expression} %}}")
    assert failure(items, body, {}) == (QUERY, told(expression, "Items", ending))


@pytest.mark.parametrize(("given", "shown"), [(1, "1"), ("string", '"string"')])
def test_an_input_that_is_no_array_fails_with_the_recorded_words(given: Any, shown: str) -> None:
    assert failure(items, jsonata(), given) == (QUERY, f"{PREFIX}Map state input must be an array but was: {shown}")


def test_an_items_path_to_no_array_fails_with_the_recorded_words() -> None:
    cause = f'{PREFIX}Reference path "$" must point to array.'
    assert failure(items, resource(), 5) == (RUNTIME, cause)


# ----------------------------------------------------------------------------------------------------------- as a whole


def test_a_spec_of_literals_stays_as_it_is() -> None:
    spec = parse(
        resource(
            itemReader=reading(),
            itemBatcher={"maxItemsPerBatch": 5, "batchInput": {"a": 1}},
            maxConcurrency=4,
            toleratedFailurePercentage="0.5",
            resultWriter=writer(),
        )
    )
    assert resolving.resolve(spec, CONTEXT) == spec


def test_a_resolved_spec_survives_being_written_and_read() -> None:
    for body in (numbered("maxConcurrencyPath", "$.n"), numbered(ITEMS, EXPRESSION, "JSONata")):
        spec = resolved(body, {"n": 3})
        assert msgspec.json.decode(msgspec.json.encode(spec), type=MapRunSpec) == spec


def test_the_reason_and_the_field_are_told_where_the_words_do_not_name_it() -> None:
    with pytest.raises(RunFailed) as caught:
        by_path("toleratedFailureCount", -1)
    assert caught.value.reason is Reason.RUNTIME_ERROR
    assert caught.value.failure.hint == "spec.toleratedFailureCount"
