"""A run and its redrives with the real journal, plan, exporter and redriver in directories, killed at each of their
writes: the files are those of a run that nobody disturbed.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from maprun import running
from maprun.adapters import plan_writer
from maprun.adapters.directory import DirectoryStore
from maprun.adapters.journal import Journal
from maprun.adapters.plans import PlanReader
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import BucketsRef
from maprun.core.results import Names
from maprun.core.scheduling import Observation, PlanView
from maprun.core.status import Snapshot
from maprun.engine import Engine, Settings
from maprun.errors import Failure
from maprun.exporting import ResultsExporter
from maprun.model import MapRunSpec, RunRef
from maprun.planning import PlanRequest, plan_run
from maprun.ports import Allowance, Store
from maprun.records import Attempt, Batch, ChildStatus, Exported, Outcome
from maprun.redriving import JournalRedriver
from maprun.run_state import RunJournal
from tests.unit.finished_run import ABORTED, succeeded, writer
from tools.conformance.world import ThreadPlan

RUN: Final = RunRef("default", "airports", "6a1f", 0.0)
CHILDREN: Final = 6
FAILS: Final = {(1, 1), (2, 1), (2, 2), (4, 1)}  # child and how often it has run: 2 succeeds in the second redrive only
TICK: Final = 0.001  # seconds


class Killed(Exception):
    """The process ended right here."""


class Fuse:
    """Blows at a numbered step (0: never), and then at each one behind it: nothing is written by a dead process."""

    def __init__(self, fatal: int = 0) -> None:
        self.steps, self.fatal = 0, fatal

    def step(self) -> None:
        self.steps += 1
        if self.fatal and self.steps >= self.fatal:
            raise Killed


class Mortal(DirectoryStore):
    """A directory whose every write is a step before and a step after its effect."""

    def __init__(self, root: Path, fuse: Fuse) -> None:
        super().__init__(root)
        self.fuse = fuse

    def create(self, key: str, data: bytes) -> None:
        self.fuse.step()
        super().create(key, data)
        self.fuse.step()

    def write(self, key: str, chunks: Iterable[bytes], content_type: str) -> int:
        self.fuse.step()
        size = super().write(key, chunks, content_type)
        self.fuse.step()
        return size


class Children:
    """What outlives the engine: the ended attempts that exist, and how often each child was run."""

    def __init__(self) -> None:
        self.ended: dict[int, Outcome] = {}
        self.ran: Counter[int] = Counter()


class Launcher:
    """Each attempt ends at once, with times that tell which run of its child it was."""

    def __init__(self, children: Children) -> None:
        self._children, self._news = children, asyncio.Event()

    async def open(self) -> None: ...

    def observe(self) -> Observation:
        self._news.clear()
        return Observation({}, tuple(self._children.ended.values()))

    def launch(self, attempt: Attempt, batch: Batch) -> None:
        child = attempt.child
        self._children.ran[child] += 1
        times = self._children.ran[child]
        failed = (child, times) in FAILS
        self._children.ended[child] = Outcome(
            child,
            attempt.number,
            ChildStatus.FAILED if failed else ChildStatus.SUCCEEDED,
            output=msgspec.Raw(b"" if failed else b'{"n":[%d]}' % child),
            failure=Failure("Boom", "why") if failed else None,
            started=10.0 * times,
            stopped=10.0 * times + 1,
        )
        self._news.set()

    def cancel(self, attempt: Attempt) -> None: ...

    def withdraw(self, attempt: Attempt) -> None: ...

    def reap(self, attempt: Attempt) -> None:
        self._children.ended.pop(attempt.child, None)

    async def changed(self) -> None:
        await self._news.wait()

    async def close(self) -> None: ...


class Silent:
    """A reporter that tells nobody."""

    def launched(self, attempt: Attempt) -> None: ...
    def recorded(self, outcome: Outcome) -> None: ...
    def progressed(self, snapshot: Snapshot) -> None: ...
    async def finished(self, snapshot: Snapshot) -> None: ...


class Buckets:
    def __init__(self, root: Path, fuse: Fuse) -> None:
        self.root, self.fuse = root, fuse

    def bucket(self, name: str) -> Store:
        return Mortal(self.root / name, self.fuse)


def spec_of(form: dict[str, Any]) -> MapRunSpec:
    fields = {"input": list(range(CHILDREN)), "toleratedFailureCount": 9, "redrives": 2, "resultWriter": form}
    return msgspec.convert({"itemProcessor": {"jobTemplate": {}}, **fields}, MapRunSpec)


class Home:
    """The directories of one run, and its children."""

    def __init__(self, root: Path, form: dict[str, Any]) -> None:
        self.root, self.spec, self.children = root, spec_of(form), Children()
        (root / "results").mkdir(parents=True)

    async def drive(self, fuse: Fuse) -> None:
        """Life after life of the engine, until both redrives are made."""
        while (await self._engine(fuse).run()).progress.redrives < self.spec.redrives:
            pass

    @property
    def request(self) -> PlanRequest:
        """What to plan."""
        buckets = BucketsRef(root=str(self.root))
        return PlanRequest(store=(self.root / "state").as_uri(), spec=self.spec, context={}, buckets=buckets)

    def _engine(self, fuse: Fuse) -> Engine:
        store = Mortal(self.root / "state", fuse)
        journal, reader = Journal(store, flush_seconds=TICK), PlanReader(store)
        exporter = ResultsExporter(
            self.spec, Names(RUN, "local", "air"),
            history=journal.reader, plan=reader, buckets=Buckets(self.root, fuse), store=store, clock=lambda: 99.0,
        )  # fmt: skip
        return Engine(
            RUN, lambda: self.spec,
            journal=RunJournal(journal, lambda: 99.0), plan=ThreadPlan(reader, self.request),
            launcher=Launcher(self.children), exporter=exporter, redriver=JournalRedriver(journal.reader),
            reporter=Silent(), clock=lambda: 99.0, rng=random.Random(1),
            settings=Settings(ceiling=CHILDREN, tick=TICK, heartbeat=0.02),
        )  # fmt: skip

    def files(self) -> dict[str, bytes]:
        """All that lies in the bucket."""
        found = (self.root / "results").rglob("*")
        return {str(path.relative_to(self.root)): path.read_bytes() for path in found if path.is_file()}


@pytest.mark.parametrize(
    "form",
    [writer(), writer(transformation="FLATTEN", outputType="JSONL"), writer(transformation="COMPACT")],
    ids=["records", "lines", "outputs"],
)
async def test_a_run_that_was_killed_at_any_write_leaves_the_files_of_one_that_was_not(
    tmp_path: Path, form: dict[str, Any]
) -> None:
    whole = Home(tmp_path / "whole", form)
    await whole.drive(Fuse())
    wanted, ran = whole.files(), whole.children.ran
    assert ran == {0: 1, 1: 2, 2: 3, 3: 1, 4: 2, 5: 1}
    assert len([name for name in wanted if name.endswith("manifest.json")]) == 3
    fatal, killed = 0, True
    while killed:
        fatal += 1
        broken = Home(tmp_path / f"at-{fatal}", form)
        try:
            await broken.drive(Fuse(fatal))
            killed = False
        except Killed:
            await broken.drive(Fuse())
        assert broken.files() == wanted, f"killed at step {fatal}"
        assert broken.children.ran == ran, f"killed at step {fatal}"
    assert fatal > 2 * len(wanted)


async def test_a_dataset_whose_reading_an_abort_cut_off_is_read_on_by_the_redrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two children were known, and one of them done, when the run was aborted; nothing says how reading ended."""
    monkeypatch.setattr(plan_writer, "SEGMENT_BYTES", 10)
    home = Home(tmp_path, writer())

    def stop(view: PlanView) -> None:
        raise Killed

    with pytest.raises(Killed):
        plan_run(home.request, stop)
    store = DirectoryStore(tmp_path / "state")
    assert PlanReader(store).view() == PlanView(2, 2)
    journal = RunJournal(Journal(store, flush_seconds=TICK), lambda: 99.0)
    await journal.open()
    await journal.append([succeeded(0), ABORTED, Exported(99.0, 2, manifest="m", succeeded=[("first", 1)])])
    await journal.close()
    await home.drive(Fuse())
    assert home.children.ran == {1: 2, 2: 2, 3: 1, 4: 2, 5: 1}
    folder = tmp_path / "results" / "p" / "6a1f"
    first = json.loads((folder / "Redrive-1" / "SUCCEEDED_0.json").read_text())
    second = json.loads((folder / "Redrive-2" / "SUCCEEDED_0.json").read_text())
    assert [(each["Input"], each["RedriveCount"]) for each in first] == [("3", 0), ("5", 0)]
    assert [(each["Input"], each["RedriveCount"]) for each in second] == [("1", 1), ("4", 1)]
    listed = json.loads((folder / "Redrive-2" / "manifest.json").read_text())["ResultFiles"]["SUCCEEDED"]
    assert [each["Key"].partition("6a1f/")[2] for each in listed[1:]] == [
        f"Redrive-{number}/SUCCEEDED_0.json" for number in (1, 2)
    ]


class Room:
    """A `Capacity` of one child."""

    def __init__(self) -> None:
        self.closed = 0

    def ask(self, live: int, wanted: int) -> Allowance:
        return Allowance(max(live, min(wanted, 1)), "one at a time" if wanted > 1 else "")

    def close(self) -> None:
        self.closed += 1


class Most(Launcher):
    """Knows how many children there were at once."""

    peak = 0

    def launch(self, attempt: Attempt, batch: Batch) -> None:
        super().launch(attempt, batch)
        self.peak = max(self.peak, len(self._children.ended))


async def test_an_engine_is_put_together_with_its_part_of_what_all_runs_share(tmp_path: Path) -> None:
    spec, room, launcher = spec_of(writer()), Room(), Most(Children())
    (tmp_path / "results").mkdir()
    home = running.Home((tmp_path / "state").as_uri(), S3Access(), BucketsRef(root=str(tmp_path)))
    engine = running.engine_for(
        RUN, spec, lambda: spec, home, launcher, Silent(), ceiling=CHILDREN, capacity=room, tick=TICK
    )
    ended = await asyncio.wait_for(engine.run(), 60)
    assert (ended.progress.finished.children, launcher.peak, room.closed) == (CHILDREN, 1, 1)
