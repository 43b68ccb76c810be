"""How late the event loop is: a task sleeps for a fixed time, again and again, and tells by how much it woke too late.

Rule 1: it costs next to nothing: ten short wake-ups a second. Whatever holds the loop up for longer than one sleep is
        seen for sure, what is shorter by chance.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

SLEEP: Final = 0.1  # seconds


class LoopLag:
    """Tells `observe` the seconds. `start` it inside an event loop."""

    def __init__(self, observe: Callable[[float], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._observe, self._clock = observe, clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to measure."""
        self._task = asyncio.create_task(self._run(), name="event loop lag")

    @property
    def dead(self) -> str:
        """That it has ended, in words; "" while it measures."""
        ended = self._task is not None and self._task.done()
        return "the task that watches the event loop has ended" if ended else ""

    async def close(self) -> None:
        """Stop measuring."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            due = self._clock() + SLEEP
            await asyncio.sleep(SLEEP)
            self._observe(max(0.0, self._clock() - due))  # a loop that counts in milliseconds may be early
