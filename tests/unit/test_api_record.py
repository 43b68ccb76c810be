"""The promise of docs/api.md: what one release accepts, the next one accepts, and it means the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools import api_record, crd
from tools.api_record import Record, narrowed, record

Schema = dict[str, Any]
DEFINITION = crd.definition()
NOW = record(DEFINITION)


def test_nothing_that_was_promised_is_gone_or_narrower() -> None:
    assert list(narrowed(api_record.read(api_record.TARGET), NOW)) == []


def test_the_record_knows_every_field_that_there_is() -> None:
    text = api_record.TARGET.read_text()
    assert text == api_record.written(NOW), "fields came to the API: `python -m tools.api_record` records them"


def after(change: Callable[[Schema], object]) -> Record:
    """What the API promises after a change of the spec's schema."""
    definition = copy.deepcopy(DEFINITION)
    change(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
    return record(definition)


def reader(spec: Schema) -> Schema:
    return fields(fields(spec)["itemReader"])


def fields(schema: Schema) -> Schema:
    found: Schema = schema["properties"]
    return found


def rule(text: str, field: str) -> Schema:
    return {"rule": text, "fieldPath": field, "message": "must be so"}


TEXT = {"type": "string", "maxLength": 9}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(lambda spec: fields(spec).pop("input"), ".spec.input: is gone", id="a field is taken away"),
        pytest.param(
            lambda spec: reader(spec)["resource"]["enum"].remove("s3:getObject"),
            ".spec.itemReader.resource: a value is gone",
            id="a value of an enum is taken away",
        ),
        pytest.param(
            lambda spec: fields(spec)["label"].update(enum=["a"]),
            ".spec.label: a value is gone",
            id="what was any string becomes an enum",
        ),
        pytest.param(
            lambda spec: fields(spec)["maxConcurrency"].update(maximum=9_999),
            ".spec.maxConcurrency: its upper bound is lower",
            id="an upper bound sinks",
        ),
        pytest.param(
            lambda spec: fields(fields(spec)["itemProcessor"])["timeoutSeconds"].update(minimum=2),
            ".spec.itemProcessor.timeoutSeconds: its lower bound is higher",
            id="a lower bound rises",
        ),
        pytest.param(
            lambda spec: fields(spec)["itemsPath"].update(default="$.a"),
            ".spec.itemsPath: its type, default or way to merge is another",
            id="a default changes",
        ),
        pytest.param(
            lambda spec: fields(spec)["resultSelector"].pop("x-kubernetes-map-type"),
            ".spec.resultSelector: its type, default or way to merge is another",
            id="a map merges in another way",
        ),
        pytest.param(
            lambda spec: fields(spec)["label"].update(pattern="^a"),
            ".spec.label: its pattern is another",
            id="a pattern comes",
        ),
        pytest.param(
            lambda spec: spec["required"].append("label"), ".spec.label: became required", id="a field becomes required"
        ),
        pytest.param(
            lambda spec: fields(spec)["input"].pop("nullable"),
            ".spec.input: null or unknown fields are refused",
            id="null is refused",
        ),
        pytest.param(
            lambda spec: spec["x-kubernetes-validations"].append(rule("self.label != 'a'", ".label")),
            ".spec.label: has another rule",
            id="a rule comes to an old field",
        ),
        pytest.param(
            lambda spec: (fields(spec).update(new=TEXT), spec["required"].append("new")),
            ".spec.new: is new, and required",
            id="a new field is required",
        ),
    ],
)
def test_what_takes_something_from_users_is_found(change: Callable[[Schema], object], problem: str) -> None:
    assert list(narrowed(NOW, after(change))) == [problem]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda spec: fields(spec).update(new=TEXT), id="a field comes"),
        pytest.param(
            lambda spec: (
                fields(spec).update(new=TEXT),
                spec["x-kubernetes-validations"].append(rule("self.new == oldSelf.new", ".new")),
            ),
            id="a field comes, with a rule for it",
        ),
        pytest.param(
            lambda spec: fields(spec).update(
                new={"type": "object", "properties": {"inner": TEXT}, "required": ["inner"]}
            ),
            id="an object comes that needs a field",
        ),
        pytest.param(lambda spec: fields(spec)["maxConcurrency"].update(maximum=20_000), id="an upper bound rises"),
        pytest.param(lambda spec: fields(spec)["label"].pop("minLength"), id="a lower bound goes"),
        pytest.param(lambda spec: reader(spec)["resource"]["enum"].append("s3:listObjects"), id="a value comes"),
        pytest.param(lambda spec: fields(spec)["itemsPath"].pop("pattern"), id="a pattern goes"),
        pytest.param(lambda spec: spec["x-kubernetes-validations"].pop(), id="a rule goes"),
        pytest.param(lambda spec: fields(spec)["label"].update(description="New words."), id="a description changes"),
    ],
)
def test_what_gives_something_to_users_is_no_problem(change: Callable[[Schema], object]) -> None:
    assert list(narrowed(NOW, after(change))) == []


def test_names_of_the_resource_stay_and_more_may_come() -> None:
    more = copy.deepcopy(DEFINITION)
    more["spec"]["names"]["shortNames"].append("mapr")
    other = copy.deepcopy(DEFINITION)
    other["spec"]["scope"] = "Cluster"
    assert list(narrowed(NOW, record(more))) == []
    assert list(narrowed(NOW, record(other))) == ["(resource): scope is another"]


def test_a_record_with_less_is_written_on_purpose_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "api" / "record.jsonl"
    monkeypatch.setattr(api_record, "TARGET", target)
    target.parent.mkdir()
    more = api_record.written(NOW | {".spec.gone": {"type": "string"}})
    target.write_text(more)
    assert api_record.main([]) == 1
    assert ".spec.gone: is gone" in capsys.readouterr().out
    assert target.read_text() == more
    assert api_record.main(["--incompatible"]) == 0
    assert api_record.read(target) == NOW
