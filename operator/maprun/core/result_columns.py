"""Outputs as rows of a table: which columns they have, and what goes into each (docs/results.md, Parquet).

Rule 1: the columns follow from the first outputs alone, in the order in which their keys appear. An object gives its
        keys, any other output the column `value`, null an empty row.
Rule 2: nothing is lost and nothing fails: what does not fit its column, or has none, goes as JSON into the last column,
        `_rescued_data`.
Rule 3: kinds are widened only to what holds all values alike: integer to number, different kinds to JSON text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import reduce
from typing import Any, Final

import msgspec

RESCUED: Final = "_rescued_data"
VALUE: Final = "value"
MAX_COLUMNS: Final = 1000  # further keys go into the column of what is rescued
MAX_FIELDS: Final = 200  # of an object inside a column; one with more is a map of names, and becomes JSON text
MAX_DEPTH: Final = 8  # lists and objects within each other; deeper ones become JSON text
INTEGERS: Final = range(-(2**63), 2**63)


class Type(StrEnum):
    """What a column holds."""

    UNKNOWN = "unknown"  # only nulls were seen; written as JSON
    BOOLEAN = "boolean"
    INTEGER = "integer"  # 64 bits
    NUMBER = "number"  # 64 bits, binary
    STRING = "string"
    LIST = "list"
    OBJECT = "object"
    JSON = "json"  # any value, as JSON in a string


class Kind(msgspec.Struct, frozen=True):
    """A type with the kinds inside it: of a list's elements, or of an object's fields in order."""

    type: Type
    element: Kind | None = None
    fields: tuple[tuple[str, Kind], ...] = ()


Cell = Callable[[Any], Any]
"""The value as it stands in a column. ValueError when it does not fit."""

UNKNOWN: Final = Kind(Type.UNKNOWN)
JSON: Final = Kind(Type.JSON)


def row_of(output: bytes) -> dict[str, Any]:
    """An output, which is JSON, as a row."""
    value = msgspec.json.decode(output)
    if isinstance(value, dict):
        return value
    return {} if value is None else {VALUE: value}


def columns_of(rows: Iterable[dict[str, Any]]) -> tuple[tuple[str, Kind], ...]:
    """The columns that hold these rows, without the last one; those without any value but null hold JSON."""
    kinds: dict[str, Kind] = {}
    for row in rows:
        for name, value in row.items():
            if name in kinds or (len(kinds) < MAX_COLUMNS and name != RESCUED):
                kinds[name] = widened(kinds.get(name, UNKNOWN), kind_of(value))
    return tuple((name, _settled(kind)) for name, kind in kinds.items())


def kind_of(value: Any, depth: int = 0) -> Kind:
    """The kind that holds this one value."""
    if isinstance(value, list | dict):
        return _kind_of_many(value, depth + 1)
    if isinstance(value, int) and not isinstance(value, bool) and value not in INTEGERS:
        return JSON
    return _KINDS[type(value)]


_KINDS: Final = {
    type(None): UNKNOWN,
    bool: Kind(Type.BOOLEAN),
    int: Kind(Type.INTEGER),
    float: Kind(Type.NUMBER),
    str: Kind(Type.STRING),
}


def _kind_of_many(value: list[Any] | dict[str, Any], depth: int) -> Kind:
    if depth > MAX_DEPTH or (isinstance(value, dict) and len(value) > MAX_FIELDS):
        return JSON
    if isinstance(value, list):
        return Kind(Type.LIST, reduce(widened, (kind_of(each, depth) for each in value), UNKNOWN))
    return Kind(Type.OBJECT, fields=tuple((name, kind_of(each, depth)) for name, each in value.items()))


def widened(one: Kind, other: Kind) -> Kind:
    """The narrowest kind that holds what either holds."""
    if one == other or other is UNKNOWN:
        return one
    if one is UNKNOWN:
        return other
    if {one.type, other.type} == {Type.INTEGER, Type.NUMBER}:
        return Kind(Type.NUMBER)
    if one.type is other.type is Type.LIST and one.element and other.element:
        return Kind(Type.LIST, widened(one.element, other.element))
    if one.type is other.type is Type.OBJECT:
        return _widened_fields(dict(one.fields), dict(other.fields))
    return JSON


def _widened_fields(fields: dict[str, Kind], others: dict[str, Kind]) -> Kind:
    merged = fields | {name: widened(fields.get(name, UNKNOWN), kind) for name, kind in others.items()}
    return Kind(Type.OBJECT, fields=tuple(merged.items())) if len(merged) <= MAX_FIELDS else JSON


def _settled(kind: Kind) -> Kind:
    """The kind without what is still unknown, and without objects that have no fields: both become JSON text."""
    if kind.type is Type.LIST and kind.element:
        return Kind(Type.LIST, _settled(kind.element))
    if kind.type is Type.OBJECT and kind.fields:
        return Kind(Type.OBJECT, fields=tuple((name, _settled(field)) for name, field in kind.fields))
    return JSON if kind.type in (Type.UNKNOWN, Type.OBJECT) else kind


def cell_of(kind: Kind) -> Cell:
    """How a value gets into a column of this kind. Null fits everywhere."""
    fit = _object_cell(kind) if kind.type is Type.OBJECT else _list_cell(kind) if kind.element else _CELLS[kind.type]
    return lambda value: None if value is None else fit(value)


def _object_cell(kind: Kind) -> Cell:
    cells = {name: cell_of(field) for name, field in kind.fields}

    def fit(value: Any) -> Any:
        if not isinstance(value, dict) or not value.keys() <= cells.keys():
            raise ValueError
        return {name: cells[name](each) for name, each in value.items()}

    return fit


def _list_cell(kind: Kind) -> Cell:
    assert kind.element is not None
    cell = cell_of(kind.element)

    def fit(value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError
        return [cell(each) for each in value]

    return fit


def _boolean(value: Any) -> Any:
    if value is not True and value is not False:
        raise ValueError
    return value


def _integer(value: Any) -> Any:
    if type(value) is not int or value not in INTEGERS:
        raise ValueError
    return value


def _number(value: Any) -> Any:
    if type(value) is float:
        return value
    if type(value) is not int or value not in INTEGERS or int(float(value)) != value:
        raise ValueError
    return float(value)


def _string(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError
    return value


def _json(value: Any) -> Any:
    return msgspec.json.encode(value).decode()


_CELLS: Final[dict[Type, Cell]] = {
    Type.BOOLEAN: _boolean,
    Type.INTEGER: _integer,
    Type.NUMBER: _number,
    Type.STRING: _string,
    Type.JSON: _json,
}


class Table:
    """Turns rows into columns of equal length: those of `columns`, and the rescued data behind them."""

    def __init__(self, columns: tuple[tuple[str, Kind], ...]) -> None:
        self.columns = columns
        self._cells = [(name, cell_of(kind)) for name, kind in columns]

    def transposed(self, rows: Iterable[dict[str, Any]]) -> list[list[Any]]:
        """The columns' values, and those of the last column."""
        cells = [self._row(row) for row in rows]
        return [list(column) for column in zip(*cells, strict=True)]

    def _row(self, row: dict[str, Any]) -> list[Any]:
        rest, cells = row.copy(), []
        for name, cell in self._cells:
            value = rest.pop(name, None)
            try:
                cells.append(cell(value))
            except ValueError:
                cells.append(None)
                rest[name] = value
        cells.append(_json(rest) if rest else None)
        return cells
