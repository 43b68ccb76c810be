"""How data moves through a state: what it works on, and what its result becomes (§2.1 for the order of the fields).

Rule 1: with JSONPath: InputPath, then the state's own template; then ResultSelector, ResultPath, OutputPath. With
        JSONata: Output alone, over $states.
Rule 2: ResultPath puts the result into the input as it is before InputPath (`core/outputs.py`).
Rule 3: Assign sees the result, and the variables as they were; what it sets is seen by the next state (recorded:
        `assign_from_value_…`).
Rule 4: what cannot be evaluated is an error in AWS's words, behind the sentence that names the state and its event.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from maprun.core import intrinsics, jsonata, outputs, paths, payload
from maprun.core.asl import variables
from maprun.core.asl.document import DefinitionInvalid, Flow
from maprun.core.expressions import EVALUATION
from maprun.core.intrinsics_grammar import PREFIX
from maprun.errors import Failure, RunFailed, StatesError
from maprun.model import QueryLanguage

_SENTENCE: Final = "An error occurred while executing the state '"
SENTENCE: Final = _SENTENCE + "{name}' (entered at the event id #{event}). {cause}"


class Scope(msgspec.Struct, frozen=True):
    """Where a state is evaluated. `input` is what it was entered with; `event` is the id of that event, from 1."""

    name: str
    input: Any
    context: dict[str, Any]
    language: QueryLanguage
    variables: dict[str, Any] = {}
    event: int = 2


class Moved(msgspec.Struct, frozen=True):
    """What became of a state's result: after ResultSelector, after ResultPath, at the end; and what was assigned."""

    selected: Any
    placed: Any
    output: Any
    assigned: dict[str, Any] = {}


def effective(state: Flow, scope: Scope) -> Any:
    """The input at InputPath; {} where that is null."""
    return scope.input if state.input_path == "$" else at_path(state.input_path, scope.input, scope)


def at_path(path: str | None, document: Any, scope: Scope) -> Any:
    """What lies at a path into the document, the context object or a variable; {} where the path is null."""
    if path is None:
        return {}
    read = variables.path(path)
    return paths.evaluate(read, document, variables.context_for(read, scope.context, scope.variables))


def evaluated(template: Any, field: str, document: Any, scope: Scope, result: Any = UNSET) -> Any:
    """The value of a template. `field` is its name in ASL; `document` is `$` (`$states.input`), `result` is
    `$states.result` where there is one.
    """
    if scope.language is QueryLanguage.JSONATA:
        states = {"input": document, "context": scope.context} | ({} if result is UNSET else {"result": result})
        return jsonata.compile_template(template, field)({"states": states, **scope.variables})
    rewritten = variables.rewritten(template, scope.variables, scope.language)
    if found := payload.problems(rewritten, field):
        raise DefinitionInvalid("; ".join(map(str, found)))
    context = variables.context_for(rewritten, scope.context, scope.variables)
    return payload.compile_template(rewritten, f"{scope.name}.{field}")(document, context)


def text_at(path: str, field: str, scope: Scope) -> Any:
    """What a field that takes a path or an intrinsic call gives (ErrorPath, CausePath); `field` is its name."""
    if path.startswith(PREFIX):
        return evaluated({f"{field}.$": path}, field, scope.input, scope)[field]
    try:
        return at_path(path, scope.input, scope)
    except paths.PathNotFound as missing:
        cause = f"The JSONPath '{missing.path}' specified for the field '{field}' could not be found in the input"
        raise RunFailed(StatesError.RUNTIME, f"{cause} '{intrinsics.shown(scope.input)}'") from None


def moved(state: Flow, scope: Scope, result: Any, worked: bool = True) -> Moved:
    """What the result of a state becomes. `worked` is false for a state without `$states.result`. Errors:
    `RunFailed`.
    """
    if scope.language is QueryLanguage.JSONATA:
        shown = result if worked else UNSET
        output = result if state.output is UNSET else evaluated(state.output, "Output", scope.input, scope, shown)
        return Moved(result, output, output, _assigned(state, scope.input, scope, shown))
    selected = result if state.result_selector is UNSET else _selected(state, scope, result)
    placed = outputs.placed(state.result_path, scope.input, selected)
    output = placed if state.output_path == "$" else at_path(state.output_path, placed, scope)
    return Moved(selected, placed, output, _assigned(state, selected, scope))


def _selected(state: Flow, scope: Scope, result: Any) -> Any:
    return evaluated(state.result_selector, "ResultSelector", result, scope)


def _assigned(state: Flow, document: Any, scope: Scope, result: Any | UnsetType = UNSET) -> dict[str, Any]:
    if state.assign is UNSET:
        return {}
    assigned: dict[str, Any] = evaluated(state.assign, "Assign", document, scope, result)
    return assigned


@contextmanager
def in_state(scope: Scope) -> Iterator[None]:
    """Puts AWS's sentence about the state before the cause of an error of evaluation; others pass as they are (§12)."""
    try:
        yield
    except RunFailed as failed:
        cause = variables.quoted(alone(failed.failure.cause))
        if failed.failure.error in EVALUATION:
            cause = SENTENCE.format(name=scope.name, event=scope.event, cause=cause)
        raise RunFailed(failed.failure.error, cause).with_hint(failed.failure.hint) from None


def told_of(scope: Scope, failure: Failure) -> Failure:
    """The failure of a state's run: where it tells of a state, of this one, as it was entered here."""
    cause = alone(failure.cause)
    if cause != failure.cause:
        cause = SENTENCE.format(name=scope.name, event=scope.event, cause=cause)
    return Failure(failure.error, variables.quoted(cause))


def alone(cause: str) -> str:
    """A cause without the sentence about a state that stands before it."""
    start, sentence, rest = cause.partition("). ")
    return rest if sentence and start.startswith(_SENTENCE) else cause
