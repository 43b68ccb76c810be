"""The engine in a world without a cluster: whole runs, every crash, two operators, and laws over random histories."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maprun.core import status
from maprun.core.status import Snapshot
from maprun.errors import Failure, Fenced, StatesError
from maprun.model import MapRunSpec
from maprun.records import Attempt, ChildStatus, Exported, Outcome, RunStatus, Verdict
from tests.unit.world import Crashed, EagerPlan, Fuse, Handler, World, fails, succeeds

pytestmark = pytest.mark.looptime


def spec(**fields: Any) -> MapRunSpec:
    """A spec with three retries of `Flaky` and whatever else is said."""
    retry = [{"errorEquals": ["Flaky"], "intervalSeconds": 1, "maxAttempts": 3}]
    return msgspec.convert(
        {"maxConcurrency": 4, "itemProcessor": {"jobTemplate": {}, "retry": retry}} | fields, MapRunSpec
    )


def finals(world: World) -> dict[int, Outcome]:
    """The final outcomes in the journal, each child's first."""
    found: dict[int, Outcome] = {}
    for record in world.journal:
        if isinstance(record, Outcome) and record.retry is None:
            found.setdefault(record.child, record)
    return found


def counted(snapshot: Snapshot) -> dict[str, int]:
    tallies = {status.value: tally.children for status, tally in snapshot.progress.tallies.items()}
    return tallies | {"PENDING": snapshot.plan.children - sum(tallies.values())}


def mixed(child: int, attempt: int) -> Outcome:
    """Every fifth child fails for good, every third once, every seventh is lost once."""
    if child % 5 == 4:
        return fails(child, attempt)
    if child % 3 == 1 and attempt == 1:
        return fails(child, attempt, "Flaky")
    if child % 7 == 6 and attempt == 1:
        return Outcome(child, attempt, ChildStatus.LOST, failure=Failure("", "node gone"), started=1.0, stopped=2.0)
    return succeeds(child, attempt)


def never(child: int, attempt: int) -> Outcome | None:
    return None


HISTORIES: list[tuple[str, Handler, dict[str, Any], RunStatus, dict[str, int]]] = [
    ("all succeed", succeeds, {}, RunStatus.SUCCEEDED, {"SUCCEEDED": 20, "PENDING": 0}),
    (
        "failures are tolerated, retried and lost attempts end well",
        mixed,
        {"toleratedFailurePercentage": "100"},
        RunStatus.SUCCEEDED,
        {"SUCCEEDED": 16, "FAILED": 4, "PENDING": 0},
    ),
    (
        "four failures are tolerated when four are allowed",
        mixed,
        {"toleratedFailureCount": 4},
        RunStatus.SUCCEEDED,
        {"SUCCEEDED": 16, "FAILED": 4, "PENDING": 0},
    ),
]


@pytest.mark.parametrize(
    ("handler", "fields", "status", "counts"), [row[1:] for row in HISTORIES], ids=[row[0] for row in HISTORIES]
)
async def test_a_run_ends_as_its_children_did(
    handler: Handler, fields: dict[str, Any], status: RunStatus, counts: dict[str, int]
) -> None:
    world = World(20, handler)
    final = await world.engine(spec(**fields)).run()
    assert (final.status, counted(final)) == (status, counts)
    assert world.peak <= 4
    assert not world.live
    assert not world.ended


async def test_a_breached_tolerance_fails_the_run_aborts_what_runs_and_leaves_the_rest_pending() -> None:
    world = World(
        30,
        lambda child, attempt: (
            fails(child, attempt) if child == 5 else (None if child == 0 else succeeds(child, attempt))
        ),
    )
    final = await world.engine(spec()).run()
    counts = counted(final)
    assert final.failure == Failure(
        StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD, "The specified tolerated failure threshold was exceeded"
    )
    assert final.status is RunStatus.FAILED
    assert (counts["FAILED"], sum(counts.values())) == (1, 30)
    assert finals(world)[0].status is ChildStatus.ABORTED
    assert counts["PENDING"] > 0
    assert not world.live
    assert world.exports == 1


async def test_a_child_that_waits_for_its_retry_is_aborted_with_the_run() -> None:
    slow = spec(
        maxConcurrency=1,
        itemProcessor={"jobTemplate": {}, "retry": [{"errorEquals": ["Flaky"], "intervalSeconds": 9000}]},
    )
    world = World(
        3,
        lambda child, attempt: (
            fails(child, attempt, "Flaky")
            if child == 0
            else (fails(child, attempt) if child == 2 else succeeds(child, attempt))
        ),
    )
    final = await world.engine(slow).run()
    assert finals(world)[0].status is ChildStatus.ABORTED
    assert counted(final) == {"ABORTED": 1, "FAILED": 1, "SUCCEEDED": 1, "PENDING": 0}


async def test_retries_wait_their_interval_and_then_give_up() -> None:
    world = World(1, lambda child, attempt: fails(child, attempt, "Flaky"))
    final = await world.engine(spec()).run()
    retries = [record.retry for record in world.journal if isinstance(record, Outcome)]
    assert [retry is not None for retry in retries] == [True, True, True, False]
    assert final.progress.retries == 3
    assert world.ran == {Attempt(0, number): 1 for number in (1, 2, 3, 4)}


async def test_a_child_that_is_lost_again_and_again_fails_in_the_end() -> None:
    lost = Failure("", "node gone")
    world = World(1, lambda child, attempt: Outcome(child, attempt, ChildStatus.LOST, failure=lost))
    final = await world.engine(spec()).run()
    failure = finals(world)[0].failure
    assert failure is not None
    assert failure.error == StatesError.JOB_LOST
    assert "node gone" in failure.cause
    assert final.progress.retries == 0


async def test_a_reader_that_fails_fails_the_run_and_children_already_running_are_aborted() -> None:
    failure = Failure(StatesError.ITEM_READER_FAILED, "Attempting to map over non-iterable node.")
    world = World(9, lambda child, attempt: None if child == 0 else succeeds(child, attempt), reader_failure=failure)
    final = await world.engine(spec()).run()
    assert final.failure == failure
    assert finals(world)[0].status is ChildStatus.ABORTED


async def test_a_run_that_fails_while_the_dataset_is_read_exports_what_a_restart_would_find() -> None:
    world = World(10_000, fails)
    final = await world.engine(spec(), plan=EagerPlan).run()
    assert final.progress.exported
    assert 0 < world.planned < 10_000, "reading stopped with the run"
    assert final.progress.exported.records == final.plan.children == world.planned
    await asyncio.sleep(5)
    again = await world.engine(spec(), plan=EagerPlan).run()
    assert (again.plan, world.exports) == (final.plan, 1)


BATCHES: list[tuple[str, dict[str, Any], RunStatus]] = [
    ("a failed batch counts all its items", {"toleratedFailureCount": 4}, RunStatus.FAILED),
    ("as many items as are tolerated are fine", {"toleratedFailureCount": 5}, RunStatus.SUCCEEDED),
    ("a percentage is one of the items: 5 of 10 are 50", {"toleratedFailurePercentage": "50"}, RunStatus.SUCCEEDED),
    ("and more than that is too much", {"toleratedFailurePercentage": "49.999"}, RunStatus.FAILED),
]


@pytest.mark.parametrize(("fields", "ending"), [row[1:] for row in BATCHES], ids=[row[0] for row in BATCHES])
async def test_the_tolerance_is_one_of_items(fields: dict[str, Any], ending: RunStatus) -> None:
    world = World(3, lambda child, attempt: (fails if child == 1 else succeeds)(child, attempt), sizes=[4, 5, 1])
    final = await world.engine(spec(**fields)).run()
    assert (final.status, final.progress.failed_items) == (ending, 5)


async def test_children_of_an_earlier_engine_are_counted_with_their_items_again() -> None:

    world = World(5, never, sizes=[10, 20, 30, 40, 50])
    first = asyncio.ensure_future(world.engine(spec()).run())
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    world.handler = lambda child, attempt: fails(child, attempt) if child == 0 else None
    final = await world.engine(spec()).run()
    assert {child: (o.status.value, o.items) for child, o in finals(world).items()} == {
        0: ("FAILED", 10),
        1: ("ABORTED", 20),
        2: ("ABORTED", 30),
        3: ("ABORTED", 40),
    }
    assert status.item_counts(final) == {
        "pending": 50,
        "running": 0,
        "succeeded": 0,
        "failed": 10,
        "timedOut": 0,
        "aborted": 90,
        "total": 150,
        "resultsWritten": 150,
        "failuresNotRedrivable": 0,
        "pendingRedrive": 0,
    }


async def test_an_empty_dataset_succeeds() -> None:
    final = await World(0).engine(spec()).run()
    assert (final.status, final.plan.children) == (RunStatus.SUCCEEDED, 0)


async def test_one_at_a_time_runs_in_the_order_of_the_items() -> None:
    world = World(12)
    await world.engine(spec(maxConcurrency=1)).run()
    assert [record.child for record in world.journal if isinstance(record, Outcome)] == list(range(12))
    assert world.peak == 1


async def test_without_a_concurrency_of_its_own_the_operators_ceiling_holds() -> None:
    world = World(40)
    await world.engine(spec(maxConcurrency=0), ceiling=7).run()
    assert 1 < world.peak <= 7


async def test_concurrency_may_be_lowered_and_raised_while_running() -> None:
    world = World(60)
    peaks: list[int] = []

    def live() -> MapRunSpec:
        done = len(world.progress().done)
        if done >= 20:
            peaks.append(len(world.live) + len(world.ended))
        return spec(maxConcurrency=8 if done < 20 else 2)

    await world.engine(live).run()
    assert world.peak == 8
    assert max(peaks[-20:]) <= 2


async def test_the_second_operator_takes_over_and_the_first_stops() -> None:
    world = World(40)
    first = world.engine(spec())
    running = asyncio.ensure_future(first.run())
    await asyncio.sleep(1)
    final = await world.engine(spec()).run()
    with pytest.raises(Fenced):
        await running
    assert counted(final) == {"SUCCEEDED": 40, "PENDING": 0}
    assert not world.durable_then_ran


def proof(world: World, final: Snapshot) -> None:
    """What must hold of every run, however it came to its end."""
    outcomes = finals(world)
    assert set(outcomes) == set(final.progress.done)
    assert sum(tally.children for tally in final.progress.tallies.values()) == len(outcomes)
    assert final.progress.finished.items == sum(world.sizes[child] for child in outcomes)
    assert world.peak <= 4
    assert not world.durable_then_ran, "an attempt with a durable outcome ran again"
    assert not world.after_verdict, "something was launched behind the verdict"
    assert not world.live
    assert not world.ended
    assert sum(isinstance(record, Verdict) for record in world.journal) == 1
    assert sum(isinstance(record, Exported) for record in world.journal) == 1


async def steps_of(handler: Handler, spec: MapRunSpec) -> int:
    fuse = Fuse()
    await World(10, handler).engine(spec, fuse).run()
    return fuse.steps


@pytest.mark.parametrize(
    "fields",
    [{"toleratedFailurePercentage": "100"}, {"toleratedFailureCount": 1}],
    ids=["a run that tolerates", "a run that fails"],
)
async def test_a_crash_at_any_step_loses_nothing_and_runs_nothing_twice(fields: dict[str, Any]) -> None:
    wanted = spec(**fields)
    undisturbed = World(10, mixed)
    expected = await undisturbed.engine(wanted).run()
    for fatal in range(1, await steps_of(mixed, wanted) + 1):
        world = World(10, mixed)
        with pytest.raises(Crashed):
            await world.engine(wanted, Fuse(fatal)).run()
        final = await world.engine(wanted).run()
        proof(world, final)
        assert final.failure == expected.failure
        if not expected.failure:
            same = {
                child: (o.status, o.attempt, bytes(o.output), o.failure) for child, o in finals(undisturbed).items()
            }
            assert {
                child: (o.status, o.attempt, bytes(o.output), o.failure) for child, o in finals(world).items()
            } == same


ENDINGS = st.sampled_from(["succeeds", "Flaky", "Boom", "lost"])


@settings(deadline=None, max_examples=60)
@given(
    script=st.lists(st.lists(ENDINGS, min_size=1, max_size=4), min_size=1, max_size=12),
    crashes=st.lists(st.integers(1, 120), max_size=4),
    count=st.none() | st.integers(0, 20),
    seed=st.integers(0, 99),
    sizes=st.lists(st.integers(1, 50), min_size=12, max_size=12),
)
async def test_whatever_happens_each_child_is_counted_once(
    script: list[list[str]], crashes: list[int], count: int | None, seed: int, sizes: list[int]
) -> None:
    def handler(child: int, attempt: int) -> Outcome:
        ending = script[child][min(attempt, len(script[child])) - 1]
        if ending == "succeeds" or attempt > 8:
            return succeeds(child, attempt)
        if ending == "lost":
            return Outcome(child, attempt, ChildStatus.LOST, failure=Failure("", "gone"))
        return fails(child, attempt, ending)

    world = World(len(script), handler, seed=seed, sizes=sizes[: len(script)])
    wanted = spec(toleratedFailureCount=count)
    for fatal in crashes:
        try:
            await world.engine(wanted, Fuse(fatal)).run()
        except Crashed:
            continue
    proof(world, await world.engine(wanted).run())
