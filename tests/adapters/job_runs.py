"""MapRuns on a real API server whose Jobs a test starts through the launcher itself, without an engine."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.jobs import JobsLauncher
from maprun.adapters.jobs_watch import JobsWatch
from maprun.adapters.pacing import WriteBudget
from maprun.core.resources import Thing
from maprun.core.scheduling import Observation
from maprun.core.starting import PATIENCE
from maprun.model import API_VERSION, GROUP, KIND, PLURAL, VERSION, MapRunSpec, RunRef
from maprun.model_processing import ItemProcessor, Output, OutputFrom
from maprun.records import Attempt, Batch, Outcome
from tests.cluster.cluster import Cluster
from tests.operator_process import eventually
from tools import crd

Json = dict[str, Any]
T = TypeVar("T")
FIRST = Attempt(0, 1)
NAMESPACE = "default"
WAIT_SECONDS = 60.0
RUNS = f"/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/{PLURAL}"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"


def install(cluster: Cluster) -> Cluster:
    """The cluster, with the CRD."""
    cluster.kubectl("apply", "--server-side", "-f", str(crd.TARGET))
    # Being Established is not enough: for a moment its storage is still initializing.
    eventually(lambda: cluster.kubectl("get", f"{PLURAL}.{GROUP}", check=False).returncode == 0)
    return cluster


def spec_of(
    container: Json,
    annotations: Json | None = None,
    output: OutputFrom = OutputFrom.TERMINATION_MESSAGE,
    timeout: int | None = None,
) -> MapRunSpec:
    """A spec whose Jobs run one container."""
    spec = {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": "busybox", **container}]}
    pod = {"metadata": {"annotations": annotations or {}}, "spec": spec}
    return MapRunSpec(
        item_processor=ItemProcessor(
            job_template={"spec": {"template": pod}}, output=Output(output), timeout_seconds=timeout
        )
    )


@dataclass
class Running:
    """A run on the cluster, and one operator's launcher of it."""

    client: ClusterClient
    run: RunRef
    spec: MapRunSpec
    launcher: JobsLauncher

    def launch(self, child: int = 0, number: int = 1, text: bytes = b"{}") -> Attempt:
        attempt = Attempt(child, number)
        self.launcher.launch(attempt, Batch(child, 1, msgspec.Raw(text)))
        return attempt

    async def sees(self, condition: Callable[[Observation], object], seconds: float = WAIT_SECONDS) -> Observation:
        """Wait until an observation fulfils the condition, woken only by `changed`."""
        async with asyncio.timeout(seconds):
            while not condition(seen := self.launcher.observe()):
                await self.launcher.changed()
        return seen

    async def outcome(self, attempt: Attempt = FIRST, seconds: float = WAIT_SECONDS) -> Outcome:
        """The outcome of an attempt."""
        seen = await self.sees(lambda seen: any(each.key == attempt for each in seen.finished), seconds)
        return next(each for each in seen.finished if each.key == attempt)

    async def created(self, attempt: Attempt) -> None:
        """Wait until the launcher has its answer to the create."""
        async with asyncio.timeout(WAIT_SECONDS):
            while self.launcher._writer.creating(attempt):
                await asyncio.sleep(0.05)

    async def jobs(self) -> list[str]:
        """Names of the run's Jobs."""
        return await self._names(JOBS)

    async def pods(self, phase: str = "") -> list[str]:
        """Names of the run's pods, or of those in a phase."""
        return await self._names(PODS, f"status.phase={phase}" if phase else "")

    async def secrets(self) -> list[str]:
        """Names of the run's Secrets."""
        return await self._names(f"/api/v1/namespaces/{NAMESPACE}/secrets")

    async def _names(self, path: str, fields: str = "") -> list[str]:
        query = {"labelSelector": f"maprun.dev/run-uid={self.run.uid}", "fieldSelector": fields}
        answer = await self.client.request("GET", path, params=query)
        return sorted(each["metadata"]["name"] for each in msgspec.json.decode(answer)["items"])


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[ClusterClient]:
    """A client of the cluster."""
    client = await ClusterClient.connect(str(cluster.kubeconfig))
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def resource(client: ClusterClient) -> AsyncIterator[RunRef]:
    """A MapRun of which only the name and the uid matter; deleted in the end, with everything that belongs to it."""
    name = f"jobs-{uuid.uuid4().hex[:8]}"
    template = {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}
    spec = {"itemProcessor": {"jobTemplate": {"spec": {"template": template}}}}
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
    answer = await client.request("POST", RUNS, body)
    yield RunRef(NAMESPACE, name, msgspec.json.decode(answer, type=Thing).metadata.uid, 0.0)
    with suppress(ApiError):  # the test may have deleted it
        await client.request("DELETE", f"{RUNS}/{name}", {"propagationPolicy": "Background"})


@asynccontextmanager
async def operator(
    client: ClusterClient, run: RunRef, spec: MapRunSpec, patience: float = PATIENCE
) -> AsyncIterator[Running]:
    """One life of an operator that has this run."""
    watch = JobsWatch(client, [run.namespace])
    await watch.start()
    launcher = JobsLauncher(run, spec, watch, client, WriteBudget(), patience)
    await launcher.open()
    try:
        yield Running(client, run, spec, launcher)
    finally:
        await launcher.close()
        await watch.close()


@asynccontextmanager
async def running(cluster: Cluster, spec: MapRunSpec, patience: float = PATIENCE) -> AsyncIterator[Running]:
    """A run of its own on the cluster, with an operator."""
    async with connected(cluster) as client, resource(client) as run, operator(client, run, spec, patience) as made:
        yield made


async def until(
    read: Callable[[], Awaitable[T]], condition: Callable[[T], object], seconds: float = WAIT_SECONDS
) -> None:
    """Wait, with a bound, until what is read fulfils the condition."""
    async with asyncio.timeout(seconds):
        while not condition(await read()):
            await asyncio.sleep(0.1)
