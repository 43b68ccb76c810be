"""From a case to its verdict.

Rule 1: whatever goes wrong in a case is that case's failure: what cannot be run, what differs, what crashes.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from maprun.core.asl.document import DefinitionInvalid
from tools.conformance import judging, one_state, sentences
from tools.conformance.cases import Case
from tools.conformance.executions import perform
from tools.conformance.matching import difference


class Verdict(msgspec.Struct, frozen=True):
    """What a case came to. `why` is one line, "" for a case that passed."""

    case: Case
    why: str = ""


def judge(case: Case) -> Verdict:
    """Run a case; its first difference, if there is one."""
    try:
        why = case.problem or next(_differences(case), "")
    except DefinitionInvalid as invalid:
        why = f"cannot be run: {invalid}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        why = f"the runner broke: {type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    return Verdict(case, " ".join(why.split()))


def _differences(case: Case) -> Iterator[str]:
    inputs, expected = case.inputs, case.expected
    if not expected:
        yield "nothing was recorded"
    elif "rules" in expected:
        yield from filter(None, (sentences.rule(sentence, inputs) for sentence in expected["rules"]))
    elif "runs" in inputs or "runs" in expected:
        yield from _runs(case)
    else:
        yield from _run(case.definition, inputs, expected)


def _runs(case: Case) -> Iterator[str]:
    """Runs pair with what was recorded of them, by place."""
    runs, recorded = case.inputs.get("runs"), case.expected.get("runs")
    if not isinstance(runs, list) or not isinstance(recorded, list) or len(runs) != len(recorded):
        yield "the runs and what was recorded of them do not pair"
        return
    for number, (run, expected) in enumerate(zip(runs, recorded, strict=True)):
        shared = {name: value for name, value in case.inputs.items() if name != "runs"}
        for told in _run(_definition_of(case, run), {**shared, **_inputs_of(run)}, expected):
            yield f"runs[{number}]: {told}"


def _definition_of(case: Case, run: dict[str, Any]) -> Any:
    """A run's own definition, or its place among the case's, or the case's only one."""
    own = run.get("definition", case.definition)
    return case.definitions[own] if isinstance(own, int) else own


def _inputs_of(run: dict[str, Any]) -> dict[str, Any]:
    if run.get("op") == "start_execution":
        return {"execution_input": run.get("input", {})}
    return {"request": run}


def _run(definition: Any, inputs: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    if "request" in inputs:
        yield from _request(definition, inputs["request"], expected)
    elif "execution_input" in inputs:
        found = perform(definition, inputs, inputs["execution_input"])
        yield from judging.differences(definition, expected, found)
    else:
        yield f"cannot be run: there is no execution input, only {', '.join(sorted(inputs)) or 'nothing'}"


def _request(definition: Any, request: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    """A call of TestState, answered or refused. The recorders' names of the answer differ."""
    if request.get("op") != "test_state":
        yield f"cannot be run: there is no {request.get('op')} here"
        return
    ((name, recorded),) = expected.items()
    try:
        answered: dict[str, Any] = one_state.answer(definition, request)
    except one_state.Refused as refused:
        answered = {"exception_typename": "ValidationException", "exception_value": str(refused)}
    if told := difference(recorded, answered):
        yield f"{name}{told}"
