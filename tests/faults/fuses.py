"""The numbered steps of the engine behind which a crash is tried, and what makes an operator crash there.

Rule 1: a step is a call of one of the engine's ports that has returned, or a record that is durable: between two of
        them the engine only thinks.
Rule 2: no code of the product knows of this: the ports are wrapped from outside.
"""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from maprun.records import Exported, Record, Redriven, Suspended, Verdict


class Step(NamedTuple):
    """What has just happened when the operator dies. `port` and `call` name the engine's call; or `record` is the kind
    of record that has just become durable.
    """

    number: int
    words: str
    port: str = ""
    call: str = ""
    record: type[Record] | None = None


STEPS: Final = (
    Step(1, "the journal is open, nothing else is done", "journal", "open"),
    Step(2, "the plan has told how far it is", "plan", "views"),
    Step(3, "the launcher has learned what exists", "launcher", "open"),
    Step(4, "what runs is observed, nothing is decided", "launcher", "observe"),
    Step(5, "records are queued, not durable", "journal", "append"),
    Step(6, "outcomes are durable, and the engine does not know it yet", "journal", "durable"),
    Step(7, "a child's start is asked for", "launcher", "launch"),
    Step(8, "a child's removal is asked for", "launcher", "reap"),
    Step(9, "the status is told", "reporter", "progressed"),
    Step(10, "the verdict is durable", record=Verdict),
    Step(11, "a result file is written, the manifest is not", "bucket", "write"),
    Step(12, "results and manifest are written, and nothing says so", "exporter", "export"),
    Step(13, "the end of the results is durable", record=Exported),
    Step(14, "the final status is told", "reporter", "finished"),
    Step(15, "what a redrive runs again is chosen, and nothing says so", "redriver", "redriven"),
    Step(16, "the redrive is durable", record=Redriven),
    Step(17, "a child's abort is asked for", "launcher", "cancel"),
    Step(18, "that the run is held is durable", record=Suspended),
)
LIFE: Final = range(1, 15)  # those that every run comes through


class Fuse:
    """Kills this process, at once and for good, when a step is reached for the `count`th time."""

    def __init__(self, step: int, count: int) -> None:
        self._step, self._left = step, count

    def reached(self, step: int) -> None:
        """This step has happened."""
        if step == self._step:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def behind(self, step: int, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, and then the fuse."""
        if inspect.isasyncgenfunction(call):

            async def views(*args: Any, **named: Any) -> AsyncGenerator[Any, None]:
                async for each in call(*args, **named):
                    self.reached(step)
                    yield each

            return views
        if inspect.iscoroutinefunction(call):

            async def awaited(*args: Any, **named: Any) -> Any:
                result = await call(*args, **named)
                self.reached(step)
                return result

            return awaited

        def called(*args: Any, **named: Any) -> Any:
            result = call(*args, **named)
            self.reached(step)
            return result

        return called


class Fused:
    """A port of the engine that passes every step through the fuse."""

    def __init__(self, name: str, port: Any, fuse: Fuse) -> None:
        self._port, self._fuse = port, fuse
        self._steps = {step.call: step.number for step in STEPS if step.port == name}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        step = self._steps.get(name)
        return found if step is None else self._fuse.behind(step, found)


class FusedJournal(Fused):
    """The journal, whose appends are two steps: accepted, and durable."""

    def append(self, records: Sequence[Record]) -> Awaitable[None]:
        """Queue records."""
        durable = self._port.append(records)
        self._fuse.reached(self._steps["append"])

        async def settled() -> None:
            await durable
            for kind in {type(record) for record in records}:
                named = [step.number for step in STEPS if step.record is kind]
                self._fuse.reached(named[0] if named else self._steps["durable"])

        return settled()


def fused(name: str, port: Any, fuse: Fuse) -> Any:
    """The port with a fuse."""
    return FusedJournal(name, port, fuse) if name == "journal" else Fused(name, port, fuse)
