"""Recordings in prose: facts about an execution, rules of a format. Each sentence is known by what it speaks of.

Rule 1: a sentence that no check here knows is a difference, never passed over.
Rule 2: a check looks for a counter-example in what our code does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from maprun.core import csv_rows, functions_text
from maprun.model_reading import CsvDelimiter, ReaderConfig
from tools.conformance.executions import Performed, perform
from tools.conformance.matching import difference

PASS: Final = {"StartAt": "P", "States": {"P": {"Type": "Pass", "Parameters": {"read.$": "$outer"}, "End": True}}}
DISTRIBUTED: Final = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
OUTER: Final = {
    "StartAt": "Assign",
    "States": {
        "Assign": {"Type": "Pass", "Assign": {"outer": 1}, "Next": "M"},
        "M": {"Type": "Map", "ItemProcessor": {"ProcessorConfig": DISTRIBUTED, **PASS}, "End": True},
    },
}
"""A machine whose children read a variable of the execution around them."""


def fact(sentence: str, found: Performed) -> str | None:
    """What contradicts a sentence about children, None for nothing."""
    check = next((each for pattern, each in FACTS if re.search(pattern, sentence)), None)
    if check is None:
        return f": there is no check of {sentence!r}"
    return None if check(found) else f": does not hold: {sentence}"


def rule(sentence: str, inputs: dict[str, Any]) -> str | None:
    """What contradicts a rule of a format, None for nothing."""
    check = next((each for pattern, each in RULES if re.search(pattern, sentence)), None)
    if check is None:
        return f"rules: there is no check of {sentence!r}"
    told = check(inputs)
    return told and f"rules: {sentence[:60]}…{told}"


# --------------------------------------------------------------------------------------------------------------- facts


def _contexts(found: Performed) -> list[dict[str, Any]]:
    """The context objects that the children of the last run had, as far as no state changes them."""
    contexts = found.runs[-1].contexts
    return [contexts[child] for child in sorted(contexts)]


def _own_execution(found: Performed) -> bool:
    named = [found.context, *_contexts(found)]
    return all(len({each["Execution"][name] for each in named}) == len(named) for name in ("Id", "Name"))


def _labelled(found: Performed) -> bool:
    return all(each["StateMachine"]["Id"].endswith(f"/{found.runs[-1].label}") for each in _contexts(found))


def _shown(found: Performed) -> list[dict[str, Any]]:
    """The context objects that the children put out."""
    shown = found.ended.output
    return [each for each in shown if isinstance(each, dict)] if isinstance(shown, list) else []


def _retry_count(found: Performed) -> bool:
    of_map = found.runs[-1].map_context["State"]
    return "RetryCount" in of_map and bool(_shown(found)) and all("RetryCount" not in c["State"] for c in _shown(found))


def _redrive(found: Performed) -> bool:
    executions = [each["Execution"] for each in (found.context, *_shown(found))]
    return all(each["RedriveCount"] == 0 and "RedriveTime" not in each for each in executions)


def _no_map_item(found: Performed) -> bool:
    return bool(_shown(found)) and not any("Map" in context for context in _shown(found))


def _no_outer_variables(_found: Performed) -> bool:
    return perform(OUTER, {}, [1]).ended.failure is not None


FACTS: Final[Sequence[tuple[str, Callable[[Performed], bool]]]] = (
    (r"own Execution\.Id", _own_execution),
    (r"StateMachine\.Id of the child ends in", _labelled),
    (r"State\.RetryCount is present", _retry_count),
    (r"Execution\.RedriveCount is 0", _redrive),
    (r"Map\.Item is readable only in ItemSelector", _no_map_item),
    (r"children read no outer variables", _no_outer_variables),
)

# ----------------------------------------------------------------------------------------------------------- CSV rules


def _rows(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return [dict(row) for block in csv_rows.rows([text.encode()], delimiter, None) for row in block]


def _rows_are(text: str, *rows: dict[str, str], delimiter: str = ",") -> str | None:
    return difference(list(rows), _rows(text, delimiter))


def _delimiter(_inputs: dict[str, Any]) -> str | None:
    told = difference(CsvDelimiter.COMMA, ReaderConfig().csv_delimiter)
    return told or _rows_are("a,b\n1,true\n{},2.5", {"a": "1", "b": "true"}, {"a": "{}", "b": "2.5"})


def _quotes(_inputs: dict[str, Any]) -> str | None:
    return _rows_are('a,b\nx,"y,\nz"\n"u",v\n', {"a": "x", "b": "y,\nz"}, {"a": "u", "b": "v"})


def _repeated(inputs: dict[str, Any]) -> str | None:
    """The documented line, in which the sentence about quotes and the object in them stand."""
    line = inputs["csv_line_from_the_documentation"]
    (row,) = _rows(f"a,b,c,d,e\n{line}\n")
    if '""' in row["c"] or '"' not in row["c"] or "\n" not in row["c"]:
        return f": the quoted cell is {row['c']!r}"
    parsed = {name: functions_text.string_to_json(row[name]) for name in ("b", "d", "e")}
    return difference({"b": 123, "d": {"MyKey": "MyValue"}, "e": [1, 2, 3]}, parsed)


def _backslash(_inputs: dict[str, Any]) -> str | None:
    return _rows_are('a|b|c|d\n\\\\|\\"|\\||\\n\n', {"a": "\\", "b": '"', "c": "|", "d": "n"}, delimiter="|")


def _fewer(_inputs: dict[str, Any]) -> str | None:
    return _rows_are("a,b,c\n1\n", {"a": "1", "b": "", "c": ""})


def _more(_inputs: dict[str, Any]) -> str | None:
    return _rows_are("a,b\n1,2,3,4\n", {"a": "1", "b": "2"})


RULES: Final[Sequence[tuple[str, Callable[[dict[str, Any]], str | None]]]] = (
    (r"delimiter is CSVDelimiter, default COMMA", _delimiter),
    (r"double quotes are not required", _quotes),
    (r"double quote is preserved by repeating", _repeated),
    (r"backslash escapes only", _backslash),
    (r"fewer fields than headers", _fewer),
    (r"more fields than headers", _more),
)
