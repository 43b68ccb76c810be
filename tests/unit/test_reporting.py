"""What is told to the resource when the API server does not take it, or when telling it goes wrong."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.reporting import ResourceReporter
from maprun.core import status
from maprun.core.progress import Progress
from maprun.core.status import Snapshot
from maprun.errors import Failure, Reason
from maprun.records import ChildStatus, Exported, Opened, Outcome, RunStatus, Verdict
from tests.unit.live_run import RUN, at

pytestmark = pytest.mark.looptime


class Server:
    """Takes patches and events; `refusals` are the answers to the next events."""

    def __init__(self, *refusals: ApiError) -> None:
        self.refusals = list(refusals)
        self.patches = 0
        self.events: list[str] = []
        self.names: list[str] = []

    async def request(self, method: str, path: str, body: Any = None, *args: Any, **options: Any) -> bytes:
        if method == "PATCH":
            self.patches += 1
        elif self.refusals:
            raise self.refusals.pop(0)
        else:
            self.events.append(body["reason"])
            self.names.append(body["metadata"]["name"])
        return b"{}"


def reporter(server: Server) -> ResourceReporter:
    return ResourceReporter(cast(ClusterClient, server), RUN, lambda: 1, {})


async def test_an_event_that_is_refused_does_not_hold_up_the_end() -> None:
    server = Server(ApiError(403, "Forbidden", "events is forbidden"))
    await asyncio.wait_for(reporter(server).finished(at(Progress(), children=3)), 60)
    assert (server.patches, server.events) == (1, [Reason.PLANNED])


async def test_an_event_that_cannot_be_taken_now_is_told_later_and_counted_once() -> None:
    server = Server(*[ApiError(503, "", "starting")] * 100)
    await asyncio.wait_for(reporter(server).finished(at(Progress(), children=3)), 600)
    assert server.events == [Reason.STARTED, Reason.PLANNED]


async def test_the_names_of_events_sort_as_the_run_goes() -> None:
    """`kubectl describe` knows no better order: events of events.k8s.io/v1 have no last timestamp."""
    server = Server()
    failed = Outcome(0, 1, ChildStatus.FAILED, failure=Failure("Oops", "because"))
    verdict = Verdict(RunStatus.FAILED, 5.0, Failure("States.ExceedToleratedFailureThreshold", "too many"))
    progress = Progress().with_records([Opened("w", 1.0), failed, verdict, Exported(6.0, 3)])
    await asyncio.wait_for(reporter(server).finished(at(progress, children=3)), 60)
    assert server.events[:2] == [Reason.STARTED, Reason.PLANNED]
    assert len(server.events) >= 4
    assert server.names == sorted(server.names)


async def test_a_status_that_cannot_be_made_does_not_silence_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    server, render = Server(), status.render

    def broken_once(*args: Any) -> dict[str, Any]:
        monkeypatch.setattr(status, "render", render)
        raise RecursionError

    monkeypatch.setattr(status, "render", broken_once)
    telling = reporter(server)
    look: Snapshot = at(Progress(), children=3)
    telling.progressed(look)
    await asyncio.sleep(10)
    await telling.close()
    assert server.patches == 1
