"""Process groups that cannot outlive the process that started them.

Rule 1: every group tells the guard (local_guard.py) of itself before it runs anything.
Rule 2: a workdir belongs to one guard at a time. Its lock goes when the guard goes, and so are the groups it watched.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from maprun.adapters import local_guard
from maprun.errors import Fenced

GRACE: Final = 2.0  # seconds between the request to stop and the kill
CLAIM_SECONDS: Final = 3.0  # how long an earlier guard of the workdir may take to go
CLAIM_STEP: Final = 0.05


class Processes:
    """The process groups of one launcher."""

    def __init__(self, guard: Process, lifeline: int) -> None:
        self._guard, self._lifeline = guard, lifeline

    @classmethod
    async def start(cls, workdir: Path) -> Processes:
        """Claim the workdir and start its guard. `Fenced` when another process does not let go of it."""
        lock = await _claim(workdir / "lock")
        reading, lifeline = os.pipe()
        try:
            guard = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", local_guard.__file__),
                stdin=reading,
                stdout=DEVNULL,
                pass_fds=[lock],
                start_new_session=True,
            )
        finally:
            os.close(reading)
            os.close(lock)
        return cls(guard, lifeline)

    async def spawn(
        self, command: Sequence[str], env: Mapping[str, str], folder: str, stdout: BinaryIO, stderr: BinaryIO
    ) -> Process:
        """Start a program as the head of its own group. `OSError` when that is not possible."""
        if self._guard.returncode is not None:
            raise ConnectionError("the process that guards the children is gone; start the run again")
        return await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", local_guard.REGISTER, "sh", *command),
            stdin=self._lifeline,
            stdout=stdout,
            stderr=stderr,
            env=env,
            cwd=folder,
            start_new_session=True,
        )

    async def end(self, process: Process) -> None:
        """Stop the group if its head still runs: a request first, then force. Remove what the head has left behind."""
        try:
            if process.returncode is None:
                _signal(process, signal.SIGTERM)
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(process.wait(), GRACE)
        finally:
            _signal(process, signal.SIGKILL)
        await process.wait()
        with suppress(BrokenPipeError):
            os.write(self._lifeline, b"-%d\n" % process.pid)

    async def stop(self) -> None:
        """Let the guard end, and with it every group that is left."""
        os.close(self._lifeline)
        await self._guard.wait()


def _signal(process: Process, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the latter is what macOS says of a group of zombies
        os.killpg(process.pid, number)


async def _claim(path: Path) -> int:
    """An open file with an exclusive lock, which goes when its last descriptor closes."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for _ in range(int(CLAIM_SECONDS / CLAIM_STEP)):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            await asyncio.sleep(CLAIM_STEP)
    os.close(lock)
    raise Fenced(f"another maprun works in {path.parent}; wait for it to end, or give this one another directory")
