"""Journal and plan of one run as the engine asks for them: with what folds the one, and what writes the other.

Rule 1: what holds a run up is told, and waited for; only what no waiting mends ends the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final, TypeVar
from uuid import uuid4

import msgspec

from maprun.adapters.journal import Journal
from maprun.adapters.plans import PlanReader, Round
from maprun.core import progress
from maprun.core.progress import Progress
from maprun.core.scheduling import PlanView
from maprun.errors import Failure, Fenced, StatesError, StoreUnavailable
from maprun.planning import PlannerDied, PlannerProcess, PlanRequest
from maprun.ports import UNOBSERVED, Observer
from maprun.records import Batch, Exported, Record, Redriven

RETRY_SECONDS: Final = 2.0
DEATHS: Final = 5  # of planning processes in a row, without getting further: a restart does not help any more
PLANNING_BREAKS: Final = f"The process that reads the dataset ended {DEATHS} times in a row at the same place"

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
    """`ports.Journal`: the journal with its fold, and a snapshot of it from time to time.

    What takes its time - a replay, a snapshot, the beginning and the end of a redrive of many scattered children - is
    done in a thread.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        self._journal, self._clock = journal, clock
        self._segment = 0
        self._folding = asyncio.Lock()  # whoever waits for it gets it in the order of coming
        self.progress = Progress()

    async def open(self) -> None:
        """Replay and take over; see `ports.Journal`."""
        async for records in self._journal.open(uuid4().hex, self._clock(), self._restore):
            self.progress = await asyncio.to_thread(self.progress.with_records, records)
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
        async with self._folding:
            through, behind = self._segment, self.progress
            self.progress, self._segment = await _folded(behind, records), segment
        if segment > through and self._journal.snapshot_due:
            await self._journal.snapshot(through, partial(progress.encode, behind))


async def _folded(behind: Progress, records: Sequence[Record]) -> Progress:
    if any(isinstance(record, Redriven | Exported) for record in records):
        return await asyncio.to_thread(behind.with_records, records)
    return behind.with_records(records)


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

    def enter(self, redrive: int, plan: int) -> None:
        """See `ports.Plan`."""
        self._reader.enter(Round(redrive, plan))
        self._request = msgspec.structs.replace(self._request, redrive=redrive, plan=plan)

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
