"""Simple item selectors, evaluated for many items at once: what most selectors are, names with paths into the item.

Rule 1: written as JSON, the result is what the selector gives item by item (core/payload.py); it is for nothing else.
Rule 2: this is for speed alone. A template with more than names in its paths to the item is not compiled here, and a
        value that a path does not fit raises `LookupError` or `TypeError`. Both then go item by item, which finds the
        words.
Rule 3: what does not depend on the item is evaluated and written once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice, repeat
from operator import itemgetter
from typing import Any, Final, TypeAlias

import msgspec

from maprun.core import paths
from maprun.core.intrinsics_grammar import PREFIX
from maprun.core.payload import SUFFIX
from maprun.core.tables import Table
from maprun.errors import RunFailed

ITEM: Final = ("Map", "Item")


class Items(msgspec.Struct, frozen=True):
    """A stretch of the dataset: the values, their keys (items of an object), the index of the first, their source."""

    first: int
    values: Sequence[Any]
    keys: list[str] | None
    source: str


Column: TypeAlias = Callable[[Items], Iterable[Any]]
"""A value for each item; one that does not depend on the item goes on for ever."""


class NotSimple(Exception):
    """A template that must be evaluated item by item."""


def compile_columns(template: Any, document: Any, context: dict[str, Any]) -> Column:
    """The selector over `document` and `context` (which is without `Map`). `NotSimple` when it cannot be a column."""
    try:
        column = _column(template, document, context)
    except (RunFailed, ValueError, RecursionError) as unfit:  # a name or a string that only a dict can hold
        raise NotSimple from unfit
    return lambda items: islice(column(items), len(items.values))


def _column(template: Any, document: Any, context: dict[str, Any]) -> Column:
    if isinstance(template, list):
        return _array([_column(value, document, context) for value in template])
    if not isinstance(template, dict):
        return _same(template)
    fields = {
        key.removesuffix(SUFFIX): (_field if key.endswith(SUFFIX) else _column)(value, document, context)
        for key, value in template.items()
    }
    return _object(fields)


def _array(columns: list[Column]) -> Column:
    return (lambda items: zip(*(column(items) for column in columns), strict=False)) if columns else _same([])


def _object(fields: dict[str, Column]) -> Column:
    """Structs in place of objects: they are made and written several times as fast."""
    if not fields:
        return _same({})
    columns = list(fields.values())
    names = {f"field{number}": name for number, name in enumerate(fields)}
    make = msgspec.defstruct("Selected", [(attribute, Any) for attribute in names], rename=names, gc=False)
    return lambda items: map(make, *(column(items) for column in columns))


def _field(text: str, document: Any, context: dict[str, Any]) -> Column:
    if text.startswith(PREFIX):
        raise NotSimple
    path = paths.compile_path(text)
    if not path.of_context or (path.prefix and path.prefix[0] in context):
        return _same(path(document, context))
    if path.rest or path.prefix[:2] != ITEM:
        raise NotSimple
    names = tuple(name for name in path.prefix[2:] if isinstance(name, str))
    if len(names) < max(1, len(path.prefix) - 2):  # an index also fits a string, which is no match
        raise NotSimple
    return _of_item(*names)


def _of_item(what: str, *names: str) -> Column:
    """What `$$.Map.Item` has under `what`, or the values at a row of names in that."""
    if what not in _OF_ITEM:
        raise NotSimple
    column = _OF_ITEM[what]
    if what == "Value" and names:
        column, names = _members(names[0]), names[1:]
    for name in names:
        column = _at(column, itemgetter(name))
    return column


def _members(name: str) -> Column:
    return lambda items: (
        items.values.column(name) if isinstance(items.values, Table) else map(itemgetter(name), items.values)
    )


def _at(column: Column, member: Callable[[Any], Any]) -> Column:
    return lambda items: map(member, column(items))


def _same(value: Any) -> Column:
    written = msgspec.Raw(msgspec.json.encode(value))
    return lambda _items: repeat(written)


def _keys(items: Items) -> Iterable[Any]:
    if items.keys is None:
        raise LookupError
    return items.keys


def values(items: Items) -> Iterable[Any]:
    """The values, to be written."""
    return items.values.written() if isinstance(items.values, Table) else items.values


_OF_ITEM: Final[dict[str, Column]] = {
    "Index": lambda items: range(items.first, items.first + len(items.values)),
    "Value": values,
    "Key": _keys,
    "Source": lambda items: repeat(items.source),
}
