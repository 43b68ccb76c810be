"""One Lease of the API server: look at it, write it, follow it.

Rule 1: a write takes effect only if nobody changed the Lease since it was last seen here.
Rule 2: what others keep in it stays: labels, owners, fields that are not in `leading.Record`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import msgspec

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.watching import DELETED, lines
from maprun.core.leading import Record

API_VERSION: Final = "coordination.k8s.io/v1"
ERROR: Final = "ERROR"
CALL_SECONDS: Final = 2.0


class _Lease(msgspec.Struct):
    metadata: dict[str, Any]
    spec: dict[str, Any] | None = None


class _Event(msgspec.Struct):
    type: str
    object: dict[str, Any]


class LeaseObject:
    """The Lease `place`, `NAMESPACE/NAME`, as it was seen last. What others keep in it stays."""

    def __init__(self, client: ClusterClient, place: str) -> None:
        self._client = client
        self._namespace, self._name = place.split("/")
        self._collection = f"/apis/{API_VERSION}/namespaces/{self._namespace}/leases"
        self._last: _Lease | None = None
        self.uid = ""

    @property
    def record(self) -> Record | None:
        """What it says; None when it does not exist."""
        return None if self._last is None else msgspec.convert(self._last.spec or {}, Record)

    async def get(self, timeout: float = CALL_SECONDS) -> None:
        """Look at it. Errors: `ApiError`, `msgspec.DecodeError`."""
        try:
            answer = await self._client.request("GET", self._path, timeout=timeout)
        except ApiError as error:
            if error.status != 404:
                raise
            self._keep(None)
        else:
            self._keep(msgspec.json.decode(answer, type=_Lease))

    async def put(self, record: Record, timeout: float = CALL_SECONDS) -> None:
        """Write it, or make it, unless somebody changed it since it was seen last: `ApiError` 409, or 404."""
        last = self._last or _Lease({"namespace": self._namespace, "name": self._name})
        spec = (last.spec or {}) | msgspec.to_builtins(record)
        body = {"apiVersion": API_VERSION, "kind": "Lease", "metadata": last.metadata, "spec": spec}
        method, path = ("PUT", self._path) if self._last else ("POST", self._collection)
        answer = await self._client.request(method, path, body, timeout=timeout)
        self._keep(msgspec.json.decode(answer, type=_Lease))

    async def changes(self, silence: float) -> AsyncGenerator[None]:
        """Once at the beginning, if it exists, and after each change. Errors: those of `get`, `ApiError` with status 0
        also when nothing changes for `silence` seconds.
        """
        query = {"watch": "1", "fieldSelector": f"metadata.name={self._name}"}
        async with aclosing(self._client.stream(self._collection, query, silence)) as pieces:
            async for line in lines(pieces):
                event = msgspec.json.decode(line, type=_Event)
                if event.type == ERROR:
                    raise ApiError(
                        int(event.object.get("code", 0)), "WatchFailed", str(event.object.get("message", ""))
                    )
                self._keep(None if event.type == DELETED else msgspec.convert(event.object, _Lease))
                yield

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self._name}"

    def _keep(self, found: _Lease | None) -> None:
        self._last = found
        if found is not None:
            self.uid = str(found.metadata.get("uid", ""))
