"""Variables of an execution (`Assign`), for evaluators that know only the input and the context object.

Rule 1: variables travel in the context object, under a name that AWS does not have, and only for states that read
        them: a state that shows its whole context shows none.
Rule 2: a path `$name.rest` reads them there: it is rewritten once, wherever a path may stand. A JSONata expression gets
        them bound around it.
Rule 3: an error quotes what the user wrote.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from maprun.core.intrinsics_grammar import PREFIX
from maprun.core.payload import SUFFIX
from maprun.model import QueryLanguage

KEY: Final = "Variables"

Variables = dict[str, Any]

_IN_CONTEXT: Final = f"$$.{KEY}."
_BEGIN, _THEN, _END = "(/*variables*/", "/*expression*/ ", "/*end*/)"
_AROUND: Final = re.compile(rf"{re.escape(_BEGIN)}.*?{re.escape(_THEN)}|{re.escape(_END)}", re.DOTALL)
_QUOTED_OR_READ: Final = re.compile(r"'(?:[^'\\]|\\.)*'|(?<!\$)\$(?=[A-Za-z_])")
_OPEN, _CLOSE = "{%", "%}"


def rewritten(template: Any, variables: Variables, language: QueryLanguage) -> Any:
    """A template or path whose variables are read from the context object; the same value where it reads none."""
    if language is QueryLanguage.JSONATA:
        return _bound(template, variables)
    return path(template) if isinstance(template, str) else _paths(template)


def path(text: str) -> str:
    """A path that begins with a variable, as one into the context object; another path, or no path, as it is."""
    return _IN_CONTEXT + text[1:] if re.match(r"\$[A-Za-z_]", text) else text


def quoted(cause: str) -> str:
    """The cause of an error, with what the user wrote in place of what was made of it."""
    return _AROUND.sub("", cause).replace(_IN_CONTEXT, "$").replace(f"$.{KEY}.", "$")


def context_for(rewritten: Any, context: dict[str, Any], variables: Variables) -> dict[str, Any]:
    """The context object for a template that was rewritten: with the variables, where it reads any."""
    if not variables:
        return context
    text = msgspec.json.encode(rewritten).decode()
    return {**context, KEY: variables} if _IN_CONTEXT in text or _BEGIN in text else context


def _paths(template: Any) -> Any:
    if isinstance(template, dict):
        return {
            key: _field(value) if key.endswith(SUFFIX) and isinstance(value, str) else _paths(value)
            for key, value in template.items()
        }
    return [_paths(value) for value in template] if isinstance(template, list) else template


def _field(text: str) -> str:
    if not text.startswith(PREFIX):
        return path(text)
    return _QUOTED_OR_READ.sub(lambda found: found[0] if found[0].startswith("'") else _IN_CONTEXT, text)


def _bound(template: Any, variables: Variables) -> Any:
    if isinstance(template, dict):
        return {key: _bound(value, variables) for key, value in template.items()}
    if isinstance(template, list):
        return [_bound(value, variables) for value in template]
    if not (isinstance(template, str) and template.startswith(_OPEN) and template.endswith(_CLOSE)):
        return template
    inner = template[len(_OPEN) : -len(_CLOSE)].strip()
    read = [name for name in variables if re.search(rf"\${re.escape(name)}(?![A-Za-z0-9_])", inner)]
    if not read:
        return template
    binding = "".join(f" ${name} := $states.context.{KEY}.`{name}`;" for name in read)
    return f"{_OPEN} {_BEGIN}{binding} {_THEN}{inner}{_END} {_CLOSE}"
