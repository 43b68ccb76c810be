"""Crashes in the middle of what an owner does to a run: redrive, abort, suspend."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from maprun.adapters.stores import open_store
from tests.adapters.operator_runs import Json, Run, condition, until
from tests.faults.parts import ENDS_SECONDS, Parts, redriven
from tests.faults.proxy import Hushed, Rule
from tests.faults.scenarios import scenario

FAILING: Final = {"failing-attempts": "1", "message": '{"done":true}', "duration": "0.3s"}
HANGING: Final = {"outcome": "hang"}
TOLERANT: Final = {"toleratedFailurePercentage": "100", "processor": {}}
LIVE: Final = 15


def running(count: int) -> object:
    """True of the status of a run of which so many children run."""
    return lambda status: status.get("itemCounts", {}).get("running") == count


async def aborted(run: Run) -> None:
    """Abort it while the first children hang."""
    await run.until(running(LIVE), ENDS_SECONDS)
    await run.change(abort=True)


@scenario("crashes in the middle of a redrive")
async def test_crashes_in_a_redrive(parts: Parts, tmp_path: Path) -> None:
    """All children fail in the first round, which tolerates it, and succeed in the redrive."""
    like = await parts.undisturbed(tmp_path, pod=FAILING, story=redriven, **TOLERANT)
    async with parts.stage(tmp_path, "redrive", state="S3") as at:
        await at.ready()
        run = await at.create(pod=FAILING, **TOLERANT)
        await run.ended(ENDS_SECONDS)
        at.operator.kill()
        await run.change(redrives=1)
        await at.crash(15, 16, 7, 8, 10, 11, 12, 13, 14)
        at.operator.start()
        await run.until(lambda status: status["redriveCount"] == 1)
        status = await at.proved(run, like)
        assert status["itemCounts"]["succeeded"] == status["itemCounts"]["total"]


@scenario("crashes in the middle of an abort")
async def test_crashes_in_an_abort(parts: Parts, tmp_path: Path) -> None:
    fields: Json = {"maxConcurrency": LIVE}
    like = await parts.undisturbed(tmp_path, pod=HANGING, story=aborted, well=False, **fields)
    async with parts.stage(tmp_path, "abort", state="S3") as at:
        await at.ready()
        run = await at.create(pod=HANGING, **fields)
        await run.until(running(LIVE), ENDS_SECONDS)
        at.operator.kill()
        await run.change(abort=True)
        await at.crash(10, 17, 11, 12, 13)
        at.operator.start()
        status = await at.proved(run, like, well=False)
        assert condition(status)["reason"] == "Aborted"
        assert status["itemCounts"]["aborted"] == LIVE


@scenario("crashes while a run is suspended and resumed")
async def test_crashes_around_a_suspension(parts: Parts, tmp_path: Path) -> None:
    like = await parts.undisturbed(tmp_path)
    async with parts.stage(tmp_path, "suspend", state="S3") as at:
        await at.ready()
        run = await at.create(maxConcurrency=LIVE)
        await at.some(run)
        at.operator.kill()
        await run.change(suspend=True)
        await at.crash(18, 4)
        at.operator.start()
        await run.until(running(0))
        at.operator.kill()
        await run.change(suspend=False)
        await at.crash(18, 7)
        at.operator.start()
        await at.proved(run, like)


@scenario("a run is deleted, and no watch tells")
async def test_a_deletion_is_not_seen(parts: Parts, tmp_path: Path) -> None:
    async with parts.stage(tmp_path, "unseen", api=parts.api) as at:
        silent = Rule(Hushed(0), "GET", "mapruns.*watch=(1|true)")
        parts.api.add(silent)
        run = await at.create(pod=HANGING, maxConcurrency=LIVE)  # listed when the operator starts
        await at.ready()
        await run.until(running(LIVE), ENDS_SECONDS)
        assert "finalizers" not in (await run.get())["metadata"]
        store = open_store(f"{at.state}/{at.space.name}")
        assert [*store.folders()] == [f"{run.name}-{run.uid}/"]
        await run.delete()

        async def nothing_is_left() -> bool:
            return not at.jobs.live(run) and not at.pods.live(run) and not [*store.list()]

        await until(nothing_is_left, ENDS_SECONDS, lambda: at.operator.log)
        assert silent.met
        assert at.operator.alive
        assert "was deleted, as its status tells" in at.operator.log
        assert "Traceback" not in at.operator.log
