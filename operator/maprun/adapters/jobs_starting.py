"""The attempts of one run whose pods do not start: why, and when that is given up.

Rule 1: time is counted from when this process first saw the trouble, so that clocks of other machines do not matter.
Rule 2: what neither Job nor pod tells (a pod that admission refuses, a volume whose Secret is missing) is read from
events: for the attempt that waits longest, and no more often than every `ASK_INTERVAL` seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from maprun.adapters.jobs_reading import JobsReader
from maprun.adapters.jobs_watch import Seen
from maprun.core import starting
from maprun.records import Attempt

ASK_INTERVAL: Final = 30.0


class Starts:
    """Calls `gave_up` with an attempt that could not start for `patience` seconds, `told` when `waiting` changes."""

    def __init__(
        self, reader: JobsReader, patience: float, gave_up: Callable[[Attempt], None], told: Callable[[], None]
    ) -> None:
        self._reader, self._patience, self._gave_up, self._told = reader, patience, gave_up, told
        self._loop = asyncio.get_running_loop()
        self._timers: dict[Attempt, asyncio.TimerHandle] = {}
        self._waiting: dict[Attempt, Seen] = {}  # in the order in which they were first seen
        self._reasons: dict[Attempt, str] = {}
        self._asking: asyncio.Task[None] | None = None
        self.image_works = False

    @property
    def waiting(self) -> str:
        """Why pods do not start, in words for the user; "" when all do."""
        why = next(iter(self._reasons.values()), "")
        others = sum(each != why for each in self._reasons.values())
        return f"{why} ({others} more wait as well)" if others > 0 else why

    def follow(self, attempt: Attempt, seen: Seen) -> None:
        """Look at a live attempt."""
        pod = seen.pod
        if starting.suspended(seen.job):
            self._forget(attempt)
            return self._note(attempt, starting.SUSPENDED)
        if pod is not None and starting.image_works(pod):
            self.image_works = True
            return self.over(attempt)
        self._waiting[attempt] = seen
        if self._asking is None:
            self._asking = self._loop.create_task(self._ask())
        self._note(attempt, starting.held_up(pod) if pod is not None else "")
        trouble = starting.start_trouble(pod) if pod is not None else None
        if trouble is not None and attempt not in self._timers:
            patience = 0.0 if trouble.hopeless else self._patience
            self._timers[attempt] = self._loop.call_later(patience, self._expired, attempt)
        return None

    def over(self, attempt: Attempt) -> None:
        """The attempt does not wait for its start any more."""
        self._forget(attempt)
        self._note(attempt, "")

    def close(self) -> None:
        """Give nothing up any more, and ask nothing."""
        for timer in self._timers.values():
            timer.cancel()
        if self._asking is not None:
            self._asking.cancel()

    def _forget(self, attempt: Attempt) -> None:
        self._waiting.pop(attempt, None)
        timer = self._timers.pop(attempt, None)
        if timer is not None:
            timer.cancel()

    def _note(self, attempt: Attempt, why: str) -> None:
        if self._reasons.get(attempt, "") == why:
            return
        if why:
            self._reasons[attempt] = why
        else:
            del self._reasons[attempt]
        self._told()

    def _expired(self, attempt: Attempt) -> None:
        del self._timers[attempt]
        self._gave_up(attempt)

    async def _ask(self) -> None:
        """Whenever the same attempt has waited for a whole interval without a known reason, ask for its events."""
        oldest: Attempt | None = None
        while self._waiting:
            before, oldest = oldest, next(iter(self._waiting))
            seen = self._waiting[oldest]
            if oldest == before and oldest not in self._reasons and seen.job is not None:
                why = await self._reader.trouble(seen.pod or seen.job)
                if why and oldest in self._waiting:
                    self._note(oldest, why)
            await asyncio.sleep(ASK_INTERVAL)
        self._asking = None
