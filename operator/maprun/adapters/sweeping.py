"""Finds the state of runs that were deleted while no operator looked, and has it removed.

Rule 1: first the state is listed, then the runs. So a run that is created meanwhile is either not in the first list or
        in the second one, and is never taken for a deleted one.
Rule 2: only what bears the mark of this installation is removed: several may share one store, and a cluster that was
        made anew has none of the runs whose state it finds.
Rule 3: whatever cannot be listed in full ends the sweep, and nothing is removed.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from typing import Final

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.run_list import all_runs
from maprun.adapters.state_removal import MARK, folder_of
from maprun.errors import NotFound, StoreError
from maprun.ports import Store

NAMESPACE: Final = re.compile("[a-z0-9-]+/")  # and not lost+found/, into which nobody may look
SWEEP_SECONDS: Final = 3600.0  # between two sweeps

log = logging.getLogger("maprun")


class Sweeper:
    """Sweeps at once and then each hour. `installation` is the mark, `remove` is given each folder that is to go.

    `namespaces`: those that this operator sees; all when empty.
    """

    def __init__(
        self,
        client: ClusterClient,
        store: Store,
        installation: str,
        namespaces: Sequence[str],
        remove: Callable[[str], object],
    ) -> None:
        self._client, self._store, self._installation = client, store, installation
        self._namespaces, self._remove = namespaces, remove

    async def run(self) -> None:
        """Never returns."""
        while True:
            try:
                await self.sweep()
            except (ApiError, StoreError) as error:
                log.warning("looking for the state of deleted runs failed, and is tried again in an hour: %s", error)
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Sweep once. Errors: `ApiError`, `StoreError`."""
        there = await asyncio.to_thread(self._folders)
        if not there:
            return
        runs = await all_runs(self._client, self._namespaces)
        for folder in sorted(there - {folder_of(run.namespace, run.name, run.uid) for run in runs}):
            if await asyncio.to_thread(self._is_ours, folder):
                log.info("removing the state of a run that was deleted: %s", folder)
                self._remove(folder)

    def _folders(self) -> set[str]:
        namespaces = [f"{each}/" for each in self._namespaces] or filter(NAMESPACE.fullmatch, self._store.folders())
        return {folder for namespace in namespaces for folder in self._store.folders(namespace)}

    def _is_ours(self, folder: str) -> bool:
        try:
            return self._store.read(folder + MARK) == self._installation.encode()
        except NotFound:
            return False
