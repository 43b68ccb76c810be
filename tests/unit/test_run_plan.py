"""The plan of a run in the engine's hands: its process is started again until the plan is whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from maprun import run_state
from maprun.adapters.directory import DirectoryStore
from maprun.adapters.plan_writer import PlanWriter
from maprun.adapters.plans import PlanReader
from maprun.core.scheduling import PlanView
from maprun.errors import Failure, Fenced
from maprun.model import MapRunSpec
from maprun.planning import PlannerDied, PlanRequest
from maprun.records import PlanSeal
from maprun.run_state import RunPlan

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
        def __init__(self, on_trouble: object, observer: object) -> None: ...

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
        def __init__(self, on_trouble: object, observer: object) -> None: ...

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
        def __init__(self, on_trouble: object, observer: object) -> None: ...

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
