"""Places that all runs of an operator share, for work which takes memory and may hang: who may begin, and who waits.

Rule 1: never more are held than there are.
Rule 2: whoever waits is dealt a place in turn: round robin between namespaces, those of one namespace in their order.
Rule 3: a namespace is dealt one more only while more are free than it holds. So one alone takes half of them and the
        next ones half of what is left: a single namespace whose servers hang leaves places to all others.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

PLANNERS: Final = 6  # even at the 137 MiB that Parquet took (docs/performance.md), they fit into the chart's 1 GiB
EXPORTS: Final = 12  # 22 MiB each, where a part of a large file is on its way to S3


class Turns:
    """Share one between all that is to be bounded together. Use it on the event loop."""

    def __init__(self, places: int = PLANNERS) -> None:
        self.places = places
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}  # who waits; the first namespace is next
        self._held = Counter[str]()  # places, by namespace

    @asynccontextmanager
    async def turn(self, namespace: str) -> AsyncIterator[None]:
        """Waits for a place and holds it until the block ends, however it does."""
        await self._dealt(namespace)
        try:
            yield
        finally:
            self._give_back(namespace)

    async def _dealt(self, namespace: str) -> None:
        place = asyncio.get_running_loop().create_future()
        self._lines.setdefault(namespace, deque()).append(place)
        self._deal()
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it had been dealt already
                self._give_back(namespace)
            raise

    def _deal(self) -> None:
        """Deal what may be dealt now. Who has given up is still in line; that takes no turn from its namespace."""
        while (namespace := self._next()) is not None:
            place = self._lines[namespace].popleft()
            if not place.cancelled():
                self._held[namespace] += 1
                place.set_result(None)
                self._lines[namespace] = self._lines.pop(namespace)  # behind all others
            if not self._lines[namespace]:
                del self._lines[namespace]

    def _next(self) -> str | None:
        """The namespace whose turn it is, among those that may have one more."""
        free = self.places - self._held.total()
        return next((namespace for namespace in self._lines if self._held[namespace] < free), None)

    def _give_back(self, namespace: str) -> None:
        self._held[namespace] -= 1
        if not self._held[namespace]:
            del self._held[namespace]
        self._deal()
