"""JSONPath as AWS evaluates it: `$` is the document, `$$` the context object.

Rule 1: a definite path (names and indexes only) gives the value it points at; nothing there is an error.
Rule 2: an indefinite path (wildcard, slice, several indexes, filter, descent) gives the list of its matches, or `[]`.
        But a step into an array that stands on something definite that is no array is an error, too.
Rule 3: a path is compiled once and kept; its length, and the work it may do on one document, are bounded.
Rule 4: the steps are our own, filters are jsonpath-ng's. For one path an item it is too slow, and where AWS fails on
        a step into something that is no array (recorded: `json_path_array_wildcard_or_slice_…`) it answers `[]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Final

import msgspec

from maprun.core import filters
from maprun.core.filters import EXPRESSION, STRING, Step
from maprun.errors import RunFailed, StatesError

MAX_LENGTH: Final = 1024  # characters of a path
MAX_MATCHES: Final = 1_000_000  # nodes that one evaluation may pass through

_INTEGER: Final = r"-?\d{1,9}"
_STEP: Final = re.compile(
    rf"""(?P<dots>\.\.?)? (?:
        (?P<bare> (?P<name>[^\s.\[\]()*,'"]+) | \* )
      | \[\s* (?:
            (?P<quoted>{STRING}) | (?P<wildcard>\*) | (?P<index>{_INTEGER})
          | (?P<union>{_INTEGER}(?:\s*,\s*{_INTEGER})+)
          | (?P<low>{_INTEGER})? \s*(?P<colon>:)\s* (?P<high>{_INTEGER})?
          | \?\(\s*(?P<filter>{EXPRESSION})\)
        ) \s*\]
    )""",
    re.VERBOSE,
)


class PathNotFound(RunFailed):
    """A definite path points at nothing. `path` is how AWS's errors about a field write it: `$` for `$$`, too.

    `beyond`: its last step is an index beyond the end of an array, which a payload template takes for null.
    """

    def __init__(self, path: str, detail: str, beyond: bool = False) -> None:
        super().__init__(StatesError.RUNTIME, f"Invalid path '{path}' : {detail}")
        self.path = _of_input(path)
        self.beyond = beyond


class Path(msgspec.Struct, frozen=True):
    """A compiled path. `prefix`: names and indexes up to the first indefinite step; `rest`: the steps from there on.

    `of_array` tells that the first step of `rest` needs an array.
    """

    text: str
    of_context: bool
    prefix: tuple[str | int, ...]
    rest: tuple[Step, ...] = ()
    of_array: bool = False

    def __call__(self, document: Any, context: Any) -> Any:
        """The value, or the list of matches. `PathNotFound` when there is nothing at a definite path."""
        node = context if self.of_context else document
        for at, step in enumerate(self.prefix):
            try:
                node = _child(node, step)
            except LookupError:
                return self._nothing(at, isinstance(step, str), isinstance(node, list))
        return self._matches(node) if self.rest else node

    def _nothing(self, at: int, named: bool, in_array: bool) -> list[Any]:
        """No match, where the path is indefinite and something is only missing; else the error in AWS's words."""
        if self.rest and (named or in_array):
            return []
        if at + 1 == len(self.prefix):
            raise PathNotFound(self.text, f"No results for path: {_normal(self.prefix)}", in_array and not named)
        raise PathNotFound(self.text, f"Missing property in path {_normal(self.prefix[: at + 1])}")

    def _matches(self, node: Any) -> list[Any]:
        if self.of_array and not isinstance(node, list):
            raise PathNotFound(self.text, f"{_normal(self.prefix)} is not an array")
        nodes, left = [node], MAX_MATCHES
        for step in self.rest:
            nodes = list(islice(chain.from_iterable(map(step, nodes)), left + 1))
            left -= len(nodes)
            if left < 0:
                message = f"The JSONPath '{self.text}' passes through more than {MAX_MATCHES:,} values of its input"
                raise RunFailed(StatesError.RUNTIME, message)
        return nodes


def evaluate(path: str, document: Any, context: Any = None) -> Any:
    """What `path` gives in `document` (`$`) or `context` (`$$`): the value at a definite path, else the matches.

    Errors, all `States.Runtime`: `PathNotFound`; `RunFailed` for a malformed path, and for one that is too much work.
    """
    return compile_path(path)(document, context)


def reference(path: str, document: Any, context: Any = None) -> list[Any] | dict[str, Any]:
    """The items at `itemsPath`: an array or an object (§2.2). `RunFailed` with `States.Runtime` for anything else."""
    items = evaluate(path, document, context)
    if not isinstance(items, (list, dict)):
        raise RunFailed(StatesError.RUNTIME, f'Reference path "{_of_input(path)}" must point to array.')
    return items


def problem_in(path: str) -> str | None:
    """What is wrong with the syntax of `path`, None when nothing is; the sentence goes on from the name of a field."""
    try:
        compile_path(path)
    except RunFailed as failed:
        return failed.failure.cause
    return None


def problem_in_reference(path: str) -> str | None:
    """The same for a reference path: only names and indexes, so that it points at one place."""
    return problem_in(path) or (
        f"Invalid path '{path}' : a reference path has only names and indexes" if compile_path(path).rest else None
    )


@lru_cache(maxsize=4096)
def compile_path(path: str) -> Path:
    """The path, ready for use. `RunFailed` with `States.Runtime` when it is malformed or not supported."""
    try:
        return _parse(path)
    except ValueError as wrong:
        raise RunFailed(StatesError.RUNTIME, f"Invalid path '{path[:MAX_LENGTH]}' : {wrong}") from None


def _parse(text: str) -> Path:
    if len(text) > MAX_LENGTH:
        raise ValueError(f"it is longer than {MAX_LENGTH:,} characters")
    if not text.startswith("$"):
        raise ValueError("it must begin with $ (the input) or $$ (the context object)")
    prefix: list[str | int] = []
    rest: list[Step] = []
    of_array = False
    for match in _steps(text, at := 2 if text.startswith("$$") else 1):
        plain = _plain(match)
        if plain is not None and not rest and match["dots"] != "..":
            prefix.append(plain)
            continue
        if match["dots"] == "..":
            rest.append(_descend)
        of_array = of_array or (not rest and bool(match["union"] or match["colon"]))
        rest.append(_indefinite(match) if plain is None else _member(plain))
    return Path(text, at == 2, tuple(prefix), tuple(rest), of_array)


def end_of(text: str, at: int) -> int:
    """Where the path that begins at `at` ends in a longer text: behind the last of its steps."""
    at += 2 if text.startswith("$$", at) else 1
    while match := _step(text, at):
        at = match.end()
    return at


def _steps(text: str, at: int) -> Iterator[re.Match[str]]:
    while at < len(text):
        match = _step(text, at)
        if not match:
            raise ValueError(f"{text[at : at + 40]!r} at character {at + 1} is not a step that is supported")
        yield match
        at = match.end()


def _step(text: str, at: int) -> re.Match[str] | None:
    match = _STEP.match(text, at)
    return None if match and match["bare"] and not match["dots"] else match


def _plain(match: re.Match[str]) -> str | int | None:
    """The name or index of a step that is one."""
    if match["index"]:
        return int(match["index"])
    return re.sub(r"\\(.)", r"\1", match["quoted"][1:-1]) if match["quoted"] else match["name"]


def _indefinite(match: re.Match[str]) -> Step:
    if match["colon"]:
        return _slice(*(int(match[name]) if match[name] else None for name in ("low", "high")))
    if match["union"]:
        return _union([int(each) for each in match["union"].split(",")])
    return _everything if match["filter"] is None else filters.step(match["filter"])


def _normal(steps: Iterable[str | int]) -> str:
    """A path as AWS writes it in errors: `$['a'][0]`."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f"['{step}']" for step in steps)


def _of_input(path: str) -> str:
    """AWS prints a path into the context object without its first $ (recorded: `state_map_context_object_ALL`)."""
    return path.replace("$$", "$", 1) if path.startswith("$$") else path


def _child(node: Any, step: str | int) -> Any:
    """What lies at a name or index; LookupError when nothing does, also because `node` has no names or no indexes."""
    if isinstance(step, int):
        if isinstance(node, list):
            return node[step]
    elif isinstance(node, dict):
        return node[step]
    raise LookupError


def _member(name: str | int) -> Step:
    if isinstance(name, int):
        return _union([name])
    return lambda node: (node[name],) if isinstance(node, dict) and name in node else ()


def _union(indexes: list[int]) -> Step:
    def members(node: Any) -> Iterable[Any]:
        size = len(node) if isinstance(node, list) else 0
        return (node[index] for index in indexes if -size <= index < size)

    return members


def _slice(low: int | None, high: int | None) -> Step:
    return lambda node: node[low:high] if isinstance(node, list) else ()


def _everything(node: Any) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def _descend(node: Any) -> Iterator[Any]:
    """The node and all below it, each before its own children."""
    ahead = [node]
    while ahead:
        node = ahead.pop()
        yield node
        ahead.extend(reversed([*_everything(node)]))
