"""One measurement in a process of its own, so that its peak of memory is its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec

from bench.usage import usage_of
from maprun.planning import PlanRequest


class Measured(msgspec.Struct, frozen=True):
    """Seconds, how many rows came of them, and the peak of memory in bytes. `first` is when the first children could
    start, in seconds.
    """

    seconds: float
    rows: int
    memory: int
    first: float = 0.0


def loop(read: Callable[..., int], *arguments: Any) -> Measured:
    """A bare loop."""
    return _apart(_loop, read, *arguments)


def plan(request: PlanRequest) -> Measured:
    """The whole plan, from opening the dataset to the seal."""
    return _apart(_plan, request)


def _apart(work: Callable[..., Measured], *arguments: Any) -> Measured:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def _loop(read: Callable[..., int], *arguments: Any) -> Measured:
    began = time.perf_counter()
    rows = read(*arguments)
    return Measured(time.perf_counter() - began, rows, usage_of(os.getpid()).memory)


def _plan(request: PlanRequest) -> Measured:
    from maprun.planning import plan_run

    told: list[float] = []
    began = time.perf_counter()
    view = plan_run(request, lambda view: told.append(time.perf_counter() - began))
    assert view.seal, view.failure
    return Measured(time.perf_counter() - began, view.items, usage_of(os.getpid()).memory, told[0])


def size(path: Path) -> float:
    """MiB of a file."""
    return path.stat().st_size / 2**20
