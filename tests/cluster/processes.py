"""Start programs that outlive this Python process, and end exactly those again.

A program writes its own `/proc/PID/stat` line to a record before it becomes itself, so a record exists from its first
moment on, even if Python dies right after the start. The line holds the start time of the process: a pid that the
machine has given to another program since is not mistaken for ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .paths import ClusterError

# Two shells: the first ends at once, so that the program is nobody's child and Python has none to wait for; the second
# writes the record and then becomes the program.
_IN_BACKGROUND = '/bin/sh -c "$0" "$@" &'
_RECORD_THEN_BECOME = 'cat /proc/$$/stat > "$0" && exec "$@"'


@dataclass(frozen=True)
class Process:
    """A process by its pid and its start time (in clock ticks since boot)."""

    pid: int
    started: str

    def alive(self) -> bool:
        stat = _stat(self.pid)
        if stat is None or stat.started != self.started:
            return False
        # A killed leader is a zombie at once, while its other threads still hold the files and ports of the process.
        return stat.state != "Z" or _threads(self.pid) > 1


@dataclass(frozen=True)
class _Stat:
    pid: int
    state: str
    started: str


def _threads(pid: int) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _parse_stat(text: str) -> _Stat | None:
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    if len(fields) < 20:
        return None
    return _Stat(int(head.split()[0]), fields[0], fields[19])


def _stat(pid: int) -> _Stat | None:
    try:
        return _parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def process_of(pid: int) -> Process | None:
    stat = _stat(pid)
    return None if stat is None or stat.state == "Z" else Process(pid, stat.started)


@dataclass(frozen=True)
class Supervisor:
    """The named programs of one state directory: records, command lines and logs are files in it."""

    state_dir: Path

    def log(self, name: str) -> Path:
        return self.state_dir / "logs" / f"{name}.log"

    def _record(self, name: str) -> Path:
        return self.state_dir / "processes" / f"{name}.stat"

    def _command(self, name: str) -> Path:
        return self.state_dir / "processes" / f"{name}.json"

    def names(self) -> list[str]:
        return sorted(path.stem for path in (self.state_dir / "processes").glob("*.json"))

    def process(self, name: str) -> Process | None:
        """The recorded process, alive or not."""
        try:
            stat = _parse_stat(self._record(name).read_text())
        except FileNotFoundError:
            return None
        return None if stat is None else Process(stat.pid, stat.started)

    def alive(self, name: str) -> bool:
        process = self.process(name)
        return process is not None and process.alive()

    def start(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Start a program and remember how, so that `restart` can do it again. Does nothing when it runs."""
        if self.alive(name):
            return
        for folder in ("logs", "processes"):
            (self.state_dir / folder).mkdir(parents=True, exist_ok=True)
        saved = {"command": [str(word) for word in command], "environment": dict(environment or {})}
        self._command(name).write_text(json.dumps(saved, indent=1))
        self.restart(name)

    def restart(self, name: str) -> None:
        """Start a program again as it was started before."""
        if self.alive(name):
            return
        try:
            saved = json.loads(self._command(name).read_text())
        except FileNotFoundError:
            raise ClusterError(f"this cluster has no {name}; it has {', '.join(self.names())}") from None
        self._record(name).unlink(missing_ok=True)
        with self.log(name).open("ab") as log:
            subprocess.run(
                ["/bin/sh", "-c", _IN_BACKGROUND, _RECORD_THEN_BECOME, str(self._record(name)), *saved["command"]],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.state_dir,
                env={**os.environ, **saved["environment"]},
            )
        wait_for(lambda: self.process(name) is not None, 5)

    def stop(self, name: str, grace_seconds: float = 10.0, first: signal.Signals = signal.SIGTERM) -> None:
        """End one program: politely, then not; forgets it is running but not how it was started."""
        process = self.process(name)
        if process is not None:
            end([process], grace_seconds, first)
        self._record(name).unlink(missing_ok=True)

    def failed(self, name: str, problem: str) -> ClusterError:
        """An error that shows the end of the log that matters."""
        return ClusterError(f"{name} {problem}. The end of {self.log(name)}:\n{self.tail(name)}")

    def tail(self, name: str, lines: int = 15) -> str:
        try:
            text = self.log(name).read_text(errors="replace")
        except FileNotFoundError:
            return "  (no log)"
        return "\n".join(f"  {line[:300]}" for line in text.splitlines()[-lines:])


def end(processes: Sequence[Process], grace_seconds: float, first: signal.Signals = signal.SIGTERM) -> None:
    """Signal all, wait up to the grace time, kill what is left. The groups are not signalled: only these pids."""
    for attempt, seconds in ((first, grace_seconds), (signal.SIGKILL, 10.0)):
        running = [process for process in processes if process.alive()]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, attempt)
        if wait_for(lambda: not any(process.alive() for process in processes), seconds):
            return
    left = [str(process.pid) for process in processes if process.alive()]
    raise ClusterError(f"these processes do not end: {', '.join(left)}")


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds; False when the time is over."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
