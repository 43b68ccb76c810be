"""Keeping up with a collection of the API server: list once, then watch; after a gap, list again.

Rule 1: a sink is told everything, in order: first the whole collection, then each change; after a gap the whole
collection again.
Rule 2: a watch that falls silent is as bad as one that is cut: the server sends a bookmark each minute, so silence is
a fault.
Rule 3: nothing ends this but `close`; every error is waited out, with growing pauses.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.core.resources import Thing
from maprun.ports import UNOBSERVED, Observer

V = TypeVar("V", bound=Thing)
S = TypeVar("S", bound=Thing, contravariant=True)

PAGE: Final = 500
WATCH_SECONDS: Final = 290  # then the server ends the watch, and it goes on from the last version seen
SILENCE: Final = 100.0
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0

ADDED: Final = "ADDED"
DELETED: Final = "DELETED"
BOOKMARK: Final = "BOOKMARK"

log = logging.getLogger(__name__)


class Sink(Protocol[S]):
    """Who is told."""

    def replaced(self, views: Sequence[S], version: int) -> None:
        """This is the whole collection, as of resource version `version`."""

    def changed(self, view: S, deleted: bool) -> None:
        """One object was added or modified, or deleted (`view` is its last state)."""


class _Listed(msgspec.Struct):
    resourceVersion: str = ""
    next: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct, Generic[V]):
    metadata: _Listed
    items: list[V]


class _Event(msgspec.Struct, Generic[V]):
    type: str
    object: V


class _Refusal(msgspec.Struct):
    """The object of an ERROR event: a `v1.Status`."""

    code: int = 0
    message: str = ""


class _Error(msgspec.Struct):
    object: _Refusal


class Follower(Generic[V]):
    """Follows the objects at `path` that match a label selector, and tells `sink`. `ready` is set after the first
    whole list.
    """

    def __init__(
        self,
        client: ClusterClient,
        path: str,
        selector: str,
        view: type[V],
        sink: Sink[V],
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._client = client
        self._path = path
        self._observer = observer
        self._selector = selector
        self._sink = sink
        self._page: msgspec.json.Decoder[_Page[V]] = msgspec.json.Decoder(_Page[view])  # type: ignore[valid-type]
        self._event: msgspec.json.Decoder[_Event[V]] = msgspec.json.Decoder(_Event[view])  # type: ignore[valid-type]
        self._version = ""
        self._pause = FIRST_PAUSE
        self._task: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()

    @property
    def resource(self) -> str:
        """What is followed, in the plural."""
        return self._path.rpartition("/")[2]

    @property
    def dead(self) -> str:
        """That following has ended, and why, in words; "" while it goes on."""
        if self._task is None or not self._task.done():
            return ""
        error = None if self._task.cancelled() else self._task.exception()
        why = f"ended with {type(error).__name__}: {error}" if error else "was ended"
        return f"the watch of {self.resource} {why}"

    def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.create_task(self._run(), name=f"watch of {self._path}")

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except (ApiError, msgspec.DecodeError) as error:
                await self._after(error)

    async def _list(self) -> None:
        views: list[V] = []
        query = {"labelSelector": self._selector, "limit": str(PAGE)}
        while True:
            page = self._page.decode(await self._client.request("GET", self._path, params=query))
            views += page.items
            if not page.metadata.next:
                break
            query["continue"] = page.metadata.next
        version = page.metadata.resourceVersion
        self._sink.replaced(views, int(version) if version.isdecimal() else 0)
        self._version = version
        self.ready.set()

    async def _watch(self) -> None:
        query = {
            "watch": "1",
            "labelSelector": self._selector,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        told = False
        async for line in lines(self._client.stream(self._path, query, SILENCE)):
            self._take(line)
            self._pause = FIRST_PAUSE
            told = True
        if not told:  # ended as soon as begun: something in between does not let watches live
            await self._rest()

    def _take(self, line: bytes) -> None:
        # The server writes the type first, and an error's object is not of the view's shape.
        if line.startswith(b'{"type":"ERROR"'):
            told = msgspec.json.decode(line, type=_Error).object
            raise ApiError(told.code, "WatchFailed", told.message)
        event = self._event.decode(line)
        self._version = event.object.metadata.resourceVersion
        if event.type != BOOKMARK:
            self._sink.changed(event.object, event.type == DELETED)

    async def _after(self, error: Exception) -> None:
        """Wait before the next try. Where the server did not just fail to answer, our place is lost, and the next try
        begins with a list.
        """
        if not isinstance(error, ApiError) or not error.unavailable:
            self._version = ""
        log.warning("Watch of %s: %s", self._path, error)
        await self._rest()

    async def _rest(self) -> None:
        self._observer.watch_restarted(self.resource)
        await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))
        self._pause = min(LONGEST_PAUSE, self._pause * 2)


async def lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The complete lines of a stream of pieces, without their ends."""
    rest = b""
    async for piece in pieces:
        *complete, rest = (rest + piece).split(b"\n")
        for line in complete:
            yield line
