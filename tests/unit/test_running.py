"""How a run is put together: its journal with snapshots, its frozen spec, and a store that can keep operators apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from maprun.adapters.directory import DirectoryStore
from maprun.adapters.journal import Journal
from maprun.errors import RunFailed, StoreError
from maprun.model import MapRunSpec, RunRef
from maprun.records import ChildStatus, Outcome
from maprun.running import RunJournal, check_store, frozen_spec, started_spec, with_live_fields

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


def test_only_concurrency_and_tolerances_follow_an_edit() -> None:
    edited = spec(label="b", maxConcurrency=2, toleratedFailureCount=3, toleratedFailurePercentage="4", input=[1])
    wanted = spec(label="a", maxConcurrency=2, toleratedFailureCount=3, toleratedFailurePercentage="4")
    assert with_live_fields(spec(label="a"), edited) == wanted


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
