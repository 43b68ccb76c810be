"""Laws of a run's life over random histories: `decide`, the fold, a journal that is durable late, and what runs.

No event loop and no clock: each rule is one thing that may happen next.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from maprun.core import choosing, progress, status
from maprun.core.finals import Finals, Place
from maprun.core.progress import Progress
from maprun.core.scheduling import Observation, PlanView, Situation, decide, limit
from maprun.core.status import Snapshot
from maprun.core.tallies import Tally
from maprun.errors import Failure
from maprun.model import MapRunSpec
from maprun.records import Attempt, ChildStatus, Exported, Opened, Outcome, PlanSeal, Record, Redriven, Verdict
from tests.unit.world import RUN, STATES

CEILING = 6
RETRY = [{"errorEquals": ["Flaky"], "intervalSeconds": 5, "maxAttempts": 2}, {"errorEquals": ["Slow"]}]
ENDINGS = st.sampled_from(["succeeds", "succeeds", "Flaky", "Slow", "Boom", "lost"])
FILTERS: list[dict[str, Any] | None] = [
    None,
    {"errorEquals": ["Boom"]},
    {"errorEquals": ["States.ALL"], "indexes": "0-4"},
    {"indexes": "0-2,7"},
]


class Life(RuleBasedStateMachine):
    """One run, and whoever drives it. Durable: `journal`, the plan, `live` and `ended`; the rest dies in a crash."""

    @initialize(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12), planned=st.integers(0, 12))
    def begins(self, sizes: list[int], planned: int) -> None:
        self.sizes, self.planned, self.sealed = sizes, 0, False
        self.reads_on(planned)
        self.fields: dict[str, Any] = {"itemProcessor": {"jobTemplate": {}, "retry": RETRY}, "maxConcurrency": 3}
        self.fields["toleratedFailurePercentage"] = 100
        self.now, self.room, self.rng = 1_000.0, CEILING, random.Random(0)
        self.journal: list[Record] = [Opened("first", self.now)]
        self.live: dict[int, int] = {}
        self.starting: set[int] = set()  # of those: they can still be given back
        self.held = False
        self.ended: dict[int, Outcome] = {}
        self.started: Counter[Attempt] = Counter()
        self.replays()

    def replays(self) -> None:
        """A driver begins with nothing but the journal and what it sees."""
        self.writing: list[Record] = []
        self.progress = Progress().with_records(self.journal)
        self.retry_at = float("-inf")

    @property
    def spec(self) -> MapRunSpec:
        return msgspec.convert(self.fields, MapRunSpec)

    @property
    def view(self) -> PlanView:
        children = len(self.sizes)
        items = sum(self.sizes[: self.planned])
        return PlanView(self.planned, items, PlanSeal(children, items, 1) if self.sealed else None)

    def situation(self, retry_at: float) -> Situation:
        return Situation(
            spec=self.spec,
            plan=self.view,
            progress=self.progress,
            seen=Observation(
                dict(self.live), tuple(self.ended.values()), starting=frozenset(self.starting), held=self.held
            ),
            ceiling=CEILING,
            now=self.now,
            writing=frozenset(record.key for record in self.writing if isinstance(record, Outcome)),
            verdict_writing=any(isinstance(record, Verdict) for record in self.writing),
            suspend_writing=any(not isinstance(record, Outcome | Verdict | Exported) for record in self.writing),
            items={child: self.sizes[child] for child in {*self.live, *self.ended}},
            retry_at=retry_at,
        )

    # ------------------------------------------------------------------------------------------- what may happen next

    @rule()
    @precondition(lambda self: self.progress.exported is None)
    def decides(self) -> None:
        situation = self.situation(self.retry_at)
        decision = decide(situation, self.rng)
        looked = decide(self.situation(float("-inf")), random.Random(0))
        assert decision.launches == looked.launches, "a retry that is due was not looked for"
        decision = decision.within(max(0, self.room - len(self.live) - len(self.ended)))
        self.retry_at = decision.retry_at
        exporting = any(isinstance(record, Exported) for record in self.writing)
        for attempt in decision.reaps:
            assert self.progress.settles(attempt), "reaped before its outcome was durable"
            del self.ended[attempt.child]
        for attempt in decision.withdraws:
            self.gives_back(attempt.child)
        self.held &= bool(self.starting)
        stopped = self.spec.suspend or self.progress.verdict is not None
        assert not (stopped and self.starting), "goes on starting though nothing may start"
        for attempt in decision.cancels:
            assert self.progress.settles(attempt), "stopped though it is needed"
            del self.live[attempt.child]
            self.starting.discard(attempt.child)
        for attempt in decision.launches:
            self.launches(attempt)
        self.writing += decision.records
        if decision.export and not exporting:
            assert not any((self.live, self.ended, self.progress.between)), "exported while something runs"
            self.writing.append(Exported(self.now, self.planned))

    def launches(self, attempt: Attempt) -> None:
        assert attempt.child not in {*self.live, *self.ended}, "started beside itself"
        assert not self.progress.verdict, "started behind a verdict"
        assert not self.spec.suspend, "started while the run is held"
        assert not self.held, "started though it would be refused"
        assert not self.progress.settles(attempt), "started though it is known what became of it"
        only, child = self.progress.only, attempt.child
        assert child in self.progress.begun or only is None or child in only, "started though it was not chosen"
        self.started[attempt] += 1
        assert self.started[attempt] == 1, "one attempt was started twice"
        self.live[child] = attempt.number
        self.starting.add(child)
        assert len(self.live) + len(self.ended) <= min(limit(self.spec, CEILING), self.room)

    def gives_back(self, child: int) -> None:
        """Its Job was never created: the same attempt may be launched again."""
        assert child in self.starting, "withdrawn though it has started"
        self.starting.remove(child)
        self.started[Attempt(child, self.live.pop(child))] -= 1
        self.retry_at = float("-inf")

    @rule()
    @precondition(lambda self: len(self.starting) > 1)
    def a_quota_is_used_up(self) -> None:
        """All but one of the creates are given back."""
        for child in sorted(self.starting)[1:]:
            self.gives_back(child)
        self.held = True

    @rule()
    @precondition(lambda self: self.starting)
    def all_start(self) -> None:
        self.starting.clear()
        self.held = False

    @rule(count=st.integers(1, 4))
    @precondition(lambda self: self.writing)
    def becomes_durable(self, count: int) -> None:
        durable, self.writing = self.writing[:count], self.writing[count:]
        self.journal += durable
        self.progress = self.progress.with_records(durable)
        retries = [record.retry.at for record in durable if isinstance(record, Outcome) and record.retry]
        self.retry_at = min(self.retry_at, *retries, float("inf"))

    @rule(which=st.integers(0, CEILING - 1), ending=ENDINGS)
    @precondition(lambda self: self.live)
    def an_attempt_ends(self, which: int, ending: str) -> None:
        self.ends(sorted(self.live)[which % len(self.live)], ending)

    @rule(endings=st.lists(ENDINGS, min_size=1, max_size=8))
    @precondition(lambda self: self.progress.exported is None)
    def goes_on(self, endings: list[str]) -> None:
        """One thing after the other, as in a run that nothing disturbs."""
        for ending in endings:
            self.decides()
            if self.writing:
                self.becomes_durable(len(self.writing))
            if self.live:
                self.ends(min(self.live), ending)
            self.now += 2
            if self.progress.exported:
                return

    def ends(self, child: int, ending: str) -> None:
        number, failure = self.live.pop(child), Failure(ending, "why")
        self.starting.discard(child)
        self.held &= bool(self.starting)
        kind = {"succeeds": ChildStatus.SUCCEEDED, "lost": ChildStatus.LOST, "Slow": ChildStatus.TIMED_OUT}
        status = kind.get(ending, ChildStatus.FAILED)
        succeeded = status is ChildStatus.SUCCEEDED
        self.ended[child] = Outcome(child, number, status, failure=None if succeeded else failure, started=self.now)

    @rule(seconds=st.sampled_from([0.5, 3.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(children=st.integers(1, 5))
    @precondition(lambda self: not self.sealed)
    def reads_on(self, children: int) -> None:
        self.planned = min(len(self.sizes), self.planned + children)
        self.sealed = self.planned == len(self.sizes)

    @rule(
        edit=st.sampled_from(  # what lets the run go on is there more than once
            [
                {"maxConcurrency": 1},
                {"maxConcurrency": 0},
                {"maxConcurrency": 5},
                {"suspend": True},
                {"suspend": False},
                {"toleratedFailurePercentage": 20, "toleratedFailureCount": 1},
                {"toleratedFailurePercentage": 100, "toleratedFailureCount": 0},
                {"suspend": False},
                {"timeoutSeconds": 60},
                {"timeoutSeconds": None},
                {"abort": True},
            ]
        )
    )
    def is_edited(self, edit: dict[str, Any]) -> None:
        self.fields |= edit

    @rule(room=st.sampled_from([0, 1, 4, CEILING, CEILING]))
    def other_runs_leave(self, room: int) -> None:
        self.room = room

    @rule()
    @precondition(lambda self: self.live or self.writing or self.ended)
    def crashes(self) -> None:
        known = self.progress
        for child in sorted(self.starting):  # what was not created dies with its driver
            self.gives_back(child)
        self.held = False
        self.replays()
        assert self.progress == known == progress.decode(progress.encode(known)), "the journal tells it all"
        self.journal.append(Opened("next", self.now))
        self.replays()

    @rule(filtered=st.sampled_from(FILTERS))
    @precondition(lambda self: self.progress.exported is not None)
    def is_redriven(self, filtered: dict[str, Any] | None) -> None:
        self.fields |= {"abort": False, "redriveFilter": filtered}
        record = choosing.redriven(self.progress, self.numbered(), self.spec.redrive_filter, self.now)
        successes = self.progress.tally(ChildStatus.SUCCEEDED).children
        if record is None:
            assert filtered or successes == self.planned, "something that did not succeed was not found"
            return
        reopened = self.progress.with_records([record])
        assert reopened.tally(ChildStatus.SUCCEEDED).children == successes, "what succeeded runs again"
        if record.reread:
            self.planned, self.sealed = 0, False
        self.journal.append(record)
        self.replays()

    def numbered(self) -> Iterator[tuple[int, int, Record]]:
        return ((1, line, record) for line, record in enumerate(self.journal))

    # ------------------------------------------------------------------------------------------ what holds at any time

    @invariant()
    def every_child_is_in_one_state(self) -> None:
        at = self.progress
        redo = [child for waiting in at.redo.values() for child in waiting.children]
        placed = Counter([*at.done, *at.between, *redo])
        assert not placed or max(placed.values()) == 1
        assert set(placed) == set(at.begun)
        assert at.finished == Tally(len(at.done), sum(self.sizes[child] for child in at.done))
        assert at.pending_redrive == Tally(len(redo), sum(self.sizes[child] for child in redo))

    @invariant()
    def counters_sum_to_the_total(self) -> None:
        live = [child for child in {*self.live, *self.ended} if child not in self.progress.done]
        again = [child for child in live if self.progress.redone(child)]
        snapshot = Snapshot(
            run=RUN,
            spec=self.spec,
            region="",
            plan=self.view,
            progress=self.progress,
            active=Tally(len(live), sum(self.sizes[child] for child in live)),
            redoing=Tally(len(again), sum(self.sizes[child] for child in again)),
            limit=CEILING,
            now=self.now,
        )
        for counts in (status.item_counts(snapshot), status.execution_counts(snapshot)):
            assert sum(counts[state] for state in STATES) == counts["total"]
            assert min(counts.values()) >= 0

    @invariant()
    def every_retry_is_spent_or_left(self) -> None:
        """Each final child has made one attempt, one more for each retry and each loss, and one for each redrive."""
        finals, made, again = self.finals(), Counter[int](), Counter[int]()
        for record in self.journal:
            if isinstance(record, Outcome):
                made[record.child] += 1
                again[record.child] += record.retry is not None
        for child in self.progress.done:
            assert made[child] == 1 + again[child] + finals.redrives(child)

    @invariant()
    def the_index_of_results_agrees_with_the_fold(self) -> None:
        finals = self.finals()
        final = {child for name in ("SUCCEEDED", "FAILED") for child, _ in finals.of(name)}
        redo = {child for waiting in self.progress.redo.values() for child in waiting.children}
        again = {child for child in self.progress.between if finals.redrives(child)}
        assert final == {*self.progress.done, *redo, *again}
        assert len(list(finals.of("SUCCEEDED"))) == self.progress.tally(ChildStatus.SUCCEEDED).children
        firsts: dict[int, Place] = {}
        for _, line, record in self.numbered():
            if isinstance(record, Outcome) and record.retry is None:
                firsts.setdefault(record.child, Place(1, line))
        assert {child: finals.first(child) for child in final} == {child: firsts[child] for child in final}

    def finals(self) -> Finals:
        finals = Finals(len(self.sizes))
        for segment, line, record in self.numbered():
            match record:
                case Outcome():
                    finals.add(Place(segment, line), record)
                case Redriven():
                    finals.redriven(record)
                case Exported():
                    finals.exported(record)
        return finals

    def teardown(self) -> None:
        """Left alone, with room and time, the run comes to its end: nothing is stuck."""
        if not hasattr(self, "fields"):
            return
        self.fields |= {"suspend": False, "maxConcurrency": 3}
        self.room, self.planned, self.sealed = CEILING, len(self.sizes), True
        for _ in range(40 * len(self.sizes) + 40):
            if self.progress.exported:
                break
            for child in list(self.live):
                self.ends(child, "succeeds")
            self.decides()
            self.every_child_is_in_one_state()
            if self.writing:
                self.becomes_durable(len(self.writing))
            self.now += 5
        assert self.progress.exported, "the run came to no end"
        self.every_retry_is_spent_or_left()
        self.counters_sum_to_the_total()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=400, stateful_step_count=60, deadline=None)
