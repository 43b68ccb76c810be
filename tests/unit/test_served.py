"""Waiting for the CRD with no right to look at CRDs, and what an operator of some namespaces asks kopf for."""

from __future__ import annotations

import asyncio
from typing import Final, cast

import msgspec
import pytest

from maprun.adapters import objects
from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.handlers import kopf_settings
from maprun.settings import OperatorSettings

ABSENT: Final = ApiError(404, "NotFound", "")
AWAY: Final = ApiError(0, "Unreachable", "")


class Api:
    """Answers one after the other, and the last one from then on."""

    def __init__(self, *answers: ApiError | list[str]) -> None:
        self.answers, self.asked = list(answers), list[str]()

    async def request(self, method: str, path: str) -> bytes:
        self.asked.append(f"{method} {path}")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ApiError):
            raise answer
        return msgspec.json.encode({"kind": "APIResourceList", "resources": [{"name": name} for name in answer]})


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "SERVED_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        pytest.param([["mapruns", "mapruns/status"]], 1, id="it is there"),
        pytest.param([ABSENT, ABSENT, ["mapruns"]], 3, id="it comes later"),
        pytest.param([["functions"], ["functions", "mapruns"]], 2, id="another kind of the group comes first"),
        pytest.param([AWAY, ["mapruns"]], 2, id="the API server is away for a moment"),
    ],
)
async def test_the_kind_is_waited_for(answers: list[ApiError | list[str]], asked: int) -> None:
    api = Api(*answers)
    await asyncio.wait_for(objects.served(cast(ClusterClient, api)), 5)
    assert api.asked == ["GET /apis/maprun.dev/v1alpha1"] * asked


async def test_that_it_is_missing_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    await objects.served(cast(ClusterClient, Api(ABSENT, ABSENT, ["mapruns"])))
    assert [each.message for each in caplog.records] == [
        "The API server has no mapruns.maprun.dev yet; waiting for the CRD"
    ]


async def test_a_refusal_is_not_waited_out() -> None:
    with pytest.raises(ApiError, match="401"):
        await objects.served(cast(ClusterClient, Api(ApiError(401, "Unauthorized", "who are you"))))


@pytest.mark.parametrize("namespaces", [(), ("team-a", "team-b")], ids=["the whole cluster", "two namespaces"])
def test_only_an_operator_of_the_whole_cluster_looks_at_crds_and_namespaces(namespaces: tuple[str, ...]) -> None:
    assert kopf_settings(OperatorSettings(namespaces=namespaces)).scanning.disabled is bool(namespaces)
