"""Leader election by a Lease of the API server: wait for the lead, keep it, give it back.

Rule 1: what a record means is decided in core/leading.py; here are the calls and the waiting.
Rule 2: while another leads, one watch of the one Lease tells when that changes; nothing is asked again and again.
Rule 3: the lead is lost once: then `ended` is called, which ends the process. One that was held up for a while, as by
SIGSTOP, finds that out by `guard`, before it changes anything.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

import msgspec

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.lease_object import CALL_SECONDS, LeaseObject
from maprun.core.leading import RENEW_SECONDS, Acquire, Lost, Seen, Step, Wait, decide, held, released, seen_next
from maprun.errors import Fenced

RETRY_SECONDS: Final = 2.0  # between two renewals, and after what went wrong while another leads
AGAIN_SECONDS: Final = 1.0  # after a renewal that failed
MARGIN_SECONDS: Final = 0.1  # a watch may be silent for that much longer than the record stands
# Linux has a clock that goes on while the machine itself sleeps.
CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

log = logging.getLogger("maprun")


class Election:
    """One candidate for the Lease `place`. `told` is called with whether we lead, at each change; `ended` when the lead
    was lost.
    """

    def __init__(
        self,
        client: ClusterClient,
        place: str,
        told: Callable[[bool], None],
        ended: Callable[[], None],
        clock: Callable[[], float] = lambda: time.clock_gettime(CLOCK),
    ) -> None:
        self.me = f"{socket.gethostname()}_{secrets.token_hex(4)}"  # a pod's host name is its own name
        self._place, self._told, self._ended, self._clock = place, told, ended, clock
        self._lease = LeaseObject(client, place)
        self._seen = Seen()
        self._until: float | None = None  # when we do not lead any longer, unless we renew it
        self._waits = False
        self._claimed = False
        self._error: Exception | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def leader(self) -> str:
        """Who leads, as far as is known; "" when nobody does."""
        return self._seen.record.holder

    @property
    def waits(self) -> bool:
        """True while all else is ready, and only the lead is missing."""
        return self._waits

    @property
    def role(self) -> str:
        """What this candidate does, in words."""
        if self.leads:
            return f"leads by Lease {self._place}"
        return f"standby: {self.leader or 'nobody'} leads by Lease {self._place}"

    @property
    def leads(self) -> bool:
        """True from when we got the lead until it is lost or given back."""
        return self._until is not None

    @property
    def uid(self) -> str:
        """The Lease's own uid; "" before it was first seen."""
        return self._lease.uid

    @property
    def trouble(self) -> str:
        """Why the Lease cannot be used, in words, where that will not pass by itself; else ""."""
        passing = self._error is None or (isinstance(self._error, ApiError) and self._error.unavailable)
        return "" if passing else f"Lease {self._place} cannot be used: {self._error}"

    @property
    def dead(self) -> str:
        """That nobody renews the Lease any longer, in words; "" while all is well."""
        ended = self.leads and self._keeping is not None and self._keeping.done()
        return f"the task that renews Lease {self._place} has ended" if ended else ""

    def guard(self) -> None:
        """Asked before anything is changed. Errors: `Fenced` when we do not lead, or no longer."""
        if isinstance(step := self._next(), Lost):
            self._lose(step.why)
        if not self.leads:
            raise Fenced(f"this operator does not lead by Lease {self._place}")

    async def lead(self) -> None:
        """Returns when we lead; from then on the Lease is renewed."""
        self._waits = True
        while not self.leads:
            try:
                await self._stand()
            except (ApiError, msgspec.DecodeError) as error:
                self._failed(error)
                await asyncio.sleep(RETRY_SECONDS * random.uniform(0.8, 1.2))
        self._waits = False
        log.info("leading by Lease %s as %s", self._place, self.me)
        self._told(True)
        self._keeping = asyncio.create_task(self._keep(), name=f"renewal of Lease {self._place}")

    async def close(self) -> None:
        """Stop, and release the Lease if it is ours: another takes it at once. From here on nothing may be changed."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        self._until = None
        self._told(False)
        if self._claimed:
            try:
                await self._release()
            except (ApiError, msgspec.DecodeError) as error:
                log.warning("Lease %s is not released, it runs out by itself: %s", self._place, error)

    async def _stand(self) -> None:
        """Look at the Lease, and take it if it is free; else return when it may have become so."""
        step = await self._look()
        if isinstance(step, Acquire):
            await self._claim()
        elif isinstance(step, Wait):
            self._error = None
            await self._await_change(step.until)

    async def _claim(self) -> None:
        self._claimed = True
        try:
            await self._hold()
        except ApiError as error:
            if error.status != 409:  # another was quicker: the next look tells who
                raise

    async def _await_change(self, until: float) -> None:
        silence = max(0.0, until - self._clock()) + MARGIN_SECONDS
        try:
            async with aclosing(self._lease.changes(silence)) as changes:
                async for _ in changes:
                    step = self._observed()
                    if not isinstance(step, Wait):
                        return
                    until = step.until
        except ApiError:
            if self._clock() < until:  # it is not the holder that is silent
                raise
        else:
            await asyncio.sleep(RETRY_SECONDS)  # some servers and proxies end a watch as soon as it begins

    async def _keep(self) -> None:
        """Renew the Lease until the lead is lost."""
        pause, doubt = RETRY_SECONDS, False
        while self._until is not None:
            await asyncio.sleep(max(0.0, min(pause, self._until - self._clock())))
            try:
                step = self._next()
                if doubt and not isinstance(step, Lost):
                    step = await self._look()
                if isinstance(step, Lost):
                    return self._lose(step.why)
                await self._hold()
                pause, doubt = RETRY_SECONDS, False
            except (ApiError, msgspec.DecodeError) as error:
                at_once = not doubt and isinstance(error, ApiError) and error.status in (404, 409)
                pause, doubt = 0.0 if at_once else AGAIN_SECONDS, True
                if not at_once:
                    self._failed(error)
        return None

    async def _look(self) -> Step:
        await self._lease.get(self._call_seconds())
        return self._observed()

    async def _hold(self) -> None:
        """Take the Lease, or renew it. That counts from before it was asked for."""
        began = self._clock()
        await self._lease.put(held(self.me, self._seen.record, _time_of_day()), self._call_seconds())
        self._error = None
        self._observed()
        self._until = began + RENEW_SECONDS

    async def _release(self) -> None:
        await self._look()
        if self._seen.there and self.leader == self.me:
            await self._lease.put(released(self._seen.record, _time_of_day()))
            log.info("released Lease %s", self._place)

    def _observed(self) -> Step:
        before, self._seen = self.leader, seen_next(self._seen, self._lease.record, self._clock())
        if self.leader not in (before, self.me, "") and not self.leads:
            log.info("standby: %s leads by Lease %s", self.leader, self._place)
        return self._next()

    def _next(self) -> Step:
        return decide(self.me, self._seen, self._until, self._clock())

    def _call_seconds(self) -> float:
        left = CALL_SECONDS if self._until is None else self._until - self._clock()
        return max(MARGIN_SECONDS, min(CALL_SECONDS, left))

    def _failed(self, error: Exception) -> None:
        if str(error) != str(self._error):
            log.warning("Lease %s: %s", self._place, error)
        self._error = error

    def _lose(self, why: str) -> None:
        self._until = None
        self._told(False)
        last = f"; the last try: {self._error}" if self._error else ""
        log.error("lost the lead by Lease %s: %s%s; ending at once", self._place, why, last)
        self._ended()


def _time_of_day() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
