"""The journal: what was durable comes back, one writer at a time, nothing lost while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maprun.adapters.directory import DirectoryStore
from maprun.adapters.journal import Journal, JournalReader
from maprun.adapters.journal_reader import segment_key, snapshot_key
from maprun.errors import Failure, Fenced, NotFound, StoreError, StoreUnavailable
from maprun.ports import Store
from maprun.records import NOTHING, ChildStatus, Exported, Opened, Outcome, Record, Retry, RunStatus, Verdict
from tests.unit.fake_store import FakeStore

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
FAILURES = st.builds(Failure, error=TEXT, cause=TEXT)
TIMES = st.none() | st.integers(0, 2 * 10**12).map(lambda ms: ms / 1000)
OUTPUTS = st.sampled_from([b"", b"null", b'{"a":1}', b'"x"', b"[1,2]"]).map(msgspec.Raw)
OUTCOMES = st.builds(
    Outcome,
    child=st.integers(0, 10**8),
    attempt=st.integers(1, 99),
    status=st.sampled_from(ChildStatus),
    items=st.integers(1, 1000),
    output=OUTPUTS,
    failure=st.none() | FAILURES,
    started=TIMES,
    stopped=TIMES,
    retry=st.none() | st.builds(Retry, retrier=st.integers(-1, 9), at=st.floats(0, 2e9)),
)
VERDICTS = st.builds(Verdict, status=st.sampled_from(RunStatus), at=st.floats(0, 2e9), failure=st.none() | FAILURES)
EXPORTS = st.builds(Exported, at=st.floats(0, 2e9), records=st.integers(0, 10**8), output=OUTPUTS)
APPENDS = st.lists(st.lists(OUTCOMES | VERDICTS | EXPORTS, min_size=1, max_size=3), max_size=6)


def outcome(child: int, text: str = "") -> Outcome:
    return Outcome(child, 1, ChildStatus.SUCCEEDED, output=msgspec.Raw(msgspec.json.encode(text)))


def same(a: Sequence[Record], b: Sequence[Record]) -> bool:
    """Raw values compare by identity; their bytes are what counts."""
    return [comparable(record) for record in a] == [comparable(record) for record in b]


def comparable(record: Record) -> object:
    if isinstance(record, Outcome | Exported):
        return bytes(record.output), msgspec.structs.replace(record, output=NOTHING)
    return record


async def opened(store: Store, writer: str = "w", **options: object) -> tuple[Journal, list[Record]]:
    journal = Journal(store, **{"flush_seconds": 0.0, **options})  # type: ignore[arg-type]
    return journal, [record async for records in journal.open(writer, 1.0) for record in records]


def replayed(store: Store) -> list[Record]:
    return [record for _, _, record in JournalReader(store).records_from()]


class Killed(Exception):
    """The process ended right here."""


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@given(APPENDS)
@settings(max_examples=40, deadline=None)
async def test_what_was_appended_is_replayed_in_order(appends: list[list[Record]]) -> None:
    store = FakeStore()
    journal, before = await opened(store)
    futures = [journal.append(records) for records in appends]
    await journal.close()
    assert [future.result() for future in futures] == sorted(future.result() for future in futures)
    wanted = [*before, *(record for records in appends for record in records)]
    assert same(replayed(store), wanted)
    successor, again = await opened(store, "next")
    assert same(again, [*wanted, Opened("next", 1.0)])
    await successor.close()


@given(APPENDS, st.integers(1, 200), st.integers(0, 8), st.booleans())
@settings(max_examples=60, deadline=None)
async def test_after_a_crash_at_any_segment_a_prefix_of_the_appends_is_there(
    appends: list[list[Record]], flush_bytes: int, fatal: int, written: bool
) -> None:
    """Whatever was confirmed is in it; an append is there whole or not at all."""
    store = FakeStore()
    journal, before = await opened(store, flush_bytes=flush_bytes)

    def crash(key: str) -> None:
        if key >= segment_key(fatal + 2):
            raise Killed

    setattr(store, "after" if written else "before", crash)
    futures = [journal.append(records) for records in appends]
    await journal.close()
    confirmed = sum(future.exception() is None for future in futures)
    found = replayed(FakeStore(store.objects))
    prefixes = [
        [*before, *(record for records in appends[:count] for record in records)]
        for count in range(confirmed, len(appends) + 1)
    ]
    assert any(same(found, prefix) for prefix in prefixes)


async def test_of_two_writers_exactly_one_survives(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    old, _ = await opened(store, "old")
    await old.append([outcome(1)])
    new, seen = await opened(store, "new")
    assert same(seen, [Opened("old", 1.0), outcome(1), Opened("new", 1.0)])
    with pytest.raises(Fenced):
        await old.append([outcome(2)])
    with pytest.raises(Fenced):
        await old.append([outcome(3)])
    await new.append([outcome(4)])
    await asyncio.gather(old.close(), new.close())
    assert same(replayed(store), [*seen, outcome(4)])


async def test_everything_that_waits_when_the_journal_is_lost_is_told() -> None:
    store = FakeStore()
    old, _ = await opened(store, "old", flush_bytes=1)
    new, _ = await opened(store, "new")
    futures = [old.append([outcome(number)]) for number in range(3)]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results] == [Fenced] * 3
    await asyncio.gather(old.close(), new.close())


async def test_whoever_opens_second_replays_the_first_ones_opening_too() -> None:
    store = FakeStore()
    late = Journal(store)
    opening = late.open("late", 2.0)

    def overtake(key: str) -> None:
        store.before = lambda key: None
        store.create(key, other)

    scratch = FakeStore()
    early, _ = await opened(scratch, "early")
    await early.close()
    other = scratch.objects[segment_key(1)]
    store.before = overtake
    seen = [record async for records in opening for record in records]
    assert same(seen, [Opened("early", 1.0), Opened("late", 2.0)])
    await late.close()


async def test_opening_gives_up_when_others_never_stop() -> None:
    store = FakeStore()

    def overtake(key: str) -> None:
        scratch, store.before = store.before, lambda key: None
        store.objects[key] = rivals.pop()
        store.before = scratch

    rivals = []
    for number in range(30):
        scratch = FakeStore()
        rival, _ = await opened(scratch, f"rival{number}")
        await rival.close()
        rivals.append(scratch.objects[segment_key(1)])
    store.before = overtake
    with pytest.raises(Fenced, match="more than one operator"):
        await opened(store)


async def test_a_store_that_is_away_delays_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maprun.adapters.journal.PATIENCE", 0.001)
    store = FakeStore()
    told: list[str] = []
    journal, before = await opened(store, on_trouble=told.append)
    away = ["unreachable", "still unreachable"]

    def fail(key: str) -> None:
        if away:
            raise StoreUnavailable(away.pop(0))

    store.before = fail
    first = journal.append([outcome(1)])
    await until(lambda: told)
    second = journal.append([outcome(2)])
    await asyncio.gather(first, second)
    assert told == ["unreachable", "still unreachable", ""]
    assert same(replayed(store), [*before, outcome(1), outcome(2)])
    await journal.close()


async def test_a_store_that_is_away_for_a_day_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maprun.adapters.journal.PATIENCE", 0.0)
    store = FakeStore()
    journal, before = await opened(store)
    away = ["unreachable"] * 1_500

    def fail(key: str) -> None:
        if away:
            raise StoreUnavailable(away.pop())

    store.before = fail
    await journal.append([outcome(1)])
    assert same(replayed(store), [*before, outcome(1)])
    await journal.close()


async def test_a_lost_answer_is_no_other_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The segment was written, but we never heard: the repeated create finds our own bytes."""
    monkeypatch.setattr("maprun.adapters.journal.PATIENCE", 0.001)
    store = FakeStore()
    journal, before = await opened(store)

    def lose(key: str) -> None:
        store.after = lambda key: None
        raise StoreUnavailable("no answer")

    store.after = lose
    assert await journal.append([outcome(1)]) == 2
    assert same(replayed(store), [*before, outcome(1)])
    await journal.close()


async def test_a_refusal_is_waited_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A permission that is taken away comes back some day; giving up would lose what children did."""
    monkeypatch.setattr("maprun.adapters.journal.PATIENCE", 0.001)
    store = FakeStore()
    told: list[str] = []
    journal, _ = await opened(store, on_trouble=told.append)
    refusals = [StoreError("no permission")]

    def refuse(key: str) -> None:
        if refusals:
            raise refusals.pop()

    store.before = refuse
    assert await journal.append([outcome(1)]) == 2
    assert told == ["no permission", ""]
    await journal.close()


async def test_opening_tells_at_once_what_no_waiting_mends() -> None:
    store = FakeStore()

    def refuse(key: str) -> None:
        raise StoreError("no permission")

    store.before = refuse
    with pytest.raises(StoreError, match="no permission"):
        await opened(store)


async def test_many_appends_share_a_segment() -> None:
    store = FakeStore()
    journal, _ = await opened(store, flush_seconds=3600.0)
    futures = [journal.append([outcome(number)]) for number in range(100)]
    await journal.close()
    assert {future.result() for future in futures} == {2}
    assert sorted(store.objects) == [segment_key(1), segment_key(2)]


async def test_enough_bytes_are_written_without_waiting_for_more() -> None:
    journal, _ = await opened(FakeStore(), flush_seconds=3600.0, flush_bytes=1000)
    futures = [journal.append([outcome(number, "x" * 300)]) for number in range(6)]
    async with asyncio.timeout(10):
        assert await futures[2] == 2
        assert await futures[5] == 3
    await journal.close()


async def test_what_comes_while_a_segment_is_written_goes_into_the_next() -> None:
    store = FakeStore()
    journal, _ = await opened(store)
    loop = asyncio.get_running_loop()
    late: list[asyncio.Future[int]] = []

    def come(key: str) -> None:
        store.before = lambda key: None
        loop.call_soon_threadsafe(lambda: late.append(journal.append([outcome(2)])))

    store.before = come
    assert await journal.append([outcome(1)]) == 2
    await until(lambda: late)
    assert await late[0] == 3
    await journal.close()


async def test_an_output_over_several_lines_stays_one_line() -> None:
    store = FakeStore()
    journal, _ = await opened(store)
    await journal.append([Outcome(1, 1, ChildStatus.SUCCEEDED, output=msgspec.Raw(b'{\n "a": [1,\n 2]}'))])
    await journal.close()
    assert b'"output":{"a":[1,2]}' in msgspec.json.encode(replayed(store)[1])


async def test_a_closed_journal_takes_nothing() -> None:
    journal, _ = await opened(FakeStore())
    await journal.close()
    with pytest.raises(RuntimeError, match="not open"):
        await journal.append([outcome(1)])


def taking(offered: list[bytes]) -> Callable[[bytes], bool]:
    """A `restore` that takes the first snapshot it is offered."""

    def restore(data: bytes) -> bool:
        offered.append(data)
        return True

    return restore


async def test_replay_begins_behind_the_newest_snapshot() -> None:
    store = FakeStore()
    journal, _ = await opened(store, snapshot_every=3)
    due = []
    for number in range(3):
        due.append(journal.snapshot_due)
        await journal.append([outcome(number)])
    await journal.snapshot(3, lambda: b"first three")
    assert [*due, journal.snapshot_due] == [False, False, True, False]
    await journal.close()
    offered: list[bytes] = []
    again = Journal(store, snapshot_every=3)
    seen = [record async for records in again.open("next", 2.0, taking(offered)) for record in records]
    assert offered == [b"first three"]
    assert same(seen, [outcome(2), Opened("next", 2.0)])
    await again.close()


@pytest.mark.parametrize(
    ("newest", "taken"),
    [
        pytest.param(b"damaged", b"second", id="damaged: the one before it"),
        pytest.param(None, b"third", id="good: the newest"),
    ],
)
async def test_of_the_snapshots_is_taken(newest: bytes | None, taken: bytes) -> None:
    store = FakeStore()
    journal, _ = await opened(store)
    for through, data in ((1, b"first"), (2, b"second"), (3, b"third")):
        await journal.append([outcome(through)])
        await journal.snapshot(through, partial(bytes, data))
    await journal.close()
    assert sorted(key for key in store.objects if key.startswith("snap")) == [snapshot_key(2), snapshot_key(3)]
    if newest:
        store.objects[snapshot_key(3)] = newest
    offered: list[bytes] = []
    again = Journal(store)
    async for _ in again.open("next", 2.0, taking(offered)):
        pass
    assert offered == [taken]
    await again.close()


async def test_a_refused_snapshot_leaves_the_full_replay() -> None:
    store = FakeStore()
    journal, before = await opened(store)
    await journal.append([outcome(1)])
    await journal.snapshot(2, lambda: b"of another version")
    await journal.close()
    successor, seen = await opened(store, "next")
    assert same(seen, [*before, outcome(1), Opened("next", 1.0)])
    await successor.close()


async def test_a_snapshot_that_the_store_refuses_stops_nothing() -> None:
    store = FakeStore()
    journal, _ = await opened(store, snapshot_every=1)

    def refuse(key: str) -> None:
        if key.startswith("snapshots/"):
            raise StoreUnavailable("away")

    store.before = refuse
    await journal.snapshot(1, lambda: b"fold")
    assert not journal.snapshot_due
    assert await journal.append([outcome(1)]) == 2
    await journal.close()


async def test_random_access_gives_segments_and_lines() -> None:
    store = FakeStore()
    journal, _ = await opened(store)
    await journal.append([outcome(1), outcome(2)])
    await journal.append([outcome(3)])
    await journal.close()
    reader = JournalReader(store)
    assert [(segment, line) for segment, line, _ in reader.records_from(2)] == [(2, 0), (2, 1), (3, 0)]
    assert same(reader.segment(2), [outcome(1), outcome(2)])
    assert reader.segment(2) is reader.segment(2)
    with pytest.raises(NotFound):
        reader.segment(4)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        pytest.param(lambda objects: objects.pop(segment_key(2)), "segment 2 is missing", id="a segment is gone"),
        pytest.param(lambda objects: objects.update({segment_key(2): b"?"}), "damaged", id="a segment is damaged"),
    ],
)
async def test_a_broken_journal_is_not_gone_on_with(
    break_it: Callable[[dict[str, bytes]], object], message: str
) -> None:
    store = FakeStore()
    journal, _ = await opened(store)
    for number in range(2):
        await journal.append([outcome(number)])
    await journal.close()
    break_it(store.objects)
    with pytest.raises(StoreError, match=message):
        await opened(store, "next")
