"""What `decide` answers in each situation; what a whole run comes to is in test_engine.py."""

from __future__ import annotations

import random
from math import inf
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core.progress import Progress
from maprun.core.scheduling import Decision, Observation, PlanView, Situation, decide
from maprun.errors import Failure, Reason, StatesError
from maprun.model import MapRunSpec
from maprun.records import (
    Attempt,
    ChildStatus,
    Exported,
    Opened,
    Outcome,
    PlanSeal,
    Record,
    Redo,
    Redriven,
    Retry,
    RunStatus,
    Suspended,
    Verdict,
)

NOW = 100.0


def spec(**fields: Any) -> MapRunSpec:
    return msgspec.convert(
        {"maxConcurrency": 3, "itemProcessor": {"jobTemplate": {}, "retry": [{"errorEquals": ["Flaky"]}]}} | fields,
        MapRunSpec,
    )


def succeeded(child: int, attempt: int = 1) -> Outcome:
    return Outcome(child, attempt, ChildStatus.SUCCEEDED, output=msgspec.Raw(b"1"), started=1.0, stopped=2.0)


def failed(child: int, error: str = "Boom", *, retry: Retry | None = None) -> Outcome:
    return Outcome(child, 1, ChildStatus.FAILED, failure=Failure(error, "why"), started=1.0, stopped=2.0, retry=retry)


def at(
    records: list[Record] | None = None,
    *,
    children: int = 5,
    sealed: bool = True,
    active: dict[int, int] | None = None,
    finished: tuple[Outcome, ...] = (),
    writing: tuple[Attempt, ...] = (),
    refused: Failure | None = None,
    reader: Failure | None = None,
    wanted: MapRunSpec | None = None,
    verdict_writing: bool = False,
    suspend_writing: bool = False,
    items: dict[int, int] | None = None,
    retry_at: float = -inf,
    starting: tuple[int, ...] = (),
    held: bool = False,
) -> Situation:
    return Situation(
        spec=wanted or spec(),
        plan=PlanView(children, children, PlanSeal(children, children, 1) if sealed else None, reader),
        progress=Progress().with_records(records or []),
        seen=Observation(active or {}, finished, refused=refused, starting=frozenset(starting), held=held),
        ceiling=10,
        now=NOW,
        writing=frozenset(writing),
        verdict_writing=verdict_writing,
        suspend_writing=suspend_writing,
        items=items or {},
        retry_at=retry_at,
    )


def redriven(
    records: list[Record], redo: dict[ChildStatus, Redo] | None = None, only: str | None = None
) -> list[Record]:
    """A history with a redrive at its end: the run had failed at 50, its redrive began at 60."""
    again = Redriven(1, 60.0, redo or {}, only, before=Verdict(RunStatus.FAILED, 50.0, READER))
    return [Opened("a", 10.0), *records, Verdict(RunStatus.FAILED, 50.0, READER), Exported(55.0, 5), again]


READER = Failure(StatesError.ITEM_READER_FAILED, "no such key")
OPENED = Opened("a", 10.0)
HELD = Suspended(20.0, True)


def verdict(status: RunStatus = RunStatus.FAILED) -> Verdict:
    return Verdict(status, 50.0)


LAUNCHES: list[tuple[str, Situation, list[tuple[int, int]]]] = [
    ("a new run starts as many as it may, in order", at(), [(0, 1), (1, 1), (2, 1)]),
    ("only what is planned can start", at(children=2, sealed=False), [(0, 1), (1, 1)]),
    ("what is active takes a slot", at(active={0: 1, 1: 1}), [(2, 1)]),
    ("what has ended and is not reaped still takes its slot", at(finished=(succeeded(0),), active={1: 1}), [(2, 1)]),
    (
        "what is being written takes none, and does not start again",
        at(writing=(Attempt(0, 1),)),
        [(1, 1), (2, 1), (3, 1)],
    ),
    ("holes in the finished range are filled first", at([succeeded(0), succeeded(2)]), [(1, 1), (3, 1), (4, 1)]),
    ("a due retry goes before a new child", at([failed(4, retry=Retry(0, 99.0))]), [(4, 2), (0, 1), (1, 1)]),
    ("a retry that is not due waits without a slot", at([failed(0, retry=Retry(0, 101.0))]), [(1, 1), (2, 1), (3, 1)]),
    (
        "without a bound of its own the operator's ceiling holds",
        at(children=20, wanted=spec(maxConcurrency=0)),
        [(child, 1) for child in range(10)],
    ),
    (
        "a bound above the ceiling is the ceiling",
        at(children=20, wanted=spec(maxConcurrency=500)),
        [(child, 1) for child in range(10)],
    ),
    ("nothing starts behind a verdict", at([verdict()]), []),
    ("nothing starts while a verdict is being written", at(verdict_writing=True), []),
    ("nothing starts when the tolerance is breached", at([failed(0)]), []),
    ("nothing starts when the template is refused", at(refused=Failure(StatesError.RUNTIME, "no")), []),
    ("nothing starts while the run is suspended", at(wanted=spec(suspend=True)), []),
    ("not even a due retry", at([failed(0, retry=Retry(0, 99.0))], wanted=spec(suspend=True)), []),
    ("a run that goes on starts before that is durable", at([OPENED, HELD]), [(0, 1), (1, 1), (2, 1)]),
    ("nothing starts while no Job is taken", at(active={0: 1}, starting=(0,), held=True), []),
    ("nothing starts when the run is aborted", at(wanted=spec(abort=True)), []),
    ("nothing starts when its time is over", at([OPENED], wanted=spec(timeoutSeconds=90)), []),
    (
        "a redrive runs its children first, behind the attempts of all earlier ones",
        at(redriven([failed(4), failed(2), succeeded(0)], {ChildStatus.FAILED: Redo("2,4", 2)})),
        [(2, 2), (4, 2), (1, 1)],
    ),
    (
        "children of all statuses are redriven in the order of the items",
        at(
            redriven(
                [failed(3), Outcome(1, 3, ChildStatus.TIMED_OUT), Outcome(2, 1, ChildStatus.ABORTED)],
                {
                    ChildStatus.FAILED: Redo("3", 1),
                    ChildStatus.TIMED_OUT: Redo("1", 1),
                    ChildStatus.ABORTED: Redo("2", 1),
                },
            )
        ),
        [(1, 4), (2, 4), (3, 4)],
    ),
    (
        "a due retry goes before a child to be redriven",
        at(
            [
                *redriven([failed(0), failed(4)], {ChildStatus.FAILED: Redo("0,4", 2)}),
                Outcome(4, 2, ChildStatus.FAILED, failure=Failure("Flaky"), retry=Retry(0, 90.0)),
            ]
        ),
        [(4, 3), (0, 2), (1, 1)],
    ),
    (
        "a child that is redriven now does not start beside itself",
        at(redriven([failed(0)], {ChildStatus.FAILED: Redo("0", 1)}), active={0: 2}),
        [(1, 1), (2, 1)],
    ),
    (
        "a filtered redrive starts only the children that it allows",
        at(redriven([succeeded(0)], only="2-3,9"), children=5),
        [(2, 1), (3, 1)],
    ),
    ("a redrive by error names starts none that never started", at(redriven([succeeded(0)], only="")), []),
]


@pytest.mark.parametrize(("situation", "launches"), [row[1:] for row in LAUNCHES], ids=[row[0] for row in LAUNCHES])
def test_launches(situation: Situation, launches: list[tuple[int, int]]) -> None:
    assert [(a.child, a.number) for a in decide(situation, random.Random(0)).launches] == launches


WITHDRAWS: list[tuple[str, Situation, list[tuple[int, int]]]] = [
    ("what is starting goes on starting", at(active={0: 1, 1: 1}, starting=(0, 1)), []),
    (
        "a run that is suspended starts nothing more, and what runs goes on",
        at(active={0: 1, 1: 2, 2: 1}, starting=(1, 2), wanted=spec(suspend=True)),
        [(1, 2), (2, 1)],
    ),
    ("nor does one that is aborted", at(active={0: 1}, starting=(0,), wanted=spec(abort=True)), [(0, 1)]),
    ("nor one whose verdict is being written", at(active={0: 1}, starting=(0,), verdict_writing=True), [(0, 1)]),
    (
        "a lower limit is kept by what has not started, the last children first",
        at(active={0: 1, 1: 1, 2: 1, 3: 1}, finished=(succeeded(4),), starting=(1, 2, 3), wanted=spec()),
        [(2, 1), (3, 1)],
    ),
    (
        "a limit below what runs withdraws all that has not started",
        at(active={0: 1, 1: 1, 2: 1}, starting=(2,), wanted=spec(maxConcurrency=1)),
        [(2, 1)],
    ),
]


@pytest.mark.parametrize(("situation", "withdraws"), [row[1:] for row in WITHDRAWS], ids=[row[0] for row in WITHDRAWS])
def test_withdraws(situation: Situation, withdraws: list[tuple[int, int]]) -> None:
    assert [(a.child, a.number) for a in decide(situation, random.Random(0)).withdraws] == withdraws


EXCEEDED = Failure(
    StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD, "The specified tolerated failure threshold was exceeded"
)
LATE = Failure(StatesError.TIMEOUT, "", "the run took longer than the 90 seconds of spec.timeoutSeconds")
TIMED_OUT = Verdict(RunStatus.ABORTED, NOW, LATE, Reason.TIMED_OUT)
ABORTED = Verdict(RunStatus.ABORTED, NOW, reason=Reason.ABORTED)
AGAIN = {ChildStatus.FAILED: Redo("4", 1)}
REFUSED = Failure(StatesError.RUNTIME, "spec.template: bad")
ALL = [succeeded(child) for child in range(5)]
VERDICTS: list[tuple[str, Situation, Verdict | None]] = [
    ("a run goes on while children are missing", at(ALL[:4]), None),
    ("a run goes on while the dataset is being read", at(ALL, sealed=False), None),
    ("a run succeeds when every child is final", at(ALL), Verdict(RunStatus.SUCCEEDED, NOW)),
    ("an empty dataset succeeds", at(children=0), Verdict(RunStatus.SUCCEEDED, NOW)),
    ("the first failure breaches when nothing is tolerated", at([failed(0)]), Verdict(RunStatus.FAILED, NOW, EXCEEDED)),
    ("as many failures as tolerated are fine", at([failed(0)], wanted=spec(toleratedFailureCount=1)), None),
    (
        "a percentage waits for the sealed total",
        at([failed(0)], sealed=False, wanted=spec(toleratedFailurePercentage="10")),
        None,
    ),
    (
        "a percentage is judged against the sealed total",
        at([failed(0)], wanted=spec(toleratedFailurePercentage="10")),
        Verdict(RunStatus.FAILED, NOW, EXCEEDED),
    ),
    ("a reader's failure ends the run", at(reader=READER, sealed=False), Verdict(RunStatus.FAILED, NOW, READER)),
    (
        "a refused template ends the run with its own reason",
        at(refused=REFUSED),
        Verdict(RunStatus.FAILED, NOW, REFUSED, Reason.INVALID_JOB_TEMPLATE),
    ),
    (
        "the last failure of a run breaches before it could succeed",
        at([*ALL[:4], failed(4)]),
        Verdict(RunStatus.FAILED, NOW, EXCEEDED),
    ),
    ("a verdict is given once", at([*ALL, verdict(RunStatus.SUCCEEDED)]), None),
    ("a verdict that is being written is not given again", at(ALL, verdict_writing=True), None),
    ("an abort ends the run", at(wanted=spec(abort=True)), ABORTED),
    ("an abort ends a run that is held", at([OPENED, HELD], wanted=spec(abort=True, suspend=True)), ABORTED),
    ("an abort wins over a breach", at([failed(0)], wanted=spec(abort=True)), ABORTED),
    ("an abort wins over a reader's failure", at(reader=READER, sealed=False, wanted=spec(abort=True)), ABORTED),
    (
        "a refused template wins over an abort",
        at(refused=REFUSED, wanted=spec(abort=True)),
        Verdict(RunStatus.FAILED, NOW, REFUSED, Reason.INVALID_JOB_TEMPLATE),
    ),
    (
        "an abort comes too late when every child is done",
        at(ALL, wanted=spec(abort=True)),
        Verdict(RunStatus.SUCCEEDED, NOW),
    ),
    ("an abort is in time while the dataset is being read", at(ALL, sealed=False, wanted=spec(abort=True)), ABORTED),
    ("a run whose time is over is aborted", at([OPENED], wanted=spec(timeoutSeconds=90)), TIMED_OUT),
    ("a run that has some time left goes on", at([OPENED], wanted=spec(timeoutSeconds=91)), None),
    ("the time in suspend does not count", at([OPENED, HELD], wanted=spec(timeoutSeconds=11)), None),
    (
        "the time before and behind the hold does",
        at([OPENED, HELD, Suspended(30.0, False)], wanted=spec(timeoutSeconds=80)),
        Verdict(
            RunStatus.ABORTED,
            NOW,
            msgspec.structs.replace(LATE, hint=LATE.hint.replace("90", "80")),
            Reason.TIMED_OUT,
        ),
    ),
    (
        "a breach wins over a timeout",
        at([OPENED, failed(0)], wanted=spec(timeoutSeconds=90)),
        Verdict(RunStatus.FAILED, NOW, EXCEEDED),
    ),
    (
        "the time of a run that is done is not over",
        at([OPENED, *ALL], wanted=spec(timeoutSeconds=90)),
        Verdict(RunStatus.SUCCEEDED, NOW),
    ),
    ("a redrive has all its time anew", at(redriven([]), wanted=spec(timeoutSeconds=41)), None),
    ("a redrive goes on while children are to be run again", at(redriven([*ALL[:4], failed(4)], AGAIN)), None),
    (
        "a redrive whose children all succeed makes the run succeed",
        at([*redriven([*ALL[:4], failed(4)], AGAIN), succeeded(4, 2)]),
        Verdict(RunStatus.SUCCEEDED, NOW),
    ),
    (
        "a child that fails again breaches",
        at([*redriven([*ALL[:4], failed(4)], AGAIN), Outcome(4, 2, ChildStatus.FAILED)]),
        Verdict(RunStatus.FAILED, NOW, EXCEEDED),
    ),
    (
        "failures that the redrive left do not breach on its way",
        at(redriven([*ALL[:3], failed(3), failed(4)], AGAIN, "")),
        None,
    ),
    (
        "but at its end",
        at([*redriven([*ALL[:3], failed(3), failed(4)], AGAIN, ""), succeeded(4, 2)]),
        Verdict(RunStatus.FAILED, NOW, EXCEEDED),
    ),
    (
        "a filtered redrive that left children pending leaves the run as it was",
        at([*redriven([*ALL[:3], failed(4)], AGAIN, ""), succeeded(4, 2)]),
        Verdict(RunStatus.FAILED, NOW, READER),
    ),
    (
        "and so does one that left aborted children",
        at([*redriven([*ALL[:3], failed(4), Outcome(3, 1, ChildStatus.ABORTED)], AGAIN, ""), succeeded(4, 2)]),
        Verdict(RunStatus.FAILED, NOW, READER),
    ),
    (
        "a filtered redrive that reached the last children makes the run succeed",
        at([*redriven(ALL[:4], only="4"), succeeded(4)]),
        Verdict(RunStatus.SUCCEEDED, NOW),
    ),
    ("a filtered redrive waits for the children that it allows", at(redriven(ALL[:3], only="4")), None),
]


@pytest.mark.parametrize(("situation", "expected"), [row[1:] for row in VERDICTS], ids=[row[0] for row in VERDICTS])
def test_verdicts(situation: Situation, expected: Verdict | None) -> None:
    verdicts = [record for record in decide(situation, random.Random(0)).records if isinstance(record, Verdict)]
    assert verdicts == ([expected] if expected else [])


def outcomes(decision: Decision) -> dict[int, Outcome]:
    return {record.child: record for record in decision.records if isinstance(record, Outcome)}


def test_a_finished_attempt_is_recorded_first_and_reaped_only_when_that_is_durable() -> None:
    fresh = decide(at(finished=(succeeded(0),)), random.Random(0))
    assert (outcomes(fresh)[0], fresh.reaps) == (succeeded(0), ())
    writing = decide(at(finished=(succeeded(0),), writing=(Attempt(0, 1),)), random.Random(0))
    assert (writing.records, writing.reaps) == ((), ())
    durable = decide(at([succeeded(0)], finished=(succeeded(0),)), random.Random(0))
    assert (durable.records, durable.reaps) == ((), (Attempt(0, 1),))


def test_a_failure_is_recorded_with_the_retry_that_follows() -> None:
    decision = decide(at(finished=(failed(0, "Flaky"), failed(1))), random.Random(0))
    assert outcomes(decision)[0].retry == Retry(0, NOW + 1)
    assert outcomes(decision)[1].retry is None


TWO = spec(
    itemProcessor={
        "jobTemplate": {},
        "retry": [
            {"errorEquals": ["States.Timeout"], "intervalSeconds": 7},
            {"errorEquals": ["States.TaskFailed"], "intervalSeconds": 3, "maxAttempts": 1},
        ],
    }
)
LOST = Outcome(0, 1, ChildStatus.LOST, failure=Failure("", "gone"), started=1.0, stopped=2.0)
OVER = Outcome(0, 1, ChildStatus.TIMED_OUT, failure=Failure(StatesError.TIMEOUT))
SPENT = failed(0, retry=Retry(1, 50.0))


def lost_already(times: int) -> list[Record]:
    return [
        Outcome(0, number, ChildStatus.LOST, failure=Failure("", "gone"), retry=Retry(-1, 50.0))
        for number in range(1, times + 1)
    ]


def second(outcome: Outcome, number: int = 2) -> Outcome:
    return msgspec.structs.replace(outcome, attempt=number)


SETTLED: list[tuple[str, Situation, ChildStatus, Retry | None]] = [
    ("an attempt that took too long", at(finished=(OVER,), wanted=TWO), ChildStatus.TIMED_OUT, Retry(0, NOW + 7)),
    ("a failure", at(finished=(failed(0),), wanted=TWO), ChildStatus.FAILED, Retry(1, NOW + 3)),
    (
        "a failure whose retrier is spent",
        at([SPENT], finished=(second(failed(0)),), wanted=TWO),
        ChildStatus.FAILED,
        None,
    ),
    (
        "a timeout where only the retrier of failures is spent",
        at([SPENT], finished=(second(OVER),), wanted=TWO),
        ChildStatus.TIMED_OUT,
        Retry(0, NOW + 7),
    ),
    (
        "a failure that no retrier may match",
        at(finished=(failed(0, "States.Runtime"),), wanted=TWO),
        ChildStatus.FAILED,
        None,
    ),
    ("the first loss", at(finished=(LOST,), wanted=TWO), ChildStatus.LOST, Retry(-1, NOW)),
    (
        "a loss where the retrier is spent",
        at([SPENT], finished=(second(LOST),), wanted=TWO),
        ChildStatus.LOST,
        Retry(-1, NOW),
    ),
    ("the third loss in a row", at(lost_already(2), finished=(second(LOST, 3),)), ChildStatus.LOST, Retry(-1, NOW + 3)),
    (
        "the nineteenth loss in a row",
        at(lost_already(18), finished=(second(LOST, 19),)),
        ChildStatus.LOST,
        Retry(-1, NOW + 60),
    ),
    ("the twentieth loss in a row", at(lost_already(19), finished=(second(LOST, 20),)), ChildStatus.FAILED, None),
    (
        "a failure behind many losses",
        at(lost_already(19), finished=(second(failed(0), 20),), wanted=TWO),
        ChildStatus.FAILED,
        Retry(1, NOW + 3),
    ),
]


@pytest.mark.parametrize(
    ("situation", "status", "retry"), [row[1:] for row in SETTLED], ids=[row[0] for row in SETTLED]
)
def test_what_follows(situation: Situation, status: ChildStatus, retry: Retry | None) -> None:
    settled = outcomes(decide(situation, random.Random(0)))[0]
    assert (settled.status, settled.retry) == (status, retry)


def test_a_row_of_losses_becomes_an_error_of_its_own() -> None:
    settled = outcomes(decide(at(lost_already(19), finished=(second(LOST, 20),)), random.Random(0)))[0]
    assert settled.failure == Failure(StatesError.JOB_LOST, "lost 20 times in a row, the last time: gone")


def test_a_child_starts_when_its_first_attempt_started() -> None:
    second = Outcome(0, 2, ChildStatus.SUCCEEDED, started=90.0, stopped=91.0)
    decision = decide(at([failed(0, "Flaky", retry=Retry(0, 50.0))], finished=(second,)), random.Random(0))
    assert outcomes(decision)[0].started == 1.0


def test_an_attempt_that_nobody_needs_is_cancelled() -> None:
    assert decide(at([succeeded(0)], active={0: 2}), random.Random(0)).cancels == (Attempt(0, 2),)


def test_behind_a_failed_verdict_what_runs_is_aborted_then_cancelled_then_exported() -> None:
    running = decide(at([verdict()], active={0: 1}), random.Random(0))
    assert (outcomes(running)[0].status, running.cancels, running.export) == (ChildStatus.ABORTED, (), False)
    aborted = outcomes(running)[0]
    durable = decide(at([verdict(), aborted], active={0: 1}), random.Random(0))
    assert (durable.records, durable.cancels, durable.export) == ((), (Attempt(0, 1),), False)
    assert decide(at([verdict(), aborted]), random.Random(0)).export


def test_behind_a_verdict_a_child_that_finished_by_itself_keeps_its_outcome() -> None:
    decision = decide(at([verdict()], finished=(succeeded(0),)), random.Random(0))
    assert outcomes(decision) == {0: succeeded(0)}


def test_behind_a_verdict_nothing_is_retried() -> None:
    decision = decide(at([verdict()], finished=(failed(0, "Flaky"),)), random.Random(0))
    assert outcomes(decision)[0].retry is None


ITEMS: list[tuple[str, Situation, dict[int, int]]] = [
    ("a success", at(finished=(succeeded(3),), items={3: 40}), {3: 40}),
    ("a failure that is retried", at(finished=(failed(0, "Flaky"),), items={0: 7}), {0: 7}),
    ("a loss", at(finished=(LOST,), items={0: 7}), {0: 7}),
    ("a loss behind the verdict", at([verdict()], finished=(LOST,), items={0: 7}), {0: 7}),
    (
        "what a launcher says does not count",
        at(finished=(Outcome(1, 1, ChildStatus.TIMED_OUT, 9),), items={1: 5}),
        {1: 5},
    ),
    ("an aborted child", at([verdict()], active={0: 1, 2: 3}, items={0: 10, 2: 30}), {0: 10, 2: 30}),
    (
        "a child that waits for its retry, from what the journal holds",
        at([msgspec.structs.replace(failed(0, "Flaky", retry=Retry(0, 900.0)), items=12), verdict()]),
        {0: 12},
    ),
]


@pytest.mark.parametrize(("situation", "counted"), [row[1:] for row in ITEMS], ids=[row[0] for row in ITEMS])
def test_an_outcome_counts_the_items_of(situation: Situation, counted: dict[int, int]) -> None:
    decision = decide(situation, random.Random(0))
    assert {child: outcome.items for child, outcome in outcomes(decision).items()} == counted


def test_the_next_look_is_due_with_the_next_retry() -> None:
    records: list[Record] = [
        failed(0, retry=Retry(0, 150.0)),
        failed(1, retry=Retry(0, 130.0)),
        failed(2, retry=Retry(0, 90.0)),
    ]
    assert decide(at(records), random.Random(0)).wake_at == 130.0


WAKES: list[tuple[str, Situation, float | None]] = [
    ("nothing is due in a run without retries and without a timeout", at([OPENED]), None),
    ("the run's time ends", at([OPENED], wanted=spec(timeoutSeconds=100)), 110.0),
    (
        "the run's time ends before a retry is due",
        at([OPENED, failed(0, retry=Retry(0, 150.0))], wanted=spec(timeoutSeconds=100)),
        110.0,
    ),
    (
        "a retry is due before the run's time ends",
        at([OPENED, failed(0, retry=Retry(0, 105.0))], wanted=spec(timeoutSeconds=100)),
        105.0,
    ),
    (
        "while the run is held neither comes",
        at([OPENED, HELD, failed(0, retry=Retry(0, 105.0))], wanted=spec(timeoutSeconds=100, suspend=True)),
        None,
    ),
    ("behind the verdict nothing is due", at([OPENED, verdict()], wanted=spec(timeoutSeconds=100)), None),
]


@pytest.mark.parametrize(("situation", "moment"), [row[1:] for row in WAKES], ids=[row[0] for row in WAKES])
def test_the_next_look_is_due_when(situation: Situation, moment: float | None) -> None:
    assert decide(situation, random.Random(0)).wake_at == moment


HOLDS: list[tuple[str, Situation, list[Suspended]]] = [
    ("a hold is written down", at(wanted=spec(suspend=True)), [Suspended(NOW, True)]),
    ("once", at([HELD], wanted=spec(suspend=True)), []),
    ("and not again while it is being written", at(wanted=spec(suspend=True), suspend_writing=True), []),
    ("so is its end", at([HELD]), [Suspended(NOW, False)]),
    ("a run that was never held writes nothing", at(), []),
    ("behind the verdict nothing is held", at([verdict()], wanted=spec(suspend=True)), []),
    ("nor with it", at(wanted=spec(suspend=True, abort=True)), []),
]


@pytest.mark.parametrize(("situation", "holds"), [row[1:] for row in HOLDS], ids=[row[0] for row in HOLDS])
def test_holds(situation: Situation, holds: list[Suspended]) -> None:
    records = decide(situation, random.Random(0)).records
    assert [record for record in records if isinstance(record, Suspended)] == holds


def test_what_runs_may_end_while_the_run_is_held() -> None:
    held = at([HELD], active={0: 1}, finished=(succeeded(1), failed(2, "Flaky")), wanted=spec(suspend=True))
    decision = decide(held, random.Random(0))
    assert (outcomes(decision)[1], outcomes(decision)[2].retry) == (succeeded(1), Retry(0, NOW + 1))
    assert (decision.cancels, decision.launches) == ((), ())


def test_behind_the_verdict_of_a_redrive_what_it_never_came_to_keeps_its_outcome() -> None:
    again = redriven([failed(2), failed(3), failed(4)], {ChildStatus.FAILED: Redo("2-4", 3)})
    lost = Outcome(3, 2, ChildStatus.FAILED, failure=Failure("Flaky"), retry=Retry(0, 900.0))
    decision = decide(at([*again, lost, verdict()], active={2: 2}), random.Random(0))
    assert {child: (o.attempt, o.status) for child, o in outcomes(decision).items()} == {
        2: (2, ChildStatus.ABORTED),
        3: (3, ChildStatus.ABORTED),
    }


def test_retriers_of_a_redriven_child_are_unspent() -> None:
    again = redriven([failed(4, "Flaky")], AGAIN)
    ended = Outcome(4, 2, ChildStatus.FAILED, failure=Failure("Flaky"), started=90.0)
    once = spec(itemProcessor={"jobTemplate": {}, "retry": [{"errorEquals": ["Flaky"], "maxAttempts": 1}]})
    decision = decide(at(again, finished=(ended,), wanted=once), random.Random(0))
    assert outcomes(decision)[4].retry == Retry(0, NOW + 1)


def test_an_attempt_of_an_earlier_round_is_cancelled() -> None:
    again = redriven([Outcome(4, 3, ChildStatus.FAILED)], AGAIN)
    assert decide(at(again, active={4: 3}), random.Random(0)).cancels == (Attempt(4, 3),)
    assert decide(at(again, active={4: 4}), random.Random(0)).cancels == ()


ROOM: list[tuple[str, int, list[int]]] = [
    ("all start where there is room", 9, [0, 1, 2]),
    ("the first start where there is some", 2, [0, 1]),
    ("none starts where there is none", 0, []),
]


@pytest.mark.parametrize(("room", "children"), [row[1:] for row in ROOM], ids=[row[0] for row in ROOM])
def test_a_decision_is_kept_within_the_room_there_is(room: int, children: list[int]) -> None:
    assert [attempt.child for attempt in decide(at(), random.Random(0)).within(room).launches] == children


LOOKS: list[tuple[str, Decision, float]] = [
    ("nobody waits", decide(at(), random.Random(0)), inf),
    ("one waits", decide(at([failed(0, retry=Retry(0, 150.0))]), random.Random(0)), 150.0),
    (
        "one waits and another one's retry runs",
        decide(
            at([failed(0, retry=Retry(0, 90.0)), failed(1, retry=Retry(0, 150.0))], active={0: 2}), random.Random(0)
        ),
        150.0,
    ),
    (
        "the attempt before its retry is still there",
        decide(at([failed(0, retry=Retry(0, 90.0))], finished=(failed(0, "Flaky"),), active={1: 1}), random.Random(0)),
        NOW,
    ),
    (
        "more are due than may start",
        decide(at([failed(child, retry=Retry(0, 90.0)) for child in range(4)]), random.Random(0)),
        NOW,
    ),
    (
        "there was no room for one that is due",
        decide(at([failed(0, retry=Retry(0, 90.0))]), random.Random(0)).within(0),
        -inf,
    ),
    (
        "no slot is free: nobody looked",
        decide(at([failed(0, retry=Retry(0, 90.0))], active={1: 1, 2: 1, 3: 1}, retry_at=95.0), random.Random(0)),
        95.0,
    ),
]


@pytest.mark.parametrize(("decision", "moment"), [row[1:] for row in LOOKS], ids=[row[0] for row in LOOKS])
def test_no_retry_is_looked_for_until(decision: Decision, moment: float) -> None:
    assert decision.retry_at == moment


FAR: list[tuple[str, dict[str, Any], float, bool]] = [
    ("as far off as a loss may put it", {}, NOW + 60, False),
    ("farther off than a loss or a retrier may put it", {}, NOW + 61, True),
    ("as far off as its last retry may be", {"intervalSeconds": 100, "maxAttempts": 2}, NOW + 200, False),
    ("farther off than its last retry may be", {"intervalSeconds": 100, "maxAttempts": 2}, NOW + 201, True),
    ("with a bound on all delays", {"intervalSeconds": 100, "maxDelaySeconds": 120}, NOW + 121, True),
]


@pytest.mark.parametrize(("retrier", "moment", "due"), [row[1:] for row in FAR], ids=[row[0] for row in FAR])
def test_a_retry_that_is_too_far_off_is_due_because_the_clock_was_set_back(
    retrier: dict[str, Any], moment: float, due: bool
) -> None:
    processor = {"jobTemplate": {}, "retry": [{"errorEquals": ["Flaky"], "backoffRate": 2} | retrier]}
    decision = decide(at([failed(0, retry=Retry(0, moment))], wanted=spec(itemProcessor=processor)), random.Random(0))
    assert (Attempt(0, 2) in decision.launches) is due
    assert decision.retry_at == (inf if due else moment)


def test_a_retry_that_is_said_not_to_be_due_is_not_looked_for() -> None:
    waiting = [failed(0, retry=Retry(0, 90.0))]
    assert Attempt(0, 2) not in decide(at(waiting, retry_at=NOW + 1), random.Random(0)).launches
    assert Attempt(0, 2) in decide(at(waiting, retry_at=NOW), random.Random(0)).launches


@given(
    done=st.sets(st.integers(0, 29)),
    active=st.dictionaries(st.integers(0, 29), st.just(1), max_size=8),
    ended=st.sets(st.integers(0, 29), max_size=4),
    writing=st.sets(st.integers(0, 29), max_size=4),
    concurrency=st.integers(0, 12),
)
def test_live_attempts_never_exceed_the_limit_and_no_child_starts_beside_itself(
    done: set[int], active: dict[int, int], ended: set[int], writing: set[int], concurrency: int
) -> None:
    ended -= set(active)
    situation = at(
        [succeeded(child) for child in done],
        children=30,
        active=active,
        finished=tuple(succeeded(child) for child in ended),
        writing=tuple(Attempt(child, 1) for child in writing),
        wanted=spec(maxConcurrency=concurrency),
    )
    launched = [attempt.child for attempt in decide(situation, random.Random(0)).launches]
    assert len(active) + len(ended) + len(launched) <= max(situation.limit, len(active) + len(ended))
    assert not set(launched) & (done | set(active) | ended | writing)
    assert launched == sorted(set(launched))
