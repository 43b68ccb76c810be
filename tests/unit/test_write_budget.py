"""The write budget deals turns fairly, and tells how long writes waited, how many wait, and why some were put off."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

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


def noting(sent: list[str], run: str) -> Callable[[], Awaitable[None]]:
    """A write of a run that says so when it is sent."""

    async def write() -> None:
        sent.append(run)

    return write


@pytest.mark.looptime
async def test_a_run_with_a_thousand_writes_and_one_with_five_share_turn_by_turn() -> None:
    budget, sent = WriteBudget(clock=asyncio.get_running_loop().time), list[str]()
    calls = [budget.call(noting(sent, run), run) for run in ["big"] * 1000 + ["small"] * 5]
    await asyncio.gather(*calls)
    assert sent[:11] == ["big", *["big", "small"] * 5], "the first one came when nobody else was there"
    assert Counter(sent) == {"big": 1000, "small": 5}


@pytest.mark.looptime
async def test_writes_of_one_run_keep_their_order() -> None:
    budget, sent = WriteBudget(clock=asyncio.get_running_loop().time), list[str]()
    order = [str(number) for number in range(50)]
    await asyncio.gather(*(budget.call(noting(sent, each), "run") for each in order))
    assert sent == order


@pytest.mark.looptime
async def test_runs_whose_writes_hang_leave_room_for_one_that_has_none_under_way() -> None:
    budget, hang, sent = WriteBudget(clock=asyncio.get_running_loop().time), asyncio.Event(), list[str]()
    slow = [asyncio.create_task(budget.call(hang.wait, run)) for run in ("one", "two") for _ in range(16)]
    await asyncio.sleep(60)
    assert len(slow) - budget.waiting == 24, "a quarter of 32 is kept"
    await asyncio.gather(*(budget.call(noting(sent, "other"), "other") for _ in range(3)))
    assert sent == ["other"] * 3
    hang.set()
    await asyncio.gather(*slow)


async def test_whoever_gives_up_when_its_turn_has_just_come_takes_no_room_from_others() -> None:
    budget, go, sent = WriteBudget(in_flight=1), asyncio.Event(), list[str]()
    first = asyncio.create_task(budget.call(go.wait, "a"))
    await asyncio.sleep(0)
    quitter = asyncio.create_task(budget.call(noting(sent, "quitter"), "b"))
    await asyncio.sleep(0)
    go.set()
    await first  # its room is free, and dealt to the next one at once or within the pace
    quitter.cancel()
    async with asyncio.timeout(5):
        await budget.call(noting(sent, "last"), "c")
    assert sent == ["last"]
    assert budget.waiting == 0
