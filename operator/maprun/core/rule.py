"""What a rule about several fields is, and the forms that come up more than once.

Rule 1: a rule is written once, for Python and, as CEL, for the API server (docs/decisions/0001).
Rule 2: a message says what must be there, in plain words; the path says where.
Rule 3: CEL sees neither untyped JSON nor names such as `bucket.$`. A rule that needs those has no CEL: Python alone
        judges it, and the run's condition tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec

from maprun.model import MAX_NAME, MapRunSpec, QueryLanguage

T = TypeVar("T")

NUMBERS: Final = (
    "maxConcurrency",
    "toleratedFailurePercentage",
    "toleratedFailureCount",
    "itemReader.readerConfig.maxItems",
    "itemBatcher.maxItemsPerBatch",
    "itemBatcher.maxInputBytesPerBatch",
)
"""The numbers that may be given by a path (`maxConcurrencyPath`) or by an expression."""


class Rule(msgspec.Struct, Generic[T], frozen=True):
    """What must hold of a value. `field` is the path inside it to name when it does not.

    `cel` is the same rule for the API server; without it the CRD's schema says it already, or CEL cannot (rule 3).
    """

    field: str
    message: str
    holds: Callable[[T], bool]
    cel: str = ""


NAME: Final = Rule[str](
    "metadata.name",
    f"must be at most {MAX_NAME} characters long, so that the names of its Jobs fit into a label",
    lambda name: len(name) <= MAX_NAME,
    f"size(self.metadata.name) <= {MAX_NAME}",
)


def twin(field: str, unset: Any = None) -> Rule[Any]:
    """A number and the path to it exclude each other (§0.1). `unset` is the default that the API server fills in."""
    absent = f"!has(self.{field})" if unset is None else f"self.{field} == {unset}"
    return Rule[Any](
        f"{field}Path",
        f"must be left out beside {field}: only one of the two may be there",
        lambda value: value_at(value, f"{field}Path") is None or value_at(value, field) == unset,
        f"!has(self.{field}Path) || {absent}",
    )


def only_with(language: QueryLanguage, field: str, unset: Any = None, typed: bool = True) -> Rule[MapRunSpec]:
    """A field that only one language has. `unset` is its default; CEL sees it when it is `typed`."""
    absent = f"!({has(field)})" if unset is None else f"self.{field} == '{unset}'"
    return Rule[MapRunSpec](
        field,
        f"must be left out but with queryLanguage {language}",
        lambda spec: spec.query_language is language or value_at(spec, field) == unset,
        f"self.queryLanguage == '{language}' || {absent}" if typed else "",
    )


def number(field: str) -> Rule[MapRunSpec]:
    """A number that may be a JSONata expression, but only with that language."""
    return Rule[MapRunSpec](
        field,
        "must be a number; an expression in {% %} needs queryLanguage JSONata",
        lambda spec: spec.query_language is QueryLanguage.JSONATA or not is_expression(value_at(spec, field)),
        f"self.queryLanguage == 'JSONata' || !({has(field)}) || type(self.{field}) == int"
        f" || !self.{field}.startsWith('{{%')",
    )


def has(field: str) -> str:
    """CEL for the presence of a field, and of all that it lies in."""
    names = field.split(".")
    return " && ".join(f"has(self.{'.'.join(names[: at + 1])})" for at in range(len(names)))


def value_at(value: Any, field: str) -> Any:
    """What stands at a path of a value's fields in the resource's spelling, None where a part is absent."""
    for name in field.split("."):
        value = None if value is None else getattr(value, attribute(name), None)
    return value


def attribute(field: str) -> str:
    """The Python name of a field: `maxItemsPath` is `max_items_path`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in field)


def is_expression(value: object) -> bool:
    """True for a JSONata expression, `{% … %}`."""
    return isinstance(value, str) and value.startswith("{%")
