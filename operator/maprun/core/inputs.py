"""Items as they are read to items as children get them: selected, and written as compact JSON (§2.1, §2.3).

Rule 1: many at once where that can be done; where something is wrong, one by one, so that all items before the wrong
        one come out and the error tells which it is.
Rule 2: an item that cannot be written, or not be read again wherever that is done (core/nesting.py), ends the reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from maprun.core import columns, nesting, selection
from maprun.core.columns import Column, Items
from maprun.core.expressions import Evaluate, effective_input, told
from maprun.errors import RunFailed, StatesError
from maprun.model import MapRunSpec, QueryLanguage

FLAT: Final = 2 * nesting.MAX_NESTING  # bytes; less cannot be nested too deeply

Inputs: TypeAlias = Callable[[Items], tuple[list[bytes], RunFailed | None]]
"""The items as JSON, up to one that is wrong, and what is wrong with it."""

_encoder: Final = msgspec.json.Encoder()


def inputs(spec: MapRunSpec, context: dict[str, Any]) -> Inputs:
    """How the items of a resolved spec become inputs. `context` is the context object without `Map`."""
    if spec.item_selector is None:
        return lambda items: _at_once(_itself, items) or _one_by_one(items, _item, context)
    document = effective_input(spec, context)
    select = _selector(selection.compile_selector(spec.item_selector, spec.query_language), document, context)
    column = _column(spec, document, context)
    return lambda items: (_at_once(column, items) if column else None) or _one_by_one(items, select, context)


_Select: TypeAlias = Callable[[int, str | None, Any, str], Any]  # (index, key, value, source) → item


def _item(_index: int, key: str | None, value: Any, _source: str) -> Any:
    """The item where nothing selects: of an object, the pair of key and value (§12, measured)."""
    return value if key is None else {"Key": key, "Value": value}


def _itself(items: Items) -> Iterable[Any]:
    """`_item` of each."""
    if items.keys is None:
        return columns.values(items)
    return ({"Key": key, "Value": value} for key, value in zip(items.keys, items.values, strict=True))


def _selector(evaluate: Evaluate, document: Any, context: dict[str, Any]) -> _Select:
    def select(index: int, key: str | None, value: Any, source: str) -> Any:
        return evaluate(document, selection.with_item(context, index, value, source, key))

    return select


def _column(spec: MapRunSpec, document: Any, context: dict[str, Any]) -> Column | None:
    if spec.query_language is QueryLanguage.JSONATA:
        return None
    try:
        return columns.compile_columns(spec.item_selector, document, context)
    except columns.NotSimple:
        return None


def _at_once(column: Column, items: Items) -> tuple[list[bytes], None] | None:
    try:
        return _written(column(items)), None
    except (LookupError, TypeError, UnicodeEncodeError, RecursionError):
        return None


def _written(values: Iterable[Any]) -> list[bytes]:
    lines = _encoder.encode_lines(values).splitlines()  # in JSON, no string holds the end of a line
    if lines and len(max(lines, key=len)) > FLAT:
        for line in lines:
            nesting.bounded(line)
    return lines


def _one_by_one(items: Items, select: _Select, context: dict[str, Any]) -> tuple[list[bytes], RunFailed | None]:
    done: list[bytes] = []
    keys: Sequence[str | None] = items.keys or [None] * len(items.values)
    for index, (key, value) in enumerate(zip(keys, items.values, strict=True), items.first):
        try:
            done.append(nesting.bounded(_encoder.encode(select(index, key, value, items.source))))
        except RunFailed as failed:
            return done, told(failed, context, f"{selection.FIELD} does not fit item {index}, counted from 0")
        except (UnicodeEncodeError, RecursionError):
            cause = f"Item {index} cannot be written as JSON: it holds half a character, or is nested too deeply."
            return done, RunFailed(StatesError.ITEM_READER_FAILED, cause)
    return done, None
