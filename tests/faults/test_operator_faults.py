"""Faults of the operator itself: it is killed, stopped, replaced, starved of memory, and its clock jumps."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Final

import pytest

from tests.adapters.operator_runs import verdict
from tests.cluster import machine
from tests.cluster.paths import Unavailable
from tests.faults.fuses import LIFE
from tests.faults.memory import Memory
from tests.faults.parts import Parts
from tests.faults.scenarios import scenario

KILLS: Final = 50
MANY: Final = 500
LIVES: Final = (0.6, 2.4)  # shortest and longest time from an operator's start to its end, in seconds
DAY: Final = 86_400
STOP_SECONDS: Final = 10.0


@scenario("SIGKILL behind each numbered step of the engine")
async def test_crashes_behind_each_step(parts: Parts, tmp_path: Path) -> None:
    like = await parts.undisturbed(tmp_path)
    async with parts.stage(tmp_path, "each-step", state="S3") as at:
        run = await at.create(maxConcurrency=20)
        await at.crash(*LIFE)
        at.operator.start()
        await at.proved(run, like)


@scenario("SIGKILL at 50 random moments of one run")
async def test_crashes_at_random(parts: Parts, tmp_path: Path) -> None:
    rng = random.Random("fifty crashes")
    like = await parts.undisturbed(tmp_path, MANY)
    async with parts.stage(tmp_path, "fifty-crashes", state="S3") as at:
        run = await at.create(MANY, maxConcurrency=10)
        for _ in range(KILLS):
            at.operator.start()
            await asyncio.sleep(rng.uniform(*LIVES))
            at.operator.kill()
        assert verdict(await run.status()) in ("", "Unknown"), "the run ended before the last crash"
        await run.change(maxConcurrency=100)
        at.operator.start()
        await at.proved(run, like, MANY)


@scenario("SIGTERM in a rolling update of two replicas")
async def test_rolling_updates(parts: Parts, tmp_path: Path) -> None:
    like = await parts.undisturbed(tmp_path)
    lease = "--lease=faults-rolling/operator"
    async with parts.stage(tmp_path, "rolling", state="S3", options=[lease]) as at:
        run = await at.create(maxConcurrency=5)
        await at.ready()
        for replica in range(3):
            await at.some(run, 2 + 5 * replica)
            folder = tmp_path / f"replica-{replica}"
            folder.mkdir()
            old, at.operator = at.operator, at.operator.twin(folder)
            at.on_exit(at.operator.kill)
            await at.ready()
            assert await asyncio.to_thread(old.terminate) < STOP_SECONDS
            assert old.exit_code == 0
        await at.proved(run, like)


@scenario("the operator is out of memory")
async def test_out_of_memory(parts: Parts, tmp_path: Path) -> None:
    try:
        machine.require_root()
    except Unavailable as error:
        pytest.skip(f"needs a memory limit: {error}")
    like = await parts.undisturbed(tmp_path)
    async with parts.stage(tmp_path, "out-of-memory") as at:
        run = await at.create(maxConcurrency=15)
        for life in (1, 2):
            at.operator.start()
            with Memory(f"maprun-faults-{at.operator.pid}") as memory:
                memory.take(at.operator.pid)
                await at.some(run, 8 * life)
                memory.exhaust()
                await at.died()
        at.operator.start()
        await at.proved(run, like)


@scenario("the clock jumps a day forward")
async def test_the_clock_jumps_forward(parts: Parts, tmp_path: Path) -> None:
    """While it works, and once more between two lives."""
    await _with_clock(parts, tmp_path, (DAY, 2 * DAY))


@scenario("the clock is set back a day")
async def test_the_clock_is_set_back(parts: Parts, tmp_path: Path) -> None:
    await _with_clock(parts, tmp_path, (-DAY, -2 * DAY))


async def _with_clock(parts: Parts, folder: Path, offsets: tuple[int, int]) -> None:
    """A run whose operator's clock is off by the first number of seconds from its middle on, and by the second one
    from its next life on.
    """
    like = await parts.undisturbed(folder)
    wrong = folder / "clock"
    wrong.write_text("0")
    async with parts.stage(folder, f"clock-{abs(offsets[0])}-{offsets[0] < 0}".lower()) as at:
        at.operator.fault = {"FAULT_CLOCK": str(wrong)}
        run = await at.create(maxConcurrency=10)
        await at.ready()
        await at.some(run, 5)
        wrong.write_text(str(offsets[0]))
        await at.some(run, 20)
        at.operator.kill()
        wrong.write_text(str(offsets[1]))
        await at.ready()
        await at.proved(run, like)
