"""Plans: what was added comes back, in segments that do not depend on who wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maprun.adapters import plan_writer
from maprun.adapters.plan_writer import PlanWriter
from maprun.adapters.plans import FIRST as FIRST_ROUND
from maprun.adapters.plans import PlanReader, Round
from maprun.core.scheduling import PlanView
from maprun.errors import Failure, Fenced, NotFound, StoreError
from maprun.ports import ObjectInfo
from maprun.records import Batch, PlanSeal
from tests.unit.fake_store import FakeStore

FIRST = (2, 3)
BATCHES = 5


class Killed(Exception):
    """The process ended right here."""


def batch(index: int, items: int = 1) -> Batch:
    return Batch(index, items, msgspec.Raw(text(index)))


def text(index: int) -> bytes:
    return b'{"n":%d,"text":"\\u2028\\r"}' % index


def write(store: FakeStore, count: int, items: int = 1) -> PlanSeal:
    """A whole plan, or what is missing of it."""
    writer = PlanWriter(store, FIRST, BATCHES)
    writer.source = '"v1"'
    for index in range(writer.next_child, count):
        writer.add(items, text(index), f"after {index}")
    return writer.seal()


def shown(batches: Iterable[Batch]) -> list[tuple[int, int, bytes]]:
    return [(each.index, each.items, bytes(each.input)) for each in batches]


@given(st.integers(0, 40), st.integers(1, 3))
@settings(deadline=None)
def test_every_batch_comes_back(count: int, items: int) -> None:
    store = FakeStore(chunk=7)
    seal = write(store, count, items)
    reader = PlanReader(store)
    wanted = [batch(index, items) for index in range(count)]
    assert shown(reader.batches()) == shown(wanted)
    assert shown(reader.batch(index) for index in reversed(range(count))) == shown(reversed(wanted))
    assert (seal.children, seal.items) == (count, count * items)
    assert reader.view() == PlanView(count, count * items, seal)


def test_the_first_segments_are_small() -> None:
    store = FakeStore()
    assert write(store, 12).segments == 4
    headers = []
    reader = PlanReader(store)
    reader.view()
    headers = [(header.first_child, header.children, header.resume, header.behind) for header in reader._headers]
    assert headers == [
        (0, 2, "", "after 1"),
        (2, 3, "after 1", "after 4"),
        (5, 5, "after 4", "after 9"),
        (10, 2, "after 9", "after 11"),
    ]


def test_a_segment_ends_with_the_line_that_fills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_writer, "SEGMENT_BYTES", 2 * len(msgspec.json.encode(batch(0))))
    assert write(FakeStore(), 12).segments == 6


@given(st.integers(0, 20), st.integers(0, 6), st.booleans())
@settings(deadline=None)
def test_a_plan_that_was_interrupted_anywhere_ends_with_the_same_bytes(count: int, fatal: int, written: bool) -> None:
    whole, broken = FakeStore(), FakeStore()
    write(whole, count)
    steps = iter(range(100))

    def crash(key: str) -> None:
        if next(steps) == fatal:
            raise Killed

    setattr(broken, "after" if written else "before", crash)
    for _ in range(2):  # the second time is after the crash, or reads a plan that is complete
        try:
            if not PlanWriter(broken).view.seal:
                write(broken, count)
        except Killed:
            continue
    assert broken.objects == whole.objects


def test_an_identical_segment_of_an_earlier_writer_is_adopted() -> None:
    store = FakeStore()
    slow, fast = PlanWriter(store, FIRST), PlanWriter(store, FIRST)
    for writer in (fast, slow):
        assert [writer.add(1, text(index), "") for index in range(2)] == [False, True]
    assert slow.view == fast.view


@pytest.mark.parametrize("end", [pytest.param("seal", id="at the seal"), pytest.param("segment", id="at a segment")])
def test_two_writers_with_different_data_cannot_both_go_on(end: str) -> None:
    store = FakeStore()
    one, other = PlanWriter(store, FIRST), PlanWriter(store, FIRST)
    one.add(1, text(0), "")
    one.seal()
    if end == "segment":
        other.add(1, text(7), "")
    with pytest.raises(Fenced, match="another planner"):
        other.seal()


def test_a_failure_is_what_every_later_reader_sees() -> None:
    store = FakeStore()
    writer = PlanWriter(store, FIRST)
    for index in range(3):
        writer.add(1, text(index), "")
    failure = Failure("States.ItemReaderFailed", "broken")
    writer.fail(failure)
    assert writer.view == PlanReader(store).view() == PlanWriter(store).view == PlanView(3, 3, failure=failure)


def test_a_reader_follows_a_growing_plan() -> None:
    store = FakeStore()
    writer, reader = PlanWriter(store, FIRST, BATCHES), PlanReader(store)
    assert reader.view() == PlanView()
    with pytest.raises(NotFound, match="no child 0, it has 0 so far"):
        reader.batch(0)
    for index in range(7):
        writer.add(2, text(index), "")
    assert reader.view() == PlanView(5, 10)
    with pytest.raises(NotFound, match="no child 5"):
        reader.batch(5)
    writer.seal()
    assert reader.batch(6).index == 6
    assert reader.view().seal == PlanSeal(7, 14, 3)
    with pytest.raises(NotFound):
        reader.batch(7)
    with pytest.raises(NotFound):
        reader.batch(-1)


def test_a_plan_ends_only_once() -> None:
    """A second planner that cannot read the dataset any more does not turn a good plan into a failure."""
    store = FakeStore()
    one, other = PlanWriter(store), PlanWriter(store)
    one.seal()
    with pytest.raises(Fenced):
        other.fail(Failure("States.ItemReaderFailed", "gone"))
    assert PlanReader(store).view() == one.view


def test_a_listing_that_misses_a_new_segment_is_asked_again() -> None:
    class Late(FakeStore):
        """Shows one segment only from the second listing on, as a directory may while it grows."""

        hidden = ""

        def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
            hidden, self.hidden = self.hidden, ""
            return (info for info in super().list(prefix, start_after) if info.key != hidden)

    store = Late()
    write(store, 12)
    for hidden in (FIRST_ROUND.segment(1), FIRST_ROUND.segment(3)):
        store.hidden = hidden
        assert PlanReader(store).view().children == 12


def test_looking_again_opens_only_what_is_new() -> None:
    store = FakeStore()
    writer, reader = PlanWriter(store, FIRST, BATCHES), PlanReader(store)
    for index in range(10):
        writer.add(1, text(index), "")
        reader.view()
    writer.close()
    assert reader.view().children == 10
    assert store.opened == [FIRST_ROUND.segment(0), FIRST_ROUND.segment(1), FIRST_ROUND.segment(2)]


@pytest.mark.parametrize(
    ("key", "data", "message"),
    [
        pytest.param(FIRST_ROUND.segment(0), None, "segment 0 is missing", id="a segment is gone"),
        pytest.param(FIRST_ROUND.segment(1), b"?", "damaged", id="a segment is damaged"),
        pytest.param(FIRST_ROUND.segment(1), b"", "ends early", id="a segment is empty"),
        pytest.param(
            FIRST_ROUND.segment(3), None, "3 segments are there, 4 were written", id="the last segment is gone"
        ),
        pytest.param(FIRST_ROUND.end, b'{"seal":{}}', "damaged", id="the end is damaged"),
    ],
)
def test_a_broken_plan_is_told(key: str, data: bytes | None, message: str) -> None:
    store = FakeStore()
    write(store, 12)
    if data is None:
        del store.objects[key]
    else:
        store.objects[key] = data
    with pytest.raises(StoreError, match=message):
        PlanReader(store).view()


# ------------------------------------------------------------------------------------------------------------ redrives

BROKEN = Failure("States.ItemReaderFailed", "no permission")
GONE = Failure("States.ItemReaderFailed", "changed")


def read_some(store: FakeStore, at: Round, upto: int, failure: Failure | None = None) -> PlanView:
    """One round of reading: on to a batch, then the seal or a failure."""
    writer = PlanWriter(store, FIRST, BATCHES, at)
    for index in range(writer.next_child, upto):
        writer.add(1, text(index), f"after {index}")
    if failure:
        writer.fail(failure)
    else:
        writer.seal()
    return writer.view


@pytest.mark.parametrize(
    ("at", "keys"),
    [
        pytest.param(Round(), ("plan/000000.jsonl.zst", "plan/end.json"), id="the first life"),
        pytest.param(Round(2), ("plan/000000.jsonl.zst", "plan/end-2.json"), id="a redrive that reads on"),
        pytest.param(Round(2, 2), ("plan-2/000000.jsonl.zst", "plan-2/end-2.json"), id="a redrive that reads anew"),
        pytest.param(Round(3, 2), ("plan-2/000000.jsonl.zst", "plan-2/end-3.json"), id="one that reads on in that"),
    ],
)
def test_where_a_round_has_its_plan(at: Round, keys: tuple[str, str]) -> None:
    store = FakeStore()
    read_some(store, at, 1)
    assert tuple(store.objects) == keys
    assert shown(PlanReader(store, at=at).batches()) == shown([batch(0)])


@given(st.lists(st.integers(0, 12), max_size=4), st.integers(0, 12))
@settings(deadline=None)
def test_reading_that_failed_round_after_round_gives_the_plan_of_one_that_did_not(fails: list[int], more: int) -> None:
    store, upto = FakeStore(), 0
    for redrive, step in enumerate(fails):
        upto += step
        view = read_some(store, Round(redrive), upto, BROKEN)
        assert view == PlanReader(store, at=Round(redrive)).view() == PlanView(upto, upto, failure=BROKEN)
    whole = read_some(store, Round(len(fails)), upto + more)
    assert whole.seal
    assert whole.seal.children == upto + more
    assert shown(PlanReader(store, at=Round(len(fails))).batches()) == shown(batch(each) for each in range(upto + more))


def test_a_seal_stands_for_good_and_a_failure_in_its_own_round() -> None:
    store = FakeStore()
    read_some(store, Round(0), 3, BROKEN)
    read_some(store, Round(1), 4, GONE)
    seen = [PlanReader(store, at=Round(redrive)).view() for redrive in range(3)]
    assert [view.failure for view in seen] == [BROKEN, GONE, None]
    assert {view.children for view in seen} == {4}
    sealed = read_some(store, Round(2), 6)
    assert {PlanReader(store, at=Round(redrive)).view() for redrive in (2, 3, 7)} == {sealed}


def test_a_plan_that_was_read_anew_has_nothing_of_the_old_one() -> None:
    store = FakeStore()
    read_some(store, Round(0), 7, BROKEN)
    anew = Round(1, 1)
    assert PlanReader(store, at=anew).view() == PlanView()
    assert read_some(store, anew, 2).children == 2
    assert PlanReader(store).view() == PlanView(7, 7, failure=BROKEN)


def test_a_reader_that_enters_a_redrive_sees_its_plan() -> None:
    store = FakeStore()
    reader = PlanReader(store)
    read_some(store, Round(0), 3, BROKEN)
    assert reader.view().failure
    assert reader.batch(2).index == 2
    reader.enter(Round(1))
    assert reader.view() == PlanView(3, 3)
    read_some(store, Round(1), 5)
    assert reader.batch(4).index == 4
    assert reader.view().seal
    reader.enter(Round(2, 2))
    assert (reader.view(), reader.at_hand(0)) == (PlanView(), False)


@given(st.integers(0, 12), st.integers(0, 6), st.booleans())
@settings(deadline=None)
def test_a_redrive_that_was_interrupted_anywhere_ends_with_the_same_bytes(more: int, fatal: int, written: bool) -> None:
    whole, broken = FakeStore(), FakeStore()
    for store in (whole, broken):
        read_some(store, Round(0), 4, BROKEN)
    read_some(whole, Round(1), 4 + more)
    steps = iter(range(100))

    def crash(key: str) -> None:
        if next(steps) == fatal:
            raise Killed

    setattr(broken, "after" if written else "before", crash)
    for _ in range(2):
        try:
            if not PlanWriter(broken, at=Round(1)).view.seal:
                read_some(broken, Round(1), 4 + more)
        except Killed:
            continue
    assert broken.objects == whole.objects
