"""Payload templates (§2.3): JSON whose keys that end in `.$` get their values from the input and the context object.

Rule 1: the value of a `.$` key is a path or a call of an intrinsic function; the key without `.$` gets what that gives.
        Everything else stays as it is. Objects and arrays may lie within each other.
Rule 2: a path to nothing fails, in AWS's words. Only an index beyond the end of an array gives null there, as AWS was
        measured to do, and only as the value of a key: as the argument of a function it fails like the others.
Rule 3: a template is compiled once; for an item, only its paths and calls are evaluated. Parts without any are shared
        by all results, so these are for reading (they are written as JSON at once).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from maprun.core import intrinsics, paths
from maprun.core.intrinsics import Evaluate, shown
from maprun.core.intrinsics_grammar import PREFIX
from maprun.errors import Problem, RunFailed, StatesError

MAX_DEPTH: Final = 64  # objects and arrays within each other
SUFFIX: Final = ".$"


def problems(template: Any, at: str) -> tuple[Problem, ...]:
    """All that is wrong with a template, each with the exact path of its key, `spec.itemSelector.names[1].first.$`.

    `at` is the path of the template itself.
    """
    return tuple(_problems(template, at, 0))


def compile_template(template: Any, at: str) -> Evaluate:
    """The template, ready for use. It has no `problems`; what is malformed raises `RunFailed`.

    `at` is the path of the template itself: chance in a call follows from the path of its key.
    """
    return _compiled(template, at) or (lambda _document, _context: template)


def _problems(template: Any, at: str, depth: int) -> Iterator[Problem]:
    if depth > MAX_DEPTH:
        yield Problem(at, f"lies deeper than {MAX_DEPTH} objects and arrays within each other")
    elif isinstance(template, dict):
        for key, value in template.items():
            if key.endswith(SUFFIX):
                yield from (Problem(f"{at}.{key}", message) for message in _problems_of_field(template, key, value))
            else:
                yield from _problems(value, f"{at}.{key}", depth + 1)
    elif isinstance(template, list):
        for index, value in enumerate(template):
            yield from _problems(value, f"{at}[{index}]", depth + 1)


def _problems_of_field(template: dict[str, Any], key: str, value: Any) -> Iterator[str]:
    if key.removesuffix(SUFFIX) in template:
        yield f"stands beside {key.removesuffix(SUFFIX)!r}; only one of the two may be there"
    if not isinstance(value, str):
        yield "must be a string with a JSONPath or an intrinsic function call, because the key ends in .$"
    elif problem := (intrinsics if value.startswith(PREFIX) else paths).problem_in(value):
        yield f"must be a valid JSONPath or a valid intrinsic function call: {problem}"


def _compiled(template: Any, at: str) -> Evaluate | None:
    """None for a template without paths and calls."""
    if isinstance(template, dict):
        return _object(template, at)
    if isinstance(template, list):
        return _array(template, at)
    return None


def _object(template: dict[str, Any], at: str) -> Evaluate | None:
    constants: dict[str, Any] = {}
    fields: list[tuple[str, Evaluate]] = []
    for key, value in template.items():
        dynamic = key.endswith(SUFFIX)
        name = key.removesuffix(SUFFIX)
        field = _field(key, value, f"{at}.{key}") if dynamic else _compiled(value, f"{at}.{key}")
        constants[name] = None if field else value  # the place is kept, so that the order of keys is the template's
        if field:
            fields.append((name, field))

    def made(document: Any, context: dict[str, Any]) -> Any:
        result = constants.copy()
        for name, field in fields:
            result[name] = field(document, context)
        return result

    return made if fields else None


def _array(template: list[Any], at: str) -> Evaluate | None:
    elements = [(_compiled(value, f"{at}[{index}]"), value) for index, value in enumerate(template)]
    if not any(field for field, _ in elements):
        return None
    return lambda document, context: [field(document, context) if field else value for field, value in elements]


def _field(key: str, text: Any, at: str) -> Evaluate:
    if text.startswith(PREFIX):
        return intrinsics.compile_call(text, at)
    path = paths.compile_path(text)

    def value(document: Any, context: dict[str, Any]) -> Any:
        try:
            return path(document, context)
        except paths.PathNotFound as missing:
            if missing.beyond:
                return None
            raise _not_found(missing.path, key, context if path.of_context else document) from None

    return value


def _not_found(path: str, field: str, document: Any) -> RunFailed:
    """AWS's words, as recorded (`json_path_array_wildcard_or_slice_with_dictionary_input_0`)."""
    message = f"The JSONPath '{path}' specified for the field '{field}' could not be found in the input"
    return RunFailed(StatesError.RUNTIME, f"{message} '{shown(document)}'")
