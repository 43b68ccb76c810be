"""The bare loops: what reading alone costs with the fastest library for each format, with nothing done to the rows.

Rule 1: the bytes are those that the plan reads, from the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from maprun.adapters.s3_access import S3Access

CHUNK: Final = 1 << 18

Loop = Callable[[Path], int]
"""Reads a file, returns how many rows it found."""


def csv_reader(path: Path) -> int:
    """The csv module over lines of text."""
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def msgspec_lines(path: Path) -> int:
    """msgspec, line by line."""
    import msgspec

    decode = msgspec.json.Decoder().decode
    with path.open("rb") as file:
        return sum(1 for _ in map(decode, file))


def ijson_items(path: Path) -> int:
    """ijson, the one that reads as it comes."""
    import ijson

    with path.open("rb") as file:
        return sum(1 for _ in ijson.items(file, "item", use_float=True, buf_size=CHUNK))


def msgspec_whole(path: Path) -> int:
    """msgspec over the whole file, which must fit into memory."""
    import msgspec

    return len(msgspec.json.decode(path.read_bytes()))


def pyarrow_rows(path: Path) -> int:
    """pyarrow, batch by batch, to Python's values."""
    import pyarrow.parquet as pq

    return sum(len(batch.to_pylist()) for batch in pq.ParquetFile(path).iter_batches(batch_size=1_000))


def paginator(access: S3Access, bucket: str) -> int:
    """boto3's own paging."""
    from bench.readers.data import client

    pages: Iterator[dict[str, Any]] = client(access).get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return sum(len(page.get("Contents", ())) for page in pages)


LOOPS: Final[dict[str, dict[str, Loop]]] = {
    "csv": {"csv.reader": csv_reader},
    "quoted": {"csv.reader": csv_reader},
    "json": {"ijson": ijson_items, "msgspec, whole": msgspec_whole},
    "jsonl": {"msgspec": msgspec_lines},
    "parquet": {"pyarrow": pyarrow_rows},
}
