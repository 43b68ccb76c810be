"""The write budget tells how long writes waited, how many wait, and why the API server put some off."""

from __future__ import annotations

import asyncio

import pytest

from maprun.adapters.cluster import ApiError
from maprun.adapters.pacing import WriteBudget
from maprun.core.pacing import FIRST_RATE
from tests.unit.counted import Counted


@pytest.mark.looptime
async def test_the_waits_of_writes_are_told() -> None:
    told, clock = Counted(), asyncio.get_running_loop().time
    budget = WriteBudget(clock=clock, observer=told)

    async def write() -> None: ...

    await asyncio.gather(*(budget.call(write) for _ in range(5)))
    assert told.waits == pytest.approx([number / FIRST_RATE for number in range(5)], rel=0.01), (
        "the rate rises a little"
    )


async def test_those_that_wait_are_those_that_were_not_sent() -> None:
    budget, go = WriteBudget(in_flight=2), asyncio.Event()
    sent = 0

    async def write() -> None:
        nonlocal sent
        sent += 1
        await go.wait()

    calls = [asyncio.create_task(budget.call(write)) for _ in range(5)]
    async with asyncio.timeout(5):
        while sent < 2:
            await asyncio.sleep(0.001)
    assert budget.waiting == 3
    calls[-1].cancel()
    await asyncio.gather(calls[-1], return_exceptions=True)
    assert budget.waiting == 2
    go.set()
    await asyncio.gather(*calls[:-1])
    assert (budget.waiting, sent) == (0, 4)


PUT_OFF = [
    ("too many requests", ApiError(429, "TooManyRequests", "slow down"), ["too_many_requests"]),
    ("a quota", ApiError(403, "Forbidden", "exceeded quota: jobs"), ["quota"]),
    ("a missing right is no throttling", ApiError(403, "Forbidden", "no"), []),
    ("nor is a server's error", ApiError(500, "InternalError", "no"), []),
]


@pytest.mark.parametrize(("error", "expected"), [row[1:] for row in PUT_OFF], ids=[row[0] for row in PUT_OFF])
async def test_why_a_write_was_put_off(error: ApiError, expected: list[str]) -> None:
    told = Counted()
    budget = WriteBudget(observer=told)

    async def write() -> None:
        raise error

    with pytest.raises(ApiError):
        await budget.call(write)
    assert told.throttled == expected
    assert budget.waiting == 0
