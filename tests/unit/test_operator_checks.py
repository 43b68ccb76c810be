"""What the operator tells the kubelet: alive unless only a new process would help, ready when it can do its work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from kubernetes.aio.client import Configuration

from maprun.adapters.cluster import ClusterClient
from maprun.adapters.jobs_watch import JobsWatch
from maprun.adapters.loop_lag import LoopLag
from maprun.adapters.watching import Follower
from maprun.core.resources import PodView
from maprun.handlers import SILENCE_SECONDS, unhealthy, unready, worth_telling
from tests.unit.counted import Counted
from tests.unit.fake_api import FakeApi, Refusal, serving, until

NOT_YET = "the list of jobs and pods is not complete yet"


@dataclass
class FakeElection:
    """What the probes ask of an election."""

    waits: bool
    trouble: str = ""
    dead: str = ""


@asynccontextmanager
async def watching(client: ClusterClient, told: Counted, started: bool = True) -> AsyncIterator[JobsWatch]:
    watch = JobsWatch(client, (), told)
    starting = asyncio.create_task(watch.start())
    if started:
        await starting
    try:
        yield watch
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await watch.close()


@asynccontextmanager
async def away() -> AsyncIterator[ClusterClient]:
    """A client of an API server that is not there."""
    client = ClusterClient(Configuration(host="http://127.0.0.1:1"), reload=False)
    yield client
    await client.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maprun.adapters.watching.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("maprun.adapters.watching.LONGEST_PAUSE", 0.02)


async def test_an_operator_that_follows_its_children_is_alive_and_ready() -> None:
    async with serving(FakeApi()) as client, watching(client, Counted()) as watch:
        assert unhealthy(watch, LoopLag(lambda _: None)) == ""
        assert unready(watch, 0.0, started=True) == ""


async def test_it_is_not_ready_before_its_first_lists_are_complete_but_alive() -> None:
    told = Counted()
    async with away() as client, watching(client, told, started=False) as watch:
        await until(lambda: len(told.restarts) >= 4)
        assert unready(watch, 0.0, started=False) == f"{NOT_YET}; the operator is starting"
        assert unhealthy(watch, LoopLag(lambda _: None)) == ""


async def test_an_api_server_that_goes_away_makes_it_unready_after_a_while_and_never_dead() -> None:
    told, api = Counted(), FakeApi()
    async with serving(api) as client, watching(client, told) as watch:
        api.away = True
        api.cut_watches()
        await until(lambda: len(told.restarts) >= 6 and client.calls.silence > 0)
        assert unhealthy(watch, LoopLag(lambda _: None)) == ""
        assert unready(watch, client.calls.silence, started=True) == "", "a short pause is nothing"
        late = unready(watch, SILENCE_SECONDS + 3.4, started=True)
        assert late == "the API server has not answered for 63 seconds"
        api.away = False
        await until(lambda: client.calls.silence == 0)


async def test_a_standby_is_ready_without_watches_as_long_as_it_can_use_the_lease() -> None:
    async with away() as client:
        watch, election = JobsWatch(client), FakeElection(waits=True)
        assert unready(watch, 0.0, election, started=False) == ""
        assert unready(watch, SILENCE_SECONDS, election, started=False) == (
            "the API server has not answered for 60 seconds"
        )
        election.trouble = "Lease a/b cannot be used: 403 Forbidden"
        assert unready(watch, 0.0, election, started=False) == election.trouble


async def test_a_leader_is_ready_when_it_has_its_watches() -> None:
    async with away() as client:
        election = FakeElection(waits=False)
        assert unready(JobsWatch(client), 0.0, election, started=False) == f"{NOT_YET}; the operator is starting"


async def test_an_operator_that_no_longer_renews_its_lease_is_dead() -> None:
    async with serving(FakeApi()) as client, watching(client, Counted()) as watch:
        lag, election = LoopLag(lambda _: None), FakeElection(waits=False)
        assert unhealthy(watch, lag, election) == ""
        election.dead = "the task that renews Lease a/b has ended"
        assert unhealthy(watch, lag, election) == election.dead


async def test_a_watch_that_was_ended_makes_it_dead() -> None:
    async with serving(FakeApi()) as client, watching(client, Counted()) as watch:
        await watch.close()
        assert unhealthy(watch, LoopLag(lambda _: None)) == "the watch of jobs was ended; the watch of pods was ended"


async def test_a_watch_that_a_defect_ends_makes_it_dead_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def defect(self: Follower[PodView]) -> None:
        if self.resource == "pods":
            raise KeyError("defect")
        await asyncio.sleep(3600)

    monkeypatch.setattr(Follower, "_watch", defect)
    async with serving(FakeApi()) as client, watching(client, Counted()) as watch:
        await until(lambda: bool(watch.dead))
        assert unhealthy(watch, LoopLag(lambda _: None)) == "the watch of pods ended with KeyError: 'defect'"
    assert "unhealthy: the watch of pods ended" in caplog.text


async def test_a_task_that_no_longer_watches_the_loop_makes_it_dead() -> None:
    lag = LoopLag(lambda _: None)
    async with serving(FakeApi()) as client, watching(client, Counted()) as watch:
        lag.start()
        assert unhealthy(watch, lag) == ""
        await lag.close()
        assert unhealthy(watch, lag) == "the task that watches the event loop has ended"


async def test_a_watch_that_breaks_is_counted_and_one_that_is_renewed_is_not() -> None:
    told, api = Counted(), FakeApi()
    async with serving(api) as client, watching(client, told):
        await api.put("jobs", {"metadata": {"name": "a", "labels": {}}, "status": {}})
        assert told.restarts == []
        api.forget_history()
        api.cut_watches()
        await until(lambda: set(told.restarts) == {"jobs", "pods"})


async def test_a_list_that_fails_is_tried_again_and_counted() -> None:
    told, api = Counted(), FakeApi()
    api.fail("GET jobs", 2, Refusal(500, "InternalError"))
    async with serving(api) as client, watching(client, told):
        assert told.restarts == ["jobs", "jobs"]


@pytest.mark.parametrize(
    ("logger", "message", "told"),
    [
        pytest.param("kopf.activities", "Request attempt #1/9 failed; will retry: e", False, id="a repetition"),
        pytest.param("kopf.activities", "Request attempt #9/9 failed; escalating: e", True, id="the last one"),
        pytest.param("maprun", "the upload failed; will retry", True, id="our own words"),
    ],
)
def test_of_kopfs_requests_only_those_are_told_that_it_gives_up(logger: str, message: str, told: bool) -> None:
    record = logging.makeLogRecord({"name": logger, "msg": message})
    assert worth_telling(record) is told
