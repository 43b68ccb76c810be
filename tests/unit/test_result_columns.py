"""Outputs as rows of a table: the kinds of columns, how they widen, and what happens to what does not fit."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import result_columns
from maprun.core.result_columns import RESCUED, Kind, Table, Type, columns_of, row_of

BOOLEAN, INTEGER, NUMBER, STRING, JSON = (
    Kind(each) for each in (Type.BOOLEAN, Type.INTEGER, Type.NUMBER, Type.STRING, Type.JSON)
)


def columns(*outputs: Any) -> dict[str, Kind]:
    return dict(columns_of(row_of(msgspec.json.encode(output)) for output in outputs))


def listed(kind: Kind) -> Kind:
    return Kind(Type.LIST, kind)


def object_of(**fields: Kind) -> Kind:
    return Kind(Type.OBJECT, fields=tuple(fields.items()))


KINDS: list[tuple[str, list[Any], dict[str, Kind]]] = [
    ("an object's keys are columns, in order", [{"b": 1, "a": "x"}], {"b": INTEGER, "a": STRING}),
    ("keys that appear later come behind", [{"a": True}, {"b": 0.5}], {"a": BOOLEAN, "b": NUMBER}),
    ("other outputs are the column value", [1, 2], {"value": INTEGER}),
    ("an array, too", [[1], [2]], {"value": listed(INTEGER)}),
    ("null is a row without columns", [None, {"a": 1}], {"a": INTEGER}),
    ("integers and numbers widen to numbers", [{"a": 1}, {"a": 0.5}], {"a": NUMBER}),
    ("a number, then an integer: the same", [{"a": 0.5}, {"a": 1}], {"a": NUMBER}),
    ("null widens nothing", [{"a": None}, {"a": 1}, {"a": None}], {"a": INTEGER}),
    ("a key that is always null is JSON", [{"a": None}], {"a": JSON}),
    ("different kinds become JSON", [{"a": 1}, {"a": "x"}], {"a": JSON}),
    ("a boolean is no number", [{"a": 1}, {"a": True}], {"a": JSON}),
    ("an integer beyond 64 bits is JSON", [{"a": 2**63}], {"a": JSON}),
    ("the greatest of 64 bits is not", [{"a": 2**63 - 1}, {"a": -(2**63)}], {"a": INTEGER}),
    ("lists of one kind", [{"a": [1, 2]}, {"a": [0.5]}, {"a": []}], {"a": listed(NUMBER)}),
    ("lists of different kinds have elements of JSON", [{"a": [1, "x"]}], {"a": listed(JSON)}),
    ("a list that is always empty has elements of JSON", [{"a": []}], {"a": listed(JSON)}),
    ("objects inside are merged", [{"a": {"x": 1}}, {"a": {"y": "s"}}], {"a": object_of(x=INTEGER, y=STRING)}),
    ("lists of objects", [{"a": [{"x": 1}, {"x": 0.5}]}], {"a": listed(object_of(x=NUMBER))}),
    ("an object and something else are JSON", [{"a": {"x": 1}}, {"a": 1}], {"a": JSON}),
    ("an object without keys is JSON", [{"a": {}}], {"a": JSON}),
    ("unless another one has some", [{"a": {}}, {"a": {"x": 1}}], {"a": object_of(x=INTEGER)}),
    ("a map of many names is JSON", [{"a": {str(n): 1 for n in range(201)}}], {"a": JSON}),
    ("also when it grows to one", [{"a": {str(n + m): 1 for n in range(150)}} for m in (0, 100)], {"a": JSON}),
    ("the last column's name is taken", [{RESCUED: 1, "a": 1}], {"a": INTEGER}),
]


@pytest.mark.parametrize(("outputs", "expected"), [row[1:] for row in KINDS], ids=[row[0] for row in KINDS])
def test_columns(outputs: list[Any], expected: dict[str, Kind]) -> None:
    found = columns(*outputs)
    assert found == expected
    assert list(found) == list(expected)


def test_at_most_1000_columns() -> None:
    assert list(columns({f"c{n}": n for n in range(1001)})) == [f"c{n}" for n in range(1000)]


def test_what_lies_deep_is_json() -> None:
    kind = result_columns.kind_of(json.loads("[" * 9 + "1" + "]" * 9))
    for _ in range(8):
        assert kind.type is Type.LIST
        assert kind.element is not None
        kind = kind.element
    assert kind == JSON


ROWS: list[tuple[str, list[Any], Any, list[Any]]] = [
    ("a key that is absent is null", [{"a": 1, "b": 2}], {"a": 1}, [1, None, None]),
    ("a key that is new is rescued", [{"a": 1}], {"a": 1, "b": [2]}, [1, {"b": [2]}]),
    ("a value of another kind is rescued, its column null", [{"a": 1}], {"a": "x"}, [None, {"a": "x"}]),
    ("a fraction in a column of integers", [{"a": 1}], {"a": 1.5}, [None, {"a": 1.5}]),
    ("an integer in a column of numbers", [{"a": 0.5}], {"a": 3}, [3.0, None]),
    ("one that a number cannot hold exactly", [{"a": 0.5}], {"a": 2**53 + 1}, [None, {"a": 2**53 + 1}]),
    ("an integer beyond 64 bits", [{"a": 1}], {"a": 2**63}, [None, {"a": 2**63}]),
    ("a boolean in a column of integers", [{"a": 1}], {"a": True}, [None, {"a": True}]),
    ("an object inside with a new key is rescued whole", [{"a": {"x": 1}}], {"a": {"y": 1}}, [None, {"a": {"y": 1}}]),
    ("an object inside with fewer keys", [{"a": {"x": 1, "y": 1}}], {"a": {"x": 2}}, [{"x": 2}, None]),
    ("a list with another kind inside", [{"a": [1]}], {"a": ["x"]}, [None, {"a": ["x"]}]),
    ("a column of JSON takes everything", [{"a": 1}, {"a": "x"}], {"a": {"y": [1]}}, ['{"y":[1]}', None]),
    ("a string in it has quotes", [{"a": 1}, {"a": "x"}], {"a": "x"}, ['"x"', None]),
    ("null in it is null", [{"a": 1}, {"a": "x"}], {"a": None}, [None, None]),
    ("an output that is no object, among objects", [{"a": 1}], 7, [None, {"value": 7}]),
    ("the last column's own name", [{"a": 1}], {RESCUED: "x"}, [None, {RESCUED: "x"}]),
    ("an empty row", [{"a": 1}], None, [None, None]),
]


@pytest.mark.parametrize(("first", "output", "cells"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_rows(first: list[Any], output: Any, cells: list[Any]) -> None:
    table = Table(columns_of(map(row_of, map(msgspec.json.encode, first))))
    *row, rescued = (column[0] for column in table.transposed([row_of(msgspec.json.encode(output))]))
    assert [*row, rescued and json.loads(rescued)] == cells


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("xy"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(values, max_size=6), st.lists(values, min_size=1, max_size=6))
def test_nothing_is_lost(first: list[Any], outputs: list[Any]) -> None:
    """Every output can be had back from its row, but that a missing key is null."""
    table = Table(columns_of(map(row_of, map(msgspec.json.encode, first))))
    rows = [row_of(msgspec.json.encode(output)) for output in outputs]
    columns = table.transposed(rows)
    for number, row in enumerate(rows):
        *cells, rescued = (column[number] for column in columns)
        read = {
            name: back(kind, cell) for (name, kind), cell in zip(table.columns, cells, strict=True) if cell is not None
        } | (json.loads(rescued) if rescued else {})
        assert read == {name: value for name, value in row.items() if value is not None or name in read}


def back(kind: Kind, cell: Any) -> Any:
    if kind.type is Type.JSON and cell is not None:
        return json.loads(cell)
    if kind.element and cell is not None:
        return [back(kind.element, each) for each in cell]
    if kind.type is Type.OBJECT and cell is not None:
        return {name: back(dict(kind.fields)[name], each) for name, each in cell.items()}
    return cell


@given(st.lists(values, max_size=8))
def test_the_first_outputs_fit_their_own_columns(outputs: list[Any]) -> None:
    """Nothing of them is rescued, but integers that a column of numbers cannot hold."""
    rows = [row_of(msgspec.json.encode(output)) for output in outputs]
    table = Table(columns_of(rows))
    rescued = [each for each in (table.transposed(rows)[-1] if rows else []) if each is not None]
    assert all(any(abs(number) > 2**53 for number in integers(json.loads(each))) for each in rescued)


def integers(value: Any) -> list[int]:
    if isinstance(value, list | dict):
        return [number for each in (value.values() if isinstance(value, dict) else value) for number in integers(each)]
    return [value] if isinstance(value, int) else []
