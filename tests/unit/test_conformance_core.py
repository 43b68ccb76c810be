"""What AWS Step Functions was recorded to do, as far as paths, templates, functions, retriers and tolerances go.

The first half states facts of recorded cases in tables of its own. The second half runs the cases themselves when their
folder lies beside the repository; without it, those tests do not exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from maprun.core import paths, payload, retrying, selection, tolerance
from maprun.errors import TOLERANCE_CAUSE, Failure, RunFailed, StatesError
from maprun.model_processing import Retrier

# -------------------------------------------------------------------------------------------------- facts in our tables


@pytest.mark.parametrize(
    ("template", "document", "answer"),
    [
        pytest.param("$.items[0]", {"items": [{"k": 0}, {"k": 1}]}, {"k": 0}, id="json_path_array_access"),
        pytest.param("$[*]", {}, [], id="json_path_array_wildcard_or_slice_with_no_input"),
        pytest.param("$.item.items[1:5].itemValue", {}, [], id="…_with_no_input_.item.items_1_5_.itemValue"),
        pytest.param("$[1]", {"myKey": "myValue"}, None, id="…_with_dictionary_input_1"),
        pytest.param("$[0:1]", {"myKey": "myValue"}, None, id="…_with_dictionary_input_0_1"),
        pytest.param("$[1:]", {"myKey": "myValue"}, None, id="…_with_dictionary_input_1 to the end"),
    ],
)
def test_paths_in_templates(template: str, document: Any, answer: Any) -> None:
    selector = payload.compile_template({"item.$": template}, "parameters")
    if answer is not None:
        assert selector(document, {}) == {"item": answer}
        return
    with pytest.raises(RunFailed) as caught:
        selector(document, {})
    assert caught.value.failure == Failure(
        StatesError.RUNTIME,
        f"The JSONPath '{template}' specified for the field 'item.$' could not be found in the input "
        """'{"myKey":"myValue"}'""",
    )


def test_map_state_config_distributed_item_selector() -> None:
    template = {"constantValue": "constant", "mapValue.$": "$$.Map.Item.Value", "fromInput.$": "$"}
    selector = selection.compile_selector(template)
    items = ["Hello", "World"]
    assert [selector(items, selection.with_item({}, at, item, "STATE_DATA")) for at, item in enumerate(items)] == [
        {"constantValue": "constant", "mapValue": "Hello", "fromInput": ["Hello", "World"]},
        {"constantValue": "constant", "mapValue": "World", "fromInput": ["Hello", "World"]},
    ]


def test_a_wrong_escape_in_a_call_is_refused() -> None:  # illegal_escapes_ESCAPE_SEQUENCES_ILLEGAL_INTRINSIC_FUNCTION
    template = {"parsed.$": r"""States.StringToJson('{"text":"An \"escaped double quote\" here"}')"""}
    (problem,) = payload.problems(template, "parameters")
    assert problem.path == "parameters.parsed.$"
    assert problem.message.startswith("must be a valid JSONPath or a valid intrinsic function call")


def test_functions_outside_of_templates() -> None:  # state_fail_intrinsic, map_state_legacy_reentrant
    template = {
        "error.$": "States.Format('{}', $.Error)",
        "cause.$": "States.Format('This is a custom error message for {}, caused by {}.', $.Error, $.Cause)",
        "values.$": "States.ArrayRange(0, 3, 1)",
        "left.$": "States.MathAdd($.Iterations, -1)",
    }
    document = {"Error": "error string", "Cause": "cause string", "Iterations": 3}
    assert payload.compile_template(template, "at")(document, {}) == {
        "error": "error string",
        "cause": "This is a custom error message for error string, caused by cause string.",
        "values": [0, 1, 2, 3],
        "left": 2,
    }


def test_parameter_path_problems() -> None:
    template = {
        "good1.$": "$.g1",
        "bad1.$": 23,
        "bad2.$": "23",
        "f3": {"bad3.$": [1], "good2.$": "$.b[23]", "f5": ["f6", {"f7": {"bad4.$": {}, "good3.$": "$.x.y.z[2]"}}]},
        "good4.$": "$$",
        "good5.$": "$$.g5",
        "bad5.$": "$$23",
    }
    assert [each.path.removeprefix("spec.itemSelector.") for each in payload.problems(template, selection.FIELD)] == [
        "bad1.$",
        "bad2.$",
        "f3.bad3.$",
        "f3.f5[1].f7.bad4.$",
        "bad5.$",
    ]


@pytest.mark.parametrize(
    ("retriers", "error", "attempts"),
    [
        pytest.param([], "Exception", 1, id="lambda_empty_retry"),
        pytest.param(
            [{"errorEquals": ["States.ALL"], "maxAttempts": 3}], "Exception", 4, id="lambda_invoke_with_retry_base"
        ),
        pytest.param(
            [{"errorEquals": ["HandleItemFailError"], "maxAttempts": 2}], "HandleItemFailError", 3, id="map_state_retry"
        ),
        pytest.param(
            [
                {"errorEquals": ["NoSuchError"], "maxAttempts": 1},
                {"errorEquals": ["State.ALL"], "maxAttempts": 2},
                {"errorEquals": ["HandleItemFailError"], "maxAttempts": 3},
            ],
            "HandleItemFailError",
            4,
            id="map_state_retry_multiple_retriers",
        ),
        pytest.param(
            [{"errorEquals": ["States.ALL"], "intervalSeconds": 3, "maxAttempts": 2, "jitterStrategy": "FULL"}],
            "Exception",
            3,
            id="retry_interval_features",
        ),
        pytest.param([{"errorEquals": ["States.ALL"], "maxAttempts": 0}], "Exception", 1, id="…_max_attempts_zero"),
    ],
)
def test_numbers_of_attempts(retriers: list[dict[str, Any]], error: str, attempts: int) -> None:
    parsed = [retrier(each) for each in retriers]
    spent: tuple[int, ...] = ()
    while retry := retrying.decide(parsed, spent, Failure(error), 0.0, Random(0)):
        spent = retrying.spent_after(spent, retry)
    assert 1 + sum(spent) == attempts


def test_the_fifth_retry_at_rate_2_waits_16_seconds() -> None:  # state_configuration_retrier_retry_count
    each = Retrier(["MockException"], interval_seconds=1, max_attempts=5, backoff_rate="2.0")
    retry = retrying.decide([each], (4,), Failure("MockException"), 0.0, Random(0))
    assert retry is not None
    assert retry.at == 16


@pytest.mark.parametrize(
    ("count", "percentage", "failed", "total", "breached"),
    [
        pytest.param(None, None, 1, 5, True, id="map_run_counts: one of five fails, no tolerance"),
        pytest.param(5, None, 1, 5, False, id="map_run_counts: one of five fails, a count of 5"),
        pytest.param(1, None, 2, 2, True, id="failed_batch_counts_items: one batch of two items, a count of 1"),
        pytest.param(0, None, 1, 4, True, id="cancel_pending: one of four fails, a count of 0"),
        pytest.param(1, None, 0, 3, False, id="map_state_failure_count: none fails"),
        pytest.param(1, None, 2, 3, True, id="map_state_failure_count: two fail, a count of 1"),
        pytest.param(10, None, 0, 1, False, id="map_state_tolerated_failure_values_count_literal"),
        pytest.param(None, 100, 0, 1, False, id="map_state_tolerated_failure_percentage: 100"),
    ],
)
def test_tolerances(count: int | None, percentage: int | None, failed: int, total: int, breached: bool) -> None:
    fraction = None if percentage is None else Fraction(percentage)
    assert tolerance.breached(count, fraction, failed, total) is breached


# ------------------------------------------------------------------------------------------------- the recorded cases


class Case(NamedTuple):
    """One state of a recorded case: its definition, what it was entered with, and what came of it."""

    name: str
    state: dict[str, Any]
    entered: Any
    exited: Any
    expected: dict[str, Any]


CASES = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "cases"


def retrier(fields: dict[str, Any]) -> Retrier:
    names = {"errorEquals": "error_equals", "maxAttempts": "max_attempts", "intervalSeconds": "interval_seconds"}
    return Retrier(**{names[name]: value for name, value in fields.items() if name in names})


def recorded_states() -> Iterator[Case]:
    """The states at the top of each recorded JSONPath machine that were entered once and left once, or failed.

    A machine that was run several times gives its states once for each run.
    """
    for file in sorted(CASES.glob("*.json")):
        case = json.loads(file.read_text())
        if case["query_language"] != "JSONPath" or not isinstance(case["definition"], dict):
            continue
        for number, run in enumerate(case["expected"].get("runs", [case["expected"]])):
            name = f"{file.stem}/{number}" if "runs" in case["expected"] else file.stem
            yield from states_of(name, case["definition"].get("States", {}), run)


def states_of(case: str, states: dict[str, Any], run: dict[str, Any]) -> Iterator[Case]:
    events = run.get("history_events", [])
    for name, state in states.items():
        entered = list(details(events, "stateEnteredEventDetails", name, "input"))
        exited = list(details(events, "stateExitedEventDetails", name, "output"))
        if len(entered) == 1 and len(exited) <= 1:
            yield Case(f"{case}/{name}", state, entered[0], exited[0] if exited else None, run)


def details(events: list[dict[str, Any]], kind: str, name: str, field: str) -> Iterator[Any]:
    for event in events:
        if event.get(kind, {}).get("name") == name:
            value = event[kind][field]
            yield parsed(value) if isinstance(value, str) else value


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def is_static(state: dict[str, Any]) -> bool:
    """Whether the state needs no variables, which come later."""
    return not re.search(r"\$[A-Za-z]", json.dumps(state))


def same(recorded: Any, ours: Any) -> bool:
    """Equal, where a placeholder in the recording (`<…>`) stands for anything."""
    if isinstance(recorded, str) and "<" in recorded:
        pattern = re.sub(r"<[^<>]*>", "\0", recorded)
        return re.fullmatch(re.escape(pattern).replace("\0", ".*"), str(ours), re.DOTALL) is not None
    if isinstance(recorded, dict) and isinstance(ours, dict):
        return recorded.keys() == ours.keys() and all(same(recorded[key], ours[key]) for key in recorded)
    return bool(recorded == ours)


def effective_input(case: Case) -> Any:
    return paths.evaluate(case.state.get("InputPath", "$"), case.entered, context(case))


def context(case: Case) -> dict[str, Any]:
    return {
        "Execution": {"Input": case.entered, "Id": "arn:…", "Name": "name"},
        "StateMachine": {"Id": "arn:aws:states:region:111111111111:stateMachine:machine", "Name": "machine"},
    }


def answer(case: Case) -> Any:
    """What a Pass state gives, or how it fails."""
    try:
        document = effective_input(case)
        template = case.state.get("Parameters")
        return document if template is None else payload.compile_template(template, "at")(document, context(case))
    except RunFailed as failed:
        return failed.failure


def items(case: Case) -> list[Any]:
    found = paths.reference(case.state.get("ItemsPath", "$"), effective_input(case), context(case))
    assert isinstance(found, list)
    return found


def only_passes(case: Case) -> bool:
    """Whether each child gives back what it got."""
    processor = case.state.get("ItemProcessor") or case.state.get("Iterator") or {}
    plain = all(state.keys() <= {"Type", "End", "Comment"} for state in processor.get("States", {}).values())
    return plain and case.exited is not None


def is_template(state: dict[str, Any]) -> bool:
    """Whether it is a Pass state with a template or path of ours, and nothing that changes the answer further."""
    more = {"Result", "ResultPath", "OutputPath", "Assign"} & state.keys()
    has = {"Parameters", "InputPath"} & state.keys()
    return state["Type"] == "Pass" and bool(has) and not more and state.get("InputPath") != "$$"


STATES = [case for case in recorded_states() if is_static(case.state)]
PASSES = [case for case in STATES if is_template(case.state)]
MAPS = [case for case in STATES if case.state["Type"] == "Map" and "ItemReader" not in case.state]
COUNTED = [case for case in MAPS if case.expected.get("map_state_started_length")]
SELECTED = [case for case in MAPS if {"ItemSelector", "Parameters"} & case.state.keys() and only_passes(case)]

if PASSES:

    @pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in PASSES])
    def test_recorded_pass_state(case: Case) -> None:
        ours = answer(case)
        if isinstance(ours, Failure):
            where, _, cause = case.expected["outcome"]["cause"].partition("). ")
            assert where.startswith("An error occurred while executing the state ")
            assert case.expected["outcome"]["error"] == ours.error
            assert same(cause, ours.cause)
        else:
            assert same(case.exited, ours)


if COUNTED:

    @pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in COUNTED])
    def test_recorded_number_of_items(case: Case) -> None:
        assert len(items(case)) == case.expected["map_state_started_length"][0]


if SELECTED:

    @pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in SELECTED])
    def test_recorded_item_selector(case: Case) -> None:
        template = case.state.get("ItemSelector") or case.state["Parameters"]
        assert payload.problems(template, selection.FIELD) == ()
        selector = selection.compile_selector(template)
        document = effective_input(case)
        ours = [
            selector(document, selection.with_item(context(case), index, item, "STATE_DATA"))
            for index, item in enumerate(items(case))
        ]
        output = paths.evaluate(case.state.get("ResultPath", "$"), case.exited)
        assert same({"": output}, {"": ours})


def tolerated() -> Iterator[tuple[str, int | None, Fraction | None, int, int, bool]]:
    """Recorded map runs with literal tolerances, or none, and how many items failed: one row each."""
    for file in sorted(CASES.glob("*.json")):
        case = json.loads(file.read_text())
        run, outcome = case["expected"].get("map_run", {}), case["expected"].get("outcome", {})
        counts = run.get("itemCounts")
        if counts and "toleratedFailureCount" in run:
            thresholds = run["toleratedFailureCount"] or None, Fraction(str(run["toleratedFailurePercentage"])) or None
            failed = counts["failed"] + counts["timedOut"]
            breached = outcome.get("error") == StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD
            assert not breached or outcome.get("cause") == TOLERANCE_CAUSE
            yield file.stem, *thresholds, failed, counts["total"], breached
        yield from of_test_state(file.stem, case)


def of_test_state(name: str, case: dict[str, Any]) -> Iterator[tuple[str, int | None, Fraction | None, int, int, bool]]:
    """The same from recorded TestState calls, which are told how many iterations failed."""
    definition = case["definition"] or {}
    runs = zip(case["inputs"].get("runs", []), case["expected"].get("runs", []), strict=True) if case["inputs"] else ()
    for number, (run, answers) in enumerate(runs):
        failed = run.get("stateConfiguration", {}).get("mapIterationFailureCount")
        if failed is None or not isinstance(definition.get("ToleratedFailureCount"), int):
            continue
        (answer,) = answers.values()
        breached = answer.get("error") == StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD
        yield f"{name}/{number}", definition["ToleratedFailureCount"], None, failed, 3, breached


TOLERATED = list(tolerated())

if TOLERATED:

    @pytest.mark.parametrize(
        ("count", "percentage", "failed", "total", "breached"),
        [pytest.param(*row, id=name) for name, *row in TOLERATED],
    )
    def test_recorded_tolerance(
        count: int | None, percentage: Fraction | None, failed: int, total: int, breached: bool
    ) -> None:
        assert tolerance.breached(count, percentage, failed, total) is breached
