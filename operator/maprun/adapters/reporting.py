"""Tells a run's story to its resource: at most one status patch a second, and an event at each turn.

Rule 1: nothing here stops a run. What the API server does not take now is tried again, the newest status first; the
        final one until it is taken.
        An event that it refuses is dropped.
Rule 2: events are named after what they tell, so that an operator that starts anew does not tell them twice.
Rule 3: a status that says nothing new is not written.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.objects import RunEvent, create_event, patch_status
from maprun.core import status
from maprun.core.status import Event, Snapshot
from maprun.errors import Reason
from maprun.model import RunRef
from maprun.ports import Reporter
from maprun.records import Attempt, Outcome

PATCH_SECONDS: Final = 1.0
EVENTS_AT_MOST: Final = 50  # of one run in one life of the operator; its end is told beyond that
RETRY_SECONDS: Final = 2.0

Json = dict[str, Any]

log = logging.getLogger("maprun")


class ResourceReporter:
    """Fulfils `ports.Reporter` for one run, and tells what happens to it outside of an engine.

    `generation` gives the resource's newest generation, `known` is the status that it has. Make it inside an event
    loop.
    """

    def __init__(self, client: ClusterClient, run: RunRef, generation: Callable[[], int], known: Json) -> None:
        self._client, self._run, self._generation, self._known = client, run, generation, known
        self._told: Snapshot | None = None
        self._newest: Snapshot | None = None
        self._events = 0
        self._next_patch = 0.0
        self._away = False  # the API server took nothing the last time
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def launched(self, attempt: Attempt) -> None:
        """Nothing: no story of a single child (design §2)."""

    def recorded(self, outcome: Outcome) -> None:
        """Nothing: no story of a single child (design §2)."""

    def progressed(self, snapshot: Snapshot) -> None:
        """Keep the newest; it is told within a second."""
        self._newest = snapshot
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._follow())

    async def finished(self, snapshot: Snapshot) -> None:
        """Tell the end; returns once the resource carries it, or is gone."""
        await self.close()
        await self._insist(lambda: self._progress(snapshot))

    async def waits(self, reason: Reason, message: str) -> None:
        """Tell why no engine drives the run right now."""
        await self._outside(status.UNKNOWN, reason, message, Event(f"waits.{message}", status.WARNING, reason, message))

    async def refused(self, reason: Reason, message: str) -> None:
        """Tell that the run ends before it began; returns once the resource carries it, or is gone."""
        event = Event(status.FINISHED, status.WARNING, reason, message)
        await self._insist(lambda: self._outside(status.FALSE, reason, message, event))

    async def close(self) -> None:
        """Stop telling what `progressed` brought."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            await self._turn()
            self._changed.clear()
            if self._newest is not None and not await self._told_safely(self._newest):
                self._changed.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _told_safely(self, at: Snapshot) -> bool:
        """A defect of our own must not silence the rest of the run."""
        try:
            return await self._progress(at)
        except Exception:
            log.exception("%s/%s: the status cannot be told", self._run.namespace, self._run.name)
            return False

    async def _insist(self, tell: Callable[[], Any]) -> None:
        while not await tell():
            await asyncio.sleep(RETRY_SECONDS)

    async def _progress(self, at: Snapshot) -> bool:
        """Tell a snapshot. True when the API server took it all, or the resource is gone."""
        body = status.render(at, self._generation(), self._known)
        taken = await self._tell(body, status.events(self._told, at))
        if taken:
            self._told = at
        return taken

    async def _outside(self, value: str, reason: Reason, message: str, event: Event) -> bool:
        now, generation = time.time(), self._generation()
        told = status.condition(value, reason, message, generation=generation, now=now, previous=self._known)
        body = {"observedGeneration": generation, "conditions": [told]}
        if value == status.FALSE:
            body["completionTime"] = status.iso_seconds(now)
        return self._holds(body) or await self._tell(body, [event])

    def _holds(self, body: Json) -> bool:
        return all(self._known.get(field) == value for field, value in body.items())

    async def _tell(self, body: Json, events: Iterable[Event]) -> bool:
        """Patch, then the events. True when the API server took it all, or the resource is gone."""
        try:
            if not self._holds(body):
                await self._turn()
                await patch_status(self._client, self._run, body)
                self._next_patch = time.monotonic() + PATCH_SECONDS
                self._known = self._known | body
            for event in events:
                await self._say(event)
        except ApiError as error:
            if error.status != 404 and not self._away:  # told once, not with every try
                log.warning("%s/%s: the status cannot be written yet: %s", self._run.namespace, self._run.name, error)
            self._away = error.status != 404
            return not self._away
        self._away = False
        return True

    async def _turn(self) -> None:
        """Until a patch may follow the one before."""
        await asyncio.sleep(max(0.0, self._next_patch - time.monotonic()))

    async def _say(self, event: Event) -> None:
        """Create an event about the run, once, while there are not too many."""
        if self._events >= EVENTS_AT_MOST and event.key != status.FINISHED:
            return
        told = RunEvent(
            f"{self._run.name}.{self._mark(event.key)}", event.type, event.reason, event.message, time.time()
        )
        try:
            await create_event(self._client, self._run, told)
        except ApiError as error:
            if error.unavailable:
                raise
            log.warning("%s/%s: an event is refused: %s", self._run.namespace, self._run.name, error)
        self._events += 1

    def _mark(self, key: str) -> str:
        """What names an event: the same for the same turn of the same run. `kubectl describe` sorts by it."""
        turn = key.partition(".")[0]
        place = status.TURNS.index(turn)
        return f"{place}{hashlib.sha256(f'{self._run.uid}/{key}'.encode()).hexdigest()[:15]}"


class Reporters:
    """Several reporters as one, in order."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def launched(self, attempt: Attempt) -> None:
        """See `ports.Reporter`."""
        for reporter in self._reporters:
            reporter.launched(attempt)

    def recorded(self, outcome: Outcome) -> None:
        """See `ports.Reporter`."""
        for reporter in self._reporters:
            reporter.recorded(outcome)

    def progressed(self, snapshot: Snapshot) -> None:
        """See `ports.Reporter`."""
        for reporter in self._reporters:
            reporter.progressed(snapshot)

    async def finished(self, snapshot: Snapshot) -> None:
        """See `ports.Reporter`."""
        for reporter in self._reporters:
            await reporter.finished(snapshot)
