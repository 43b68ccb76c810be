"""Case files: one recorded state machine each, with its inputs and what AWS answered.

Rule 1: every file of the folder is a case. One that cannot be read is a case that fails, never one that is missing.
Rule 2: a recording has placeholders where a name was secret or made up. In what we run, each becomes a name that may
        stand there; in what we compare, it matches anything (`matching`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import msgspec

_PLACEHOLDER: Final = re.compile(r"<[A-Za-z][^<>]*>")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
UNREADABLE: Final = "(unreadable)"  # area of a file that is no case


class Case(msgspec.Struct, frozen=True):
    """One case. Runs may name one of `definitions` by its place. `problem` tells why the file is no case."""

    name: str
    area: str
    definition: Any = None
    definitions: list[Any] = []
    inputs: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    problem: str = ""


def load(folder: Path, areas: Sequence[str] = ()) -> Iterator[Case]:
    """The cases of a folder (or of `cases` in it) whose area fits one of the patterns, by name. No pattern: all."""
    inner = folder / "cases"
    for file in sorted((inner if inner.is_dir() else folder).glob("*.json")):
        case = _read(file)
        if not areas or case.problem or any(fnmatchcase(case.area, pattern) for pattern in areas):
            yield case


def parse(fields: dict[str, Any], name: str = "") -> Case:
    """A case out of the plain data of its file."""
    case = msgspec.convert({"name": name, **fields, "inputs": fields.get("inputs") or {}}, Case)
    renamed = _buckets(case.inputs)
    return msgspec.structs.replace(
        case,
        definition=_mapped(_mapped(case.definition, _concrete), renamed),
        definitions=_mapped(_mapped(case.definitions, _concrete), renamed),
        inputs=_mapped(_mapped(case.inputs, _concrete), renamed),
        expected=_mapped(case.expected, renamed),
    )


def _read(file: Path) -> Case:
    try:
        return parse(json.loads(file.read_text()), file.stem)
    except (ValueError, TypeError, msgspec.ValidationError) as wrong:
        return Case(file.stem, UNREADABLE, problem=f"the file is no case: {wrong}")


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A value with each of its strings changed, but for the names in objects."""
    if isinstance(value, dict):
        return {key: _mapped(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mapped(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value


def _concrete(text: str) -> str:
    if not _PLACEHOLDER.fullmatch(text):
        return text
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _buckets(inputs: dict[str, Any]) -> Callable[[str], str]:
    """Gives the buckets of a case names that S3 would take (`bucket_name` is a recorder's placeholder)."""
    named = [*(inputs.get("s3_buckets") or ()), *(each["Bucket"] for each in inputs.get("s3_objects") or ())]
    wrong = {name for name in named if not _BUCKET.fullmatch(name) and not _PLACEHOLDER.fullmatch(name)}
    valid = {name: re.sub(r"[^a-z0-9.-]", "-", name.lower()) for name in wrong}

    def renamed(text: str) -> str:
        for name, new in valid.items():
            text = text.replace(name, new)
        return text

    return renamed
