"""The values of a Secret or ConfigMap that a run names in its own namespace.

Rule 1: what is missing, or may not be read, is `NotReady`: the user can mend it while the run waits. No value is ever
        told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from maprun.adapters.cluster import ApiError, ClusterClient
from maprun.adapters.objects import read_config_map, read_secret
from maprun.errors import Held, Problem, Reason

GOES_ON: Final = "the run then goes on by itself"


class NotReady(Held):
    """The run cannot start yet, for a reason that the user can mend while it waits."""


class Kind(msgspec.Struct, frozen=True):
    """A kind of object that holds values by key, and the reasons of a condition that waits for one."""

    name: str
    read: Callable[[ClusterClient, str, str], Awaitable[dict[str, bytes]]]
    not_found: Reason
    not_usable: Reason


SECRET: Final = Kind("Secret", read_secret, Reason.SECRET_NOT_FOUND, Reason.SECRET_NOT_USABLE)
CONFIG_MAP: Final = Kind("ConfigMap", read_config_map, Reason.CONFIG_MAP_NOT_FOUND, Reason.CONFIG_MAP_NOT_USABLE)


async def values_of(
    client: ClusterClient, namespace: str, kind: Kind, name: str, *, field: str, wanted: str
) -> dict[str, bytes]:
    """All values of the object, which the run names at `field`; `wanted` says what it must hold.

    Errors: `NotReady`; `ApiError` when the API server cannot be asked.
    """
    try:
        return await kind.read(client, namespace, name)
    except ApiError as error:
        if error.status == 404:
            told = f"there is no {kind.name} {name} in the namespace {namespace}; create it with {wanted}, {GOES_ON}"
            raise NotReady(kind.not_found, Problem(field, told)) from error
        if error.status == 403:
            told = f"the operator may not read the {kind.name} {name}: {error.message}"
            raise NotReady(kind.not_usable, Problem(field, told)) from error
        raise
