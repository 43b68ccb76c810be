"""From state to state: one execution of a machine, with the history that AWS would write.

Rule 1: no I/O. The execution is a generator: it asks for what lies outside (`Waiting`, `MapRun`) and gets the answer.
Rule 2: an execution always ends with `Ended`; failure of the work is data. Only what cannot be run here is raised.
Rule 3: events have AWS's types, and of their details those that the definition decides. An id is an event's place.
Rule 4: a distributed Map's children are executions of their own: whoever drives this one runs them.
Rule 5: Retry and Catch are not run; a failure that they might handle is refused, never passed on as if they were not
        there.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

import msgspec

from maprun.core import resolving
from maprun.core.asl import flow, mapping, passing
from maprun.core.asl.document import (
    DefinitionInvalid,
    Fail,
    Machine,
    Map,
    Pass,
    Succeed,
    Task,
    Wait,
    language_of,
    type_of,
)
from maprun.core.asl.document import State as AnyState
from maprun.core.asl.flow import Moved, Scope
from maprun.core.asl.mapping import Mapped
from maprun.errors import Failure, RunFailed, StatesError
from maprun.model import QueryLanguage

UNCAUGHT: Final = frozenset({StatesError.RUNTIME})  # not even by a catcher that names it, §12
OF_THE_RUN: Final = frozenset({StatesError.ITEM_READER_FAILED, StatesError.RESULT_WRITER_FAILED})


class Event(msgspec.Struct, frozen=True):
    """One event of a history: its type and the details that are known here."""

    type: str
    details: dict[str, Any] = {}


class Waiting(msgspec.Struct, frozen=True):
    """A Wait state was entered; any answer lets it pass."""

    state: Wait


class MapRun(msgspec.Struct, frozen=True):
    """A distributed Map asks for its run; `run.spec` is resolved. The answer is an `Answer`."""

    name: str
    state: Map
    run: Mapped


class Answer(msgspec.Struct, frozen=True):
    """What came of a run: its output, or its failure."""

    output: Any = None
    failure: Failure | None = None


Asked = Waiting | MapRun


class Ended(msgspec.Struct, frozen=True):
    """How an execution ended, with its whole history."""

    output: Any
    failure: Failure | None
    history: tuple[Event, ...]


Steps = Generator[Asked, Any, Any]


class _Failed(Exception):
    """A state failed, and its events are written."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


def execute(machine: Machine, document: Any, context: dict[str, Any], at: str) -> Generator[Asked, Any, Ended]:
    """One execution with an input. `context` has Execution and StateMachine; `at` is the time, in its form.

    Raises `DefinitionInvalid` for what cannot be run here.
    """
    execution = _Execution(machine.query_language, context, at)
    execution.add("ExecutionStarted", input=document)
    try:
        output = yield from execution.states(machine, document, {})
    except _Failed as failed:
        execution.add("ExecutionFailed", **_told(failed.failure))
        return Ended(None, failed.failure, tuple(execution.history))
    execution.add("ExecutionSucceeded", output=output)
    return Ended(output, None, tuple(execution.history))


def _told(failure: Failure) -> dict[str, Any]:
    return {key: text for key, text in (("error", failure.error), ("cause", failure.cause)) if text}


class _Execution:
    """The history of an execution, and the way through its states."""

    def __init__(self, language: QueryLanguage, context: dict[str, Any], at: str) -> None:
        self._language, self._context, self._at = language, context, at
        self.history: list[Event] = []

    def add(self, kind: str, **details: Any) -> None:
        """Write an event."""
        self.history.append(Event(kind, details))

    def states(self, machine: Machine, document: Any, variables: dict[str, Any]) -> Steps:
        """From the first state to the end; returns the output. `_Failed` when a state fails."""
        name: str | None = machine.start_at
        while name is not None:
            state = machine.states[name]
            self.add(f"{type_of(state)}StateEntered", name=name, input=document)
            scope = self._scope(name, state, document, variables)
            moved = yield from self._performed(state, scope)
            assigned = {"assignedVariables": moved.assigned} if moved.assigned else {}
            self.add(f"{type_of(state)}StateExited", name=name, output=moved.output, **assigned)
            variables, document = {**variables, **moved.assigned}, moved.output
            name = None if isinstance(state, Succeed | Fail) else state.next
        return document

    def _scope(self, name: str, state: AnyState, document: Any, variables: dict[str, Any]) -> Scope:
        retries = {"RetryCount": 0} if isinstance(state, Map | Task) else {}
        context = {**self._context, "State": {"EnteredTime": self._at, "Name": name, **retries}}
        return Scope(name, document, context, language_of(state, self._language), variables, len(self.history))

    def _performed(self, state: AnyState, scope: Scope) -> Steps:
        try:
            with flow.in_state(scope):
                return (yield from self._moved(state, scope))
        except RunFailed as failed:
            if failed.failure.error == StatesError.QUERY_EVALUATION_ERROR:
                self.add("EvaluationFailed", state=scope.name, **_told(failed.failure))
                if isinstance(state, Map):
                    self.add("MapStateFailed", **_told(failed.failure))
            raise _Failed(self._unhandled(state, failed.failure)) from None

    def _moved(self, state: AnyState, scope: Scope) -> Steps:
        match state:
            case Pass():
                return passing.passed(state, scope)
            case Succeed():
                return passing.succeeded(state, scope)
            case Fail():
                raise _Failed(passing.failed(state, scope))
            case Wait():
                yield Waiting(state)
                return flow.moved(state, scope, flow.effective(state, scope), worked=False)
            case Map():
                return (yield from self._mapped(state, scope))
        raise DefinitionInvalid(f"a {type_of(state)} state ({scope.name}) cannot be run here")

    def _unhandled(self, state: AnyState, failure: Failure) -> Failure:
        handlers = [*state.retry, *state.catch] if isinstance(state, Map) else []
        if handlers and failure.error not in UNCAUGHT:
            raise DefinitionInvalid(f"Retry and Catch are not run here, and the state failed with {failure.error}")
        return failure

    # ---------------------------------------------------------------------------------------------------- Map states

    def _mapped(self, state: Map, scope: Scope) -> Steps:
        run = mapping.mapped(state, scope)
        self.add("MapStateStarted", length=mapping.length(state, run))
        if state.distributed:
            result = yield from self._distributed(state, scope, run)
        else:
            resolving.resolve(run.spec, run.context)  # its numbers must be right, too
            result = yield from self._inline(state, scope, run)
        self.add("MapStateSucceeded")
        if state.distributed and run.finishes:
            return Moved(result, result, result)
        return flow.moved(state, scope, result)

    def _distributed(self, state: Map, scope: Scope, run: Mapped) -> Steps:
        try:
            resolved = msgspec.structs.replace(run, spec=resolving.resolve(run.spec, run.context))
        except RunFailed as failed:
            if failed.failure.error not in OF_THE_RUN:
                raise
            answer = Answer(failure=failed.failure)
            self.add("MapRunStarted")
        else:
            self.add("MapRunStarted")
            answer = yield MapRun(scope.name, state, resolved)
        if answer.failure is None:
            self.add("MapRunSucceeded")
            return answer.output
        failure = flow.told_of(scope, answer.failure)
        self.add("MapRunFailed", **_told(failure))
        self.add("MapStateFailed", **_told(failure))
        raise _Failed(self._unhandled(state, failure))

    def _inline(self, state: Map, scope: Scope, run: Mapped) -> Steps:
        outputs = []
        for index, item in enumerate(mapping.items(state, run)):
            self.add("MapIterationStarted", name=scope.name, index=index)
            try:
                document = mapping.inline_input(state, scope, index, item)
                outputs.append((yield from self.states(state.processor, document, scope.variables)))
            except _Failed as failed:
                self.add("MapIterationFailed", name=scope.name, index=index)
                self.add("MapStateFailed", **_told(failed.failure))
                raise _Failed(self._unhandled(state, failed.failure)) from None
            self.add("MapIterationSucceeded", name=scope.name, index=index)
        return outputs
