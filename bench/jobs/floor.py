"""The floor: the same Jobs by a bare client that does nothing else, so many at a time: create, watch, delete.

Rule 1: the Jobs are those that MapRun makes, so that the cluster has the same work.
Rule 2: the client does as little as a client can: no state, no retries, each event looked at once.
"""

from __future__ import annotations

import asyncio
import time
import uuid

import msgspec

from maprun.adapters.cluster import ClusterClient
from maprun.adapters.watching import lines
from maprun.core.children import RUN_UID_LABEL, job_for
from maprun.core.resources import JobView
from maprun.model import MapRunSpec, RunRef
from maprun.records import Attempt, Batch

NAMESPACE = "default"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
OPTIONS = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}


class _Event(msgspec.Struct):
    type: str
    object: JobView


async def measure(kubeconfig: str, spec: MapRunSpec, children: int, live: int) -> float:
    """Seconds that it takes to create, watch to its completion and delete each Job."""
    client = await ClusterClient.connect(kubeconfig)
    run = RunRef(NAMESPACE, f"floor-{uuid.uuid4().hex[:6]}", str(uuid.uuid4()), 0.0)
    try:
        return await _Floor(client, run, spec, children, live).measure()
    finally:
        await client.close()


class _Floor:
    def __init__(self, client: ClusterClient, run: RunRef, spec: MapRunSpec, children: int, live: int) -> None:
        self._client, self._run, self._spec, self._children = client, run, spec, children
        self._room = asyncio.Semaphore(live)
        self._completed: dict[str, asyncio.Event] = {}

    async def measure(self) -> float:
        async with asyncio.TaskGroup() as everything:  # a watch that breaks ends the measurement
            watching = everything.create_task(self._watch(await self._version()))
            began = time.monotonic()
            async with asyncio.TaskGroup() as jobs:
                for child in range(self._children):
                    await self._room.acquire()
                    jobs.create_task(self._job(child))
            taken = time.monotonic() - began
            watching.cancel()
        return taken

    async def _job(self, child: int) -> None:
        job = job_for(self._run, self._spec, Attempt(child, 1), Batch(child, 1, msgspec.Raw(b"%d" % child))).job
        # Its owner is no resource, and the garbage collector would take it away.
        job["metadata"].pop("ownerReferences")
        name = job["metadata"]["name"]
        completed = self._completed[name] = asyncio.Event()
        await self._client.request("POST", JOBS, job)
        await completed.wait()
        await self._client.request("DELETE", f"{JOBS}/{name}", OPTIONS)
        del self._completed[name]
        self._room.release()

    async def _version(self) -> str:
        listed = await self._client.request("GET", JOBS, params={"limit": "1"})
        return str(msgspec.json.decode(listed)["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> None:
        """The server ends a watch whose reader falls behind; then it goes on from the last version."""
        decoder = msgspec.json.Decoder(_Event)
        while True:
            query = {"watch": "1", "labelSelector": f"{RUN_UID_LABEL}={self._run.uid}", "resourceVersion": version}
            async for line in lines(self._client.stream(JOBS, query, silence=600.0)):
                job = decoder.decode(line).object
                version = job.metadata.resourceVersion
                waiter = self._completed.get(job.metadata.name)
                if waiter is not None and job.has("Complete"):
                    waiter.set()
