"""Puts one run together: the adapters behind the engine's ports, the same for the operator and for a local run.

Rule 1: nothing is decided here; this file only joins.
Rule 2: the run's store holds all of its state: `spec.json` (the resolved spec it started with), `plan/`, `journal/`,
        `snapshots/`, `output.json`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, TypeVar
from uuid import uuid4

import msgspec

from maprun.adapters.journal import Journal
from maprun.adapters.plans import PlanReader
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import BucketsRef, open_store
from maprun.core import arns, progress, resolving, selection
from maprun.core.progress import Progress
from maprun.core.results import Names
from maprun.core.rule import attribute, is_expression, value_at
from maprun.core.scheduling import PlanView
from maprun.engine import Engine, Settings
from maprun.errors import AlreadyExists, Failure, Fenced, NotFound, StatesError, StoreError, StoreUnavailable
from maprun.exporting import ResultsExporter
from maprun.model import MUTABLE, MapRunSpec, RunRef
from maprun.planning import PlannerDied, PlannerProcess, PlanRequest
from maprun.ports import UNOBSERVED, Launcher, Observer, Reporter, Store
from maprun.records import Batch, Record

SPEC_KEY: Final = "spec.json"
RETRY_SECONDS: Final = 2.0
DEATHS: Final = 5  # of planning processes in a row, without getting further: a restart does not help any more
PLANNING_BREAKS: Final = f"The process that reads the dataset ended {DEATHS} times in a row at the same place"
STATE_ELSEWHERE: Final = (
    "the run has begun, but this state store holds nothing of it; start the operator with the store that it began in, "
    "or delete the run and make it anew"
)

T = TypeVar("T")


class Troubles:
    """What holds a run up right now, by the part that says so; "" takes it back."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def teller(self, part: str) -> Callable[[str], None]:
        """A function that says or takes back the trouble of one part."""

        def tell(message: str) -> None:
            self._said[part] = message

        return tell

    def __call__(self) -> str:
        return "; ".join(message for message in self._said.values() if message)


class RunJournal:
    """`ports.Journal`: the journal with its fold, and a snapshot of it from time to time."""

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        self._journal, self._clock = journal, clock
        self._segment = 0
        self.progress = Progress()

    async def open(self) -> None:
        """Replay and take over; see `ports.Journal`."""
        async for records in self._journal.open(uuid4().hex, self._clock(), self._restore):
            self.progress = self.progress.with_records(records)
        self._segment = self._journal.last

    def append(self, records: Sequence[Record]) -> asyncio.Future[None]:
        """Queue records; see `ports.Journal`."""
        return asyncio.create_task(self._fold(self._journal.append(records), records))

    async def close(self) -> None:
        """Write what is queued, and stop."""
        await self._journal.close()

    def _restore(self, snapshot: bytes) -> bool:
        try:
            self.progress = progress.decode(snapshot)
        except (msgspec.DecodeError, ValueError):  # written by another version: the segments tell it all
            return False
        return True

    async def _fold(self, durable: asyncio.Future[int], records: Sequence[Record]) -> None:
        segment = await durable
        through, behind = self._segment, self.progress
        self.progress, self._segment = self.progress.with_records(records), segment
        if segment > through and self._journal.snapshot_due:
            await self._journal.snapshot(through, progress.encode(behind))


class RunPlan:
    """`ports.Plan`: the plan's segments, and the process that writes them if they are not complete.

    `trouble` is told what holds up the process, and what holds up our own reading of segments ("" when it goes on).
    """

    def __init__(
        self,
        reader: PlanReader,
        request: PlanRequest,
        trouble: tuple[Callable[[str], None], Callable[[str], None]],
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._reader, self._request, self._observer = reader, request, observer
        self._planning_trouble, self._trouble = trouble

    async def views(self) -> AsyncGenerator[PlanView, None]:
        """See `ports.Plan`."""
        view = await self._insist(self._reader.view)
        yield view
        again = False
        deaths, reached = 0, view.children  # in a row, without getting further
        while view.seal is None and view.failure is None:
            try:
                planner = PlannerProcess(self._planning_trouble, self._observer)
                async with aclosing(planner.run(self._request)) as steps:
                    async for view in steps:
                        if again:
                            self._planning_trouble("")
                            again = False
                        yield view
            # Fenced: by an earlier process of ours, which was still writing; another operator takes the journal.
            except (PlannerDied, Fenced) as error:
                deaths = (deaths if view.children == reached else 0) + isinstance(error, PlannerDied)
                reached = view.children
                if deaths == DEATHS:
                    broken = Failure(StatesError.RUNTIME, f"{PLANNING_BREAKS}: {error}")
                    yield msgspec.structs.replace(view, failure=broken)
                    return
                again = True
                self._planning_trouble(f"reading the dataset is started again: {error}")
                await asyncio.sleep(RETRY_SECONDS * 2**deaths)

    async def batches(self, children: Sequence[int]) -> Sequence[Batch]:
        """See `ports.Plan`."""
        if all(map(self._reader.at_hand, children)):  # a thread would cost more than the answer
            return [self._reader.batch(child) for child in children]
        return await self._insist(lambda: [self._reader.batch(child) for child in children])

    async def _insist(self, read: Callable[[], T]) -> T:
        while True:
            try:
                result = await asyncio.to_thread(read)
            except StoreUnavailable as error:
                self._trouble(f"the plan cannot be read: {error}")
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._trouble("")
                return result


class Home(msgspec.Struct, frozen=True):
    """Where a run's state (by URL and access) and its buckets lie; `observer` is told of what is done there."""

    url: str
    access: S3Access
    buckets: BucketsRef
    region: str = ""
    observer: Observer = UNOBSERVED

    def store(self) -> Store:
        """The run's own store."""
        return open_store(self.url, self.access, self.observer)


def frozen_spec(store: Store, spec: MapRunSpec) -> MapRunSpec:
    """The spec that the run started with: written by whoever comes first, read by all who come later. Blocks.

    `spec` is resolved, so that planner and engine see literals only.
    """
    try:
        store.create(SPEC_KEY, msgspec.json.encode(spec))
    except AlreadyExists:
        return msgspec.json.decode(store.read(SPEC_KEY), type=MapRunSpec)
    return spec


def started_spec(store: Store, run: RunRef, spec: MapRunSpec, region: str = "", *, begun: bool = False) -> MapRunSpec:
    """The frozen spec; the first to come resolves it. Errors: `RunFailed` as `resolved_spec`; `StoreError`, also when
    the run has `begun` and its state is not there: all children would run again. Blocks.
    """
    try:
        return msgspec.json.decode(store.read(SPEC_KEY), type=MapRunSpec)
    except NotFound:  # read first: an edit of a running run must not be resolved, and fail
        if begun:
            raise StoreError(STATE_ELSEWHERE) from None
        return frozen_spec(store, resolved_spec(run, spec, region))


def resolved_spec(run: RunRef, spec: MapRunSpec, region: str = "") -> MapRunSpec:
    """The spec with literals for paths and expressions. Errors: `RunFailed`; see `resolving.resolve`."""
    # The start is the resource's creation, so that doing this again after a crash gives the same.
    return resolving.resolve(spec, selection.context_for(run, spec, run.created, region))


def check_store(store: Store) -> None:
    """Try what the fence is made of: of two creates of one key the second must lose. `StoreError` when it does not.
    Blocks.
    """
    key = f"start-check/{uuid4().hex}"
    store.create(key, b"first")
    try:
        store.create(key, b"second")
    except AlreadyExists:
        return
    finally:
        store.delete(key)
    raise StoreError(
        "the state store replaces objects that must only be created (it ignores If-None-Match: *), so it cannot keep "
        "two operators apart; name a store that has conditional writes"
    )


def with_live_fields(frozen: MapRunSpec, live: MapRunSpec) -> MapRunSpec:
    """The frozen spec with the fields that may change while a run goes on (design §2).

    What is given by a path or an expression keeps the value that it had at the start.
    """
    literals = {
        field: value_at(live, field)
        for field in MUTABLE
        if value_at(live, f"{field}Path") is None and not is_expression(value_at(live, field))
    }
    return msgspec.structs.replace(frozen, **{attribute(field): value for field, value in literals.items()})


def engine_for(
    run: RunRef,
    spec: MapRunSpec,
    live_spec: Callable[[], MapRunSpec],
    home: Home,
    launcher: Launcher,
    reporter: Reporter,
    *,
    ceiling: int,
    local: bytes | None = None,
    clock: Callable[[], float] = time.time,
    tick: float = Settings().tick,
) -> Engine:
    """The engine of a run. `spec` is the frozen one, `local` the value that a reader of ConfigMaps or Secrets names,
    where `needs_local`. Call it inside a running event loop.
    """
    store, troubles = home.store(), Troubles()
    journal = Journal(store, on_trouble=troubles.teller("journal"), observer=home.observer)
    reading_troubles = troubles.teller("planning"), troubles.teller("reading the plan")
    reader = PlanReader(store)
    exporter = ResultsExporter(
        spec,
        Names(run, home.region, arns.label_of(spec, run)),
        history=journal.reader,
        plan=reader,
        buckets=home.buckets.open(home.observer),
        store=store,
        clock=clock,
        trouble=troubles.teller("results"),
    )
    return Engine(
        run,
        lambda: with_live_fields(spec, live_spec()),
        journal=RunJournal(journal, clock),
        plan=RunPlan(reader, _plan_request(run, spec, home, local), reading_troubles, home.observer),
        launcher=launcher,
        exporter=exporter,
        reporter=reporter,
        clock=clock,
        rng=random.Random(),
        trouble=troubles,
        settings=Settings(
            ceiling=ceiling, tick=tick, region=home.region, output_location=f"{home.url.rstrip('/')}/output.json"
        ),
    )


def needs_local(store: Store, spec: MapRunSpec) -> bool:
    """True when the value of a ConfigMap or Secret is still to be read into the plan. Blocks. Errors: `StoreError`."""
    if spec.item_reader is None or not spec.item_reader.resource.local:
        return False
    view = PlanReader(store).view()
    return view.seal is None and view.failure is None


def _plan_request(run: RunRef, spec: MapRunSpec, home: Home, local: bytes | None) -> PlanRequest:
    # The start is the resource's creation, so that reading again after a crash makes the same items.
    context = selection.context_for(run, spec, run.created, home.region)
    return PlanRequest(home.url, spec, context, home.access, home.buckets, local)
