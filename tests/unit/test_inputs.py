"""Items to inputs: what is written at once is what the selector gives item by item, and errors name the item."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import columns, selection
from maprun.core.columns import Items
from maprun.core.inputs import inputs
from maprun.core.tables import Table
from maprun.model import MapRunSpec

CONTEXT = {"Execution": {"Name": "airports", "Input": {"n": 1}}, "State": {"Name": "airports"}, "StateMachine": {}}
DOCUMENT = {"bucket": "data", "rows": [1, 2], "deep": {"er": "x"}}
VALUE = {"id": 1, "of": {"x": "y"}, "list": [5]}


def spec(selector: Any, **fields: Any) -> MapRunSpec:
    wanted = {"itemProcessor": {"jobTemplate": {}}, "itemSelector": selector, "input": DOCUMENT, **fields}
    return msgspec.convert(wanted, MapRunSpec)


def one_by_one(selector: Any, items: Items) -> list[Any]:
    """The slow way, which is tested for itself (test_selection.py)."""
    evaluate = selection.compile_selector(selector)
    keys = items.keys or [None] * len(items.values)
    contexts = (
        selection.with_item(CONTEXT, index, value, items.source, key)
        for index, (key, value) in enumerate(zip(keys, items.values, strict=True), items.first)
    )
    return [evaluate(DOCUMENT, context) for context in contexts]


SIMPLE: list[tuple[str, Any]] = [
    ("nothing", {}),
    ("constants", {"a": 1, "b": [1, {"c": None}], "d": {"e": {}}}),
    ("the item", {"v.$": "$$.Map.Item.Value", "i.$": "$$.Map.Item.Index", "s.$": "$$.Map.Item.Source"}),
    ("something in the item", {"x.$": "$$.Map.Item.Value.of.x", "y.$": "$$.Map.Item.Value['id']"}),
    ("an object within", {"a": {"b": {"c.$": "$$.Map.Item.Value.id", "d": 2}}, "z": 0}),
    ("an array with a path within", {"a": [{"b.$": "$$.Map.Item.Index"}, 3, "$.x", []]}),
    ("the input", {"all.$": "$", "one.$": "$.deep.er", "at.$": "$.rows[1]", "some.$": "$.rows[*]"}),
    ("the run", {"name.$": "$$.Execution.Name", "in.$": "$$.Execution.Input.n"}),
    ("names of every kind", {"é $ x.$": "$$.Map.Item.Index", ".$": "$.bucket", "class": 1, "1.$": "$.bucket"}),
]


@pytest.mark.parametrize("selector", [row[1] for row in SIMPLE], ids=[row[0] for row in SIMPLE])
def test_a_simple_selector_is_evaluated_at_once(selector: Any) -> None:
    items = Items(7, [VALUE, VALUE | {"id": 2}, VALUE | {"id": None}], None, "s3://data/rows.json")
    columns.compile_columns(selector, DOCUMENT, CONTEXT)
    written, wrong = inputs(spec(selector), CONTEXT)(items)
    assert [json.loads(each) for each in written] == one_by_one(selector, items)
    assert [list(json.loads(each)) for each in written] == [list(each) for each in one_by_one(selector, items)]
    assert wrong is None


NOT_SIMPLE: list[tuple[str, Any]] = [
    ("a function", {"a.$": "States.MathAdd($$.Map.Item.Index, 1)"}),
    ("an index into the item", {"a.$": "$$.Map.Item.Value.list[0]"}),
    ("an indefinite path", {"a.$": "$$.Map.Item.Value.list[*]"}),
    ("the whole context object", {"a.$": "$$"}),
    ("the item with all about it", {"a.$": "$$.Map.Item"}),
    ("all items", {"a.$": "$$.Map"}),
    ("a name that only a dict can hold", {'quo"te.$': "$$.Map.Item.Index"}),
]


@pytest.mark.parametrize("selector", [row[1] for row in NOT_SIMPLE], ids=[row[0] for row in NOT_SIMPLE])
def test_any_other_selector_is_evaluated_item_by_item(selector: Any) -> None:
    items = Items(7, [VALUE, VALUE | {"id": 2}], None, "s3://data/rows.json")
    with pytest.raises(columns.NotSimple):
        columns.compile_columns(selector, DOCUMENT, CONTEXT)
    written, wrong = inputs(spec(selector), CONTEXT)(items)
    assert [json.loads(each) for each in written] == one_by_one(selector, items)
    assert wrong is None


def test_items_of_an_object_have_keys() -> None:
    selector = {"k.$": "$$.Map.Item.Key", "v.$": "$$.Map.Item.Value"}
    written, _ = inputs(spec(selector), CONTEXT)(Items(0, [1, 2], ["a", "b"], ""))
    assert written == [b'{"k":"a","v":1}', b'{"k":"b","v":2}']


def test_items_of_an_object_that_nothing_selects_are_its_members() -> None:
    """Measured on AWS (§12)."""
    written, _ = inputs(spec(None), CONTEXT)(Items(0, [1, {"x": 2}], ["a", "b"], ""))
    assert written == [b'{"Key":"a","Value":1}', b'{"Key":"b","Value":{"x":2}}']


WRONG: list[tuple[str, Any, list[Any], str, str]] = [
    (
        "has not what the selector wants",
        {"x.$": "$$.Map.Item.Value.a"},
        [{"a": 1}, {"a": 2}, {"b": 3}, {"a": 4}],
        "States.Runtime",
        "The JSONPath '$.Map.Item.Value.a' specified for the field 'x.$' could not be found",
    ),
    (
        "is a string where the path wants an object",
        {"x.$": "$$.Map.Item.Value.a"},
        [{"a": 1}, {"a": 2}, "a"],
        "States.Runtime",
        "The JSONPath '$.Map.Item.Value.a'",
    ),
    (
        "has no key",
        {"x.$": "States.Format('{}', $$.Map.Item.Value.a)"},
        [{"a": 1}, {"a": 2}, {"b": 3}],
        "States.",
        "$.Map.Item.Value.a",
    ),
    ("holds half a character", None, [1, 2, "\ud800"], "States.ItemReaderFailed", "Item 12 cannot be written as JSON"),
    (
        "is nested too deeply",
        None,
        [1, 2, json.loads("[" * 300 + "]" * 300)],
        "States.ItemReaderFailed",
        "Item 12 cannot be written as JSON",
    ),
    (
        "is nested too deeply, though it is longer than others",
        {"v.$": "$$.Map.Item.Value"},
        [1, [0] * 1_000, json.loads("[" * 300 + "]" * 300)],
        "States.ItemReaderFailed",
        "Item 12 cannot be written as JSON",
    ),
]


@pytest.mark.parametrize(
    ("selector", "values", "error", "cause"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_the_third_item(selector: Any, values: list[Any], error: str, cause: str) -> None:
    written, wrong = inputs(spec(selector), CONTEXT)(Items(10, values, None, "STATE_DATA"))
    assert len(written) == 2, "the items before it come out"
    assert wrong
    assert wrong.failure.error.startswith(error)
    assert cause in wrong.failure.cause
    assert "item 12, counted from 0" in wrong.failure.hint or "Item 12" in wrong.failure.cause


def test_an_error_of_evaluation_names_the_state() -> None:
    _, wrong = inputs(spec({"x.$": "$.none"}), CONTEXT)(Items(0, [1], None, ""))
    assert wrong
    assert wrong.failure.cause.startswith("An error occurred while executing the state 'airports'")


def test_inputpath_gives_the_selector_its_input() -> None:
    written, _ = inputs(spec({"x.$": "$.er"}, inputPath="$.deep"), CONTEXT)(Items(0, [1], None, ""))
    assert written == [b'{"x":"x"}']


def test_jsonata_selects_item_by_item() -> None:
    selector = {"n": "{% $states.context.Map.Item.Value * 2 %}", "b": "{% $states.input.bucket %}", "c": 1}
    items = Items(3, [10, 20], None, "STATE_DATA")
    written, wrong = inputs(spec(selector, queryLanguage="JSONata"), CONTEXT)(items)
    assert [json.loads(each) for each in written] == [{"n": 20, "b": "data", "c": 1}, {"n": 40, "b": "data", "c": 1}]
    assert wrong is None


# --------------------------------------------------------------------------------------------------------------- tables

TABLE = Table(("id", "name", ""), [["1", "a", "x", "more"], ["2", "b", "y"]])
OBJECTS = [{"id": "1", "name": "a", "": "x"}, {"id": "2", "name": "b", "": "y"}]


def test_a_table_reads_like_its_rows() -> None:
    assert list(TABLE) == OBJECTS
    assert (len(TABLE), TABLE[1], list(TABLE[1:]), list(TABLE[:1])) == (2, OBJECTS[1], OBJECTS[1:], OBJECTS[:1])


@pytest.mark.parametrize(
    "selector",
    [
        pytest.param(None, id="no selector"),
        pytest.param({"row.$": "$$.Map.Item.Value", "n.$": "$$.Map.Item.Index"}, id="the whole row"),
        pytest.param({"n.$": "$$.Map.Item.Value.name"}, id="a cell"),
        pytest.param({"n.$": "States.Format('{}', $$.Map.Item.Value.name)"}, id="a cell in a function"),
    ],
)
@pytest.mark.parametrize("name", ["name", 'na"me', "\n"], ids=["plain", "with a quote", "a line feed"])
def test_a_table_is_written_like_its_rows(selector: Any, name: str) -> None:
    if name != "name" and selector and "n.$" in selector and "name" in selector["n.$"]:
        selector = {"n.$": "$$.Map.Item.Value.id"}
    table = Table(("id", name, ""), TABLE.rows)
    made = inputs(spec(selector), CONTEXT)
    assert made(Items(0, table, None, "")) == made(Items(0, list(table), None, ""))


def test_a_cell_that_no_row_has_is_an_error() -> None:
    _, wrong = inputs(spec({"n.$": "$$.Map.Item.Value.none"}), CONTEXT)(Items(0, TABLE, None, ""))
    assert wrong
    assert "could not be found" in wrong.failure.cause


cells = st.text(max_size=5)
names = st.lists(st.text(max_size=4), min_size=1, max_size=4, unique=True)


@given(names.flatmap(lambda them: st.tuples(st.just(them), st.lists(st.lists(cells, min_size=len(them), max_size=6)))))
def test_any_table_is_written_like_its_rows(drawn: tuple[list[str], list[list[str]]]) -> None:
    headers, rows = drawn
    table = Table(tuple(headers), rows)
    written, wrong = inputs(spec(None), CONTEXT)(Items(0, table, None, ""))
    assert ([json.loads(each) for each in written], wrong) == (list(table), None)


leaves = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=3)
values = st.recursive(leaves, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=6)
paths = st.sampled_from(
    [
        "$$.Map.Item.Value", "$$.Map.Item.Value.a", "$$.Map.Item.Value.a.b", "$$.Map.Item.Index", "$$.Map.Item.Source",
        "$$.Map.Item.Key", "$$.Map.Item.None", "$.bucket", "$.none", "$$.Execution.Name", "$$.Map.Item.Value.*",
    ]
)  # fmt: skip
templates = st.recursive(
    st.dictionaries(st.sampled_from(["x.$", "y.$"]), paths, max_size=2),
    lambda inner: st.dictionaries(
        st.sampled_from(["p", "q"]), inner | leaves | st.lists(inner, max_size=2), max_size=2
    ),
    max_leaves=4,
)


@given(templates, st.lists(values, max_size=6))
def test_any_selector_gives_at_once_what_it_gives_item_by_item(template: Any, given: list[Any]) -> None:
    items = Items(3, given, None, "s3://data/k")
    at_once = inputs(spec(template), CONTEXT)(items)
    singles = [
        inputs(spec(template), CONTEXT)(Items(3 + at, [each], None, "s3://data/k")) for at, each in enumerate(given)
    ]
    written: list[Any] = []
    for lines, wrong in singles:
        written += lines
        if wrong:
            break
    assert [json.loads(each) for each in at_once[0]] == [json.loads(each) for each in written]
    failures = [wrong.failure for _, wrong in singles if wrong]
    assert (at_once[1] and at_once[1].failure) == (failures[0] if failures else None)
