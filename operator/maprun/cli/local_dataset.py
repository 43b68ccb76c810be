"""A ConfigMap or Secret for a run here: the directory of its name, below that of the buckets, with a file for each key.

Rule 1: as on a cluster, the value is read once, before the plan, and has at most 1 MiB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from maprun.adapters.stores import DirectoryBuckets
from maprun.cli.sentences import BadInput
from maprun.errors import NotFound, StoreError
from maprun.model_reading import ItemReader

FIELD: Final = "spec.itemReader.parameters"
MAX_BYTES: Final = 1 << 20


def read_value(reader: ItemReader, root: Path, shown: str) -> bytes:
    """The value that a resolved spec names. `shown` is how a person would type `root`. Errors: `BadInput`. Blocks."""
    name = reader.call.name or ""
    path = f"{shown}/{name}/{reader.key}"
    try:
        reading = DirectoryBuckets(root).bucket(name).open(reader.key)
        try:
            if reading.size <= MAX_BYTES:
                return b"".join(reading)
        finally:
            reading.close()
    except NotFound:
        told = f"{path} is not a file, and stands for the {reader.resource.value} {name} here"
        raise BadInput(f"{FIELD}: {told}; put the data there, or say with --bucket-dir where it is") from None
    except StoreError as error:
        raise BadInput(f"{FIELD}: {error}") from None
    raise BadInput(f"{FIELD}.key: {path} has {reading.size:,} bytes; a {reader.resource.value} holds at most 1 MiB")
