"""Payload templates, the context object, and the names and times in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import arns, selection
from maprun.core.times import iso
from maprun.errors import Problem, RunFailed, StatesError
from maprun.model import ItemProcessor, MapRunSpec, RunRef

RUN = RunRef("team", "airports", "1f0e", 1_790_204_325.09)
INPUT = {"rows": [1, 2], "bucket": "data"}


def spec(**fields: Any) -> MapRunSpec:
    job_template = {"spec": {"template": {"spec": {"serviceAccountName": "loader"}}}}
    return MapRunSpec(item_processor=ItemProcessor(job_template=job_template), input=INPUT, **fields)


def select(template: Any, value: Any = "item", index: int = 4, key: str | None = None) -> Any:
    context = selection.context_for(RUN, spec(), RUN.created, "eu-west-1")
    return selection.compile_selector(template)(INPUT, selection.with_item(context, index, value, "STATE_DATA", key))


@pytest.mark.parametrize(
    ("template", "selected"),
    [
        pytest.param({}, {}, id="an empty template gives an empty object"),
        pytest.param({"a": 1, "b": [None]}, {"a": 1, "b": [None]}, id="constants stay"),
        pytest.param({"a": "$.rows"}, {"a": "$.rows"}, id="without .$ a path is only text"),
        pytest.param({"all.$": "$"}, {"all": INPUT}, id="$ is the input, not the item"),
        pytest.param({"v.$": "$$.Map.Item.Value"}, {"v": "item"}, id="the item's value"),
        pytest.param({"i.$": "$$.Map.Item.Index"}, {"i": 4}, id="the item's index"),
        pytest.param({"s.$": "$$.Map.Item.Source"}, {"s": "STATE_DATA"}, id="the item's source"),
        pytest.param({"run.$": "$$.Execution.Name"}, {"run": "airports"}, id="something of the run"),
        pytest.param({"n.$": "$.rows[*]"}, {"n": [1, 2]}, id="an indefinite path gives a list"),
        pytest.param({"n.$": "$.none[*]"}, {"n": []}, id="which may be empty"),
        pytest.param({"a": {"b.$": "$.bucket", "c": 1}}, {"a": {"b": "data", "c": 1}}, id="inside an object"),
        pytest.param({"a": [1, {"b.$": "$.bucket"}]}, {"a": [1, {"b": "data"}]}, id="inside an array"),
        pytest.param({"a.$.$": "$.bucket"}, {"a.$": "data"}, id="one .$ is taken away"),
    ],
)
def test_selects(template: Any, selected: Any) -> None:
    assert selection.problems(template) == ()
    assert select(template) == selected


def test_keeps_the_order_of_keys() -> None:
    template = {"z.$": "$$.Map.Item.Value", "a": 1, "m": {"x.$": "$.bucket"}, "b": 2}
    assert list(select(template)) == ["z", "a", "m", "b"]


def test_an_item_of_an_object_has_a_key() -> None:
    assert select({"k.$": "$$.Map.Item.Key"}, key="first") == {"k": "first"}
    with pytest.raises(RunFailed, match=r"Map\.Item\.Key"):
        select({"k.$": "$$.Map.Item.Key"})


def test_one_selector_serves_many_items() -> None:
    selector = selection.compile_selector({"v.$": "$$.Map.Item.Value", "c": {"d": [1]}})
    made = [selector({}, selection.with_item({}, index, index * 10, "STATE_DATA")) for index in range(3)]
    assert made == [{"v": value, "c": {"d": [1]}} for value in (0, 10, 20)]


def test_a_path_to_nothing_fails_with_the_words_of_aws() -> None:
    with pytest.raises(RunFailed) as caught:
        select({"deep": {"y.$": "$.x"}})
    assert caught.value.failure.error == StatesError.RUNTIME
    assert caught.value.failure.cause == (
        "The JSONPath '$.x' specified for the field 'y.$' could not be found in the input "
        '\'{"rows":[1,2],"bucket":"data"}\''
    )


def test_an_error_quotes_no_more_than_the_beginning_of_a_long_input() -> None:
    selector = selection.compile_selector({"y.$": "$.x"})
    with pytest.raises(RunFailed) as caught:
        selector({"long": "x" * 100_000}, {})
    assert len(caught.value.failure.cause) < 2_200


@pytest.mark.parametrize(
    ("template", "path", "message"),
    [
        pytest.param({"a.$": 23}, "a.$", "must be a string with a JSONPath", id="a number"),
        pytest.param({"a.$": None}, "a.$", "must be a string with a JSONPath", id="null"),
        pytest.param({"a.$": {"f.$": "$"}}, "a.$", "must be a string with a JSONPath", id="an object"),
        pytest.param({"a.$": "ipsum"}, "a.$", "it must begin with $", id="a word"),
        pytest.param({"a.$": "$$23"}, "a.$", "at character 3", id="a number behind $$"),
        pytest.param({"a.$": "$.x["}, "a.$", "at character 4", id="a path that does not end"),
        pytest.param(
            {"a.$": "States.Format('{}', $.x)"}, "a.$", "(States.Format) are not supported yet", id="an intrinsic"
        ),
        pytest.param(
            {"a.$": "States.UUID()"}, "a.$", "(States.UUID) are not supported yet", id="one without arguments"
        ),
        pytest.param({"a": 1, "a.$": "$"}, "a.$", "stands beside 'a'", id="the same key twice"),
        pytest.param({"a": {"b": [0, {"c.$": 1}]}}, "a.b[1].c.$", "must be a string", id="deep in objects and arrays"),
    ],
)
def test_problems_name_the_key(template: Any, path: str, message: str) -> None:
    (problem,) = selection.problems(template)
    assert problem.path == f"spec.itemSelector.{path}"
    assert message in problem.message


def test_all_problems_are_told_at_once() -> None:
    found = selection.problems({"a.$": 1, "ok.$": "$", "b": {"c.$": "x"}}, "spec.itemBatcher.batchInput")
    assert [each.path for each in found] == ["spec.itemBatcher.batchInput.a.$", "spec.itemBatcher.batchInput.b.c.$"]


def test_a_template_is_not_bottomless() -> None:
    deep: Any = {"a.$": "$"}
    for _ in range(selection.MAX_DEPTH):
        deep = [deep]
    assert selection.problems(deep) == ()
    assert selection.problems([deep]) == (
        Problem("spec.itemSelector" + "[0]" * 65, "lies deeper than 64 objects and arrays within each other"),
    )


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    )
)
def test_a_template_without_paths_gives_itself(template: Any) -> None:
    assert selection.problems(template) == ()
    assert select(template) == template


def test_the_context_object_has_the_shape_of_aws() -> None:
    assert selection.context_for(RUN, spec(), RUN.created, "eu-west-1") == {
        "Execution": {
            "Id": "arn:maprun:states:eu-west-1:team:execution:airports:1f0e",
            "Input": INPUT,
            "Name": "airports",
            "RoleArn": "arn:maprun:iam:eu-west-1:team:role/loader",
            "StartTime": "2026-09-23T22:58:45.09Z",
            "RedriveCount": 0,
        },
        "State": {"EnteredTime": "2026-09-23T22:58:45.09Z", "Name": "airports", "RetryCount": 0},
        "StateMachine": {"Id": "arn:maprun:states:eu-west-1:team:stateMachine:airports", "Name": "airports"},
    }


@pytest.mark.parametrize(
    "job_template", [{}, {"spec": None}, {"spec": {"template": {"spec": {"serviceAccountName": 1}}}}]
)
def test_children_without_a_service_account_run_as_default(job_template: dict[str, Any]) -> None:
    of = MapRunSpec(item_processor=ItemProcessor(job_template=job_template))
    assert selection.context_for(RUN, of, 0.0)["Execution"]["RoleArn"] == "arn:maprun:iam:local:team:role/default"


# ------------------------------------------------------------------------------------------------------ names and times


@pytest.mark.parametrize(
    ("arn", "text"),
    [
        pytest.param(arns.map_run_arn(RUN, "r", "l"), "arn:maprun:states:r:team:mapRun:airports/l:1f0e", id="map run"),
        pytest.param(arns.child_arn(RUN, "r", "l", "n"), "arn:maprun:states:r:team:execution:airports/l:n", id="child"),
        pytest.param(
            arns.state_machine_arn(RUN, "r", "l"), "arn:maprun:states:r:team:stateMachine:airports/l", id="its machine"
        ),
        pytest.param(
            arns.execution_arn(RUN, ""), "arn:maprun:states:local:team:execution:airports:1f0e", id="no region"
        ),
        pytest.param(arns.child_name(RUN, 7), "airports-7", id="a child's name"),
    ],
)
def test_arns(arn: str, text: str) -> None:
    assert arn == text


def test_a_label_is_given_or_follows_from_the_name() -> None:
    again = RunRef("team", "airports", "another uid", 0.0)
    assert arns.label_of(spec(label="mine"), RUN) == "mine"
    assert arns.label_of(spec(), RUN) == arns.label_of(spec(), again) == "658e9583-20a4-306e-bf95-b223ce1f01e4"
    assert arns.label_of(spec(), RUN) != arns.label_of(spec(), RunRef("other", "airports", "1f0e", 0.0))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(0.0, "1970-01-01T00:00:00Z", id="the epoch"),
        pytest.param(1_790_204_325.0, "2026-09-23T22:58:45Z", id="whole seconds have no point"),
        pytest.param(1_790_204_325.09, "2026-09-23T22:58:45.09Z", id="zeros at the end are cut"),
        pytest.param(1_790_204_325.5, "2026-09-23T22:58:45.5Z", id="tenths"),
        pytest.param(1_790_204_325.123, "2026-09-23T22:58:45.123Z", id="milliseconds"),
        pytest.param(1_790_204_325.9996, "2026-09-23T22:58:46Z", id="rounded up to the next second"),
        pytest.param(1_790_204_325.001, "2026-09-23T22:58:45.001Z", id="zeros at the front stay"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert iso(seconds) == text
