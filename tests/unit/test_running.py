"""How a run is put together: its journal with snapshots, its frozen spec, and a store that can keep operators apart."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maprun.adapters.directory import DirectoryStore
from maprun.adapters.journal import Journal
from maprun.adapters.plan_writer import PlanWriter
from maprun.adapters.plans import Round
from maprun.core import progress
from maprun.core.progress import Progress
from maprun.errors import Failure, RunFailed, StoreError
from maprun.model import MUTABLE, MapRunSpec, RunRef
from maprun.records import ChildStatus, Exported, Outcome, Record, Redriven, RunStatus, Verdict
from maprun.run_state import RunJournal
from maprun.running import check_store, frozen_spec, needs_local, started_spec, with_live_fields

RUN = RunRef("team", "map", "uid", 0.0)


def spec(**fields: Any) -> MapRunSpec:
    return msgspec.convert({"itemProcessor": {"jobTemplate": {}}} | fields, MapRunSpec)


def succeeded(child: int) -> Outcome:
    return Outcome(child, 1, ChildStatus.SUCCEEDED, output=msgspec.Raw(b"1"))


def run_journal(root: Path) -> RunJournal:
    return RunJournal(Journal(DirectoryStore(root), flush_seconds=0.0, snapshot_every=3), lambda: 5.0)


async def test_the_fold_goes_on_from_a_snapshot_after_each_restart(tmp_path: Path) -> None:
    for life in range(6):
        journal = run_journal(tmp_path)
        await journal.open()
        assert list(journal.progress.done) == list(range(4 * life))
        for child in range(4 * life, 4 * life + 4):
            await journal.append([succeeded(child)])
        await journal.close()
    assert list((tmp_path / "snapshots").iterdir())


async def test_records_are_folded_in_their_order_also_where_some_take_their_time(tmp_path: Path) -> None:
    journal = run_journal(tmp_path)
    await journal.open()
    await asyncio.gather(journal.append([Redriven(1, 2.0)]), journal.append([succeeded(0)]))
    await journal.close()
    assert (journal.progress.redrives, list(journal.progress.done)) == (1, [0])


async def test_what_takes_its_time_is_done_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fold of a redrive of 150,000 scattered children takes 0.2 s, and so does a snapshot with them."""
    threads: dict[str, set[bool]] = {"fold": set(), "encode": set(), "decode": set()}

    def noting(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            threads[name].add(threading.current_thread() is threading.main_thread())
            return work(*args)

        return noted

    monkeypatch.setattr(Progress, "with_records", noting("fold", Progress.with_records))
    monkeypatch.setattr(progress, "encode", noting("encode", progress.encode))
    monkeypatch.setattr(progress, "decode", noting("decode", progress.decode))
    journal = run_journal(tmp_path)
    await journal.open()
    for number in (1, 2):
        await journal.append([Exported(1.0, 9)])
        await journal.append([Redriven(number, 2.0)])
    await journal.close()
    again = run_journal(tmp_path)
    await again.open()
    await again.close()
    assert threads == {"fold": {False}, "encode": {False}, "decode": {False}}


async def test_a_snapshot_that_cannot_be_read_only_costs_time(tmp_path: Path) -> None:
    journal = run_journal(tmp_path)
    await journal.open()
    for child in range(8):
        await journal.append([succeeded(child)])
    await journal.close()
    for snapshot in (tmp_path / "snapshots").iterdir():
        snapshot.write_bytes(b"rubbish")
    again = run_journal(tmp_path)
    await again.open()
    assert list(again.progress.done) == list(range(8))
    await again.close()


def test_the_spec_of_the_first_start_stays(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    first = frozen_spec(store, spec(label="a", maxConcurrency=1))
    assert frozen_spec(store, spec(label="b", maxConcurrency=2)) == first


def test_what_is_frozen_is_resolved_once_and_an_edit_is_not_resolved_again(tmp_path: Path) -> None:
    store, by_path = DirectoryStore(tmp_path), spec(input={"n": 7}, maxConcurrencyPath="$.n")
    started = started_spec(store, RUN, by_path)
    assert (started.concurrency, started.max_concurrency_path) == (7, None)
    assert started_spec(store, RUN, spec(input={}, maxConcurrencyPath="$.n")) == started
    assert with_live_fields(started, by_path) == started
    assert with_live_fields(started, spec(maxConcurrency=3)).concurrency == 3


def test_a_spec_without_a_value_that_fits_is_not_frozen(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    with pytest.raises(RunFailed, match="refers to value"):
        started_spec(store, RUN, spec(input={"n": "x"}, maxConcurrencyPath="$.n"))
    assert started_spec(store, RUN, spec(maxConcurrency=2)).concurrency == 2


def test_only_what_may_ever_change_follows_an_edit() -> None:
    changes = {
        "maxConcurrency": 2,
        "toleratedFailureCount": 3,
        "toleratedFailurePercentage": "4",
        "timeoutSeconds": 5,
        "suspend": True,
        "abort": True,
        "redrives": 6,
        "redriveFilter": {"errorEquals": ["Boom"]},
        "ttlSecondsAfterFinished": 7,
    }
    assert changes.keys() == MUTABLE
    edited = spec(label="b", input=[1], **changes)
    assert with_live_fields(spec(label="a"), edited) == spec(label="a", **changes)
    assert with_live_fields(edited, spec()) == spec(label="b", input=[1]), "and what is taken back is gone"


def test_a_spec_that_was_frozen_before_there_were_redrives_is_read(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.create("spec.json", b'{"itemProcessor":{"jobTemplate":{}},"maxConcurrency":2,"label":"a"}')
    assert frozen_spec(store, spec(label="b")) == spec(label="a", maxConcurrency=2)
    assert started_spec(store, RUN, spec(redrives=1)) == spec(label="a", maxConcurrency=2)


# ----------------------------------------------------------------------------------- the value of a ConfigMap or Secret

READER = {"resource": "configmap", "parameters": {"name": "cities", "key": "k"}, "readerConfig": {"inputType": "JSON"}}
ENDED: list[Record] = [Verdict(RunStatus.FAILED, 1.0), Exported(1.0, 1)]
FAILURE = Failure("States.ItemReaderFailed", "broken")


def planned(store: DirectoryStore, at: Round, *, failure: Failure | None = None) -> None:
    writer = PlanWriter(store, at=at)
    writer.add(1, b"1", "")
    if failure:
        writer.fail(failure)
    else:
        writer.seal()


@pytest.mark.parametrize(
    ("records", "plans", "redrives", "needed"),
    [
        pytest.param([], {}, 0, True, id="it is not read yet"),
        pytest.param([], {Round(): None}, 0, False, id="it is read"),
        pytest.param([Verdict(RunStatus.ABORTED, 1.0)], {}, 0, False, id="the run ends before it was read"),
        pytest.param(ENDED, {Round(): FAILURE}, 0, False, id="it could not be read, and no redrive is wanted"),
        pytest.param(ENDED, {Round(): FAILURE}, 1, True, id="it could not be read, and a redrive is wanted"),
        pytest.param(ENDED, {Round(): None}, 1, True, id="it is read anew, for no child ever started"),
        pytest.param([succeeded(0), *ENDED], {Round(): None}, 1, False, id="a redrive runs children only"),
        pytest.param([succeeded(0), *ENDED], {Round(): FAILURE}, 1, True, id="a redrive reads on"),
        pytest.param([*ENDED, Redriven(1, 2.0)], {Round(): FAILURE}, 1, True, id="a redrive has begun to read on"),
        pytest.param(
            [*ENDED, Redriven(1, 2.0)], {Round(): FAILURE, Round(1): None}, 1, False, id="a redrive has read on"
        ),
        pytest.param(
            [*ENDED, Redriven(1, 2.0, reread=True)], {Round(): None}, 1, True, id="a redrive has begun to read it anew"
        ),
        pytest.param(
            [*ENDED, Redriven(1, 2.0, reread=True)],
            {Round(): None, Round(1, 1): None},
            *(1, False),
            id="a redrive has read it anew",
        ),
    ],
)
async def test_the_value_is_needed_while(
    records: list[Record], plans: dict[Round, Failure | None], redrives: int, needed: bool, tmp_path: Path
) -> None:
    store = DirectoryStore(tmp_path)
    for at, failure in plans.items():
        planned(store, at, failure=failure)
    journal = run_journal(tmp_path)
    await journal.open()
    if records:
        await journal.append(records)
    await journal.close()
    assert needs_local(store, spec(itemReader=READER), redrives) is needed


def test_other_readers_need_no_value(tmp_path: Path) -> None:
    assert not needs_local(DirectoryStore(tmp_path), spec())


def test_a_store_with_conditional_writes_is_fine_and_left_clean(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    check_store(store)
    assert not list(store.list())


def test_a_store_that_replaces_what_it_should_only_create_is_refused(tmp_path: Path) -> None:
    class Replacing(DirectoryStore):
        def create(self, key: str, data: bytes) -> None:
            self.write(key, [data], "")

    with pytest.raises(StoreError, match="conditional writes"):
        check_store(Replacing(tmp_path))
