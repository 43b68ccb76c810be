"""`itemSelector`: a payload template that makes each child's item out of the input and the context object (§2.3).

Rule 1: a key that ends in `.$` holds a path; the key without `.$` gets what the path gives. Everything else stays
        as it is. Objects and arrays may lie within each other.
Rule 2: `$` is the state's effective input, never the item; `$$` is the context object, with the item in `$$.Map.Item`.
Rule 3: a template is compiled once; for an item, only its paths are evaluated. Parts without paths are shared by all
        items, so a result is for reading (it is written as JSON at once).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from maprun.core import arns, paths
from maprun.core.times import iso
from maprun.errors import Problem, RunFailed, StatesError
from maprun.model import MapRunSpec, RunRef

MAX_DEPTH: Final = 64  # objects and arrays within each other
SHOWN: Final = 2_000  # characters of the input that an error quotes
INTRINSIC: Final = "States."
SUFFIX: Final = ".$"

Selector = Callable[[Any, dict[str, Any]], Any]
"""The item for (effective input, context object). `RunFailed` with `States.Runtime` when a path points at nothing."""


def problems(template: Any, at: str = "spec.itemSelector") -> tuple[Problem, ...]:
    """All that is wrong with a template, each with the exact path of its key, `spec.itemSelector.names[1].first.$`."""
    return tuple(_problems(template, at, 0))


def compile_selector(template: Any) -> Selector:
    """The template, ready for use. It has no `problems`; a path that is malformed raises `RunFailed`."""
    return _compiled(template) or (lambda _document, _context: template)


def context_for(run: RunRef, spec: MapRunSpec, started: float, region: str = "") -> dict[str, Any]:
    """The part of the context object that is the same for all items.

    `started` is the run's start in seconds since the epoch. It comes from the resource, never from a clock, so that
    reading the dataset again after a crash gives the same items. RoleArn names the ServiceAccount of the children.
    """
    at = iso(started)
    return {
        "Execution": {
            "Id": arns.execution_arn(run, region),
            "Input": spec.input,
            "Name": run.name,
            "RoleArn": arns.role_arn(run, region, _service_account(spec.item_processor.job_template)),
            "StartTime": at,
            "RedriveCount": 0,
        },
        "State": {"EnteredTime": at, "Name": run.name, "RetryCount": 0},
        "StateMachine": {"Id": arns.state_machine_arn(run, region), "Name": run.name},
    }


def with_item(context: dict[str, Any], index: int, value: Any, source: str, key: str | None = None) -> dict[str, Any]:
    """The context object for one item. `index` counts over the whole dataset from 0; `key` is for items of an object.

    `source`: `STATE_DATA`, `s3://bucket` for a listing, `s3://bucket/key` for the content of an object (§2.3).
    """
    item = {"Index": index, "Value": value, "Source": source}
    if key is not None:
        item["Key"] = key
    return {**context, "Map": {"Item": item}}


def _service_account(job_template: Any) -> str:
    for name in ("spec", "template", "spec"):
        job_template = job_template.get(name) if isinstance(job_template, dict) else None
    named = job_template.get("serviceAccountName") if isinstance(job_template, dict) else None
    return named if isinstance(named, str) and named else "default"


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
        yield "must be a string with a JSONPath, because the key ends in .$"
    elif value.startswith(INTRINSIC):
        name = value.partition("(")[0]
        yield f"intrinsic functions ({name[:40]}) are not supported yet in this version; use a JSONPath"
    elif (problem := paths.problem_in(value)) is not None:
        yield f"must be a JSONPath. {problem}"


def _compiled(template: Any) -> Selector | None:
    """None for a template without paths."""
    if isinstance(template, dict):
        return _object(template)
    if isinstance(template, list):
        return _array(template)
    return None


def _object(template: dict[str, Any]) -> Selector | None:
    constants: dict[str, Any] = {}
    fields: list[tuple[str, Selector]] = []
    for key, value in template.items():
        of_path = key.endswith(SUFFIX)
        name = key.removesuffix(SUFFIX)
        field = _field(key, value) if of_path else _compiled(value)
        constants[name] = None if field else value  # the place is kept, so that the order of keys is the template's
        if field:
            fields.append((name, field))

    def selected(document: Any, context: dict[str, Any]) -> Any:
        made = constants.copy()
        for name, field in fields:
            made[name] = field(document, context)
        return made

    return selected if fields else None


def _array(template: list[Any]) -> Selector | None:
    elements = [(_compiled(value), value) for value in template]
    if not any(field for field, _ in elements):
        return None
    return lambda document, context: [field(document, context) if field else value for field, value in elements]


def _field(name: str, text: Any) -> Selector:
    path = paths.compile_path(text)

    def value(document: Any, context: dict[str, Any]) -> Any:
        try:
            return path(document, context)
        except paths.PathNotFound:
            raise _not_found(text, name, context if path.of_context else document) from None

    return value


def _not_found(path: str, field: str, document: Any) -> RunFailed:
    """AWS's words, as recorded (`json_path_array_wildcard_or_slice_with_dictionary_input_0`)."""
    shown = msgspec.json.encode(document).decode()
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
    message = f"The JSONPath '{path}' specified for the field '{field}' could not be found in the input '{shown}'"
    return RunFailed(StatesError.RUNTIME, message)
