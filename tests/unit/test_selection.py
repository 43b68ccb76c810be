"""Item selectors, the context object, and the names and times in it."""

from __future__ import annotations

from typing import Any

import pytest

from maprun.core import arns, payload, selection
from maprun.core.times import iso
from maprun.errors import RunFailed
from maprun.model import MapRunSpec, RunRef
from maprun.model_processing import ItemProcessor

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
        pytest.param({"all.$": "$"}, {"all": INPUT}, id="$ is the input, not the item"),
        pytest.param({"v.$": "$$.Map.Item.Value"}, {"v": "item"}, id="the item's value"),
        pytest.param({"i.$": "$$.Map.Item.Index"}, {"i": 4}, id="the item's index"),
        pytest.param({"s.$": "$$.Map.Item.Source"}, {"s": "STATE_DATA"}, id="the item's source"),
        pytest.param({"run.$": "$$.Execution.Name"}, {"run": "airports"}, id="something of the run"),
        pytest.param({"n.$": "States.MathAdd($$.Map.Item.Index, 1)"}, {"n": 5}, id="a function of the item"),
    ],
)
def test_selects(template: Any, selected: Any) -> None:
    assert payload.problems(template, selection.FIELD) == ()
    assert select(template) == selected


def test_an_item_of_an_object_has_a_key() -> None:
    assert select({"k.$": "$$.Map.Item.Key"}, key="first") == {"k": "first"}
    with pytest.raises(RunFailed, match=r"Map\.Item\.Key"):
        select({"k.$": "$$.Map.Item.Key"})


def test_one_selector_serves_many_items() -> None:
    selector = selection.compile_selector({"v.$": "$$.Map.Item.Value", "c": {"d": [1]}})
    made = [selector({}, selection.with_item({}, index, index * 10, "STATE_DATA")) for index in range(3)]
    assert made == [{"v": value, "c": {"d": [1]}} for value in (0, 10, 20)]


def test_each_item_has_its_own_uuid_which_reading_again_gives_again() -> None:
    template = {"id.$": "States.UUID()"}
    first = [select(template, index=index)["id"] for index in range(20)]
    assert len(set(first)) == 20
    assert [select(template, index=index)["id"] for index in range(20)] == first


def test_another_run_has_other_uuids() -> None:
    selector = selection.compile_selector({"id.$": "States.UUID()"})
    again = RunRef(RUN.namespace, RUN.name, "another uid", RUN.created)
    ids = {selector(INPUT, selection.context_for(run, spec(), run.created))["id"] for run in (RUN, again)}
    assert len(ids) == 2


def test_problems_name_the_field() -> None:
    (problem,) = payload.problems({"a": [{"b.$": "x"}]}, selection.FIELD)
    assert problem.path == "spec.itemSelector.a[0].b.$"


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
