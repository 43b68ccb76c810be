"""values.yaml, its schema, its README and the version say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

from tests.chart.rendering import CHART, Json, with_image
from tests.chart.value_sets import SETS
from tools import chart

TEXT: Final = (CHART / "values.yaml").read_text()
VALUES: Final = chart.values(TEXT)
SCHEMA: Final[Json] = json.loads((CHART / "values.schema.json").read_text())
FOR_PARENTS: Final = ["global", "enabled"]
"""Keys that Helm gives a chart which is part of another."""


def schema_of(path: str) -> Json:
    """The schema of a value, as it stands in its group."""
    found = SCHEMA
    for key in path.split("."):
        found = found["properties"][key]
    return found


def resolved(schema: Json) -> Json:
    """The schema that a reference leads to."""
    return SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


@pytest.mark.parametrize("value", [pytest.param(each, id=each.path) for each in VALUES])
def test_the_schema_knows_each_value(value: chart.Value) -> None:
    """A group lists its keys in their order, and no others; what is no group says its type."""
    schema = schema_of(value.path)
    if value.default:
        assert "properties" not in schema
        assert {"type", "oneOf"} & resolved(schema).keys()
        jsonschema.Draft7Validator({**schema, "definitions": SCHEMA["definitions"]}).validate(json.loads(value.default))
    else:
        assert (schema["type"], schema["additionalProperties"]) == ("object", False)
        assert list(schema["properties"]) == members(value.path)


def members(group: str) -> list[str]:
    """The keys of a group, in their order."""
    prefix = f"{group}." if group else ""
    below = [each.path.removeprefix(prefix) for each in VALUES if each.path.startswith(prefix) and each.path != group]
    return [path for path in below if "." not in path]


def test_the_schema_knows_no_other_value() -> None:
    assert SCHEMA["additionalProperties"] is False
    assert list(SCHEMA["properties"]) == FOR_PARENTS + members("")


def test_the_schema_is_of_the_kind_that_helm_reads() -> None:
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    used = set(re.findall(r"#/definitions/(\w+)", json.dumps(SCHEMA)))
    assert used == SCHEMA["definitions"].keys()


@pytest.mark.parametrize("values", [pytest.param(values, id=name) for name, values in SETS.items()])
def test_the_schema_accepts_what_users_have(values: Json) -> None:
    without_null = json.loads(
        json.dumps(with_image(values)), object_hook=lambda each: {k: v for k, v in each.items() if v is not None}
    )
    jsonschema.Draft7Validator(SCHEMA).validate(without_null)


@pytest.mark.parametrize("value", [pytest.param(each, id=each.path) for each in VALUES])
def test_a_sentence_is_one(value: chart.Value) -> None:
    assert value.sentence.endswith(".")
    assert value.sentence[0].isupper() or value.sentence[0] == "`"


def test_what_is_read_from_the_comments_is_what_helm_reads() -> None:
    read: dict[str, Any] = {}
    for each in VALUES:
        *groups, key = each.path.split(".")
        inside = read
        for group in groups:
            inside = inside[group]
        inside[key] = json.loads(each.default) if each.default else {}
    assert read == yaml.safe_load(TEXT)


@pytest.mark.parametrize("path", [each.path for each in VALUES])
def test_a_template_uses_each_value(path: str) -> None:
    """Itself or, below a name that a template reads whole, as a part of that."""
    used = any(re.search(rf"\.{re.escape(path)}\b", text) for text in TEMPLATES)
    within_image = path.startswith("image.")  # read in one breath: with .Values.image
    assert used or within_image


TEMPLATES: Final = [path.read_text().replace(".Values", "") for path in (CHART / "templates").iterdir()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("# A.\na: 1\nb: 2\n", "b has no sentence", id="a value"),
        pytest.param("# A.\na:\n  # B.\n  b: 1\n  c: 2\n", "a.c has no sentence", id="a member of a group"),
        pytest.param("# A.\n\na: 1\n", "a has no sentence", id="a comment further up"),
        pytest.param(
            "# A.\na:\n  # B.\n  b: 1\n# c.\n  c: 2\n", "a.c has no sentence", id="a comment in another column"
        ),
    ],
)
def test_a_value_without_a_sentence_is_told(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        chart.values(text)


def test_a_row_of_the_table_is_value_default_sentence() -> None:
    rows = chart.render_table(chart.values("# All of it.\na:\n  # One\n  # or | two.\n  b: {c: 1}\n")).splitlines()
    assert rows[2:] == ["| **`a`** | | **All of it.** |", r'| `a.b` | `{"c": 1}` | One or \| two. |']


@pytest.mark.parametrize(
    ("version", "semantic"),
    [
        ("0.1.0", "0.1.0"),
        ("0.1.0.dev0", "0.1.0-dev.0"),
        ("1.2.3a4", "1.2.3-alpha.4"),
        ("1.2.3b4", "1.2.3-beta.4"),
        ("1.2.3rc4", "1.2.3-rc.4"),
    ],
)
def test_the_version_in_its_other_form(version: str, semantic: str) -> None:
    assert chart.semantic(version) == semantic


@pytest.mark.parametrize("version", ["1.2", "1.2.3.post1", "1.2.3rc1.dev2"])
def test_a_version_without_another_form_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match="has no form in Semantic Versioning"):
        chart.semantic(version)


def test_readme_and_version_are_up_to_date() -> None:
    assert list(chart.outdated(chart.chart_files())) == [], "run `make generate`"


def test_an_old_file_is_told_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart, "REPOSITORY", tmp_path)
    folder = tmp_path / chart.DEPLOY
    folder.mkdir(parents=True)
    for name in ("old.yaml", "gone.yaml", chart.OWN.name):
        (folder / name).write_text("old")
    texts = {chart.DEPLOY / "old.yaml": "new", chart.DEPLOY / "missing.yaml": "new"}
    assert {path.name for path in chart.outdated(texts)} == {"old.yaml", "missing.yaml", "gone.yaml"}
    chart.written(texts)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "old.yaml": "new",
        "missing.yaml": "new",
        chart.OWN.name: "old",
    }
    assert list(chart.outdated(texts)) == []
