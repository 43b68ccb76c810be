"""How a store that cannot be reached is asked again: for ever, and whoever watches the run is told why it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from maprun.errors import StoreUnavailable

T = TypeVar("T")


async def insist(ask: Callable[[], Awaitable[T]], trouble: Callable[[str], None], what: str, seconds: float) -> T:
    """What `ask` gives, asked again so many seconds behind each `StoreUnavailable`. `trouble` is told `what` that holds
    up, and "" when it goes on.
    """
    while True:
        try:
            given = await ask()
        except StoreUnavailable as error:
            trouble(f"{what}: {error}")
            await asyncio.sleep(seconds)
        else:
            trouble("")
            return given


def pause(tries: int, longest: float) -> float:
    """Seconds behind so many failed tries before: 1, 2, 4 and so on, up to `longest`."""
    return min(2.0 ** min(tries, 10), longest)  # 2.0**1024 is an error
