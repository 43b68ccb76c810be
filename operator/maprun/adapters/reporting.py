"""Tells a run's story to its resource: at most one status patch a second, and an event at each turn.

Rule 1: nothing here stops a run. What the API server does not take now is tried again, the newest status first; the
        final one until it is taken.
        An event that it refuses is dropped.
Rule 2: events are named after what they tell, so that an operator that starts anew does not tell them twice.
Rule 3: a status that says nothing new is not written. One that is on its way when the run ends is waited for: cut off,
        it may take effect all the same, and behind the end.
Rule 4: a run that goes on again, by a redrive or by another try to start it, loses the end that its status had.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.objects import RunEvent, create_event, patch_status
from maprun.core import events, rendering
from maprun.core.events import Event
from maprun.core.status import CONDITION, FALSE, UNKNOWN, Snapshot
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

    `generation` gives the resource's newest generation, `known` is the status that it has. `gone` is called when the
    API server says that there is no such resource. Make it inside an event loop.
    """

    def __init__(
        self,
        client: ClusterClient,
        run: RunRef,
        generation: Callable[[], int],
        known: Json,
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._client, self._run, self._generation, self._known, self._gone = client, run, generation, known, gone
        self._looked = generation()
        self._told: Snapshot | None = None
        self._newest: Snapshot | None = None
        self._events = 0
        self._next_patch = 0.0
        self._away = False  # the API server took nothing the last time
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._patching = asyncio.Lock()

    def launched(self, attempt: Attempt) -> None:
        """Nothing: no story of a single child (design §2)."""

    def recorded(self, outcome: Outcome) -> None:
        """Nothing: no story of a single child (design §2)."""

    def begins(self) -> None:
        """A life of the engine begins: where it only looks, it is at the spec as it is now."""
        self._looked = self._generation()

    def progressed(self, snapshot: Snapshot) -> None:
        """Keep the newest; it is told within a second."""
        self._newest = snapshot
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._follow())

    async def finished(self, snapshot: Snapshot) -> None:
        """Tell the end; returns once the resource carries it, or is gone.

        Where a redrive is to follow, it is the end of an earlier generation: by that whoever drives the run next, after
        a crash too, finds that this edit was not looked at yet.
        """
        driven = self._newest is not None
        generation = self._generation() if driven else self._looked
        async with self._patching:
            if self._task is not None:
                self._task.cancel()
        await self.close()
        asked = self._known.get("observedGeneration") != generation
        self._newest = None
        if driven:
            await self._insist(lambda: self._progress(snapshot, generation - snapshot.redrive_follows))
        else:
            await self._insist(lambda: self._look(snapshot, generation, asked=asked))

    async def waits(self, reason: Reason, message: str) -> None:
        """Tell why no engine drives the run right now."""
        await self._outside(UNKNOWN, reason, message, "waits")

    async def refused(self, reason: Reason, message: str) -> None:
        """Tell that the run ends before it began; returns once the resource carries it, or is gone."""
        await self._insist(lambda: self._outside(FALSE, reason, message, events.FINISHED))

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
            return await self._progress(at, self._generation())
        except Exception:
            log.exception("%s/%s: the status cannot be told", self._run.namespace, self._run.name)
            return False

    async def _insist(self, tell: Callable[[], Awaitable[bool]]) -> None:
        while not await tell():
            await asyncio.sleep(RETRY_SECONDS)

    async def _progress(self, at: Snapshot, generation: int) -> bool:
        """Tell a snapshot. True when the API server took it all, or the resource is gone."""
        taken = await self._render(at, generation, events.events(self._told, at, generation))
        if taken:
            self._told = at
        return taken

    async def _look(self, at: Snapshot, generation: int, *, asked: bool) -> bool:
        """Tell a run that had ended before anyone drove it here."""
        return await self._render(at, generation, events.looked(at, generation, asked=asked))

    async def _render(self, at: Snapshot, generation: int, told: Iterable[Event]) -> bool:
        body = rendering.render(at, generation, self._known)
        return await self._tell(body, told, [field for field in rendering.PASSING if field not in body])

    async def _outside(self, value: str, reason: Reason, message: str, turn: str) -> bool:
        """Tell what no engine knows: the condition alone, and whether that is an end."""
        now, generation = time.time(), self._generation()
        told = rendering.condition(
            CONDITION, value, reason, message, generation=generation, now=now, previous=self._known
        )
        others = [each for each in self._known.get("conditions", []) if each["type"] != CONDITION]
        body: Json = {"observedGeneration": generation, "conditions": [told, *others]}
        without = ["completionTime"]
        if value == FALSE:
            body[without.pop()] = rendering.iso_seconds(now)
        key, redrives = f"{turn}.{generation}.{message}", self._known.get("redriveCount", 0)
        event = Event(key, events.WARNING, reason, message, redrives)
        return self._holds(body, without) or await self._tell(body, [event], without)

    def _holds(self, body: Json, without: Iterable[str]) -> bool:
        return self._known.keys().isdisjoint(without) and all(
            self._known.get(field) == value for field, value in body.items()
        )

    async def _tell(self, body: Json, told: Iterable[Event], without: Iterable[str]) -> bool:
        """Patch, then the events. True when the API server took it all, or the resource is gone."""
        try:
            if not self._holds(body, without):
                await self._turn()
                async with self._patching:
                    await patch_status(self._client, self._run, body, without)
                self._next_patch = time.monotonic() + PATCH_SECONDS
                self._known = {field: value for field, value in self._known.items() if field not in without} | body
            for event in told:
                await self._say(event)
        except ApiError as error:
            gone = error.status == 404 and error.details.get("name") == self._run.name  # and the kind is served
            if gone:
                self._gone()
            elif not self._away:  # told once, not with every try
                log.warning("%s/%s: the status cannot be written yet: %s", self._run.namespace, self._run.name, error)
            self._away = not gone
            return gone
        self._away = False
        return True

    async def _turn(self) -> None:
        """Until a patch may follow the one before."""
        await asyncio.sleep(max(0.0, self._next_patch - time.monotonic()))

    async def _say(self, event: Event) -> None:
        """Create an event about the run, once, while there are not too many."""
        if self._events >= EVENTS_AT_MOST and event.turn != events.FINISHED:
            return
        told = RunEvent(f"{self._run.name}.{self._mark(event)}", event.type, event.reason, event.message, time.time())
        try:
            await create_event(self._client, self._run, told)
        except ApiError as error:
            if error.unavailable:
                raise
            log.warning("%s/%s: an event is refused: %s", self._run.namespace, self._run.name, error)
        self._events += 1

    def _mark(self, event: Event) -> str:
        """What names an event: the same for the same turn of the same round. `kubectl describe` sorts by it."""
        place = events.TURNS.index(event.turn)
        key = hashlib.sha256(f"{self._run.uid}/{event.key}".encode()).hexdigest()
        return f"{event.round:04}{place:x}{key[:15]}"


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
