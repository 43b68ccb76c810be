"""The task that watches the event loop: it tells how late it woke, and that it has ended."""

from __future__ import annotations

import asyncio

import pytest

from maprun.adapters.loop_lag import SLEEP, LoopLag


@pytest.mark.looptime
async def test_it_tells_how_late_the_loop_was() -> None:
    lags: list[float] = []
    late = [0.0]
    lag = LoopLag(lags.append, lambda: asyncio.get_running_loop().time() + late[0])
    lag.start()
    await asyncio.sleep(SLEEP * 1.5)
    late[0] = 2.0  # a callback that took two seconds
    await asyncio.sleep(SLEEP)
    late[0] = 1.99  # a loop that counts in milliseconds woke it too early
    await asyncio.sleep(SLEEP)
    await lag.close()
    assert lags == pytest.approx([0.0, 2.0, 0.0])


async def test_its_end_is_told() -> None:
    def broken(seconds: float) -> None:
        raise ValueError("defect")

    lag = LoopLag(broken)
    assert lag.dead == ""
    lag.start()
    assert lag.dead == ""
    async with asyncio.timeout(5):
        while not lag.dead:
            await asyncio.sleep(0.01)
    assert lag.dead == "the task that watches the event loop has ended"
    await lag.close()
