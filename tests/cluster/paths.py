"""Where things live on the machine: everything this package builds or starts is under one cache directory.

`cache_dir()/binaries`  built programs, one folder a version     kept between clusters
`cache_dir()/images`    archives of container images             kept between clusters
`cache_dir()/node`      containerd's images and their layers     kept between clusters, of the real node only
`cache_dir()/clusters`  one state directory a running cluster    gone after `down`
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


class ClusterError(Exception):
    """Something outside Python is missing or did not work; the message says what to do about it."""


class Unavailable(ClusterError):
    """This machine lacks something that the wanted part needs: a test may be skipped over it, unlike over a failure."""


def say(message: str) -> None:
    """One line of progress for the person who waits."""
    print(message, flush=True)


def cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "maprun"


def clusters_dir() -> Path:
    return cache_dir() / "clusters"


@contextlib.contextmanager
def locked(path: Path, waiting: str, remove: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on a file; says `waiting` once when another has it. `remove` deletes it at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock_of(path, waiting):
        try:
            yield
        finally:
            if remove:
                path.unlink(missing_ok=True)


def _lock_of(path: Path, waiting: str) -> IO[str]:
    """An open, locked file that is still the one at that path: its last holder may have removed it meanwhile."""
    while True:
        handle = path.open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists() and os.fstat(handle.fileno()).st_ino == path.stat().st_ino:
            return handle
        handle.close()
