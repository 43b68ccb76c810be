"""What was recorded of an execution against what came of ours.

Rule 1: everything that was recorded is judged, field by field; a field that nobody here can judge is a difference.
Rule 2: a recording that was cut out of a larger machine has events of states that its definition lacks: they are left
        out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from maprun.core.asl.machine import Event
from maprun.records import ChildStatus
from tools.conformance import matching, sentences
from tools.conformance.children import RunSeen
from tools.conformance.executions import Performed
from tools.conformance.matching import difference

IGNORED: Final = frozenset({"output_text"})  # the same again, as a text
_STATE_EVENT: Final = re.compile(r"([A-Za-z]+)State(?:Entered|Exited)")
_COUNTERS: Final = ("itemCounts", "executionCounts")


def differences(definition: Any, expected: dict[str, Any], found: Performed) -> Iterator[str]:
    """All differences, each a line."""
    for field, recorded in expected.items():
        if field in IGNORED:
            continue
        judge = JUDGES.get(field)
        if judge is None:
            yield f"{field}: there is no way to judge this here"
        elif (told := judge(definition, recorded, found)) is not None:
            yield f"{field}{told}"


Judge = Callable[[Any, Any, Performed], str | None]


def _outcome(_definition: Any, recorded: dict[str, Any], found: Performed) -> str | None:
    failure = found.ended.failure
    ours: dict[str, Any] = {"status": "FAILED" if failure else "SUCCEEDED"}
    if failure is None:
        ours["output"] = found.ended.output
    else:
        ours |= {name: text for name, text in (("error", failure.error), ("cause", failure.cause)) if text}
    wanted = {
        name: value for name, value in recorded.items() if name not in IGNORED and (name, value) != ("cause", None)
    }
    return difference(wanted, {name: value for name, value in ours.items() if name in wanted or name == "status"})


def _event_types(definition: Any, recorded: list[str], found: Performed) -> str | None:
    known = types_of(definition)
    return difference([kind for kind in recorded if _is_of(kind, known)], [event.type for event in found.ended.history])


def _history(definition: Any, recorded: list[dict[str, Any]], found: Performed) -> str | None:
    """Details that we do not have (ids, times, what was truncated) are not judged."""
    known = types_of(definition)
    theirs = [event for event in recorded if _is_of(event["type"], known)]
    for number, (event, ours) in enumerate(zip(theirs, found.ended.history, strict=False), 1):
        told = difference(_details(event, ours), ours.details)
        if event["type"] != ours.type:
            return f"[{number}]: recorded {event['type']}, found {ours.type}"
        if told:
            return f"[{number}] {ours.type}{told}"
    return difference(len(theirs), len(found.ended.history))


def _details(event: dict[str, Any], ours: Event) -> dict[str, Any]:
    details: dict[str, Any] = next((value for name, value in event.items() if name.endswith("EventDetails")), {})
    return {name: value for name, value in details.items() if name in ours.details}


def types_of(definition: Any) -> set[str]:
    """The Types of all states in a definition."""
    if isinstance(definition, list):
        return set().union(*map(types_of, definition))
    if not isinstance(definition, dict):
        return set()
    inner = set().union(*map(types_of, definition.values()))
    return inner | {definition["Type"]} if isinstance(definition.get("Type"), str) else inner


def _is_of(kind: str, known: set[str]) -> bool:
    state = _STATE_EVENT.fullmatch(kind)
    return state is None or state[1] in known


def _recorded_case(_definition: Any, recorded: dict[str, Any], found: Performed) -> str | None:
    """A row of a recorded table: only input and output are known."""
    return difference(recorded["output"], found.ended.output)


def _lengths(_definition: Any, recorded: list[int], found: Performed) -> str | None:
    return difference(recorded, [event.details["length"] for event in found.ended.history if "length" in event.details])


def _iterations(_definition: Any, recorded: dict[str, int], found: Performed) -> str | None:
    counted = Counter(event.type for event in found.ended.history if event.type.startswith("MapIteration"))
    return difference(recorded, dict(counted))


def _map_runs(_definition: Any, recorded: list[dict[str, Any]], found: Performed) -> str | None:
    """A run that failed before it read anything is known from the history alone."""
    ends = [event for event in found.ended.history if event.type in ("MapRunSucceeded", "MapRunFailed")]
    ours = [
        {"mapRunArn": "arn:…", "status": event.type.removeprefix("MapRun").upper(), **event.details} for event in ends
    ]
    return difference([{**run, "mapRunArn": "<arn>"} for run in recorded], ours)


def _map_run(_definition: Any, recorded: dict[str, Any], found: Performed) -> str | None:
    return _described(recorded, _only(found).described[-1])


def _while_running(_definition: Any, recorded: dict[str, Any], found: Performed) -> str | None:
    told = [_described(recorded, seen) for seen in _only(found).described]
    return None if None in told else told[-1]


def _described(recorded: dict[str, Any], seen: dict[str, Any]) -> str | None:
    wanted = {
        name: recorded["itemCounts"] if name in _COUNTERS and isinstance(value, str) else value
        for name, value in recorded.items()
    }
    return difference(wanted, {name: value for name, value in seen.items() if name in wanted})


def _child_inputs(_definition: Any, recorded: list[Any], found: Performed) -> str | None:
    batches = _only(found).batches
    return difference(recorded, [msgspec.json.decode(batches[child].input) for child in sorted(batches)])


def _item_counts(_definition: Any, recorded: list[int], found: Performed) -> str | None:
    batches = _only(found).batches
    return difference(recorded, [batches[child].items for child in sorted(batches)])


def _children(_definition: Any, recorded: list[dict[str, Any]], found: Performed) -> str | None:
    """The children that were recorded; others may have run, too."""
    outcomes = _only(found).outcomes
    for child in recorded:
        outcome = outcomes.get(child["index"])
        if outcome is None:
            return f"[{child['index']}]: nothing is known of this child"
        ours = {"index": outcome.child, "status": str(outcome.status)}
        if outcome.status is ChildStatus.SUCCEEDED:
            ours["output"] = msgspec.json.decode(outcome.output)
        elif outcome.failure:
            ours |= {"error": outcome.failure.error, "cause": outcome.failure.cause}
        if told := difference(child, {name: value for name, value in ours.items() if name in child}):
            return f"[{child['index']}]{told}"
    return None


def _only(found: Performed) -> RunSeen:
    """The run of a machine with one distributed Map."""
    if len(found.runs) != 1:
        raise LookupError(f"there are {len(found.runs)} map runs, where one was recorded")
    return found.runs[0]


# ------------------------------------------------------------------------------------------------------- result files


def _results(_definition: Any, recorded: dict[str, str], found: Performed) -> str | None:
    left = dict(found.written)
    for key, text in recorded.items():
        ours = next((each for each in left if matching.fits(key, each)), None)
        if ours is None:
            return f": no object like {key}, only {sorted(left)}"
        if told := _file(key, text, left.pop(ours).decode(), found.written):
            return f" {key}{told}"
    return f": {sorted(left)} were not recorded" if left else None


def _file(key: str, recorded: str, found: str, written: dict[str, bytes]) -> str | None:
    """A result file, or the manifest: its Sizes are those of our own files, whose names differ in length."""
    if recorded.endswith("\n") != found.endswith("\n"):
        return ": one ends with an end of line, the other does not"
    if key.endswith(".jsonl"):
        return difference(
            [json.loads(line) for line in recorded.splitlines()], list(map(json.loads, found.splitlines()))
        )
    theirs, ours = json.loads(recorded), json.loads(found)
    if isinstance(ours, dict):
        for files in ours.get("ResultFiles", {}).values():
            for file in files:
                if file["Size"] != len(written.get(file["Key"], b"")):
                    return f": the Size of {file['Key']} is {file['Size']}, but the object has another"
        theirs = _without_sizes(theirs)
        ours = _without_sizes(ours)
    return difference(theirs, ours)


def _without_sizes(manifest: dict[str, Any]) -> dict[str, Any]:
    files = manifest.get("ResultFiles", {})
    return {**manifest, "ResultFiles": {name: [each["Key"] for each in listed] for name, listed in files.items()}}


def _facts(_definition: Any, recorded: list[str], found: Performed) -> str | None:
    return next((told for sentence in recorded if (told := sentences.fact(sentence, found))), None)


JUDGES: Final[dict[str, Judge]] = {
    "outcome": _outcome,
    "recorded_case": _recorded_case,
    "event_types": _event_types,
    "history_events": _history,
    "map_state_started_length": _lengths,
    "map_iterations": _iterations,
    "map_runs": _map_runs,
    "map_run": _map_run,
    "map_run_while_running": _while_running,
    "child_inputs": _child_inputs,
    "children_itemCount": _item_counts,
    "children": _children,
    "s3_results": _results,
    "facts": _facts,
}
