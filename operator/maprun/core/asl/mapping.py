"""A Map state as a MapRunSpec, and what AWS checks before the run begins.

Rule 1: the spec is the state in the model's words: names in camelCase, the older names Iterator and Parameters in
        today's. Variables that it reads are in the context object (`variables`).
Rule 2: what the model cannot say about the result (OutputPath, Assign, a ResultPath that is null, a template over the
        context object) stays with the state: `flow` does it, behind the run.
Rule 3: MaxConcurrency and the items are evaluated before the state has started, the rest behind that (recorded:
        `max_concurrency_path_…`, `map_state_tolerated_failure_…`, `map_item_reader_csv_max_items_paths_1.5`).
Rule 4: an inline Map takes arrays only, a distributed one objects, too (§12).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET

from maprun.core import jsonata, resolving, validation
from maprun.core.asl import flow, variables
from maprun.core.asl.document import DefinitionInvalid, Map
from maprun.core.asl.flow import Scope
from maprun.core.intrinsics import shown
from maprun.core.selection import with_item
from maprun.errors import RunFailed, SpecInvalid, StatesError
from maprun.model import API_VERSION, KIND, MapRunSpec, QueryLanguage

JOB_TEMPLATE: Final = {"spec": {"template": {"spec": {"containers": [{"name": "child"}]}}}}
"""For children that are machines, which need no Job: the least that the model takes."""

_NUMBERS: Final = ("MaxConcurrency", "ToleratedFailureCount", "ToleratedFailurePercentage")


class Mapped(msgspec.Struct, frozen=True):
    """A Map state made ready. `context` is the context object (`$$`) without `Map`.

    `finishes` tells that the run makes the state's output; else its result goes through `flow`.
    """

    spec: MapRunSpec
    context: dict[str, Any]
    finishes: bool


def mapped(state: Map, scope: Scope, job_template: dict[str, Any] = JOB_TEMPLATE) -> Mapped:
    """The run of a Map state that was entered. Errors: `DefinitionInvalid`."""
    finishes = _finishes(state)
    fields = _body(state, scope) | (_result(state) if finishes else {})
    read = {key: _read(key, value, scope) for key, value in fields.items() if value is not UNSET and value is not None}
    context = variables.context_for(read, scope.context, scope.variables)
    processor = {"jobTemplate": job_template}
    given = {**read, "itemProcessor": processor, "input": scope.input if state.input_path is not None else {}}
    try:
        spec = validation.parse({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "map"}, "spec": given})
    except SpecInvalid as invalid:
        raise DefinitionInvalid(variables.quoted(invalid.failure.cause)) from None
    return Mapped(spec, context, finishes)


def length(state: Map, run: Mapped) -> int:
    """The number of items that the state starts with: 0 with a reader, which reads later. Errors: `RunFailed`."""
    bare = msgspec.structs.replace(
        run.spec,
        item_reader=None,
        item_batcher=None,
        result_writer=None,
        tolerated_failure_count=None,
        tolerated_failure_count_path=None,
        tolerated_failure_percentage=None,
        tolerated_failure_percentage_path=None,
    )
    resolving.resolve(bare, run.context)
    return 0 if run.spec.item_reader else len(items(state, run))


def items(state: Map, run: Mapped) -> list[Any] | dict[str, Any]:
    """The items of a state without a reader; an inline one gives an array only. Errors: `RunFailed`."""
    found = resolving.items(run.spec, run.context)
    if state.distributed or isinstance(found, list):
        return found
    if run.spec.query_language is QueryLanguage.JSONPATH:
        path = run.spec.items_path.replace("$$", "$", 1)  # as AWS prints it, see `paths.reference`
        raise RunFailed(StatesError.RUNTIME, f'Reference path "{path}" must point to array.')
    if run.spec.items is None:
        cause = f"Map state input must be an array but was: {shown(found)}"
        raise RunFailed(StatesError.QUERY_EVALUATION_ERROR, cause)
    raise jsonata.unexpected(str(run.spec.items), "spec.items", "array", found)


def inline_input(state: Map, scope: Scope, index: int, item: Any) -> Any:
    """The input of one iteration of an inline Map, whose context has no `Map.Item.Source` (§2.3)."""
    if state.selector is UNSET:
        return item
    context = with_item(scope.context, index, item, "")
    del context["Map"]["Item"]["Source"]
    field = "Parameters" if state.item_selector is UNSET else "ItemSelector"
    document = flow.effective(state, scope)
    return flow.evaluated(state.selector, field, document, msgspec.structs.replace(scope, context=context))


# ------------------------------------------------------------------------------------------------ in the model's words


def _body(state: Map, scope: Scope) -> dict[str, Any]:
    numbers = {_renamed(name): _number(getattr(state, _attribute(name))) for name in _NUMBERS}
    paths = {f"{_renamed(name)}Path": getattr(state, f"{_attribute(name)}_path") for name in _NUMBERS}
    return {
        "queryLanguage": scope.language,
        "inputPath": state.input_path,
        "itemReader": _struct(state.item_reader),
        "itemsPath": state.items_path,
        "items": state.items,
        "itemSelector": state.selector,
        "itemBatcher": _struct(state.item_batcher),
        "resultWriter": _struct(state.result_writer),
        "label": state.label,
        **numbers,
        **paths,
    }


def _result(state: Map) -> dict[str, Any]:
    return {"resultSelector": state.result_selector, "resultPath": state.result_path, "output": state.output}


def _finishes(state: Map) -> bool:
    if state.assign is not UNSET or state.output_path != "$" or state.result_path is None or state.output is None:
        return False
    template = state.result_selector if state.output is UNSET else state.output
    return template is UNSET or (isinstance(template, dict) and not _looks_around(template))


def _looks_around(template: dict[str, Any]) -> bool:
    """Whether a template reads the context object, of which a run has its own, or might read a variable."""
    text = msgspec.json.encode(template).decode()
    return "$$" in text or "{%" in text or any(variables.path(part) != part for part in text.split('"'))


def _read(key: str, value: Any, scope: Scope) -> Any:
    """A field with its variables read from the context object."""
    return value if key == "label" else variables.rewritten(value, scope.variables, scope.language)


def _number(value: float | str | None) -> int | str | None:
    """The model has decimal places in strings."""
    return str(value) if isinstance(value, float) and not value.is_integer() else _whole(value)


def _whole(value: float | str | None) -> int | str | None:
    return int(value) if isinstance(value, float) else value


_TEMPLATES: Final = frozenset({"BatchInput"})


def _struct(value: Any) -> Any:
    """An object of ASL fields with the model's names, all the way down but for templates."""
    if isinstance(value, dict):
        return {_renamed(key): inner if key in _TEMPLATES else _field(key, inner) for key, inner in value.items()}
    return value


def _field(key: str, value: Any) -> Any:
    return variables.path(value) if key.endswith("Path") and isinstance(value, str) else _struct(value)


def _renamed(name: str) -> str:
    return f"csv{name[3:]}" if name.startswith("CSV") else name[:1].lower() + name[1:]


def _attribute(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
