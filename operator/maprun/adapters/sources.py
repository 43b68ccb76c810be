"""Where items come from: objects, a listing, a manifest, a ConfigMap or Secret, or the state's input (AWS page §1.3).

Rule 1: an item is known by its place in the whole dataset, counted from 0; reading again gives the same places.
Rule 2: reading can go on in the middle (`Resume`). A dataset with a fingerprint must then be the very same version; of
        one that has none (a listing), the object that is read on must be.
Rule 3: `maxItems` is the same for all readers: reading stops behind so many items, whatever comes then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import closing
from typing import Any, Final

from maprun.adapters import sources_listing, sources_manifest, sources_object
from maprun.adapters.source_blocks import ITEMS, Block, Resume, Source, Values, behind, reader_errors
from maprun.adapters.sources_object import form_of, place_of
from maprun.adapters.stores import Buckets
from maprun.core import resolving
from maprun.errors import Changed, StoreUnavailable
from maprun.model import MapRunSpec
from maprun.model_reading import InputType, ItemReader, ReaderTransformation

__all__ = ["Block", "Resume", "Source", "open_source"]

START: Final = Resume()
STATE_DATA: Final = "STATE_DATA"  # `$$.Map.Item.Source` of items out of the state's input


def open_source(
    spec: MapRunSpec,
    buckets: Buckets,
    context: dict[str, Any],
    resume: Resume = START,
    local: bytes | None = None,
) -> Source:
    """The dataset that a resolved spec names. `local` is the value in the ConfigMap or Secret that it names; None
    as long as that is missing.

    Errors: `RunFailed` with `States.ItemReaderFailed` (missing, forbidden, changed, or broken), or as
    `resolving.items` raises it; `StoreUnavailable`. They come from here and from iterating.
    """
    reader = spec.item_reader
    if reader is None:
        return Source("", _given(resolving.items(spec, context), resume.item))
    source = _opened(reader, buckets, resume, local)
    limit = reader.reader_config.limit
    return Source(source.fingerprint, _limited(source.blocks, limit, resume.item)) if limit else source


def _opened(reader: ItemReader, buckets: Buckets, resume: Resume, local: bytes | None) -> Source:
    config = reader.reader_config
    if reader.resource.local:
        if local is None:
            raise StoreUnavailable("the dataset cannot be read until then")
        return _local(reader, local, resume)
    if reader.resource.lists:
        flatten = config.transformation is ReaderTransformation.LOAD_AND_FLATTEN
        return Source("", (sources_listing.loaded if flatten else sources_listing.listed)(reader, buckets, resume))
    if config.manifest_type or config.input_type is InputType.MANIFEST:
        return sources_manifest.listed_in(reader, buckets, resume)
    place = place_of(reader)
    opened = sources_object.open_object(buckets, place, form_of(config), resume.fingerprint)
    return Source(opened.etag, _blocks(place.uri, opened.parts, resume.item))


def _local(reader: ItemReader, data: bytes, resume: Resume) -> Source:
    """The version of a value is the value: what else changes in its ConfigMap or Secret does not matter."""
    uri = f"{reader.resource.value}://{reader.call.name}/{reader.key}"
    version = hashlib.sha256(data).hexdigest()
    if resume.fingerprint not in ("", version):
        with reader_errors():
            raise Changed(f"{uri} changed")
    parts = sources_object.items_of(data, reader.key, uri, form_of(reader.reader_config))
    return Source(version, _blocks(uri, parts, resume.item))


def _given(items: list[Any] | dict[str, Any], first: int) -> Generator[Block]:
    values = list(items.values()) if isinstance(items, dict) else items
    keys = list(items) if isinstance(items, dict) else None
    for at in range(first, len(values), ITEMS):
        yield Block(STATE_DATA, at, values[at : at + ITEMS], keys and keys[at : at + ITEMS])


def _blocks(uri: str, parts: Generator[Values], first: int) -> Generator[Block]:
    """The items of one object past the first ones; their count is the bookmark."""
    at = first
    with closing(parts):
        for values, keys in behind(parts, first):
            yield Block(uri, at, values, keys)
            at += len(values)


def _limited(blocks: Generator[Block], limit: int, first: int) -> Generator[Block]:
    """The blocks up to the item that is the last wanted one. What lies behind it is not looked at."""
    with closing(blocks):
        while first < limit and (block := next(blocks, None)):
            wanted = block.upto(limit - block.first)
            yield wanted
            first = wanted.first + len(wanted.values)
