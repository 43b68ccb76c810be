"""Results written to a real S3 server: several files, uploads of several parts, the manifest, what a user can mend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pyarrow.parquet as pq
import pytest

from maprun.adapters import s3
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import BucketsRef
from maprun.errors import StatesError
from maprun.records import Outcome
from tests.cluster.s3 import S3Server
from tests.unit.finished_run import DONE, FAILED, Finished, failed, redriven, succeeded, writer


class Bucket:
    """A bucket of its own on the server."""

    def __init__(self, access: S3Access) -> None:
        self.name = f"test-{uuid4().hex[:12]}"
        self.buckets = BucketsRef(access=access).open()
        self._client = s3.client(access)
        self._client.create_bucket(Bucket=self.name)

    def read(self, key: str) -> bytes:
        body: bytes = self._client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    def head(self, key: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.head_object(Bucket=self.name, Key=key)
        return answer

    def uploads(self) -> list[Any]:
        """Uploads that were begun and neither completed nor aborted."""
        unfinished: list[Any] = self._client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        return unfinished

    def listed(self, redrive: str = "") -> dict[str, dict[str, int]]:
        """The manifest, or that of a redrive: category → key → size."""
        manifest = json.loads(self.read(f"p/6a1f/{redrive}manifest.json"))
        assert manifest["DestinationBucket"] == self.name
        return {
            name: {each["Key"]: each["Size"] for each in entries} for name, entries in manifest["ResultFiles"].items()
        }


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    return Bucket(S3Access(s3_server.endpoint, s3_server.region, s3_server.access_key, s3_server.secret_key))


def outputs(number: int, size: int) -> Iterator[Outcome]:
    for child in range(number):
        yield succeeded(child, msgspec.json.encode([{"n": child, "text": "x" * size}]))


FORMS = [
    pytest.param({"transformation": "COMPACT"}, id="COMPACT JSON"),
    pytest.param({"transformation": "FLATTEN", "outputType": "JSONL"}, id="FLATTEN JSONL"),
    pytest.param({"transformation": "NONE", "outputType": "JSONL"}, id="NONE JSONL"),
]


@pytest.mark.parametrize("config", FORMS)
async def test_a_full_file_is_followed_by_the_next(tmp_path: Path, bucket: Bucket, config: dict[str, str]) -> None:
    run = Finished(tmp_path, 10)
    await run.journal(list(outputs(10, 1_000)))
    exporter = run.exporter(resultWriter=writer(bucket.name, **config, maxBytesPerFile=3_000), buckets=bucket.buckets)
    exported = await run.export(exporter)
    assert exported.failure is None
    files = bucket.listed()["SUCCEEDED"]
    extension = config.get("outputType", "JSON").lower()
    assert list(files) == [f"p/6a1f/SUCCEEDED_{number}.{extension}" for number in range(len(files))]
    assert len(files) >= 3
    contents = [bucket.read(key) for key in files]
    assert [len(content) for content in contents] == list(files.values())
    assert all(size >= 3_000 for size in list(files.values())[:-1])
    found = [number(record) for content in contents for record in records(content, extension)]
    assert found == list(range(10))
    assert bucket.head(next(iter(files)))["ContentType"] == "binary/octet-stream"
    assert bucket.head(exported.manifest)["ContentType"] == "application/octet-stream"


@pytest.mark.parametrize(
    "config", [*FORMS, pytest.param({"transformation": "COMPACT", "outputType": "PARQUET"}, id="P")]
)
async def test_the_manifest_of_a_redrive_lists_the_files_of_all_rounds(
    tmp_path: Path, bucket: Bucket, config: dict[str, str]
) -> None:
    """Also the one of a redrive in which nothing succeeded; an upload of no bytes is one, too."""
    run, asked = Finished(tmp_path, 3), {"resultWriter": writer(bucket.name, **config), "buckets": bucket.buckets}
    await run.round(FAILED, [*outputs(1, 10), failed(1), failed(2)], **asked)
    await run.round(FAILED, [redriven(1, 1)], [failed(1, attempt=2)], **asked)
    await run.round(DONE, [redriven(2, 1, 2)], [succeeded(n, b"[]", attempt=3) for n in (1, 2)], **asked)
    files = bucket.listed("Redrive-2/")["SUCCEEDED"]
    name = f"SUCCEEDED_0.{config.get('outputType', 'JSON').lower()}"
    assert list(files) == [f"p/6a1f/{folder}{name}" for folder in ("", "Redrive-1/", "Redrive-2/")]
    assert [bucket.head(key)["ContentLength"] for key in files] == list(files.values())
    assert bucket.listed("Redrive-1/")["FAILED"].keys() == {f"p/6a1f/Redrive-1/FAILED_0.{failures(config)}"}


def failures(config: dict[str, str]) -> str:
    """The extension of files with failures: Parquet holds outputs only."""
    return "jsonl" if config.get("outputType") == "JSONL" else "json"


def records(content: bytes, extension: str) -> list[Any]:
    found: list[Any] = (
        json.loads(content) if extension == "json" else [json.loads(line) for line in content.splitlines()]
    )
    return found


def number(record: Any) -> int:
    """Which child a record tells of, in any form."""
    if isinstance(record, dict) and "Output" in record:
        record = json.loads(record["Output"])
    return int((record[0] if isinstance(record, list) else record)["n"])


async def test_a_file_of_several_parts_is_whole(tmp_path: Path, bucket: Bucket) -> None:
    run = Finished(tmp_path, 90)
    await run.journal(list(outputs(90, 250_000)))
    form = writer(bucket.name, transformation="FLATTEN", outputType="JSONL")
    await run.export(run.exporter(resultWriter=form, buckets=bucket.buckets))
    ((key, size),) = bucket.listed()["SUCCEEDED"].items()
    content = bucket.read(key)
    assert len(content) == size > 2 * s3.PART
    assert [number(record) for record in records(content, "jsonl")] == list(range(90))
    assert bucket.head(key)["ETag"].strip('"').endswith("-3"), "an upload of three parts"
    assert bucket.uploads() == []


async def test_parquet_files_are_read_back_as_one_table(tmp_path: Path, bucket: Bucket) -> None:
    run = Finished(tmp_path, 40)
    await run.journal([succeeded(child, b'{"n":%d,"s":"%s"}' % (child, uuid4().hex.encode())) for child in range(40)])
    form = writer(bucket.name, transformation="COMPACT", outputType="PARQUET", maxBytesPerFile=1_500)
    await run.export(run.exporter(resultWriter=form, buckets=bucket.buckets))
    files = bucket.listed()["SUCCEEDED"]
    assert len(files) > 1
    for key in files:
        (tmp_path / key.rpartition("/")[2]).write_bytes(bucket.read(key))
    table = pq.read_table([str(tmp_path / key.rpartition("/")[2]) for key in files])
    assert table.column("n").to_pylist() == list(range(40))


async def test_an_interrupted_upload_leaves_nothing_and_is_done_again(tmp_path: Path, bucket: Bucket) -> None:
    run = Finished(tmp_path, 90)
    await run.journal(list(outputs(90, 250_000)))
    form = writer(bucket.name, transformation="COMPACT", outputType="JSONL")
    exporter = run.exporter(resultWriter=form, buckets=bucket.buckets)
    whole = exporter._records

    def broken(*args: Any) -> Iterator[bytes]:
        for count, record in enumerate(whole(*args)):
            if count == 70:  # behind the second part
                raise InterruptedError
            yield record

    exporter._records = broken  # type: ignore[method-assign]
    with pytest.raises(InterruptedError):
        await run.export(exporter)
    assert bucket.uploads() == []
    exporter._records = whole  # type: ignore[method-assign]
    await run.export(exporter)
    ((key, size),) = bucket.listed()["SUCCEEDED"].items()
    assert len(bucket.read(key)) == size


async def test_a_bucket_that_does_not_exist_fails_the_run(tmp_path: Path, bucket: Bucket) -> None:
    run = Finished(tmp_path, 1)
    await run.journal([succeeded(0)])
    exported = await run.export(run.exporter(resultWriter=writer("no-such-bucket"), buckets=bucket.buckets))
    assert exported.failure
    assert exported.failure.error == StatesError.RESULT_WRITER_FAILED
    assert exported.failure.cause.startswith("spec.resultWriter.parameters: PutObject of bucket no-such-bucket")
