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
from maprun.errors import Failure, Fenced, Reason, StatesError
from maprun.model import MapRunSpec
from maprun.records import Attempt, ChildStatus, Exported, Opened, Outcome, Redriven, RunStatus, Suspended, Verdict
from tests.unit.world import Crashed, EagerPlan, Fuse, Handler, Script, World, fails, succeeds

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


async def test_a_clock_that_is_set_back_lets_no_retry_wait_for_it() -> None:
    loop, day = asyncio.get_running_loop(), 86_400.0
    set_back = loop.time() + 5

    def clock() -> float:
        return loop.time() + (day if loop.time() < set_back else 0)

    retry = [{"errorEquals": ["Boom"], "intervalSeconds": 20, "maxAttempts": 1}]
    world = World(1, lambda child, attempt: (succeeds if attempt > 1 else fails)(child, attempt))
    slow = spec(itemProcessor={"jobTemplate": {}, "retry": retry})
    final = await asyncio.wait_for(world.engine(slow, clock=clock, heartbeat=1.0).run(), 100)
    assert final.status is RunStatus.SUCCEEDED


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
    outcomes, redrives = world.outcomes(), final.progress.redrives
    assert set(outcomes) == set(final.progress.done)
    assert sum(tally.children for tally in final.progress.tallies.values()) == len(outcomes)
    assert final.progress.finished.items == sum(world.sizes[child] for child in outcomes)
    assert world.peak <= 4
    assert not world.durable_then_ran, "an attempt with a durable outcome ran again"
    assert not world.after_verdict, "something was launched behind the verdict"
    assert not world.while_held, "something was launched while the run was held"
    assert not world.ran or max(world.ran.values()) == 1, "an attempt was started twice"
    assert not world.live
    assert not world.ended
    assert sum(isinstance(record, Verdict) for record in world.journal) == 1 + redrives
    assert sum(isinstance(record, Exported) for record in world.journal) == 1 + redrives


BASE: dict[str, Any] = {
    "maxConcurrency": 4,
    "itemProcessor": {"jobTemplate": {}, "retry": [{"errorEquals": ["Flaky"], "intervalSeconds": 1}]},
}


def rounds(world: World) -> list[list[Outcome]]:
    """The outcomes of each round."""
    found: list[list[Outcome]] = [[]]
    for record in world.journal:
        if isinstance(record, Redriven):
            found.append([])
        elif isinstance(record, Outcome):
            found[-1].append(record)
    return found


def better_in(world: World, redrive: int, handler: Handler = fails) -> Handler:
    """`handler` until that redrive, and success from then on."""

    def handle(child: int, attempt: int) -> Outcome | None:
        return handler(child, attempt) if world.progress().redrives < redrive else succeeds(child, attempt)

    return handle


async def test_a_run_that_is_suspended_drains_and_goes_on_when_it_is_resumed() -> None:
    world = World(20, mixed)
    fields = BASE | {"toleratedFailurePercentage": 100}
    script = Script(fields, (1.0, {"suspend": True}), (500.0, {"suspend": False}))
    running = asyncio.ensure_future(script.drive(world))
    await asyncio.sleep(400)
    assert not world.live
    assert 0 < len(world.progress().done) < 20
    assert world.progress().running_for(400.0) < 3
    final = await running
    assert counted(final) == {"SUCCEEDED": 16, "FAILED": 4, "PENDING": 0}
    assert [record.on for record in world.journal if isinstance(record, Suspended)] == [True, False]
    assert not world.while_held


async def test_a_run_that_is_suspended_from_its_start_starts_nothing() -> None:
    world = World(5)
    final = await Script(BASE | {"suspend": True}, (100.0, {"suspend": False})).drive(world)
    assert (final.status, world.while_held) == (RunStatus.SUCCEEDED, [])
    assert final.progress.suspended_for == pytest.approx(100, abs=1)


ENDS: list[tuple[str, dict[str, Any], tuple[float, dict[str, Any]], Verdict]] = [
    ("an abort", {}, (2.0, {"abort": True}), Verdict(RunStatus.ABORTED, 2.0, None, Reason.ABORTED)),
    (
        "an abort while it is suspended",
        {"suspend": True},
        (2.0, {"abort": True}),
        Verdict(RunStatus.ABORTED, 2.0, None, Reason.ABORTED),
    ),
    (
        "a timeout that it had from its start",
        {"timeoutSeconds": 7},
        (2.0, {}),
        Verdict(RunStatus.ABORTED, 7.0, Failure(StatesError.TIMEOUT), Reason.TIMED_OUT),
    ),
    (
        "a timeout that it got on its way",
        {},
        (2.0, {"timeoutSeconds": 3}),
        Verdict(RunStatus.ABORTED, 3.0, Failure(StatesError.TIMEOUT), Reason.TIMED_OUT),
    ),
]


@pytest.mark.parametrize(("fields", "edit", "verdict"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
async def test_a_run_is_stopped_by(
    fields: dict[str, Any], edit: tuple[float, dict[str, Any]], verdict: Verdict
) -> None:
    world = World(9, lambda child, attempt: succeeds(child, attempt) if child == 0 else None)
    final = await Script(BASE | fields, edit).drive(world)
    assert final.progress.verdict is not None
    assert (final.status, final.reason) == (verdict.status, verdict.reason)
    assert final.progress.verdict.at == pytest.approx(verdict.at, abs=0.1)
    assert (final.failure and final.failure.error) == (verdict.failure and verdict.failure.error)
    aborted = {child for child, outcome in world.outcomes().items() if outcome.status is ChildStatus.ABORTED}
    assert aborted == (set() if fields.get("suspend") else {1, 2, 3, 4})
    assert world.exports == 1
    assert not world.live


async def test_a_redrive_runs_again_what_did_not_succeed_and_nothing_else() -> None:
    world = World(20, sizes=range(1, 21))
    world.handler = better_in(world, 1, mixed)
    final = await Script(BASE | {"toleratedFailureCount": 3}, (60.0, {"redrives": 1})).drive(world)
    first, second = rounds(world)
    assert final.progress.redrives == 1
    assert (final.status, counted(final)) == (RunStatus.SUCCEEDED, {"SUCCEEDED": 20, "PENDING": 0})
    succeeded = {outcome.child for outcome in first if outcome.status is ChildStatus.SUCCEEDED}
    assert {outcome.child for outcome in second} == set(range(20)) - succeeded
    assert status.item_counts(final)["succeeded"] == 210
    proof(world, final)


async def test_a_filtered_redrive_leaves_the_others_and_ends_as_the_run_had_ended() -> None:
    world = World(10, lambda child, attempt: fails(child, attempt, "Boom" if child in (1, 7) else "Bang"))
    world.handler = better_in(world, 1, world.handler)
    chosen = {"redrives": 1, "redriveFilter": {"errorEquals": ["Boom"]}}
    final = await Script(BASE | {"toleratedFailureCount": 2}, (60.0, chosen)).drive(world)
    first, second = rounds(world)
    assert {o.child for o in second} == {o.child for o in first if o.failure and o.failure.error == "Boom"} != set()
    assert (final.status, final.failure and final.failure.error) == (
        RunStatus.FAILED,
        StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD,
    )
    assert status.execution_counts(final)["failuresNotRedrivable"] == final.progress.left.children > 0
    proof(world, final)


async def test_wanted_redrives_are_made_one_after_the_other_until_nothing_is_left() -> None:
    world = World(6)
    world.handler = better_in(world, 2, lambda child, attempt: fails(child, attempt) if child == 3 else None)
    final = await Script(BASE, (60.0, {"redrives": 5})).drive(world)
    assert (final.status, final.progress.redrives, final.spec.redrives) == (RunStatus.SUCCEEDED, 2, 5)
    proof(world, final)


async def test_there_is_nothing_to_redrive_in_a_run_that_succeeded() -> None:
    world = World(6)
    final = await Script(BASE, (60.0, {"redrives": 1})).drive(world)
    assert (final.status, final.progress.redrives, world.exports) == (RunStatus.SUCCEEDED, 0, 1)
    assert [type(record) for record in world.journal[-2:]] == [Exported, Opened]


async def test_an_aborted_run_is_redriven_when_the_abort_is_taken_back() -> None:
    world = World(9)
    world.handler = better_in(world, 1, never)
    script = Script(BASE, (2.0, {"abort": True}), (60.0, {"redrives": 1}), (90.0, {"abort": False, "redrives": 1}))
    running = asyncio.ensure_future(script.drive(world))
    await asyncio.sleep(80)
    assert (world.progress().redrives, world.exports) == (0, 1), "not while spec.abort holds"
    final = await running
    assert (final.status, final.progress.redrives) == (RunStatus.SUCCEEDED, 1)
    assert final.progress.round_started == pytest.approx(90, abs=1)
    proof(world, final)


async def test_a_reader_that_failed_goes_on_where_it_was_when_some_child_had_started() -> None:
    world = World(9, reader_failure=Failure(StatesError.ITEM_READER_FAILED, "it was cut"))
    final = await Script(BASE, (60.0, {"redrives": 1})).drive(world)
    assert (final.status, world.plan, counted(final)) == (RunStatus.SUCCEEDED, 0, {"SUCCEEDED": 9, "PENDING": 0})
    proof(world, final)


async def test_a_reader_that_failed_reads_anew_when_no_child_had_started() -> None:
    world = World(9, reader_failure=Failure(StatesError.ITEM_READER_FAILED, "no such key"))
    script = Script(BASE | {"suspend": True}, (60.0, {"redrives": 1, "suspend": False}))
    final = await script.drive(world)
    assert (final.status, world.plan, counted(final)) == (RunStatus.SUCCEEDED, 1, {"SUCCEEDED": 9, "PENDING": 0})
    proof(world, final)


async def test_a_run_starts_no_more_than_all_runs_together_leave_room_for() -> None:
    world = World(12)
    world.room = 0
    engine = world.engine(spec())
    running = asyncio.ensure_future(engine.run())
    await asyncio.sleep(5)
    assert not world.ran
    world.room = 2
    engine.wake()
    final = await running
    assert (final.status, world.peak) == (RunStatus.SUCCEEDED, 2)


async def test_a_run_that_waits_for_room_says_so() -> None:
    world = World(3)
    world.room = 0
    told: list[Snapshot] = []
    engine = world.engine(spec(), told=told)
    running = asyncio.ensure_future(engine.run())
    await asyncio.sleep(5)
    assert (told[-1].waiting, told[-1].capacity) == ("there is no more room", "there is no more room")
    world.room = 9
    engine.wake()
    await running
    assert (told[-1].waiting, told[-1].capacity) == ("", "")


async def test_what_a_run_holds_is_free_only_when_it_can_start_nothing_more() -> None:
    world = World(3)
    await world.engine(spec()).run()
    assert world.closed == ["launcher", "capacity"]


@pytest.mark.parametrize(
    ("held", "left"), [({"suspend": True}, 0), ({"maxConcurrency": 1}, 1)], ids=["a suspend", "a lower limit"]
)
async def test_launches_that_have_not_begun_are_taken_back_by(held: dict[str, Any], left: int) -> None:
    world = World(12, never)
    world.shut = True
    fields: dict[str, Any] = {"itemProcessor": {"jobTemplate": {}}, "maxConcurrency": 4, "suspend": False}
    script = Script(fields, (5.0, held), (20.0, fields))
    engine = world.engine(script.spec)
    running = asyncio.ensure_future(engine.run())
    await asyncio.sleep(3)
    assert len(world.seen) == 4
    await asyncio.sleep(3)
    engine.wake()
    await asyncio.sleep(1)
    world.shut = False
    await asyncio.sleep(5)
    assert len(world.live) == left
    await asyncio.sleep(10)
    world.handler = succeeds
    engine.wake()
    final = await running
    assert (final.status, counted(final), world.peak) == (RunStatus.SUCCEEDED, {"SUCCEEDED": 12, "PENDING": 0}, 4)
    assert set(world.ran.values()) == set(world.launched.values()) == {1}


LIVES: list[tuple[str, dict[str, Any], list[tuple[float, dict[str, Any]]], Handler]] = [
    (
        "suspend, resume, abort, and a redrive",
        {"toleratedFailurePercentage": 100},
        [
            (0.4, {"suspend": True}),
            (2.0, {"suspend": False}),
            (2.4, {"abort": True}),
            (9.0, {"abort": False, "redrives": 1}),
        ],
        mixed,
    ),
    (
        "a breach, a filtered redrive, and another one",
        {},
        [(20.0, {"redrives": 1, "redriveFilter": {"indexes": "0-4"}}), (40.0, {"redrives": 2, "redriveFilter": None})],
        mixed,
    ),
    (
        "a timeout while children run for ever, and a redrive",
        {"timeoutSeconds": 2},
        [(9.0, {"redrives": 1})],
        lambda child, attempt: None if child == 2 else mixed(child, attempt),
    ),
]


@pytest.mark.parametrize(("fields", "edits", "handler"), [row[1:] for row in LIVES], ids=[row[0] for row in LIVES])
async def test_a_crash_at_any_step_of_a_life_changes_nothing_of_its_results(
    fields: dict[str, Any], edits: list[tuple[float, dict[str, Any]]], handler: Handler
) -> None:
    last = max(edit["redrives"] for _, edit in edits if "redrives" in edit)

    async def life(fatal: int) -> tuple[World, Snapshot, int]:
        world, script, fuse = World(7), Script(BASE | fields, *edits), Fuse(fatal)
        world.handler = better_in(world, last, handler)
        try:
            return world, await script.drive(world, fuse), fuse.steps
        except Crashed:
            return world, await script.drive(world), fuse.steps

    undisturbed, expected, steps = await life(0)
    assert (expected.status, expected.progress.redrives) == (RunStatus.SUCCEEDED, last)
    for fatal in range(1, steps + 1):
        world, final, _ = await life(fatal)
        proof(world, final)
        assert (final.status, final.progress.redrives) == (RunStatus.SUCCEEDED, last)
        assert results(world) == results(undisturbed)


def results(world: World) -> dict[int, tuple[ChildStatus, bytes, Failure | None]]:
    return {child: (o.status, bytes(o.output), o.failure) for child, o in world.outcomes().items()}


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
