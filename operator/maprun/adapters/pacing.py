"""One budget for all writes of this process to the API server: whoever writes waits for its turn.

Rule 1: the arithmetic is `core.pacing`; here are only the clock, the waiting and the bound on writes in flight.
Rule 2: turns are dealt round robin between the runs that write, however many writes each has queued; those of one run
        come in their order.
Rule 3: some of the writes in flight are kept for runs that have none: slow answers to a few runs do not hold up the
        others.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from maprun.adapters.cluster import ApiError
from maprun.core.pacing import Pace
from maprun.ports import UNOBSERVED, Observer

T = TypeVar("T")

IN_FLIGHT: Final = 32  # writes at once; more only queue inside the API server
KEPT: Final = 4  # one in so many of them is for a run that has none
SHORTEST: Final = 0.001  # seconds; the time to the next turn, when rounding leaves less than a clock can tell


class WriteBudget:
    """Share one between everything that writes in bulk."""

    def __init__(
        self,
        in_flight: int = IN_FLIGHT,
        clock: Callable[[], float] = time.monotonic,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._in_flight, self._kept = in_flight, in_flight // KEPT
        self._clock = clock
        self._pace = Pace(clock())
        self._observer = observer
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}  # who waits, by run; the first one's turn is next
        self._flying = Counter[str]()  # writes that were sent and not answered, by run
        self._timer: asyncio.TimerHandle | None = None  # set while the pace is what all wait for
        self.waiting = 0
        """Writes that have not had their turn."""

    @property
    def rate(self) -> float:
        """The present bound, in writes a second."""
        return self._pace.rate

    async def call(self, write: Callable[[], Awaitable[T]], run: str = "") -> T:
        """Do `write` when it is the turn of its `run` (any name that is its own), and learn from how it went. Errors
        are passed on; nothing is repeated.
        """
        asked = self._clock()
        await self._turn(run)
        try:
            self._observer.write_waited(self._clock() - asked)
            return await self._sent(write)
        finally:
            self._landed(run)

    async def _turn(self, run: str) -> None:
        """Wait in line. Behind it the write counts as flying."""
        turn = asyncio.get_running_loop().create_future()
        self._lines.setdefault(run, deque()).append(turn)
        self.waiting += 1
        try:
            self._deal()
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the turn had come already
                self._landed(run)
            raise
        finally:
            self.waiting -= 1

    def _deal(self) -> None:
        """Send all that may be sent now. Who has given up is still in line, and passed over."""
        while (run := self._next()) is not None:
            now = self._clock()
            if (delay := self._pace.delay(now)) > 0:
                return self._deal_in(delay)
            line = self._lines.pop(run)
            turn = line.popleft()
            if line:
                self._lines[run] = line  # behind all others
            if not turn.cancelled():
                self._pace = self._pace.sent(now)
                self._flying[run] += 1
                turn.set_result(None)
        return None

    def _next(self) -> str | None:
        """Whose turn it is, among those that there is room for."""
        free = self._in_flight - self._flying.total()
        if free > self._kept:
            return next(iter(self._lines), None)
        return next((run for run in self._lines if run not in self._flying), None) if free > 0 else None

    def _deal_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(SHORTEST, seconds), self._deal_again)

    def _deal_again(self) -> None:
        self._timer = None
        self._deal()

    def _landed(self, run: str) -> None:
        self._flying[run] -= 1
        if not self._flying[run]:
            del self._flying[run]
        self._deal()

    async def _sent(self, write: Callable[[], Awaitable[T]]) -> T:
        began = self._clock()
        try:
            result = await write()
        except ApiError as error:
            self._learn(error, began)
            raise
        self._pace = self._pace.answered(self._clock(), self._clock() - began)
        return result

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
