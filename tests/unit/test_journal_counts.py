"""The journal tells what waits, what became durable, and each write that failed."""

from __future__ import annotations

import asyncio

import pytest

from maprun.errors import AccessDenied, AlreadyExists, Fenced, StoreError, StoreUnavailable
from maprun.records import ChildStatus, Outcome
from tests.unit.counted import Counted
from tests.unit.fake_store import FakeStore
from tests.unit.test_journal import opened


def records(count: int) -> list[Outcome]:
    return [Outcome(child, 1, ChildStatus.SUCCEEDED) for child in range(count)]


async def test_records_wait_until_they_are_durable() -> None:
    told = Counted()
    journal, _ = await opened(FakeStore(), observer=told, flush_seconds=0.05)
    durable = [journal.append(records(3)), journal.append(records(4))]
    assert told.queued == 7
    await asyncio.gather(*durable)
    assert (told.queued, told.flushed) == (0, [7])
    await journal.close()


@pytest.mark.looptime
@pytest.mark.parametrize("error", [StoreUnavailable("away"), AccessDenied("no")], ids=["it is away", "it refuses"])
async def test_each_failed_write_is_counted_and_the_records_go_on_waiting(error: StoreError) -> None:
    told, store = Counted(), FakeStore()
    journal, _ = await opened(store, observer=told)
    waiting: list[int] = []

    def refuse(key: str) -> None:
        waiting.append(told.queued)
        if len(waiting) <= 3:
            raise error

    store.before = refuse
    await journal.append(records(2))
    assert (told.failed, waiting, told.queued, told.flushed) == (3, [2, 2, 2, 2], 0, [2])
    await journal.close()


async def test_what_a_fence_stops_no_longer_waits_and_is_no_failed_write() -> None:
    told, store = Counted(), FakeStore()
    journal, _ = await opened(store, observer=told)

    def fenced(key: str) -> None:
        raise AlreadyExists(key)

    store.before = fenced
    with pytest.raises(Fenced):
        await journal.append(records(5))
    assert (told.queued, told.failed, told.flushed) == (0, 0, [])
    await journal.close()


@pytest.mark.looptime
async def test_what_a_cancelled_journal_gives_up_no_longer_waits() -> None:
    told, store = Counted(), FakeStore()
    journal, _ = await opened(store, observer=told)

    def away(key: str) -> None:
        raise StoreUnavailable("away")

    store.before = away
    durable = journal.append(records(5))
    closing = asyncio.create_task(journal.close())
    await asyncio.sleep(60)
    assert told.queued == 5
    closing.cancel()
    await asyncio.gather(closing, durable, return_exceptions=True)
    assert told.queued == 0
