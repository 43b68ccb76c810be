"""The spec of a run's resource as it is now, checked away from the event loop: a megabyte of expressions takes seconds.

Rule 1: an edit that is not valid leaves the last good spec in force.
Rule 2: `generation` is that of the newest edit that was looked at: whoever tells it has seen what stands in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from maprun.core import lifecycle, validation
from maprun.errors import SpecInvalid
from maprun.model import MapRunSpec

READERS: Final = 4  # threads for the specs of all runs, which no slow store can take

log = logging.getLogger("maprun")
_readers = ThreadPoolExecutor(READERS, "spec")


class LiveSpec:
    """`body` is a live view of the resource. `changed` is called when an edit has been looked at."""

    def __init__(self, body: Mapping[str, Any], changed: Callable[[], None]) -> None:
        self._body, self._changed = body, changed
        self._newest: tuple[int, MapRunSpec] | None = None
        self._seen = 0
        self._reading: asyncio.Task[None] | None = None

    @property
    def generation(self) -> int:
        """The number of the newest edit that was looked at; of the newest at all before there is a valid spec."""
        return self._seen if self._newest else lifecycle.generation_of(self._body)

    @property
    def newest(self) -> MapRunSpec:
        """The last valid spec; there is one once `read` has given one."""
        assert self._newest is not None, "the spec was read before the engine started"
        return self._newest[1]

    async def read(self) -> MapRunSpec:
        """Look at the resource as it is now. Errors: `SpecInvalid`."""
        body = dict(self._body)
        generation = lifecycle.generation_of(body)
        try:
            spec = await asyncio.get_running_loop().run_in_executor(_readers, validation.parse, body)
        finally:
            self._seen = max(self._seen, generation)
        if self._newest is None or self._newest[0] <= generation:  # and no later one was read meanwhile
            self._newest = generation, spec
        return spec

    def edited(self) -> None:
        """The resource was edited: look at it, and at what is edited meanwhile."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        while self._seen < lifecycle.generation_of(self._body):
            try:
                await self.read()
            except SpecInvalid as error:
                log.warning("%s: ignoring an edit: %s", self._name, error)
            except Exception:
                log.exception("%s: an edit cannot be read", self._name)
        self._changed()

    @property
    def _name(self) -> str:
        metadata = self._body["metadata"]
        return f"{metadata['namespace']}/{metadata['name']}"
