"""A dataset that needs no S3: the value under one key of a ConfigMap or Secret in the run's own namespace.

Rule 1: what is missing is `NotReady`: the user can mend it while the run waits. No value is ever told.
Rule 2: whoever may make a run in a namespace may mount its Secrets there, so reading one gives nobody more.
"""

from __future__ import annotations

from typing import Final

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.credentials import GOES_ON, NotReady
from maprun.adapters.objects import read_config_map, read_secret
from maprun.errors import Problem, Reason
from maprun.model import ItemReader, ReaderResource

FIELD: Final = "spec.itemReader.parameters"
KINDS: Final = {ReaderResource.CONFIG_MAP: "ConfigMap", ReaderResource.SECRET: "Secret"}
NOT_FOUND: Final = {
    ReaderResource.CONFIG_MAP: Reason.CONFIG_MAP_NOT_FOUND,
    ReaderResource.SECRET: Reason.SECRET_NOT_FOUND,
}
NOT_USABLE: Final = {
    ReaderResource.CONFIG_MAP: Reason.CONFIG_MAP_NOT_USABLE,
    ReaderResource.SECRET: Reason.SECRET_NOT_USABLE,
}


async def read_value(client: ClusterClient, namespace: str, reader: ItemReader) -> bytes:
    """The value that a resolved spec names. Errors: `NotReady`; `ApiError` when the API server cannot be asked."""
    name, what = reader.call.name or "", reader.resource
    where = f"{KINDS[what]} {name}"
    read = read_config_map if what is ReaderResource.CONFIG_MAP else read_secret
    try:
        values = await read(client, namespace, name)
    except ApiError as error:
        if error.status == 404:
            told = f"there is no {where} in the namespace {namespace}; create it with the key {reader.key}, {GOES_ON}"
            raise NotReady(NOT_FOUND[what], Problem(f"{FIELD}.name", told)) from error
        if error.status == 403:
            told = f"the operator may not read the {where}: {error.message}"
            raise NotReady(NOT_USABLE[what], Problem(f"{FIELD}.name", told)) from error
        raise
    if reader.key not in values:
        told = f"the {where} in the namespace {namespace} has no key {reader.key}; add it, {GOES_ON}"
        raise NotReady(NOT_USABLE[what], Problem(f"{FIELD}.key", told))
    return values[reader.key]
