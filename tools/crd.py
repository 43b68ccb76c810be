"""Writes crds/maprun.dev_mapruns.yaml and the chart's copy of it from the model: `python -m tools.crd`, or `--check` to
fail when a file is old.

Rule 1: fields come from `maprun.model` and `maprun.model_status`, rules from `maprun.core.rules`; only what
        Kubernetes itself wants (names, printer columns, how lists merge) is written here.
Rule 2: the schema is structural: references are written out, null is left out (a field is optional instead), and every
        list says how it merges.
Rule 3: the same model gives the same bytes.
Rule 4: there is no default inside a list. A list is one value to those who apply it: one that the API server filled in
        differs from the one in the file, so that GitOps tools see a drift and a second applier a conflict, for ever.
Rule 5: the user's own JSON is one value too, wherever its type can be told.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from maprun.core.rule import NAME, Rule
from maprun.core.rules import RULES
from maprun.core.rules_edit import EDIT_RULES
from maprun.model import API_VERSION, GROUP, KIND, MUTABLE, PLURAL, VERSION, MapRunSpec
from maprun.model_status import MapRunStatus

Schema = dict[str, Any]

REPOSITORY: Final = Path(__file__).resolve().parents[1]
TARGET: Final = REPOSITORY / "crds" / f"{GROUP}_{PLURAL}.yaml"
CHART_FILES: Final = Path("charts/maprun/files")
"""The chart has its own copy: Helm packs nothing from outside a chart's folder."""
HEADER: Final = "# Written by `make generate` from the model in operator/maprun; change it there.\n"
VALIDATIONS: Final = "x-kubernetes-validations"
OPAQUE: Final = "x-kubernetes-preserve-unknown-fields"
INT32: Final = 2**31 - 1
DROPPED: Final = ("title", "additionalProperties")
"""Not in a structural schema: unknown fields are pruned, or refused when the client asks for it, as kubectl does."""

SUMMARY: Final = ".status.conditions[?(@.type=='Succeeded')].reason"
COLUMNS: Final = (
    # name, type, path, priority (1: only in the wide form), description
    ("Status", "string", SUMMARY, 0, "Where the run stands, or how it ended."),
    ("Total", "integer", ".status.itemCounts.total", 0, "Items in all."),
    ("Running", "integer", ".status.itemCounts.running", 0, "Items running now."),
    ("Succeeded", "integer", ".status.itemCounts.succeeded", 0, "Items that succeeded."),
    ("Failed", "integer", ".status.itemCounts.failed", 0, "Items that failed."),
    ("Age", "date", ".metadata.creationTimestamp", 0, "Time since the run was created."),
    ("Pending", "integer", ".status.itemCounts.pending", 1, "Items that wait."),
    ("Concurrency", "integer", ".status.maxConcurrency", 1, "Most child executions at once."),
    ("Retries", "integer", ".status.retries", 1, "Attempts beyond the first."),
    ("Redrives", "integer", ".status.redriveCount", 1, "How often the run was redriven."),
    ("Results", "string", ".status.resultWriterDetails.key", 1, "Key of the manifest."),
)


def main(arguments: list[str]) -> int:
    """Write the CRD, or with `--check` compare it; the exit code is 1 when a file differs."""
    text, old = render(), False
    for target in (TARGET, REPOSITORY / CHART_FILES / TARGET.name):
        if arguments != ["--check"]:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        differs = not target.exists() or target.read_text() != text
        told = "does not match the model: run `make generate`" if differs else "matches the model"
        print(f"{target.relative_to(REPOSITORY)} {told}")
        old |= differs
    return int(old)


def render() -> str:
    """The CRD as YAML."""
    return HEADER + yaml.dump(definition(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes equal values out twice instead of by reference."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def definition() -> Schema:
    """The CustomResourceDefinition."""
    columns = [
        {"name": name, "type": kind, "jsonPath": path, "priority": priority, "description": description}
        for name, kind, path, priority, description in COLUMNS
    ]
    names = {"kind": KIND, "listKind": f"{KIND}List", "plural": PLURAL, "singular": KIND.lower()}
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": root()},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {**names, "shortNames": ["mr"]},
            "versions": [version],
        },
    }


def root() -> Schema:
    """The schema of the whole resource."""
    _, components = msgspec.json.schema_components([MapRunSpec, MapRunStatus], ref_template="{name}")
    spec, status = (structural({"$ref": name}, components) for name in ("MapRunSpec", "MapRunStatus"))
    spec[VALIDATIONS] = [*spec.get(VALIDATIONS, []), *immutability(spec)]
    return {
        "type": "object",
        "description": "One execution of a distributed map: a child execution for each item of a dataset.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {
                "type": "string",
                "description": f"Version of this resource: {API_VERSION}.",
                "maxLength": 63,
            },
            "kind": {"type": "string", "description": f"Kind of this resource: {KIND}.", "maxLength": 63},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": spec,
            "status": status,
        },
        VALIDATIONS: [validation(NAME), *map(validation, EDIT_RULES)],
    }


def structural(schema: Schema, components: dict[str, Schema], dropped: tuple[str, ...] = DROPPED) -> Schema:
    """A JSON schema as Kubernetes wants it, without the `dropped` keys; `components` are what its references name."""
    schema = written_out(schema, components)
    result = {key: value for key, value in schema.items() if key not in dropped and (key, value) != ("default", None)}
    if not result.get("required", True):
        del result["required"]
    if "properties" in result:
        fields = result["properties"].items()
        result["properties"] = {name: structural(inner, components, dropped) for name, inner in fields}
    if "items" in result:
        result["items"] = structural(result["items"], components, (*DROPPED, "default"))
        result.setdefault("x-kubernetes-list-type", "atomic")
    if result.get("type") == "object" and OPAQUE in result:
        result["x-kubernetes-map-type"] = "atomic"
    if result.get("type") == "integer":
        result["format"] = "int32" if result.get("maximum", INT32 + 1) <= INT32 else "int64"
    return result


def written_out(schema: Schema, components: dict[str, Schema]) -> Schema:
    """The schema without references, and without null as an alternative."""
    if "$ref" in schema:
        schema = component(schema["$ref"], components) | {key: schema[key] for key in schema if key != "$ref"}
    if "anyOf" not in schema:
        return schema
    own = {key: value for key, value in schema.items() if key != "anyOf"}
    choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
    if len(choices) == 1:
        return written_out({**choices[0], **own}, components)
    return {**own, **int_or_string(choices)}


def component(name: str, components: dict[str, Schema]) -> Schema:
    """The schema of a struct or an enum, with the rules of the struct."""
    schema = dict(components[name])
    if "enum" in schema:
        schema["type"] = "string"
    rules = [rule for kind, table in RULES.items() if kind.__name__ == name for rule in table if rule.cel]
    if rules:
        schema[VALIDATIONS] = [validation(rule) for rule in rules]
    return schema


def int_or_string(choices: list[Schema]) -> Schema:
    """The one union that Kubernetes knows; the bounds of either side hold for that side only."""
    if [choice["type"] for choice in choices] != ["integer", "string"]:
        raise ValueError(f"a structural schema has no place for the union {choices}")
    bounds = {key: value for choice in choices for key, value in choice.items() if key != "type"}
    return {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True, **bounds}


def validation(rule: Rule[Any]) -> Schema:
    """A rule as the API server reads it."""
    return {"rule": rule.cel, "fieldPath": f".{rule.field}", "message": rule.message}


def immutability(spec: Schema) -> Iterator[Schema]:
    """A rule for each field of the spec that may not change."""
    changeable = ", ".join(sorted(MUTABLE))
    for name, schema in spec["properties"].items():
        if name in MUTABLE or "type" not in schema:
            continue
        same = f"self.{name} == oldSelf.{name}"
        if "default" not in schema and name not in spec["required"]:
            same = f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || {same})"
        yield {
            "rule": same,
            "fieldPath": f".{name}",
            "message": f"cannot be changed; only {changeable} can. To run something else, create another MapRun",
        }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
