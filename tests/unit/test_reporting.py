"""What is told to the resource when the API server does not take it, or when telling it goes wrong."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import msgspec
import pytest
from msgspec import Raw

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.reporting import ResourceReporter
from maprun.core import rendering
from maprun.core.progress import Progress
from maprun.core.status import Snapshot
from maprun.errors import Failure, Reason
from maprun.records import (
    ChildStatus,
    Exported,
    Opened,
    Outcome,
    Record,
    Redo,
    Redriven,
    RunStatus,
    Suspended,
    Verdict,
)
from tests.unit.live_run import RUN, at

pytestmark = pytest.mark.looptime


class Server:
    """Takes patches and events; `refusals` are the answers to the next events, `status` is what the run has."""

    def __init__(self, *refusals: ApiError) -> None:
        self.refusals = list(refusals)
        self.patches = 0
        self.events: list[str] = []
        self.names: list[str] = []
        self.status: dict[str, Any] = {}

    async def request(self, method: str, path: str, body: Any = None, *args: Any, **options: Any) -> bytes:
        if method == "PATCH":
            self.patches += 1
            for operation in json.loads(body)[1:]:
                field = operation["path"].removeprefix("/status/")
                if operation["op"] == "add":
                    self.status[field] = operation["value"]
                else:
                    del self.status[field]
        elif self.refusals:
            raise self.refusals.pop(0)
        else:
            self.events.append(body["reason"])
            self.names.append(body["metadata"]["name"])
        return b"{}"


def reporter(server: Server, generation: int = 1) -> ResourceReporter:
    """Of an operator that starts: it knows the status that the run has."""
    return ResourceReporter(cast(ClusterClient, server), RUN, lambda: generation, dict(server.status))


def succeeded(server: Server) -> str:
    """The status of the condition."""
    return next(each["status"] for each in server.status["conditions"] if each["type"] == "Succeeded")


async def short(telling: ResourceReporter, end: Snapshot) -> None:
    """A run that ends before anything of it is told."""
    telling.progressed(end)
    await telling.finished(end)


async def test_an_event_that_is_refused_does_not_hold_up_the_end() -> None:
    server = Server(ApiError(403, "Forbidden", "events is forbidden"))
    await asyncio.wait_for(short(reporter(server), at(Progress(), children=3)), 60)
    assert (server.patches, server.events) == (1, [Reason.PLANNED])


class Slow(Server):
    """A patch takes effect after a second, also when whoever sent it has gone away."""

    async def request(self, method: str, path: str, body: Any = None, *args: Any, **options: Any) -> bytes:
        if method == "PATCH" and not self.patches:
            self.patches += 1
            self.late = asyncio.create_task(self._later(method, path, body))
            await asyncio.shield(self.late)
            return b"{}"
        return await super().request(method, path, body, *args, **options)

    async def _later(self, method: str, path: str, body: Any) -> None:
        await asyncio.sleep(1.0)
        await super().request(method, path, body)


async def test_a_status_that_is_on_its_way_does_not_come_behind_the_end() -> None:
    """Measured on a real API server: one in some hundreds of those that were cut off did."""
    server = Slow()
    telling = reporter(server)
    telling.progressed(at(Progress(), children=3))
    await asyncio.sleep(0.5)
    end = Progress().with_records([Opened("w", 1.0), Verdict(RunStatus.SUCCEEDED, 5.0), Exported(6.0, 3)])
    await asyncio.wait_for(telling.finished(at(end, children=3)), 60)
    await server.late
    assert succeeded(server) == "True"


NAMED = {"name": RUN.name}


class Absent(Server):
    """Answers the next patches and looks with `answers`: 404, with these details, or what the run is."""

    def __init__(self, patches: list[dict[str, Any]], looks: list[dict[str, Any] | bytes]) -> None:
        super().__init__()
        self.answers: dict[str, list[Any]] = {"PATCH": patches, "GET": looks}

    async def request(self, method: str, path: str, body: Any = None, *args: Any, **options: Any) -> bytes:
        answer = self.answers[method].pop(0) if self.answers.get(method) else b""
        if isinstance(answer, dict):
            raise ApiError(404, "NotFound", "not found", details=answer)
        return answer or await super().request(method, path, body, *args, **options)


THERE, ANOTHER = (json.dumps({"metadata": {"name": RUN.name, "uid": uid}}).encode() for uid in (RUN.uid, "another"))
GONE = [
    pytest.param(Absent([NAMED], [NAMED]), True, id="neither status nor run is there: it is gone"),
    pytest.param(Absent([NAMED], [ANOTHER]), True, id="another run has the name: it is gone"),
    pytest.param(Absent([NAMED], [THERE]), False, id="the run is there: the CRD lacks the status for a while"),
    pytest.param(Absent([{}], [{}]), False, id="the kind is not served for a while"),
    pytest.param(Absent([NAMED], [{}]), False, id="the kind is not served any more when the run is looked for"),
]


@pytest.mark.parametrize(("server", "gone"), GONE)
async def test_a_run_is_gone_when_the_api_server_has_no_such_run(server: Absent, gone: bool) -> None:
    """Else its end is told until it is taken: nobody else would ever tell it."""
    told: list[bool] = []
    telling = ResourceReporter(cast(ClusterClient, server), RUN, lambda: 1, {}, gone=lambda: told.append(True))
    end = Progress().with_records([Opened("w", 1.0), Verdict(RunStatus.SUCCEEDED, 5.0), Exported(6.0, 3)])
    await asyncio.wait_for(telling.finished(at(end, children=3)), 60)
    assert (bool(told), bool(server.patches)) == (gone, not gone)
    assert gone or succeeded(server) == "True"


async def test_an_event_that_cannot_be_taken_now_is_told_later_and_counted_once() -> None:
    server = Server(*[ApiError(503, "", "starting")] * 100)
    await asyncio.wait_for(short(reporter(server), at(Progress(), children=3)), 600)
    assert server.events == [Reason.STARTED, Reason.PLANNED]


async def test_the_names_of_events_sort_as_the_run_goes() -> None:
    """`kubectl describe` knows no better order: events of events.k8s.io/v1 have no last timestamp."""
    server = Server()
    failed = Outcome(0, 1, ChildStatus.FAILED, failure=Failure("Oops", "because"))
    verdict = Verdict(RunStatus.FAILED, 5.0, Failure("States.ExceedToleratedFailureThreshold", "too many"))
    progress = Progress().with_records([Opened("w", 1.0), failed, verdict, Exported(6.0, 3)])
    await asyncio.wait_for(short(reporter(server), at(progress, children=3)), 60)
    assert server.events[:2] == [Reason.STARTED, Reason.PLANNED]
    assert len(server.events) >= 4
    assert server.names == sorted(server.names)


async def test_a_status_that_cannot_be_made_does_not_silence_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    server, render = Server(), rendering.render

    def broken_once(*args: Any) -> dict[str, Any]:
        monkeypatch.setattr(rendering, "render", render)
        raise RecursionError

    monkeypatch.setattr(rendering, "render", broken_once)
    telling = reporter(server)
    telling.progressed(at(Progress(), children=3))
    await asyncio.sleep(10)
    await telling.close()
    assert server.patches == 1


ROUND: list[Record] = [Opened("w", 1.0), Outcome(0, 1, ChildStatus.FAILED, failure=Failure("Oops", "because"))]
END: list[Record] = [Verdict(RunStatus.FAILED, 5.0, Failure("Oops", "too many")), Exported(6.0, 3, Raw(b"[]"))]
AGAIN = Redriven(1, 9.0, {ChildStatus.FAILED: Redo("0", 1)})


def look(*records: Record, **spec: Any) -> Snapshot:
    """A look at a run of three children with these records, under a spec with these fields."""
    seen = at(Progress().with_records(records), children=3)
    return msgspec.structs.replace(seen, spec=msgspec.structs.replace(seen.spec, **spec))


async def driven(telling: ResourceReporter, *looks: Snapshot) -> None:
    """What an engine tells: looks at a run on its way, and the last one as its end."""
    for each in looks[:-1]:
        telling.progressed(each)
        await asyncio.sleep(5)
    await telling.finished(looks[-1])


async def test_a_redrive_takes_the_end_away_and_its_own_end_is_told_as_well() -> None:
    server = Server()
    telling = reporter(server)
    await driven(telling, look(*ROUND), look(*ROUND, *END))
    assert {"completionTime", "output"} <= server.status.keys()
    assert succeeded(server) == "False"
    started = server.status["startTime"]
    telling.progressed(look(*ROUND, *END, AGAIN))
    await asyncio.sleep(5)
    assert server.status.keys().isdisjoint({"completionTime", "output"})
    assert (succeeded(server), server.status["redriveCount"], server.status["startTime"]) == ("Unknown", 1, started)
    await telling.finished(look(*ROUND, *END, AGAIN, *END))
    assert {"completionTime", "output", "redriveTime"} <= server.status.keys()
    ends = [each for each in server.events if each == Reason.RUNTIME_ERROR]
    assert (len(ends), len(set(server.names))) == (2, len(server.names))
    assert server.names == sorted(server.names)


async def test_an_ended_run_in_which_nothing_is_to_be_redriven_is_told_with_its_new_generation() -> None:
    server = Server()
    done: list[Record] = [Opened("w", 1.0), *(Outcome(child, 1, ChildStatus.SUCCEEDED) for child in range(3))]
    end = look(*done, Verdict(RunStatus.SUCCEEDED, 5.0), Exported(6.0, 3))
    await driven(reporter(server), look(*done), end)
    told = len(server.events)
    asked = msgspec.structs.replace(end, spec=msgspec.structs.replace(end.spec, redrives=1))
    await reporter(server, generation=2).finished(asked)
    assert server.events[told:] == [Reason.SUCCEEDED, Reason.NOT_REDRIVABLE]
    assert len(set(server.names)) == len(server.names) - 1, "the end has the name that it had"
    assert (server.status["observedGeneration"], succeeded(server)) == (2, "True")


async def test_an_edit_that_comes_while_an_ended_run_is_looked_at_is_not_taken_for_one_that_was_looked_at() -> None:
    server, generation = Server(), [2]
    done: list[Record] = [Opened("w", 1.0), *(Outcome(child, 1, ChildStatus.SUCCEEDED) for child in range(3))]
    end = look(*done, Verdict(RunStatus.SUCCEEDED, 5.0), Exported(6.0, 3))
    telling = ResourceReporter(cast(ClusterClient, server), RUN, lambda: generation[0], {})
    telling.begins()
    generation[0] = 3
    await telling.finished(end)
    assert server.status["observedGeneration"] == 2


async def test_a_run_that_was_refused_and_is_tried_again_has_no_end_while_it_waits_and_another_one_then() -> None:
    server = Server()
    await reporter(server).refused(Reason.INVALID_JOB_TEMPLATE, "spec.itemProcessor: bad")
    assert ("completionTime" in server.status, succeeded(server)) == (True, "False")
    again = reporter(server, generation=2)
    await again.waits(Reason.SECRET_NOT_FOUND, "there is no Secret")
    assert ("completionTime" in server.status, succeeded(server)) == (False, "Unknown")
    await again.refused(Reason.INVALID_JOB_TEMPLATE, "spec.itemProcessor: bad")
    assert ("completionTime" in server.status, succeeded(server)) == (True, "False")
    assert server.events == [Reason.INVALID_JOB_TEMPLATE, Reason.SECRET_NOT_FOUND, Reason.INVALID_JOB_TEMPLATE]
    assert len(set(server.names)) == 3


async def test_a_run_that_was_refused_and_starts_now_has_no_end() -> None:
    server = Server()
    await reporter(server).refused(Reason.CREDENTIALS_NOT_SHARED, "not shared")
    telling = reporter(server, generation=2)
    telling.progressed(look(*ROUND))
    await asyncio.sleep(5)
    await telling.close()
    assert ("completionTime" in server.status, succeeded(server)) == (False, "Unknown")


async def test_a_run_that_waits_keeps_its_other_conditions() -> None:
    server = Server()
    telling = reporter(server)
    telling.progressed(look(*ROUND, Suspended(3.0, True)))
    await asyncio.sleep(5)
    await telling.waits(Reason.SECRET_NOT_FOUND, "there is no Secret")
    await telling.close()
    assert [each["type"] for each in server.status["conditions"]] == ["Succeeded", "Suspended"]


async def test_each_change_of_a_limit_is_told_also_when_it_goes_back_and_forth() -> None:
    server, generations = Server(), iter(range(1, 1_000))
    telling = ResourceReporter(cast(ClusterClient, server), RUN, lambda: next(generations), {})
    for limit in (5, 9, 5, 9):
        telling.progressed(look(*ROUND, max_concurrency=limit))
        await asyncio.sleep(5)
    await telling.close()
    assert server.events.count(Reason.CONCURRENCY_CHANGED) == 3
    assert len(set(server.names)) == len(server.names)


async def test_redrives_that_were_wanted_from_the_beginning_are_no_question_when_all_has_succeeded() -> None:
    server = Server()
    done: list[Record] = [Opened("w", 1.0), *(Outcome(child, 1, ChildStatus.SUCCEEDED) for child in range(3))]
    end = look(*done, Verdict(RunStatus.SUCCEEDED, 5.0), Exported(6.0, 3), redrives=3)
    telling = reporter(server)
    await driven(telling, look(*done, redrives=3), end)
    patches = server.patches
    await telling.finished(end)
    assert (server.status["observedGeneration"], server.patches) == (1, patches)
    assert Reason.NOT_REDRIVABLE not in server.events


async def test_an_end_that_a_redrive_follows_is_that_of_an_earlier_generation() -> None:
    """So whoever drives the run next, after a crash too, finds that the wish was not looked at yet."""
    server = Server()
    await driven(reporter(server, generation=4), look(*ROUND, redrives=1), look(*ROUND, *END, redrives=1))
    assert server.status["observedGeneration"] == 3
