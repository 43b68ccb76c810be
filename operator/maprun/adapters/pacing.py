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
from maprun.ports import UNOBSERVED, Observer

T = TypeVar("T")

IN_FLIGHT: Final = 32  # writes at once; more only queue inside the API server


class WriteBudget:
    """Share one between everything that writes in bulk."""

    def __init__(
        self,
        in_flight: int = IN_FLIGHT,
        clock: Callable[[], float] = time.monotonic,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._clock = clock
        self._pace = Pace(clock())
        self._turn = asyncio.Lock()
        self._room = asyncio.Semaphore(in_flight)
        self._observer = observer
        self._asked = 0  # calls that have not returned
        self._flying = 0  # those of them that were sent

    @property
    def rate(self) -> float:
        """The present bound, in writes a second."""
        return self._pace.rate

    @property
    def waiting(self) -> int:
        """Writes that have not had their turn."""
        return self._asked - self._flying

    async def call(self, write: Callable[[], Awaitable[T]]) -> T:
        """Do `write` when it is its turn, and learn from how it went. Errors are passed on; nothing is repeated."""
        asked = self._clock()
        self._asked += 1
        try:
            async with self._room:
                await self._wait()
                self._observer.write_waited(self._clock() - asked)
                return await self._sent(write)
        finally:
            self._asked -= 1

    async def _sent(self, write: Callable[[], Awaitable[T]]) -> T:
        began = self._clock()
        self._flying += 1
        try:
            result = await write()
        except ApiError as error:
            self._learn(error, began)
            raise
        finally:
            self._flying -= 1
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
                self._observer.write_throttled("too_many_requests")
            self._pace = self._pace.throttled(now, error.retry_after)
        else:
            if error.status == 403 and "exceeded quota" in error.message:
                self._observer.write_throttled("quota")
            self._pace = self._pace.answered(now, now - began)
