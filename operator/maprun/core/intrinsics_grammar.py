r"""The grammar of intrinsic calls: `States.Format('{} of {}', $.parts, $$.Map.Item.Index)`.

Rule 1: an argument is a string in single quotes (with `\'`, `\\`, `\{` and `\}`), a number, true, false, null, a path,
        or another call. Blanks may stand around arguments, nowhere else.
Rule 2: the names and numbers of arguments are checked here; AWS checks the numbers when the call is made.
Rule 3: the text and the depth of calls within each other have bounds.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from maprun.core import paths
from maprun.core.functions import FUNCTIONS

PREFIX: Final = "States."
MAX_LENGTH: Final = 10_000  # characters of a call
MAX_DEPTH: Final = 64  # calls within each other

_NAME: Final = re.compile(r"States\.([A-Za-z0-9_]*)\(")
_SCALAR: Final = re.compile(
    r"""'(?P<text>(?:[^'\\]|\\['\\{}])*+)'
      | (?P<json>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)""",
    re.VERBOSE,
)
_BLANKS: Final = re.compile(r"[ \t\r\n]*")


class Text(msgspec.Struct, frozen=True):
    """A string as it stands between its quotes, with its escapes."""

    literal: str


class Scalar(msgspec.Struct, frozen=True):
    """A number, true, false or null."""

    value: int | float | bool | None


class Call(msgspec.Struct, frozen=True):
    """A call of `States.<name>`, which begins at the character `at`, counted from 0."""

    name: str
    arguments: tuple[Argument, ...]
    at: int


Argument = Call | Text | Scalar | paths.Path


def parse(text: str) -> Call:
    """The call that `text` is, with nothing around it. ValueError tells what is wrong."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"it is longer than {MAX_LENGTH:,} characters")
    call, end = _call(text, 0, 1)
    if end < len(text):
        raise _unexpected(text, end, "the end of the call")
    return call


def _call(text: str, at: int, depth: int) -> tuple[Call, int]:
    begin = _NAME.match(text, at)
    if not begin:
        raise _unexpected(text, at, "States.<name>(")
    if begin[1] not in FUNCTIONS:
        raise ValueError(f"there is no function States.{begin[1]}; there are {', '.join(FUNCTIONS)}")
    if depth > MAX_DEPTH:
        raise ValueError(f"there are more than {MAX_DEPTH} calls within each other")
    arguments, end = _arguments(text, begin.end(), depth)
    function = FUNCTIONS[begin[1]]
    if not function.least <= len(arguments) <= (function.most or len(arguments)):
        raise ValueError(f"States.{begin[1]} takes {function.takes}, not {len(arguments)}")
    return Call(begin[1], arguments, at), end


def _arguments(text: str, at: int, depth: int) -> tuple[tuple[Argument, ...], int]:
    """What stands up to the closing parenthesis, and where that ends."""
    arguments: list[Argument] = []
    at = _past_blanks(text, at)
    if text.startswith(")", at):
        return (), at + 1
    while True:
        argument, at = _argument(text, at, depth)
        arguments.append(argument)
        at = _past_blanks(text, at)
        if text.startswith(")", at):
            return tuple(arguments), at + 1
        if not text.startswith(",", at):
            raise _unexpected(text, at, "a comma or a closing parenthesis")
        at = _past_blanks(text, at + 1)


def _argument(text: str, at: int, depth: int) -> tuple[Argument, int]:
    if text.startswith(PREFIX, at):
        return _call(text, at, depth + 1)
    if text.startswith("$", at):
        end = paths.end_of(text, at)
        return _path(text[at:end]), end
    scalar = _SCALAR.match(text, at)
    if not scalar:
        raise _unexpected(text, at, "a string in single quotes, a number, true, false, null, a path or a call")
    return (Text(scalar["text"]) if scalar["json"] is None else _scalar(scalar["json"])), scalar.end()


def _path(text: str) -> paths.Path:
    if (problem := paths.problem_in(text)) is not None:
        raise ValueError(problem)
    return paths.compile_path(text)


def _scalar(json: str) -> Scalar:
    try:
        return Scalar(msgspec.json.decode(json))
    except msgspec.MsgspecError:
        raise ValueError(f"the number {json[:40]} is out of range") from None


def _past_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


def _unexpected(text: str, at: int, wanted: str) -> ValueError:
    found = f"{text[at : at + 40]!r} stands" if at < len(text) else "it ends"
    return ValueError(f"{found} at character {at + 1}, where {wanted} is expected")
