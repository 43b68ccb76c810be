"""Where items come from: one object's contents, a listing of a bucket, or the state's input (AWS page §1.3).

Rule 1: an item is known by its place in the whole dataset, counted from 0; reading again gives the same places.
Rule 2: reading can go on in the middle (`Resume`). A dataset with a fingerprint must then be the very same version; a
        listing has none and goes on behind the last key, so that an object that appears or vanishes before it moves
        nothing.
Rule 3: whatever is wrong with the dataset is `RunFailed` and names the field of the spec; only `StoreUnavailable`
        passes through.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from maprun.adapters.stores import Buckets
from maprun.core import decoding, paths
from maprun.errors import AccessDenied, Changed, RunFailed, StatesError, StoreError, StoreUnavailable
from maprun.model import ItemReader, MapRunSpec
from maprun.ports import ObjectInfo

FIELD: Final = "spec.itemReader.parameters"
STATE_DATA: Final = "STATE_DATA"  # `$$.Map.Item.Source` of items out of the state's input
SECRET: Final = "spec.s3.credentialsSecretRef names the Secret with the credentials"
AGAIN: Final = (
    "the items planned so far are of the older version; start a new run, and replace the object only between runs"
)


class Resume(msgspec.Struct, frozen=True):
    """Where reading goes on: behind `item` items, at the reader's `bookmark`, in the version `fingerprint` ("" any)."""

    item: int = 0
    bookmark: str = ""
    fingerprint: str = ""


class Item(msgspec.Struct, frozen=True, gc=False):
    """One item: its place, the key where the dataset is an object, the value, and the bookmark behind it."""

    index: int
    key: str | None
    value: Any
    behind: str


class Source(msgspec.Struct, frozen=True):
    """An opened dataset: `uri` is `$$.Map.Item.Source`, `fingerprint` its version or ""; `items` runs once."""

    uri: str
    fingerprint: str
    items: Generator[Item]


def open_source(spec: MapRunSpec, buckets: Buckets, context: dict[str, Any], resume: Resume = Resume()) -> Source:
    """The dataset that a spec names.

    Errors: `RunFailed` with `States.ItemReaderFailed` (missing, forbidden, changed, or broken), or with
    `States.Runtime` where `itemsPath` does not lead to items; `StoreUnavailable`. They come from here and from
    iterating.
    """
    reader = spec.item_reader
    if reader is None:
        with _reader_errors(f"spec.itemsPath, {spec.items_path}, must lead to an array or an object in spec.input"):
            return Source(STATE_DATA, "", _given(paths.reference(spec.items_path, spec.input, context), resume))
    if reader.resource.lists:
        return Source(f"s3://{reader.parameters.bucket}", "", _listed(reader, buckets, resume))
    return _contents(reader, buckets, resume)


def _given(items: list[Any] | dict[str, Any], resume: Resume) -> Generator[Item]:
    pairs = items.items() if isinstance(items, dict) else ((None, value) for value in items)
    return _behind(resume, pairs)


def _listed(reader: ItemReader, buckets: Buckets, resume: Resume) -> Generator[Item]:
    """One item for each object, as AWS shapes it: `Etag` keeps its quotes, times are epoch seconds."""
    parameters = reader.parameters
    limit = reader.reader_config.max_items
    with _reader_errors():
        objects = buckets.bucket(parameters.bucket).list(parameters.prefix or "", start_after=resume.bookmark)
        for index, info in enumerate(objects, resume.item):
            if limit and index >= limit:
                return
            yield Item(index, None, _metadata(info), info.key)


def _metadata(info: ObjectInfo) -> dict[str, Any]:
    return {
        "Etag": info.etag,
        "Key": info.key,
        "LastModified": float(info.modified),
        "Size": info.size,
        "StorageClass": info.storage_class,
    }


def _contents(reader: ItemReader, buckets: Buckets, resume: Resume) -> Source:
    parameters = reader.parameters
    if not parameters.key:
        raise RunFailed(StatesError.ITEM_READER_FAILED, f"{FIELD}.key: must be there with {reader.resource.value}")
    with _reader_errors():
        reading = buckets.bucket(parameters.bucket).open(parameters.key, if_match=resume.fingerprint)

    uri = f"s3://{parameters.bucket}/{parameters.key}"
    pointer = reader.reader_config.items_pointer or ""

    def items() -> Generator[Item]:
        place = f"{uri} must be a JSON array or object" + (f" at the itemsPointer {pointer}" if pointer else "")
        with _reader_errors(f"spec.itemReader: {place}"):
            try:
                yield from _behind(resume, decoding.items(reading, pointer, reader.reader_config.max_items))
            finally:
                reading.close()

    return Source(uri, reading.etag, items())


def _behind(resume: Resume, pairs: Iterable[tuple[str | None, Any]]) -> Generator[Item]:
    """The pairs as items, past those that were read before; the count is the bookmark."""
    for index, (key, value) in enumerate(pairs):
        if index >= resume.item:
            yield Item(index, key, value, "")


@contextmanager
def _reader_errors(hint: str = "") -> Iterator[None]:
    """What goes wrong as the error of AWS, with a hint where its words do not name the field."""
    try:
        yield
    except RunFailed as failed:
        raise failed.with_hint(hint) from None
    except StoreUnavailable:
        raise
    except StoreError as error:
        advice = AGAIN if isinstance(error, Changed) else SECRET if isinstance(error, AccessDenied) else ""
        raise RunFailed(
            StatesError.ITEM_READER_FAILED, f"{FIELD}: {error}" + (f"; {advice}" if advice else "")
        ) from error
