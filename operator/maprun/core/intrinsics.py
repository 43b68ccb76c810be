"""Calls of intrinsic functions in payload templates, made closures once: `States.MathAdd($.first, 1)`.

Rule 1: a call that fails ends the run as `States.Runtime`, which is what AWS was measured to do; it has the error name
        `States.IntrinsicFailure`, too, and does not use it.
Rule 2: chance is a function of the execution, the state's entry, the item's index and the place of the call, so that a
        plan made again has the same bytes. It is no secret: whoever knows the run's uid can compute it.
Rule 3: results have a bound, so that a call cannot blow up what it reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final

import msgspec

from maprun.core import functions_text, paths
from maprun.core.functions import FUNCTIONS
from maprun.core.functions_text import Invalid
from maprun.core.intrinsics_grammar import Argument, Call, Text, parse
from maprun.errors import RunFailed, StatesError

MAX_RESULT: Final = 262_144  # characters of what a call gives: §1.5
SHOWN: Final = 2_000  # characters of a call or an input that an error quotes

Evaluate = Callable[[Any, dict[str, Any]], Any]
"""The value for (effective input, context object). `RunFailed` with `States.Runtime` when there is none."""


def problem_in(text: str) -> str | None:
    """What is wrong with the syntax of a call, None when nothing is."""
    try:
        _compiled(parse(text), "")
    except ValueError as wrong:
        return str(wrong)
    return None


def compile_call(text: str, place: str = "") -> Evaluate:
    """The call, ready for use. `RunFailed` with `States.Runtime` when it is malformed.

    `place` is the field it stands in: the same call in another place draws other numbers.
    """
    try:
        evaluate = _compiled(parse(text), place)
    except ValueError as wrong:
        raise RunFailed(StatesError.RUNTIME, f"Invalid function call '{text[:SHOWN]}' : {wrong}") from None

    def value(document: Any, context: dict[str, Any]) -> Any:
        try:
            return evaluate(document, context)
        except paths.PathNotFound as missing:
            why = f"The JsonPath argument for the field '{missing.path}' could not be found in the input"
            raise _failed(text, f"{why} '{shown(document)}'") from None
        except _CallFailed as failed:
            raise _failed(text, str(failed)) from None

    return value


def shown(document: Any) -> str:
    """The beginning of an input, for an error that quotes it."""
    try:
        text = msgspec.json.encode(document).decode()
    except (UnicodeError, RecursionError):
        return "…"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


class _CallFailed(Exception):
    """A function could not give a value, in AWS's words."""


def _failed(text: str, why: str) -> RunFailed:
    """AWS's words, as users report them; the whole call is quoted, not the one inside it that failed."""
    return RunFailed(StatesError.RUNTIME, f"The function '{text[:SHOWN]}' had the following error: {why}")


# ----------------------------------------------------------------------------------------------------------- compiling


def _compiled(argument: Argument, place: str) -> Evaluate:
    """ValueError for the template of a Format that no values can fit."""
    if isinstance(argument, Call):
        return _format(argument, place) or _called(argument, place)
    if isinstance(argument, paths.Path):
        return argument
    value = functions_text.unescaped(argument.literal) if isinstance(argument, Text) else argument.value
    return lambda _document, _context: value


def _format(call: Call, place: str) -> Evaluate | None:
    """A Format whose template is a literal: it is taken apart once, and its escapes are known."""
    template, *values = call.arguments if call.name == "Format" else (None,)
    if not isinstance(template, Text):
        return None
    try:
        parts = functions_text.pieces(template.literal, literal=True)
        functions_text.check_number(parts, len(values))
    except Invalid as wrong:
        raise ValueError(wrong.told(call.name)) from None
    return _applied(call.name, [_compiled(each, place) for each in values], partial(functions_text.filled, parts))


def _called(call: Call, place: str) -> Evaluate:
    function, arguments = FUNCTIONS[call.name], [_compiled(each, place) for each in call.arguments]
    if function.draws:
        arguments.insert(0, lambda _document, context: drawn(context, f"{place}:{call.at}"))
    return _applied(call.name, arguments, function.apply)


def _applied(name: str, arguments: list[Evaluate], apply: Callable[..., Any]) -> Evaluate:
    def value(document: Any, context: dict[str, Any]) -> Any:
        values = [argument(document, context) for argument in arguments]
        try:
            return _within_bounds(apply(*values))
        except Invalid as wrong:
            raise _CallFailed(wrong.told(name)) from None
        except (UnicodeError, RecursionError):
            unfit = Invalid("a text holds half a character, or a value is nested too deeply")
            raise _CallFailed(unfit.told(name)) from None

    return value


def _within_bounds(result: Any) -> Any:
    """The same value, which has at most `MAX_RESULT` characters; quotes and digits are not counted."""
    left, ahead = MAX_RESULT, [result]
    while ahead:
        value = ahead.pop()
        inner: Collection[Any] = ()
        if isinstance(value, str):
            left -= len(value)
        elif isinstance(value, dict):
            left -= sum(map(len, value))
            inner = value.values()
        elif isinstance(value, list):
            inner = value
        left -= len(inner)
        if left < 0:
            raise Invalid(f"the result would have more than {MAX_RESULT} characters")
        ahead.extend(inner)
    return result


def drawn(context: dict[str, Any], place: str) -> bytes:
    """32 bytes that stand for chance: the same for the same run, entry of the state, item and place (rule 2)."""
    execution, state = context.get("Execution", {}), context.get("State", {})
    item = context.get("Map", {}).get("Item", {})
    known = [execution.get("Id"), *map(state.get, ("Name", "EnteredTime", "RetryCount")), item.get("Index"), place]
    return hashlib.sha256(msgspec.json.encode(known)).digest()
