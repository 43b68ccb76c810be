"""The Job launcher on a real API server and Job controller; the nodes are fake, and end pods as annotations say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from maprun.adapters import jobs_starting
from maprun.adapters.cluster import ApiError
from maprun.core import children, starting
from maprun.core.scheduling import Observation
from maprun.errors import StatesError
from maprun.records import Attempt, Batch, ChildStatus
from tests.adapters.job_runs import (
    JOBS,
    NAMESPACE,
    PODS,
    RUNS,
    Running,
    connected,
    operator,
    resource,
    running,
    spec_of,
    until,
)
from tests.adapters.operator_runs import MERGE_PATCH
from tests.cluster.cluster import Cluster

LARGE = b'"' + b"x" * 200_000 + b'"'


def empty(names: list[str]) -> bool:
    return not names


@asynccontextmanager
async def ending(cluster: Cluster, outcome: str = "succeed", **more: str) -> AsyncIterator[Running]:
    """A run whose pods end like this."""
    annotations = {"maprun.dev/test-outcome": outcome} | {
        f"maprun.dev/test-{key.replace('_', '-')}": more[key] for key in more
    }
    async with running(cluster, spec_of({}, annotations)) as made:
        yield made


async def test_children_come_run_and_go(cluster: Cluster) -> None:
    async with ending(cluster, message='{"ok": true}') as run:
        for child in range(30):
            run.launch(child)
        seen = await run.sees(lambda seen: len(seen.finished) == 30)
        assert {outcome.status for outcome in seen.finished} == {ChildStatus.SUCCEEDED}
        assert {bytes(outcome.output) for outcome in seen.finished} == {b'{"ok": true}'}
        for outcome in seen.finished:
            run.launcher.reap(outcome.key)
        assert await run.sees(lambda seen: not seen.finished) == Observation({})
        assert await run.jobs() == []
        await until(run.pods, empty)  # the garbage collector takes them, and no finalizer holds them


FAILURES = [
    pytest.param(
        {"exit_code": "42", "message": "no runway"},
        StatesError.TASK_FAILED,
        "exit code 42: no runway",
        id="an exit code",
    ),
    pytest.param(
        {"message": '{"errorType":"NoIATA","errorMessage":"no code"}'},
        "NoIATA",
        "no code",
        id="an error that the child names",
    ),
    pytest.param({"exit_code": "137", "reason": "OOMKilled"}, StatesError.JOB_OOM_KILLED, "memory", id="out of memory"),
]


@pytest.mark.parametrize(("ends", "error", "cause"), FAILURES)
async def test_a_child_that_fails(cluster: Cluster, ends: dict[str, str], error: str, cause: str) -> None:
    async with ending(cluster, "fail", **ends) as run:
        run.launch()
        outcome = await run.outcome()
        assert outcome.failure is not None
        assert (outcome.status, outcome.failure.error) == (ChildStatus.FAILED, error)
        assert cause in outcome.failure.cause


async def test_a_disrupted_pod_is_replaced_within_the_same_attempt(cluster: Cluster) -> None:
    async with ending(cluster, "disrupt") as run:
        attempt = run.launch()
        await until(run.pods, lambda pods: len(pods) >= 2)
        assert run.launcher.observe() == Observation({0: 1})
        run.launcher.cancel(attempt)
        await run.sees(lambda seen: not seen.active)


async def test_a_pod_that_somebody_deletes_loses_the_attempt(cluster: Cluster) -> None:
    async with ending(cluster, "hang", duration="0s") as run:
        run.launch()
        await until(lambda: run.pods("Running"), bool)  # one that never ran would be replaced
        for name in await run.pods():
            cluster.kubectl("delete", "pod", name, "--wait=false")
        assert (await run.outcome()).status is ChildStatus.LOST


async def test_a_job_that_somebody_deletes_loses_the_attempt(cluster: Cluster) -> None:
    async with ending(cluster, "hang") as run:
        run.launch()
        await until(run.jobs, bool)
        cluster.kubectl("delete", "job", *await run.jobs(), "--wait=false")
        assert (await run.outcome()).status is ChildStatus.LOST
        run.launcher.reap(Attempt(0, 1))
        assert await run.sees(lambda seen: not seen.finished) == Observation({})


async def test_a_deadline_of_the_jobs_own_is_a_timeout(cluster: Cluster) -> None:
    made = spec_of({}, {"maprun.dev/test-outcome": "hang"})
    made.item_processor.job_template["spec"]["activeDeadlineSeconds"] = 1
    async with running(cluster, made) as run:
        run.launch()
        outcome = await run.outcome()
        assert outcome.failure is not None
        assert (outcome.status, outcome.failure.error) == (ChildStatus.TIMED_OUT, StatesError.TIMEOUT)


async def test_a_large_input_has_a_secret_that_goes_with_its_job(cluster: Cluster) -> None:
    async with ending(cluster) as run:
        attempt = run.launch(text=LARGE)
        await run.outcome()
        assert await run.secrets() == await run.jobs() == [f"{run.run.name}-0-1"]
        run.launcher.reap(attempt)
        await run.sees(lambda seen: not seen.finished)
        assert await run.secrets() == await run.jobs() == []


async def test_the_next_operator_finds_everything_and_starts_nothing_twice(cluster: Cluster) -> None:
    spec = spec_of({}, {"maprun.dev/test-outcome": "hang"})
    async with connected(cluster) as client, resource(client) as ref:
        async with operator(client, ref, spec) as before:
            for child in range(5):
                before.launch(child)
            await until(before.jobs, lambda jobs: len(jobs) == 5)
        async with operator(client, ref, spec) as after:
            assert after.launcher.observe() == Observation(dict.fromkeys(range(5), 1))
            attempt = after.launch(2)
            await after.created(attempt)
            assert len(await after.jobs()) == 5


async def test_a_crash_of_the_api_server_loses_nothing(cluster: Cluster) -> None:
    async with ending(cluster, "hang", duration="0s") as run:
        await run.created(run.launch(0))
        cluster.restart_apiserver()
        run.launch(1)
        await until(run.jobs, lambda jobs: len(jobs) == 2)
        cluster.kubectl("delete", "job", f"{run.run.name}-0-1", "--wait=false")
        seen = await run.sees(lambda seen: seen.active == {1: 1})
        # Whether the watch still told of the deletion, or a new list no longer had it, is the server's choice.
        assert {outcome.status for outcome in seen.finished} <= {ChildStatus.LOST}


async def test_a_quota_holds_launches_until_there_is_room(cluster: Cluster) -> None:
    async with ending(cluster) as run, quota(run, cluster, "count/jobs.batch") as name:
        run.launch()
        seen = await run.sees(lambda seen: seen.waiting)
        assert f"exceeded quota: {name}" in seen.waiting
        assert seen.active == {0: 1}
        cluster.kubectl("delete", "quota", name)
        assert (await run.outcome()).status is ChildStatus.SUCCEEDED
        assert run.launcher.observe().waiting == ""


async def test_pods_that_a_quota_refuses_are_told(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_starting, "ASK_INTERVAL", 1.0)
    async with ending(cluster) as run, quota(run, cluster, "pods") as name:
        run.launch()
        seen = await run.sees(lambda seen: seen.waiting or seen.finished)
        assert "FailedCreate" in seen.waiting
        assert f"exceeded quota: {name}" in seen.waiting


@asynccontextmanager
async def quota(run: Running, cluster: Cluster, resource: str) -> AsyncIterator[str]:
    """A quota of none of a resource, in force; its name."""
    name = f"{run.run.name}-quota"
    job = children.job_for(run.run, run.spec, Attempt(9, 1), Batch(9, 1, msgspec.Raw(b"1"))).job
    pod = {"metadata": {"name": name}, "spec": job["spec"]["template"]["spec"]}
    trial = (JOBS, job) if "jobs" in resource else (PODS, pod)

    async def refused() -> bool:
        try:
            await run.client.request("POST", *trial, {"dryRun": "All"})
        except ApiError as error:
            return "exceeded quota" in error.message
        return False

    cluster.kubectl("create", "quota", name, f"--hard={resource}=0")
    try:
        await until(refused, bool)
        yield name
    finally:
        cluster.kubectl("delete", "quota", name, "--ignore-not-found")


async def test_a_template_that_the_api_server_refuses(cluster: Cluster) -> None:
    async with running(cluster, spec_of({"image": ""})) as run:
        run.launch()
        failure = (await run.sees(lambda seen: seen.refused)).refused
        assert failure is not None
        assert failure.error == StatesError.RUNTIME
        assert "spec.template.spec.containers[0].image: Required value" in failure.cause


async def test_what_no_node_can_take_waits_and_says_so(cluster: Cluster) -> None:
    made = spec_of({"resources": {"requests": {"cpu": "100000"}}})
    async with running(cluster, made) as run:
        run.launch()
        seen = await run.sees(lambda seen: seen.waiting)
        assert "waits for a node" in seen.waiting
        assert seen.active == {0: 1}


async def test_a_suspended_job_is_waited_for_also_when_it_is_suspended_again_while_it_runs(cluster: Cluster) -> None:
    """As Kueue does it: a Job is made suspended, resumed when it is admitted, and suspended again to preempt it."""
    made = spec_of({}, {"maprun.dev/test-outcome": "hang", "maprun.dev/test-duration": "0s"})
    made.item_processor.job_template["spec"]["suspend"] = True
    async with running(cluster, made) as run:
        attempt = run.launch()
        waits = Observation({0: 1}, waiting=starting.SUSPENDED)
        assert await run.sees(lambda seen: seen.waiting) == waits
        assert await run.pods() == []
        await suspend(run, attempt, False)
        await until(lambda: run.pods("Running"), bool)
        assert await run.sees(lambda seen: not seen.waiting) == Observation({0: 1})
        await suspend(run, attempt, True)
        assert await run.sees(lambda seen: seen.waiting) == waits
        await until(run.pods, empty)
        await suspend(run, attempt, False)
        await until(lambda: run.pods("Running"), bool)
        assert run.launcher.observe().finished == ()
        (pod,) = await run.pods()
        cluster.kubectl("annotate", "pod", pod, "--overwrite", "maprun.dev/test-outcome=succeed")
        assert (await run.outcome()).status is ChildStatus.SUCCEEDED


async def suspend(run: Running, attempt: Attempt, held: bool) -> None:
    """Suspend the attempt's Job, or resume it."""
    path = f"{JOBS}/{children.job_name(run.run.name, attempt)}"
    await run.client.request("PATCH", path, {"spec": {"suspend": held}}, content_type=MERGE_PATCH)


async def test_what_belongs_to_a_run_goes_with_it(cluster: Cluster) -> None:
    async with ending(cluster, "hang") as run:
        run.launch(text=LARGE)
        await until(run.jobs, bool)
        await run.client.request("DELETE", f"{RUNS}/{run.run.name}", {"propagationPolicy": "Background"})
        await until(run.jobs, empty)
        await until(run.secrets, empty)


async def test_a_job_of_a_deleted_run_with_the_same_name_is_waited_out(cluster: Cluster) -> None:
    async with ending(cluster) as run:
        labels = {"maprun.dev/run-uid": "another", "maprun.dev/child": "0", "maprun.dev/attempt": "1"}
        pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "a"}]}}
        other = {
            "metadata": {"name": f"{run.run.name}-0-1", "labels": labels},
            "spec": {"suspend": True, "template": pod},
        }
        await run.client.request("POST", JOBS, other)
        run.launch()
        assert "is taken" in (await run.sees(lambda seen: seen.waiting)).waiting
        cluster.kubectl("delete", "job", "-n", NAMESPACE, f"{run.run.name}-0-1")
        assert (await run.outcome()).status is ChildStatus.SUCCEEDED
