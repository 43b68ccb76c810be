"""Definitions: what is parsed, and where what is not known stands."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from maprun.core.asl import document
from maprun.core.asl.document import DefinitionInvalid, Map, Pass
from maprun.model import QueryLanguage

END: dict[str, Any] = {"Type": "Pass", "End": True}
CHILD = {"StartAt": "P", "States": {"P": END}}


def machine(**states: Any) -> dict[str, Any]:
    return {"StartAt": next(iter(states)), "States": states}


def test_absent_and_null_are_two_things() -> None:
    absent, null = (document.state({**END, **fields}) for fields in ({}, {"ResultPath": None, "Result": None}))
    assert isinstance(absent, Pass)
    assert isinstance(null, Pass)
    assert (absent.result_path, absent.result) == ("$", UNSET)
    assert (null.result_path, null.result) == (None, None)


@pytest.mark.parametrize(
    ("fields", "distributed"),
    [
        pytest.param({"ItemProcessor": CHILD}, False, id="an item processor is inline by itself"),
        pytest.param({"Iterator": CHILD}, False, id="the older name"),
        pytest.param(
            {"Iterator": {**CHILD, "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}},
            True,
            id="the older name can be distributed",
        ),
    ],
)
def test_where_children_run(fields: dict[str, Any], distributed: bool) -> None:
    state = document.state({"Type": "Map", "End": True, **fields})
    assert isinstance(state, Map)
    assert state.distributed is distributed
    assert state.processor.start_at == "P"


def test_the_older_name_of_the_selector() -> None:
    state = document.state({"Type": "Map", "End": True, "ItemProcessor": CHILD, "Parameters": {"a": 1}})
    assert isinstance(state, Map)
    assert state.selector == {"a": 1}


def test_a_state_has_its_own_language_or_the_machines() -> None:
    parsed = document.machine(
        {"QueryLanguage": "JSONata", **machine(A={**END, "QueryLanguage": "JSONPath", "Next": "B"}, B=END)}
    )
    languages = [document.language_of(parsed.states[name], parsed.query_language) for name in "AB"]
    assert languages == [QueryLanguage.JSONPATH, QueryLanguage.JSONATA]


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        pytest.param([], "Expected `object`, got `array`", id="no object"),
        pytest.param({"States": {}}, "missing required field `StartAt`", id="no first state"),
        pytest.param({"StartAt": "X", "States": {"A": END}}, "there is no state 'X'", id="no such first state"),
        pytest.param(machine(A={"Type": "Pass", "Next": "B"}), "there is no state 'B'", id="no such next state"),
        pytest.param(machine(A={"Type": "Choice"}), "Invalid value 'Choice'", id="a Type that is not run here"),
        pytest.param(machine(A={**END, "Colour": 1}), "unknown field `Colour`", id="a field that nobody knows"),
        pytest.param(machine(A={"Type": "Map", "End": True}), "/States/A: one of ItemProcessor", id="no children"),
        pytest.param(
            machine(A={"Type": "Map", "End": True, "ItemProcessor": {**CHILD, "StartAt": "Q"}}),
            "/States/A/ItemProcessor: there is no state 'Q'",
            id="wrong inside a Map",
        ),
    ],
)
def test_what_is_refused(definition: Any, told: str) -> None:
    with pytest.raises(DefinitionInvalid) as refused:
        document.machine(definition)
    assert told in str(refused.value)
