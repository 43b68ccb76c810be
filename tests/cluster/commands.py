"""Run a short-lived program and see what it said when it fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .paths import ClusterError, Unavailable

_SYSTEM = "/usr/sbin:/sbin:/usr/bin:/bin"
_SAID = 2000

Done = subprocess.CompletedProcess[str]


def search_path() -> str:
    """PATH with the system's own directories, which ordinary users' PATH lacks: iptables and its like live there."""
    return f"{os.environ.get('PATH', '')}:{_SYSTEM}"


def find(name: str) -> str | None:
    return shutil.which(name, path=search_path())


def program(name: str) -> str:
    """The path of a program of the machine."""
    found = find(name)
    if found is None:
        raise Unavailable(f"the program {name} is missing")
    return found


def run(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    where: Path | None = None,
    check: bool = True,
) -> Done:
    """Both outputs are captured. A failure raises with the end of what the program said, unless `check` is off."""
    words = [str(word) for word in command]
    whole = None if environment is None else {**os.environ, **environment}
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, env=whole, cwd=where, check=False)
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-_SAID:]
        raise ClusterError(f"{Path(words[0]).name} {' '.join(words[1:])[:200]} failed with {done.returncode}:\n{said}")
    return done
