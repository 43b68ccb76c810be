"""From the resource's body to a `MapRunSpec`, or to the list of everything that is wrong with it.

Rule 1: the types in `model.py` say what one field may hold; `RULES` says what joins several of them.
Rule 2: paths and expressions are compiled here once, so that a mistake in their syntax is told before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from maprun.core import expressions
from maprun.core.rule import NAME
from maprun.core.rules import RULES
from maprun.errors import Problem, SpecInvalid
from maprun.fields import CHILD_INDEXES, DECIMAL_OR_EXPRESSION, EXPRESSION, Model
from maprun.model import API_VERSION, KIND, MapRunSpec


def parse(body: Mapping[str, Any]) -> MapRunSpec:
    """The spec of a MapRun given as plain data (the whole resource, as read from YAML or from the API server).

    Raises `SpecInvalid` with every problem found: wrong types stop at the first, broken rules are all listed.
    """
    problems = list(_identity(body))
    try:
        spec = msgspec.convert(body.get("spec", {}), MapRunSpec)
    except msgspec.ValidationError as error:
        raise SpecInvalid((*problems, type_problem(error, "spec"))) from error
    problems += check(spec)
    problems += expressions.problems(spec)
    if problems:
        raise SpecInvalid(tuple(problems))
    return spec


def _identity(body: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with apiVersion, kind and name."""
    for field, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if body.get(field) != wanted:
            yield Problem(field, f"must be {wanted}")
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str) or not name:
        yield Problem(NAME.field, "is required")
    elif not NAME.holds(name):
        yield Problem(NAME.field, NAME.message)


def check(value: Model, path: str = "spec") -> Iterator[Problem]:
    """The broken rules of a value and of all values inside it."""
    for rule in RULES.get(type(value), ()):
        if not rule.holds(value):
            yield Problem(f"{path}.{rule.field}", rule.message)
    for field in msgspec.structs.fields(value):
        inner, place = getattr(value, field.name), f"{path}.{field.encode_name}"
        for index, element in enumerate(inner if isinstance(inner, list) else [inner]):
            if isinstance(element, Model):
                yield from check(element, f"{place}[{index}]" if isinstance(inner, list) else place)


_WHERE: Final = re.compile(r" - at `\$(?P<path>.*)`$")
_FIELD: Final = re.compile(r"(?P<kind>missing required|unknown) field `(?P<name>.*)`")
_FIELD_MESSAGE: Final = {"missing required": "is required", "unknown": "is not a field of a MapRun"}
_EXPECTED: Final = re.compile(r"Expected `(?P<types>[^`]*)`(?P<bound>.*?)(, got `(?P<got>.*)`)?$")
_WORDS: Final = {
    "int": "an integer",
    "str": "a string",
    "object": "an object",
    "array": "a list",
    "bool": "true or false",
}

_PATTERNS: Final = {
    CHILD_INDEXES: "numbers and ranges of children, such as 0-99,205",
    EXPRESSION: "an integer, or with JSONata an expression in {% %}",
    DECIMAL_OR_EXPRESSION: (
        'an integer, a decimal string such as "2.5" with at most 6 places, or with JSONata an expression in {% %}'
    ),
}
"""What to say in place of a pattern."""


def type_problem(error: msgspec.ValidationError, at: str) -> Problem:
    """A problem made of msgspec's sentence about a value of the wrong type inside what stands at `at`."""
    sentence = str(error)
    where = _WHERE.search(sentence)
    path = at + (where["path"] if where else "")
    what = sentence[: where.start()] if where else sentence
    if field := _FIELD.search(what):
        return Problem(f"{path}.{field['name']}", _FIELD_MESSAGE[field["kind"]])
    if what.startswith("Invalid enum value"):
        return Problem(path, f"must be one of {', '.join(_choices(path))}")
    return Problem(path, f"must be {_wanted(what)}")


def _wanted(what: str) -> str:
    """What msgspec expected, in words."""
    expected = _EXPECTED.match(what)
    if not expected:
        return what
    if words := next((words for pattern, words in _PATTERNS.items() if repr(pattern) in expected["bound"]), None):
        return words
    types = [_WORDS.get(name, name) for name in expected["types"].split(" | ") if name != "null"]
    got = f", not {expected['got']}" if expected["got"] else ""
    return " or ".join(types) + expected["bound"].replace("matching regex", "that matches") + got


def _choices(path: str) -> list[str]:
    """The values of the enum that stands at a path, such as `spec.itemProcessor.retry[0].jitterStrategy`."""
    kind = inspect.type_info(MapRunSpec)
    for name in re.findall(r"[^.\[\]]+|\[", path.removeprefix("spec")):
        kind = _plain_type(kind)
        if isinstance(kind, inspect.StructType):
            kind = next((field.type for field in kind.fields if field.encode_name == name), kind)
        elif isinstance(kind, inspect.ListType) and name == "[":
            kind = kind.item_type
    kind = _plain_type(kind)
    return [str(member.value) for member in kind.cls] if isinstance(kind, inspect.EnumType) else []


def _plain_type(kind: inspect.Type) -> inspect.Type:
    """The type without its metadata and without null."""
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        else:
            kind = next(member for member in kind.types if not isinstance(member, inspect.NoneType))
    return kind
