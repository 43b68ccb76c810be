"""Whether a found value is the recorded one, and if not, where they differ first.

Rule 1: JSON is compared as values, also where one side, or both, have it as a text.
Rule 2: placeholders match anything: `<…>`, whole or within a string; the words that recorders put in place of times and
        roles; `<absent>` matches only what is not there.
Rule 3: identities that each service makes up by itself match others of their kind: ARNs, UUIDs, times.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

ABSENT: Final = "<absent>"
SHOWN: Final = 160  # characters of a value in a difference
WORDS: Final = frozenset(
    "date datetime timestamp start-date stop-date snf_role_arn sfn_role_arn map_run_arn"
    " X-Amzn-Trace-Id x-amzn-RequestId RequestId".split()
)
_MISSING: Final = object()
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_TIME: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
_ARN: Final = r"arn:[^:\s\"']+:(?P<service>[a-z0-9-]*):[^:\s\"']*:[^:\s\"']*(?::(?P<kind>[A-Za-z-]+))?[:/][^\s\"'\\,}]+"
_VARYING: Final = re.compile(rf"(?P<placeholder><[^<>]*>)|(?P<arn>{_ARN})|(?P<uuid>{_UUID})|(?P<time>{_TIME})")


def difference(recorded: Any, found: Any) -> str | None:
    """The first difference, as `path: recorded …, found …`; None when the values match."""
    return next(differences(recorded, found, ""), None)


def differences(recorded: Any, found: Any, at: str) -> Iterator[str]:
    """All differences. `at` is the path of the values."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        names = sorted({*recorded, *found})
        yield from chain.from_iterable(
            differences(recorded.get(name, ABSENT), found.get(name, _MISSING), f"{at}.{name}") for name in names
        )
    elif isinstance(recorded, list) and isinstance(found, list):
        if len(recorded) != len(found):
            yield f"{at or '.'}: {len(recorded)} recorded, {len(found)} found: {shown(recorded)} and {shown(found)}"
        for index, (one, other) in enumerate(zip(recorded, found, strict=False)):
            yield from differences(one, other, f"{at}[{index}]")
    elif not _same(recorded, found):
        yield f"{at or '.'}: recorded {shown(recorded)}, found {shown(found)}"


def shown(value: Any) -> str:
    """A value for a line of the report."""
    if value is _MISSING:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def fits(recorded: str, found: str) -> bool:
    """Whether a string is the recorded one, but for its placeholders and identities."""
    return recorded == found or re.fullmatch(_pattern(recorded), found, re.DOTALL) is not None


def _same(recorded: Any, found: Any) -> bool:
    if found is _MISSING:
        return bool(recorded == ABSENT)
    if isinstance(recorded, str):
        return _anything(recorded) or (isinstance(found, str) and fits(recorded, found)) or _same_text(recorded, found)
    if isinstance(recorded, bool) or isinstance(found, bool):
        return recorded is found
    if isinstance(recorded, dict | list) and isinstance(found, str):
        inner = _parsed(found)
        return inner is not _MISSING and difference(recorded, inner) is None
    return bool(recorded == found)


def _anything(recorded: str) -> bool:
    return recorded in WORDS or (recorded != ABSENT and re.fullmatch(r"<[^<>]*>", recorded) is not None)


def _same_text(recorded: str, found: Any) -> bool:
    """The recorded side is JSON as a text (recorders parse objects, and leave arrays and scalars as they are)."""
    inner = _parsed(recorded)
    if inner is _MISSING:
        return False
    other = _parsed(found) if isinstance(found, str) and isinstance(inner, dict | list) else found
    return other is not _MISSING and not (isinstance(inner, str) and inner == recorded) and not difference(inner, other)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return _MISSING


def _pattern(recorded: str) -> str:
    parts, end = [], 0
    for found in _VARYING.finditer(recorded):
        parts += [re.escape(recorded[end : found.start()]), _instead(found)]
        end = found.end()
    return "".join([*parts, re.escape(recorded[end:])])


def _instead(found: re.Match[str]) -> str:
    if found["arn"]:
        kind = f":{found['kind']}" if found["kind"] else ""
        return rf"arn:[^:\s]+:{found['service']}:[^:\s]*:[^:\s]*{kind}[:/][^\s\"'\\,}}]+"
    if found["uuid"]:
        return r"[^/\s\"']+"
    return _TIME if found["time"] else ".*?"
