"""The operator as a process on a real API server and a real S3 server: what a user sees of runs that go well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest

from tests.adapters.job_runs import install
from tests.adapters.operator_runs import (
    Buckets,
    Json,
    Run,
    Seen,
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

HERE: Final = "runs-here"
COUNTED: Final = "runs-counted"  # for the metrics: what happens in it is exactly what one test does
ELSEWHERE: Final = "runs-elsewhere"  # not the operator's
STATUS_LIMIT: Final = 10 * 1024
LISTED: Final = 1_050  # more than one page of a listing
HANG: Final = {"outcome": "hang"}
FAIL: Final = {"outcome": "fail", "exit-code": "42", "message": "no runway"}

SUCCEEDED_KEYS: Final = [
    *("ExecutionArn", "Input", "InputDetails", "Name", "Output", "OutputDetails", "RedriveCount", "RedriveStatus"),
    *("RedriveStatusReason", "StartDate", "StateMachineArn", "Status", "StopDate"),
]
FAILED_KEYS: Final = [
    *("Cause", "Error", "ExecutionArn", "Input", "InputDetails", "Name", "OutputDetails", "RedriveCount"),
    *("RedriveStatus", "StartDate", "StateMachineArn", "Status", "StopDate"),
]


@pytest.fixture(scope="module")
def operator(cluster_fake: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One operator for the whole file, of two namespaces."""
    install(cluster_fake)
    for name in (HERE, COUNTED, ELSEWHERE):
        cluster_fake.kubectl("create", "namespace", name)
    folder = tmp_path_factory.mktemp("operator")
    options = [f"--namespace={HERE}", f"--namespace={COUNTED}"]
    with OperatorProcess(folder, cluster_fake.kubeconfig, f"file://{folder}/state", options) as process:
        yield process
        assert "Traceback" not in process.log
        assert "cannot be written" not in process.log
    for name in (HERE, COUNTED, ELSEWHERE):
        cluster_fake.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
async def here(operator: OperatorProcess, cluster_fake: Cluster) -> AsyncIterator[Space]:
    async with spaces(cluster_fake, HERE) as (space,):
        yield space


@pytest.fixture
async def s3(here: Space, cluster_fake: Cluster) -> Json:
    """`spec.s3` of a run in the namespace, with the Secret that it names."""
    assert cluster_fake.s3 is not None
    await here.secret(secret_of(cluster_fake.s3))
    return access(cluster_fake.s3)


async def test_forty_items_five_at_a_time(here: Space, cluster_fake: Cluster) -> None:
    jobs, runs = here.path("jobs", group="batch/v1"), here.path("mapruns", group="maprun.dev/v1alpha1")
    async with watching(here.client, jobs) as seen, watching(here.client, runs) as changes:
        pods = {"duration": "0.3s", "message": '{"runways": null}'}
        run = await here.create(spec(list(range(40)), pod=pods, maxConcurrency=5))
        status = await run.ended()
        await until(lambda: untouched(run))
    assert condition(status)["reason"] == "Succeeded"
    assert condition(status)["message"] == "40 of 40 items succeeded, 0 failed"
    assert status["output"] == [{"runways": None}] * 40
    assert status["itemCounts"] == status["executionCounts"] == counts(succeeded=40, total=40, resultsWritten=40)
    assert len(json.dumps(status)) <= STATUS_LIMIT
    assert len(seen.created(run)) == 40
    assert seen.most_at_once(run) == 5
    assert_at_most_one_patch_a_second(changes, run)
    assert await told(run) == ["Started", "Planned", "Succeeded"]
    header, row = cluster_fake.kubectl("get", "mapruns", run.name, f"-n={HERE}", "-o=wide").stdout.splitlines()
    names = "NAME STATUS TOTAL RUNNING SUCCEEDED FAILED AGE PENDING CONCURRENCY RETRIES REDRIVES RESULTS"
    assert header.split() == names.split()
    shown = dict(zip(names.split(), row.split(), strict=False))
    assert shown.pop("AGE")
    assert " ".join(shown.values()) == f"{run.name} Succeeded 40 0 40 0 0 5 0 0"


async def untouched(run: Run) -> bool:
    """True when the operator's library has left no mark on the resource."""
    metadata = (await run.get())["metadata"]
    assert "annotations" not in metadata
    return "finalizers" not in metadata


def assert_at_most_one_patch_a_second(changes: Seen, run: Run) -> None:
    last: Json | None = None
    times = []
    for time, (_, each) in zip(changes.times, changes.events, strict=True):
        if each["metadata"]["uid"] == run.uid and each.get("status") != last:
            last = each.get("status")
            times.append(time)
    assert len(times) >= 3
    assert len(times) - 1 <= times[-1] - times[0] + 0.5


def counts(**counters: int) -> Json:
    names = (
        "pending running succeeded failed timedOut aborted total resultsWritten failuresNotRedrivable pendingRedrive"
    )
    return dict.fromkeys(names.split(), 0) | counters


async def told(run: Run) -> list[str]:
    """The reasons of the run's events in order, once the last one is there (it follows the status)."""
    reasons: list[str] = []

    async def complete() -> bool:
        reasons[:] = [event.reason for event in await run.events()]
        return reasons[-1:] == [condition(await run.status())["reason"]]

    await until(complete, told=lambda: str(reasons))
    return reasons


async def test_tolerated_failures_are_told_once_and_stand_in_the_output(here: Space) -> None:
    run = await here.create(spec(list(range(10)), pod=FAIL, toleratedFailureCount=19))
    status = await run.ended()
    assert condition(status)["status"] == "True"
    assert condition(status)["message"] == "0 of 10 items succeeded, 10 failed"
    assert status["itemCounts"] == counts(failed=10, total=10, resultsWritten=10)
    (failure,) = status["failures"]
    assert (failure["error"], failure["count"]) == ("States.TaskFailed", 10)
    assert "no runway" in failure["cause"]
    assert [each["Status"] for each in status["output"]] == ["FAILED"] * 10
    assert sorted(await told(run)) == ["ChildFailed", "Planned", "Started", "Succeeded", "ToleranceUsed"]
    notes = {event.reason: event for event in await run.events()}
    assert "no runway" in notes["ChildFailed"].note
    assert notes["ToleranceUsed"].note == "50 % of the tolerated failures are used: 10 items failed"
    assert {notes[each].type for each in ("ChildFailed", "ToleranceUsed")} == {"Warning"}


async def test_json_from_s3_to_result_files_of_aws_shape(here: Space, buckets: Buckets, s3: Json) -> None:
    bucket = buckets.make(data={"fields": [{"icao": f"RJ{n:02}"} for n in range(25)]})
    selector = {"airport.$": "$$.Map.Item.Value.icao", "n.$": "$$.Map.Item.Index", "region.$": "$.region"}
    made = spec(
        pod={"message": '{"a":"b"}'},
        input={"region": "JP"},
        itemReader=reader(bucket, "data.json", itemsPointer="/fields", maxItems=20),
        itemSelector=selector,
        resultWriter=writer(bucket),
        maxConcurrency=20,
        label="fields",
        s3=s3,
    )
    run = await here.create(made)
    status = await run.ended()
    assert condition(status)["status"] == "True", condition(status)
    results = buckets.results(status)
    assert results.key == f"out/{run.uid}/manifest.json"
    arn = status["mapRunArn"]
    assert status["output"] == {
        "MapRunArn": arn,
        "ResultWriterDetails": {"Bucket": bucket, "Key": f"out/{run.uid}/manifest.json"},
    }
    assert status["resultWriterDetails"] == {"bucket": bucket, "key": f"out/{run.uid}/manifest.json"}
    file = f"out/{run.uid}/SUCCEEDED_0.json"
    listed = {"FAILED": [], "PENDING": [], "SUCCEEDED": [{"Key": file, "Size": len(results.files[file])}]}
    manifest = {"DestinationBucket": bucket, "MapRunArn": arn, "ResultFiles": listed}
    assert results.manifest == compact(manifest)
    records = results.records("SUCCEEDED")
    assert results.files[file] == compact(records)
    assert [json.loads(each["Input"]) for each in records] == [
        {"airport": f"RJ{n:02}", "n": n, "region": "JP"} for n in range(20)
    ]
    assert_succeeded(records[0], run)


def assert_succeeded(record: Json, run: Run) -> None:
    assert list(record) == SUCCEEDED_KEYS
    assert record["Output"] == '{"a":"b"}'
    assert record["InputDetails"] == record["OutputDetails"] == {"Included": True}
    assert record["Name"] == f"{run.name}-0"
    assert record["ExecutionArn"].endswith(f":{run.name}/fields:{run.name}-0")
    assert record["StateMachineArn"].endswith(f":stateMachine:{run.name}/fields")
    assert (record["RedriveCount"], record["RedriveStatus"]) == (0, "NOT_REDRIVABLE")
    assert record["RedriveStatusReason"] == "Execution is SUCCEEDED and cannot be redriven"
    assert record["StartDate"].endswith("Z")
    assert record["StartDate"] <= record["StopDate"]


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


async def test_a_run_that_failed_still_writes_what_happened(here: Space, buckets: Buckets, s3: Json) -> None:
    bucket = buckets.make(data=["a", "b", "c", "d"])
    made = spec(
        pod=FAIL, itemReader=reader(bucket, "data.json"), resultWriter=writer(bucket, ""), maxConcurrency=1, s3=s3
    )
    run = await here.create(made)
    status = await run.ended()
    assert condition(status)["status"] == "False"
    results = buckets.results(status)
    assert results.key == f"{run.uid}/manifest.json"
    (failed,), pending = results.records("FAILED"), results.records("PENDING")
    assert list(failed) == FAILED_KEYS
    assert (failed["Error"], failed["RedriveStatus"]) == ("States.TaskFailed", "REDRIVABLE_BY_MAP_RUN")
    assert pending == [
        {"Input": f'"{each}"', "InputDetails": {"Included": True}, "Status": "PENDING"} for each in "bcd"
    ]
    assert buckets.keys(bucket, run.uid) == [
        f"{run.uid}/{name}" for name in ("FAILED_0.json", "PENDING_0.json", "manifest.json")
    ]
    assert status["itemCounts"] == counts(failed=1, pending=3, total=4, resultsWritten=4)


async def test_more_at_once_while_nothing_else_happens(here: Space) -> None:
    run = await here.create(spec(list(range(9)), pod=HANG, maxConcurrency=1))
    await run.until(lambda status: status.get("itemCounts", {}).get("running") == 1)
    await run.change(maxConcurrency=4)
    status = await run.until(lambda status: status["itemCounts"]["running"] == 4)
    assert status["maxConcurrency"] == 4
    assert status["observedGeneration"] == 2
    await run.delete()
    await until(run.gone, 10)


async def test_a_tolerance_that_is_lowered_ends_the_run(here: Space) -> None:
    made = spec(list(range(200)), pod=FAIL | {"duration": "0.2s"}, maxConcurrency=1, toleratedFailureCount=150)
    run = await here.create(made)
    await run.until(lambda status: status.get("itemCounts", {}).get("failed", 0) > 1)
    await run.change(toleratedFailureCount=1)
    status = await run.ended()
    assert condition(status)["reason"] == "ToleratedFailureThresholdExceeded"
    assert status["itemCounts"]["pending"] > 100


async def test_a_tolerance_that_is_raised_lets_the_run_go_on(here: Space) -> None:
    made = spec(list(range(9)), pod=FAIL | {"duration": "0.5s"}, maxConcurrency=1, toleratedFailurePercentage="33.4")
    run = await here.create(made)
    await run.until(lambda status: status.get("itemCounts", {}).get("failed", 0) > 0)
    await run.change(toleratedFailurePercentage="100", maxConcurrency=9)
    status = await run.ended()
    assert verdict(status) == "True"
    assert status["itemCounts"]["failed"] == 9


async def test_two_runs_at_once_are_counted_in_the_metrics(operator: OperatorProcess, cluster_fake: Cluster) -> None:
    retry = [{"errorEquals": ["States.ALL"], "intervalSeconds": 1, "maxAttempts": 1}]
    async with spaces(cluster_fake, COUNTED) as (space,):
        failing = spec(list(range(4)), pod=FAIL, processor={"retry": retry}, toleratedFailurePercentage=100)
        runs = [await space.create(spec(list(range(6)), pod={"duration": "1s"})), await space.create(failing)]
        at_once = await asyncio.gather(*(run.until(lambda status: status.get("itemCounts")) for run in runs))
        assert [verdict(status) for status in at_once] == ["Unknown", "Unknown"]
        ends = await asyncio.gather(*(run.ended() for run in runs))
        assert [verdict(status) for status in ends] == ["True", "True"]
        assert ends[1]["retries"] == 4
        await until(lambda: counted(operator))
    metrics = operator.metrics()
    found = {name: metrics[f'maprun_{name}{{namespace="{COUNTED}"}}'] for name in EXPECTED}
    assert found == EXPECTED
    assert metrics[f'maprun_map_runs_finished_total{{namespace="{COUNTED}",status="succeeded"}}'] == 2
    assert metrics["maprun_journal_records_total"] > 0


EXPECTED: Final = {
    "executions_started_total": 10,
    "executions_succeeded_total": 6,
    "executions_failed_total": 4,
    "executions_aborted_total": 0,
    "executions_timed_out_total": 0,
    "attempts_started_total": 14,
    "attempts_lost_total": 0,
    "retries_total": 4,
    "map_runs_open": 0,
    "executions_running": 0,
    "backlog": 0,
    "execution_duration_seconds_count": 10,
}


async def counted(operator: OperatorProcess) -> bool:
    """The counter of finished runs follows the status."""
    return operator.metrics()[f'maprun_map_runs_open{{namespace="{COUNTED}"}}'] == 0


async def test_a_namespace_that_is_not_the_operators_is_left_alone(here: Space, cluster_fake: Cluster) -> None:
    async with spaces(cluster_fake, ELSEWHERE) as (elsewhere,):
        other = await elsewhere.create(spec([1]))
        assert verdict(await (await here.create(spec([1]))).ended()) == "True"
        left = await other.get()
        assert "status" not in left
        assert "finalizers" not in left["metadata"]
        await other.delete()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_the_probes_say_that_all_is_well(operator: OperatorProcess, path: str) -> None:
    assert operator.get(path)[0] == 200


async def test_an_ended_run_is_left_alone_by_the_next_operator(here: Space, operator: OperatorProcess) -> None:
    run = await here.create(spec([1]))
    await run.ended()
    await until(lambda: untouched(run))
    before = await run.get()
    assert operator.terminate() < 5
    assert operator.exit_code == 0
    operator.start().await_ready()
    assert verdict(await (await here.create(spec([1]))).ended()) == "True"
    assert await run.get() == before


async def test_a_listing_of_more_than_a_page_and_a_deletion_in_the_middle(
    here: Space, operator: OperatorProcess, buckets: Buckets, s3: Json
) -> None:
    # The last test here: the garbage collector takes half a minute to notice a new CRD.
    bucket = buckets.make()
    await asyncio.to_thread(buckets.fill, bucket, [f"k{n:04}" for n in range(LISTED)])
    run = await here.create(spec(pod=HANG, itemReader=reader(bucket), maxConcurrency=7, s3=s3))
    status = await run.until(lambda status: status.get("itemCounts", {}).get("running") == 7)
    assert status["itemCounts"] == counts(running=7, pending=LISTED - 7, total=LISTED)
    child = next(each for each in await run.jobs() if each["metadata"]["labels"]["maprun.dev/child"] == "0")
    item = json.loads(child["spec"]["template"]["metadata"]["annotations"]["maprun.dev/input"])
    assert list(item) == ["Etag", "Key", "LastModified", "Size", "StorageClass"]
    assert (item["Key"], item["Size"]) == ("k0000", 0)
    assert live_items(operator, HERE, run)["running"] == 7
    await run.delete()
    await until(run.gone, 10)
    await until(lambda: jobless(run))
    assert live_items(operator, HERE, run) == {}


async def jobless(run: Run) -> bool:
    return not await run.jobs()


def live_items(operator: OperatorProcess, namespace: str, run: Run) -> dict[str, float]:
    """maprun_items of a run by state; empty when the run is not live."""
    start = f'maprun_items{{name="{run.name}",namespace="{namespace}",state="'
    found = operator.metrics().items()
    return {series[len(start) :].split('"')[0]: value for series, value in found if series.startswith(start)}
