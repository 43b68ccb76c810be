"""The loop of one run: observe, decide, perform, record; the same path for a new run, a running one, one that a crash
left behind, and one that is redriven.

Rule 1: every fact goes through the journal. Progress moves only by records that are durable, and only then are their
        Jobs removed.
Rule 2: the engine decides nothing (core/scheduling.py does) and knows no Kubernetes, no S3, no files (ports.py).
Rule 3: whatever stops the loop - cancellation, a crash, `Fenced` - leaves the attempts as they are; the next engine
        finds them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from math import inf
from typing import Any, Final

import msgspec

from maprun.core.progress import Progress, Tally
from maprun.core.results import output_key
from maprun.core.scheduling import Decision, Observation, PlanView, Situation, decide, limit
from maprun.core.status import Snapshot
from maprun.model import MapRunSpec, RunRef
from maprun.ports import Capacity, Exporter, Journal, Launcher, Plan, Redriver, Reporter, Unlimited
from maprun.records import Attempt, Outcome, Record, Suspended, Verdict

SPARE: Final = 1_000  # children that are gone, whose number of items is still kept
LOOKUP: Final = 50  # batches that are asked for at once when only their number of items is wanted


class Settings(msgspec.Struct, frozen=True):
    """`ceiling`: most live children of a run. `tick` and `heartbeat`: shortest and longest time between two decisions,
    in seconds: bursts of news cost one decision, and an edit of the spec is seen soon. `home` is the URL of the run's
    own store.
    """

    ceiling: int = 1_000
    tick: float = 0.02
    heartbeat: float = 1.0
    region: str = "local"
    home: str = ""


class Engine:
    """Drives one run to its end. `live_spec` gives the spec as it is now: the mutable fields may change while it runs.

    `clock` gives seconds since the epoch; `trouble` says what holds the run up outside of the
    launcher ("" for nothing).
    """

    def __init__(
        self,
        run: RunRef,
        live_spec: Callable[[], MapRunSpec],
        *,
        journal: Journal,
        plan: Plan,
        launcher: Launcher,
        exporter: Exporter,
        redriver: Redriver,
        reporter: Reporter,
        clock: Callable[[], float],
        rng: random.Random,
        capacity: Capacity = Unlimited(),
        trouble: Callable[[], str] = lambda: "",
        settings: Settings = Settings(),
    ) -> None:
        self._run, self._live_spec, self._settings = run, live_spec, settings
        self._journal, self._plan, self._launcher = journal, plan, launcher
        self._exporter, self._redriver, self._reporter, self._capacity = exporter, redriver, reporter, capacity
        self._clock, self._rng, self._trouble = clock, rng, trouble
        self._view = PlanView()
        self._writing: set[Attempt] = set()
        self._begun: set[Attempt] = set()  # told as launched: what a launcher gives back is launched again
        self._verdict_writing = self._suspend_writing = False
        self._exporting = False
        self._items: dict[int, int] = {}  # how many are in the children that are live, and some that were
        self._seen = Observation({})  # what the last decision was made of: observing again would hide what came since
        self._held = ""  # why the run may not have the children that it would have
        self._retry_at = -inf  # until then no retry is due
        self._wake = asyncio.Event()
        self._news: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Snapshot:
        """Returns the final snapshot, told and durable. Raises `Fenced` when another operator took the run over."""
        await self._journal.open()
        try:
            await self._redrive()
            self._plan.enter(self._progress.redrives, self._progress.plan)
            async with aclosing(self._plan.views()) as views:
                self._view = await anext(views)
                try:
                    await self._drive(views)
                finally:
                    await self._stop_tasks()
            await self._reporter.finished(self._snapshot())
            return self._snapshot()
        finally:
            try:
                await self._launcher.close()
            finally:
                self._capacity.close()  # not before the last create is sent or dropped: it counts until then
                await self._journal.close()

    @property
    def _progress(self) -> Progress:
        return self._journal.progress

    def wake(self) -> None:
        """The spec changed, or there is room for more children: decide again."""
        self._wake.set()

    async def _redrive(self) -> None:
        """Begin the next redrive of a run that has ended, if one is wanted and finds something to run again."""
        progress, spec = self._progress, self._live_spec()
        if progress.exported is None or spec.redrives <= progress.redrives or spec.abort:
            return
        if begins := await self._redriver.redriven(progress, spec, self._clock()):
            await self._journal.append((begins,))

    async def _drive(self, views: AsyncGenerator[PlanView, None]) -> None:
        if self._progress.exported is not None:
            return
        await self._launcher.open()
        if self._progress.verdict is None:
            self._reading = self._tasked(self._follow_plan(views))
        while self._progress.exported is None:
            self._wake.clear()
            await self._observe()
            decision = self._decide()
            await self._perform(decision)
            self._reporter.progressed(self._snapshot())
            await self._sleep(decision.wake_at)

    async def _observe(self) -> None:
        """Look at what runs. The plan tells how many items are in it, also where an earlier engine started it."""
        self._seen = self._launcher.observe()
        live = self._seen.children
        if len(self._items) > 2 * len(live) + SPARE:
            self._items = {child: self._items[child] for child in live & self._items.keys()}
        adopted = sorted(child for child in live - self._items.keys() if child < self._view.children)
        for at in range(0, len(adopted), LOOKUP):
            batches = await self._plan.batches(adopted[at : at + LOOKUP])
            self._items |= {batch.index: batch.items for batch in batches}

    def _decide(self) -> Decision:
        situation = Situation(
            spec=self._live_spec(),
            plan=self._view,
            progress=self._progress,
            seen=self._seen,
            ceiling=self._settings.ceiling,
            now=self._clock(),
            writing=frozenset(self._writing),
            verdict_writing=self._verdict_writing,
            suspend_writing=self._suspend_writing,
            items=self._items,
            retry_at=self._retry_at,
        )
        decision = self._allowed(decide(situation, self._rng))
        # Now and then all are looked at: an attempt that vanished without a trace is not missed for ever.
        self._retry_at = min(decision.retry_at, situation.now + self._settings.heartbeat)
        return decision

    def _allowed(self, decision: Decision) -> Decision:
        """The part of the decision for which there is room beside all other runs."""
        live = len(self._seen.active) + len(self._seen.finished)
        allowance = self._capacity.ask(live, live + len(decision.launches))
        self._held = allowance.why
        return decision.within(max(0, allowance.children - live))

    async def _perform(self, decision: Decision) -> None:
        if decision.records:
            self._record(decision.records)
        for attempt in decision.reaps:
            self._launcher.reap(attempt)
        for attempt in decision.withdraws:
            self._launcher.withdraw(attempt)
        for attempt in decision.cancels:
            self._launcher.cancel(attempt)
        await self._launch(decision.launches)
        if decision.export and not self._exporting:
            self._exporting = True
            self._start(self._export())

    async def _launch(self, attempts: tuple[Attempt, ...]) -> None:
        if not attempts:
            return
        batches = await self._plan.batches([attempt.child for attempt in attempts])
        if self._broken.done():  # fenced off meanwhile, perhaps: then nothing may be started
            self._broken.result()
        for attempt, batch in zip(attempts, batches, strict=True):
            self._items[attempt.child] = batch.items
            self._launcher.launch(attempt, batch)
            if attempt not in self._begun:
                self._begun.add(attempt)
                self._reporter.launched(attempt)

    def _record(self, records: tuple[Record, ...]) -> None:
        """Queue records for the journal. From here to their durability they are nobody's business (`writing`)."""
        attempts = {record.key for record in records if isinstance(record, Outcome)}
        self._writing |= attempts
        self._verdict_writing |= any(isinstance(record, Verdict) for record in records)
        self._suspend_writing |= any(isinstance(record, Suspended) for record in records)
        self._start(self._settle(self._journal.append(records), records, attempts))

    async def _settle(self, durable: Awaitable[None], records: tuple[Record, ...], attempts: set[Attempt]) -> None:
        await durable
        self._writing -= attempts
        self._begun -= attempts
        for record in records:
            if isinstance(record, Outcome):
                self._reporter.recorded(record)
                self._retry_at = min(self._retry_at, record.retry.at if record.retry else inf)
        self._suspend_writing &= not any(isinstance(record, Suspended) for record in records)
        self._wake.set()

    async def _export(self) -> None:
        verdict = self._progress.verdict
        assert verdict is not None, "export is decided only behind a verdict"
        await self._end_reading()
        self._record((await self._exporter.export(self._progress, verdict, self._view),))

    async def _follow_plan(self, views: AsyncGenerator[PlanView, None]) -> None:
        async with aclosing(views):
            async for self._view in views:
                self._wake.set()
                if self._progress.verdict is not None or self._verdict_writing:
                    return

    async def _end_reading(self) -> None:
        """The plan ends here. It is exported as a restart would find it: reading has gone on behind our view of it."""
        if self._reading is None:
            return
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        async with aclosing(self._plan.views()) as views:
            self._view = await anext(views)

    async def _sleep(self, wake_at: float | None) -> None:
        """Until something happened or `wake_at`, and at least one tick; raises what broke a background task."""
        await asyncio.sleep(self._settings.tick)
        timeout = self._settings.heartbeat
        if wake_at is not None:
            timeout = min(timeout, max(0.0, wake_at - self._clock()))
        if self._news is None:
            self._news = self._tasked(self._launcher.changed())
        waking = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait((waking, self._news, self._broken), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
        if self._news.done():  # told once: forgotten only here, where a decision follows
            self._news = None
        if self._broken.done():
            self._broken.result()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Work in the background; what breaks it is raised by the loop."""
        _ = self._tasked(work)

    def _tasked(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not self._broken.done():
            self._broken.set_exception(error)

    async def _stop_tasks(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._broken.done():
            self._broken.exception()  # told by the loop, or overtaken by what ended it

    def _active(self, *, redone: bool = False) -> Tally:
        """The children that are live and not final; only those that a redrive runs again, when `redone` says so."""
        progress = self._progress
        children = [
            child
            for child in self._seen.children
            if child not in progress.done and not (redone and progress.redone(child) is None)
        ]
        return Tally(len(children), sum(self._items.get(child, 1) for child in children))

    def _snapshot(self) -> Snapshot:
        spec = self._live_spec()
        return Snapshot(
            run=self._run,
            spec=spec,
            region=self._settings.region,
            plan=self._view,
            progress=self._progress,
            active=self._active(),
            redoing=self._active(redone=True) if self._progress.redo else Tally(),
            limit=limit(spec, self._settings.ceiling),
            now=self._clock(),
            trouble=self._trouble(),
            waiting="; ".join(filter(None, (self._seen.waiting, self._held))),
            output_location=f"{self._settings.home}/{output_key(self._progress.redrives)}",
            capacity=self._held,
        )
