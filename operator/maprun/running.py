"""Puts one run together: the adapters behind the engine's ports, the same for the operator and for a local run.

Rule 1: nothing is decided here; this file only joins.
Rule 2: the run's store holds all of its state: `spec.json` (the resolved spec it started with), `plan/`, `plan-<n>/`,
        `journal/`, `snapshots/`, `output.json` and `output-<n>.json`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import msgspec

from maprun.adapters.journal import Journal, JournalReader
from maprun.adapters.plans import PlanReader, Round
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import BucketsRef, open_store
from maprun.adapters.turns import Turns
from maprun.core import arns, resolving, selection
from maprun.core.progress import Progress
from maprun.core.results import Names
from maprun.core.rule import attribute, is_expression, value_at
from maprun.engine import Engine, Settings
from maprun.errors import AlreadyExists, NotFound, StoreError
from maprun.exporting import ResultsExporter
from maprun.model import MUTABLE, MapRunSpec, RunRef
from maprun.planning import PlanRequest
from maprun.ports import UNOBSERVED, Capacity, Launcher, Observer, Reporter, Store, Unlimited
from maprun.redriving import JournalRedriver
from maprun.run_state import PlannedCapacity, RunJournal, RunPlan, Troubles

SPEC_KEY: Final = "spec.json"
STATE_ELSEWHERE: Final = (
    "the run has begun, but this state store holds nothing of it; start the operator with the store that it began in, "
    "or delete the run and make it anew"
)


class Home(msgspec.Struct, frozen=True):
    """Where a run's state (by URL and access) and its buckets lie; `observer` is told of what is done there, `turns`
    deals the places to read datasets, `exports` those to write results (None: the run is alone).
    """

    url: str
    access: S3Access
    buckets: BucketsRef
    region: str = ""
    observer: Observer = UNOBSERVED
    turns: Turns | None = None
    exports: Turns | None = None

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


def started_spec(
    store: Store,
    run: RunRef,
    spec: MapRunSpec,
    region: str = "",
    *,
    begun: bool = False,
    mark: Callable[[], None] = lambda: None,
) -> MapRunSpec:
    """The frozen spec; the first to come resolves it. `mark` is called before anything is written. Errors: `RunFailed`
    as `resolved_spec`; `StoreError`, also when the run has `begun` and its state is not there: all children would run
    again. Blocks.
    """
    try:
        frozen = msgspec.json.decode(store.read(SPEC_KEY), type=MapRunSpec)
    except NotFound:  # read first: an edit of a running run must not be resolved, and fail
        if begun:
            raise StoreError(STATE_ELSEWHERE) from None
        resolved = resolved_spec(run, spec, region)
        mark()
        return frozen_spec(store, resolved)
    mark()
    return frozen


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
    capacity: Capacity = Unlimited(),
    local: bytes | None = None,
    clock: Callable[[], float] = time.time,
    tick: float = Settings().tick,
) -> Engine:
    """The engine of a run. `spec` is the frozen one, `local` the value that a reader of ConfigMaps or Secrets names,
    where `needs_local`; `capacity` is its part of what all runs share. Call it inside a running event loop.
    """
    store, troubles = home.store(), Troubles()
    journal = Journal(store, on_trouble=troubles.teller("journal"), observer=home.observer)
    troubles.teller("outside")(home.buckets.held)
    reading_troubles = troubles.teller("planning"), troubles.teller("reading the plan")
    reader = PlanReader(store)
    request = _plan_request(run, spec, home, local)
    plan = RunPlan(reader, request, reading_troubles, home.observer, home.turns, run.namespace)
    exporter = ResultsExporter(
        spec,
        Names(run, home.region, arns.label_of(spec, run)),
        history=journal.reader,
        plan=reader,
        buckets=home.buckets.open(home.observer),
        store=store,
        clock=clock,
        trouble=troubles.teller("results"),
        turns=home.exports,
    )
    return Engine(
        run,
        lambda: with_live_fields(spec, live_spec()),
        journal=RunJournal(journal, clock),
        plan=plan,
        launcher=launcher,
        exporter=exporter,
        redriver=JournalRedriver(journal.reader, troubles.teller("redrive")),
        reporter=reporter,
        capacity=PlannedCapacity(capacity, plan),
        clock=clock,
        rng=random.Random(),
        trouble=troubles,
        settings=Settings(ceiling=ceiling, tick=tick, region=home.region, home=home.url.rstrip("/")),
    )


def needs_local(store: Store, spec: MapRunSpec, redrives: int = 0) -> bool:
    """True when the value of a ConfigMap or Secret is still to be read into the plan, also by a redrive that begins
    now, because so many are wanted. Blocks. Errors: `StoreError`.
    """
    if spec.item_reader is None or not spec.item_reader.resource.local:
        return False
    at = Progress().with_records(record for _, _, record in JournalReader(store).records_from())
    view = PlanReader(store, at=Round(at.redrives, at.plan)).view()
    if at.exported is None or redrives <= at.redrives:
        return at.verdict is None and view.seal is None and view.failure is None
    return view.seal is None or not at.begun  # no child ever started: the dataset is read anew (§6.6)


def _plan_request(run: RunRef, spec: MapRunSpec, home: Home, local: bytes | None) -> PlanRequest:
    # The start is the resource's creation, so that reading again after a crash makes the same items.
    context = selection.context_for(run, spec, run.created, home.region)
    return PlanRequest(home.url, spec, context, home.access, home.buckets, local)
