"""What goes with the runs, and when: the state of deleted ones, and finished ones whose time is over.

Rule 1: deletion never waits for it for long, and nothing here is needed for a run to go well.
Rule 2: state is left where it is when the operator is told so (`keep_state`); without a Lease there is no sweep,
        because nothing then says whose the state is.
Rule 3: a defect of our own is told, and ends none of it for good.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from maprun.adapters.expiring import Expiry
from maprun.adapters.state_removal import Removals, folder_of
from maprun.adapters.stores import open_store
from maprun.adapters.sweeping import Sweeper
from maprun.preparing import Shared

AT_ONCE_SECONDS: Final = 5.0  # that a deletion waits for the removal of the run's state
AGAIN_SECONDS: Final = 60.0  # until what a defect ended begins again

Body = Mapping[str, Any]

log = logging.getLogger("maprun")


class Tidying:
    """Started when the operator begins to watch runs, and told of each of them."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._expiry = Expiry(shared.client)
        self._removals: Removals | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Call it inside the event loop."""
        self._begin(self._expiry.run, "expiry of runs")
        settings = self._shared.settings
        if settings.keep_state:
            return
        store = open_store(settings.state, settings.s3, self._shared.telemetry.health)
        self._removals = Removals(store)
        if mark := self._shared.installation:
            sweeper = Sweeper(self._shared.client, store, mark, settings.namespaces, self._removals.add)
            self._begin(sweeper.run, "sweep of the state")

    def seen(self, body: Body) -> None:
        """A run is there, or has changed."""
        self._expiry.seen(body)

    def deleted(self, body: Body) -> None:
        """A run is not there any more."""
        self._expiry.gone(body["metadata"]["uid"])
        if self._removals is not None:
            _ = self._removals.add(_folder(body))

    async def at_once(self, body: Body) -> None:
        """A run is being deleted, and its engine has stopped: remove its state while the deletion waits."""
        if self._removals is not None:
            await self._removals.within(AT_ONCE_SECONDS, _folder(body))

    async def close(self) -> None:
        """Stop; what is not done is left to the next operator."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._removals is not None:
            await self._removals.close()

    def _begin(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        self._tasks.append(asyncio.create_task(_lasting(work, name), name=name))


async def _lasting(work: Callable[[], Awaitable[None]], name: str) -> None:
    while True:
        try:
            await work()
        except Exception:
            log.exception("the %s broke; it begins again in %.0f seconds", name, AGAIN_SECONDS)
            await asyncio.sleep(AGAIN_SECONDS)


def _folder(body: Body) -> str:
    metadata = body["metadata"]
    return folder_of(metadata["namespace"], metadata["name"], metadata["uid"])
