"""Before an uninstallation: the operator stops, and lets go of its runs, so that they can be deleted without it.

Rule 1: nobody leads while finalizers are taken away: whoever leads adds them again. So the Lease is taken first, and
        who led has been given the time to notice.
Rule 2: it ends, one way or the other: an uninstallation waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from maprun.adapters.cluster import JSON_PATCH, ApiError, ClusterClient
from maprun.adapters.lease_object import LeaseObject
from maprun.adapters.run_list import Listed, all_runs
from maprun.core.leading import RENEW_SECONDS, Record, held
from maprun.core.lifecycle import FINALIZER
from maprun.errors import MapRunError
from maprun.model import GROUP, PLURAL, VERSION

ME: Final = "maprun-leave"
LEASE_SECONDS: Final = 60  # that nobody else leads from then on
NOTICE_SECONDS: Final = RENEW_SECONDS + 1.0  # until an operator that led has stopped, whatever it was doing
LIMIT_SECONDS: Final = 120.0  # for everything
RETRY_SECONDS: Final = 1.0
CONFLICTS: Final = (404, 409, 422)  # the run is gone, or was changed meanwhile: the next look tells


async def leave(client: ClusterClient, lease: str, namespaces: Sequence[str], say: Callable[[str], None]) -> None:
    """Stop whoever leads by `lease` ("": nobody does), and take the finalizer off the runs of these namespaces (of all,
    when there are none). Errors: `MapRunError`.
    """
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            if lease:
                await _stopped(lease, await _take(client, lease), say)
            say(_told(await _let_go_of_all(client, namespaces)))
            # In case that took so long that ours had run out, and another took it.
            while lease and (leader := await _take(client, lease)) not in ("", ME):
                await _stopped(lease, leader, say)
                await _let_go_of_all(client, namespaces)
            if lease:
                say(f"nobody leads by Lease {lease} for the next {LEASE_SECONDS} seconds: uninstall the operator now")
    except TimeoutError:
        raise MapRunError(f"not done after {LIMIT_SECONDS:.0f} seconds; is the API server well? Try again") from None


async def _stopped(lease: str, leader: str, say: Callable[[str], None]) -> None:
    """The Lease was taken from `leader`; returns when that one has stopped."""
    if leader:
        say(f"took Lease {lease} from {leader}; waiting {NOTICE_SECONDS:.0f} seconds until it has stopped")
        await asyncio.sleep(NOTICE_SECONDS)
    else:
        say(f"took Lease {lease}, which nobody held")


async def _take(client: ClusterClient, place: str) -> str:
    """Take the Lease, whoever has it; returns who that was, "" for nobody. `ME` may be a try that was killed before the
    leader had noticed it; so may be the one before in here, whose answer was lost.
    """
    lease, leader = LeaseObject(client, place), ""
    while True:
        try:
            await lease.get()
            before = lease.record or Record()
            leader = before.holder if before.holder not in ("", ME) else leader or before.holder
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            await lease.put(msgspec.structs.replace(held(ME, before, now), lease_duration_seconds=LEASE_SECONDS))
        except ApiError as error:
            if error.status != 409 and not error.unavailable:
                raise
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return leader


async def _let_go_of_all(client: ClusterClient, namespaces: Sequence[str]) -> int:
    """Returns of how many runs."""
    done: set[str] = set()
    while True:
        try:
            runs = [run for run in await all_runs(client, namespaces) if FINALIZER in run.finalizers]
            if not runs:
                return len(done)
            for run in runs:
                await _let_go(client, run)
                done.add(run.uid)
        except ApiError as error:
            if error.status == 404:  # the CRD is gone, and all runs with it
                return len(done)
            if not error.unavailable:
                raise
            await asyncio.sleep(RETRY_SECONDS)


async def _let_go(client: ClusterClient, run: Listed) -> None:
    """Take our finalizer off, if the run is as it was listed."""
    where = f"/metadata/finalizers/{run.finalizers.index(FINALIZER)}"
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": run.uid},
        {"op": "test", "path": where, "value": FINALIZER},
        {"op": "remove", "path": where},
    ]
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{run.namespace}/{PLURAL}/{run.name}"
    try:
        await client.request("PATCH", path, msgspec.json.encode(patch), content_type=JSON_PATCH)
    except ApiError as error:
        if error.status not in CONFLICTS:
            raise


def _told(runs: int) -> str:
    if not runs:
        return "no MapRun had the operator's finalizer"
    return (
        f"took the operator's finalizer off all MapRuns that were not done, {runs} in number: they can be deleted now, "
        "and their Jobs go with them; those that stay go on when an operator comes again"
    )
