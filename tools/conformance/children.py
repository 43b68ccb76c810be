"""The children of a map run as machines in this process, and all that is seen of the run meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from maprun.core import arns, status
from maprun.core.asl.machine import Ended
from maprun.core.scheduling import Observation
from maprun.core.status import Snapshot
from maprun.core.times import iso
from maprun.model import RunRef
from maprun.records import NOTHING, Attempt, Batch, ChildStatus, Outcome

REGION: Final = "region"
UNBOUNDED: Final = 2_147_483_647  # how AWS tells that there is no limit, §12

Held = Callable[[], Awaitable[None]]
Child = Callable[[dict[str, Any], Any, Held], Awaitable[Ended]]
"""Runs one child: (context, input, what a Wait state awaits) → how it ended."""


class RunSeen:
    """What is seen of one map run: what DescribeMapRun would have told at each moment, and its children."""

    def __init__(self, run: RunRef, label: str, map_context: dict[str, Any]) -> None:
        self.run, self.label, self.map_context = run, label, map_context
        self.described: list[dict[str, Any]] = []
        self.batches: dict[int, Batch] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.contexts: dict[int, dict[str, Any]] = {}
        self._complete = asyncio.Event()

    async def held(self) -> None:
        """Until the dataset is read, and a child was told to run."""
        await self._complete.wait()

    def launched(self, attempt: Attempt) -> None:
        """See `ports.Reporter`."""

    def recorded(self, outcome: Outcome) -> None:
        """See `ports.Reporter`."""
        self.outcomes[outcome.child] = outcome

    def progressed(self, snapshot: Snapshot) -> None:
        """See `ports.Reporter`."""
        told = described(snapshot)
        if not self.described or self.described[-1] != told:
            self.described.append(told)
        if (snapshot.plan.seal or snapshot.plan.failure) and snapshot.active.children:
            self._complete.set()

    async def finished(self, snapshot: Snapshot) -> None:
        """See `ports.Reporter`."""
        self.progressed(snapshot)


def described(at: Snapshot) -> dict[str, Any]:
    """A run as DescribeMapRun tells it."""
    return {
        "status": str(at.status),
        "maxConcurrency": at.spec.concurrency or UNBOUNDED,
        "toleratedFailurePercentage": float(at.spec.percentage or 0),
        "toleratedFailureCount": at.spec.failure_count or 0,
        "itemCounts": status.item_counts(at),
        "executionCounts": status.execution_counts(at),
        "redriveCount": 0,
    } | ({"stopDate": iso(at.now)} if at.ended else {})


class MachineLauncher:
    """`ports.Launcher` whose children are machines in this process."""

    def __init__(self, seen: RunSeen, child: Child) -> None:
        self._seen, self._child = seen, child
        self._tasks: dict[Attempt, asyncio.Task[Outcome]] = {}
        self._finished: dict[Attempt, Outcome] = {}
        self._changed = asyncio.Event()
        self._broken: BaseException | None = None

    async def open(self) -> None:
        """Nothing is there yet."""

    def observe(self) -> Observation:
        """Running and ended children."""
        return Observation({each.child: each.number for each in self._tasks}, tuple(self._finished.values()))

    def launch(self, attempt: Attempt, batch: Batch) -> None:
        """Start a child."""
        self._seen.batches[batch.index] = batch
        task = self._tasks[attempt] = asyncio.create_task(self._perform(attempt, batch))
        task.add_done_callback(lambda done: self._gone(attempt, done))

    def cancel(self, attempt: Attempt) -> None:
        """Stop a child."""
        if task := self._tasks.get(attempt):
            task.cancel()

    def withdraw(self, attempt: Attempt) -> None:
        """Nothing: a child starts at once."""

    def reap(self, attempt: Attempt) -> None:
        """Forget a child that ended."""
        self._finished.pop(attempt, None)
        self._changed.set()

    async def changed(self) -> None:
        """Wait for news. Raises what broke a child, if anything did."""
        await self._changed.wait()
        self._changed.clear()
        if self._broken:
            raise self._broken

    async def close(self) -> None:
        """Stop all children."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _gone(self, attempt: Attempt, task: asyncio.Task[Outcome]) -> None:
        del self._tasks[attempt]
        if not task.cancelled():
            broken = task.exception()
            self._broken = self._broken or broken
            if broken is None:
                self._finished[attempt] = task.result()
        self._changed.set()

    async def _perform(self, attempt: Attempt, batch: Batch) -> Outcome:
        started, document = time.time(), msgspec.json.decode(batch.input)
        name = arns.child_name(self._seen.run, attempt.child)
        context = context_of(self._seen.run, document, self._seen.label, name)
        self._seen.contexts[attempt.child] = context
        ended = await self._child(context, document, self._seen.held)
        output = NOTHING if ended.failure else msgspec.Raw(msgspec.json.encode(ended.output))
        kind = ChildStatus.FAILED if ended.failure else ChildStatus.SUCCEEDED
        return Outcome(
            attempt.child, attempt.number, kind,
            output=output, failure=ended.failure, started=started, stopped=time.time(),
        )  # fmt: skip


def context_of(run: RunRef, document: Any, label: str = "", child: str = "") -> dict[str, Any]:
    """The context object of an execution, or of a child of a run: what is the same in all its states."""
    arn = arns.child_arn(run, REGION, label, child) if child else arns.execution_arn(run, REGION)
    return {
        "Execution": {
            "Id": arn,
            "Input": document,
            "Name": child or run.uid,
            "RoleArn": arns.role_arn(run, REGION, "default"),
            "StartTime": iso(run.created),
            "RedriveCount": 0,
        },
        "StateMachine": {"Id": arns.state_machine_arn(run, REGION, label), "Name": run.name},
    }
