"""Runs a machine to its end: the interpreter asks, the world answers."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Final

import msgspec

from maprun.core.asl import document
from maprun.core.asl.document import Machine
from maprun.core.asl.machine import Answer, Ended, MapRun, execute
from tools.conformance.children import Held, RunSeen, context_of
from tools.conformance.world import Buckets, new_run, run_map

LONGEST: Final = 60.0  # seconds of one execution


class Performed(msgspec.Struct, frozen=True):
    """What came of an execution: its context object, its end, its map runs in order, the objects it wrote by key."""

    context: dict[str, Any]
    ended: Ended
    runs: list[RunSeen]
    written: dict[str, bytes]


def perform(definition: Any, inputs: dict[str, Any], execution_input: Any) -> Performed:
    """Run a definition in a world of its own. Raises `DefinitionInvalid` for what cannot be run here."""
    machine = document.machine(definition)
    with TemporaryDirectory(prefix="conformance-") as folder:
        return asyncio.run(_Performance(Path(folder), inputs).run(machine, execution_input))


class _Performance:
    """One execution with all that runs in it."""

    def __init__(self, folder: Path, inputs: dict[str, Any]) -> None:
        self._states = folder / "states"
        self._states.mkdir()
        self._buckets = Buckets(folder / "buckets", inputs.get("s3_buckets") or (), inputs.get("s3_objects") or ())

    async def run(self, machine: Machine, execution_input: Any) -> Performed:
        """Run to the end."""
        seen: list[RunSeen] = []
        context = context_of(new_run(), execution_input)
        async with asyncio.timeout(LONGEST):
            ended = await self._driven(machine, seen, context, execution_input, _at_once)
        return Performed(context, ended, seen, dict(self._buckets.written()))

    async def _driven(
        self, machine: Machine, seen: list[RunSeen], context: dict[str, Any], execution_input: Any, held: Held
    ) -> Ended:
        """An execution or a child; `seen` takes its own map runs, not those of its children."""
        steps = execute(machine, execution_input, context, context["Execution"]["StartTime"])
        answer: Answer | None = None
        while True:
            try:
                asked = steps.send(answer)
            except StopIteration as end:
                ended: Ended = end.value
                return ended
            if isinstance(asked, MapRun):
                answer = await self._mapped(asked, machine, seen)
            else:
                await held()
                answer = None

    async def _mapped(self, asked: MapRun, machine: Machine, seen: list[RunSeen]) -> Answer:
        folder = Path(mkdtemp(dir=self._states))
        processor = msgspec.structs.replace(asked.state.processor, query_language=machine.query_language)
        answer, run = await run_map(asked, folder, self._buckets, partial(self._driven, processor, []))
        seen.append(run)
        return answer


async def _at_once() -> None:
    """The wait of an execution that nobody watches."""
