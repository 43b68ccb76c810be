"""An API server that keeps Leases, in memory, and the lines by which candidates reach it.

Rule 1: it behaves like the real one where an election depends on it: a write of an old version is refused, a watch
tells first what there is and then each change.
Rule 2: it takes time only where a test says so; then it is the loop's, which may be virtual.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from maprun.adapters.cluster import ApiError

Json = dict[str, Any]
COLLECTION: Final = "/apis/coordination.k8s.io/v1/namespaces/home/leases"


class FakeLeases:
    """The Lease home/maprun; `lease` is None while it does not exist. `writes` are its states, in order."""

    def __init__(self) -> None:
        self.lease: Json | None = None
        self.writes: list[Json] = []
        self._version = 0
        self._news: list[asyncio.Queue[Json]] = []

    def edit(self, **spec: Any) -> None:
        """Somebody changes the spec."""
        assert self.lease is not None
        self.keep(self.lease | {"spec": self.lease["spec"] | spec})

    def label(self) -> None:
        """Somebody changes what is no business of an election."""
        assert self.lease is not None
        self.keep(self.lease | {"metadata": self.lease["metadata"] | {"labels": {"a": "b"}}})

    def delete(self) -> None:
        """Somebody deletes it."""
        assert self.lease is not None
        self._tell("DELETED", self.lease)
        self.lease = None

    def keep(self, lease: Json) -> Json:
        """It is like this from now on."""
        self._version += 1
        kind = "MODIFIED" if self.lease else "ADDED"
        uid = lease["metadata"].get("uid", f"uid-{self._version}")
        self.lease = lease | {"metadata": lease["metadata"] | {"uid": uid, "resourceVersion": str(self._version)}}
        self.writes.append(self.lease)
        self._tell(kind, self.lease)
        return self.lease

    def put(self, method: str, body: Json) -> Json:
        """A client writes. Errors: `ApiError`."""
        if method == "POST":
            if self.lease is not None:
                raise ApiError(409, "AlreadyExists", "it exists")
            assert body["metadata"] == {"namespace": "home", "name": "maprun"}
        elif self.lease is None:
            raise ApiError(404, "NotFound", "it is not there")
        elif body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "it has been modified")
        return self.keep(copy.deepcopy(body))

    def follow(self) -> asyncio.Queue[Json]:
        """What a watch tells from now on."""
        news: asyncio.Queue[Json] = asyncio.Queue()
        if self.lease is not None:
            news.put_nowait({"type": "ADDED", "object": self.lease})
        self._news.append(news)
        return news

    def cut(self) -> None:
        """Every watch ends."""
        self._tell("END", {})

    def _tell(self, kind: str, lease: Json) -> None:
        for each in self._news:
            each.put_nowait({"type": kind, "object": copy.deepcopy(lease)})


class Line:
    """One candidate's client. `away`: nothing is answered, and calls wait for their time to be over; `refusal`: every
    call is answered with it; `lost`: that many writes take effect without an answer. `calls`: what was asked.
    """

    def __init__(self, api: FakeLeases) -> None:
        self._api = api
        self.away = False
        self.refusal: ApiError | None = None
        self.lost = 0
        self.delay = 0.0
        self.calls: list[str] = []

    async def request(self, method: str, path: str, body: Json | None = None, *, timeout: float) -> bytes:
        """As `ClusterClient.request`."""
        self.calls.append(method)
        assert path == (COLLECTION if method == "POST" else f"{COLLECTION}/maprun")
        await self._reached(timeout)
        if method == "GET":
            answer = self._api.lease
            if answer is None:
                raise ApiError(404, "NotFound", "it is not there")
        else:
            assert body is not None
            answer = self._api.put(method, body)
            if self.lost:
                self.lost -= 1
                raise ApiError(0, "Unreachable", "no answer")
        await asyncio.sleep(self.delay)
        return json.dumps(answer).encode()

    async def stream(self, path: str, params: Mapping[str, str], silence: float) -> AsyncGenerator[bytes, None]:
        """As `ClusterClient.stream`."""
        self.calls.append("WATCH")
        assert (path, params) == (COLLECTION, {"watch": "1", "fieldSelector": "metadata.name=maprun"})
        await self._reached(silence)
        news = self._api.follow()
        while True:
            try:
                event = await asyncio.wait_for(news.get(), silence)
            except TimeoutError:
                raise ApiError(0, "Unreachable", "silence") from None
            if event["type"] == "END":
                return
            yield json.dumps(event).encode() + b"\n"

    async def _reached(self, seconds: float) -> None:
        if self.refusal is not None:
            raise self.refusal
        if self.away:
            await asyncio.sleep(seconds)
            raise ApiError(0, "Unreachable", "no answer")
