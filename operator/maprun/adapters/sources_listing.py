"""The objects of a bucket as items: their metadata, or what is inside them (`LOAD_AND_FLATTEN`) (§1.2, §1.3).

Rule 1: objects come in the order of their keys, on all pages. A listing has no version: it goes on behind the last
        key, so that an object that appears or vanishes before it moves nothing.
Rule 2: of an object that is loaded, the items planned so far must be of the version that is read on; else it fails.
Rule 3: what S3 consoles make for a folder, an empty object whose key ends in /, is an item by itself (AWS's words), but
        holds none.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

import msgspec

from maprun.adapters.source_blocks import Block, Resume, behind, grouped, reader_errors
from maprun.adapters.sources_object import Form, Opened, Place, form_of, open_object
from maprun.adapters.stores import Buckets
from maprun.model_reading import ItemReader
from maprun.ports import ObjectInfo


class Bookmark(msgspec.Struct, frozen=True, array_like=True):
    """Behind an item inside one of many objects: which object, in which version, and the place of its first item.

    `number`: how many objects come before it.
    """

    bucket: str
    object: str
    etag: str
    first: int
    number: int = 0


def listed(reader: ItemReader, buckets: Buckets, resume: Resume) -> Generator[Block]:
    """One item for each object, as AWS shapes it: `Etag` keeps its quotes, times are epoch seconds."""
    first = resume.item
    for infos in grouped(_objects(reader, buckets, resume.bookmark)):
        values = [_metadata(info) for info in infos]
        yield Block(f"s3://{reader.bucket}", first, values, None, [info.key for info in infos])
        first += len(values)


def loaded(reader: ItemReader, buckets: Buckets, resume: Resume) -> Generator[Block]:
    """The items inside each object."""
    mark = bookmark_of(resume)
    infos = _objects(reader, buckets, mark.object if mark else "")
    keys = (info.key for info in infos if info.size or not info.key.endswith("/"))
    places = (Place(reader.bucket, key, owner=owner_of(reader)) for key in keys)
    return inside(places, form_of(reader.reader_config), buckets, resume, owner_of(reader))


def inside(places: Iterable[Place], form: Form, buckets: Buckets, resume: Resume, owner: str) -> Generator[Block]:
    """The items of the object that the bookmark lies in, behind it, then those of the objects at these places."""
    mark = bookmark_of(resume)
    first, number = resume.item, 0
    if mark:
        place = Place(mark.bucket, mark.object, owner=owner)
        opened = open_object(buckets, place, form, mark.etag)
        first = yield from _inside(place, opened, mark, first - mark.first)
        number = mark.number + 1
    for count, place in enumerate(places, number):
        opened = open_object(buckets, place, form)
        mark = Bookmark(place.bucket, place.key, opened.etag, first, count)
        first = yield from _inside(place, opened, mark, 0)


def bookmark_of(resume: Resume) -> Bookmark | None:
    """The bookmark of a dataset of many objects; None at its beginning."""
    return msgspec.json.decode(resume.bookmark, type=Bookmark) if resume.bookmark else None


def owner_of(reader: ItemReader) -> str:
    """The account that must own the buckets, "" for any."""
    return reader.call.expected_bucket_owner or ""


def _inside(place: Place, opened: Opened, mark: Bookmark, skip: int) -> Generator[Block, None, int]:
    """The items of one object past the first `skip`; returns the place behind its last."""
    at = mark.first + skip
    bookmark = msgspec.json.encode(mark).decode()
    with closing(opened.parts):
        for values, keys in behind(opened.parts, skip):
            yield Block(place.uri, at, values, keys, bookmark)
            at += len(values)
    return at


def _objects(reader: ItemReader, buckets: Buckets, start_after: str) -> Iterator[ObjectInfo]:
    owner = owner_of(reader)
    with reader_errors(owner=owner):
        yield from buckets.bucket(reader.bucket, owner).list(reader.prefix, start_after)


def _metadata(info: ObjectInfo) -> dict[str, Any]:
    return {
        "Etag": info.etag,
        "Key": info.key,
        "LastModified": float(info.modified),
        "Size": info.size,
        "StorageClass": info.storage_class,
    }
