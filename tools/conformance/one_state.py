"""The service's TestState call: one state, evaluated alone, with its steps shown.

Rule 1: a state with work of its own (Task, Map) is not run: the request brings the result (`mock`).
Rule 2: causes are told without the sentence that names the state (recorded: `state_map_context_object_ALL`).
Rule 3: `inspectionData` has the steps that the recordings show for a Type and a language; level INFO shows none.
"""

from __future__ import annotations

import json
from typing import Any, Final

from msgspec import UNSET

from maprun.core import arns, resolving
from maprun.core.asl import document, flow, mapping, passing
from maprun.core.asl.document import DefinitionInvalid, Fail, Flow, Map, Pass, State, Succeed, Task
from maprun.core.asl.flow import Moved, Scope
from maprun.core.times import iso
from maprun.errors import RunFailed
from maprun.model import QueryLanguage
from tools.conformance.children import REGION
from tools.conformance.world import new_run

STATE_NAME: Final = "StateName"
REFUSED: Final = "An error occurred (ValidationException) when calling the TestState operation: "
_TOKEN: Final = (
    "Invalid Context object provided: Context object contains 'Task' when state is not a Task state with a '.sync' or "
    "'.waitForTaskToken' service integration pattern"
)


class Refused(Exception):
    """The call itself is wrong; the text is the service's."""


def answer(definition: Any, request: dict[str, Any]) -> dict[str, Any]:
    """What TestState answers. Errors: `Refused`; `DefinitionInvalid` for what cannot be evaluated here."""
    state, language = _state(definition, request.get("stateName"))
    _check(state, request)
    scope = _scope(state, language, request)
    shown: dict[str, Any] = {"input": scope.input}
    if scope.variables:
        shown["variables"] = scope.variables
    try:
        told = _evaluated(state, scope, request.get("mock") or {}, shown)
    except RunFailed as failed:
        told = {"status": "FAILED", "error": failed.failure.error, "cause": flow.alone(failed.failure.cause)}
    if request.get("inspectionLevel", "INFO") != "INFO":
        told["inspectionData"] = shown
    return told


def _state(definition: Any, name: str | None) -> tuple[State, QueryLanguage]:
    """The state to test: the definition itself, or the one of that name anywhere in it."""
    if not isinstance(definition, dict) or "States" not in definition:
        return document.state(definition), QueryLanguage.JSONPATH
    machine = document.machine(definition)
    ahead = [machine]
    while ahead:
        inner = ahead.pop()
        if name in inner.states:
            return inner.states[name], machine.query_language
        ahead += [each.processor for each in inner.states.values() if isinstance(each, Map)]
    raise Refused(f"{REFUSED}State not found in definition")


def _check(state: State, request: dict[str, Any]) -> None:
    mocked = bool(request.get("mock"))
    if mocked and not isinstance(state, Task | Map):
        raise Refused(f"{REFUSED}State type '{document.type_of(state)}' is not supported when a mock is specified")
    resource = state.resource if isinstance(state, Task) else ""
    if "Task" in request.get("context", {}) and not resource.endswith((".sync", ".sync:2", ".waitForTaskToken")):
        raise Refused(f"{REFUSED}{_TOKEN}")
    if isinstance(state, Task | Map) and not mocked:
        raise DefinitionInvalid(f"a {document.type_of(state)} state without a mock cannot be tested here")
    if request.get("stateConfiguration"):
        raise DefinitionInvalid("a request with a stateConfiguration cannot be tested here")


def _scope(state: State, language: QueryLanguage, request: dict[str, Any]) -> Scope:
    given = request.get("input", {})
    context = request.get("context") or _context(state, given)
    return Scope(STATE_NAME, given, context, document.language_of(state, language), request.get("variables") or {})


def _context(state: State, given: Any) -> dict[str, Any]:
    """The context object of a test without one of its own."""
    run = new_run()
    at = iso(run.created)
    counted = {"RetryCount": 0} if isinstance(state, Task | Map) else {}
    return {
        "Execution": {
            "Id": f"arn:aws:states:{REGION}:{run.namespace}:express:{run.name}:{run.uid}",
            "Input": given,
            "Name": run.uid,
            "RoleArn": arns.role_arn(run, REGION, "default"),
            "StartTime": at,
        },
        "StateMachine": {"Id": arns.state_machine_arn(run, REGION), "Name": run.name},
        "State": {"EnteredTime": at, "Name": STATE_NAME, **counted},
    }


def _evaluated(state: State, scope: Scope, mock: dict[str, Any], shown: dict[str, Any]) -> dict[str, Any]:
    if isinstance(state, Fail):
        failure = passing.failed(state, scope)
        return {"status": "FAILED", "error": failure.error, "cause": failure.cause}
    moved = _moved(state, scope, mock, shown)
    following = getattr(state, "next", None)
    return {"status": "SUCCEEDED", "output": moved.output} | ({"nextState": following} if following else {})


def _moved(state: State, scope: Scope, mock: dict[str, Any], shown: dict[str, Any]) -> Moved:
    match state:
        case Pass():
            return _passed(state, scope, shown)
        case Succeed():
            return passing.succeeded(state, scope)
        case Map():
            _show_map(state, scope, shown)
        case Task():
            _show_task(state, scope, shown)
        case _:
            raise DefinitionInvalid(f"a {document.type_of(state)} state cannot be tested here")
    if "errorOutput" in mock:
        raise RunFailed(mock["errorOutput"].get("error", ""), mock["errorOutput"].get("cause", ""))
    result = json.loads(mock["result"])
    if scope.language is QueryLanguage.JSONPATH:
        shown["result"] = result
    return _shown_result(flow.moved(state, scope, result), scope, shown)


def _passed(state: Pass, scope: Scope, shown: dict[str, Any]) -> Moved:
    if scope.language is QueryLanguage.JSONPATH and state.result is UNSET:
        shown |= {"afterInputPath": flow.effective(state, scope), "afterParameters": passing.parameters(state, scope)}
    elif scope.language is QueryLanguage.JSONPATH:
        shown["result"] = state.result
    return _shown_result(passing.passed(state, scope), scope, shown)


def _show_task(state: Task, scope: Scope, shown: dict[str, Any]) -> None:
    if scope.language is QueryLanguage.JSONATA:
        if state.arguments is not UNSET:
            shown["afterArguments"] = flow.evaluated(state.arguments, "Arguments", scope.input, scope)
        return
    shown["afterInputPath"] = flow.effective(state, scope)
    shown["afterParameters"] = (
        shown["afterInputPath"]
        if state.parameters is UNSET
        else flow.evaluated(state.parameters, "Parameters", shown["afterInputPath"], scope)
    )


def _show_map(state: Map, scope: Scope, shown: dict[str, Any]) -> None:
    run = mapping.mapped(state, scope)
    if scope.language is QueryLanguage.JSONPATH:
        shown["afterInputPath"] = flow.effective(state, scope)
    mapping.length(state, run)
    if scope.language is QueryLanguage.JSONPATH and state.item_reader is None:
        shown["afterItemsPath"] = mapping.items(state, run)
    spec = resolving.resolve(run.spec, run.context)
    shown["maxConcurrency"] = spec.concurrency
    if spec.failure_count is not None:
        shown["toleratedFailureCount"] = spec.failure_count
    if spec.percentage is not None:
        shown["toleratedFailurePercentage"] = float(spec.percentage)


def _effective(state: Flow, scope: Scope) -> Any:
    return flow.effective(state, scope)


def _shown_result(moved: Moved, scope: Scope, shown: dict[str, Any]) -> Moved:
    if scope.language is QueryLanguage.JSONPATH:
        shown |= {"afterResultSelector": moved.selected, "afterResultPath": moved.placed}
    return moved
