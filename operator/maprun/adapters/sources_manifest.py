"""The items inside the files that a manifest lists: an S3 inventory's, or those of an Athena UNLOAD (§1.2, §1.3).

Rule 1: the manifest is one version, as one object is. Its files are read in its order, as the objects of a listing.
Rule 2: a manifest is a small file: one that is larger than 64 MiB is none.
"""

from __future__ import annotations

from typing import Final

from maprun.adapters.source_blocks import Resume, Source, reader_errors
from maprun.adapters.sources_listing import bookmark_of, inside
from maprun.adapters.sources_object import DELIMITERS, Form, Place, form_of, place_of
from maprun.adapters.stores import Buckets
from maprun.core import manifests
from maprun.errors import RunFailed, StatesError
from maprun.model_reading import InputType, ItemReader, ManifestType

MAX_BYTES: Final = 64 << 20


def listed_in(reader: ItemReader, buckets: Buckets, resume: Resume) -> Source:
    """The items inside the files of the manifest that a resolved spec names.

    Errors: `RunFailed` with `States.ItemReaderFailed`, `StoreUnavailable`; from here and from iterating.
    """
    manifest = place_of(reader)
    kind = reader.reader_config.manifest_type or ManifestType.S3_INVENTORY
    hint = f"spec.itemReader: {manifest.uri} must be a manifest of the type {kind.value}"
    with reader_errors(manifest.uri, hint, manifest.owner):
        etag, data = _read(buckets, manifest, resume.fingerprint)
        listed = manifests.files(data, manifest.key, kind)
    files = [Place(bucket, key, owner=manifest.owner) for bucket, key in listed.files]
    mark = bookmark_of(resume)
    ahead = files[mark.number + 1 :] if mark else files
    return Source(etag, inside(ahead, _form(reader, listed.headers), buckets, resume, manifest.owner))


def _form(reader: ItemReader, headers: tuple[str, ...]) -> Form:
    config = reader.reader_config
    if config.manifest_type is ManifestType.ATHENA_DATA:
        return form_of(config)
    return Form(InputType.CSV, headers, DELIMITERS[config.csv_delimiter])


def _read(buckets: Buckets, place: Place, if_match: str) -> tuple[str, bytes]:
    reading = buckets.bucket(place.bucket, place.owner).open(place.key, if_match, place.version)
    try:
        if reading.size > MAX_BYTES:
            cause = f"The dataset cannot be read as a manifest: it has more than {MAX_BYTES >> 20} MiB."
            raise RunFailed(StatesError.ITEM_READER_FAILED, cause)
        return reading.etag, b"".join(reading)
    finally:
        reading.close()
