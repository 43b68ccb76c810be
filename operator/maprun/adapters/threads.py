"""Threads for calls that may last minutes, or hang with somebody's server: none of those that all runs share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_threads = ThreadPoolExecutor(1_000, "apart")  # made when they are needed: one for each call that is under way


async def apart(call: Callable[[], T]) -> T:
    """What `call` returns or raises."""
    return await asyncio.get_running_loop().run_in_executor(_threads, call)
