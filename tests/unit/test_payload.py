"""Payload templates: what stays, what is evaluated, what is wrong; rows marked "recorded" are AWS's answers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import payload
from maprun.errors import Problem, RunFailed, StatesError

AT = "spec.batchInput"
INPUT = {"rows": [1, 2], "bucket": "data"}
CONTEXT = {"Execution": {"Id": "arn:run", "Name": "airports"}, "Map": {"Item": {"Index": 4, "Value": "item"}}}


def made(template: Any, document: Any = INPUT) -> Any:
    return payload.compile_template(template, AT)(document, CONTEXT)


@pytest.mark.parametrize(
    ("template", "result"),
    [
        pytest.param({}, {}, id="an empty template gives an empty object"),
        pytest.param({"a": 1, "b": [None]}, {"a": 1, "b": [None]}, id="constants stay"),
        pytest.param({"a": "$.rows"}, {"a": "$.rows"}, id="without .$ a path is only text"),
        pytest.param({"a": "States.UUID()"}, {"a": "States.UUID()"}, id="and so is a call (recorded)"),
        pytest.param({"all.$": "$"}, {"all": INPUT}, id="$ is the input"),
        pytest.param({"run.$": "$$.Execution.Name"}, {"run": "airports"}, id="$$ is the context object"),
        pytest.param({"n.$": "$.rows[*]"}, {"n": [1, 2]}, id="an indefinite path gives a list"),
        pytest.param({"n.$": "$.none[*]"}, {"n": []}, id="which may be empty"),
        pytest.param({"n.$": "$.rows[2]"}, {"n": None}, id="an index beyond the end gives null (measured)"),
        pytest.param({"n.$": "$.rows[-3]"}, {"n": None}, id="before the start as well"),
        pytest.param({"a": {"b.$": "$.bucket", "c": 1}}, {"a": {"b": "data", "c": 1}}, id="inside an object"),
        pytest.param({"a": [1, {"b.$": "$.bucket"}]}, {"a": [1, {"b": "data"}]}, id="inside an array"),
        pytest.param({"a.$.$": "$.bucket"}, {"a.$": "data"}, id="one .$ is taken away"),
        pytest.param(
            {"a": [{"b.$": "States.Format('{}-{}', $.bucket, $$.Map.Item.Index)"}]},
            {"a": [{"b": "data-4"}]},
            id="a call",
        ),
        pytest.param("text", "text", id="a template that is no object"),
    ],
)
def test_makes(template: Any, result: Any) -> None:
    assert payload.problems(template, AT) == ()
    assert made(template) == result


def test_keeps_the_order_of_keys() -> None:
    template = {"z.$": "States.Array()", "a": 1, "m": {"x.$": "$.bucket"}, "b": 2}
    assert list(made(template)) == ["z", "a", "m", "b"]


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        pytest.param(
            {"deep": {"y.$": "$.x"}},
            "The JSONPath '$.x' specified for the field 'y.$' could not be found in the input "
            '\'{"rows":[1,2],"bucket":"data"}\'',
            id="a name (recorded)",
        ),
        pytest.param(
            {"y.$": "$.bucket[0]"},
            "The JSONPath '$.bucket[0]' specified for the field 'y.$' could not be found in the input "
            '\'{"rows":[1,2],"bucket":"data"}\'',
            id="an index of what is no array (recorded)",
        ),
        pytest.param(
            {"y.$": "$.rows[5].name"},
            "The JSONPath '$.rows[5].name' specified for the field 'y.$' could not be found in the input "
            '\'{"rows":[1,2],"bucket":"data"}\'',
            id="a name behind an index beyond the end",
        ),
        pytest.param(
            {"y.$": "$$.Map.Item.Key"},
            "The JSONPath '$.Map.Item.Key' specified for the field 'y.$' could not be found in the input "
            '\'{"Execution":{"Id":"arn:run","Name":"airports"},"Map":{"Item":{"Index":4,"Value":"item"}}}\'',
            id="in the context object, which is quoted then",
        ),
    ],
)
def test_a_path_to_nothing_fails_with_the_words_of_aws(template: Any, cause: str) -> None:
    with pytest.raises(RunFailed) as caught:
        made(template)
    assert caught.value.failure.error == StatesError.RUNTIME
    assert caught.value.failure.cause == cause


@pytest.mark.parametrize(
    "document",
    [pytest.param({"long": "x" * 100_000}, id="long"), pytest.param({"half": "\ud800"}, id="with half a character")],
)
def test_an_error_quotes_no_more_than_the_beginning_of_an_input(document: Any) -> None:
    with pytest.raises(RunFailed) as caught:
        made({"y.$": "$.x"}, document)
    assert len(caught.value.failure.cause) < 2_200


@pytest.mark.parametrize(
    ("template", "path", "message"),
    [
        pytest.param({"a.$": 23}, "a.$", "must be a string with a JSONPath", id="a number"),
        pytest.param({"a.$": None}, "a.$", "must be a string with a JSONPath", id="null"),
        pytest.param({"a.$": {"f.$": "$"}}, "a.$", "must be a string with a JSONPath", id="an object"),
        pytest.param({"a.$": "ipsum"}, "a.$", "call: Invalid path 'ipsum' : it must begin with $", id="a word"),
        pytest.param({"a.$": " $.x"}, "a.$", "it must begin with $", id="a blank in front"),
        pytest.param({"a.$": "$$23"}, "a.$", "at character 3", id="a number behind $$"),
        pytest.param({"a.$": "$.x["}, "a.$", "at character 4", id="a path that does not end"),
        pytest.param({"a.$": "States.Foo()"}, "a.$", "call: there is no function States.Foo", id="an unknown function"),
        pytest.param({"a.$": "States.UUID("}, "a.$", "it ends at character 13", id="a call that does not end"),
        pytest.param({"a": 1, "a.$": "$"}, "a.$", "stands beside 'a'", id="the same key twice"),
        pytest.param({"a": {"b": [0, {"c.$": 1}]}}, "a.b[1].c.$", "must be a string", id="deep in objects and arrays"),
    ],
)
def test_problems_name_the_key(template: Any, path: str, message: str) -> None:
    (problem,) = payload.problems(template, AT)
    assert problem.path == f"{AT}.{path}"
    assert message in problem.message


def test_all_problems_are_told_at_once() -> None:
    found = payload.problems({"a.$": 1, "ok.$": "$", "b": {"c.$": "x"}}, AT)
    assert [each.path for each in found] == [f"{AT}.a.$", f"{AT}.b.c.$"]


def test_a_malformed_template_is_never_compiled() -> None:
    for wrong in ("$.x[", "States.UUID("):
        with pytest.raises(RunFailed) as caught:
            payload.compile_template([{"a.$": wrong}], AT)
        assert caught.value.failure.error == StatesError.RUNTIME


def test_a_template_is_not_bottomless() -> None:
    deep: Any = {"a.$": "$"}
    for _ in range(payload.MAX_DEPTH):
        deep = [deep]
    assert payload.problems(deep, AT) == ()
    assert payload.problems([deep], AT) == (
        Problem(AT + "[0]" * 65, "lies deeper than 64 objects and arrays within each other"),
    )


def test_chance_depends_on_the_field_the_key_and_the_place_in_a_call() -> None:
    template = {
        "a.$": "States.UUID()",
        "b.$": "States.UUID()",
        "c": [{"a.$": "States.UUID()"}, {"a.$": "States.UUID()"}],
        "d.$": "States.Array(States.UUID(), States.UUID())",
    }
    once = made(template)
    ids = [once["a"], once["b"], *(each["a"] for each in once["c"]), *once["d"]]
    ids.append(payload.compile_template({"a.$": "States.UUID()"}, "spec.itemSelector")(INPUT, CONTEXT)["a"])
    assert len(set(ids)) == 7
    assert made(template) == once


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    )
)
def test_a_template_without_paths_gives_itself(template: Any) -> None:
    assert payload.problems(template, AT) == ()
    assert made(template) == template


@given(st.dictionaries(st.sampled_from(["a", "a.$", "b.$", ".$"]), st.text("$.[]ab('States)", max_size=12), max_size=3))
def test_a_template_has_problems_or_an_answer(template: dict[str, str]) -> None:
    if not payload.problems(template, AT):
        with suppress(RunFailed):
            assert made(template).keys() == {key.removesuffix(".$") for key in template}
