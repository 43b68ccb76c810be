"""The series of a run are there while it is supervised, through all lives of its engine, and gone however that ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from maprun import supervising
from maprun.adapters.directory import DirectoryStore
from maprun.adapters.jobs import JobsLauncher
from maprun.adapters.jobs_watch import JobsWatch
from maprun.adapters.journal import Journal
from maprun.adapters.pacing import WriteBudget
from maprun.adapters.telemetry import Telemetry
from maprun.model import API_VERSION, KIND
from maprun.preparing import Shared
from maprun.settings import OperatorSettings
from maprun.supervising import Supervisor
from tests.unit.fake_api import FakeApi, serving, until
from tests.unit.live_run import values

TEMPLATE = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}}}


class Api(FakeApi):
    """Takes every trial of a Job, and every status, until the run is `gone`."""

    gone = False
    refusing = False  # trials of Jobs, as a policy that is new does

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "/mapruns/" in request.path and self.gone:
            told = {"kind": "Status", "reason": "NotFound", "message": "run not found", "details": {"name": "run"}}
            return web.json_response(told | {"code": 404}, status=404)
        if "dryRun" in request.query and self.refusing:
            refusal = {"kind": "Status", "reason": "Invalid", "message": "a policy", "code": 422}
            return web.json_response(refusal, status=422)
        if "/mapruns/" in request.path or "dryRun" in request.query:
            return web.json_response({})
        return await super().answer(request)


class Operator:
    """The parts of an operator around one run, `supervising` it in the background."""

    def __init__(self, api: Api, shared: Shared, registry: CollectorRegistry) -> None:
        self.api, self.registry = api, registry
        self.home = Path(shared.settings.state.removeprefix("file://")) / "default" / "run-0f9c"
        self._shared = shared

    def supervise(self, template: dict[str, Any] = TEMPLATE, **status: Any) -> None:
        spec = {"input": [1, 2], "maxConcurrency": 1, "itemProcessor": {"jobTemplate": template}}
        metadata = {"namespace": "default", "name": "run", "uid": "0f9c", "creationTimestamp": "2026-09-23T22:58:45Z"}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {**metadata, "generation": 1}, "spec": spec}
        body["status"] = status
        self.supervisor = Supervisor(self._shared, body)
        self.supervising = asyncio.create_task(self.supervisor.run())

    def value(self, name: str, *labels: str) -> float:
        """A series of the run's namespace, or of the operator; 0 before it is there."""
        return values(self.registry, f"maprun_{name}").get(labels, 0.0)

    @property
    def shown(self) -> bool:
        """True while there are series of the run."""
        return b'name="run"' in generate_latest(self.registry)

    @property
    def waiting(self) -> dict[tuple[str, ...], float]:
        return values(self.registry, "maprun_map_runs_waiting")

    async def ends(self) -> None:
        async with asyncio.timeout(20):
            await self.supervising


@pytest.fixture
async def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operator]:
    monkeypatch.setattr(supervising, "RESTART_SECONDS", (0.2, 0.2))
    async with _operator(tmp_path) as made:
        yield made


@asynccontextmanager
async def _operator(folder: Path) -> AsyncIterator[Operator]:
    api, registry = Api(), CollectorRegistry()
    telemetry = Telemetry(registry)
    async with serving(api, telemetry.health) as client:
        watch = JobsWatch(client, (), telemetry.health)
        await watch.start()
        settings = OperatorSettings(state=f"file://{folder}/state")
        made = Operator(api, Shared(settings, client, watch, WriteBudget(), telemetry), registry)
        yield made
        made.supervising.cancel()
        await asyncio.gather(made.supervising, return_exceptions=True)
        assert not made.shown
        assert made.value("map_runs_open", "default") == 0
        await watch.close()


async def test_a_run_that_goes_well(operator: Operator) -> None:
    operator.supervise()
    for job in ("run-0-1", "run-1-1"):
        await until(lambda job=job: operator.api.jobs() == [job], 20)
        assert operator.shown
        assert operator.value("map_runs_open", "default") == 1
        await operator.api.succeed(job)
    await operator.ends()
    assert not operator.shown
    assert operator.value("map_runs_finished_total", "default", "succeeded") == 1
    assert operator.value("run_restarts_total") == 0


async def test_a_run_that_is_refused_before_it_starts_is_never_shown_nor_counted(operator: Operator) -> None:
    operator.supervise({"spec": {"completions": 2}})
    await operator.ends()
    assert "POST events" in operator.api.calls, "its end was told"
    assert not operator.shown
    assert sum(values(operator.registry, "maprun_map_runs_finished_total").values()) == 0


async def test_a_run_that_another_operator_took_over(operator: Operator) -> None:
    operator.supervise()
    await until(lambda: operator.shown and operator.api.jobs() == ["run-0-1"], 20)
    other = Journal(DirectoryStore(operator.home))
    _ = [records async for records in other.open("other", 1.0)]
    await operator.api.succeed("run-0-1")
    await operator.ends()
    await other.close()
    assert not operator.shown
    assert sum(values(operator.registry, "maprun_map_runs_finished_total").values()) == 0


async def test_a_run_whose_engine_breaks_stays_open_with_its_last_progress(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[JobsLauncher] = []  # the engine of the first life

    class Breaking(JobsLauncher):
        def observe(self) -> Any:
            if operator.api.jobs() == ["run-1-1"] and broken in ([], [self]):
                broken[:] = [self]
                raise ValueError("defect")
            return super().observe()

    monkeypatch.setattr(supervising, "JobsLauncher", Breaking)
    operator.supervise()
    await until(lambda: operator.api.jobs() == ["run-0-1"], 20)
    await operator.api.succeed("run-0-1")
    await until(lambda: operator.value("run_restarts_total") == 1, 20)
    moved = operator.value("run_last_progress_timestamp_seconds", "run", "default")
    assert moved > 0
    assert operator.value("map_runs_open", "default") == 1
    assert operator.value("items", "run", "default", "succeeded") == 1
    await until(lambda: operator.supervisor._engine is not None, 20)
    assert operator.value("run_last_progress_timestamp_seconds", "run", "default") == moved
    await operator.api.succeed("run-1-1")
    await operator.ends()
    assert operator.value("map_runs_finished_total", "default", "succeeded") == 1


async def test_a_run_whose_state_lies_elsewhere_waits_and_starts_nothing_again(operator: Operator) -> None:
    operator.supervise(startTime="2026-09-23T22:58:46Z")
    await until(lambda: operator.waiting == {("default", "StoreUnavailable"): 1.0}, 20)
    assert not operator.home.exists()
    assert operator.api.jobs() == []
    operator.supervising.cancel()
    await asyncio.gather(operator.supervising, return_exceptions=True)
    assert operator.waiting == {}


async def test_an_operator_that_stops_shows_nothing_more(operator: Operator) -> None:
    operator.supervise()
    await until(lambda: operator.shown, 20)
    operator.supervising.cancel()
    await asyncio.gather(operator.supervising, return_exceptions=True)
    assert not operator.shown
