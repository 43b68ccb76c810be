"""Candidates for a Lease, in virtual time: one leads, and the next one when it stops, dies or loses its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from maprun.adapters import leases
from maprun.adapters.cluster import ApiError
from maprun.adapters.leases import Election
from maprun.errors import Fenced
from tests.unit.fake_lease import FakeLeases, Line

pytestmark = pytest.mark.looptime

FORBIDDEN = ApiError(403, "Forbidden", "you may not")
BUSY = ApiError(429, "TooManyRequests", "later")
DOWN = ApiError(500, "InternalError", "no etcd")


@dataclass
class Candidate:
    """An operator, as far as its election goes. `ahead`: how far its clock is ahead of the others'."""

    api: FakeLeases
    ahead: float = 0.0
    told: list[bool] = field(default_factory=list)
    ends: int = 0

    def __post_init__(self) -> None:
        self.line = Line(self.api)
        self.election = Election(self.line, "home/maprun", self.told.append, self._ended, self._now)  # type: ignore[arg-type]
        self._leading: asyncio.Task[None] | None = None

    @property
    def me(self) -> str:
        return self.election.me

    @property
    def may(self) -> bool:
        """Whether it may change something now."""
        try:
            self.election.guard()
        except Fenced:
            return False
        return True

    def start(self) -> None:
        self._leading = asyncio.create_task(self.election.lead())

    async def leads(self, seconds: float = 60.0) -> float:
        """Wait until it leads; returns the seconds until then."""
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(seconds):
            while not self.election.leads:
                await asyncio.sleep(0.01)
        return asyncio.get_running_loop().time() - began

    async def lost(self, seconds: float = 60.0) -> float:
        """Wait until it ended; returns the seconds until then."""
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(seconds):
            while not self.ends:
                await asyncio.sleep(0.01)
        return asyncio.get_running_loop().time() - began

    def dies(self) -> None:
        """As by SIGKILL."""
        for task in (self._leading, self.election._keeping):
            if task is not None:
                task.cancel()

    def _ended(self) -> None:
        self.ends += 1

    def _now(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


@asynccontextmanager
async def candidates(count: int, api: FakeLeases, ahead: float = 0.0) -> AsyncIterator[list[Candidate]]:
    """So many, of which the first leads and the others stand by. Each one's clock is so far ahead of the one before."""
    made = [Candidate(api, index * ahead) for index in range(count)]
    for each in made:
        each.start()
        await asyncio.sleep(0.5)
    assert [each.election.leads for each in made] == [True] + [False] * (count - 1)
    try:
        yield made
    finally:
        for each in made:
            each.dies()
        await asyncio.sleep(0)


def holder(api: FakeLeases) -> str:
    assert api.lease is not None
    return str(api.lease["spec"]["holderIdentity"])


async def test_the_first_one_leads_for_as_long_as_it_renews_and_no_other() -> None:
    api = FakeLeases()
    async with candidates(3, api) as (first, second, third):
        await asyncio.sleep(300)
        assert (first.may, second.may, third.may) == (True, False, False)
        assert {each["spec"]["holderIdentity"] for each in api.writes} == {first.me}
        assert len(api.writes) == pytest.approx(150, abs=2), "a renewal each two seconds"
        assert api.lease is not None
        spec = api.lease["spec"]
        assert (spec["leaseDurationSeconds"], spec["leaseTransitions"]) == (10, 0)
        assert spec["acquireTime"] < spec["renewTime"]


async def test_a_standby_asks_once_and_then_listens() -> None:
    async with candidates(2, FakeLeases()) as (_, second):
        await asyncio.sleep(300)
        assert second.line.calls == ["GET", "WATCH"]


async def test_each_life_has_a_name_of_its_own() -> None:
    api = FakeLeases()
    assert Candidate(api).me != Candidate(api).me


async def test_one_that_stops_hands_over_at_once() -> None:
    api = FakeLeases()
    async with candidates(2, api) as (first, second):
        await first.election.close()
        assert not first.may
        assert await second.leads() < 0.1
        assert (first.told, second.told, first.ends) == ([True, False], [True], 0)
        assert api.lease is not None
        assert api.lease["spec"]["leaseTransitions"] == 1


async def test_one_that_dies_is_followed_when_its_lease_has_run_out() -> None:
    async with candidates(2, FakeLeases()) as (first, second):
        first.dies()
        assert 7.9 < await second.leads() < 10.3


async def test_a_clock_that_is_wrong_or_jumps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    days = iter(range(1, 1000))
    monkeypatch.setattr(leases, "_time_of_day", lambda: f"{9999 - next(days) * 7 % 2000}-01-01T00:00:00.000000Z")
    async with candidates(2, FakeLeases(), ahead=-86_400.0) as (first, second):
        await asyncio.sleep(60)
        assert (first.may, second.may) == (True, False)
        first.dies()
        assert 7.9 < await second.leads() < 10.3


async def test_one_that_was_held_up_changes_nothing_and_ends() -> None:
    async with candidates(2, FakeLeases()) as (first, second):
        first.dies()  # it stands still, and the others do not
        await second.leads()
        assert first.election.leads, "it does not know yet"
        assert not first.may
        assert (first.ends, first.told) == (1, [True, False])
        assert not first.may
        assert first.ends == 1, "once is enough"


async def test_one_that_was_held_up_finds_out_by_itself() -> None:
    async with candidates(1, FakeLeases()) as (first,):
        first.ahead = 20.0
        assert await first.lost() < 2.1
        assert first.line.calls[-1] != "GET", "it asks nothing before"


async def test_a_claim_that_took_too_long_is_worth_nothing() -> None:
    first = Candidate(FakeLeases())
    first.line.delay = 8.0
    first.start()
    await first.leads()
    assert not first.may
    assert first.ends == 1


FAULTS = [
    pytest.param({"away": True}, id="no answer"),
    pytest.param({"refusal": DOWN}, id="an error of the server"),
    pytest.param({"refusal": BUSY}, id="too many requests"),
    pytest.param({"refusal": FORBIDDEN}, id="a right that was taken away"),
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_error_that_passes_is_survived(fault: dict[str, object]) -> None:
    async with candidates(2, FakeLeases()) as (first, second):
        for name, value in fault.items():
            setattr(first.line, name, value)
        await asyncio.sleep(3.5)
        assert first.may
        first.line.away, first.line.refusal = False, None
        await asyncio.sleep(60)
        assert (first.may, first.ends, second.may) == (True, 0, False)
        assert first.election.trouble == ""


@pytest.mark.parametrize("fault", FAULTS)
async def test_one_that_cannot_renew_gives_up_before_another_leads(
    fault: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    async with candidates(2, FakeLeases()) as (first, second):
        for name, value in fault.items():
            setattr(first.line, name, value)
        assert 4.9 < await first.lost() < 7.1
        assert not second.election.leads
        assert await second.leads() < 5.2
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == [
        f"lost the lead by Lease home/maprun: it has not been renewed for 7 seconds; the last try: "
        f"{'no answer' if 'away' in fault else fault['refusal']}; ending at once"
    ]


async def test_when_nobody_is_answered_one_leads_again_afterwards() -> None:
    async with candidates(2, FakeLeases()) as (first, second):
        first.line.away = second.line.away = True
        await first.lost()
        await asyncio.sleep(13)
        second.line.away = False
        assert await second.leads() < 5


async def test_a_renewal_without_an_answer_is_made_sure_of() -> None:
    async with candidates(2, FakeLeases()) as (first, second):
        first.line.lost = 2
        await asyncio.sleep(60)
        assert (first.may, second.may, first.ends) == (True, False, 0)


async def test_a_claim_without_an_answer_is_made_sure_of() -> None:
    api = FakeLeases()
    first = Candidate(api)
    first.line.lost = 1
    first.start()
    assert await first.leads() < 3
    assert api.lease is not None
    assert api.lease["spec"]["leaseTransitions"] == 0
    first.dies()


async def test_a_lease_that_is_deleted_by_hand_is_made_anew_by_its_holder() -> None:
    api = FakeLeases()
    async with candidates(2, api) as (first, second):
        api.delete()
        await asyncio.sleep(60)
        assert (first.may, second.may, holder(api)) == (True, False, first.me)
        assert first.election.uid == second.election.uid == "uid-2"


async def test_a_lease_that_is_deleted_with_its_holder_is_free_when_it_ran_out() -> None:
    api = FakeLeases()
    async with candidates(2, api) as (first, second):
        first.dies()
        api.delete()
        assert 7.9 < await second.leads() < 10.3


@pytest.mark.parametrize("name", ["somebody", ""])
async def test_a_lease_that_somebody_else_takes_is_lost(name: str, caplog: pytest.LogCaptureFixture) -> None:
    api = FakeLeases()
    async with candidates(1, api) as (first,):
        api.edit(holderIdentity=name, leaseDurationSeconds=60)
        assert await first.lost() < 2.1
        assert holder(api) == name
    assert f"lost the lead by Lease home/maprun: {name or 'nobody'} holds it now; ending at once" in caplog.messages


async def test_what_others_keep_in_the_lease_stays() -> None:
    api = FakeLeases()
    async with candidates(1, api) as (first,):
        api.label()
        api.edit(strategy="OldestEmulationVersion")
        await asyncio.sleep(5)
        assert first.may
        assert api.lease is not None
        assert api.lease["metadata"]["labels"] == {"a": "b"}
        assert api.lease["spec"]["strategy"] == "OldestEmulationVersion"


async def test_whoever_takes_the_lease_for_a_minute_is_let_alone_for_a_minute() -> None:
    api = FakeLeases()
    async with candidates(2, api) as (_, second):
        api.edit(holderIdentity="somebody", leaseDurationSeconds=60)
        assert 59.9 < await second.leads(70) < 60.3


async def test_watches_that_end_at_once_are_not_begun_in_a_hurry() -> None:
    api = FakeLeases()
    async with candidates(2, api) as (_, second):
        for _ in range(1000):
            api.cut()
            await asyncio.sleep(0.02)
        assert len(second.line.calls) < 30
        assert not second.may


async def test_a_watch_that_is_deaf_does_not_make_a_leader() -> None:
    api = FakeLeases()
    async with candidates(2, api) as (first, second):
        api._news.clear()
        await asyncio.sleep(60)
        assert (first.may, second.may) == (True, False)


async def test_a_standby_without_the_right_says_so_and_goes_on_when_it_has_it(caplog: pytest.LogCaptureFixture) -> None:
    candidate = Candidate(FakeLeases())
    candidate.line.refusal = FORBIDDEN
    candidate.start()
    await asyncio.sleep(60)
    assert candidate.election.trouble == "Lease home/maprun cannot be used: 403 Forbidden: you may not"
    assert caplog.messages == ["Lease home/maprun: 403 Forbidden: you may not"], "once, and not at each try"
    candidate.line.refusal = None
    assert await candidate.leads() < 3
    assert candidate.election.trouble == ""
    candidate.dies()


async def test_trouble_that_passes_is_not_told_as_trouble() -> None:
    candidate = Candidate(FakeLeases())
    candidate.line.refusal = DOWN
    candidate.start()
    await asyncio.sleep(10)
    assert candidate.election.trouble == ""
    assert candidate.election.waits
    candidate.dies()


async def test_it_says_what_it_does() -> None:
    async with candidates(2, FakeLeases()) as (first, second):
        assert first.election.role == "leads by Lease home/maprun"
        assert second.election.role == f"standby: {first.me} leads by Lease home/maprun"
        assert (first.election.waits, second.election.waits) == (False, True)
        assert first.election.dead == second.election.dead == ""


async def test_a_renewal_that_a_defect_ends_is_told_to_the_kubelet() -> None:
    async with candidates(1, FakeLeases()) as (first,):
        first.dies()
        await asyncio.sleep(0)
        assert first.election.dead == "the task that renews Lease home/maprun has ended"


async def test_a_standby_that_stops_asks_for_nothing() -> None:
    async with candidates(2, FakeLeases()) as (first, second):
        asked = len(second.line.calls)
        second.dies()
        await second.election.close()
        assert len(second.line.calls) == asked
        assert first.may


async def test_one_that_stops_while_it_claims_the_lease_leaves_it_free() -> None:
    api = FakeLeases()
    first = Candidate(api)
    first.line.delay = 1.0
    first.start()
    await asyncio.sleep(1.5)
    assert holder(api) == first.me
    first.dies()
    await first.election.close()
    assert holder(api) == ""


async def test_a_release_that_fails_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async with candidates(1, FakeLeases()) as (first,):
        first.line.away = True
        await asyncio.wait_for(first.election.close(), 5)
    assert "Lease home/maprun is not released, it runs out by itself: no answer" in caplog.messages


async def test_of_many_that_are_told_of_a_release_one_leads() -> None:
    api = FakeLeases()
    async with candidates(6, api) as (first, *others):
        await first.election.close()
        await asyncio.sleep(5)
        assert sum(each.may for each in others) == 1
        assert [each.ends for each in others] == [0] * 5
