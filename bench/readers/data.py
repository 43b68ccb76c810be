"""The same rows in each format, and keys on an S3 server: what is measured.

Rule 1: the data follow from the number of rows alone. A row has eight cells and some 75 bytes as CSV.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import boto3
import msgspec

from maprun.adapters.s3_access import S3Access
from tests.cluster import s3
from tests.cluster.processes import Supervisor

NAMES: Final = ("id", "name", "city", "country", "latitude", "longitude", "elevation", "zone")
CITIES: Final = ("Berlin", "Hamburg", "München", "Porto", "Oslo", "New York", "São Paulo", "Tokyo")
BUCKET: Final = "bench"
PORT: Final = 17_480
BLOCK: Final = 10_000


def rows(count: int) -> Iterator[tuple[Any, ...]]:
    """The rows, as values of their types."""
    for number in range(count):
        city = CITIES[number * 7 % 8]
        latitude, longitude = (number * 37 % 180_000) / 1000 - 90, (number * 91 % 360_000) / 1000 - 180
        yield number, f"Airport {number}", city, "DE", latitude, longitude, number * 13 % 4000, "Europe/Berlin"


def write(path: Path, count: int) -> None:
    """A file of that many rows, in the format of its ending; one that is there already stays."""
    if path.exists():
        return
    writer = {".csv": _csv, ".quoted": _quoted, ".json": _json, ".jsonl": _jsonl, ".parquet": _parquet}[path.suffix]
    partial = path.with_suffix(".partial")
    writer(partial, count)
    partial.rename(path)


def _blocks(count: int) -> Iterator[list[tuple[Any, ...]]]:
    them = rows(count)
    while block := list(islice(them, BLOCK)):
        yield block


def _csv(path: Path, count: int) -> None:
    _lines(path, (",".join(map(str, row)) for row in rows(count)))


def _quoted(path: Path, count: int) -> None:
    """CSV with names in quotes that hold the delimiter, as spreadsheets write them."""
    lines = ((row[0], f'"Airport ""{row[0]}"", {row[2]}"', *row[2:]) for row in rows(count))
    _lines(path, (",".join(map(str, line)) for line in lines))


def _lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(NAMES) + "\n")
        while block := list(islice(lines, BLOCK)):
            file.write("\n".join(block) + "\n")


def _objects(block: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(NAMES, row, strict=True)) for row in block]


def _json(path: Path, count: int) -> None:
    """An array, with a space behind each comma, as most programs write it."""
    with path.open("wb") as file:
        file.write(b"[")
        for number, block in enumerate(_blocks(count)):
            file.write((b", " if number else b"") + b", ".join(map(msgspec.json.encode, _objects(block))))
        file.write(b"]")


def _jsonl(path: Path, count: int) -> None:
    encoder = msgspec.json.Encoder()
    with path.open("wb") as file:
        for block in _blocks(count):
            file.write(encoder.encode_lines(_objects(block)))


def _parquet(path: Path, count: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = pa.Table.from_pylist(_objects(list(rows(1))))
    with pq.ParquetWriter(path, first.schema) as file:
        group: list[tuple[Any, ...]] = []
        for block in _blocks(count):
            group += block
            if len(group) >= 10 * BLOCK:
                file.write_table(pa.Table.from_pylist(_objects(group), schema=first.schema))
                group = []
        if group:
            file.write_table(pa.Table.from_pylist(_objects(group), schema=first.schema))


@contextlib.contextmanager
def keys(count: int) -> Iterator[S3Access]:
    """An S3 server whose bucket has that many small objects. They are put into its directory as files: it serves a
    directory, and asking it a hundred thousand times would take minutes.
    """
    with tempfile.TemporaryDirectory(prefix="maprun-bench-") as folder:
        supervisor = Supervisor(Path(folder))
        server = s3.start(supervisor, PORT)
        try:
            access = S3Access(server.endpoint, server.region, server.access_key, server.secret_key)
            client(access).create_bucket(Bucket=BUCKET)
            began = time.perf_counter()
            _files(next(Path(folder).glob(f"s3/buckets/{BUCKET}")), count)
            print(f"{count} objects made in {time.perf_counter() - began:.0f} s", flush=True)
            yield access
        finally:
            supervisor.stop("versitygw", grace_seconds=0.5)


def _files(bucket: Path, count: int) -> None:
    for number in range(count):
        folder = bucket / f"part-{number // 1000:04}"
        if number % 1000 == 0:
            folder.mkdir()
        (folder / f"object-{number:07}.json").write_bytes(b"{}")


def client(access: S3Access) -> Any:
    """A plain boto3 client."""
    return boto3.client(
        "s3",
        endpoint_url=access.endpoint,
        region_name=access.region,
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
    )
