"""Filters of JSONPath, `[?(@.size > 10 && @.kind == 'a')]`: the part that jsonpath-ng reads as AWS does.

Rule 1: only what both understand in the same way gets through: existence of @.name, and comparisons of it with a
        literal or another @.name, joined by && || ! and parentheses. The rest is refused: literals on the left, regular
        expressions (their time has no bound), arithmetic, and the document ($) inside a filter.
Rule 2: an array is filtered by element. An object is kept or dropped as a whole, as AWS does; jsonpath-ng would filter
        its values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

STRING: Final = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
EXPRESSION: Final = rf"(?:[^'\"\[\]]|{STRING}|\[(?:[^'\"\[\]]|{STRING})*\])*"
"""A pattern for the text of a filter: it ends where its own quotes and brackets are closed."""

_TOKEN: Final = re.compile(
    rf"""\s*(?: (?P<operand>@(?:\.[A-Za-z_][\w-]*|\[\s*(?:{STRING}|-?\d+)\s*\])*)
      | (?P<comparison>==|!=|<=|>=|<|>)
      | (?P<literal>{STRING}|-?\d+(?:\.\d+)?(?![\w.])|(?:true|false|null)\b)
      | &&|\|\||[!()] ) \s*""",
    re.VERBOSE,
)

Step = Callable[[Any], Iterable[Any]]
"""A step of an indefinite path: the values that it leads to from one value."""


def step(expression: str) -> Step:
    """The step that keeps what `expression` (the text inside `?(…)`) holds for. ValueError when it is not supported."""
    # Loaded here: half of what a planning process takes to start, and few runs have a filter.
    from jsonpath_ng.exceptions import JSONPathError
    from jsonpath_ng.ext.parser import parse

    _check(expression)
    try:
        find = parse(f"$[?({expression})]").find
    except JSONPathError:
        raise ValueError(f"the filter ?({expression}) cannot be read") from None

    def kept(node: Any) -> Iterable[Any]:
        if not isinstance(node, (list, dict)):
            return ()
        return [match.value for match in find(node if isinstance(node, list) else [node])]

    return kept


def _check(expression: str) -> None:
    at, before = 0, None
    while at < len(expression):
        token = _TOKEN.match(expression, at)
        if not token or (token["literal"] and before != "comparison") or (token["comparison"] and before != "operand"):
            raise ValueError(
                f"the filter ?({expression}) is not supported from {expression[at : at + 40]!r} on; "
                "a filter compares @.name with a literal or with another @.name, joined by && and ||"
            )
        at, before = token.end(), token.lastgroup
