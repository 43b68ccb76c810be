"""The items inside one object of a bucket, or one key of a ConfigMap or Secret: of each format its reader (§1.3).

Rule 1: what is read is one version: the one that is there when it is opened, or the one asked for (`if_match`).
Rule 2: compressed bytes are told by the extension of the key (§1.5), and unpacked as they come.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Final

import msgspec

from maprun.adapters import compression, parquet
from maprun.adapters.source_blocks import Values, grouped, reader_errors
from maprun.adapters.stores import Buckets
from maprun.core import csv_rows, decoding, jsonl
from maprun.model_reading import CsvDelimiter, CsvHeaderLocation, InputType, ItemReader, ReaderConfig
from maprun.ports import RandomAccess, Reading, Store

DELIMITERS: Final = {
    CsvDelimiter.COMMA: ",",
    CsvDelimiter.PIPE: "|",
    CsvDelimiter.SEMICOLON: ";",
    CsvDelimiter.SPACE: " ",
    CsvDelimiter.TAB: "\t",
}
MUST_BE: Final = {
    InputType.CSV: "must be CSV",
    InputType.JSON: "must be a JSON array or object",
    InputType.JSONL: "must hold one JSON value in each line",
    InputType.PARQUET: "must be a Parquet file",
}


class Form(msgspec.Struct, frozen=True):
    """How bytes become items. `headers` None: the first row of each object has them."""

    input_type: InputType
    headers: tuple[str, ...] | None = None
    delimiter: str = ","
    pointer: str = ""

    @property
    def demand(self) -> str:
        """What an object must be."""
        return MUST_BE[self.input_type] + (f" at the itemsPointer {self.pointer}" if self.pointer else "")


class Place(msgspec.Struct, frozen=True):
    """An object: `bucket` and `key`; `version` "" is the newest; `owner` is the account that must own the bucket."""

    bucket: str
    key: str
    version: str = ""
    owner: str = ""

    @property
    def uri(self) -> str:
        """`$$.Map.Item.Source` of the items inside."""
        return f"s3://{self.bucket}/{self.key}"


class Opened(msgspec.Struct, frozen=True):
    """An opened object: `etag` is its version; `parts` runs once, and closes the object at its end."""

    etag: str
    parts: Generator[Values]


def form_of(config: ReaderConfig) -> Form:
    """How a spec wants objects to be read."""
    assert config.input_type, "a rule of the spec demands it"
    given = config.csv_header_location is CsvHeaderLocation.GIVEN
    headers = tuple(config.csv_headers or ()) if given else None
    return Form(config.input_type, headers, DELIMITERS[config.csv_delimiter], config.items_pointer or "")


def place_of(reader: ItemReader) -> Place:
    """The object that a resolved spec names."""
    call = reader.call
    return Place(reader.bucket, reader.key, call.version_id or "", call.expected_bucket_owner or "")


def open_object(buckets: Buckets, place: Place, form: Form, if_match: str = "") -> Opened:
    """Open an object, in the version with the ETag `if_match` ("": whichever is there).

    Errors: `RunFailed` with `States.ItemReaderFailed`, `StoreUnavailable`; from here and from iterating.
    """
    with reader_errors(owner=place.owner):
        store = buckets.bucket(place.bucket, place.owner)
        reading = store.open(place.key, if_match, place.version)
    if form.input_type is InputType.PARQUET:
        reading.close()  # it is read in another order
        file = _File(store, place.key, reading)
        return Opened(reading.etag, _named(place.uri, form, _parquet(file)))

    def parts() -> Generator[Values]:
        try:
            yield from _items(reading, place.key, form)
        finally:
            reading.close()

    return Opened(reading.etag, _named(place.uri, form, parts()))


def items_of(data: bytes, key: str, uri: str, form: Form) -> Generator[Values]:
    """The items of a value that is at hand. `RunFailed` with `States.ItemReaderFailed`."""
    parts = _parquet(_Bytes(data)) if form.input_type is InputType.PARQUET else _items([data], key, form)
    return _named(uri, form, parts)


def _named(uri: str, form: Form, parts: Generator[Values]) -> Generator[Values]:
    with reader_errors(uri, f"spec.itemReader: {uri} {form.demand}"), closing(parts):
        yield from parts


def _items(packed: Iterable[bytes], key: str, form: Form) -> Generator[Values]:
    chunks = compression.opened(key, packed)
    if form.input_type is InputType.CSV:
        return ((rows, None) for rows in csv_rows.rows(chunks, form.delimiter, form.headers))
    if form.input_type is InputType.JSONL:
        return ((values, None) for values in jsonl.values(chunks))
    return _json(chunks, form.pointer)


def _json(chunks: Iterable[bytes], pointer: str) -> Generator[Values]:
    counted = _Counted(chunks)
    for group in grouped(decoding.items(counted, pointer), lambda: counted.read):
        keys = [key for key, _ in group if key is not None]
        yield [value for _, value in group], keys or None


def _parquet(file: RandomAccess) -> Generator[Values]:
    return ((rows, None) for rows in parquet.rows(file))


class _Counted:
    """Chunks, and how many bytes of them were `read`."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.read = 0
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.read += len(chunk)
            yield chunk


class _File:
    """An object read at any place, in the version that was opened."""

    def __init__(self, store: Store, key: str, reading: Reading) -> None:
        self.size = reading.size
        self._store, self._key, self._etag = store, key, reading.etag

    def read_at(self, offset: int, length: int) -> bytes:
        """So many bytes from there on."""
        return self._store.read_at(self._key, offset, length, self._etag)


class _Bytes:
    """The same for bytes at hand."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._data = data

    def read_at(self, offset: int, length: int) -> bytes:
        """So many bytes from there on."""
        return self._data[offset : offset + length]
