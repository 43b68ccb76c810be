"""One run on a cluster, from its resource to its end: check it, find its credentials, drive the engine, again when it
breaks.

Rule 1: what the user must mend is told in the condition and an event, with the field and what to do; other runs never
        notice.
Rule 2: a missing Secret or ConfigMap is waited for (it may be applied after the run); a broken spec or template ends
        the run.
Rule 3: an engine that broke is started again from its journal; one that was fenced off is not.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.credentials import s3_access
from maprun.adapters.jobs import JobsLauncher
from maprun.adapters.jobs_watch import JobsWatch
from maprun.adapters.namespace_dataset import read_value
from maprun.adapters.objects import check_job
from maprun.adapters.pacing import WriteBudget
from maprun.adapters.reporting import Reporters, ResourceReporter
from maprun.adapters.s3_policy import NotAllowed
from maprun.adapters.stores import BucketsRef, open_store
from maprun.adapters.telemetry import Telemetry
from maprun.adapters.telemetry_runs import TelemetryReporter
from maprun.core import children, templates, validation
from maprun.core.status import CONDITION, UNKNOWN
from maprun.engine import Engine
from maprun.errors import Failure, Fenced, Held, Reason, RunFailed, SpecInvalid, StatesError, StoreError
from maprun.model import MapRunSpec, RunRef
from maprun.ports import UNOBSERVED, Observer
from maprun.records import Attempt, Batch
from maprun.running import Home, check_store, engine_for, needs_local, started_spec
from maprun.settings import DEFAULT_STATE, OperatorSettings

TICK: Final = 0.05  # seconds; no Job ends faster than a pod starts, so haste would only cost processor time
SECRET_SECONDS: Final = 5.0  # between two looks for a missing Secret
RESTART_SECONDS: Final = (1.0, 60.0)  # shortest and longest pause before a broken engine is started again

BROKEN: Final = "The operator met a defect of its own and starts the run again; its log tells more, nothing is lost"

T = TypeVar("T")

log = logging.getLogger("maprun")


class Shared(msgspec.Struct, frozen=True):
    """What all runs of an operator share."""

    settings: OperatorSettings
    client: ClusterClient
    watch: JobsWatch
    budget: WriteBudget
    telemetry: Telemetry


class Supervisor:
    """Drives one run. `body` is a live view of its resource: spec and generation may change.

    Cancelling it leaves the children as they are.
    """

    def __init__(self, shared: Shared, body: Mapping[str, Any]) -> None:
        self._shared, self._body = shared, body
        self._run = run_ref(body)
        self._reporter = ResourceReporter(shared.client, self._run, self._generation, _status(body))
        self._telemetry: TelemetryReporter | None = None
        self._engine: Engine | None = None
        self._spec: tuple[int, MapRunSpec] | None = None

    def changed(self) -> None:
        """The resource changed: what may be changed in the spec takes effect now."""
        if self._engine is not None:
            self._engine.wake()

    async def run(self) -> None:
        """Returns when the run has ended, or can never start, or is another operator's."""
        pauses = _growing(*RESTART_SECONDS)
        try:
            while not await self._life():
                await asyncio.sleep(next(pauses))
        finally:
            self._shared.telemetry.goes_on(self._run)
            if self._telemetry is not None:
                self._telemetry.close()

    async def _life(self) -> bool:
        """One life of the engine. True when nothing is left to do."""
        try:
            spec = validation.parse(self._body)
            if "startTime" not in _status(self._body):
                await self._check_template(spec)
            frozen = await self._frozen(spec)
            home = await self._home(frozen)
            await self._drive(frozen, home, await self._local(frozen, home))
        except Fenced as error:
            log.warning("%s: %s; leaving the run to the other operator", self._name, error)
        except RunFailed as error:
            log.info("%s: cannot start: %s", self._name, error.failure.cause)
            await self._reporter.refused(error.reason, _told(error.failure))
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

    async def _waits(self, reason: Reason, message: str) -> None:
        """No engine drives the run right now; tell why."""
        self._shared.telemetry.waits(self._run, reason)
        await self._reporter.waits(reason, message)

    async def _check_template(self, spec: MapRunSpec) -> None:
        """What is wrong with the Job template, before anything starts. Errors: `RunFailed`; `ApiError`: try again."""
        if problems := templates.template_problems(spec.item_processor.job_template):
            raise RunFailed(StatesError.RUNTIME, "; ".join(map(str, problems)), Reason.INVALID_JOB_TEMPLATE)
        trial = children.job_for(self._run, spec, Attempt(0, 1), Batch(0, 1, msgspec.Raw(b"{}"))).job
        try:
            refusal = await check_job(self._shared.client, trial)
        except ApiError as error:
            if error.unavailable:
                raise
            return  # forbidden, or there already: whatever stands against it may pass, and the launcher tells it
        if refusal:
            told = f"{templates.PATH}: the API server refuses a Job made of it: {refusal}"
            raise RunFailed(StatesError.RUNTIME, told, Reason.INVALID_JOB_TEMPLATE)

    async def _frozen(self, spec: MapRunSpec) -> MapRunSpec:
        """The spec that the run started with, which has literals for paths and expressions: only then is it known what
        the run asks for. Errors: `RunFailed`; `StoreError`.
        """
        settings = self._shared.settings
        store = open_store(self._state, settings.s3, self._shared.telemetry.health)
        region, begun = spec.s3.region or settings.s3.region, "startTime" in _status(self._body)
        return await asyncio.to_thread(started_spec, store, self._run, spec, region, begun=begun)

    @property
    def _state(self) -> str:
        """URL of the run's own store."""
        return f"{self._shared.settings.state.rstrip('/')}/{self._run.namespace}/{self._run.name}-{self._run.uid}"

    async def _home(self, spec: MapRunSpec) -> Home:
        """Where the run's state and buckets lie, once its credentials are there. `spec` is the frozen one."""
        settings = self._shared.settings
        policy = settings.s3_policy
        access = await self._once_there(lambda: s3_access(self._shared.client, self._run.namespace, spec, policy))
        buckets = BucketsRef(access=access, state=policy.state_for(spec))
        return Home(self._state, settings.s3, buckets, access.region, self._shared.telemetry.health)

    async def _local(self, frozen: MapRunSpec, home: Home) -> bytes | None:
        """The value of the ConfigMap or Secret that the run reads, once it is there; None when it needs none."""
        if not await asyncio.to_thread(needs_local, home.store(), frozen):
            return None
        reader = frozen.item_reader
        assert reader is not None, "it needs a value"
        return await self._once_there(lambda: read_value(self._shared.client, self._run.namespace, reader))

    async def _once_there(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` gives, once what it is held up by is mended. Errors: `RunFailed`; those of `ask` otherwise."""
        while True:
            try:
                return await ask()
            except Held as error:
                # A setting that changed while the run was under way may change back: it is not ended for that.
                if isinstance(error, NotAllowed) and "startTime" not in _status(self._body):
                    raise RunFailed(StatesError.RUNTIME, str(error), error.reason) from error
                await self._waits(error.reason, str(error))
            await asyncio.sleep(SECRET_SECONDS)

    async def _drive(self, frozen: MapRunSpec, home: Home, local: bytes | None) -> None:
        shared = self._shared
        # One for all lives of the engine: a run that is about to be started again is open, and as far as it was.
        self._telemetry = self._telemetry or shared.telemetry.reporter(self._run)
        shared.telemetry.goes_on(self._run)
        try:
            self._engine = engine_for(
                self._run,
                frozen,
                self._live_spec,
                home,
                JobsLauncher(self._run, frozen, shared.watch, shared.client, shared.budget),
                Reporters(self._reporter, self._telemetry),
                ceiling=shared.settings.ceiling,
                local=local,
                tick=TICK,
            )
            await self._engine.run()
        finally:
            self._engine = None
            await self._reporter.close()

    def _live_spec(self) -> MapRunSpec:
        """The spec as it is now; an edit that does not parse leaves the last good one in force."""
        generation, known = self._generation(), self._spec
        if known is not None and known[0] == generation:
            return known[1]
        try:
            spec = validation.parse(self._body)
        except SpecInvalid as error:
            assert known is not None, "the spec was parsed before the engine started"
            log.warning("%s: ignoring an edit: %s", self._name, error)
            spec = known[1]
        self._spec = generation, spec
        return spec

    def _generation(self) -> int:
        return int(self._body["metadata"].get("generation", 0))

    @property
    def _name(self) -> str:
        return f"{self._run.namespace}/{self._run.name}"


def run_ref(body: Mapping[str, Any]) -> RunRef:
    """Which run a resource is."""
    metadata = body["metadata"]
    created = datetime.fromisoformat(metadata["creationTimestamp"]).timestamp()
    return RunRef(metadata["namespace"], metadata["name"], metadata["uid"], created)


def ended(body: Mapping[str, Any]) -> bool:
    """True when the resource's condition is final."""
    conditions = _status(body).get("conditions") or []
    return any(each.get("type") == CONDITION and each.get("status") != UNKNOWN for each in conditions)


def check_state(settings: OperatorSettings, observer: Observer = UNOBSERVED) -> None:
    """Fail early, at the start, when the state store cannot be used. Errors: `StoreError`. Blocks."""
    try:
        check_store(open_store(settings.state, settings.s3, observer))
    except StoreError as error:
        if settings.state != DEFAULT_STATE:
            raise
        raise StoreError(f"{error}; mount a volume there, or name another store: --state or MAPRUN_STATE") from error


def _told(failure: Failure) -> str:
    """Error, cause, and the field where AWS's words do not name it."""
    hint = f" ({failure.hint})" if failure.hint else ""
    return f"{failure.error}: {failure.cause}{hint}"


def _status(body: Mapping[str, Any]) -> dict[str, Any]:
    return dict(body.get("status") or {})


def _reason_to_wait(error: ApiError | StoreError) -> Reason:
    return Reason.STORE_UNAVAILABLE if isinstance(error, StoreError) else Reason.API_UNAVAILABLE


def _growing(shortest: float, longest: float) -> Iterator[float]:
    pause = shortest
    while True:
        yield pause * random.uniform(0.8, 1.2)
        pause = min(pause * 2, longest)
