"""From the run's result to its output: `resultSelector` and `resultPath`, or JSONata `output` (§5.5).

Rule 1: `$` (`$states.result`) is the result: the inline outputs, or where the manifest lies. It is never read where
        none of these fields is set.
Rule 2: `resultPath` puts the result into the input as it is before `inputPath` (recorded: `map_state_item_selector`,
        `base_inspection_level_debug_IO_RESULT_PASS_STATE`). Objects that are missing on the way are made; everything
        else on the way that is no object, and an index that is not there, is an error.
Rule 3: the same result gives the same output: chance in a template follows from the place of the call.
"""

from __future__ import annotations

from typing import Any

import msgspec

from maprun.core import jsonata, nesting, paths, payload
from maprun.core.expressions import effective_input, in_state
from maprun.core.intrinsics import shown
from maprun.errors import RunFailed, StatesError
from maprun.model import MapRunSpec, QueryLanguage


def output_of(spec: MapRunSpec, context: dict[str, Any], result: bytes) -> bytes:
    """The run's output as JSON. `result` is JSON, too; `context` is the context object without `Map`.

    Errors: `RunFailed` with States.Runtime (resultSelector), States.ReferencePathConflict (resultPath) or
    States.QueryEvaluationError (output).
    """
    if spec.query_language is QueryLanguage.JSONATA:
        return result if spec.output is None else _written(_evaluated(spec, context, result), "spec.output")
    if spec.result_selector is None and spec.result_path == "$":
        return result
    value = msgspec.json.decode(result)
    if spec.result_selector is not None:
        with in_state(context, "spec.resultSelector"):
            value = payload.compile_template(spec.result_selector, "spec.resultSelector")(value, context)
    return _written(placed(spec.result_path, spec.input, value), "spec.resultPath")


def placed(path: str | None, document: Any, value: Any) -> Any:
    """`document` with `value` at a reference path; without a path `document` alone. Shares what it does not change.

    Errors: `RunFailed` with States.ReferencePathConflict. AWS's documentation calls it States.ResultPathMatchFailure;
    this is what the service answers (users' reports: construct-hub #459, aws-cdk #29473).
    """
    if path is None:
        return document
    try:
        return _placed(document, paths.compile_path(path).prefix, value)
    except LookupError:
        cause = f"Unable to apply ReferencePath {path} to input {shown(document)}"
        raise RunFailed(StatesError.REFERENCE_PATH_CONFLICT, cause).with_hint("spec.resultPath") from None


def _placed(node: Any, steps: tuple[str | int, ...], value: Any) -> Any:
    """LookupError where a step does not fit."""
    if not steps:
        return value
    step, *rest = steps
    if isinstance(step, str) and isinstance(node, dict):
        return {**node, step: _placed(node.get(step, {}), tuple(rest), value)}
    if isinstance(step, int) and isinstance(node, list):
        changed = _placed(node[step], tuple(rest), value)
        return [changed if index == step % len(node) else each for index, each in enumerate(node)]
    raise LookupError


def _evaluated(spec: MapRunSpec, context: dict[str, Any], result: bytes) -> Any:
    states = {"input": effective_input(spec, context), "context": context, "result": msgspec.json.decode(result)}
    with in_state(context, "spec.output"):
        return jsonata.compile_template(spec.output, "spec.output")({"states": states})


def _written(value: Any, field: str) -> bytes:
    try:
        return nesting.bounded(msgspec.json.encode(value))
    except (RecursionError, UnicodeEncodeError) as wrong:
        raise RunFailed(StatesError.RUNTIME, f"{field}: the output cannot be written as JSON: {wrong}") from None
