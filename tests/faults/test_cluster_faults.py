"""Faults of the cluster: what others do to Jobs, pods and nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from maprun.adapters.cluster import ApiError
from tests.adapters.operator_runs import Json, Run, attempt_of, until
from tests.faults.parts import FLAKY, Parts, Stage
from tests.faults.scenarios import scenario

SLOW: Final = {**FLAKY, "duration": "3s"}  # so that what is struck is running, and has not succeeded unseen
STRUCK: Final = 6
FEW: Final = 40


async def running(at: Stage, run: Run, **where: Any) -> list[Json]:
    """The run's pods that run, and whose work has just begun: the youngest first."""
    query = {"labelSelector": f"maprun.dev/run-uid={run.uid}", "fieldSelector": "status.phase=Running"}
    pods = json.loads(await at.space.client.request("GET", at.space.path("pods"), params=query))["items"]
    found = [pod for pod in pods if all(pod["spec"].get(key) == value for key, value in where.items())]
    return sorted(found, key=lambda pod: pod["status"]["startTime"], reverse=True)


async def strike(at: Stage, run: Run, kind: str) -> set[tuple[int, int]]:
    """Delete the Jobs (`jobs`) or evict the pods (`evict`) of some children that run; returns which."""
    struck: set[tuple[int, int]] = set()

    async def done() -> bool:
        for pod in await running(at, run):
            if len(struck) < STRUCK and attempt_of(pod) not in struck and await _struck(at, pod, kind):
                struck.add(attempt_of(pod))
        return len(struck) == STRUCK

    await until(done)
    return struck


async def _struck(at: Stage, pod: Json, kind: str) -> bool:
    metadata, client = pod["metadata"], at.space.client
    try:
        if kind == "evict":
            path = at.space.path("pods", f"{metadata['name']}/eviction")
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": metadata["name"]}}
            await client.request("POST", path, body)
        else:
            path = at.space.path("jobs", metadata["labels"]["batch.kubernetes.io/job-name"], group="batch/v1")
            await client.request("DELETE", path, {"propagationPolicy": "Background"})
    except ApiError as error:  # it has just gone by itself
        if error.status != 404:
            raise
        return False
    return True


@scenario("Jobs are deleted by hand")
async def test_jobs_are_deleted(parts: Parts, tmp_path: Path) -> None:
    """Some while the operator looks, some while it is away: those have vanished when it comes back."""
    like = await parts.undisturbed(tmp_path, FEW)
    async with parts.stage(tmp_path, "deleted-jobs") as at:
        await at.ready()
        run = await at.create(FEW, SLOW, maxConcurrency=15)
        await strike(at, run, "jobs")
        await at.some(run, 8)
        at.operator.kill()
        await strike(at, run, "jobs")
        at.operator.start()
        await at.proved(run, like, FEW, renewed=True)


@scenario("pods are evicted")
async def test_pods_are_evicted(parts: Parts, tmp_path: Path) -> None:
    """An eviction is no failure of the work: it spends no retry, of which each child needs its own."""
    like = await parts.undisturbed(tmp_path, FEW)
    async with parts.stage(tmp_path, "evicted") as at:
        await at.ready()
        run = await at.create(FEW, SLOW, maxConcurrency=15)
        await strike(at, run, "evict")
        await at.some(run, 8)
        await strike(at, run, "evict")
        status = await at.proved(run, like, FEW)
        assert status["retries"] == FEW


@scenario("a node is deleted")
async def test_a_node_is_deleted(parts: Parts, tmp_path: Path) -> None:
    like = await parts.undisturbed(tmp_path, FEW)
    async with parts.stage(tmp_path, "node") as at:
        await at.ready()
        run = await at.create(FEW, SLOW, maxConcurrency=15)
        await at.some(run, 3)
        node = next(iter(await running(at, run)))["spec"]["nodeName"]
        lost = {attempt_of(pod) for pod in await running(at, run, nodeName=node)}
        manifest = json.loads(parts.cluster.kubectl("get", "node", node, "-o", "json").stdout)
        kept = {key: manifest["metadata"][key] for key in ("name", "labels", "annotations")}
        parts.cluster.kubectl("delete", "node", node)
        try:
            status = await at.proved(run, like, FEW)
        finally:
            body = {"apiVersion": "v1", "kind": "Node", "metadata": kept, "spec": {"podCIDR": ""}}
            parts.cluster.kubectl("create", "-f", "-", input=json.dumps(body))
        assert lost
        assert status["retries"] == FEW
