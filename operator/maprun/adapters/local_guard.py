"""Kills the children of a local run when the process that runs them is gone, however it went.

Rule 1: it lives as long as any writer of its standard input: the run's own process, and each child from its birth until
        it has told its id.
Rule 2: `+ID` on a line means that the process group ID exists, `-ID` that it is gone. What still exists at the end of
        the input is killed.
Rule 3: only the standard library: it is started as a script, by its path.
"""

import contextlib
import os
import signal
import sys

REGISTER = 'echo "+$$" >&0; exec "$@" </dev/null'
"""Shell script in front of each child's program. Its standard input is the pipe to the guard: the id goes there."""


def main() -> None:
    """Read until the last writer is gone, then kill."""
    alive: set[int] = set()
    for line in sys.stdin:
        if line.startswith("+"):
            alive.add(int(line))
        else:
            alive.discard(-int(line))
    for group in alive:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
