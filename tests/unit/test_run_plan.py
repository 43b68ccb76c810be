"""The plan of a run in the engine's hands: its process is started in its turn, and again until the plan is whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maprun import run_state
from maprun.adapters.directory import DirectoryStore
from maprun.adapters.plan_writer import PlanWriter
from maprun.adapters.plans import PlanReader
from maprun.adapters.turns import Turns
from maprun.core.scheduling import PlanView
from maprun.errors import Failure, Fenced, StoreUnavailable
from maprun.model import MapRunSpec
from maprun.planning import PlannerDied, PlanRequest
from maprun.ports import Allowance, Unlimited
from maprun.records import PlanSeal
from maprun.run_state import SOON, PlannedCapacity, RunPlan

REQUEST = PlanRequest("file:///none", msgspec.convert({"itemProcessor": {"jobTemplate": {}}}, MapRunSpec), {})
GROWING = PlanView(1, 1)
WHOLE = PlanView(2, 2, PlanSeal(2, 2, 1))


@pytest.mark.looptime
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(PlannerDied("killed"), id="it was killed"),
        pytest.param(Fenced("plan/000001 was written"), id="an earlier one of ours was still writing"),
    ],
)
async def test_reading_is_started_again_when(end: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lives: list[list[PlanView | Exception]] = [[end], [GROWING, end], [GROWING, WHOLE]]

    class Process:
        def __init__(self, observer: object) -> None: ...

        async def run(self, request: PlanRequest) -> AsyncGenerator[PlanView]:
            for step in lives.pop(0):
                if isinstance(step, Exception):
                    raise step
                yield step

    monkeypatch.setattr(run_state, "PlannerProcess", Process)
    told: list[str] = []
    plan = RunPlan(PlanReader(DirectoryStore(tmp_path)), REQUEST, (told.append, lambda _: None))
    async with aclosing(plan.views()) as views:
        assert [view async for view in views] == [PlanView(), GROWING, GROWING, WHOLE]
    again = f"reading the dataset is started again: {end}"
    assert told == [again, "", again, ""]


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("lives", "ended"),
    [
        pytest.param([[]] * 4 + [[GROWING]] * 4 + [[WHOLE]], "", id="each time a little further: it goes on"),
        pytest.param([[]] * 5, "ended 5 times in a row at the same place: killed", id="never further: the run fails"),
    ],
)
async def test_a_process_that_dies_again_and_again(
    lives: list[list[PlanView]], ended: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = list(lives)

    class Process:
        def __init__(self, observer: object) -> None: ...

        async def run(self, request: PlanRequest) -> AsyncGenerator[PlanView]:
            for step in left.pop(0):
                yield step
            raise PlannerDied("killed")

    monkeypatch.setattr(run_state, "PlannerProcess", Process)
    plan = RunPlan(PlanReader(DirectoryStore(tmp_path)), REQUEST, (lambda _: None, lambda _: None))
    async with aclosing(plan.views()) as views:
        *_, last = [view async for view in views]
    assert left == []
    assert ended in (last.failure.cause if last.failure else "")
    assert bool(last.seal) is not bool(ended)


async def test_a_redrive_asks_for_its_own_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before stays, the failure of the round before does not, and the process goes on there."""
    asked: list[tuple[int, int]] = []

    class Process:
        def __init__(self, observer: object) -> None: ...

        async def run(self, request: PlanRequest) -> AsyncGenerator[PlanView]:
            asked.append((request.redrive, request.plan))
            yield WHOLE

    monkeypatch.setattr(run_state, "PlannerProcess", Process)
    store = DirectoryStore(tmp_path)
    writer = PlanWriter(store)
    writer.add(1, b"1", "")
    writer.fail(Failure("States.ItemReaderFailed", "no permission"))
    plan = RunPlan(PlanReader(store), REQUEST, (lambda _: None, lambda _: None))
    for redrive, anew, before in ((0, 0, writer.view), (1, 0, GROWING), (2, 2, PlanView())):
        plan.enter(redrive, anew)
        async with aclosing(plan.views()) as views:
            assert await anext(views) == before
            assert [view async for view in views] == ([] if before.failure else [WHOLE])
    assert asked == [(1, 0), (2, 2)]


async def test_reading_batches_does_not_take_back_what_planning_waits_for(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    writer = PlanWriter(store)
    writer.add(1, b"1", "")
    writer.seal()
    told: dict[str, list[str]] = {"planning": [], "reading": []}
    plan = RunPlan(PlanReader(store), REQUEST, (told["planning"].append, told["reading"].append))
    assert [batch.index for batch in await plan.batches([0])] == [0]
    assert told == {"planning": [], "reading": [""]}


AWAY = StoreUnavailable("bucket data: cannot connect")


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread takes its time in the real clock, while the one of the test would run ahead."""

    async def at_once(call: Callable[[], Any]) -> Any:
        return call()

    monkeypatch.setattr(asyncio, "to_thread", at_once)


class Processes:
    """In place of planning processes: when each began and ended, and what it does, by the store of its run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **lives: list[list[PlanView | Exception]]) -> None:
        self.lives = lives
        self.live = 0
        self.most = 0
        self.began: list[tuple[str, float]] = []

        def process(observer: object) -> Processes:
            return self

        monkeypatch.setattr(run_state, "PlannerProcess", process)

    async def run(self, request: PlanRequest) -> AsyncGenerator[PlanView]:
        self.began.append((request.store, asyncio.get_running_loop().time()))
        self.live += 1
        self.most = max(self.most, self.live)
        try:
            for step in self.lives[request.store].pop(0):
                await asyncio.sleep(SOON / 10)
                if isinstance(step, Exception):
                    raise step
                yield step
                if step.seal:
                    return
            await asyncio.Event().wait()  # it hangs
        finally:
            self.live -= 1


class Planned:
    """A run's plan, followed as an engine does it."""

    def __init__(self, folder: Path, turns: Turns, name: str) -> None:
        self.told: list[str] = []
        request = msgspec.structs.replace(REQUEST, store=name)
        reader, trouble = PlanReader(DirectoryStore(folder / name)), (self.told.append, lambda _: None)
        self.plan = RunPlan(reader, request, trouble, turns=turns, namespace=name[0])
        self.following = asyncio.create_task(self._follow())

    async def _follow(self) -> list[PlanView]:
        async with aclosing(self.plan.views()) as views:
            return [view async for view in views]

    async def stop(self) -> None:
        self.following.cancel()
        await asyncio.gather(self.following, return_exceptions=True)


@pytest.mark.usefixtures("no_threads")
@pytest.mark.looptime
async def test_a_store_that_is_away_is_waited_for_without_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pauses grow while nothing moves, up to a minute; the trouble is over with the next view."""
    away: list[list[PlanView | Exception]] = [[AWAY]] * 8
    processes = Processes(monkeypatch, a=[*away, [GROWING, AWAY], [WHOLE]])
    run = Planned(tmp_path, Turns(1), "a")
    assert (await run.following)[-1] == WHOLE
    times = [at for _, at in processes.began]
    pauses = [round(later - before - SOON / 10) for before, later in pairwise(times)]
    assert pauses[:-1] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pauses[-1] == round(SOON / 10) + 1, "it had got further"
    assert run.told == [str(AWAY)] * 8 + ["", str(AWAY), ""]


@pytest.mark.usefixtures("no_threads")
@pytest.mark.looptime
async def test_a_store_that_is_away_for_days_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Processes(monkeypatch, a=[[AWAY]] * 3_000 + [[WHOLE]])
    run = Planned(tmp_path, Turns(1), "a")
    assert (await run.following)[-1] == WHOLE
    assert asyncio.get_running_loop().time() > 2 * 24 * 3600


@pytest.mark.usefixtures("no_threads")
@pytest.mark.looptime
async def test_a_run_that_waits_for_its_store_leaves_its_place_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = Processes(monkeypatch, a=[[AWAY]] * 4 + [[WHOLE]], b=[[GROWING, WHOLE]])
    turns = Turns(1)
    first, second = Planned(tmp_path, turns, "a"), Planned(tmp_path, turns, "b")
    assert (await second.following)[-1] == WHOLE
    assert not first.following.done()
    assert (await first.following)[-1] == WHOLE
    assert processes.most == 1


@pytest.mark.usefixtures("no_threads")
@pytest.mark.looptime
async def test_a_run_whose_turn_does_not_come_says_so_and_goes_on_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = Processes(monkeypatch, a=[[GROWING]], b=[[WHOLE]])
    turns = Turns(1)
    hanging, waiting = Planned(tmp_path, turns, "a"), Planned(tmp_path, turns, "b")
    capacity = PlannedCapacity(Unlimited(), waiting.plan)
    await asyncio.sleep(SOON * 0.9)
    assert capacity.ask(0, 3) == Allowance(3)
    await asyncio.sleep(SOON * 0.2)
    told = "waits for its turn to read the dataset: all runs share 1 places for that"
    assert capacity.ask(0, 3) == Allowance(3, told)
    assert (hanging.plan.waiting, waiting.told) == ("", [])
    await hanging.stop()
    assert (await waiting.following)[-1] == WHOLE
    assert capacity.ask(0, 3) == Allowance(3)
    assert (processes.live, processes.most) == (0, 1)


@pytest.mark.usefixtures("no_threads")
@pytest.mark.looptime
async def test_a_run_in_trouble_goes_on_telling_it_while_it_waits_for_its_next_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is not taken for one that rests, which no alert would be raised for."""
    Processes(monkeypatch, a=[[AWAY]], b=[[GROWING]])
    turns = Turns(1)
    troubled, hanging = Planned(tmp_path, turns, "a"), Planned(tmp_path, turns, "b")
    await asyncio.sleep(SOON * 3)
    assert (troubled.plan.waiting, troubled.told) == ("", [str(AWAY)])
    await troubled.stop()
    await hanging.stop()


@pytest.mark.usefixtures("no_threads")
@pytest.mark.looptime
async def test_a_run_that_is_stopped_while_it_waits_is_gone_at_once_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = Processes(monkeypatch, a=[[GROWING, WHOLE]], b=[], c=[[WHOLE]])
    turns = Turns(1)
    runs = [Planned(tmp_path, turns, name) for name in "abc"]
    await asyncio.sleep(SOON / 20)
    await runs[1].stop()
    assert [(await runs[each].following)[-1] for each in (0, 2)] == [WHOLE, WHOLE]
    await asyncio.sleep(SOON)
    assert runs[1].plan.waiting == ""
    assert [name for name, _ in processes.began] == ["a", "c"]


async def test_a_bound_of_both_kinds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Unlimited):
        def ask(self, live: int, wanted: int) -> Allowance:
            return Allowance(live, "no room")

    plan = RunPlan(PlanReader(DirectoryStore(tmp_path)), REQUEST, (lambda _: None, lambda _: None))
    monkeypatch.setattr(RunPlan, "waiting", "no turn")
    assert PlannedCapacity(Full(), plan).ask(1, 3) == Allowance(1, "no room; no turn")
