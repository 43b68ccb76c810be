"""What one run on a cluster needs before its engine starts, and what all runs of an operator share.

Rule 1: what is missing outside, and may come (a Secret, a ConfigMap), holds the run up and does not end it. One that
        has begun goes on as far as it can without.
Rule 2: nothing is started here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import msgspec

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.credentials import s3_access
from maprun.adapters.jobs_watch import JobsWatch
from maprun.adapters.namespace_dataset import read_value
from maprun.adapters.objects import check_job
from maprun.adapters.pacing import WriteBudget
from maprun.adapters.s3_policy import NotAllowed
from maprun.adapters.sharing import Capacities
from maprun.adapters.state_removal import MARK, folder_of
from maprun.adapters.stores import BucketsRef, open_store
from maprun.adapters.telemetry import Telemetry
from maprun.adapters.turns import EXPORTS, Turns
from maprun.core import children, templates
from maprun.errors import AlreadyExists, Held, Reason, RunFailed, StatesError, StoreError
from maprun.model import MapRunSpec, RunRef
from maprun.ports import UNOBSERVED, Observer, Store
from maprun.records import Attempt, Batch
from maprun.running import Home, check_store, needs_local, started_spec
from maprun.settings import DEFAULT_STATE, OperatorSettings

T = TypeVar("T")


class Shared(msgspec.Struct, frozen=True):
    """What all runs of an operator share. `installation` marks the state of its runs as its own; "": nothing does."""

    settings: OperatorSettings
    client: ClusterClient
    watch: JobsWatch
    budget: WriteBudget
    telemetry: Telemetry
    installation: str = ""
    capacities: Capacities = msgspec.field(default_factory=lambda: Capacities(0, 0))
    turns: Turns = msgspec.field(default_factory=Turns)
    exports: Turns = msgspec.field(default_factory=lambda: Turns(EXPORTS))


class Needs:
    """What a run needs. `begun` tells whether it has begun; `held` tells the world what it waits for, and returns when
    that is to be looked at again, or raises what ends the run.
    """

    def __init__(
        self, shared: Shared, run: RunRef, begun: Callable[[], bool], held: Callable[[Held], Awaitable[None]]
    ) -> None:
        self._shared, self._run, self._begun, self._held = shared, run, begun, held

    async def check_template(self, spec: MapRunSpec) -> None:
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

    async def frozen(self, spec: MapRunSpec) -> MapRunSpec:
        """The spec that the run started with, which has literals for paths and expressions: only then is it known what
        the run asks for. Errors: `RunFailed`; `StoreError`.
        """
        return await asyncio.to_thread(self._started, spec)

    async def begun_untold(self) -> bool:
        """True when an engine was here, whatever the status tells: the operator may have died before it told, and
        children may run. Errors: `StoreError`.
        """
        store = open_store(self._state, self._shared.settings.s3, self._shared.telemetry.health)
        return await asyncio.to_thread(lambda: any(True for _ in store.list("journal/")))

    async def supplies(self, frozen: MapRunSpec, redrives: int) -> tuple[Home, bytes | None]:
        """Where the run's state and buckets lie, and the value that it reads, once both are there; `redrives`: how many
        are wanted. A run that has begun does not wait: it gets buckets that are held, and no value, because its
        children need neither, and an abort must reach them.
        """
        try:
            home = await self._home(frozen)
            return home, await self._local(frozen, home, redrives)
        except Held as error:
            region = frozen.s3.region or self._shared.settings.s3.region
            return self._home_with(BucketsRef(held=str(error)), region), None

    async def _home(self, spec: MapRunSpec) -> Home:
        policy = self._shared.settings.s3_policy
        access = await self._once_there(lambda: s3_access(self._shared.client, self._run.namespace, spec, policy))
        return self._home_with(BucketsRef(access=access, state=policy.state_for(spec)), access.region)

    def _home_with(self, buckets: BucketsRef, region: str) -> Home:
        shared = self._shared
        observer, turns = shared.telemetry.health, (shared.turns, shared.exports)
        return Home(self._state, shared.settings.s3, buckets, region, observer, *turns)

    async def _local(self, frozen: MapRunSpec, home: Home, redrives: int) -> bytes | None:
        """The value of the ConfigMap or Secret that the run reads, once it is there; None when it needs none."""
        if not await asyncio.to_thread(needs_local, home.store(), frozen, redrives):
            return None
        reader = frozen.item_reader
        assert reader is not None, "it needs a value"
        return await self._once_there(lambda: read_value(self._shared.client, self._run.namespace, reader))

    def _started(self, spec: MapRunSpec) -> MapRunSpec:
        settings = self._shared.settings
        store = open_store(self._state, settings.s3, self._shared.telemetry.health)
        mark, region = partial(self._mark, store), spec.s3.region or settings.s3.region
        return started_spec(store, self._run, spec, region, begun=self._begun(), mark=mark)

    def _mark(self, store: Store) -> None:
        """Mark the state as ours: before there is any, so that a sweep finds what an operator left that died there."""
        if self._shared.installation and not self._shared.settings.keep_state:
            with suppress(AlreadyExists):
                store.create(MARK, self._shared.installation.encode())

    @property
    def _state(self) -> str:
        """URL of the run's own store."""
        folder = folder_of(self._run.namespace, self._run.name, self._run.uid)
        return f"{self._shared.settings.state.rstrip('/')}/{folder[:-1]}"

    async def _once_there(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` gives, once what it is held up by is mended. Errors: `RunFailed`; `Held` when the run has begun;
        those of `ask` otherwise.
        """
        while True:
            try:
                return await ask()
            except Held as error:
                # A setting that changed while the run was under way may change back: it is not ended for that.
                if self._begun():
                    raise
                if isinstance(error, NotAllowed):
                    raise RunFailed(StatesError.RUNTIME, str(error), error.reason) from error
                await self._held(error)


def check_state(settings: OperatorSettings, observer: Observer = UNOBSERVED) -> None:
    """Fail early, at the start, when the state store cannot be used. Errors: `StoreError`. Blocks."""
    try:
        check_store(open_store(settings.state, settings.s3, observer))
    except StoreError as error:
        if settings.state != DEFAULT_STATE:
            raise
        raise StoreError(f"{error}; mount a volume there, or name another store: --state or MAPRUN_STATE") from error
