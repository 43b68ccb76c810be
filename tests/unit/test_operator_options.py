"""What the operator is told by flags and by the environment arrives as its settings."""

from __future__ import annotations

from typing import Any, Final

import pytest
from typer.testing import CliRunner

from maprun.cli import operate
from maprun.cli.app import app
from maprun.errors import MapRunError
from maprun.settings import OperatorSettings, check

LISTED: Final = ("https://s3.example.com", "http://minio.example.com:9000")


def told(monkeypatch: pytest.MonkeyPatch, arguments: list[str], environment: dict[str, str]) -> OperatorSettings:
    """The settings that an operator would start with."""
    given: list[OperatorSettings] = []
    monkeypatch.setattr(operate, "operator", lambda settings: given.append(settings) or 0)
    done = CliRunner().invoke(app, ["operator", *arguments], env=environment)
    assert done.exit_code == 0, done.output
    return given[0]


@pytest.mark.parametrize(
    ("arguments", "environment", "field", "value"),
    [
        pytest.param([], {}, "namespaces", (), id="all namespaces"),
        pytest.param(["-n", "a", "--namespace=b"], {}, "namespaces", ("a", "b"), id="two namespaces"),
        pytest.param([], {"MAPRUN_NAMESPACES": "a b"}, "namespaces", ("a", "b"), id="two in the environment"),
        pytest.param([], {"MAPRUN_NAMESPACES": " a\n b "}, "namespaces", ("a", "b"), id="with white space around"),
        pytest.param([], {"MAPRUN_NAMESPACES": ""}, "namespaces", (), id="an empty variable"),
        pytest.param(["-n", "a"], {"MAPRUN_NAMESPACES": "b"}, "namespaces", ("a",), id="a flag before the environment"),
        pytest.param([], {}, "s3_endpoints", (), id="no list of endpoints"),
        pytest.param([f"--s3-endpoint={each}" for each in LISTED], {}, "s3_endpoints", LISTED, id="two endpoints"),
        pytest.param([], {"MAPRUN_S3_ENDPOINTS": " ".join(LISTED)}, "s3_endpoints", LISTED, id="in the environment"),
        pytest.param([], {}, "share_s3_credentials", False, id="credentials are not shared"),
        pytest.param([], {}, "lease", "", id="no Lease"),
        pytest.param(["--lease=ns/name"], {}, "lease", "ns/name", id="a Lease"),
        pytest.param([], {"MAPRUN_LEASE": "ns/name"}, "lease", "ns/name", id="a Lease in the environment"),
        pytest.param([], {"MAPRUN_SHARE_S3_CREDENTIALS": "true"}, "share_s3_credentials", True, id="unless it is said"),
    ],
)
def test_a_setting(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], environment: dict[str, str], field: str, value: Any
) -> None:
    assert getattr(told(monkeypatch, arguments, environment), field) == value


@pytest.mark.parametrize("lease", ["maprun-system/maprun", "a/b", "a/b.c-d", f"{'a' * 63}/{'b' * 253}"])
def test_what_is_a_lease(lease: str) -> None:
    check(OperatorSettings(lease=lease))


@pytest.mark.parametrize(
    "lease",
    ["maprun", "/maprun", "maprun/", "a/b/c", "A/b", "a/B", "a b/c", "a.b/c", "a/-b", "a/b.", f"{'a' * 64}/b", "a/b\n"],
)
def test_what_is_no_lease_is_told_at_the_start(lease: str) -> None:
    with pytest.raises(MapRunError) as told:
        check(OperatorSettings(lease=lease))
    wanted = "must be NAMESPACE/NAME, both in lower case, as in maprun-system/maprun"
    assert str(told.value) == f"--lease {lease!r} (MAPRUN_LEASE): {wanted}"
