"""One run on a cluster, from its resource to its end, and again for each redrive: check it, find its credentials, drive
the engine, again when it breaks.

Rule 1: what the user must mend is told in the condition and an event, with the field and what to do; other runs never
        notice.
Rule 2: a missing Secret or ConfigMap is waited for (it may be applied after the run), and by a run that has begun only
        with what needs it; a broken spec or template ends the run, but never one that is under way.
Rule 3: an engine that broke is started again from its journal; one that was fenced off is not.
Rule 4: an edit of the resource is looked at when it comes, whatever the run is doing or waiting for.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from maprun.adapters.cluster import ApiError
from maprun.adapters.jobs import JobsLauncher
from maprun.adapters.reporting import Reporters, ResourceReporter
from maprun.adapters.telemetry_runs import TelemetryReporter
from maprun.core import lifecycle
from maprun.core.status import Snapshot
from maprun.engine import Engine
from maprun.errors import Fenced, Held, Reason, RunFailed, SpecInvalid, StatesError, StoreError
from maprun.live_spec import LiveSpec
from maprun.model import MapRunSpec
from maprun.preparing import Needs, Shared
from maprun.running import Home, engine_for

TICK: Final = 0.05  # seconds; no Job ends faster than a pod starts, so haste would only cost processor time
SECRET_SECONDS: Final = 5.0  # between two looks for a missing Secret
CANCEL_SECONDS: Final = 1.5  # for what a run still has to write when it is stopped
IDLE_SECONDS: Final = 5.0  # for what it still has to tell when it has ended
RESTART_SECONDS: Final = (1.0, 60.0)  # shortest and longest pause before a broken engine is started again

ABORTED: Final = "The map run was aborted before it began"
EDITED: Final = "The run goes on when its spec is mended, which an edit broke"
BROKEN: Final = "The operator met a defect of its own and starts the run again; its log tells more, nothing is lost"

log = logging.getLogger("maprun")


class Supervisor:
    """Drives one run. `body` is a live view of its resource: spec and generation may change.

    `idle` is set while there is nothing to do. Cancelling it leaves the children as they are.
    """

    def __init__(self, shared: Shared, body: Mapping[str, Any]) -> None:
        self._shared, self._body = shared, body
        self._run = lifecycle.run_ref(body)
        self._live = LiveSpec(body, self._wake)
        self._gone = asyncio.Event()
        self._reporter = ResourceReporter(
            *(shared.client, self._run, lambda: self._live.generation, lifecycle.status_of(body)), gone=self._gone.set
        )
        self._needs = Needs(shared, self._run, self._begun, self._held)
        self._telemetry: TelemetryReporter | None = None
        self._engine: Engine | None = None
        self._looked_at = lifecycle.generation_of(body)
        self._edited = asyncio.Event()
        self._fenced = False
        self._untold = False  # it has begun, and no status tells it
        self._pauses = _growing(*RESTART_SECONDS)
        # Made when the run last came to its end; None while it is on its way to its first one here.
        self._redrives = lifecycle.redrives_made(body) if lifecycle.ended(body) else None
        self.idle = asyncio.Event()

    def changed(self) -> None:
        """The resource changed: what may be changed in the spec takes effect now."""
        generation = lifecycle.generation_of(self._body)
        if generation == self._looked_at:
            return
        self._looked_at = generation
        self._edited.set()
        self._live.edited()

    def _wake(self) -> None:
        if self._engine is not None:
            self._engine.wake()

    async def serve_until(self, stop: Awaitable[object]) -> bool:
        """Serve the run until `stop` is there. Where nothing is wanted of the run any more, as its resource tells, what
        is left to tell is told first. True when it ended because the resource is gone, which no watch had told.
        """
        serving = asyncio.create_task(self.serve())
        stopping, leaving = asyncio.ensure_future(stop), asyncio.create_task(self._gone.wait())
        try:
            await asyncio.wait((serving, stopping, leaving), return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            if not lifecycle.wanted(self._body):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.idle.wait(), IDLE_SECONDS)
            return self._gone.is_set() and not stopping.done()
        finally:
            stopping.cancel()
            leaving.cancel()
            await _cancelled(serving)

    async def serve(self) -> None:
        """Drives the run, and again when it is to be redriven. Only cancelling ends this."""
        while True:
            self.idle.clear()
            await self.run()
            self.idle.set()
            await self._edit()
            while self._fenced or not self._redrive_wanted():
                await self._edit()

    async def run(self) -> None:
        """Returns when the run has ended, or can never start, or is another operator's."""
        try:
            while not await self._life():
                await self._edit(next(self._pauses))
        finally:
            self._shared.telemetry.goes_on(self._run)
            if self._telemetry is not None:
                self._telemetry.close()
                self._telemetry = None

    async def _edit(self, seconds: float | None = None) -> None:
        """Until the spec is edited, or for so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._edited.wait(), seconds)
        self._edited.clear()

    async def _life(self) -> bool:
        """One life of the engine. True when nothing is left to do."""
        self._edited.clear()
        try:
            if not self._begun():
                self._untold = await self._needs.begun_untold()
            self._check_aborted()
            spec = await self._live.read()
            if not self._begun():
                await self._needs.check_template(spec)
            frozen = await self._needs.frozen(spec)
            home, local = await self._needs.supplies(frozen, spec.redrives)
            if home.buckets.held:
                end = await self._drive_held(frozen, home)
                return end is not None and not self._goes_on(end)
            return not self._goes_on(await self._drive(frozen, home, local))
        except Fenced as error:
            log.warning("%s: %s; leaving the run to the other operator", self._name, error)
            self._fenced = True
        except RunFailed as error:
            if isinstance(error, SpecInvalid) and self._begun():
                await self._waits(error.reason, f"{EDITED}: {error.failure.cause}")
                return False
            log.info("%s: cannot start: %s", self._name, error.failure.cause)
            await self._reporter.refused(error.reason, _told(error))
        except (ApiError, StoreError) as error:
            log.warning("%s: %s; trying again", self._name, error)
            await self._waits(_reason_to_wait(error), f"The run cannot go on yet: {error}")
            return False
        except Exception:
            log.exception("%s: the engine broke; starting it again", self._name)
            self._shared.telemetry.run_restarted()
            await self._waits(Reason.OPERATOR_ERROR, BROKEN)
            return False
        return True

    def _goes_on(self, end: Snapshot) -> bool:
        """True when a redrive is wanted that the engine has not looked at: it does so at the beginning of a life."""
        self._pauses = _growing(*RESTART_SECONDS)  # nothing broke
        before, self._redrives = self._redrives, end.progress.redrives
        return end.redrive_follows and self._redrives != before

    def _redrive_wanted(self) -> bool:
        """As the resource says; but what an engine made already may not have come back from the API server yet."""
        made = self._redrives or 0
        return lifecycle.redrive_wanted(self._body) and lifecycle.redrives_of(self._body) > made

    def _check_aborted(self) -> None:
        """An abort needs no engine as long as nothing began. Errors: `RunFailed`."""
        if (self._body.get("spec") or {}).get("abort") and not self._begun():
            raise RunFailed(StatesError.RUNTIME, ABORTED, Reason.ABORTED)

    async def _waits(self, reason: Reason, message: str) -> None:
        """No engine drives the run right now; tell why."""
        self._shared.telemetry.waits(self._run, reason)
        await self._reporter.waits(reason, message)

    async def _held(self, error: Held) -> None:
        """Something outside is missing: tell, and look again after a while. Errors: `RunFailed`, when aborted."""
        await self._waits(error.reason, str(error))
        await self._edit(SECRET_SECONDS)
        self._check_aborted()

    async def _drive_held(self, frozen: MapRunSpec, home: Home) -> Snapshot | None:
        """Drive without what is missing. None when that has changed: then a new life begins, with what is there."""
        try:
            async with asyncio.timeout(None) as life:
                looking = asyncio.create_task(self._end_held(life, frozen, home))
                try:
                    return await self._drive(frozen, home, None)
                finally:
                    looking.cancel()
        except TimeoutError:
            if not life.expired():
                raise
            return None

    async def _end_held(self, life: asyncio.Timeout, frozen: MapRunSpec, home: Home) -> None:
        while await self._still(frozen, home):
            await asyncio.sleep(SECRET_SECONDS)
        life.reschedule(asyncio.get_running_loop().time())

    async def _still(self, frozen: MapRunSpec, home: Home) -> bool:
        """True when the same is missing as in `home`."""
        try:
            found, _ = await self._needs.supplies(frozen, self._live.newest.redrives)
        except (ApiError, StoreError):
            return True
        return found == home

    async def _drive(self, frozen: MapRunSpec, home: Home, local: bytes | None) -> Snapshot:
        shared = self._shared
        # One for all lives of the engine: a run that is about to be started again is open, and as far as it was.
        self._telemetry = self._telemetry or shared.telemetry.reporter(self._run)
        shared.telemetry.goes_on(self._run)
        self._reporter.begins()
        try:
            self._engine = engine_for(
                self._run,
                frozen,
                lambda: self._live.newest,
                home,
                JobsLauncher(
                    *(self._run, frozen, shared.watch, shared.client, shared.budget),
                    labels=lambda: self._body["metadata"].get("labels") or {},
                ),
                Reporters(self._reporter, self._telemetry),
                ceiling=shared.settings.ceiling,
                capacity=shared.capacities.of(self._run, self._wake),
                local=local,
                tick=TICK,
            )
            return await self._engine.run()
        finally:
            self._engine = None
            await self._reporter.close()

    def _begun(self) -> bool:
        return self._untold or lifecycle.begun(self._body)

    @property
    def _name(self) -> str:
        return f"{self._run.namespace}/{self._run.name}"


async def _cancelled(work: asyncio.Task[None]) -> None:
    """Cancel it until it is over. The first time a journal still writes what it has, which lasts while S3 is away."""
    while not work.done():
        work.cancel()
        await asyncio.wait((work,), timeout=CANCEL_SECONDS)


def _told(error: RunFailed) -> str:
    """Error, cause, and the field where AWS's words do not name it; an abort is no error."""
    failure = error.failure
    hint = f" ({failure.hint})" if failure.hint else ""
    return failure.cause if error.reason is Reason.ABORTED else f"{failure.error}: {failure.cause}{hint}"


def _reason_to_wait(error: ApiError | StoreError) -> Reason:
    return Reason.STORE_UNAVAILABLE if isinstance(error, StoreError) else Reason.API_UNAVAILABLE


def _growing(shortest: float, longest: float) -> Iterator[float]:
    pause = shortest
    while True:
        yield pause * random.uniform(0.8, 1.2)
        pause = min(pause * 2, longest)
