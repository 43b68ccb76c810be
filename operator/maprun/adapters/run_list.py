"""All MapRuns that there are, by the API server's newest state: what is asked now and then, beside any watch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from maprun.adapters.cluster import ClusterClient
from maprun.model import GROUP, PLURAL, VERSION

PAGE: Final = 200  # runs of one answer: some 2 MB at most


class Listed(msgspec.Struct):
    """A run's metadata, as far as it matters here."""

    name: str
    namespace: str
    uid: str
    finalizers: list[str] = []


class _Run(msgspec.Struct):
    metadata: Listed


class _More(msgspec.Struct):
    next: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct):
    metadata: _More
    items: list[_Run]


async def all_runs(client: ClusterClient, namespaces: Sequence[str] = ()) -> list[Listed]:
    """The runs of these namespaces; of all, when there are none. Nothing is left out. Errors: `ApiError`."""
    parts = [f"namespaces/{each}/" for each in namespaces] or [""]
    return [run for part in parts for run in await _listed(client, f"/apis/{GROUP}/{VERSION}/{part}{PLURAL}")]


async def _listed(client: ClusterClient, path: str) -> list[Listed]:
    found: list[Listed] = []
    query = {"limit": str(PAGE)}
    while True:
        page = msgspec.json.decode(await client.request("GET", path, params=query), type=_Page)
        found += [run.metadata for run in page.items]
        if not page.metadata.next:
            return found
        query["continue"] = page.metadata.next
