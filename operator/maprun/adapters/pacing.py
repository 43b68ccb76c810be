"""One budget for all writes of this process to the API server: whoever writes waits for its turn, first come, first
served.

Rule 1: the arithmetic is `core.pacing`; here are only the clock, the waiting and the bound on writes in flight.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from maprun.adapters.cluster import ApiError
from maprun.core.pacing import Pace

T = TypeVar("T")

IN_FLIGHT: Final = 32  # writes at once; more only queue inside the API server


class WriteBudget:
    """Share one between everything that writes in bulk. `on_throttled` is told why the server put a write
    off: `too_many_requests` (429) or `quota`."""

    def __init__(
        self,
        in_flight: int = IN_FLIGHT,
        clock: Callable[[], float] = time.monotonic,
        on_throttled: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._clock = clock
        self._pace = Pace(clock())
        self._turn = asyncio.Lock()
        self._room = asyncio.Semaphore(in_flight)
        self._on_throttled = on_throttled

    @property
    def rate(self) -> float:
        """The present bound, in writes a second."""
        return self._pace.rate

    async def call(self, write: Callable[[], Awaitable[T]]) -> T:
        """Do `write` when it is its turn, and learn from how it went. Errors are passed on; nothing is repeated."""
        async with self._room:
            await self._wait()
            began = self._clock()
            try:
                result = await write()
            except ApiError as error:
                self._learn(error, began)
                raise
            self._pace = self._pace.answered(self._clock(), self._clock() - began)
            return result

    async def _wait(self) -> None:
        async with self._turn:
            while (delay := self._pace.delay(self._clock())) > 0:
                await asyncio.sleep(delay)
            self._pace = self._pace.sent(self._clock())

    def _learn(self, error: ApiError, began: float) -> None:
        now = self._clock()
        if error.status == 429 or (error.status == 503 and error.retry_after):
            if error.status == 429:
                self._on_throttled("too_many_requests")
            self._pace = self._pace.throttled(now, error.retry_after)
        else:
            if error.status == 403 and "exceeded quota" in error.message:
                self._on_throttled("quota")
            self._pace = self._pace.answered(now, now - began)
