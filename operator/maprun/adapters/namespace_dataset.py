"""A dataset that needs no S3: the value under one key of a ConfigMap or Secret in the run's own namespace.

Rule 1: what is missing is `NotReady` (adapters/namespace_values.py). No value is ever told.
Rule 2: whoever may make a run in a namespace may mount its Secrets there, so reading one gives nobody more.
"""

from __future__ import annotations

from typing import Final

from maprun.adapters.cluster import ClusterClient
from maprun.adapters.namespace_values import CONFIG_MAP, GOES_ON, SECRET, NotReady, values_of
from maprun.errors import Problem
from maprun.model_reading import ItemReader, ReaderResource

FIELD: Final = "spec.itemReader.parameters"
KINDS: Final = {ReaderResource.CONFIG_MAP: CONFIG_MAP, ReaderResource.SECRET: SECRET}


async def read_value(client: ClusterClient, namespace: str, reader: ItemReader) -> bytes:
    """The value that a resolved spec names. Errors: `NotReady`; `ApiError` when the API server cannot be asked."""
    kind, name, key = KINDS[reader.resource], reader.call.name or "", reader.key
    values = await values_of(client, namespace, kind, name, field=f"{FIELD}.name", wanted=f"the key {key}")
    if key not in values:
        told = f"the {kind.name} {name} in the namespace {namespace} has no key {key}; add it, {GOES_ON}"
        raise NotReady(kind.not_usable, Problem(f"{FIELD}.key", told))
    return values[key]
