"""The intrinsic functions on texts: Format, StringSplit, JSON, Base64, Hash (`aws-distributed-map.md` §2.3, §12).

Rule 1: where AWS was recorded or measured to be more lenient than its documentation, it is followed: Base64Decode skips
        what is no Base64, StringSplit takes a set of characters and drops empty tokens, Hash takes what is no string.
Rule 2: work and memory grow no faster than the arguments.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any, Final

import msgspec

from maprun.core import nesting

MAX_TEXT: Final = 10_000  # characters that are encoded, decoded or hashed
ALGORITHMS: Final = ("MD5", "SHA-1", "SHA-256", "SHA-384", "SHA-512")

_encode = msgspec.json.encode
_braces: Final = re.compile(r"\{\}|\\[{}]|[{}]")
_braces_in_literal: Final = re.compile(r"\{\}|\\['\\{}]|[{}]")
_escape: Final = re.compile(r"\\(.)", re.DOTALL)
_no_base64: Final = re.compile(r"[^A-Za-z0-9+/]")


class Invalid(ValueError):
    """The arguments do not fit, and why; `what` is the part that AWS puts the blame on."""

    def __init__(self, why: str, what: str = "arguments") -> None:
        super().__init__(why)
        self._what = what

    def told(self, name: str) -> str:
        """The whole sentence, for the function called `name`."""
        return f"Invalid {self._what} in States.{name}: {self}"


def text_of(value: Any) -> str:
    """A value inside a text, as AWS writes it: `{Arg1=1, Arg2=[]}`, `null`, `true`, strings without quotes."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}={text_of(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(text_of, value)) + "]"
    return _encode(value).decode()


def pieces(template: str, literal: bool = False) -> tuple[str, ...]:
    r"""The parts of a Format template between its `{}`. A brace that stands for itself is written `\{` or `\}`.

    `literal`: it is a string as written in a call, where `\'` and `\\` are escapes, too.
    """
    made: list[list[str]] = [[]]
    at = 0
    for match in (_braces_in_literal if literal else _braces).finditer(template):
        made[-1].append(template[at : match.start()])
        at, found = match.end(), match[0]
        if found == "{}":
            made.append([])
        elif len(found) == 1:
            other = "}" if found == "{" else "{"
            raise Invalid(f"matching '{other}' not found for '{found}'", "template")
        else:
            made[-1].append(found[1])
    made[-1].append(template[at:])
    return tuple(map("".join, made))


def filled(parts: tuple[str, ...], *values: Any) -> str:
    """The template with these `pieces`, with the values between them."""
    check_number(parts, len(values))
    return "".join([parts[0], *(text_of(value) + part for value, part in zip(values, parts[1:], strict=True))])


def check_number(parts: tuple[str, ...], values: int) -> None:
    """`Invalid` when a template with these `pieces` does not take so many values."""
    if values != len(parts) - 1:
        raise Invalid("number of arguments do not match the occurrences of {}")  # AWS's words


def unescaped(literal: str) -> str:
    r"""A string of a call, without its escapes `\'`, `\\`, `\{` and `\}`."""
    return _escape.sub(r"\1", literal)


def formatted(template: Any, *values: Any) -> str:
    return filled(pieces(_string(template, "the first argument")), *values)


def string_split(text: Any, separators: Any) -> list[str]:
    """The tokens between any of the characters in `separators`; empty ones are dropped."""
    rest, apart = _string(text, "the first argument"), _string(separators, "the second argument")
    tokens = rest.translate(dict.fromkeys(map(ord, apart), apart[0])).split(apart[0]) if apart else [rest]
    return [token for token in tokens if token]


def string_to_json(text: Any) -> Any:
    """The value in a JSON text; null for a blank one."""
    json = _string(text, "the argument")
    try:
        return msgspec.json.decode(nesting.bounded(json.encode())) if json.strip(" \t\r\n") else None
    except msgspec.MsgspecError as wrong:
        raise Invalid(f"the text is not JSON: {wrong}") from None


def json_to_string(value: Any) -> str:
    return nesting.bounded(_encode(value)).decode()


def base64_encode(text: Any) -> str:
    return base64.b64encode(_short(_string(text, "the argument")).encode()).decode()


def base64_decode(text: Any) -> str:
    """What is no Base64 is skipped, what lies behind the first `=` is ignored, and bytes that are no UTF-8 become �."""
    code = _short(_string(text, "the argument")).partition("=")[0].replace("-", "+").replace("_", "/")
    code = _no_base64.sub("", code)
    code = code[:-1] if len(code) % 4 == 1 else code
    return base64.b64decode(code + "=" * (-len(code) % 4)).decode(errors="replace")


def hashed(data: Any, algorithm: Any) -> str:
    """The digest in hexadecimal digits. What is no string is hashed as the text that Format makes of it."""
    if data is None:
        raise Invalid("the first argument must not be null")
    if algorithm not in ALGORITHMS:
        raise Invalid(f"the second argument must be one of {', '.join(ALGORITHMS)}")
    return hashlib.new(algorithm.replace("-", ""), _short(text_of(data)).encode(), usedforsecurity=False).hexdigest()


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise Invalid(f"{name} must be a string")
    return value


def _short(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise Invalid(f"the text has {len(text)} characters; at most {MAX_TEXT} are allowed")
    return text
