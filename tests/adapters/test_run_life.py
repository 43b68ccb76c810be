"""The levers of a run on a real API server: what each edit of the spec does, and how the operator tells it.

An edit is looked at when it comes. That is shown by what cannot be true otherwise - an event, a condition, the
generation that was observed - and never by a clock: where the issue says two seconds, the wait is bounded by a little
more, and nothing else is going on that could wake the operator.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from maprun.adapters.cluster import ApiError
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

HERE: Final = "run-life"
HANG: Final = {"outcome": "hang"}
FAIL: Final = {"outcome": "fail", "message": "no runway"}
FLAKY: Final = {"failing-attempts": "1", "message": '"landed"'}
SOON: Final = 10.0  # an edit is acted on within two seconds; this bound is for a machine that is busy


@pytest.fixture(scope="module")
def operator(cluster_fake: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One operator for the whole file."""
    install(cluster_fake)
    cluster_fake.kubectl("create", "namespace", HERE)
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(folder, cluster_fake.kubeconfig, f"file://{folder}/state", [f"--namespace={HERE}"]) as process:
        yield process
        assert "Traceback" not in process.log
    cluster_fake.kubectl("delete", "namespace", HERE, "--wait=false")


@pytest.fixture
async def here(operator: OperatorProcess, cluster_fake: Cluster) -> AsyncIterator[Space]:
    async with spaces(cluster_fake, HERE) as (space,):
        yield space


@pytest.fixture
async def jobs(here: Space) -> AsyncIterator[Seen]:
    """All Jobs that are made in the namespace from now on."""
    async with made_jobs(here) as seen:
        yield seen


@pytest.fixture
async def s3(here: Space, cluster_fake: Cluster) -> Json:
    """`spec.s3` of a run in the namespace, with the Secret that it names."""
    assert cluster_fake.s3 is not None
    await here.secret(secret_of(cluster_fake.s3))
    return access(cluster_fake.s3)


def made_jobs(space: Space) -> AbstractAsyncContextManager[Seen]:
    return watching(space.client, space.path("jobs", group="batch/v1"))


def items(status: Json, state: str) -> int:
    return int(status.get("itemCounts", {}).get(state, 0))


async def running(run: Run, count: int) -> Json:
    """Wait until so many children run."""
    return await run.until(lambda status: items(status, "running") == count)


async def edit(run: Run, **fields: Any) -> int:
    """Change the spec; returns its generation then, once the status is of it."""
    await run.change(**fields)
    generation = int((await run.get())["metadata"]["generation"])
    began = time.monotonic()
    await run.until(lambda status: status["observedGeneration"] >= generation, SOON)
    print(f"an edit of {', '.join(fields)} was in the status after {time.monotonic() - began:.1f} s")
    return generation


async def told(run: Run, reason: str, times: int = 1) -> list[str]:
    """The notes of the events with this reason, once there are so many."""
    notes: list[str] = []

    async def found() -> bool:
        notes[:] = [event.note for event in await run.events() if event.reason == reason]
        return len(notes) >= times

    await until(found, SOON, lambda: f"{len(notes)} events with the reason {reason}")
    assert len(notes) == times
    return notes


async def jobless(run: Run) -> bool:
    return not await run.jobs()


def names(seen: Seen, run: Run) -> list[tuple[int, int]]:
    """Child and attempt of every Job that the run ever had, in the order in which they came."""
    return list(dict.fromkeys(attempt for _, attempt in sorted_by_arrival(seen, run)))


def sorted_by_arrival(seen: Seen, run: Run) -> list[tuple[int, tuple[int, int]]]:
    created = seen.created(run)
    arrival: dict[str, int] = {}
    for at, (_, each) in enumerate(seen.of(run)):
        arrival.setdefault(each["metadata"]["uid"], at)
    return sorted((arrival[uid], attempt) for uid, attempt in created.items())


# ----------------------------------------------------------------------------------------------------------- live edits


async def test_more_at_once_and_fewer_which_drains(here: Space, jobs: Seen) -> None:
    run = await here.create(spec(list(range(40)), pod={"duration": "3s"}, maxConcurrency=2))
    await running(run, 2)
    await edit(run, maxConcurrency=6)
    await running(run, 6)
    await edit(run, maxConcurrency=1)
    at = len(jobs.events)
    notes = await told(run, "ConcurrencyChanged", 2)
    assert "maxConcurrency is 6 now, was 2" in notes[0]
    assert "maxConcurrency is 1 now, was 6" in notes[1]
    await running(run, 1)
    assert most_live_when_created(jobs, run, at) == 1, "while more than one ran, none was started"
    await run.change(maxConcurrency=40)
    assert verdict(await run.ended()) == "True"


def most_live_when_created(seen: Seen, run: Run, behind: int) -> int:
    """The most Jobs without an end that were there right after one was created, behind an event of the watch."""
    live: set[str] = set()
    most = 0
    for at, (kind, each) in enumerate(seen.events):
        if each["metadata"].get("labels", {}).get("maprun.dev/run-uid") != run.uid:
            continue
        uid, ended = each["metadata"]["uid"], each.get("status", {}).get("conditions")
        new = kind == "ADDED"
        (live.discard if kind == "DELETED" or ended else live.add)(uid)
        if new and at >= behind:
            most = max(most, len(live))
    return most


async def test_the_operators_own_ceiling_is_in_force_for_a_limit_of_zero(here: Space) -> None:
    run = await here.create(spec(list(range(4)), pod=HANG, maxConcurrency=1))
    await running(run, 1)
    await edit(run, maxConcurrency=0)
    status = await running(run, 4)
    assert status["maxConcurrency"] == 1_000
    await run.delete()


async def test_a_tolerance_that_is_lowered_and_one_that_is_raised(here: Space) -> None:
    failing = {**FAIL, "duration": "0.5s"}
    low = await here.create(spec(list(range(200)), pod=failing, maxConcurrency=1, toleratedFailureCount=150))
    high = await here.create(spec(list(range(6)), pod=failing, maxConcurrency=1, toleratedFailurePercentage=50))
    await low.until(lambda status: items(status, "failed") > 1)
    await low.change(toleratedFailureCount=1)
    await edit(high, toleratedFailurePercentage=100, maxConcurrency=6)
    status = await low.ended()
    assert condition(status)["reason"] == "ToleratedFailureThresholdExceeded"
    assert status["observedGeneration"] == 2
    assert items(status, "pending") > 100
    (note,) = await told(low, "ToleranceChanged")
    assert "toleratedFailureCount is 1 now, was 150" in note
    assert verdict(await high.ended()) == "True"
    (note,) = await told(high, "ToleranceChanged")
    assert "toleratedFailurePercentage is 100 now, was 50" in note


async def test_suspend_drains_and_resume_goes_on(here: Space, jobs: Seen) -> None:
    run = await here.create(spec(list(range(12)), pod={"duration": "2s"}, maxConcurrency=3))
    await running(run, 3)
    await edit(run, suspend=True)
    status = await run.until(lambda status: condition(status)["reason"] == "Suspended")
    begun = len(jobs.created(run))
    assert items(status, "running") == 0
    assert items(status, "succeeded") == begun
    assert "suspended until spec.suspend is false" in condition(status)["message"]
    assert conditions(status)["Suspended"] == "True"
    await told(run, "Suspended")
    # A new limit wakes the operator, and still nothing is started.
    await edit(run, maxConcurrency=12)
    assert len(jobs.created(run)) == begun
    await edit(run, suspend=False)
    status = await run.ended()
    assert verdict(status) == "True"
    assert conditions(status)["Suspended"] == "False"
    await told(run, "Resumed")


def conditions(status: Json) -> dict[str, str]:
    return {each["type"]: each["status"] for each in status["conditions"]}


async def test_a_run_that_is_made_suspended_starts_nothing(here: Space, jobs: Seen) -> None:
    run = await here.create(spec(list(range(3)), suspend=True))
    status = await run.until(lambda status: condition(status).get("reason") == "Suspended")
    assert items(status, "total") == 3
    assert jobs.created(run) == {}
    await run.change(suspend=False)
    assert verdict(await run.ended()) == "True"


async def test_abort_stops_the_children_and_keeps_the_results(
    here: Space, jobs: Seen, buckets: Buckets, s3: Json
) -> None:
    bucket = buckets.make(data=list(range(9)))
    made = spec(pod=HANG, itemReader=reader(bucket, "data.json"), resultWriter=writer(bucket), maxConcurrency=2, s3=s3)
    run = await here.create(made)
    await running(run, 2)
    await edit(run, abort=True)
    status = await run.ended()
    assert (condition(status)["status"], condition(status)["reason"]) == ("False", "Aborted")
    assert (items(status, "aborted"), items(status, "pending"), items(status, "running")) == (2, 7, 0)
    assert "completionTime" in status
    results = buckets.results(status)
    assert len(results.records("PENDING")) == 7
    assert {each["Status"] for each in results.records("FAILED")} == {"ABORTED"}
    await until(lambda: jobless(run))
    assert len(jobs.created(run)) == 2
    notes = await told(run, "Aborted", 2)
    assert notes[0].startswith("spec.abort is true: ")


async def test_a_timeout_of_the_run_that_is_set_while_it_goes_on(here: Space) -> None:
    run = await here.create(spec(list(range(3)), pod=HANG, maxConcurrency=2))
    await running(run, 2)
    await edit(run, timeoutSeconds=1)
    status = await run.ended()
    assert (condition(status)["status"], condition(status)["reason"]) == ("False", "TimedOut")
    assert (items(status, "aborted"), items(status, "pending")) == (2, 1)
    (note,) = await told(run, "TimeoutChanged")
    assert note.startswith("timeoutSeconds is 1 now, was not set")


FINAL: Final = (
    pytest.param({"maxConcurrency": 5}, "cannot be changed: the run has ended", id="a limit"),
    pytest.param({"suspend": True}, "cannot be changed: the run has ended", id="suspend"),
    pytest.param({"abort": True}, "the run has ended", id="abort"),
    pytest.param({"toleratedFailureCount": 5}, "cannot be changed: the run has ended", id="a tolerance"),
)


@pytest.mark.parametrize(("change", "why"), FINAL)
async def test_a_finished_run_refuses_changes(here: Space, change: Json, why: str) -> None:
    run = await here.create(spec([1]))
    await run.ended()
    with pytest.raises(ApiError) as refused:
        await run.change(**change)
    assert why in refused.value.message


# ----------------------------------------------------------------------------------------------- before the engine runs


async def held_up(here: Space, s3: Json, **fields: Any) -> Run:
    """A run whose Secret is missing."""
    missing = {**s3, "credentialsSecretRef": {"name": "nowhere"}}
    run = await here.create(spec(itemReader=reader("bucket", "data.json"), s3=missing, **fields))
    await run.until(lambda status: condition(status).get("reason") == "SecretNotFound")
    return run


async def test_a_run_that_is_held_up_can_be_aborted(here: Space, s3: Json) -> None:
    run = await held_up(here, s3)
    await run.change(suspend=True)
    await run.change(abort=True)
    status = await run.ended(SOON)
    assert (condition(status)["reason"], condition(status)["message"]) == (
        "Aborted",
        "The map run was aborted before it began",
    )
    assert status["observedGeneration"] == 3
    assert "completionTime" in status
    await told(run, "Aborted")
    await until(lambda: free(run), SOON)


async def test_a_run_that_was_aborted_before_it_began_is_started_by_a_redrive(
    here: Space, buckets: Buckets, s3: Json
) -> None:
    bucket = buckets.make(data=[1, 2])
    missing = {**s3, "credentialsSecretRef": {"name": "later"}}
    run = await here.create(spec(itemReader=reader(bucket, "data.json"), s3=missing))
    await run.until(lambda status: condition(status).get("reason") == "SecretNotFound")
    await run.change(abort=True)
    await run.ended(SOON)
    secret = json.loads(await here.client.request("GET", here.path("secrets", "s3")))
    await here.client.request("POST", here.path("secrets"), {"metadata": {"name": "later"}, "data": secret["data"]})
    await run.change(abort=False, redrives=1)
    status = await run.until(lambda status: verdict(status) == "True")
    assert items(status, "succeeded") == 2


async def test_a_run_whose_secret_goes_while_no_operator_runs_can_be_aborted(
    cluster_fake: Cluster, buckets: Buckets, tmp_path: Path
) -> None:
    """Its results are written once the Secret is there again."""
    assert cluster_fake.s3 is not None
    async with own_operator(cluster_fake, "life-secret", tmp_path) as (space, operator):
        await space.secret(secret_of(cluster_fake.s3))
        made = spec(list(range(4)), pod=HANG, resultWriter=writer(buckets.make()), s3=access(cluster_fake.s3))
        run = await space.create(made)
        await running(run, 4)
        operator.kill()
        await space.client.request("DELETE", space.path("secrets", "s3"))
        operator.start().await_ready()
        await run.until(lambda status: "there is no Secret s3" in condition(status)["message"])
        await run.change(abort=True)
        await until(lambda: jobless(run))
        status = await run.until(lambda status: items(status, "aborted") == 4)
        assert (verdict(status), condition(status)["reason"]) == ("Unknown", "Aborted")
        assert "there is no Secret s3" in condition(status)["message"]
        await space.secret(secret_of(cluster_fake.s3))
        assert len(buckets.results(await run.ended()).records("FAILED")) == 4


async def free(run: Run) -> bool:
    """True when the operator holds the resource no longer."""
    return "finalizers" not in (await run.get())["metadata"]


# -------------------------------------------------------------------------------------------------------------- redrive


async def redriven(run: Run, number: int, **fields: Any) -> Json:
    """Ask for a redrive, and wait for its end."""
    await run.change(redrives=number, **fields)
    return await run.until(lambda status: status.get("redriveCount") == number and verdict(status) in ("True", "False"))


async def test_a_redrive_runs_again_what_failed(here: Space, jobs: Seen, buckets: Buckets, s3: Json) -> None:
    bucket = buckets.make(data=list(range(5)))
    made = spec(
        pod=FLAKY, itemReader=reader(bucket, "data.json"), resultWriter=writer(bucket), maxConcurrency=2, s3=s3,
        toleratedFailureCount=2,
    )  # fmt: skip
    run = await here.create(made)
    first = await run.ended()
    assert condition(first)["reason"] == "ToleratedFailureThresholdExceeded"
    failed, never = items(first, "failed"), items(first, "pending")
    assert failed + never + items(first, "aborted") == 5
    status = await redriven(run, 1, toleratedFailureCount=5)
    assert verdict(status) == "True"
    assert items(status, "total") == 5
    assert status["mapRunArn"] == first["mapRunArn"]
    assert status["resultWriterDetails"]["key"] == f"out/{run.uid}/Redrive-1/manifest.json"
    await told(run, "Redriven")
    attempts = names(jobs, run)
    assert len(attempts) == len(set(attempts)), "no attempt is made twice"
    redone = {child for child, number in attempts if number > 1}
    assert len(redone) >= failed
    if items(status, "failed"):  # the children that never started in the first round are flaky, too
        status = await redriven(run, 2)
    assert items(status, "succeeded") == 5


async def test_what_succeeded_is_not_run_again(here: Space, jobs: Seen) -> None:
    run = await here.create(spec(list(range(4)), pod=FLAKY, processor={"retry": []}, toleratedFailurePercentage=100))
    assert items(await run.ended(), "failed") == 4
    status = await redriven(run, 1)
    assert (items(status, "succeeded"), items(status, "failed"), items(status, "pendingRedrive")) == (4, 0, 0)
    begun = len(jobs.created(run))
    assert begun == 8
    await run.change(redrives=2)
    (note,) = await told(run, "NotRedrivable")
    assert "there is nothing to redrive" in note
    status = await run.until(lambda status: status["observedGeneration"] == 3)
    assert status["redriveCount"] == 1
    assert len(jobs.created(run)) == begun
    await until(lambda: free(run), SOON)


async def test_an_aborted_run_is_redriven_by_one_edit(here: Space, jobs: Seen) -> None:
    run = await here.create(spec(list(range(6)), pod={"duration": "4s"}, maxConcurrency=2))
    await running(run, 2)
    await run.change(abort=True)
    first = await run.ended()
    assert condition(first)["reason"] == "Aborted"
    with pytest.raises(ApiError, match="abort"):
        await run.change(redrives=1)
    status = await redriven(run, 1, abort=False, maxConcurrency=6)
    assert verdict(status) == "True"
    assert items(status, "succeeded") == 6
    assert "completionTime" in status
    attempts = names(jobs, run)
    assert len(attempts) == len(set(attempts)) == 8


async def test_a_run_whose_dataset_could_not_be_read_reads_it_again(here: Space, buckets: Buckets, s3: Json) -> None:
    bucket = buckets.make()
    run = await here.create(spec(itemReader=reader(bucket, "data.json"), s3=s3))
    assert condition(await run.ended())["reason"] == "ItemReaderFailed"
    buckets.s3.put_object(Bucket=bucket, Key="data.json", Body=b"[1,2,3]")
    status = await redriven(run, 1)
    assert verdict(status) == "True"
    assert items(status, "succeeded") == 3


async def test_a_filter_chooses_what_runs_again(here: Space, jobs: Seen) -> None:
    run = await here.create(spec(list(range(6)), pod=FLAKY, processor={"retry": []}, toleratedFailureCount=6))
    assert items(await run.ended(), "failed") == 6
    status = await redriven(run, 1, redriveFilter={"indexes": "1-2,5"})
    assert (items(status, "succeeded"), items(status, "failed")) == (3, 3)
    assert {child for child, number in names(jobs, run) if number > 1} == {1, 2, 5}
    await run.change(redrives=2, redriveFilter={"errorEquals": ["Nothing.LikeIt"], "indexes": None})
    (note,) = await told(run, "NotRedrivable")
    assert "spec.redriveFilter chooses nothing" in note
    await until(lambda: free(run), SOON)
    chosen = {"errorEquals": ["States.TaskFailed"], "indexes": None}
    await run.change(redrives=3, redriveFilter=chosen)
    status = await run.until(lambda status: status["redriveCount"] == 2 and verdict(status) == "True")
    assert items(status, "succeeded") == 6


async def test_redrives_are_made_one_after_the_other(here: Space, jobs: Seen) -> None:
    pods = {"failing-attempts": "3"}
    run = await here.create(
        spec(list(range(2)), pod=pods, processor={"retry": []}, toleratedFailureCount=2, redrives=4)
    )
    status = await run.until(lambda status: items(status, "succeeded") == 2 and verdict(status) == "True")
    assert status["redriveCount"] == 3, "nothing was left for a fourth"
    assert [note.partition(":")[0] for note in await told(run, "Redriven", 3)] == [
        f"Redrive {number} begins" for number in (1, 2, 3)
    ]
    assert sorted(names(jobs, run)) == [(child, number) for child in (0, 1) for number in (1, 2, 3, 4)]
    await until(lambda: free(run), SOON)


@asynccontextmanager
async def own_operator(cluster: Cluster, name: str, folder: Path) -> AsyncIterator[tuple[Space, OperatorProcess]]:
    """An operator of a namespace of its own, to be killed."""
    async with AsyncExitStack() as stack:
        (space,) = await stack.enter_async_context(spaces(install(cluster), name))
        options = [f"--namespace={name}"]
        operator = OperatorProcess(folder, cluster.kubeconfig, f"file://{folder}/state", options)
        stack.callback(operator.kill)
        operator.start().await_ready()
        yield space, operator
        assert "Traceback" not in operator.log
        await space.close()


async def test_an_operator_that_is_killed_in_the_middle_of_a_redrive(cluster_fake: Cluster, tmp_path: Path) -> None:
    async with own_operator(cluster_fake, "life-killed", tmp_path) as (space, operator), made_jobs(space) as jobs:
        pods = {"failing-attempts": "1", "duration": "1s"}
        run = await space.create(
            spec(list(range(12)), pod=pods, processor={"retry": []}, toleratedFailureCount=12, maxConcurrency=12)
        )
        assert items(await run.ended(), "failed") == 12
        await run.change(redrives=1, maxConcurrency=3)
        for _ in range(3):
            before = len(jobs.created(run))
            await until(lambda before=before: _more(jobs, run, before))
            operator.kill()
            operator.start().await_ready()
        status = await run.until(lambda status: status["redriveCount"] == 1 and verdict(status) == "True")
        assert (items(status, "succeeded"), items(status, "total")) == (12, 12)
        redone = [child for child, number in names(jobs, run) if number > 1]
        assert sorted(redone) == list(range(12)), "each was run again once"


async def _more(jobs: Seen, run: Run, before: int) -> bool:
    return len(jobs.created(run)) > before


async def test_a_redrive_that_was_asked_for_while_no_operator_ran(cluster_fake: Cluster, tmp_path: Path) -> None:
    async with own_operator(cluster_fake, "life-down", tmp_path) as (space, operator):
        run = await space.create(spec([1, 2], pod=FLAKY, processor={"retry": []}, toleratedFailureCount=2))
        await run.ended()
        operator.kill()
        await run.change(redrives=1)
        operator.start().await_ready()
        status = await run.until(lambda status: status["redriveCount"] == 1 and verdict(status) == "True")
        assert items(status, "succeeded") == 2
