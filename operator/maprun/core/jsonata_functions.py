"""The functions of an expression: JSONata's own, bounded, and those that AWS adds (docs/decisions/0009 for chance).

Rule 1: AWS adds $partition, $range, $hash, $random (with an optional seed), $uuid and $parse, and takes $eval away.
Rule 2: chance and time follow from the run: $random, $uuid and $shuffle draw from where and for what they are called,
        $now and $millis give the time at which the state was entered. A plan made again has the same bytes.
Rule 3: each function counts what it reads, before it reads it; what makes much out of little is asked how much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from jsonata.functions import Functions
from jsonata.jsonata import Jsonata
from jsonata.utils import Utils

from maprun.core import functions, functions_text
from maprun.core.functions_text import Invalid
from maprun.core.intrinsics import drawn
from maprun.core.jsonata_values import MAX_HELD, OutOfBounds, too_large

if TYPE_CHECKING:
    from maprun.core.jsonata_engine import Program

MAX_TIME_TEXT, MAX_TIME_PARTS = 48, 8  # of $toMillis: its own patterns try all ways to part a text

_MATCH: Final = 64  # bytes that a match counts for; to make so much counts as a step

Body = Callable[..., Any]


class _Bounded(Jsonata.JNativeFunction):  # type: ignore[misc]
    """A function of JSONata itself, which counts what it reads and makes."""

    def __init__(self, program: Program, native: Any, expected: Callable[..., int] | None) -> None:
        self.__dict__.update(native.__dict__)
        self._program, self._expected = program, expected

    def call(self, input: Any, args: Sequence[Any] | None) -> Any:
        values = list(args or ())
        self._program.read(values)
        size = self._expected(*values) if self._expected else 0
        if size > MAX_HELD:
            too_large()
        self._program.spend(size // _MATCH)
        result = super().call(input, values)
        self._program.read(result)
        return result


class _Added(Jsonata.JFunctionCallable):  # type: ignore[misc]
    """What a function of our own does, for the library."""

    def __init__(self, body: Body, program: Program) -> None:
        self._body, self._program = body, program

    def call(self, input: Any, args: Sequence[Any] | None) -> Any:
        values = list(args or ())
        self._program.read(values)
        try:
            return self._body(self._program, *values)
        except Invalid as wrong:
            raise OutOfBounds(str(wrong)) from None


def functions_for(program: Program) -> dict[str, Any]:
    """All functions by name, for one expression."""
    bounded = {
        name: _Bounded(program, native, _EXPECTED.get(name)) for name, native in Jsonata.static_frame.bindings.items()
    }
    added = {name: Jsonata.JFunction(_Added(body, program), signature) for name, (signature, body) in _ADDED.items()}
    return {**bounded, **added, "eval": None}


# ----------------------------------------------------------------------------------------- sizes of results, in bytes


def _pad(text: Any, width: Any = 0, *_: Any) -> int:
    return int(abs(width)) if isinstance(width, int | float) else 0


def _join(texts: Any, separator: Any = "", *_: Any) -> int:
    return len(texts) * len(separator) if isinstance(texts, list) and isinstance(separator, str) else 0


def _replace(text: Any, pattern: Any = None, replacement: Any = None, *_: Any) -> int:
    if not isinstance(text, str) or not isinstance(replacement, str):
        return 0
    if isinstance(pattern, str):
        return text.count(pattern) * len(replacement) if pattern else 0
    if not _regular(pattern):
        return 0
    lengths = [len(match.group(0)) for match in _matches(pattern, text)]
    return len(lengths) * max(len(replacement), _MATCH) + sum(lengths) * replacement.count("$")


def _format_integer(number: Any, picture: Any = "", *_: Any) -> int:
    """Roman numerals grow with the number; its name in words ten times as long with 73 more digits (measured)."""
    if not isinstance(picture, str) or not isinstance(number, int | float):
        return 0
    size = abs(number) / 1000 if picture[:1] in ("I", "i") else 0
    return int(150 * abs(number) ** (1 / 73) if picture[:1] in ("W", "w") else size)


def _to_millis(text: Any, picture: Any = None, *_: Any) -> int:
    """Too large when the library's own pattern could take too long."""
    if not isinstance(picture, str) or not isinstance(text, str):
        return 0
    long = len(text) > MAX_TIME_TEXT or picture.count("[") > MAX_TIME_PARTS
    return MAX_HELD + 1 if long else 0


def _distinct(values: Any, *_: Any) -> int:
    """It compares each with each."""
    return len(values) ** 2 // 8 if isinstance(values, list) else 0


def _match(text: Any, pattern: Any = None, *_: Any) -> int:
    """A match, or a part of the text, is a value of its own."""
    return _MATCH * sum(1 for _match in _matches(pattern, text)) if isinstance(text, str) and _regular(pattern) else 0


def _matches(pattern: Any, text: str) -> Iterator[Any]:
    """The matches, up to the first that is too many."""
    return islice(pattern.finditer(text), MAX_HELD // _MATCH + 1)


def _regular(pattern: Any) -> bool:
    return hasattr(pattern, "finditer")


_EXPECTED: Final[dict[str, Callable[..., int]]] = {
    "match": _match,
    "split": _match,
    "pad": _pad,
    "join": _join,
    "replace": _replace,
    "formatInteger": _format_integer,
    "toMillis": _to_millis,
    "distinct": _distinct,
}


# ----------------------------------------------------------------------------------------------- functions of our own


def _chance(program: Program) -> bytes:
    program.draws += 1
    return drawn(program.context, f"{program.place}#{program.draws}")


def _partition(_: Program, array: Any = None, size: Any = None) -> Any:
    return None if array is None else functions.array_partition(array, size)


def _range(_: Program, first: Any = None, last: Any = None, step: Any = None) -> Any:
    """A sequence, of which a single value comes out alone, as AWS was recorded to do."""
    return Utils.create_sequence_from_iter(functions.array_range(first, last, step))


def _hash(_: Program, data: Any = None, algorithm: Any = None) -> Any:
    return None if data is None else functions_text.hashed(data, algorithm)


def _random(program: Program, seed: Any = None) -> float:
    if seed is not None:
        return functions.java_random_double(functions.whole(seed, "the first argument"))
    return int.from_bytes(_chance(program)[:7]) % 2**53 / 2**53


def _uuid(program: Program) -> str:
    return functions.uuid(_chance(program))


def _parse(_: Program, text: Any = None) -> Any:
    if text is None:
        return None
    value = functions_text.string_to_json(text)
    return Utils.NULL_VALUE if value is None else value


def _shuffle(program: Program, array: Any = None) -> Any:
    if array is None:
        return None
    mixed = list(array)
    for end in range(len(mixed) - 1, 0, -1):
        at = int.from_bytes(_chance(program)) % (end + 1)
        mixed[end], mixed[at] = mixed[at], mixed[end]
    return mixed


def _millis(program: Program) -> int:
    entered = program.context.get("State", {}).get("EnteredTime")
    return round(datetime.fromisoformat(entered).timestamp() * 1000) if entered else 0


def _now(program: Program, picture: Any = None, timezone: Any = None) -> Any:
    return Functions.datetime_from_millis(_millis(program), picture, timezone)


_ADDED: Final[dict[str, tuple[str | None, Body]]] = {
    "partition": ("<an:a>", _partition),
    "range": ("<nnn:a>", _range),
    "hash": ("<xs:s>", _hash),
    "random": ("<n?:n>", _random),
    "uuid": ("<:s>", _uuid),
    "parse": ("<s:x>", _parse),
    "shuffle": ("<a:a>", _shuffle),
    "millis": ("<:n>", _millis),
    "now": ("<s?s?:s>", _now),
}
