"""A world without a cluster: what outlives a crash of the engine (journal, plan, running attempts), and a fuse that
crashes it.

Rule 1: `World` is durable; the ports made from it (`journal()`, `launcher()`, …) belong to one engine and die with it.
Rule 2: every port call is a numbered step of `Fuse`, before and after its effect; at the fatal step everything raises
        `Crashed`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from maprun.core import choosing, status
from maprun.core.finals import Finals, Place
from maprun.core.progress import Progress
from maprun.core.scheduling import Observation, PlanView
from maprun.core.status import Snapshot
from maprun.engine import Engine, Settings
from maprun.errors import Failure, Fenced
from maprun.model import MapRunSpec, RunRef
from maprun.ports import Allowance
from maprun.records import (
    Attempt,
    Batch,
    ChildStatus,
    Exported,
    Opened,
    Outcome,
    PlanSeal,
    Record,
    Redriven,
    Verdict,
)

RUN = RunRef("default", "airports", "0f9c1e6a-8c3b-4c51-9a55-1a2b3c4d5e6f", 1_790_000_000.0)


class Crashed(Exception):
    """The engine's process was killed."""


class Fuse:
    """Counts steps and blows at `fatal` (0: never); once blown, every later step fails too, as nothing runs in a dead
    process.
    """

    def __init__(self, fatal: int = 0) -> None:
        self.steps, self.fatal = 0, fatal

    def step(self) -> None:
        self.steps += 1
        if self.fatal and self.steps >= self.fatal:
            raise Crashed(f"step {self.steps}")


Handler = Callable[[int, int], Outcome | None]
"""(child, attempt) → how that attempt ends; None: it runs for ever."""


def succeeds(child: int, attempt: int) -> Outcome:
    return Outcome(child, attempt, ChildStatus.SUCCEEDED, output=msgspec.Raw(b"%d" % child), started=1.0, stopped=2.0)


def fails(child: int, attempt: int, error: str = "Boom") -> Outcome:
    return Outcome(
        child, attempt, ChildStatus.FAILED, failure=Failure(error, f"attempt {attempt}"), started=1.0, stopped=2.0
    )


class World:
    """Everything durable. `ran` counts how often each attempt was really started, `launched` how often its start was
    told; `peak` is the largest number of live attempts. `sizes` are the numbers of items in the children, 1
    without. `readable_from` is the redrive that can read the whole dataset, where the first life cannot. `room` is how
    many children all runs together leave to this.
    While it is `shut`, nothing that is launched begins. `closed` are the ports that an engine has closed, in order.
    """

    def __init__(
        self,
        children: int,
        handler: Handler = succeeds,
        *,
        reader_failure: Failure | None = None,
        seed: int = 0,
        sizes: Sequence[int] = (),
    ) -> None:
        self.children, self.handler, self.reader_failure = children, handler, reader_failure
        self.sizes = list(sizes) or [1] * children
        self.rng = random.Random(seed)
        self.journal: list[Record] = []
        self.folded = 0, Progress()
        self.writer = 0
        self.live: dict[int, Attempt] = {}
        self.ended: dict[int, Outcome] = {}
        self.ran: Counter[Attempt] = Counter()
        self.launched: Counter[Attempt] = Counter()
        self.durable_then_ran: list[Attempt] = []
        self.peak = 0
        self.seen: set[int] = set()
        self.planned = 0
        self.plan = 0
        self.readable_from = 1
        self.exports = 0
        self.room = 10**9
        self.shut = False
        self.closed: list[str] = []
        self.after_verdict: list[Attempt] = []
        self.while_held: list[Attempt] = []
        self.held: Callable[[], bool] = lambda: False

    def progress(self) -> Progress:
        count, known = self.folded
        if count < len(self.journal):
            self.folded = len(self.journal), known.with_records(self.journal[count:])
        return self.folded[1]

    def finals(self) -> Finals:
        """Where each child's outcome stands, lines counted over the whole journal."""
        finals = Finals(self.children)
        for line, record in enumerate(self.journal):
            match record:
                case Outcome():
                    finals.add(Place(1, line), record)
                case Redriven():
                    finals.redriven(record)
                case Exported():
                    finals.exported(record)
        return finals

    def outcomes(self) -> dict[int, Outcome]:
        """The final outcome of each child that has one."""
        found = [self.journal[place.line] for place in self.finals().all()]
        return {record.child: record for record in found if isinstance(record, Outcome)}

    def engine(
        self,
        spec: MapRunSpec | Callable[[], MapRunSpec],
        fuse: Fuse | None = None,
        *,
        ceiling: int = 1000,
        plan: type[FakePlan] | None = None,
        told: list[Snapshot] | None = None,
        clock: Callable[[], float] | None = None,
        heartbeat: float = 1e9,  # nothing may need it but an edit, and a clock that is wrong
    ) -> Engine:
        fuse = fuse or Fuse()
        self.writer += 1
        live = spec if callable(spec) else lambda: spec
        self.held = lambda: live().suspend
        return Engine(
            RUN,
            live,
            journal=FakeJournal(self, fuse, self.writer),
            plan=(plan or FakePlan)(self, fuse),
            launcher=FakeLauncher(self, fuse),
            exporter=FakeExporter(self, fuse),
            redriver=FakeRedriver(self, fuse),
            capacity=FakeCapacity(self),
            reporter=FakeReporter(self, told),
            clock=clock or (lambda: asyncio.get_running_loop().time()),
            rng=random.Random(1),
            settings=Settings(ceiling=ceiling, heartbeat=heartbeat),
        )

    def advance(self) -> None:
        """Some of what runs comes to its end."""
        for child in list(self.live):
            if self.rng.random() < 0.6:
                attempt = self.live[child]
                outcome = self.handler(attempt.child, attempt.number)
                if outcome is not None:
                    self.ended[child] = outcome
                    del self.live[child]


class FakeJournal:
    """Durable after an await; fenced as soon as a later one was opened."""

    def __init__(self, world: World, fuse: Fuse, writer: int) -> None:
        self.world, self.fuse, self.me = world, fuse, writer
        self.queue: asyncio.Task[None] | None = None

    @property
    def progress(self) -> Progress:
        return self.world.progress()

    async def open(self) -> None:
        self.fuse.step()
        self.world.journal.append(Opened(str(self.me), asyncio.get_running_loop().time()))

    def append(self, records: Sequence[Record]) -> asyncio.Future[None]:
        self.fuse.step()
        before = self.queue
        self.queue = asyncio.ensure_future(self._write(before, tuple(records)))
        return self.queue

    async def _write(self, before: asyncio.Task[None] | None, records: tuple[Record, ...]) -> None:
        if before is not None:
            await asyncio.shield(before)
        await asyncio.sleep(0.05)
        self.fuse.step()
        if self.world.writer != self.me:
            raise Fenced("another operator writes this run's journal")
        self.world.journal.extend(records)
        self.fuse.step()

    async def close(self) -> None:
        if self.queue is not None:
            self.queue.cancel()
            await asyncio.gather(self.queue, return_exceptions=True)


class FakePlan:
    """The plan grows by a third at a time."""

    def __init__(self, world: World, fuse: Fuse) -> None:
        self.world, self.fuse, self.redrive = world, fuse, -1

    def enter(self, redrive: int, plan: int) -> None:
        self.redrive = redrive
        if plan != self.world.plan:
            self.world.plan, self.world.planned = plan, 0

    def _view(self) -> PlanView:
        world = self.world
        assert self.redrive == world.progress().redrives, "the plan is looked at in a round that it has not entered"
        complete = world.planned == world.children
        items = sum(world.sizes[: world.planned])
        if world.reader_failure and complete and self.redrive < world.readable_from:
            return PlanView(world.planned, items, failure=world.reader_failure)
        seal = PlanSeal(world.children, items, 3) if complete else None
        return PlanView(world.planned, items, seal)

    async def views(self) -> AsyncGenerator[PlanView, None]:
        yield self._view()
        while self.world.planned < self.world.children:
            await asyncio.sleep(0.1)
            self.fuse.step()
            self.world.planned = min(self.world.children, self.world.planned + self.world.children // 3 + 1)
            yield self._view()

    async def batches(self, children: Sequence[int]) -> Sequence[Batch]:
        self.fuse.step()
        assert all(child < self.world.planned for child in children)
        return [Batch(child, self.world.sizes[child], msgspec.Raw(b"%d" % child)) for child in children]


class EagerPlan(FakePlan):
    """Grows by itself, faster than it tells, until nobody asks any more: as a planning process does."""

    async def views(self) -> AsyncGenerator[PlanView, None]:
        yield self._view()
        growing = asyncio.create_task(self._grow())
        try:
            while self.world.planned < self.world.children:
                await asyncio.sleep(1)
                yield self._view()
        finally:
            growing.cancel()

    async def _grow(self) -> None:
        while self.world.planned < self.world.children:
            self.world.planned += 1
            await asyncio.sleep(0.03)


class FakeLauncher:
    """Attempts live in the world; they end while somebody waits for changes."""

    def __init__(self, world: World, fuse: Fuse) -> None:
        self.world, self.fuse = world, fuse
        self.starting: dict[int, tuple[Attempt, Batch]] = {}

    async def open(self) -> None:
        self.fuse.step()

    def observe(self) -> Observation:
        live = {child: attempt.number for child, attempt in self.world.live.items()}
        live |= {child: attempt.number for child, (attempt, _) in self.starting.items()}
        self.world.seen = {*live, *self.world.ended}
        return Observation(live, tuple(self.world.ended.values()), starting=frozenset(self.starting))

    def launch(self, attempt: Attempt, batch: Batch) -> None:
        self.fuse.step()
        world = self.world
        assert batch.index == attempt.child
        if attempt.child in {*world.live, *world.ended, *self.starting}:
            raise AssertionError(f"{attempt} is launched beside a live attempt")
        if world.shut:
            self.starting[attempt.child] = attempt, batch
            return
        if world.progress().settles(attempt):
            world.durable_then_ran.append(attempt)
        if world.progress().verdict:
            world.after_verdict.append(attempt)
        if world.held():
            world.while_held.append(attempt)
        world.live[attempt.child] = attempt
        world.ran[attempt] += 1
        world.peak = max(world.peak, len(world.live) + len(world.ended))
        self.fuse.step()

    def cancel(self, attempt: Attempt) -> None:
        self.fuse.step()
        if self.world.live.get(attempt.child) == attempt:
            del self.world.live[attempt.child]
        self.fuse.step()

    def withdraw(self, attempt: Attempt) -> None:
        self.fuse.step()
        self.starting.pop(attempt.child, None)

    def reap(self, attempt: Attempt) -> None:
        self.fuse.step()
        ended = self.world.ended.get(attempt.child)
        if ended and ended.key == attempt:
            assert self.world.progress().settles(attempt), "reaped before its outcome was durable"
            del self.world.ended[attempt.child]
        self.fuse.step()

    async def changed(self) -> None:
        await asyncio.sleep(0.2)
        while self.starting and not self.world.shut:
            self.launch(*self.starting.pop(next(iter(self.starting))))
        self.world.advance()

    async def close(self) -> None:
        """Attempts go on without the engine."""
        self.world.closed.append("launcher")


class FakeExporter:
    def __init__(self, world: World, fuse: Fuse) -> None:
        self.world, self.fuse = world, fuse

    async def export(self, progress: Progress, verdict: Verdict, plan: PlanView) -> Exported:
        self.fuse.step()
        await asyncio.sleep(0.1)
        self.world.exports += 1
        self.fuse.step()
        return Exported(2.0, plan.children)


class FakeRedriver:
    """Looks through the journal as the real one does."""

    def __init__(self, world: World, fuse: Fuse) -> None:
        self.world, self.fuse = world, fuse

    async def redriven(self, progress: Progress, spec: MapRunSpec, at: float) -> Redriven | None:
        self.fuse.step()
        await asyncio.sleep(0.1)
        records = ((1, line, record) for line, record in enumerate(self.world.journal))
        return choosing.redriven(progress, records, spec.redrive_filter, at)


class FakeCapacity:
    """The room that the world has just now."""

    def __init__(self, world: World) -> None:
        self.world = world

    def ask(self, live: int, wanted: int) -> Allowance:
        room = max(live, min(wanted, self.world.room))
        return Allowance(room, "there is no more room" if room < wanted else "")

    def close(self) -> None:
        self.world.closed.append("capacity")


class Script:
    """A spec that is edited at given times, in seconds from now, which wakes the engine; the same for every engine that
    drives the run.
    """

    def __init__(self, fields: Mapping[str, Any], *edits: tuple[float, Mapping[str, Any]]) -> None:
        begun = asyncio.get_running_loop().time()
        self.fields, self.edits = fields, [(begun + at, edit) for at, edit in edits]

    def spec(self) -> MapRunSpec:
        now, fields = asyncio.get_running_loop().time(), dict(self.fields)
        for at, edit in self.edits:
            fields |= edit if at <= now else {}
        return msgspec.convert(fields, MapRunSpec)

    async def drive(self, world: World, fuse: Fuse | None = None) -> Snapshot:
        """Lives of the engine until no edit and no redrive is left, as a supervisor has them."""
        loop = asyncio.get_running_loop()
        while True:
            engine, before = world.engine(self.spec, fuse), world.progress().redrives
            for at, _ in self.edits:
                loop.call_at(at, engine.wake)
            final = await engine.run()
            wanted = self.spec()
            if wanted.redrives > final.progress.redrives > before and not wanted.abort:
                continue
            left = [at for at, _ in self.edits if at > loop.time()]
            if not left:
                return final
            await asyncio.sleep(left[0] - loop.time() + 0.01)  # the loop's clock has steps


class FakeReporter:
    """Checks each look: all items and children of the plan are in one state each, and those that run are counted."""

    def __init__(self, world: World, told: list[Snapshot] | None = None) -> None:
        self.world, self.told = world, told

    def launched(self, attempt: Attempt) -> None:
        self.world.launched[attempt] += 1

    def recorded(self, outcome: Outcome) -> None:
        assert outcome.items == self.world.sizes[outcome.child]

    def progressed(self, snapshot: Snapshot) -> None:
        items, children = status.item_counts(snapshot), status.execution_counts(snapshot)
        for counts, total in ((items, snapshot.plan.items), (children, snapshot.plan.children)):
            assert sum(counts[state] for state in STATES) == counts["total"] == total
            assert all(count >= 0 for count in counts.values())
        live = self.world.seen - set(snapshot.progress.done)
        assert children["running"] == len(live)
        assert items["running"] == sum(self.world.sizes[child] for child in live)
        if self.told is not None:
            self.told.append(snapshot)

    async def finished(self, snapshot: Snapshot) -> None:
        self.progressed(snapshot)


STATES = ("pending", "pendingRedrive", "running", "succeeded", "failed", "timedOut", "aborted")
