"""Deletes runs `ttlSecondsAfterFinished` after their end: one timer for all of them.

Rule 1: no call while nothing is due. When a run expires follows from its resource (core/lifecycle.py), so that the
        first list after a start tells it all.
Rule 2: a run is deleted as it was last seen, and not otherwise: uid and resource version are preconditions. What
        changed meanwhile is told by the watch, and decided anew.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.core import lifecycle
from maprun.model import GROUP, PLURAL, VERSION

LONGEST_SECONDS: Final = 30.0  # between two looks at the clock, which may be set meanwhile
RETRY_SECONDS: Final = 30.0

log = logging.getLogger("maprun")


class _Known(msgspec.Struct, frozen=True):
    """A run that expires: when, its URL path, and which version of it was seen."""

    at: float
    path: str
    uid: str
    version: str


class Expiry:
    """Tell it of each resource that comes, changes or goes. `clock` gives seconds since the epoch."""

    def __init__(self, client: ClusterClient, clock: Callable[[], float] = time.time) -> None:
        self._client, self._clock = client, clock
        self._known: dict[str, _Known] = {}
        self._heap: list[tuple[float, str]] = []  # an entry counts only with the time that is known
        self._earlier = asyncio.Event()

    def seen(self, body: Mapping[str, Any]) -> None:
        """The resource is like this now."""
        at, metadata = lifecycle.expires_at(body), body["metadata"]
        if at is None:
            self.gone(metadata["uid"])
            return
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{metadata['namespace']}/{PLURAL}/{metadata['name']}"
        self._keep(_Known(at, path, metadata["uid"], metadata["resourceVersion"]))

    def gone(self, uid: str) -> None:
        """The resource with this uid is not there any more, or does not expire."""
        self._known.pop(uid, None)

    async def run(self) -> None:
        """Never returns. One deletion at a time: a thousand take some seconds."""
        while True:
            left = self._next() - self._clock()
            if left > 0:
                self._earlier.clear()
                await _either(self._earlier, min(left, LONGEST_SECONDS) if self._heap else None)
            else:
                _, uid = heapq.heappop(self._heap)
                await self._delete(self._known.pop(uid))

    def _keep(self, known: _Known) -> None:
        before = self._known.get(known.uid)
        self._known[known.uid] = known
        if before is None or before.at != known.at:
            heapq.heappush(self._heap, (known.at, known.uid))
            self._earlier.set()

    def _next(self) -> float:
        """When the next run is due."""
        while self._heap:
            at, uid = self._heap[0]
            if uid in self._known and self._known[uid].at == at:
                return at
            heapq.heappop(self._heap)
        return float("inf")

    async def _delete(self, run: _Known) -> None:
        body = {
            "preconditions": {"uid": run.uid, "resourceVersion": run.version},
            "propagationPolicy": "Background",
        }
        try:
            await self._client.request("DELETE", run.path, body)
        except ApiError as error:
            if error.status in (404, 409):  # it is gone, or it changed, and the watch tells
                return
            log.warning("a finished run cannot be deleted now, and is tried again: %s", error)
            if run.uid not in self._known:
                self._keep(msgspec.structs.replace(run, at=self._clock() + RETRY_SECONDS))


async def _either(event: asyncio.Event, seconds: float | None) -> None:
    """Until the event, or for so long."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
