"""`ports.Launcher` with processes on this machine: for `maprun run`, the demo, and engine tests.

Rule 1: the child contract is that of a Job (design §3): the same variables, the same reading of output and error.
Rule 2: a child is a process group. It ends whole: at its deadline, when it is cancelled, when its first process ends,
        and when this process does, however that goes.
Rule 3: no two launchers work in the same `workdir`; a second one waits for the first, and for its children, to be gone.
Rule 4: nothing outlives `close` but the outcomes that were observed; attempts without an outcome simply start again.

Inputs and outputs are small files (at most 256 KiB) on the local disk, and are read and written on the event loop.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from maprun.adapters.local_processes import Processes
from maprun.adapters.local_program import Program, program
from maprun.core.children import SMALL_INPUT
from maprun.core.outcomes import MESSAGE_LIMIT, failure_of, last_line, output_of
from maprun.core.scheduling import Observation
from maprun.errors import Failure, RunFailed, StatesError
from maprun.fields import PAYLOAD_LIMIT
from maprun.model import MapRunSpec, RunRef
from maprun.model_processing import OutputFrom
from maprun.records import Attempt, Batch, ChildStatus, Outcome

NOTHING: Final = msgspec.Raw(b"")
SIGNALLED: Final = 128  # exit code of a program that was ended by signal n: 128 + n, as a container's
LOG_TAIL: Final = 2048  # bytes of the log that explain a failure without a message, as the kubelet has it


class LocalLauncher:
    """Children of one run as local processes.

    `folder` holds the run's file, `workdir` is for own files, `environment` holds the variables that children inherit.
    """

    def __init__(
        self,
        run: RunRef,
        spec: MapRunSpec,
        folder: Path,
        workdir: Path,
        clock: Callable[[], float],
        environment: Mapping[str, str],
    ) -> None:
        self._run, self._processor, self._workdir, self._clock = run, spec.item_processor, workdir.absolute(), clock
        self._program, self._refused = _program_of(spec, folder.absolute(), environment)
        self._tasks: dict[Attempt, asyncio.Task[Outcome]] = {}
        self._finished: dict[Attempt, Outcome] = {}
        self._changed = asyncio.Event()
        self._processes: Processes | None = None
        self._broken: BaseException | None = None

    async def open(self) -> None:
        """Claim the workdir, and remove what is left there. `Fenced` when another process does not let go of it."""
        if self._processes is None:
            self._workdir.mkdir(parents=True, exist_ok=True)
            self._processes = await Processes.start(self._workdir)
            shutil.rmtree(self._workdir / "attempts", ignore_errors=True)

    def observe(self) -> Observation:
        """Live and ended attempts."""
        active = {attempt.child: attempt.number for attempt in self._tasks}
        return Observation(active, tuple(self._finished.values()), refused=self._refused)

    def launch(self, attempt: Attempt, batch: Batch) -> None:
        """Start the attempt; one that is there already is left as it is."""
        if self._program and self._processes and attempt not in self._tasks and attempt not in self._finished:
            task = asyncio.create_task(self._perform(self._program, self._processes, attempt, batch))
            self._tasks[attempt] = task
            task.add_done_callback(lambda done: self._gone(attempt, done))

    def cancel(self, attempt: Attempt) -> None:
        """Stop the attempt's processes; it leaves no outcome."""
        task = self._tasks.get(attempt)
        if task and not task.cancelling():
            task.cancel()

    def withdraw(self, attempt: Attempt) -> None:
        """Nothing: an attempt starts at once."""

    def reap(self, attempt: Attempt) -> None:
        """Forget an ended attempt."""
        if self._finished.pop(attempt, None):
            self._changed.set()

    async def changed(self) -> None:
        """Wait until an attempt ended or went away. Raises what is broken in here, if anything is."""
        await self._changed.wait()
        self._changed.clear()
        if self._broken:
            raise self._broken

    async def close(self) -> None:
        """Stop all children, and let go of the workdir."""
        for attempt in tuple(self._tasks):
            self.cancel(attempt)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        processes, self._processes = self._processes, None  # first: stopping twice would close a descriptor twice
        if processes:
            await processes.stop()

    def _gone(self, attempt: Attempt, task: asyncio.Task[Outcome]) -> None:
        del self._tasks[attempt]
        if not task.cancelled():
            self._broken = self._broken or task.exception()
            if self._broken is None:
                self._finished[attempt] = task.result()
        self._changed.set()

    async def _perform(self, program: Program, processes: Processes, attempt: Attempt, batch: Batch) -> Outcome:
        """An attempt, from start to outcome. Trouble of this machine, such as a full disk, is no fault of the work."""
        started = self._clock()
        try:
            with _folder(self._workdir / "attempts" / f"{attempt.child}-{attempt.number}", batch) as folder:
                code = await self._execute(program, processes, folder, attempt, batch)
                status, result = self._result(folder, program.name, code)
        except OSError as error:
            status, result = ChildStatus.LOST, Failure(StatesError.JOB_LOST, str(error))
        output, failure = (NOTHING, result) if isinstance(result, Failure) else (result, None)
        stopped = self._clock()
        return Outcome(
            attempt.child, attempt.number, status, output=output, failure=failure, started=started, stopped=stopped
        )

    async def _execute(
        self, program: Program, processes: Processes, folder: Path, attempt: Attempt, batch: Batch
    ) -> int | None:
        """The exit code, or None when the deadline passed first. The processes are gone at the end."""
        env = program.env(_variables(self._run, attempt, batch, folder))
        with (folder / "log").open("ab") as log, (folder / "errors").open("ab") as errors:
            stderr = errors if self._logs else log
            process = await processes.spawn(program.command(env), env, program.folder, log, stderr)
        try:
            async with asyncio.timeout(self._deadline):
                return await process.wait()
        except TimeoutError:
            return None
        finally:
            await processes.end(process)

    @property
    def _logs(self) -> bool:
        return self._processor.output.from_ is OutputFrom.LOGS

    @property
    def _deadline(self) -> int | None:
        """Seconds of one attempt: the shorter of MapRun's and the pod's."""
        pod = self._program.deadline if self._program else None
        return min((seconds for seconds in (self._processor.timeout_seconds, pod) if seconds), default=None)

    def _result(self, folder: Path, name: str, code: int | None) -> tuple[ChildStatus, msgspec.Raw | Failure]:
        if code is None:
            return ChildStatus.TIMED_OUT, Failure(StatesError.TIMEOUT)
        if code != 0:
            return ChildStatus.FAILED, failure_of(name, code if code > 0 else SIGNALLED - code, _message(folder))
        output = self._output(folder)
        return (ChildStatus.FAILED if isinstance(output, Failure) else ChildStatus.SUCCEEDED), output

    def _output(self, folder: Path) -> msgspec.Raw | Failure:
        if self._logs:
            return output_of(last_line(_tail(folder / "log", PAYLOAD_LIMIT + 2)), PAYLOAD_LIMIT, OutputFrom.LOGS)
        return output_of(_tail(folder / "output", MESSAGE_LIMIT + 1), MESSAGE_LIMIT, OutputFrom.TERMINATION_MESSAGE)


def _program_of(
    spec: MapRunSpec, folder: Path, environment: Mapping[str, str]
) -> tuple[Program | None, Failure | None]:
    try:
        return program(spec.item_processor.job_template, folder, environment), None
    except RunFailed as refused:
        return None, refused.failure


def _variables(run: RunRef, attempt: Attempt, batch: Batch, folder: Path) -> dict[str, str]:
    """What a Job's container is told, too (core/children.py)."""
    own = {
        "MAPRUN_NAME": run.name,
        "MAPRUN_CHILD_INDEX": str(attempt.child),
        "MAPRUN_ATTEMPT": str(attempt.number),
        "MAPRUN_ITEM_COUNT": str(batch.items),
        "MAPRUN_INPUT": str(folder / "input.json"),
        "MAPRUN_OUTPUT": str(folder / "output"),
    }
    return own | ({"MAPRUN_INPUT_JSON": bytes(batch.input).decode()} if len(batch.input) <= SMALL_INPUT else {})


@contextmanager
def _folder(path: Path, batch: Batch) -> Iterator[Path]:
    """The attempt's own folder with its input, removed at the end."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        (path / "input.json").write_bytes(batch.input)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _message(folder: Path) -> str:
    """What a failed child said: its output file, or the end of its log."""
    sources = (("output", MESSAGE_LIMIT), ("errors", LOG_TAIL), ("log", LOG_TAIL))
    return next((text for name, limit in sources if (text := _tail(folder / name, limit).strip())), "")


def _tail(path: Path, limit: int) -> str:
    """The last `limit` bytes of a file as text; "" without a file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
