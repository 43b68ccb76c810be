"""A run in a queue of the real Kueue: its quota bounds the children, and what it stops or preempts costs nothing.

Kueue's own controller, webhooks and CRDs are at work (tests/cluster/kueue.py). Every Job is watched from outside, so
that each moment is judged and not only those when a test looks.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import pytest

from tests.adapters.job_runs import install
from tests.adapters.operator_runs import (
    MERGE_PATCH,
    Buckets,
    Json,
    Run,
    Seen,
    Space,
    access,
    condition,
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

HERE: Final = "queued"
QUOTA: Final = 4  # pods
WANTED: Final = 8
ITEMS: Final = 12
KUEUE: Final = "kueue.x-k8s.io/v1beta2"
QUEUE: Final = "kueue.x-k8s.io/queue-name"
PRIORITY: Final = "kueue.x-k8s.io/priority-class"
SHORT: Final = {"duration": "0.3s", "message": "1"}
UNTIL_LET: Final = {"outcome": "hang", "duration": "0s", "message": "1"}  # runs until the test lets it end
HELD: Final = "children wait because their Jobs are suspended, for instance by Kueue"
RETRY: Final = [{"errorEquals": ["States.ALL"], "intervalSeconds": 1, "maxAttempts": 3}]


@pytest.fixture(scope="module")
def operator(cluster_kueue: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One operator for the whole file."""
    install(cluster_kueue)
    cluster_kueue.kubectl("create", "namespace", HERE)
    make(cluster_kueue, "ResourceFlavor", "any")
    folder = tmp_path_factory.mktemp("operator")
    options = [f"--namespace={HERE}"]
    with OperatorProcess(folder, cluster_kueue.kubeconfig, f"file://{folder}/state", options) as process:
        yield process
        assert "Traceback" not in process.log


@dataclass
class Scene:
    """A namespace with a queue of its own for one test: a ClusterQueue and a LocalQueue, both called `queue`."""

    cluster: Cluster
    space: Space
    jobs: Seen
    buckets: Buckets
    operator: OperatorProcess
    queue: str

    async def create(self, pod: Json, items: int = ITEMS, priority: str = "", queue: str = "") -> Run:
        """A run in the queue; its results go to a bucket."""
        assert self.cluster.s3 is not None
        await self.space.secret(secret_of(self.cluster.s3))
        made = spec(
            list(range(items)),
            pod=pod,
            processor={"retry": RETRY},
            maxConcurrency=WANTED,
            resultWriter=writer(self.buckets.make()),
            s3=access(self.cluster.s3),
        )
        labels = {QUEUE: queue or self.queue} | ({PRIORITY: priority} if priority else {})
        return await self.space.create(made, labels=labels)

    def stop(self, policy: str) -> None:
        """Set the ClusterQueue's stopPolicy."""
        patch = json.dumps({"spec": {"stopPolicy": policy}})
        self.cluster.kubectl("patch", "clusterqueue", self.queue, "--type=merge", f"--patch={patch}")

    async def workloads(self, run: Run | None = None) -> list[Json]:
        """Kueue's Workloads in the namespace, or those of the run's Jobs."""
        answer = await self.space.client.request("GET", self.space.path("workloads", group=KUEUE))
        found: list[Json] = json.loads(answer)["items"]
        uids = set(self.jobs.created(run)) if run else set()
        return [each for each in found if run is None or each["metadata"]["ownerReferences"][0]["uid"] in uids]

    async def pods(self, run: Run) -> int:
        """How many pods of the run are running."""
        query = {"labelSelector": f"maprun.dev/run-uid={run.uid}", "fieldSelector": "status.phase=Running"}
        answer = await self.space.client.request("GET", self.space.path("pods"), params=query)
        return len(json.loads(answer)["items"])

    async def runs(self, run: Run, pods: int) -> None:
        """Wait until so many pods of the run are running."""

        async def there() -> bool:
            return await self.pods(run) == pods

        await until(there)

    async def let(self, run: Run, done: Callable[[Json], object]) -> Json:
        """Let each pod of the run end that there is, until its status fulfils the condition; returns that status."""
        selected = f"--selector=maprun.dev/run-uid={run.uid}"
        words = ["annotate", "pods", f"--namespace={HERE}", selected, "--overwrite", "maprun.dev/test-outcome=succeed"]

        def letting(status: Json) -> object:
            self.cluster.kubectl(*words, check=False)  # one may go at the same moment
            return done(status)

        return await run.until(letting)

    async def cleared(self, run: Run) -> None:
        """Wait until no Job and no Workload of the run is left."""

        async def gone() -> bool:
            return not await run.jobs() and not await self.workloads(run)

        await until(gone)

    async def assert_whole(self, run: Run, items: int = ITEMS) -> None:
        """Every item has succeeded, is counted once and in the results once, and no child had a second attempt."""
        status = await run.ended()
        assert verdict(status) == "True"
        counts = status["itemCounts"]
        assert (counts["succeeded"], counts["total"], counts["pending"], counts["running"]) == (items, items, 0, 0)
        records = self.buckets.results(status).records("SUCCEEDED")
        assert Counter(each["Input"] for each in records) == Counter(str(item) for item in range(items))
        assert sorted(self.jobs.created(run).values()) == [(child, 1) for child in range(items)]


@pytest.fixture
async def at(operator: OperatorProcess, cluster_kueue: Cluster) -> AsyncIterator[Scene]:
    name = f"q-{uuid.uuid4().hex[:6]}"
    make(cluster_kueue, "ClusterQueue", name, cluster_queue())
    make(cluster_kueue, "LocalQueue", name, {"clusterQueue": name})
    assert cluster_kueue.s3 is not None
    async with spaces(cluster_kueue, HERE) as (space,):
        with closing(Buckets(cluster_kueue.s3)) as buckets:
            async with watching(space.client, space.path("jobs", group="batch/v1")) as jobs:
                yield Scene(cluster_kueue, space, jobs, buckets, operator, name)


def make(cluster: Cluster, kind: str, name: str, spec: Json | None = None, **fields: Json | int) -> None:
    """Make an object of Kueue's."""
    body = {"apiVersion": KUEUE, "kind": kind, "metadata": {"name": name}, **({"spec": spec} if spec else {}), **fields}
    cluster.kubectl("create", f"--namespace={HERE}", "-f", "-", input=json.dumps(body))


def cluster_queue() -> Json:
    """Room for `QUOTA` pods of any namespace; who has a higher priority takes the place of others."""
    flavor = {"name": "any", "resources": [{"name": "pods", "nominalQuota": QUOTA}]}
    return {
        "namespaceSelector": {},
        "resourceGroups": [{"coveredResources": ["pods"], "flavors": [flavor]}],
        "preemption": {"withinClusterQueue": "LowerPriority"},
    }


def admitted(seen: Seen, run: Run) -> Iterator[int]:
    """Behind each event of a Job of the run: how many are neither suspended nor finished."""
    live: set[str] = set()
    for kind, job in seen.of(run):
        over = any(each["type"] in ("Complete", "Failed") for each in job.get("status", {}).get("conditions", ()))
        goes = kind != "DELETED" and not job["spec"]["suspend"] and not over
        (live.add if goes else live.discard)(job["metadata"]["uid"])
        yield len(live)


def ended(status: Json) -> bool:
    return verdict(status) in ("True", "False")


async def held_up(run: Run) -> Json:
    """Wait until the run says that its children wait for Kueue; returns that status."""
    return await run.until(lambda status: HELD in condition(status).get("message", ""))


async def test_the_quota_bounds_a_run_that_wants_more(at: Scene) -> None:
    run = await at.create(SHORT)
    await held_up(run)
    await at.assert_whole(run)
    assert HELD in [event.note for event in await run.events() if event.reason == "ChildrenWaiting"]
    assert max(admitted(at.jobs, run)) == QUOTA
    assert at.jobs.most_at_once(run) == WANTED  # the queue sees those that wait for it, too


async def test_a_queue_that_is_stopped_takes_its_children_back_and_no_retry_is_spent(at: Scene) -> None:
    run = await at.create(UNTIL_LET)
    await at.runs(run, QUOTA)
    at.stop("HoldAndDrain")
    await at.runs(run, 0)
    status = await held_up(run)
    assert status["executionCounts"]["running"] == WANTED
    assert status["executionCounts"]["failed"] == 0
    assert {job["spec"]["suspend"] for job in await run.jobs()} == {True}
    at.stop("None")
    await at.runs(run, QUOTA)
    await at.let(run, ended)
    await at.assert_whole(run)
    evicted = [job for _, job in at.jobs.of(run) if job["spec"]["suspend"] and job["status"].get("startTime")]
    assert len({job["metadata"]["uid"] for job in evicted}) == QUOTA


async def test_a_suspended_run_gives_its_quota_back_when_those_in_the_queue_are_through(at: Scene) -> None:
    run = await at.create(UNTIL_LET)
    await at.runs(run, QUOTA)
    await run.change(suspend=True)
    await run.until(lambda status: "suspended: the 8 running children may end" in condition(status)["message"])
    status = await at.let(run, lambda status: condition(status)["reason"] == "Suspended")
    assert (status["itemCounts"]["succeeded"], status["itemCounts"]["pending"]) == (WANTED, ITEMS - WANTED)
    await at.cleared(run)
    assert len(at.jobs.created(run)) == WANTED
    await run.change(suspend=False)
    await at.runs(run, QUOTA)
    await at.let(run, ended)
    await at.assert_whole(run)


async def test_abort_takes_admitted_and_waiting_jobs_and_their_workloads_away(at: Scene) -> None:
    run = await stopped_by(at, lambda run: run.change(abort=True))
    status = await run.ended()
    assert condition(status)["reason"] == "Aborted"
    assert (status["itemCounts"]["aborted"], status["itemCounts"]["pending"]) == (WANTED, ITEMS - WANTED)


async def test_a_run_that_is_deleted_takes_them_with_it(at: Scene) -> None:
    run = await stopped_by(at, Run.delete)
    await until(run.gone)


async def stopped_by(at: Scene, stop: Callable[[Run], Awaitable[None]]) -> Run:
    """A run that was stopped while half of its children waited; its quota is free again."""
    run = await at.create(UNTIL_LET)
    await at.runs(run, QUOTA)
    assert len(await at.workloads(run)) == WANTED
    await stop(run)
    await at.cleared(run)
    other = await at.create(SHORT, items=QUOTA)
    await at.assert_whole(other, items=QUOTA)
    return run


async def test_a_run_of_higher_priority_takes_the_place_of_one_of_lower(at: Scene) -> None:
    for name, value in (("low", 10), ("high", 1000)):
        make(at.cluster, "WorkloadPriorityClass", name, value=value)
    low = await at.create(UNTIL_LET, items=QUOTA, priority="low")
    await at.runs(low, QUOTA)
    high = await at.create(UNTIL_LET, items=2, priority="high")
    await at.runs(high, 2)
    assert {each["spec"]["priority"] for each in await at.workloads(high)} == {1000}
    assert {each["spec"]["priority"] for each in await at.workloads(low)} == {10}
    await at.runs(low, QUOTA - 2)
    await held_up(low)
    await at.let(high, ended)
    await at.assert_whole(high, items=2)
    await at.runs(low, QUOTA)
    await at.let(low, ended)
    await at.assert_whole(low, items=QUOTA)


async def test_a_run_waits_for_a_queue_that_is_made_later(at: Scene) -> None:
    later = f"{at.queue}-later"
    run = await at.create(SHORT, items=2, queue=later)
    await held_up(run)
    make(at.cluster, "LocalQueue", later, {"clusterQueue": at.queue})
    await at.assert_whole(run, items=2)


async def test_a_name_that_kueue_refuses_is_told_and_another_label_mends_it(at: Scene) -> None:
    run = await at.create(SHORT, items=2, queue="Not_A_Name")
    await run.until(lambda status: 'queue-name]: Invalid value: "Not_A_Name"' in condition(status).get("message", ""))
    body = {"metadata": {"labels": {QUEUE: at.queue}}}
    await at.space.client.request("PATCH", run.path, body, content_type=MERGE_PATCH)
    await at.assert_whole(run, items=2)


async def test_while_kueue_is_away_no_job_is_made_and_nothing_is_lost(at: Scene) -> None:
    run = await at.create(UNTIL_LET)
    await at.runs(run, QUOTA)
    at.cluster.kill("kueue")
    late = await at.create(SHORT, items=2)
    await late.until(lambda status: "mjob.kb.io" in condition(status).get("message", ""))
    assert not at.jobs.created(late)
    at.cluster.start("kueue")
    await at.let(run, ended)
    await at.assert_whole(run)
    await at.assert_whole(late, items=2)
