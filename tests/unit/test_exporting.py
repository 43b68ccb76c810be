"""Results written from a real plan and journal in a directory: the files, the manifest, crashes in between, and what
a user can mend.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maprun.adapters.directory import DirectoryStore
from maprun.adapters.journal import Journal, JournalReader
from maprun.adapters.plans import PlanReader, PlanWriter
from maprun.adapters.stores import DirectoryBuckets
from maprun.core.progress import Progress
from maprun.core.results import Names
from maprun.errors import AccessDenied, Failure, StatesError, StoreUnavailable
from maprun.exporting import ResultsExporter
from maprun.model import MapRunSpec, RunRef
from maprun.ports import Store
from maprun.records import Batch, ChildStatus, Exported, Outcome, Retry, RunStatus, Verdict

RUN = RunRef("default", "airports", "6a1f", 0.0)
WRITER = {"resource": "s3:putObject", "parameters": {"bucket": "results", "prefix": "p"}}
DONE = Verdict(RunStatus.SUCCEEDED, 9.0)
FAILED = Verdict(RunStatus.FAILED, 9.0, Failure(StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD, "…"))


def succeeded(child: int, output: bytes = b"") -> Outcome:
    return Outcome(
        child, 1, ChildStatus.SUCCEEDED, output=msgspec.Raw(output or b"%d" % child), started=1.0, stopped=2.0
    )


def failed(child: int, *, retry: Retry | None = None) -> Outcome:
    return Outcome(child, 1, ChildStatus.FAILED, failure=Failure("Boom", "why"), started=1.0, stopped=2.0, retry=retry)


class Finished:
    """A run in a directory, ready to be exported."""

    def __init__(self, root: Path, children: int = 5) -> None:
        self.root, self.store = root, DirectoryStore(root / "state")
        writer = PlanWriter(self.store)
        for child in range(children):
            writer.add(Batch(child, 1, msgspec.Raw(b'{"n":%d}' % child)), str(child))
        writer.seal(str(children))
        (root / "results").mkdir()

    async def journal(self, *segments: list[Outcome]) -> None:
        journal = Journal(self.store, flush_seconds=0.0)
        async for _ in journal.open("w", 0.0):
            pass
        for segment in segments:
            await journal.append(segment)
        await journal.close()

    def exporter(
        self,
        *,
        buckets: Any = None,
        file_limit: int = 10**9,
        trouble: Callable[[str], None] = lambda message: None,
        **fields: Any,
    ) -> ResultsExporter:
        spec = msgspec.convert({"itemProcessor": {"jobTemplate": {}}, "resultWriter": WRITER} | fields, MapRunSpec)
        return ResultsExporter(
            spec,
            Names(RUN, "local", "air"),
            history=JournalReader(self.store),
            plan=PlanReader(self.store),
            buckets=buckets or DirectoryBuckets(self.root),
            store=self.store,
            clock=lambda: 10.0,
            trouble=trouble,
            file_limit=file_limit,
        )

    async def export(self, exporter: ResultsExporter, verdict: Verdict = DONE) -> Exported:
        return await exporter.export(Progress(), verdict, PlanReader(self.store).view())

    def files(self) -> dict[str, Any]:
        folder = self.root / "results" / "p" / "6a1f"
        return {path.name: json.loads(path.read_bytes()) for path in sorted(folder.iterdir())}


async def test_each_child_is_in_exactly_one_file_in_item_order(tmp_path: Path) -> None:
    run = Finished(tmp_path)
    await run.journal([succeeded(4), failed(1)], [succeeded(0), failed(2, retry=Retry(0, 1.0))])
    exported = await run.export(run.exporter(), FAILED)
    files = run.files()
    assert [json.loads(record["Input"])["n"] for record in files["SUCCEEDED_0.json"]] == [0, 4]
    assert [record["Name"] for record in files["FAILED_0.json"]] == ["airports-1"]
    assert files["PENDING_0.json"] == [
        {"Input": f'{{"n":{child}}}', "InputDetails": {"Included": True}, "Status": "PENDING"} for child in (2, 3)
    ]
    assert exported.records == 5
    folder = tmp_path / "results" / "p" / "6a1f"
    assert files["manifest.json"]["ResultFiles"] == {
        name: [{"Key": f"p/6a1f/{name}_0.json", "Size": (folder / f"{name}_0.json").stat().st_size}]
        for name in ("FAILED", "PENDING", "SUCCEEDED")
    }
    assert json.loads(bytes(exported.output))["ResultWriterDetails"] == {
        "Bucket": "results",
        "Key": "p/6a1f/manifest.json",
    }


async def test_a_category_without_records_has_no_file(tmp_path: Path) -> None:
    run = Finished(tmp_path, 2)
    await run.journal([succeeded(0), succeeded(1)])
    await run.export(run.exporter())
    assert sorted(run.files()) == ["SUCCEEDED_0.json", "manifest.json"]
    assert run.files()["manifest.json"]["ResultFiles"]["FAILED"] == []


async def test_an_empty_dataset_gives_a_manifest_with_three_empty_lists(tmp_path: Path) -> None:
    run = Finished(tmp_path, 0)
    await run.journal()
    await run.export(run.exporter())
    assert run.files()["manifest.json"]["ResultFiles"] == {"FAILED": [], "PENDING": [], "SUCCEEDED": []}


async def test_a_full_file_is_followed_by_the_next(tmp_path: Path) -> None:
    run = Finished(tmp_path)
    await run.journal([succeeded(child) for child in range(5)])
    await run.export(run.exporter(file_limit=800))
    files = run.files()
    names = [name for name in files if name.startswith("SUCCEEDED")]
    assert len(names) > 1
    assert [record["Name"] for name in names for record in files[name]] == [f"airports-{child}" for child in range(5)]
    assert [entry["Key"] for entry in files["manifest.json"]["ResultFiles"]["SUCCEEDED"]] == [
        f"p/6a1f/{name}" for name in names
    ]


async def test_repeating_an_export_writes_the_same_bytes(tmp_path: Path) -> None:
    run = Finished(tmp_path)
    await run.journal([succeeded(0), failed(3)])
    await run.export(run.exporter())
    before = {path.name: path.read_bytes() for path in (tmp_path / "results/p/6a1f").iterdir()}
    await run.export(run.exporter())
    assert {path.name: path.read_bytes() for path in (tmp_path / "results/p/6a1f").iterdir()} == before


async def test_without_a_writer_the_outputs_are_the_output(tmp_path: Path) -> None:
    run = Finished(tmp_path, 3)
    await run.journal([succeeded(2), failed(1), succeeded(0)])
    exported = await run.export(run.exporter(resultWriter=None))
    assert json.loads(bytes(exported.output)) == [0, {"Status": "FAILED", "Error": "Boom", "Cause": "why"}, 2]


async def test_an_output_too_large_for_the_status_lies_in_the_store(tmp_path: Path) -> None:
    run = Finished(tmp_path, 2)
    await run.journal([succeeded(0, b'"' + b"x" * 9000 + b'"'), succeeded(1)])
    exported = await run.export(run.exporter(resultWriter=None))
    assert run.store.read("output.json") == bytes(exported.output)


async def test_an_output_above_256_kib_fails_the_run(tmp_path: Path) -> None:
    run = Finished(tmp_path, 2)
    await run.journal([succeeded(child, b'"' + b"x" * 200_000 + b'"') for child in range(2)])
    exported = await run.export(run.exporter(resultWriter=None))
    assert exported.failure
    assert exported.failure.error == StatesError.DATA_LIMIT_EXCEEDED


async def test_a_failed_run_without_a_writer_has_no_output(tmp_path: Path) -> None:
    run = Finished(tmp_path, 2)
    await run.journal([failed(0)])
    exported = await run.export(run.exporter(resultWriter=None), FAILED)
    assert (bytes(exported.output), exported.failure) == (b"", None)


class Refusing:
    """Buckets whose every write fails for a while, or for good."""

    def __init__(self, root: Path, errors: list[Exception]) -> None:
        self.root, self.errors = root, errors

    def bucket(self, name: str) -> Store:
        errors = self.errors

        class Bucket(DirectoryStore):
            def write(self, key: str, chunks: Iterable[bytes], content_type: str) -> int:
                if errors:
                    raise errors.pop(0)
                return super().write(key, chunks, content_type)

        return Bucket(self.root / name)


async def test_a_bucket_that_refuses_fails_the_run_and_names_the_field(tmp_path: Path) -> None:
    run = Finished(tmp_path, 1)
    await run.journal([succeeded(0)])
    exported = await run.export(
        run.exporter(buckets=Refusing(tmp_path, [AccessDenied("bucket results: no permission to write")]))
    )
    assert exported.failure == Failure(
        StatesError.RESULT_WRITER_FAILED, "spec.resultWriter.parameters: bucket results: no permission to write"
    )


async def test_a_store_of_the_run_that_refuses_is_not_blamed_on_the_bucket(tmp_path: Path) -> None:
    run = Finished(tmp_path, 2)
    await run.journal([succeeded(0)], [succeeded(1)])
    exporter = run.exporter()
    exporter._plan = Unreadable()
    with pytest.raises(AccessDenied, match="the state"):
        await run.export(exporter)
    assert not (tmp_path / "results" / "p" / "6a1f" / "manifest.json").exists()


class Unreadable:
    """A plan that breaks in the middle of a file."""

    def batches(self) -> Iterator[Batch]:
        yield Batch(0, 1, msgspec.Raw(b"0"))
        raise AccessDenied("the state: no permission")


@pytest.mark.looptime
async def test_an_unreachable_bucket_is_tried_again_until_it_answers(tmp_path: Path) -> None:
    run = Finished(tmp_path, 1)
    await run.journal([succeeded(0)])
    said: list[str] = []
    slow: list[Exception] = [StoreUnavailable("slow down"), StoreUnavailable("slow down")]
    exporter = run.exporter(buckets=Refusing(tmp_path, slow), trouble=said.append)
    exported = await asyncio.wait_for(run.export(exporter), 60)
    assert exported.failure is None
    assert said == ["the results cannot be written yet: slow down"] * 2 + [""]
