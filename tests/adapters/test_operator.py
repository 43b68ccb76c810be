"""The operator as a process on a real API server and a real S3 server: what a user sees of runs that go well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest

from tests.adapters.job_runs import install
from tests.adapters.operator_runs import (
    Buckets,
    Json,
    Run,
    Space,
    access,
    condition,
    reader,
    secret_of,
    spaces,
    spec,
    until,
    verdict,
    watching,
    writer,
)
from tests.cluster.cluster import Cluster
from tests.operator_process import OperatorProcess

MINE: Final = "runs-here"
COUNTED: Final = "runs-counted"  # for the metrics: what happens in it is exactly what one test does
ELSEWHERE: Final = "runs-elsewhere"  # not the operator's
STATUS_LIMIT: Final = 10 * 1024
LISTED: Final = 1_050  # more than one page of a listing

SUCCEEDED_KEYS: Final = (
    "ExecutionArn Input InputDetails Name Output OutputDetails RedriveCount RedriveStatus RedriveStatusReason"
    " StartDate StateMachineArn Status StopDate"
).split()
FAILED_KEYS: Final = (
    "Cause Error ExecutionArn Input InputDetails Name OutputDetails RedriveCount RedriveStatus StartDate"
    " StateMachineArn Status StopDate"
).split()


@pytest.fixture(scope="module")
def operator(cluster_fake: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One operator for the whole file, of two namespaces."""
    install(cluster_fake)
    folder = tmp_path_factory.mktemp("operator")
    options = [f"--namespace={MINE}", f"--namespace={COUNTED}"]
    for name in (MINE, COUNTED, ELSEWHERE):
        cluster_fake.kubectl("create", "namespace", name)
    with OperatorProcess(folder, cluster_fake.kubeconfig, f"file://{folder}/state", options) as process:
        yield process
        assert "Traceback" not in process.log
        assert "cannot be written" not in process.log


@pytest.fixture
async def here(operator: OperatorProcess, cluster_fake: Cluster) -> AsyncIterator[Space]:
    async with spaces(cluster_fake, MINE) as (space,):
        yield space


@pytest.fixture
def buckets(cluster_fake: Cluster) -> Buckets:
    assert cluster_fake.s3 is not None
    return Buckets(cluster_fake.s3)


async def test_forty_items_five_at_a_time(here: Space, cluster_fake: Cluster) -> None:
    jobs, runs = here.path("jobs", group="batch/v1"), here.path("mapruns", group="maprun.dev/v1alpha1")
    async with watching(here.client, jobs) as seen, watching(here.client, runs) as changes:
        pods = {"duration": "0.3s", "message": '{"ok": null}'}
        run = await here.create(spec(list(range(40)), pod=pods, maxConcurrency=5))
        status = await run.ended()
        await until(lambda: _async(run_is_free(run)))
    assert condition(status)["reason"] == "Succeeded"
    assert condition(status)["message"] == "40 of 40 items succeeded, 0 failed"
    assert status["output"] == [{"ok": None}] * 40
    assert status["itemCounts"] == status["executionCounts"] == counts(succeeded=40, total=40, resultsWritten=40)
    assert len(json.dumps(status)) <= STATUS_LIMIT
    assert seen.most_at_once(run) == 5
    assert len(seen.created(run)) == 40
    assert_at_most_one_a_second([time for time, (_, each) in zip(changes.times, changes.events) if each["metadata"]["uid"] == run.uid])
    assert [(event.type, event.reason) for event in await run.events()] == [
        ("Normal", "Started"),
        ("Normal", "Planned"),
        ("Normal", "Succeeded"),
    ]
    columns = cluster_fake.kubectl("get", "mapruns", run.name, "-n", MINE, "-o", "wide").stdout.splitlines()
    assert columns[0].split() == (
        "NAME STATUS TOTAL RUNNING SUCCEEDED FAILED AGE PENDING CONCURRENCY RETRIES RESULTS".split()
    )
    shown = columns[1].split()
    assert shown[:6] + shown[7:] == [run.name, "Succeeded", "40", "0", "40", "0", "0", "5", "0"]
