"""Every request to the API server, as aiohttp tells of it: counted for the metrics, and for how long none was answered;
and held back where this process may not change anything.

Rule 1: one place sees them all: our own calls and those of a library that was lent a session.
Rule 2: a request counts when its answer begins. One that was cancelled on our side counts for nothing.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Final

import aiohttp

from maprun.ports import Observer

_VERBS: Final = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "update"}
# /api/v1/pods and /apis/batch/v1/namespaces/lab/jobs are collections; with one more part they are single objects.
_COLLECTION: Final = re.compile(r"/(?:api|apis/[^/]+)/v[^/]+/(?:namespaces/[^/]+/)?[^/]+$")
_LEASES: Final = "/apis/coordination.k8s.io/"
_WATCH: Final = re.compile(r"(?:^|&)watch=(?:1|true)(?:&|$)")


def verb_of(method: str, path: str, query: str = "") -> str:
    """What a request is in the words of Kubernetes: get, list, watch, create, patch, delete."""
    if method != "GET":
        return _VERBS.get(method, "get")
    if _WATCH.search(query):
        return "watch"
    return "list" if _COLLECTION.search(path) else "get"


class Calls:
    """What became of the requests of all sessions that have `trace` among their `trace_configs`."""

    def __init__(self, observer: Observer, clock: Callable[[], float] = time.monotonic) -> None:
        self._observer, self._clock = observer, clock
        self._silent_since: float | None = None
        self.trace = aiohttp.TraceConfig()
        self.trace.on_request_start.append(self._started)
        self.trace.on_request_end.append(self._answered)
        self.trace.on_request_exception.append(self._failed)

    @property
    def silence(self) -> float:
        """Seconds since a request got no answer, if none has got one after it; else 0."""
        return 0.0 if self._silent_since is None else self._clock() - self._silent_since

    async def _started(
        self, _: aiohttp.ClientSession, request: SimpleNamespace, told: aiohttp.TraceRequestStartParams
    ) -> None:
        request.began = self._clock()

    async def _answered(
        self, _: aiohttp.ClientSession, request: SimpleNamespace, told: aiohttp.TraceRequestEndParams
    ) -> None:
        self._silent_since = None
        url = told.response.url  # the one in `told` has lost its query
        self._count(request, verb_of(told.method, url.raw_path, url.raw_query_string), told.response.status)

    async def _failed(
        self, _: aiohttp.ClientSession, request: SimpleNamespace, told: aiohttp.TraceRequestExceptionParams
    ) -> None:
        if isinstance(told.exception, asyncio.CancelledError):
            return
        if self._silent_since is None:
            self._silent_since = self._clock()
        # Whoever watches says so in the request's context: without an answer nothing else tells.
        self._count(request, request.trace_request_ctx or verb_of(told.method, told.url.raw_path), 0)

    def _count(self, request: SimpleNamespace, verb: str, status: int) -> None:
        self._observer.api_called(verb, status, self._clock() - request.began)


class Fence:
    """Asks `guard` before a request that would change something, but for a Lease: nothing is sent when it raises.

    aiohttp tells of the headers when the request has its connection and nothing of it is written: the last moment, and
    once more for each time that it sends a request again. The connection is closed when it must not.
    """

    def __init__(self) -> None:
        self.guard: Callable[[], None] = lambda: None
        self.trace = aiohttp.TraceConfig()
        self.trace.on_request_headers_sent.append(self._about_to_send)

    async def _about_to_send(
        self, _: aiohttp.ClientSession, request: SimpleNamespace, told: aiohttp.TraceRequestHeadersSentParams
    ) -> None:
        if told.method != "GET" and _LEASES not in told.url.raw_path:
            self.guard()
