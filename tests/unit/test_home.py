"""Where state and buckets of a run on a cluster lie, and what becomes of one that asks for what is not allowed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from maprun import supervising
from maprun.adapters.cluster import ClusterClient
from maprun.adapters.jobs_watch import JobsWatch
from maprun.adapters.pacing import WriteBudget
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import S3Buckets
from maprun.adapters.telemetry import Telemetry
from maprun.core import validation
from maprun.errors import Reason, RunFailed, StoreError
from maprun.model import API_VERSION, KIND
from maprun.settings import OperatorSettings
from maprun.supervising import Shared, Supervisor

OWN: Final = S3Access("http://own.example.com", "us-east-1", "KEY", "secret")
METADATA: Final = {
    "namespace": "team",
    "name": "run",
    "uid": "0a1b",
    "creationTimestamp": "2026-09-23T20:18:45Z",
    "generation": 1,
}
CONTAINER: Final = {"name": "main", "image": "handler"}


class Api:
    """Takes every status, and keeps what it said last."""

    def __init__(self) -> None:
        self.told = ""

    async def request(self, method: str, path: str, body: Any = None, **_: Any) -> bytes:
        if method == "PATCH":
            self.told = body.decode()
        return b"{}"


def supervisor(api: Api, settings: OperatorSettings, spec: dict[str, Any], **status: Any) -> Supervisor:
    template = {"spec": {"template": {"spec": {"containers": [CONTAINER]}}}}
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": METADATA, "status": status}
    body["spec"] = {**spec, "itemProcessor": {"jobTemplate": template}}
    client = cast(ClusterClient, api)
    return Supervisor(Shared(settings, client, JobsWatch(client), WriteBudget(), Telemetry(CollectorRegistry())), body)


def lists(bucket: str) -> dict[str, Any]:
    return {"itemReader": {"resource": "s3:listObjectsV2", "parameters": {"bucket": bucket}}}


async def test_with_a_state_on_a_volume_buckets_are_in_s3_all_the_same(tmp_path: Path) -> None:
    """A bucket that is called like a directory of the state is no way to it."""
    (tmp_path / "state" / "team").mkdir(parents=True)
    settings = OperatorSettings(state=f"file://{tmp_path}/state", share_s3_credentials=True, s3=OWN)
    made = supervisor(Api(), settings, lists("team"))
    home = await made._home(validation.parse(made._body))
    assert home.url == f"file://{tmp_path}/state/team/run-0a1b"
    assert home.buckets.root == ""
    assert home.buckets.access == OWN
    assert isinstance(home.buckets.open(), S3Buckets)


REFUSED: Final = OperatorSettings(state="s3://state/runs", share_s3_credentials=True, s3=OWN)


async def test_a_new_run_that_asks_for_the_state_is_refused() -> None:
    made = supervisor(Api(), REFUSED, lists("state"))
    with pytest.raises(RunFailed, match=r"spec\.itemReader\.parameters\.prefix: .* meets s3://state/runs/") as refused:
        await made._home(validation.parse(made._body))
    assert refused.value.reason is Reason.STATE_NOT_ALLOWED


async def test_a_run_that_has_started_waits_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "SECRET_SECONDS", 0.01)
    api = Api()
    made = supervisor(api, REFUSED, lists("state"), startTime="2026-09-23T20:18:46Z")
    waiting = asyncio.create_task(made._home(validation.parse(made._body)))
    while "StateNotAllowed" not in api.told:
        await asyncio.sleep(0.01)
        assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    (condition,) = msgspec.json.decode(api.told)[-1]["value"]
    assert condition["status"] == "Unknown"


def test_a_missing_volume_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(supervising, "DEFAULT_STATE", f"file://{tmp_path}/file/state")
    with pytest.raises(StoreError, match="mount a volume there, or name another store: --state or MAPRUN_STATE"):
        supervising.check_state(OperatorSettings(state=f"file://{tmp_path}/file/state"))
    with pytest.raises(StoreError) as other:
        supervising.check_state(OperatorSettings(state=f"file://{tmp_path}/file/other"))
    assert "mount a volume" not in str(other.value)
