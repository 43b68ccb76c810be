"""Finished runs, made as an operator would have left them, without one."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from maprun.adapters.cluster import JSON_PATCH, ClusterClient
from maprun.model import API_VERSION, GROUP, KIND, PLURAL, VERSION

RUNS = f"/apis/{GROUP}/{VERSION}/namespaces/{{}}/{PLURAL}"
AT_ONCE = 16
END = "2026-09-23T20:18:45Z"
NAMES = "pending running succeeded failed timedOut aborted total resultsWritten failuresNotRedrivable pendingRedrive"


async def make(client: ClusterClient, namespace: str, count: int) -> None:
    """So many finished runs, each of 100 items of which some failed."""
    queue = list(range(count))

    async def worker() -> None:
        while queue:
            await _make(client, namespace, queue.pop())

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def _make(client: ClusterClient, namespace: str, number: int) -> None:
    path = RUNS.format(namespace)
    container = {"name": "main", "image": "registry.example.com/team/handler:1.4.2", "args": ["--verbose"]}
    template = {"spec": {"template": {"spec": {"containers": [container]}}}}
    spec = {"input": [{"n": n} for n in range(100)], "itemProcessor": {"jobTemplate": template}, "maxConcurrency": 10}
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": f"idle-{number}"}, "spec": spec}
    await client.request("POST", path, body)
    patch = [{"op": "add", "path": "/status", "value": status(number)}]
    await client.request("PATCH", f"{path}/idle-{number}/status", msgspec.json.encode(patch), content_type=JSON_PATCH)


def status(number: int) -> dict[str, Any]:
    """The status of a run that tolerated three failures; some 5 KB."""
    counts = dict.fromkeys(NAMES.split(), 0) | {"succeeded": 97, "failed": 3, "total": 100, "resultsWritten": 100}
    condition = {
        "type": "Succeeded",
        "status": "True",
        "reason": "Succeeded",
        "observedGeneration": 1,
        "message": "97 of 100 items succeeded, 3 failed",
        "lastTransitionTime": END,
    }
    failure = {"error": "States.TaskFailed", "count": 3, "cause": "no runway " * 20, "child": f"idle-{number}-7"}
    return {
        "observedGeneration": 1,
        "conditions": [condition],
        "startTime": END,
        "completionTime": END,
        "itemCounts": counts,
        "executionCounts": counts,
        "maxConcurrency": 10,
        "redriveCount": 0,
        "retries": 4,
        "mapRunArn": f"arn:aws:states:us-east-1:123456789012:mapRun:idle-{number}/label:uid",
        "output": [{"runways": n, "name": "Haneda"} for n in range(100)],
        "failures": [failure],
    }
