"""The bill of materials and the lock file behind it. That it names what the image has: tests/e2e/test_image.py."""

from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tools import sbom


def test_the_bill_is_valid_and_always_the_same() -> None:
    text = sbom.render()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert text == sbom.render()


def test_each_part_has_an_address_a_licence_and_a_hash_for_each_of_its_files() -> None:
    parts = json.loads(sbom.render())["components"]
    assert len(parts) > 40
    for part in parts:
        assert part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}"
        assert part["licenses"], part["name"]
        files = part["externalReferences"]
        assert 1 <= len(files) <= len(sbom.MACHINES), part["name"]
        assert all(len(each["hashes"][0]["content"]) == 64 for each in files), part["name"]


def test_it_says_what_needs_what() -> None:
    bill = json.loads(sbom.render())
    needs = {each["ref"].split("@")[0]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert any(part.startswith("pkg:pypi/botocore@") for part in needs["pkg:pypi/boto3"])
    direct = {part.split("@")[0].removeprefix("pkg:pypi/") for part in needs["pkg:pypi/maprun"]}
    assert {"kopf", "kubernetes", "boto3", "uvloop"} <= direct
    assert "botocore" not in direct


@pytest.mark.parametrize("machine", sbom.MACHINES)
def test_every_locked_package_has_a_wheel_for(machine: str) -> None:
    names = [package.name for package, _ in sbom.runtime_wheels(sbom.PYTHON, machine)]
    assert {"kopf", "kubernetes", "boto3", "uvloop", "zstandard"} <= set(names)


@pytest.mark.parametrize(
    ("python", "machine", "problem"),
    [("3.13", "s390x", "has no wheel for 3.13 on s390x"), ("3.99", "x86_64", "has no wheel for 3.99 on x86_64")],
    ids=["a machine that not every package is built for", "a Python that no package is built for"],
)
def test_where_a_package_would_have_to_be_built_it_is_an_error(python: str, machine: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        list(sbom.runtime_wheels(python, machine))
