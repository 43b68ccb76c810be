"""What `decide` answers in each situation; what a whole run comes to is in test_engine.py."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core.progress import Progress
from maprun.core.scheduling import Decision, Observation, PlanView, Situation, decide
from maprun.errors import Failure, Reason, StatesError
from maprun.model import MapRunSpec
from maprun.records import Attempt, ChildStatus, Outcome, PlanSeal, Record, Retry, RunStatus, Verdict

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
    items: dict[int, int] | None = None,
) -> Situation:
    return Situation(
        spec=wanted or spec(),
        plan=PlanView(children, children, PlanSeal(children, children, 1) if sealed else None, reader),
        progress=Progress().with_records(records or []),
        seen=Observation(active or {}, finished, refused=refused),
        ceiling=10,
        now=NOW,
        writing=frozenset(writing),
        verdict_writing=verdict_writing,
        items=items or {},
    )


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
]


@pytest.mark.parametrize(("situation", "launches"), [row[1:] for row in LAUNCHES], ids=[row[0] for row in LAUNCHES])
def test_launches(situation: Situation, launches: list[tuple[int, int]]) -> None:
    assert [(a.child, a.number) for a in decide(situation, random.Random(0)).launches] == launches


EXCEEDED = Failure(
    StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD, "The specified tolerated failure threshold was exceeded"
)
READER = Failure(StatesError.ITEM_READER_FAILED, "no such key")
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


LOST = Outcome(0, 1, ChildStatus.LOST, failure=Failure("", "gone"), started=1.0, stopped=2.0)
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
