"""Many runs of one operator under ceilings: none is exceeded, every run has its share, and one that waits says so.

Every Job that there ever is, is watched from outside, so that each moment is judged and not only those when a test
looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.adapters.operator_runs import (
    MERGE_PATCH,
    Json,
    Run,
    Seen,
    Space,
    condition,
    spaces,
    spec,
    until,
    verdict,
    watching,
)
from tests.cluster.cluster import Cluster
from tests.operator_process import OperatorProcess

IN_NAMESPACE: Final = 4
IN_ALL: Final = 6
ITEMS: Final = 40
ENDS_SECONDS: Final = 120.0
SHORT: Final = {"duration": "0.3s", "message": "1"}
HANG: Final = {"outcome": "hang"}
RUN_UID: Final = "maprun.dev/run-uid"


@dataclass
class Scene:
    """Two namespaces, their operator, and every Job that was ever made in them."""

    lab: Space
    shop: Space
    operator: OperatorProcess
    jobs: Seen

    def moments(self) -> Iterator[tuple[Counter[str], Counter[str]]]:
        """Behind each event of a Job: how many there are, by namespace and by uid of the run, and were ever made."""
        names = {self.lab.name, self.shop.name}
        live: dict[str, tuple[str, str]] = {}
        made: dict[str, str] = {}
        for kind, job in self.jobs.events:
            metadata = job["metadata"]
            if metadata["namespace"] not in names:
                continue
            live[metadata["uid"]] = metadata["namespace"], metadata["labels"][RUN_UID]
            made[metadata["uid"]] = metadata["labels"][RUN_UID]
            if kind == "DELETED":
                del live[metadata["uid"]]
            yield Counter(each for both in live.values() for each in both), Counter(made.values())

    def assert_bounded(self) -> None:
        """At no moment there were more children than the ceilings allow, and the ceilings were what bounded them."""
        together = [(live[self.lab.name], live[self.shop.name]) for live, _ in self.moments()]
        assert max(max(both) for both in together) == IN_NAMESPACE
        assert max(sum(both) for both in together) <= IN_ALL


@asynccontextmanager
async def scene(cluster: Cluster, name: str, folder: Path) -> AsyncIterator[Scene]:
    """The operator runs and is ready."""
    names = f"{name}-lab", f"{name}-shop"
    ceilings = [f"--namespace-ceiling={IN_NAMESPACE}", f"--cluster-ceiling={IN_ALL}"]
    options = [*ceilings, *(f"--namespace={each}" for each in names)]
    operator = OperatorProcess(folder, cluster.kubeconfig, f"file://{folder}/state", options)
    async with AsyncExitStack() as stack:
        lab, shop = await stack.enter_async_context(spaces(cluster, *names))
        jobs = await stack.enter_async_context(watching(lab.client, "/apis/batch/v1/jobs"))
        stack.enter_context(operator)
        yield Scene(lab, shop, operator, jobs)
        assert "Traceback" not in operator.log
        await lab.close()
        await shop.close()


async def three(at: Scene, pod: Json = SHORT) -> list[Run]:
    """Two runs in one namespace and one in the other, each of which alone would fill its namespace."""
    made = spec(list(range(ITEMS)), pod=pod)
    return [await at.lab.create(made, "one"), await at.lab.create(made, "two"), await at.shop.create(made, "other")]


async def test_three_runs_in_two_namespaces_keep_to_the_ceilings_and_share_them(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with scene(cluster, "shares", tmp_path) as at:
        runs = await three(at)
        for run in runs:
            assert verdict(await run.ended(ENDS_SECONDS)) == "True"
        at.assert_bounded()
        assert_shared(at, *(run.uid for run in runs))
        assert at.operator.metrics()['maprun_capacity_ceiling{scope="cluster"}'] == IN_ALL


def assert_shared(at: Scene, one: str, two: str, other: str) -> None:
    """Once nobody has more than its share: the namespaces have half each, and the two runs of one have half of that."""
    settled, most, made = False, Counter[str](), Counter[str]()
    for live, made in at.moments():
        if max(made.values()) > ITEMS - IN_ALL:
            break  # behind its last children a run leaves its share to others
        settled |= 0 < live[one] <= 2 and 0 < live[two] <= 2 and live[other] == 3
        if settled:
            most |= live
    assert (most[one], most[two], most[other]) == (2, 2, 3)
    assert made[one] + made[two] >= ITEMS // 2
    assert min(made[one], made[two]) >= ITEMS // 8


async def test_a_restart_in_the_middle_exceeds_no_ceiling(cluster: Cluster, tmp_path: Path) -> None:
    async with scene(cluster, "restart", tmp_path) as at:
        runs = await three(at)
        await until(lambda: _made(at, 3 * IN_ALL))
        at.operator.kill()
        at.operator.start().await_ready()
        for run in runs:
            assert verdict(await run.ended(ENDS_SECONDS)) == "True"
        at.assert_bounded()


async def _made(at: Scene, jobs: int) -> bool:
    return any(made.total() >= jobs for _, made in at.moments())


async def test_a_run_that_waits_says_so_and_goes_on_when_another_is_deleted(cluster: Cluster, tmp_path: Path) -> None:
    async with scene(cluster, "waits", tmp_path) as at:
        first = await at.lab.create(spec(list(range(ITEMS)), pod=HANG))
        await first.until(lambda status: status.get("executionCounts", {}).get("running") == IN_NAMESPACE)
        second = await at.lab.create(spec([1, 2, 3], pod=SHORT))
        status = await second.until(lambda status: condition(status).get("reason") == "WaitingForCapacity")
        told = "4 of 4 children of the runs of namespace waits-lab are live (the operator's namespace ceiling)"
        assert f"waits for capacity: {told}" in condition(status)["message"]
        resting = f'maprun_run_resting{{name="{second.name}",namespace="waits-lab",reason="capacity"}}'
        assert at.operator.metrics()[resting] == 1
        await first.delete()
        assert verdict(await second.ended(ENDS_SECONDS)) == "True"
        at.assert_bounded()


async def test_children_of_a_run_in_a_queue_of_kueue_are_labelled_and_waited_for(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with scene(cluster, "queue", tmp_path) as at:
        made = spec([1, 2], pod=SHORT)
        made["itemProcessor"]["jobTemplate"]["spec"]["suspend"] = True  # as Kueue has it from the first moment on
        labels = {"kueue.x-k8s.io/queue-name": "lab-queue", "team": "flights"}
        run = await at.lab.create(made, labels=labels)
        status = await run.until(lambda status: "suspended" in condition(status).get("message", ""))
        assert condition(status)["message"].endswith("their Jobs are suspended, for instance by Kueue")
        assert status["executionCounts"]["running"] == 2
        for job in await run.jobs():
            assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "lab-queue"
            assert "team" not in job["metadata"]["labels"]
            path = at.lab.path("jobs", job["metadata"]["name"], "batch/v1")
            await at.lab.client.request("PATCH", path, {"spec": {"suspend": False}}, content_type=MERGE_PATCH)
        assert (await run.ended())["itemCounts"]["succeeded"] == 2
