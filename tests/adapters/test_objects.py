"""A run's status, events, Secrets and trial Jobs on a real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.objects import RunEvent, check_job, create_event, patch_status, read_secret
from maprun.core.children import job_for
from maprun.model import RunRef
from maprun.records import Attempt, Batch
from tests.adapters.job_runs import NAMESPACE, RUNS, connected, resource, spec_of
from tests.cluster.cluster import Cluster

AT = 1790204325.25


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[ClusterClient]:
    async with connected(cluster) as made:
        yield made


@pytest.fixture
async def run(client: ClusterClient) -> AsyncIterator[RunRef]:
    async with resource(client) as made:
        yield made


async def test_a_status_is_merged(client: ClusterClient, run: RunRef) -> None:
    await patch_status(client, run, {"maxConcurrency": 4})
    await patch_status(client, run, {"redriveCount": 0})
    with pytest.raises(ApiError, match="maxConcurrency"):
        await patch_status(client, run, {"maxConcurrency": "four"})
    status = msgspec.json.decode(await client.request("GET", f"{RUNS}/{run.name}"))["status"]
    assert (status["maxConcurrency"], status["redriveCount"]) == (4, 0)


async def test_a_status_loses_what_it_is_to_be_without_whether_it_was_there_or_not(
    client: ClusterClient, run: RunRef
) -> None:
    await patch_status(client, run, {"redriveCount": 0, "completionTime": "2026-01-02T03:04:05Z", "output": None})
    await patch_status(client, run, {"redriveCount": 1}, ["completionTime", "output", "outputLocation"])
    status = msgspec.json.decode(await client.request("GET", f"{RUNS}/{run.name}"))["status"]
    assert status == {"redriveCount": 1}


async def test_a_status_never_reaches_another_run_of_the_same_name(client: ClusterClient, run: RunRef) -> None:
    other = msgspec.structs.replace(run, uid="11111111-2222-3333-4444-555555555555")
    with pytest.raises(ApiError) as caught:
        await patch_status(client, other, {"maxConcurrency": 4})
    assert caught.value.status == 404


async def test_an_event_is_told_once(cluster: Cluster, client: ClusterClient, run: RunRef) -> None:
    event = RunEvent(f"{run.name}.started", "Normal", "Started", "é" * 1000, AT)
    await create_event(client, run, event)
    await create_event(client, run, event)
    told = cluster.kubectl("events", "--for", f"mapruns.maprun.dev/{run.name}", "--no-headers").stdout
    assert told.count("Started") == 1
    assert "…" in told


async def test_a_secret_is_read(cluster: Cluster, client: ClusterClient, run: RunRef) -> None:
    cluster.kubectl("create", "secret", "generic", run.name, "--from-literal=key=välue")
    try:
        assert await read_secret(client, NAMESPACE, run.name) == {"key": "välue".encode()}
    finally:
        cluster.kubectl("delete", "secret", run.name)
    with pytest.raises(ApiError) as caught:
        await read_secret(client, NAMESPACE, run.name)
    assert caught.value.status == 404


TRIALS = [
    pytest.param({}, "", id="a good one is taken"),
    pytest.param({"image": ""}, "containers[0].image: Required value", id="a value that is missing"),
    pytest.param(
        {"imagee": "a"}, 'unknown field "spec.template.spec.containers[0].imagee"', id="a field that does not exist"
    ),
    pytest.param({"env": [{"name": "A", "value": 5}]}, "env", id="a number where a string belongs"),
]


@pytest.mark.parametrize(("container", "told"), TRIALS)
async def test_a_job_on_trial(client: ClusterClient, run: RunRef, container: dict[str, object], told: str) -> None:
    job = job_for(run, spec_of(container), Attempt(0, 1), Batch(0, 1, msgspec.Raw(b"1"))).job
    message = await check_job(client, job)
    assert told in message
    assert bool(message) is bool(told)
