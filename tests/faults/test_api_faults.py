"""Faults of the API server, of etcd, and of the way to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.faults.parts import Parts
from tests.faults.proxy import CutBody, Hushed, LostAnswer, Rule, api_error, watch_error
from tests.faults.scenarios import row, scenario

JOBS: Final = "/jobs"
WATCH: Final = "watch=(1|true)"
WRITES: Final = "POST|PATCH|DELETE"
OURS: Final = "mapruns|jobs|pods|secrets"
AWAY_SECONDS: Final = 4.0
SILENT_SECONDS: Final = 3.0  # so long may a watch be silent in these tests; else it would be 100

Rules = Callable[[], list[Rule]]


@pytest.mark.parametrize(
    "rules",
    [
        row(
            "the API server answers 429 with Retry-After",
            lambda: [Rule(api_error(429, "TooManyRequests", 1), WRITES, JOBS, ratio=0.3, times=10)],
        ),
        row(
            "the API server answers 500 and 503",
            lambda: [
                Rule(api_error(500, "InternalError"), "", OURS, ratio=0.1, times=60),
                Rule(api_error(503, "ServiceUnavailable"), "", OURS, ratio=0.1, times=60),
            ],
        ),
        row(
            "writes to the API server take effect, and their answers are lost",
            lambda: [Rule(LostAnswer(), WRITES, OURS, ratio=0.3, times=80)],
        ),
        row(
            "writes to the API server take effect, and time out",
            lambda: [Rule(LostAnswer(after=40), WRITES, JOBS, skip=20, times=4)],
        ),
        row(
            "watches are cut",
            lambda: [Rule(CutBody(30_000), "GET", WATCH, times=20)],
        ),
        row("watches fall silent", lambda: [Rule(Hushed(60_000), "GET", WATCH, times=4)]),
        row(
            "watches return 410 Gone",
            lambda: [
                Rule(CutBody(40_000), "GET", WATCH, times=4),
                Rule(api_error(410, "Expired"), "GET", f"(jobs|pods).*{WATCH}", times=2),
                Rule(watch_error(410, "Expired"), "GET", WATCH, times=2),
            ],
        ),
    ],
)
async def test_answers(parts: Parts, tmp_path: Path, request: pytest.FixtureRequest, rules: Rules) -> None:
    like = await parts.undisturbed(tmp_path)
    faults = rules()
    async with parts.stage(tmp_path, f"api-{request.node.callspec.indices['rules']}", api=parts.api) as at:
        at.operator.fault = {"FAULT_SILENCE": str(SILENT_SECONDS)}
        parts.api.add(*faults)
        await at.ready()
        run = await at.create()
        await at.proved(run, like)
        assert all(rule.met for rule in faults), faults


@scenario("the API server is killed and restarted")
async def test_api_server_restarts(parts: Parts, tmp_path: Path) -> None:
    like = await parts.undisturbed(tmp_path)
    async with parts.stage(tmp_path, "api-server") as at:
        await at.ready()
        run = await at.create(maxConcurrency=15)
        for after in (5, 25):
            await at.some(run, after)
            await asyncio.to_thread(parts.cluster.restart_apiserver)
        await at.proved(run, like)


@scenario("etcd is killed and restarted")
async def test_etcd_restarts(parts: Parts, tmp_path: Path) -> None:
    like = await parts.undisturbed(tmp_path)
    async with parts.stage(tmp_path, "etcd") as at:
        await at.ready()
        run = await at.create(maxConcurrency=15)
        await at.some(run)
        parts.cluster.kill("etcd")
        await asyncio.sleep(AWAY_SECONDS)
        await asyncio.to_thread(parts.cluster.start, "etcd")
        await at.proved(run, like)


@scenario("the connections to the API server are cut, and refused for a while")
async def test_connections_are_cut(parts: Parts, tmp_path: Path) -> None:
    like = await parts.undisturbed(tmp_path)
    async with parts.stage(tmp_path, "api-cut", api=parts.api_link) as at:
        await at.ready()
        run = await at.create(maxConcurrency=15)
        for after in (3, 15, 30):
            await at.some(run, after)
            with parts.api_link.down():
                await asyncio.sleep(AWAY_SECONDS)
        await at.proved(run, like)


@scenario("the connections to the API server fall silent, or are slow")
async def test_connections_are_silent(parts: Parts, tmp_path: Path) -> None:
    like = await parts.undisturbed(tmp_path)
    async with parts.stage(tmp_path, "api-silent", api=parts.api_link) as at:
        at.operator.fault = {"FAULT_SILENCE": str(SILENT_SECONDS)}
        await at.ready()
        with parts.api_link.toxic("latency", latency=150, jitter=100):
            run = await at.create(maxConcurrency=15)
            await at.some(run)
        with parts.api_link.toxic("timeout", timeout=0):
            await asyncio.sleep(AWAY_SECONDS)
        await at.proved(run, like)
