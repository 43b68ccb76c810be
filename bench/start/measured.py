"""What is measured, and the run that the operator finds."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from maprun.adapters.cluster import ClusterClient
from maprun.adapters.watching import lines
from maprun.model import API_VERSION, GROUP, KIND, PLURAL, VERSION

RUNS = f"/apis/{GROUP}/{VERSION}/namespaces/default/{PLURAL}"
SECONDS = 60.0
TEMPLATE = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "localhost/busybox:dev"}]}}}}


class Measured(msgspec.Struct, frozen=True):
    """Seconds from the start of the operator's process; `scheduled` and `imports` are times of their own."""

    reconciled: float
    ready: float | None = None
    imports: float | None = None
    scheduled: float | None = None


@asynccontextmanager
async def waiting_run(client: ClusterClient) -> AsyncIterator[str]:
    """A MapRun of one item that nobody has looked at; yields its name. Deleted at the end, by whoever runs then."""
    name = f"start-{uuid.uuid4().hex[:6]}"
    spec = {"input": [1], "itemProcessor": {"jobTemplate": TEMPLATE}}
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
    await client.request("POST", RUNS, body)
    try:
        yield name
    finally:
        await client.request("DELETE", f"{RUNS}/{name}")


async def first_status(client: ClusterClient, name: str) -> float:
    """When the run got its first status: `time.time()` as the watch told it. `LookupError`: the watch ended."""
    query = {"watch": "1", "fieldSelector": f"metadata.name={name}"}
    async for line in lines(client.stream(RUNS, query, SECONDS)):
        event: dict[str, Any] = msgspec.json.decode(line)
        if event["object"].get("status"):
            return time.time()
    raise LookupError(f"{name} got no status")
