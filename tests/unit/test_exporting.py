"""Results written from a real plan and journal in a directory: the files, the manifest, crashes in between, and what
a user can mend.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from maprun.adapters.directory import DirectoryStore
from maprun.adapters.turns import Turns
from maprun.errors import AccessDenied, Failure, StatesError, StoreUnavailable
from maprun.ports import Store
from maprun.records import Batch, Retry
from tests.unit.finished_run import FAILED, Finished, failed, succeeded, writer


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
    await run.export(run.exporter(resultWriter=writer(maxBytesPerFile=800)))
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
    before = run.contents()
    await run.export(run.exporter())
    assert run.contents() == before


async def test_without_a_writer_the_outputs_are_the_output(tmp_path: Path) -> None:
    run = Finished(tmp_path, 3)
    await run.journal([succeeded(2), failed(1), succeeded(0)])
    exported = await run.export(run.exporter(resultWriter=None))
    assert json.loads(bytes(exported.output)) == [0, {"Status": "FAILED", "Error": "Boom", "Cause": "why"}, 2]


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(b'"' + b"x" * 9_000 + b'"', id="many bytes"),
        pytest.param(b"[" + b"1e15," * 1_000 + b"1]", id="numbers that are longer in a status"),
    ],
)
async def test_an_output_too_large_for_the_status_lies_in_the_store(tmp_path: Path, output: bytes) -> None:
    run = Finished(tmp_path, 2)
    await run.journal([succeeded(0, output), succeeded(1)])
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


class Slow:
    """Buckets whose writes take their time; `most` were under way at once."""

    def __init__(self, root: Path) -> None:
        self.root, self.live, self.most, self._lock = root, 0, 0, threading.Lock()

    def bucket(self, name: str) -> Store:
        told = self._told

        class Bucket(DirectoryStore):
            def write(self, key: str, chunks: Iterable[bytes], content_type: str) -> int:
                told(1)
                time.sleep(0.05)
                told(-1)
                return super().write(key, chunks, content_type)

        return Bucket(self.root / name)

    def _told(self, by: int) -> None:
        with self._lock:
            self.live += by
            self.most = max(self.most, self.live)


async def finished(root: Path) -> Finished:
    run = Finished(root, 1)
    await run.journal([succeeded(0)])
    return run


async def test_runs_that_end_together_write_in_turn(tmp_path: Path) -> None:
    """What is on its way of one is 22 MiB: of fifty it would be more than the operator has."""
    slow, turns = Slow(tmp_path), Turns(3)  # two for a namespace alone
    runs = [await finished(tmp_path / str(number)) for number in range(6)]
    await asyncio.gather(*(run.export(run.exporter(buckets=slow, turns=turns)) for run in runs))
    assert slow.most == 2


async def test_a_run_whose_bucket_is_away_leaves_its_turn_to_others(tmp_path: Path) -> None:
    turns, told = Turns(1), asyncio.Event()
    away, well = await finished(tmp_path / "away"), await finished(tmp_path / "well")
    buckets = Refusing(tmp_path, [StoreUnavailable("slow down")] * 100)
    exporter = away.exporter(buckets=buckets, trouble=lambda _: told.set(), turns=turns)
    waiting = asyncio.create_task(away.export(exporter))
    await told.wait()
    assert (await well.export(well.exporter(turns=turns))).failure is None
    assert not waiting.done()
    waiting.cancel()


# ------------------------------------------------------------------------------------------------ forms of the results

ENDED = [succeeded(3, b'{"n":3}'), failed(1), succeeded(0, b"[1,[2]]"), succeeded(2, b"[]")]  # and 4 is pending
PAIRS = {  # transformation and type → the file of what succeeded
    ("COMPACT", "JSON"): ("SUCCEEDED_0.json", b'[[1,[2]],[],{"n":3}]'),
    ("COMPACT", "JSONL"): ("SUCCEEDED_0.jsonl", b'[1,[2]]\n[]\n{"n":3}\n'),
    ("FLATTEN", "JSON"): ("SUCCEEDED_0.json", b'[1,[2],{"n":3}]'),
    ("FLATTEN", "JSONL"): ("SUCCEEDED_0.jsonl", b'1\n[2]\n{"n":3}\n'),
}


@pytest.mark.parametrize(("form", "kind"), PAIRS, ids=" ".join)
async def test_only_outputs_are_transformed_and_the_rest_keep_their_records(
    tmp_path: Path, form: str, kind: str
) -> None:
    run = Finished(tmp_path)
    await run.journal(ENDED)
    await run.exported(resultWriter=writer(transformation=form, outputType=kind))
    name, content = PAIRS[form, kind]
    found = run.contents()
    assert found[name] == content
    extension = name.partition(".")[2]
    (failure,), (pending,) = (parsed(found[f"{category}_0.{extension}"]) for category in ("FAILED", "PENDING"))
    assert (failure["Name"], failure["Status"], failure["Error"]) == ("airports-1", "FAILED", "Boom")
    assert pending == {"Input": '{"n":4}', "InputDetails": {"Included": True}, "Status": "PENDING"}


def parsed(content: bytes) -> list[dict[str, object]]:
    """The records of a JSON or JSONL file."""
    found: list[dict[str, object]] = (
        [json.loads(line) for line in content.splitlines()] if content.endswith(b"\n") else json.loads(content)
    )
    return found


async def test_records_of_children_as_lines(tmp_path: Path) -> None:
    run = Finished(tmp_path, 2)
    await run.journal([succeeded(1), succeeded(0)])
    await run.exported(resultWriter=writer(outputType="JSONL"))
    lines = run.contents()["SUCCEEDED_0.jsonl"]
    assert lines.endswith(b"\n")
    assert [record["Name"] for record in parsed(lines)] == ["airports-0", "airports-1"]


async def test_outputs_as_parquet_and_the_rest_as_json(tmp_path: Path) -> None:
    run = Finished(tmp_path)
    await run.journal([succeeded(0, b'{"n":0}'), failed(1), succeeded(3, b'{"n":3}')])
    await run.exported(resultWriter=writer(transformation="COMPACT", outputType="PARQUET"))
    found = run.contents()
    assert sorted(found) == ["FAILED_0.json", "PENDING_0.json", "SUCCEEDED_0.parquet", "manifest.json"]
    rows = pq.read_table(io.BytesIO(found["SUCCEEDED_0.parquet"])).to_pylist()
    assert [row["n"] for row in rows] == [0, 3]
    assert [record["Input"] for record in parsed(found["PENDING_0.json"])] == ['{"n":2}', '{"n":4}']


async def test_outputs_that_flatten_to_nothing_give_no_file(tmp_path: Path) -> None:
    run = Finished(tmp_path, 2)
    await run.journal([succeeded(0, b"[]"), succeeded(1, b"[]")])
    await run.exported(resultWriter=writer(transformation="FLATTEN"))
    assert sorted(run.files()) == ["manifest.json"]


FORMS = [
    writer(transformation=form, outputType=kind)
    for form in ("NONE", "COMPACT", "FLATTEN")
    for kind in ("JSON", "JSONL")
]
FORMS.append(writer(transformation="COMPACT", outputType="PARQUET"))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(form["writerConfig"].values()))
async def test_a_crash_at_any_write_and_a_repetition_give_the_same_bytes(tmp_path: Path, form: dict[str, Any]) -> None:
    """And the sizes in the manifest are those of the files."""
    form["writerConfig"]["maxBytesPerFile"] = 900
    whole, broken = (Finished(tmp_path / name) for name in ("whole", "broken"))
    outcomes = [succeeded(0, b'{"n":[0]}'), succeeded(1, b'[{"n":1},{"n":2}]'), failed(2), succeeded(4, b'{"n":4}')]
    for run in (whole, broken):
        await run.journal(outcomes)
    await whole.exported(resultWriter=form)
    crashes = 0
    while True:
        buckets = Crashing(broken.root, writes=crashes)
        try:
            await broken.exported(resultWriter=form, buckets=buckets)
            break
        except Crash:
            crashes += 1
    files = whole.contents()
    assert crashes == len(files) > 3
    assert broken.contents() == files
    listed = json.loads(files["manifest.json"])["ResultFiles"]
    sizes = {entry["Key"].rpartition("/")[2]: entry["Size"] for entries in listed.values() for entry in entries}
    assert sizes == {name: len(content) for name, content in files.items() if name != "manifest.json"}


class Crash(BaseException):
    """The end of the process."""


class Crashing:
    """Buckets that end the process in the middle of a write, behind some whole ones."""

    def __init__(self, root: Path, writes: int) -> None:
        self.root, self.left = root, writes

    def bucket(self, name: str) -> Store:
        crashing = self

        class Bucket(DirectoryStore):
            def write(self, key: str, chunks: Iterable[bytes], content_type: str) -> int:
                if crashing.left == 0:
                    next(iter(chunks))
                    raise Crash
                crashing.left -= 1
                return super().write(key, chunks, content_type)

        return Bucket(self.root / name)


# -------------------------------------------------------------------------------- the result without a bucket, outputs

BOOM = {"Status": "FAILED", "Error": "Boom", "Cause": "why"}
BOOM_LINE = '{"Status":"FAILED","Error":"Boom","Cause":"why"}'
INLINE: list[tuple[dict[str, str], Any]] = [
    ({"transformation": "COMPACT"}, [[1, [2]], BOOM, [], {"n": 3}]),
    ({"transformation": "FLATTEN"}, [1, [2], BOOM, {"n": 3}]),
    ({"transformation": "COMPACT", "outputType": "JSONL"}, f'[1,[2]]\n{BOOM_LINE}\n[]\n{{"n":3}}\n'),
    ({"outputType": "JSONL", "transformation": "FLATTEN"}, f'1\n[2]\n{BOOM_LINE}\n{{"n":3}}\n'),
    ({"outputType": "JSON"}, [[1, [2]], BOOM, [], {"n": 3}]),
]


@pytest.mark.parametrize(("config", "expected"), INLINE, ids=[" ".join(config.values()) for config, _ in INLINE])
async def test_writer_config_alone_shapes_the_output(tmp_path: Path, config: dict[str, str], expected: Any) -> None:
    run = Finished(tmp_path, 4)
    await run.journal(ENDED)
    exported = await run.exported(resultWriter={"writerConfig": config})
    assert json.loads(bytes(exported.output)) == expected
    assert (exported.manifest, list((tmp_path / "results").iterdir())) == ("", [])


async def test_records_alone_can_be_the_output(tmp_path: Path) -> None:
    run = Finished(tmp_path, 3)
    await run.journal([succeeded(2), failed(0), succeeded(1)])
    exported = await run.exported(resultWriter={"writerConfig": {"transformation": "NONE"}})
    records = json.loads(bytes(exported.output))
    assert [(record["Name"], record["Input"], record["Status"]) for record in records] == [
        ("airports-0", '{"n":0}', "FAILED"),
        ("airports-1", '{"n":1}', "SUCCEEDED"),
        ("airports-2", '{"n":2}', "SUCCEEDED"),
    ]
    assert [record.get("Output") for record in records] == [None, "1", "2"]


async def test_the_output_is_made_of_the_result(tmp_path: Path) -> None:
    run = Finished(tmp_path, 2)
    await run.journal([succeeded(0), succeeded(1)])
    fields = {"input": {"a": 1}, "resultSelector": {"n.$": "States.ArrayLength($)"}, "resultPath": "$.map"}
    exported = await run.exported(resultWriter=None, **fields)
    assert json.loads(bytes(exported.output)) == {"a": 1, "map": {"n": 2}}


async def test_with_a_bucket_the_result_is_where_the_manifest_lies(tmp_path: Path) -> None:
    run = Finished(tmp_path, 1)
    await run.journal([succeeded(0)])
    exported = await run.exported(resultSelector={"key.$": "$.ResultWriterDetails.Key"})
    assert json.loads(bytes(exported.output)) == {"key": "p/6a1f/manifest.json"}
    assert exported.manifest == "p/6a1f/manifest.json"


async def test_a_mistake_in_the_output_fails_the_run_when_its_files_are_written(tmp_path: Path) -> None:
    run = Finished(tmp_path, 1)
    await run.journal([succeeded(0)])
    exported = await run.exported(resultSelector={"x.$": "$.nothing"})
    assert exported.failure
    assert exported.failure.error == StatesError.RUNTIME
    assert (exported.manifest, bytes(exported.output)) == ("p/6a1f/manifest.json", b"")
    assert sorted(run.files()) == ["SUCCEEDED_0.json", "manifest.json"]


async def test_a_failed_run_has_no_other_output_than_where_its_files_lie(tmp_path: Path) -> None:
    run = Finished(tmp_path, 1)
    await run.journal([failed(0)])
    exported = await run.exported(FAILED, resultSelector={"x.$": "$.nothing"})
    assert exported.failure is None
    assert json.loads(bytes(exported.output))["ResultWriterDetails"]["Key"] == exported.manifest


async def test_an_output_that_the_input_makes_too_large_fails_the_run(tmp_path: Path) -> None:
    run = Finished(tmp_path, 1)
    await run.journal([succeeded(0, b'"' + b"x" * 200_000 + b'"')])
    exported = await run.exported(resultWriter=None, input={"a": "y" * 100_000}, resultPath="$.map")
    assert exported.failure
    assert exported.failure.error == StatesError.DATA_LIMIT_EXCEEDED


async def test_the_limit_meets_the_result_first(tmp_path: Path) -> None:  # aws-cdk#24799: discarding it does not help
    run = Finished(tmp_path, 1)
    await run.journal([succeeded(0, b'"' + b"x" * 300_000 + b'"')])
    exported = await run.exported(resultWriter=None, resultSelector={"nothing": 0})
    assert exported.failure
    assert exported.failure.error == StatesError.DATA_LIMIT_EXCEEDED
