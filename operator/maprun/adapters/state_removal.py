"""Removes the state of runs that are deleted: plan, journal, and whatever else lies in their folder of the store.

Rule 1: only a run that is deleted, or is being deleted, is handed in: nothing here asks whether one is still needed.
Rule 2: the mark goes last: what an interrupted removal left is found by a sweep (sweeping.py).
Rule 3: in threads of its own, a few at a time: a store that hangs holds nobody else up.
Rule 4: a second look, a little later, takes away what was being written when the run was deleted. It comes at once when
        the operator stops: without its mark nobody would find that.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from maprun.errors import StoreError
from maprun.ports import Store

MARK: Final = "installation"  # key in a run's folder: whose run it is
AT_ONCE: Final = 4
AGAIN_SECONDS: Final = 15.0  # until the second look
CLOSE_SECONDS: Final = 0.5  # for the second looks of an operator that stops: another one waits for its Lease
PAUSES: Final = (1.0, 5.0, 20.0, 60.0, 300.0, 300.0)  # seconds before the second try, the third, …

log = logging.getLogger("maprun")


def folder_of(namespace: str, name: str, uid: str) -> str:
    """Where the state of a run lies in the operator's store: a beginning of keys."""
    return f"{namespace}/{name}-{uid}/"


def remove(store: Store, folder: str) -> None:
    """Remove all keys in a folder. An empty one is fine. Blocks. Errors: `StoreError`."""
    mark = folder + MARK
    for info in store.list(folder):
        if info.key != mark:
            store.delete(info.key)
    store.delete(mark)


class Removals:
    """The removals that are under way. Make it inside an event loop; `close` it there.

    `store` is the one of all runs.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="removal")
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._closing = asyncio.Event()

    def add(self, folder: str) -> asyncio.Task[None]:
        """Begin to remove a folder; it is tried for a while. One that is being removed is looked at again. The task
        is done, and never fails, when there is nothing more to try.
        """
        task = asyncio.create_task(self._insist(folder, self._under_way.get(folder)))
        self._under_way[folder] = task
        task.add_done_callback(lambda _: self._over(folder, task))
        return task

    async def within(self, seconds: float, folder: str) -> None:
        """Try to remove a folder, for at most so long. What is left then is for `add`."""
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(seconds):
                await self._once(folder)

    async def close(self) -> None:
        """Take a last look, and give up what is not done then; a call to the store that is under way ends by itself."""
        tasks = tuple(self._under_way.values())
        self._closing.set()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _insist(self, folder: str, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        if await self._tried(folder):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), AGAIN_SECONDS)
            await self._tried(folder)

    async def _tried(self, folder: str) -> bool:
        """True when it was removed."""
        told = ""
        for pause in (0.0, *PAUSES):
            await asyncio.sleep(pause)
            try:
                await self._once(folder)
            except StoreError as error:
                told = str(error)
            else:
                return True
        log.warning("the state of a deleted run cannot be removed, and is left: %s: %s", folder, told)
        return False

    async def _once(self, folder: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, remove, self._store, folder)

    def _over(self, folder: str, task: asyncio.Task[None]) -> None:
        if self._under_way.get(folder) is task:
            del self._under_way[folder]
