"""The states without work of their own: Pass, Succeed and Fail.

Rule 1: Result is the result; else what Parameters give; else the effective input (recorded:
        `base_inspection_level_debug_IO_RESULT_PASS_STATE`).
Rule 2: a Fail without Error or Cause fails with neither (§12).
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from maprun.core.asl import flow
from maprun.core.asl.document import Fail, Pass, Succeed
from maprun.core.asl.flow import Moved, Scope
from maprun.core.intrinsics import shown
from maprun.errors import Failure, RunFailed, StatesError
from maprun.model import QueryLanguage


def parameters(state: Pass, scope: Scope) -> Any:
    """What a Pass state works on: its Parameters, or the effective input."""
    document = flow.effective(state, scope)
    return document if state.parameters is UNSET else flow.evaluated(state.parameters, "Parameters", document, scope)


def passed(state: Pass, scope: Scope) -> Moved:
    """What a Pass state gives. Errors: `RunFailed`."""
    return flow.moved(state, scope, parameters(state, scope) if state.result is UNSET else state.result, worked=False)


def succeeded(state: Succeed, scope: Scope) -> Moved:
    """What a Succeed state gives. Errors: `RunFailed`."""
    return flow.moved(state, scope, flow.effective(state, scope), worked=False)


def failed(state: Fail, scope: Scope) -> Failure:
    """The failure that a Fail state makes. Errors: `RunFailed` where its texts cannot be evaluated."""
    return Failure(
        _text(state.error, state.error_path, "Error", scope) or "",
        _text(state.cause, state.cause_path, "Cause", scope) or "",
    )


def _text(literal: str | UnsetType, path: str | UnsetType, field: str, scope: Scope) -> str | None:
    if path is not UNSET:
        value, named = flow.text_at(path, f"{field}Path", scope), f"The {field}Path parameter"
    elif literal is UNSET:
        return None
    elif scope.language is QueryLanguage.JSONPATH:
        return literal
    else:
        value, named = flow.evaluated(literal, field, scope.input, scope), f"The {field} field"
    if not isinstance(value, str):
        raise RunFailed(StatesError.RUNTIME, f"{named} does not give a string but {shown(value)}")
    return value
