"""What the watch does not carry: the end of a container's log, a pod that it has not shown yet, and warnings.

Rule 1: a read that fails for a moment is repeated; one that fails for good is told as `None` or an empty list, never
raised.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.core import starting
from maprun.core.children import ATTEMPT_LABEL, CHILD_LABEL, RUN_UID_LABEL
from maprun.core.resources import PodView, Thing
from maprun.model import RunRef
from maprun.records import Attempt

PAUSES: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)  # seconds between tries
AT_ONCE: Final = 8

# A runtime splits a long line into entries of 16 KiB (containerd) or 8 KiB (CRI-O), and the kubelet counts entries,
# not lines. So many entries hold the longest output that is allowed, and show when there was more.
LOG_ENTRIES: Final = 36


class _Pods(msgspec.Struct):
    items: list[PodView]


class _Event(msgspec.Struct):
    reason: str = ""
    message: str = ""


class _Events(msgspec.Struct):
    items: list[_Event]


class JobsReader:
    """The reads of one run."""

    def __init__(self, run: RunRef, client: ClusterClient) -> None:
        self._run, self._client = run, client
        self._pods = f"/api/v1/namespaces/{run.namespace}/pods"
        self._room = asyncio.Semaphore(AT_ONCE)

    async def log(self, pod: str, container: str) -> str | None:
        """The tail of a container's log; None when the pod or its log is gone."""
        query = {"container": container, "tailLines": str(LOG_ENTRIES)}
        answer = await self._get(f"{self._pods}/{pod}/log", query)
        return None if answer is None else answer.decode(errors="replace")

    async def pods(self, attempt: Attempt) -> list[PodView]:
        """The pods of an attempt."""
        selector = f"{RUN_UID_LABEL}={self._run.uid},{CHILD_LABEL}={attempt.child},{ATTEMPT_LABEL}={attempt.number}"
        answer = await self._get(self._pods, {"labelSelector": selector})
        return [] if answer is None else msgspec.json.decode(answer, type=_Pods).items

    async def trouble(self, thing: Thing) -> str:
        """The last warning that was told about a Job or pod, in words for the user; "" when there is none."""
        query = {"fieldSelector": f"involvedObject.uid={thing.metadata.uid},type=Warning"}
        answer = await self._get(f"/api/v1/namespaces/{self._run.namespace}/events", query)
        events = [] if answer is None else msgspec.json.decode(answer, type=_Events).items
        return starting.warned(thing.metadata.name, events[-1].reason, events[-1].message) if events else ""

    async def _get(self, path: str, query: dict[str, str]) -> bytes | None:
        for pause in (*PAUSES, None):
            try:
                async with self._room:
                    return await self._client.request("GET", path, params=query)
            except ApiError as error:
                if pause is None or error.status == 404:
                    return None
            await asyncio.sleep(pause)
        return None
