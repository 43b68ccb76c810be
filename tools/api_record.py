"""The record of the API in tests/api: every field that users may rely on. `python -m tools.api_record` renews it.

Rule 1: one line a field, in the order of the CRD: its path, what a value of it must be, and the rules that judge it.
Rule 2: `narrowed` is the promise of docs/api.md as a program: what was accepted is accepted, and means the same.
Rule 3: what breaks the promise is recorded with `--incompatible` only, so that nobody does it by accident.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from maprun.model import VERSION
from tools import crd

Facts = dict[str, Any]
Record = dict[str, Facts]

TARGET: Final = crd.REPOSITORY / "tests" / "api" / f"{VERSION}.jsonl"
RESOURCE: Final = "(resource)"
SAME: Final = (
    "type",
    "format",
    "default",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
)
"""Of a field: what may not change at all. A default is what a spec means that leaves the field out."""
LEAST: Final = ("minimum", "minLength", "minItems")
MOST: Final = ("maximum", "maxLength", "maxItems")
ALLOWED: Final = ("nullable", crd.OPAQUE)
ELSE: Final = ("enum", "pattern")


def main(arguments: list[str]) -> int:
    """Renew the record; the exit code is 1, and nothing is written, when that would break the promise."""
    now = record(crd.definition())
    broken = list(narrowed(read(TARGET), now)) if TARGET.exists() else []
    if broken and arguments != ["--incompatible"]:
        print("Specs that were good would not be any more (docs/api.md):", *broken, sep="\n  ")
        return 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(written(now))
    return 0


def record(definition: crd.Schema) -> Record:
    """What a CustomResourceDefinition promises, by the path of the field; `(resource)` is about the resource itself."""
    spec = definition["spec"]
    version = spec["versions"][0]
    about = {"group": spec["group"], "version": version["name"], "scope": spec["scope"], **spec["names"]}
    schemas = dict(_schemas("", version["schema"]["openAPIV3Schema"], True))
    fields = {path: _facts(schema, required) for path, (schema, required) in schemas.items()}
    for path, (schema, _) in schemas.items():
        for rule in schema.get(crd.VALIDATIONS, []):
            fields[path + rule["fieldPath"]].setdefault("rules", []).append(rule["rule"])
    return {RESOURCE: about | {"subresources": sorted(version["subresources"])}} | fields


def _schemas(path: str, schema: crd.Schema, required: bool) -> Iterator[tuple[str, tuple[crd.Schema, bool]]]:
    yield path, (schema, required)
    for name, inner in schema.get("properties", {}).items():
        yield from _schemas(f"{path}.{name}", inner, name in schema.get("required", []))
    if "items" in schema:
        yield from _schemas(f"{path}[]", schema["items"], False)


def _facts(schema: crd.Schema, required: bool) -> Facts:
    kept = {key: schema[key] for key in (*SAME, *LEAST, *MOST, *ALLOWED, *ELSE) if key in schema}
    return kept | ({"required": True} if required else {})


def written(fields: Record) -> str:
    """The record as JSON Lines."""
    lines = (msgspec.json.encode({"field": path, **facts}) for path, facts in fields.items())
    return "".join(f"{line.decode()}\n" for line in lines)


def read(path: Path) -> Record:
    """The record in a file."""
    lines: list[Facts] = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    return {line.pop("field"): line for line in lines}


def narrowed(old: Mapping[str, Facts], new: Mapping[str, Facts]) -> Iterator[str]:
    """A sentence for everything that `old` accepts and `new` does not, or takes in another way."""
    for path, before in old.items():
        if path not in new:
            yield f"{path}: is gone"
        elif path == RESOURCE:
            yield from (f"{path}: {key} is another" for key in before if not _kept(before[key], new[path][key]))
        else:
            yield from (f"{path}: {words}" for words, broken in CHECKS if broken(before, new[path]))
    for path, after in new.items():
        if path not in old and after.get("required") and path.rpartition(".")[0] in old:
            yield f"{path}: is new, and required"


def _kept(before: str | list[str], after: str | list[str]) -> bool:
    return set(before) <= set(after) if isinstance(before, list) else before == after


def _lower(before: Facts, after: Facts) -> bool:
    return any(key in after and after[key] < before.get(key, after[key] + 1) for key in MOST)


def _higher(before: Facts, after: Facts) -> bool:
    return any(key in after and after[key] > before.get(key, 0) for key in LEAST)


CHECKS: Final[tuple[tuple[str, Callable[[Facts, Facts], bool]], ...]] = (
    ("its type, default or way to merge is another", lambda old, new: any(old.get(k) != new.get(k) for k in SAME)),
    ("became required", lambda old, new: bool(new.get("required")) and not old.get("required")),
    ("its upper bound is lower", _lower),
    ("its lower bound is higher", _higher),
    ("its pattern is another", lambda old, new: new.get("pattern") not in (None, old.get("pattern"))),
    ("a value is gone", lambda old, new: "enum" in new and not set(old.get("enum", [None])) <= set(new["enum"])),
    ("null or unknown fields are refused", lambda old, new: any(k in old and k not in new for k in ALLOWED)),
    ("has another rule", lambda old, new: not set(new.get("rules", [])) <= set(old.get("rules", []))),
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
