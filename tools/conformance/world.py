"""A place where one execution runs: directories for buckets, and the engine for each distributed Map in it.

Rule 1: the engine, the journal, the planner and the exporter are those of the operator, with their files in a
        directory. Only children differ: each is a machine in this process, and needs no Job.
Rule 2: a child that waits is held until the run was seen with it running and the dataset read; then no time passes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec

from maprun.adapters.journal import Journal
from maprun.adapters.plans import PlanReader, Round
from maprun.adapters.stores import BucketsRef, open_store
from maprun.core import arns
from maprun.core.asl.machine import Answer, MapRun
from maprun.core.results import Names
from maprun.core.scheduling import PlanView
from maprun.core.status import Snapshot
from maprun.engine import Engine, Settings
from maprun.errors import Failure
from maprun.exporting import ResultsExporter
from maprun.model import MapRunSpec, RunRef
from maprun.planning import PlanRequest, plan_run
from maprun.ports import Store
from maprun.records import Batch
from maprun.redriving import JournalRedriver
from maprun.run_state import RunJournal
from tools.conformance.children import REGION, Child, MachineLauncher, RunSeen

ACCOUNT: Final = "111111111111"
MACHINE: Final = "machine"
CHILDREN: Final = 40  # at once
TICK: Final = 0.001  # seconds
HEARTBEAT: Final = 0.02  # seconds: soon enough sees a child that waits to be seen


class Buckets:
    """The buckets of a case as directories, with the objects that were put there first."""

    def __init__(self, root: Path, names: Sequence[str], objects: Sequence[dict[str, Any]]) -> None:
        self._root = root
        root.mkdir()
        for name in {*names, *(each["Bucket"] for each in objects)}:
            self.make(name)
        for each in objects:
            self._store(each["Bucket"]).write(each["Key"], [_content(each)], "application/octet-stream")
        self._put = {(each["Bucket"], each["Key"]) for each in objects}

    @property
    def ref(self) -> BucketsRef:
        """How the planner and the exporter reach them."""
        return BucketsRef(root=str(self._root))

    def make(self, name: str) -> None:
        """A bucket that a definition names, although the case does not list it."""
        (self._root / name).mkdir(exist_ok=True)

    def written(self) -> Iterator[tuple[str, bytes]]:
        """Key and content of all objects that were not there at first."""
        for bucket in sorted(self._root.iterdir()):
            store = self._store(bucket.name)
            for info in store.list():
                if (bucket.name, info.key) not in self._put:
                    yield info.key, store.read(info.key)

    def _store(self, bucket: str) -> Store:
        return self.ref.open().bucket(bucket)


class ThreadPlan:
    """`ports.Plan` with the planner in a thread."""

    def __init__(self, reader: PlanReader, request: PlanRequest) -> None:
        self._reader, self._request = reader, request

    def enter(self, redrive: int, plan: int) -> None:
        """See `ports.Plan`."""
        self._reader.enter(Round(redrive, plan))
        self._request = msgspec.structs.replace(self._request, redrive=redrive, plan=plan)

    async def views(self) -> AsyncGenerator[PlanView, None]:
        """See `ports.Plan`."""
        view = await asyncio.to_thread(self._reader.view)
        yield view
        if view.seal is None and view.failure is None:
            yield await asyncio.to_thread(plan_run, self._request, lambda _view: None)

    async def batches(self, children: Sequence[int]) -> Sequence[Batch]:
        """See `ports.Plan`."""
        return await asyncio.to_thread(lambda: [self._reader.batch(child) for child in children])


def new_run() -> RunRef:
    """A run, or an execution, of its own."""
    return RunRef(ACCOUNT, MACHINE, str(uuid4()), time.time())


async def run_map(asked: MapRun, folder: Path, buckets: Buckets, child: Child) -> tuple[Answer, RunSeen]:
    """Run a distributed Map with the engine. `folder` is for its own state, and empty."""
    run, spec = new_run(), asked.run.spec
    seen = RunSeen(run, arns.label_of(spec, run), asked.run.context)
    if spec.result_writer and spec.result_writer.resource:
        buckets.make(spec.result_writer.bucket)
    snapshot = await _engine(run, asked, folder, buckets, MachineLauncher(seen, child), seen).run()
    return _answer(snapshot), seen


def _engine(
    run: RunRef, asked: MapRun, folder: Path, buckets: Buckets, launcher: MachineLauncher, seen: RunSeen
) -> Engine:
    spec, store = asked.run.spec, open_store(folder.as_uri())
    journal, reader = Journal(store, flush_seconds=TICK), PlanReader(store)
    request = PlanRequest(store=folder.as_uri(), spec=spec, context=asked.run.context, buckets=buckets.ref)
    exporter = ResultsExporter(
        _told(spec, asked.run.finishes), Names(run, REGION, seen.label),
        history=journal.reader, plan=reader, buckets=buckets.ref.open(), store=store, clock=time.time,
    )  # fmt: skip
    return Engine(
        run, lambda: spec,
        journal=RunJournal(journal, time.time), plan=ThreadPlan(reader, request), launcher=launcher,
        exporter=exporter, redriver=JournalRedriver(journal.reader), reporter=seen, clock=time.time,
        rng=random.Random(),
        settings=Settings(ceiling=CHILDREN, tick=TICK, heartbeat=HEARTBEAT, region=REGION),
    )  # fmt: skip


def _told(spec: MapRunSpec, finishes: bool) -> MapRunSpec:
    """The spec for the exporter: without the fields of the result, where the state itself has them."""
    return spec if finishes else msgspec.structs.replace(spec, result_selector=None, result_path="$", output=None)


def _answer(snapshot: Snapshot) -> Answer:
    if snapshot.failure:
        return Answer(failure=Failure(snapshot.failure.error, snapshot.failure.cause))
    assert snapshot.progress.exported, "a run that ended has its results"
    return Answer(output=msgspec.json.decode(snapshot.progress.exported.output))


def _content(each: dict[str, Any]) -> bytes:
    content = each["content"]
    return content.encode() if isinstance(content, str) else msgspec.json.encode(content)
