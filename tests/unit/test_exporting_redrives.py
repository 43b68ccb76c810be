"""The result files of redrives, from a real plan and journal in a directory: what each round writes, what its manifest
lists, and the same bytes again after a crash.
"""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maprun.adapters.directory import TEMPORARY, DirectoryStore
from maprun.adapters.journal import JournalReader
from maprun.adapters.plans import PlanReader
from maprun.core.progress import Progress
from maprun.core.results import output_key
from maprun.errors import AccessDenied, Failure, Fenced, StatesError
from maprun.ports import Store
from maprun.records import ChildStatus, Exported, Outcome, Record, RunStatus, Verdict
from tests.unit.finished_run import ABORTED, DONE, FAILED, WRITER, Finished, failed, redriven, succeeded, writer
from tests.unit.test_exporting import FORMS, Crash, Crashing, Refusing

TIMED_OUT = Verdict(RunStatus.ABORTED, 9.0, Failure(StatesError.TIMEOUT))


def aborted(child: int, *, attempt: int = 1, at: float | None = 1.0) -> Outcome:
    return Outcome(child, attempt, ChildStatus.ABORTED, started=at, stopped=9.0)


def listed(run: Finished, redrive: int) -> dict[str, list[dict[str, Any]]]:
    """What the manifest of a round lists, by category."""
    files: dict[str, list[dict[str, Any]]] = json.loads(run.contents(redrive)["manifest.json"])["ResultFiles"]
    return files


def keys(run: Finished, redrive: int) -> dict[str, list[str]]:
    return {name: [file["Key"] for file in files] for name, files in listed(run, redrive).items()}


async def test_a_redrive_writes_what_succeeded_since_into_a_folder_of_its_own(tmp_path: Path) -> None:
    run = Finished(tmp_path)
    first = await run.round(FAILED, [succeeded(0), failed(1), failed(3), succeeded(4)])
    before = run.contents()
    since = [succeeded(3, attempt=2, at=21.0), succeeded(2, at=22.0), failed(1, attempt=2, at=23.0)]
    second = await run.round(DONE, [redriven(1, 1, 3)], since)
    assert run.contents() == before, "the files of the first life stay as they are"
    found = run.files(1)
    assert [record["Name"] for record in found["SUCCEEDED_0.json"]] == ["airports-2", "airports-3"]
    assert [record["Name"] for record in found["FAILED_0.json"]] == ["airports-1"]
    assert sorted(found) == ["FAILED_0.json", "SUCCEEDED_0.json", "manifest.json"]
    assert keys(run, 1) == {
        "FAILED": ["p/6a1f/Redrive-1/FAILED_0.json"],
        "PENDING": [],
        "SUCCEEDED": ["p/6a1f/SUCCEEDED_0.json", "p/6a1f/Redrive-1/SUCCEEDED_0.json"],
    }
    assert json.loads(bytes(second.output))["ResultWriterDetails"]["Key"] == "p/6a1f/Redrive-1/manifest.json"
    assert (first.manifest, second.manifest) == ("p/6a1f/manifest.json", "p/6a1f/Redrive-1/manifest.json")
    assert (first.records, second.records) == (5, 5)


async def test_records_tell_how_often_a_redrive_ran_a_child_and_when_it_first_started(tmp_path: Path) -> None:
    run = Finished(tmp_path, 4)
    await run.round(FAILED, [succeeded(0), failed(1, at=3.0), failed(2, at=4.0)])
    await run.round(FAILED, [redriven(1, 1, 2)], [succeeded(1, attempt=2, at=31.0), failed(2, attempt=2, at=32.0)])
    await run.round(DONE, [redriven(2, 2)], [succeeded(2, attempt=3, at=41.0), succeeded(3, at=42.0)])
    times = ("RedriveDate", "StartDate", "StopDate")
    told = [
        (record["Name"], record["RedriveCount"], *(record.get(time, "")[-3:] for time in times))
        for record in run.files(1)["SUCCEEDED_0.json"] + run.files(2)["SUCCEEDED_0.json"]
    ]
    assert told == [
        ("airports-1", 1, "31Z", "03Z", "32Z"),
        ("airports-2", 2, "41Z", "04Z", "42Z"),
        ("airports-3", 0, "", "42Z", "43Z"),
    ]
    (between,) = run.files(1)["FAILED_0.json"]
    assert (between["RedriveCount"], *(between[time][-3:] for time in times)) == (1, "32Z", "04Z", "33Z")
    assert list(between) == sorted(between)


async def test_a_child_that_never_ran_before_starts_with_the_redrive(tmp_path: Path) -> None:
    """It was aborted while it waited for its Job, so that no attempt ever started."""
    run = Finished(tmp_path, 1)
    await run.round(FAILED, [aborted(0, at=None)])
    await run.round(DONE, [redriven(1, 0)], [succeeded(0, attempt=2, at=31.0)])
    (record,) = run.files(1)["SUCCEEDED_0.json"]
    assert (record["RedriveCount"], record["StartDate"]) == (1, "1970-01-01T00:00:31Z")


async def test_the_files_are_those_that_aws_was_recorded_with(tmp_path: Path) -> None:
    """Six children. One failed and one was aborted; a redrive ran nothing; another ran them and the two that had never
    started (radkawar/stackd, redrive_map.json, `attempt2:standard:terminal-exports`).
    """
    run = Finished(tmp_path, 6)
    await run.round(FAILED, [succeeded(0), failed(1), aborted(2), succeeded(3)])
    await run.round(FAILED, [redriven(1, 1, 2)])
    again = [succeeded(1, attempt=2), succeeded(2, attempt=2), succeeded(4), succeeded(5)]
    await run.round(DONE, [redriven(2, 1, 2)], again)
    assert run.contents(1)["SUCCEEDED_0.json"] == b"[]"
    nothing_ran = run.contents()
    assert {name: run.contents(1)[name] for name in ("FAILED_0.json", "PENDING_0.json")} == {
        name: nothing_ran[name] for name in ("FAILED_0.json", "PENDING_0.json")
    }
    assert sorted(run.contents(2)) == ["SUCCEEDED_0.json", "manifest.json"]
    assert [record["RedriveCount"] for record in run.files(2)["SUCCEEDED_0.json"]] == [1, 1, 0, 0]
    sizes = [len(run.contents(redrive)["SUCCEEDED_0.json"]) for redrive in range(3)]
    folders = ("p/6a1f/", "p/6a1f/Redrive-1/", "p/6a1f/Redrive-2/")
    assert sizes[1] == 2
    assert listed(run, 2) == {
        "FAILED": [],
        "PENDING": [],
        "SUCCEEDED": [
            {"Key": f"{folder}SUCCEEDED_0.json", "Size": size} for folder, size in zip(folders, sizes, strict=True)
        ],
    }


async def test_what_a_redrive_never_came_to_keeps_its_record(tmp_path: Path) -> None:
    run = Finished(tmp_path, 3)
    await run.round(FAILED, [failed(0), failed(1), succeeded(2)])
    await run.round(ABORTED, [redriven(1, 0, 1)], [aborted(0, attempt=2, at=21.0)])
    records = run.files(1)["FAILED_0.json"]
    assert [(record["Name"], record["Status"], record["RedriveCount"]) for record in records] == [
        ("airports-0", "ABORTED", 1),
        ("airports-1", "FAILED", 0),
    ]
    assert records[1] == run.files()["FAILED_0.json"][1]


CONTENT = {  # transformation and type → what child 1 brings in a redrive, and a redrive in which nothing succeeds
    ("COMPACT", "JSON"): ("SUCCEEDED_0.json", b"[[1,[2]]]", b"[]"),
    ("COMPACT", "JSONL"): ("SUCCEEDED_0.jsonl", b"[1,[2]]\n", b""),
    ("FLATTEN", "JSON"): ("SUCCEEDED_0.json", b"[1,[2]]", b"[]"),
    ("FLATTEN", "JSONL"): ("SUCCEEDED_0.jsonl", b"1\n[2]\n", b""),
}


@pytest.mark.parametrize(("form", "kind"), CONTENT, ids=" ".join)
async def test_each_form_of_results_in_a_redrive(tmp_path: Path, form: str, kind: str) -> None:
    run, asked = Finished(tmp_path, 3), writer(transformation=form, outputType=kind)
    await run.round(FAILED, [succeeded(0), failed(1), failed(2)], resultWriter=asked)
    await run.round(FAILED, [redriven(1, 1)], [succeeded(1, b"[1,[2]]", attempt=2)], resultWriter=asked)
    await run.round(FAILED, [redriven(2, 2)], [failed(2, attempt=3)], resultWriter=asked)
    name, since, nothing = CONTENT[form, kind]
    assert (run.contents(1)[name], run.contents(2)[name]) == (since, nothing)
    assert [file["Size"] for file in listed(run, 2)["SUCCEEDED"]] == [
        len(run.contents()[name]),
        len(since),
        len(nothing),
    ]


async def test_parquet_in_a_redrive(tmp_path: Path) -> None:
    run, asked = Finished(tmp_path, 3), writer(transformation="COMPACT", outputType="PARQUET")
    await run.round(FAILED, [succeeded(0, b'{"n":0}'), failed(1), failed(2)], resultWriter=asked)
    await run.round(FAILED, [redriven(1, 1)], [succeeded(1, b'{"n":1}', attempt=2)], resultWriter=asked)
    await run.round(FAILED, [redriven(2, 2)], [failed(2, attempt=3)], resultWriter=asked)
    rows = [pq.read_table(io.BytesIO(run.contents(n)["SUCCEEDED_0.parquet"])).to_pylist() for n in range(3)]
    assert [[row["n"] for row in each] for each in rows] == [[0], [1], []]
    assert len(listed(run, 2)["SUCCEEDED"]) == 3


async def test_an_export_that_was_refused_is_made_up_for_by_a_redrive(tmp_path: Path) -> None:
    run = Finished(tmp_path, 3)
    refusing = Refusing(tmp_path, [AccessDenied("no permission")])
    refused = await run.round(DONE, [succeeded(0), succeeded(1), succeeded(2)], buckets=refusing)
    assert refused.failure
    assert (refused.manifest, refused.succeeded) == ("", [])
    mended = await run.round(DONE, [redriven(1)])
    assert mended.failure is None
    assert [record["Name"] for record in run.files(1)["SUCCEEDED_0.json"]] == [f"airports-{n}" for n in range(3)]
    assert keys(run, 1)["SUCCEEDED"] == ["p/6a1f/Redrive-1/SUCCEEDED_0.json"]


async def test_files_that_an_older_version_wrote_and_did_not_note_are_written_again(tmp_path: Path) -> None:
    run = Finished(tmp_path, 3)
    await run.journal([succeeded(0), failed(1), failed(2), FAILED, Exported(9.0, 3, manifest="p/6a1f/manifest.json")])
    await run.round(FAILED, [redriven(1, 1, 2)], [succeeded(1, attempt=2)])
    assert [record["Name"] for record in run.files(1)["SUCCEEDED_0.json"]] == ["airports-0", "airports-1"]
    await run.round(DONE, [redriven(2, 2)], [succeeded(2, attempt=3)])
    assert [record["Name"] for record in run.files(2)["SUCCEEDED_0.json"]] == ["airports-2"]
    assert keys(run, 2)["SUCCEEDED"] == [f"p/6a1f/Redrive-{n}/SUCCEEDED_0.json" for n in (1, 2)]


@pytest.mark.parametrize("verdict", [ABORTED, TIMED_OUT], ids=["an aborted run", "a run out of time"])
async def test_of_a_stopped_run_there_are_files_and_no_other_output(tmp_path: Path, verdict: Verdict) -> None:
    run = Finished(tmp_path / "bucket", 3)
    exported = await run.round(verdict, [succeeded(0), aborted(1)], resultSelector={"x.$": "$.nothing"})
    assert exported.failure is None
    assert json.loads(bytes(exported.output))["ResultWriterDetails"]["Key"] == "p/6a1f/manifest.json"
    found = run.files()
    assert [len(found[f"{name}_0.json"]) for name in ("SUCCEEDED", "FAILED", "PENDING")] == [1, 1, 1]
    assert found["FAILED_0.json"][0]["Status"] == "ABORTED"
    without = Finished(tmp_path / "none", 3)
    exported = await without.round(verdict, [succeeded(0), aborted(1)], resultWriter=None)
    assert (bytes(exported.output), exported.failure, exported.manifest) == (b"", None, "")


async def test_without_a_bucket_the_output_is_that_of_all_children(tmp_path: Path) -> None:
    run = Finished(tmp_path, 3)
    await run.round(FAILED, [succeeded(2), failed(0), succeeded(1)], resultWriter=None)
    exported = await run.round(DONE, [redriven(1, 0)], [succeeded(0, b'"now"', attempt=2)], resultWriter=None)
    assert json.loads(bytes(exported.output)) == ["now", 1, 2]
    records = {"writerConfig": {"transformation": "NONE"}}
    exported = await run.exported(resultWriter=records)
    assert [record["RedriveCount"] for record in json.loads(bytes(exported.output))] == [1, 0, 0]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(form["writerConfig"].values()))
async def test_a_crash_at_any_write_of_a_redrive_gives_the_same_bytes(tmp_path: Path, form: dict[str, Any]) -> None:
    form = {**form, "writerConfig": {**form["writerConfig"], "maxBytesPerFile": 900}}
    whole, broken = (Finished(tmp_path / name, 6) for name in ("whole", "broken"))
    since = [succeeded(child, b'{"n":[%d]}' % child, attempt=2, at=30.0) for child in (1, 2)]
    for run in (whole, broken):
        await run.round(FAILED, [succeeded(0, b'{"n":0}'), *map(failed, (1, 2, 3))], resultWriter=form)
        await run.journal([redriven(1, 1, 2, 3)], [*since, failed(3, attempt=2), succeeded(4, b'{"n":4}'), FAILED])
    exported = await whole.exported(FAILED, resultWriter=form)
    crashes = 0
    while True:
        try:
            again = await broken.exported(FAILED, resultWriter=form, buckets=Crashing(broken.root, writes=crashes))
            break
        except Crash:
            crashes += 1
    assert crashes == len(whole.contents(1)) > 3
    assert broken.contents(1) == whole.contents(1)
    assert broken.contents() == whole.contents()
    assert again == exported
    sizes = {file["Key"]: file["Size"] for files in listed(whole, 1).values() for file in files}
    folder = whole.root / "results"
    assert sizes == {key: (folder / key).stat().st_size for key in sizes}


ROUND = st.tuples(st.dictionaries(st.integers(0, 5), st.booleans()), st.booleans(), st.integers(0, 5))


@given(st.lists(ROUND, min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_each_child_is_in_exactly_one_file_of_the_last_manifest(rounds: list[Any]) -> None:
    """Whatever each round runs, whether its export is refused, and whom an abort leaves out."""
    with tempfile.TemporaryDirectory() as root:
        asyncio.run(_one_file_each(Path(root), rounds))


async def _one_file_each(root: Path, rounds: list[tuple[dict[int, bool], bool, int]]) -> None:
    run, status = Finished(root, 6), dict.fromkeys(range(6), "PENDING")
    for redrive, (ran, refused, left_out) in enumerate([*rounds, ({}, False, 0)]):
        records: list[Record] = []
        if redrive:
            records.append(redriven(redrive, *(child for child, now in status.items() if now == "FAILED")))
        for child, well in ran.items():
            if status[child] != "SUCCEEDED" and child != left_out:
                records.append((succeeded if well else failed)(child, attempt=redrive + 1))
                status[child] = "SUCCEEDED" if well else "FAILED"
        buckets = Refusing(root, [AccessDenied("no permission")] if refused else [])
        await run.round(FAILED, records, buckets=buckets)
    manifest = listed(run, len(rounds))
    found = {child: name for name, files in manifest.items() for child in _children(root, files)}
    assert found == status
    assert sum(len(list(_children(root, files))) for files in manifest.values()) == 6


def _children(root: Path, files: Iterable[dict[str, Any]]) -> Iterable[int]:
    for file in files:
        for record in json.loads((root / "results" / file["Key"]).read_text()):
            yield json.loads(record["Input"])["n"]


# ----------------------------------------------------------------------------------- an operator that comes too late


class Late(DirectoryStore):
    """A write takes effect when it is let go, as that of an operator that was stopped in the middle of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun, self.let_go, self.done = threading.Event(), threading.Event(), threading.Event()

    def write(self, key: str, chunks: Iterable[bytes], content_type: str) -> int:
        self.begun.set()
        assert self.let_go.wait(20)
        size = super().write(key, chunks, content_type)
        self.done.set()
        return size


async def test_a_late_write_of_an_earlier_round_leaves_the_output_of_a_later_one_alone(tmp_path: Path) -> None:
    run, large = Finished(tmp_path, 2), b'"' + b"x" * 9_000 + b'"'
    await run.journal([succeeded(0, large), failed(1)], [DONE])
    store, late = run.store, Late(tmp_path / "state")
    run.store = late
    stopped = asyncio.create_task(run.exported(resultWriter=None))
    assert await asyncio.to_thread(late.begun.wait, 20)
    stopped.cancel()
    run.store = store
    await run.journal([await run.exported(resultWriter=None)])
    await run.journal([redriven(1, 1)], [succeeded(1, attempt=2)], [DONE])
    again = await run.exported(resultWriter=None)
    late.let_go.set()
    assert await asyncio.to_thread(late.done.wait, 20)
    assert run.store.read(output_key(1)) == bytes(again.output)


class GatedHistory(JournalReader):
    """Its reading goes on when it is let go."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.begun, self.let_go = threading.Event(), threading.Event()

    def segment(self, number: int) -> list[Record]:
        self.begun.set()
        assert self.let_go.wait(20)
        return super().segment(number)


@pytest.mark.parametrize("asked", [WRITER, None], ids=["into a bucket", "into the state"])
async def test_an_export_that_is_stopped_writes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any] | None
) -> None:
    """Another operator drives the run from then on, or it is deleted, and its state is removed."""
    run, ended = Finished(tmp_path, 3), threading.Event()
    await run.journal([succeeded(0, b'"' + b"x" * 9_000 + b'"'), failed(1)], [DONE])
    exporter, history = run.exporter(resultWriter=asked), GatedHistory(run.store)
    export = exporter._export

    def noted(*args: Any) -> Exported:
        try:
            return export(*args)
        finally:
            ended.set()

    monkeypatch.setattr(exporter, "_export", noted)
    monkeypatch.setattr(exporter, "_history", history)
    stopped = asyncio.create_task(run.export(exporter))
    assert await asyncio.to_thread(history.begun.wait, 20)
    stopped.cancel()
    await asyncio.gather(stopped, return_exceptions=True)
    before = sorted(path for path in run.root.rglob("*") if path.is_file() and TEMPORARY not in path.name)
    history.let_go.set()
    assert await asyncio.to_thread(ended.wait, 20)
    assert sorted(path for path in run.root.rglob("*") if path.is_file()) == before


async def test_an_operator_that_comes_too_late_writes_nothing_of_a_round_that_it_does_not_know(tmp_path: Path) -> None:
    """It was stopped before it had read the journal; meanwhile another one redrives the run."""
    run = Finished(tmp_path, 3)
    await run.round(FAILED, [succeeded(0), failed(1), failed(2)])
    known = Progress().with_records([record for _, _, record in JournalReader(run.store).records_from()])
    await run.journal([redriven(1, 1, 2)], [succeeded(1, attempt=2)])
    before = run.contents()
    with pytest.raises(Fenced):
        await run.exporter().export(known, FAILED, PlanReader(run.store).view())
    assert run.contents() == before
    assert not (tmp_path / "results/p/6a1f/Redrive-1").exists()
