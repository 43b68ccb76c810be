"""A limit for the memory of a process, behind which the kernel kills it, as it does with a pod's: a cgroup of its own.

Rule 1: nothing stays behind: the group goes with the block.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

FIRST: Final = Path("/sys/fs/cgroup/memory")  # cgroup v1
SECOND: Final = Path("/sys/fs/cgroup")
USED: Final = {True: "memory.usage_in_bytes", False: "memory.current"}
LIMIT: Final = {True: "memory.limit_in_bytes", False: "memory.max"}
TRIES: Final = 1_000


class Memory:
    """The limit of the processes that it is given. Make it as a `with` block, as root."""

    def __init__(self, name: str) -> None:
        self._old = FIRST.is_dir()
        self._folder = (FIRST if self._old else SECOND) / name

    def __enter__(self) -> Self:
        self._folder.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        root = self._folder.parent / "cgroup.procs"
        for pid in (self._folder / "cgroup.procs").read_text().split():
            root.write_text(pid)
        self._folder.rmdir()

    def take(self, pid: int) -> None:
        """From now on what this process gets counts; what it has already does not."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def exhaust(self) -> None:
        """What the processes have is all that they may have: the next page that one of them asks for ends it."""
        for _ in range(TRIES):
            used = int((self._folder / USED[self._old]).read_text())
            with suppress(OSError):  # busy: it has just got another page
                (self._folder / LIMIT[self._old]).write_text(str(used))
                return
        raise AssertionError("the kernel takes no limit")
