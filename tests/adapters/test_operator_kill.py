"""Operators that crash, stop, or are two at once: no item is lost, none runs again, the results are the same.

The children are flaky: the first attempt of each fails, the second succeeds. So every attempt that a crash lost or
repeated would show in the Jobs that were ever made, which are watched from outside.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.adapters.operator_runs import (
    Buckets,
    Json,
    Results,
    Run,
    Seen,
    Space,
    access,
    condition,
    reader,
    secret_of,
    spaces,
    spec,
    until,
    verdict,
    watching,
    writer,
)
from tests.cluster.cluster import Cluster
from tests.cluster.s3 import S3Server
from tests.faults.proof import neutral
from tests.operator_process import OperatorProcess, eventually

ITEMS: Final = 120
KILLS: Final = 6
STARTS: Final = 0.7  # so many of the operators are killed when they are at work, the others perhaps before
LIVES: Final = (0.0, 1.3)  # shortest and longest time until then, in seconds
ENDS_SECONDS: Final = 90.0
STOP_SECONDS: Final = 5.0
FLAKY: Final = {"failing-attempts": "1", "message": '{"done":true}', "duration": "0.3s"}
RETRY: Final = [{"errorEquals": ["States.ALL"], "intervalSeconds": 1, "maxAttempts": 2}]


@dataclass
class Scene:
    """A namespace of its own, the operator that is to drive it, and every Job that is ever made there."""

    space: Space
    operator: OperatorProcess
    seen: Seen
    buckets: Buckets
    server: S3Server

    async def create(self, pod: Json = FLAKY, items: int = ITEMS, **fields: object) -> Run:
        """A run over a JSON file that writes its results."""
        bucket = self.buckets.make(data=[{"n": n} for n in range(items)])
        processor = {"retry": RETRY}
        where = {"itemReader": reader(bucket, "data.json"), "resultWriter": writer(bucket), "s3": access(self.server)}
        return await self.space.create(spec(pod=pod, processor=processor, label="killed", **where, **fields))

    def results(self, status: Json) -> Results:
        return self.buckets.results(status)

    def another(self) -> OperatorProcess:
        """A second operator of the same runs, with the same state."""
        folder = self.operator.log_file.parent / "another"
        folder.mkdir()
        return self.operator.twin(folder)


@asynccontextmanager
async def scene(
    cluster: Cluster, server: S3Server, name: str, folder: Path, state: str, *, everywhere: bool = False
) -> AsyncIterator[Scene]:
    """Nothing runs yet. Live runs have a finalizer when the operator drives those of all namespaces."""
    options = [] if everywhere else [f"--namespace={name}"]
    operator = OperatorProcess(folder, cluster.kubeconfig, state, options, server)
    async with AsyncExitStack() as stack:
        (space,) = await stack.enter_async_context(spaces(cluster, name))
        await space.secret(secret_of(server))
        jobs = await stack.enter_async_context(watching(space.client, space.path("jobs", group="batch/v1")))
        buckets = stack.enter_context(closing(Buckets(server)))
        stack.callback(operator.kill)
        yield Scene(space, operator, jobs, buckets, server)
        assert "Traceback" not in operator.log
        await space.close()


def state_of(kind: str, folder: Path, server: S3Server) -> str:
    """A state URL of this kind."""
    if kind == "directory":
        return f"file://{folder}/state"
    with closing(Buckets(server)) as buckets:
        return f"s3://{buckets.make()}/some/prefix"


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The result files of a run that nobody disturbs, as `neutral` gives them."""

    async def run_it() -> dict[str, str]:
        folder = tmp_path_factory.mktemp("undisturbed")
        async with scene(cluster, server, "undisturbed", folder, state_of("directory", folder, server)) as at:
            at.operator.start().await_ready()
            run = await at.create(maxConcurrency=60)
            status = await run.ended(ENDS_SECONDS)
            assert_whole(at, run, status)
            return neutral(at.results(status), run)

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(run_it())


def assert_whole(at: Scene, run: Run, status: Json) -> None:
    """Every item ended once, in one place, in its order."""
    assert verdict(status) == "True", condition(status)
    results = at.results(status)
    records = results.records("SUCCEEDED")
    assert [record["Name"] for record in records] == [f"{run.name}-{child}" for child in range(ITEMS)]
    assert [record["Input"] for record in records] == [f'{{"n":{n}}}' for n in range(ITEMS)]
    assert results.records("FAILED") == results.records("PENDING") == []
    counted = status["itemCounts"]
    assert (counted["succeeded"], counted["total"], counted["resultsWritten"]) == (ITEMS, ITEMS, ITEMS)
    assert status["retries"] == ITEMS


def assert_each_attempt_had_one_job(at: Scene, run: Run) -> None:
    made = Counter(at.seen.created(run).values())
    assert made == {(child, attempt): 1 for child in range(ITEMS) for attempt in (1, 2)}


@pytest.mark.parametrize("kind", ["directory", "S3"])
async def test_crashes_at_any_moment_leave_no_trace(
    cluster: Cluster, server: S3Server, tmp_path: Path, undisturbed: dict[str, str], kind: str
) -> None:
    rng = random.Random(f"crashes with the state on {kind}")
    async with scene(cluster, server, f"kill-{kind.lower()}", tmp_path, state_of(kind, tmp_path, server)) as at:
        run = await at.create(maxConcurrency=40)
        for _ in range(KILLS):
            at.operator.start()
            if rng.random() < STARTS:
                at.operator.await_ready()
            await asyncio.sleep(rng.uniform(*LIVES))
            at.operator.kill()
        assert verdict(await run.status()) in ("", "Unknown"), "the run ended before the last crash"
        at.operator.start().await_ready()
        status = await run.ended(ENDS_SECONDS)
        assert_whole(at, run, status)
        assert_each_attempt_had_one_job(at, run)
        assert neutral(at.results(status), run) == undisturbed
        await until(lambda: jobless(run))


async def jobless(run: Run) -> bool:
    return not await run.jobs()


async def test_of_two_operators_one_goes_on_and_nothing_is_lost(
    cluster: Cluster, server: S3Server, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    async with scene(cluster, server, "two-operators", tmp_path, state_of("S3", tmp_path, server)) as at:
        run = await at.create(maxConcurrency=40)
        at.operator.start().await_ready()
        await run.until(lambda status: status.get("itemCounts", {}).get("succeeded", 0) > 10)
        with at.another() as other:
            status = await run.ended(ENDS_SECONDS)
            assert other.alive
        assert_whole(at, run, status)
        assert neutral(at.results(status), run) == undisturbed
        assert "leaving the run to the other operator" in at.operator.log
        assert "leaving the run to the other operator" not in other.log


async def test_an_operator_that_is_asked_to_stop_leaves_its_jobs_to_the_next(
    cluster: Cluster, server: S3Server, tmp_path: Path
) -> None:
    async with scene(cluster, server, "stopped", tmp_path, state_of("directory", tmp_path, server)) as at:
        run = await at.create(maxConcurrency=7, pod={"outcome": "hang"})
        at.operator.start().await_ready()
        await run.until(lambda status: status.get("itemCounts", {}).get("running") == 7)
        before = {each["metadata"]["uid"] for each in await run.jobs()}
        assert at.operator.terminate() < STOP_SECONDS
        assert at.operator.exit_code == 0
        assert {each["metadata"]["uid"] for each in await run.jobs()} == before
        at.operator.start().await_ready()
        await run.change(maxConcurrency=9)
        await run.until(lambda status: status["itemCounts"]["running"] == 9)
        assert before < {each["metadata"]["uid"] for each in await run.jobs()}
        assert set(Counter(at.seen.created(run).values()).values()) == {1}


@pytest.mark.parametrize("everywhere", [True, False], ids=["waits for the next", "goes at once without a finalizer"])
async def test_a_run_that_is_deleted_while_no_operator_runs(
    cluster: Cluster, server: S3Server, tmp_path: Path, everywhere: bool
) -> None:
    name, state = f"deleted-{everywhere}".lower(), state_of("directory", tmp_path, server)
    async with scene(cluster, server, name, tmp_path, state, everywhere=everywhere) as at:
        run = await at.create(maxConcurrency=3, pod={"outcome": "hang"})
        at.operator.start().await_ready()
        await run.until(lambda status: status.get("itemCounts", {}).get("running") == 3)
        at.operator.kill()
        await run.delete()
        assert await run.gone() is not everywhere
        at.operator.start()
        await until(run.gone)
        await until(lambda: jobless(run))


def test_an_operator_can_be_stopped_before_it_has_reached_anything(cluster: Cluster, tmp_path: Path) -> None:
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(cluster.kubeconfig.read_text().replace(cluster.server, "https://127.0.0.1:9"))
    operator = OperatorProcess(tmp_path, nowhere, f"file://{tmp_path}/state")
    try:
        operator.start()
        eventually(lambda: operator.get("/healthz")[0] == 200)
        assert operator.get("/readyz")[0] == 503
        assert operator.terminate() < STOP_SECONDS
        assert operator.exit_code == 0
    finally:
        operator.kill()
