"""JSONata in a spec: strings in `{% %}`, anywhere in a JSON value, are expressions; everything else stays as it is.

Rule 1: an expression sees `$states.input` (the effective input), `$states.context` (the context object) and, for the
        run's output, `$states.result`. It has no input of its own.
Rule 2: an expression that gives nothing, fails, or goes beyond its bounds (`core/jsonata_engine.py`) ends the run as
        `States.QueryEvaluationError` in AWS's words, with the field as AWS writes it: `ItemSelector/names[1]`.
Rule 3: a template is compiled once. What it compiles to is for one thread at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from maprun.core.intrinsics import SHOWN, shown
from maprun.errors import Problem, RunFailed, StatesError

MAX_LENGTH: Final = 8192  # bytes of an expression
MAX_DEPTH: Final = 64  # objects and arrays within each other, in a template
MAX_TOLD: Final = 4096  # characters of what an expression says itself, with $error

Bindings = dict[str, Any]
Evaluate = Callable[[Bindings], Any]
"""The value for {"states": {"input": …, "context": …}}. `RunFailed` when there is none."""

_OPEN, _CLOSE = "{%", "%}"
_PLAIN: Final = re.compile(r"\$states(\.[A-Za-z_][A-Za-z0-9_]*)+")
_MORE: Final = object()
_KINDS: Final = ((bool, "boolean"), ((int, float), "number"), (str, "string"), (list, "array"), (dict, "object"))


def problems(template: Any, at: str) -> tuple[Problem, ...]:
    """All that is wrong with the syntax of the expressions in a template, each with its exact path.

    `at` is the path of the template itself, `spec.itemSelector`.
    """
    return tuple(_problems(template, at, 0))


def compile_template(template: Any, at: str) -> Evaluate:
    """The template, ready for use. It has no `problems`; what is malformed raises `RunFailed`."""
    return _compiled(template, field_of(at)) or (lambda _bindings: template)


def compile(text: str, at: str) -> Evaluate:
    """A single expression with its `{% %}`, ready for use."""
    return _expression(text, field_of(at))


def unexpected(text: str, at: str, wanted: str, value: Any) -> RunFailed:
    """The error of an expression whose result is of the wrong kind (recorded: `items_eval_jsonata_fail_…`)."""
    kind = next((name for types, name in _KINDS if isinstance(value, types)), "null")
    why = f"returned an unexpected result type. Expected '{wanted}', but was '{kind}' for value: {shown(value)}"
    return _failed(_inner(text), field_of(at), why)


def field_of(at: str) -> str:
    """AWS's way to write a field: `spec.itemBatcher.batchInput` is `ItemBatcher/BatchInput`."""
    return "/".join(name[:1].upper() + name[1:] for name in at.removeprefix("spec.").split("."))


def _problems(template: Any, at: str, depth: int) -> Iterator[Problem]:
    if depth > MAX_DEPTH:
        yield Problem(at, f"lies deeper than {MAX_DEPTH} objects and arrays within each other")
    elif isinstance(template, dict):
        for key, value in template.items():
            yield from _problems(value, f"{at}.{key}", depth + 1)
    elif isinstance(template, list):
        for index, value in enumerate(template):
            yield from _problems(value, f"{at}[{index}]", depth + 1)
    elif isinstance(template, str) and (problem := _problem_in(template)):
        yield Problem(at, problem)


def _problem_in(text: str) -> str | None:
    if not text.startswith(_OPEN) and not text.endswith(_CLOSE):
        return None
    if not (text.startswith(_OPEN) and text.endswith(_CLOSE) and len(text) >= len(_OPEN + _CLOSE)):
        return "must begin with {% and end with %}, as a JSONata expression, or have neither"
    if len(text.encode()) > MAX_LENGTH:
        return f"must be at most {MAX_LENGTH:,} bytes long"
    from maprun.core import jsonata_engine  # only runs with expressions pay for the library

    problem = jsonata_engine.problem_in(_inner(text))
    return problem and f"must be a valid JSONata expression: {problem}"


def _inner(text: str) -> str:
    return text[len(_OPEN) : -len(_CLOSE)].strip()


def _compiled(template: Any, field: str) -> Evaluate | None:
    """None for a template without expressions."""
    if isinstance(template, dict):
        return _object(template, field)
    if isinstance(template, list):
        return _array(template, field)
    return _expression(template, field) if isinstance(template, str) and template.startswith(_OPEN) else None


def _object(template: dict[str, Any], field: str) -> Evaluate | None:
    parts = {key: part for key, value in template.items() if (part := _compiled(value, f"{field}/{key}"))}
    if not parts:
        return None

    def made(bindings: Bindings) -> Any:
        result = template.copy()
        for key, part in parts.items():
            result[key] = part(bindings)
        return result

    return made


def _array(template: list[Any], field: str) -> Evaluate | None:
    elements = [(_compiled(value, f"{field}[{index}]"), value) for index, value in enumerate(template)]
    if not any(part for part, _ in elements):
        return None
    return lambda bindings: [part(bindings) if part else value for part, value in elements]


def _expression(text: str, field: str) -> Evaluate:
    from maprun.core import jsonata_engine
    from maprun.core.jsonata_values import NOTHING

    inner = _inner(text)
    try:
        expression = jsonata_engine.Expression(inner, field)
    except ValueError as wrong:
        raise _failed(inner, field, f"is not valid: {wrong}") from None

    steps = inner[1:].split(".") if _PLAIN.fullmatch(inner) else []

    def value(bindings: Bindings) -> Any:
        try:
            result = _walked(bindings, steps) if steps else _MORE
            if result is _MORE:
                result = expression(bindings)
        except jsonata_engine.EvaluationFailed as failed:
            raise _failed(inner, field, str(failed)) from None
        if result is NOTHING:
            raise _failed(inner, field, "returned nothing (undefined).")
        return result

    return value


def _walked(value: Any, steps: list[str]) -> Any:
    """What names alone lead to, as fast as that can be; `_MORE` where it takes the library to tell."""
    for name in steps:
        if type(value) is not dict or name not in value:
            return _MORE
        value = value[name]
    return value


def _failed(expression: str, field: str, why: str) -> RunFailed:
    quoted = expression if len(expression) <= SHOWN else f"{expression[:SHOWN]}…"
    told = why[:MAX_TOLD].encode(errors="replace").decode()  # it may hold half a character, which no journal can
    cause = f"The JSONata expression '{quoted}' specified for the field '{field}' {told}"
    return RunFailed(StatesError.QUERY_EVALUATION_ERROR, cause)
