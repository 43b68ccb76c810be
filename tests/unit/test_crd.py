"""The CRD: generated from the model, and in keeping with the Kubernetes API conventions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml

from maprun.core.rules import RULES
from maprun.core.rules_edit import EDIT_RULES
from maprun.fields import Model
from maprun.model import LIVE, MUTABLE, MapRunSpec
from maprun.model_processing import Retrier
from maprun.model_status import MapRunStatus, Status
from tools import crd

DEFINITION = crd.definition()
ROOT = DEFINITION["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
OPAQUE = "x-kubernetes-preserve-unknown-fields"
UPPER_SNAKE = re.compile(r"^[A-Z][A-Z0-9_]*$")
UPPER_CAMEL = re.compile(r"^([A-Z][a-z0-9]+)+$")
CALL = re.compile(r"^((arn:aws:states:::)?s3:[a-z][A-Za-z0-9]*|configmap|secret)$")
LANGUAGE = re.compile(r"^JSON(Path|ata)$")  # as AWS writes them


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Every field below a schema: its path, its schema, and whether it is an element of a list (which has no name)."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}", inner, False
        yield from fields(inner, f"{path}.{name}")
    if "items" in schema:
        yield f"{path}[]", schema["items"], True
        yield from fields(schema["items"], f"{path}[]")


SPEC, STATUS = ROOT["properties"]["spec"], ROOT["properties"]["status"]
SPEC_FIELDS = list(fields(SPEC, "spec"))
ALL_FIELDS = [("spec", SPEC, False), *SPEC_FIELDS, ("status", STATUS, False), *fields(STATUS, "status")]
every_field = pytest.mark.parametrize(
    ("schema", "element"), [pytest.param(schema, element, id=path) for path, schema, element in ALL_FIELDS]
)
every_spec_field = pytest.mark.parametrize("schema", [pytest.param(schema, id=path) for path, schema, _ in SPEC_FIELDS])


def test_the_file_is_the_one_that_the_model_gives() -> None:
    assert crd.TARGET.read_text() == crd.render(), "run `make generate`"


def test_the_file_is_plain_yaml() -> None:
    assert yaml.safe_load(crd.render()) == DEFINITION


@every_field
def test_a_field_has_a_description_in_sentences(schema: dict[str, Any], element: bool) -> None:
    assert element or re.fullmatch(r"[A-Za-z$].*\.", schema["description"])


@every_field
def test_a_field_has_a_type_or_is_any_json(schema: dict[str, Any], element: bool) -> None:
    types = {"string", "integer", "boolean", "array", "object"}
    assert schema.get("type") in types or schema.get(OPAQUE) or schema.get("x-kubernetes-int-or-string")


@every_field
def test_a_string_a_list_and_a_number_are_bounded(schema: dict[str, Any], element: bool) -> None:
    match schema.get("type"):
        case "string":
            assert "maxLength" in schema or "enum" in schema
        case "array":
            assert "maxItems" in schema
            assert schema["x-kubernetes-list-type"] in {"atomic", "map"}
        case "integer":
            assert "minimum" in schema
            assert schema["format"] in {"int32", "int64"}
        case None:
            assert OPAQUE in schema or {"minimum", "maximum", "maxLength", "pattern"} <= schema.keys()


@every_field
def test_an_object_is_written_out_or_kept_as_it_is(schema: dict[str, Any], element: bool) -> None:
    if schema.get("type") == "object":
        assert schema.get("properties") or schema.get(OPAQUE)
        assert set(schema.get("required", [])) <= schema.get("properties", {}).keys()
        assert "additionalProperties" not in schema


@every_field
def test_a_field_is_either_required_or_has_its_default_written_down(schema: dict[str, Any], element: bool) -> None:
    for name in schema.get("required", []):
        assert "default" not in schema["properties"][name]
    assert schema.get("default", "") is not None


@every_field
def test_enum_values_are_those_of_aws_or_in_the_case_of_kubernetes(schema: dict[str, Any], element: bool) -> None:
    values = schema.get("enum", [])
    assert any(all(form.match(value) for value in values) for form in (UPPER_SNAKE, UPPER_CAMEL, CALL, LANGUAGE))


@every_spec_field
def test_a_description_says_the_default(schema: dict[str, Any]) -> None:
    default = schema.get("default")
    if default in (None, "", [], {}) or len(schema.get("enum", [])) == 1:
        return
    shown = default if isinstance(default, str) else json.dumps(default) if default in (True, False) else f"{default:,}"
    assert re.search(rf'Default "?{re.escape(shown)}"?|{re.escape(shown)} \(default\)', schema["description"])


@pytest.mark.parametrize(
    "field", [field for field in msgspec.structs.fields(Retrier) if field.default not in (msgspec.NODEFAULT, None)]
)
def test_a_default_that_only_the_operator_fills_in_is_said_too(field: msgspec.structs.FieldInfo) -> None:
    """Those inside a list: see Rule 4 of tools/crd.py."""
    path = f"spec.itemProcessor.retry[].{field.encode_name}"
    schema = next(schema for place, schema, _ in SPEC_FIELDS if place == path)
    assert re.search(rf'Default "?{field.default}"?|{field.default} \(default\)', schema["description"])


def test_a_list_is_taken_as_it_is_written() -> None:
    assert [path for path, schema, _ in ALL_FIELDS if "[]" in path and "default" in schema] == []


@every_field
def test_the_users_own_json_is_one_value_where_its_type_is_known(schema: dict[str, Any], element: bool) -> None:
    own = schema.get("type") == "object" and OPAQUE in schema
    assert schema.get("x-kubernetes-map-type") == ("atomic" if own else None)


def test_no_description_speaks_of_papers_that_users_do_not_have() -> None:
    assert not re.search(r"§|design|aws-distributed-map", crd.render())


def test_there_is_no_category_for_a_single_kind() -> None:
    """`kubectl get all` must not show runs, nor `kubectl delete all` end them; one named maprun would be taken for the
    kind by `kubectl get maprun NAME` once it held two.
    """
    assert "categories" not in DEFINITION["spec"]["names"]


def test_one_version_is_served_and_stored() -> None:
    (version,) = DEFINITION["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    assert DEFINITION["spec"].get("conversion") is None


@every_spec_field
def test_a_description_says_the_largest_number(schema: dict[str, Any]) -> None:
    if schema.get("type") == "integer":
        assert f"{schema['maximum']:,}" in schema["description"]


def names(model: type[Model] | type[Status], path: str) -> Iterator[str]:
    """The paths of all fields of a struct, as the resource has them."""
    for field in msgspec.structs.fields(model):
        place = f"{path}.{field.encode_name}"
        yield place
        for inner, suffix in structs_in(field.type):
            yield from names(inner, place + suffix)


def structs_in(kind: Any, suffix: str = "") -> Iterator[tuple[type[Model] | type[Status], str]]:
    """The structs inside a type; `[]` behind those that are elements of a list."""
    if isinstance(kind, type) and issubclass(kind, Model | Status):
        yield kind, suffix
    for argument in getattr(kind, "__args__", ()):
        yield from structs_in(argument, "[]" if getattr(kind, "__origin__", None) is list else suffix)


@pytest.mark.parametrize(
    ("model", "path", "schema"), [(MapRunSpec, "spec", SPEC), (MapRunStatus, "status", STATUS)], ids=["spec", "status"]
)
def test_model_and_schema_have_the_same_fields(
    model: type[Model] | type[Status], path: str, schema: dict[str, Any]
) -> None:
    """Only inside a Job template does the schema know more than the model: it names what MapRun reads there."""
    written = {place for place, _, element in fields(schema, path) if not element and ".jobTemplate." not in place}
    assert written == set(names(model, path))


def test_every_rule_is_carried_just_once() -> None:
    carried = [
        (rule["rule"], rule["fieldPath"], rule["message"])
        for schema in [ROOT, *(schema for _, schema, _ in ALL_FIELDS)]
        for rule in schema.get("x-kubernetes-validations", [])
    ]
    assert len(set(carried)) == len(carried)
    for rule in [rule for rules in (*RULES.values(), EDIT_RULES) for rule in rules]:
        assert ((rule.cel, f".{rule.field}", rule.message) in carried) == bool(rule.cel)


def test_what_may_change_has_no_rule_against_it_and_the_rest_has_one() -> None:
    kept = {rule["fieldPath"][1:] for rule in SPEC["x-kubernetes-validations"] if "oldSelf" in rule["rule"]}
    # What has no type, CEL cannot see; the operator reads it once, when the run begins.
    untyped = {"input", "items", "itemSelector", "output"}
    assert SPEC["properties"].keys() - kept == MUTABLE | untyped
    for name in untyped:
        assert "A later change has no effect." in SPEC["properties"][name]["description"]


def test_what_means_something_to_a_run_on_its_way_only_is_kept_once_it_has_ended() -> None:
    kept = {rule["fieldPath"] for rule in ROOT["x-kubernetes-validations"] if "completionTime" in rule["rule"]}
    assert kept == {f".spec.{field}" for field in LIVE | {"abort"}}


@pytest.mark.parametrize(
    "union",
    [
        pytest.param([{"type": "integer"}, {"type": "boolean"}], id="an integer or a truth value"),
        pytest.param([{"type": "string"}, {"type": "object"}], id="a string or an object"),
    ],
)
def test_a_union_that_kubernetes_cannot_express_is_refused(union: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="no place for the union"):
        crd.structural({"anyOf": union}, {})


def test_the_check_tells_what_to_do_about_an_old_file(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(crd, "REPOSITORY", tmp_path)
    monkeypatch.setattr(crd, "TARGET", tmp_path / "crds" / "old.yaml")
    assert crd.main(["--check"]) == 1
    assert "run `make generate`" in capsys.readouterr().out
    assert crd.main([]) == 0
    assert crd.main(["--check"]) == 0
