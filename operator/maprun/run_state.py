"""Journal and plan of one run as the engine asks for them: with what folds the one, and what writes the other.

Rule 1: what holds a run up is told, and waited for; only what no waiting mends ends the run.
Rule 2: a planning process lives only in its run's turn, and never through a pause: whoever waits holds up nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Final, TypeVar
from uuid import uuid4

import msgspec

from maprun.adapters.journal import Journal
from maprun.adapters.patience import insist, pause
from maprun.adapters.plans import PlanReader, Round
from maprun.adapters.turns import Turns
from maprun.core import progress
from maprun.core.progress import Progress
from maprun.core.scheduling import PlanView
from maprun.errors import Failure, Fenced, StatesError, StoreUnavailable
from maprun.planning import PlannerDied, PlannerProcess, PlanRequest
from maprun.ports import UNOBSERVED, Allowance, Capacity, Observer
from maprun.records import Batch, Exported, Record, Redriven

RETRY_SECONDS: Final = 2.0
PATIENCE: Final = 60.0  # longest pause before asking an unreachable store again, seconds
DEATHS: Final = 5  # of planning processes in a row, without getting further: a restart does not help any more
SOON: Final = 10.0  # seconds; a shorter wait for the run's turn is not worth telling
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
    """`ports.Plan`: the plan's segments, and the process that writes them if they are not complete, in its turn among
    those of all `namespace`s that share `turns`.

    `trouble` is told what holds up the process, and what holds up our own reading of segments ("" when it goes on).
    """

    def __init__(
        self,
        reader: PlanReader,
        request: PlanRequest,
        trouble: tuple[Callable[[str], None], Callable[[str], None]],
        observer: Observer = UNOBSERVED,
        turns: Turns | None = None,
        namespace: str = "",
    ) -> None:
        self._reader, self._request, self._observer = reader, request, observer
        self._planning_trouble, self._trouble = trouble
        self._turns, self._namespace = turns or Turns(), namespace
        self._asked: float | None = None  # when the turn was asked for that is to be told of; time of the event loop

    @property
    def waiting(self) -> str:
        """What to tell of the turn that has not come for some time; "" when there is nothing to tell."""
        if self._asked is None or asyncio.get_running_loop().time() < self._asked + SOON:
            return ""
        return f"waits for its turn to read the dataset: all runs share {self._turns.places} places for that"

    def enter(self, redrive: int, plan: int) -> None:
        """See `ports.Plan`."""
        self._reader.enter(Round(redrive, plan))
        self._request = msgspec.structs.replace(self._request, redrive=redrive, plan=plan)

    async def views(self) -> AsyncGenerator[PlanView, None]:
        """See `ports.Plan`."""
        view = await self._insist(self._reader.view)
        yield view
        again = False
        tries = deaths = 0  # in a row, without getting further than `reached`
        reached = view.children
        while view.seal is None and view.failure is None:
            try:
                planner = PlannerProcess(self._observer)
                async with self._turn(tell=not again), aclosing(planner.run(self._request)) as steps:
                    async for view in steps:
                        if again:
                            self._planning_trouble("")
                            again = False
                        yield view
            # Fenced: by an earlier process of ours, which was still writing; another operator takes the journal.
            except (PlannerDied, Fenced, StoreUnavailable) as error:
                tries, deaths = (tries, deaths) if view.children == reached else (0, 0)
                reached, again = view.children, True
                if isinstance(error, StoreUnavailable):
                    self._planning_trouble(str(error))
                    await asyncio.sleep(pause(tries, PATIENCE))
                    tries += 1
                    continue
                deaths += isinstance(error, PlannerDied)
                if deaths == DEATHS:
                    broken = Failure(StatesError.RUNTIME, f"{PLANNING_BREAKS}: {error}")
                    yield msgspec.structs.replace(view, failure=broken)
                    return
                self._planning_trouble(f"reading the dataset is started again: {error}")
                await asyncio.sleep(RETRY_SECONDS * 2**deaths)

    @asynccontextmanager
    async def _turn(self, *, tell: bool) -> AsyncGenerator[None, None]:
        """`tell`: nothing else is told yet that holds the run up."""
        self._asked = asyncio.get_running_loop().time() if tell else None
        try:
            async with self._turns.turn(self._namespace):
                self._asked = None
                yield
        finally:
            self._asked = None

    async def batches(self, children: Sequence[int]) -> Sequence[Batch]:
        """See `ports.Plan`."""
        if all(map(self._reader.at_hand, children)):  # a thread would cost more than the answer
            return [self._reader.batch(child) for child in children]
        return await self._insist(lambda: [self._reader.batch(child) for child in children])

    async def _insist(self, read: Callable[[], T]) -> T:
        return await insist(lambda: asyncio.to_thread(read), self._trouble, "the plan cannot be read", RETRY_SECONDS)


class PlannedCapacity:
    """`ports.Capacity` that tells of a run's wait for its turn to be planned as it does of a ceiling."""

    def __init__(self, capacity: Capacity, plan: RunPlan) -> None:
        self._capacity, self._plan = capacity, plan

    def ask(self, live: int, wanted: int) -> Allowance:
        """See `ports.Capacity`."""
        allowance, waiting = self._capacity.ask(live, wanted), self._plan.waiting
        if not waiting:
            return allowance
        return Allowance(allowance.children, "; ".join(filter(None, (allowance.why, waiting))))

    def close(self) -> None:
        """See `ports.Capacity`."""
        self._capacity.close()
