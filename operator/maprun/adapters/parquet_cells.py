"""Columns of Parquet to JSON values; docs/readers.md has this as a table.

Rule 1: a column's type alone decides what its values become, never a value.
Rule 2: nothing is lost where JSON, as it is read everywhere, can hold it: integers stay exact; a decimal becomes a
        number where every number of its type survives as a double, else a string with all its digits.
Rule 3: JSON has no NaN and no infinity: they become null, as in JavaScript.
Rule 4: importing this module loads pyarrow.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec
import pyarrow as arrow
from pyarrow import compute

DOUBLE_DIGITS: Final = 15  # decimal digits that always survive in a double
TICKS: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second
DAY: Final = 86_400
UUID_BYTES: Final = 16

Cells: TypeAlias = Callable[[Any], list[Any]]
"""A pyarrow array to as many JSON values."""

is_ = arrow.types


def cells_of(type_: Any, leaves: Iterator[str]) -> Cells:
    """How a column of a pyarrow type is read. `leaves` gives the Parquet logical type of each of its leaves, in order.

    Raises `NotImplementedError` for a type that Parquet cannot hold.
    """
    for fits, make in _NESTED:
        if fits(type_):
            return make(type_, leaves)
    leaf = next(leaves, "")
    for fits, cells in _BY_MEANING.get(leaf, ()):
        if fits(type_):
            return cells
    for fits, make_leaf in _LEAVES:
        if fits(type_):
            return make_leaf(type_)
    raise NotImplementedError(f"the type {type_}")


def _plain(column: Any) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return values


def _each(convert: Callable[[Any], Any]) -> Cells:
    """Value by value, but for null."""
    return lambda column: [None if value is None else convert(value) for value in column.to_pylist()]


def _text(column: Any) -> list[Any]:
    return _plain(column.cast(arrow.string()))


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


_binary: Final = _each(_base64)
_uuid: Final = _each(lambda value: str(value if isinstance(value, UUID) else UUID(bytes=value)))


def _number(column: Any) -> list[Any]:
    return _plain(compute.if_else(compute.is_finite(column), column, None))


def _single(column: Any) -> list[Any]:
    """The shortest number that is this one in 32 bits: 0.1, not 0.10000000149011612."""
    return _number(column.cast(arrow.string()).cast(arrow.float64()))


def _decimal(type_: Any) -> Cells:
    if type_.scale <= 0:
        return _each(int)
    return _each(float if type_.precision <= DOUBLE_DIGITS else lambda value: format(value, "f"))


def _timestamp(type_: Any) -> Cells:
    """ISO 8601 with as many digits as the unit has; with Z where the instant is known, which Parquet keeps in UTC."""
    utc, plain = arrow.timestamp(type_.unit), type_.tz is None
    end = "" if plain else "Z"

    def cells(column: Any) -> list[Any]:
        text = _text(column if plain else column.view(utc))
        return [None if each is None else each.replace(" ", "T", 1) + end for each in text]

    return cells


def _duration(type_: Any) -> Cells:
    """ISO 8601 in seconds: PT-1.500S."""
    ticks, digits = TICKS[type_.unit], len(str(TICKS[type_.unit])) - 1

    def text(count: int) -> str:
        whole, rest = divmod(abs(count), ticks)
        return f"PT{'-' if count < 0 else ''}{whole}{f'.{rest:0{digits}}' if digits else ''}S"

    convert = _each(text)
    return lambda column: convert(column.cast(arrow.int64()))


def _dictionary(type_: Any) -> Cells:
    """Values in place of their numbers."""
    inside = cells_of(type_.value_type, iter(()))
    return lambda column: inside(column.dictionary_decode())


def _extension(type_: Any, leaves: Iterator[str]) -> Cells:
    """What an extension type of Arrow is stored as."""
    inside = cells_of(type_.storage_type, leaves)
    return lambda column: inside(column.storage)


def _list(type_: Any, leaves: Iterator[str]) -> Cells:
    inside = cells_of(type_.value_type, leaves)

    def cells(column: Any) -> list[Any]:
        values = iter(inside(column.flatten()))
        sizes = compute.list_value_length(column).to_pylist()
        return [None if size is None else list(islice(values, size)) for size in sizes]

    return cells


def _struct(type_: Any, leaves: Iterator[str]) -> Cells:
    fields = list(type_)
    names = distinct([field.name for field in fields])
    inside = [cells_of(field.type, leaves) for field in fields]

    def cells(column: Any) -> list[Any]:
        rows = zip(*(read(part) for read, part in zip(inside, column.flatten(), strict=True)), strict=True)
        there = column.is_valid().to_pylist()
        return [dict(zip(names, row, strict=True)) if valid else None for row, valid in zip(rows, there, strict=True)]

    return cells


def _map(type_: Any, leaves: Iterator[str]) -> Cells:
    """An object; of entries with the same key the last one counts."""
    entries = arrow.list_(arrow.struct([type_.key_field.with_name("k"), type_.item_field.with_name("v")]))
    inside = _list(entries, leaves)

    def cells(column: Any) -> list[Any]:
        maps = inside(column.cast(entries))
        return [None if pairs is None else {_name(pair["k"]): pair["v"] for pair in pairs} for pairs in maps]

    return cells


def _name(key: Any) -> str:
    """A map's key as the name of a field: a string as it is, anything else as its JSON."""
    return key if isinstance(key, str) else msgspec.json.encode(key).decode()


def distinct(names: list[str]) -> tuple[str, ...]:
    """The names, which must differ: they become those of an object. Raises `NotImplementedError`."""
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else None
    if twice:
        raise NotImplementedError(f"several columns of the same name {min(twice)!r}")
    return tuple(names)


def _any(*checks: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda type_: any(check(type_) for check in checks)


_is_binary: Final = _any(is_.is_binary, is_.is_large_binary, is_.is_fixed_size_binary, is_.is_binary_view)
_is_list: Final = _any(is_.is_list, is_.is_large_list, is_.is_fixed_size_list, is_.is_list_view, is_.is_large_list_view)
_is_16_bytes: Final = _any(lambda type_: is_.is_fixed_size_binary(type_) and type_.byte_width == UUID_BYTES)

_NESTED: Final[list[tuple[Callable[[Any], bool], Callable[[Any, Iterator[str]], Cells]]]] = [
    (lambda type_: isinstance(type_, arrow.BaseExtensionType), _extension),
    (is_.is_struct, _struct),
    (is_.is_map, _map),
    (_is_list, _list),
]

_BY_MEANING: Final[dict[str, list[tuple[Callable[[Any], bool], Cells]]]] = {
    "UUID": [(_is_16_bytes, _uuid)],
    "ENUM": [(_is_binary, _text)],
}
"""What Arrow does not tell from other bytes, by the logical type in the file."""

_LEAVES: Final[list[tuple[Callable[[Any], bool], Callable[[Any], Cells]]]] = [
    (_any(is_.is_null, is_.is_boolean, is_.is_integer), lambda type_: _plain),
    (_any(is_.is_string, is_.is_large_string, is_.is_string_view), lambda type_: _plain),
    (is_.is_float64, lambda type_: _number),
    (is_.is_float32, lambda type_: _single),
    (is_.is_float16, lambda type_: lambda column: _number(column.cast(arrow.float32()))),
    (is_.is_decimal, _decimal),
    (is_.is_timestamp, _timestamp),
    (is_.is_duration, _duration),
    (_any(is_.is_date, is_.is_time), lambda type_: _text),
    (_is_binary, lambda type_: _binary),
    (is_.is_dictionary, _dictionary),
]
