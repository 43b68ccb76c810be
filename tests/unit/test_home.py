"""Where state and buckets of a run on a cluster lie, and what becomes of one that asks for what is not allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from maprun import preparing
from maprun.adapters.cluster import ClusterClient
from maprun.adapters.jobs_watch import JobsWatch
from maprun.adapters.pacing import WriteBudget
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import BucketsRef, S3Buckets
from maprun.adapters.telemetry import Telemetry
from maprun.core import validation
from maprun.errors import Reason, RunFailed, StoreError, StoreUnavailable
from maprun.model import API_VERSION, KIND
from maprun.preparing import Shared
from maprun.settings import OperatorSettings
from maprun.supervising import Supervisor

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
    home, _ = await made._needs.supplies(validation.parse(made._body), 0)
    assert home.url == f"file://{tmp_path}/state/team/run-0a1b"
    assert home.buckets.root == ""
    assert home.buckets.access == OWN
    assert isinstance(home.buckets.open(), S3Buckets)


REFUSED: Final = OperatorSettings(state="s3://state/runs", share_s3_credentials=True, s3=OWN)


async def test_a_new_run_that_asks_for_the_state_is_refused() -> None:
    made = supervisor(Api(), REFUSED, lists("state"))
    with pytest.raises(RunFailed, match=r"spec\.itemReader\.parameters\.prefix: .* meets s3://state/runs/") as refused:
        await made._needs.supplies(validation.parse(made._body), 0)
    assert refused.value.reason is Reason.STATE_NOT_ALLOWED


async def test_a_run_that_has_started_goes_on_without_buckets_instead() -> None:
    """None can be reached, by no credentials: not by the operator's own either, which it shares here."""
    made = supervisor(Api(), REFUSED, lists("state"), startTime="2026-09-23T20:18:46Z")
    home, local = await made._needs.supplies(validation.parse(made._body), 0)
    assert "meets s3://state/runs/" in home.buckets.held
    assert (home.buckets.access, home.region, local) == (S3Access(), "us-east-1", None)
    for buckets in (home.buckets, msgspec.json.decode(msgspec.json.encode(home.buckets), type=BucketsRef)):
        with pytest.raises(StoreUnavailable):
            buckets.open().bucket("data")


def test_a_missing_volume_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(preparing, "DEFAULT_STATE", f"file://{tmp_path}/file/state")
    with pytest.raises(StoreError, match="mount a volume there, or name another store: --state or MAPRUN_STATE"):
        preparing.check_state(OperatorSettings(state=f"file://{tmp_path}/file/state"))
    with pytest.raises(StoreError) as other:
        preparing.check_state(OperatorSettings(state=f"file://{tmp_path}/file/other"))
    assert "mount a volume" not in str(other.value)
