"""Who leads, by a Lease: what a candidate does next, given the Lease's record and since when it has been seen so.

Rule 1: `now`, `since` and `until` are seconds of the candidate's own monotonic clock. The times inside a record are for
people and only compared for a change: clocks of nodes may differ, and jump.
Rule 2: another's record is respected until it has stood unchanged for as long as it says, counted from when it was
first seen so. A Lease that was deleted meanwhile changes nothing in that: its holder is about to make it anew.
Rule 3: whoever leads does so until RENEW_SECONDS after the start of its last renewal that succeeded. All others wait
longer, so that no two lead at a time.
"""

from __future__ import annotations

from typing import Final

import msgspec

LEASE_SECONDS: Final = 10  # without a renewal, until another takes over
RENEW_SECONDS: Final = 7.0  # without a renewal, until the holder stops


class Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The part of a Lease's spec that matters here; what the Lease leaves out is null or absent there."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None

    @property
    def holder(self) -> str:
        """Who leads by it; "" when nobody does."""
        return self.holder_identity or ""

    @property
    def seconds(self) -> float:
        """For how long it stands without a renewal."""
        return float(self.lease_duration_seconds or LEASE_SECONDS)


class Seen(msgspec.Struct, frozen=True):
    """The last record that was seen, and since when it has been so. `there`: the Lease still exists."""

    record: Record = Record()
    since: float = 0.0
    there: bool = False


class Acquire(msgspec.Struct, frozen=True):
    """Nobody leads: write the Lease."""


class Renew(msgspec.Struct, frozen=True):
    """It is ours: write it again."""


class Wait(msgspec.Struct, frozen=True):
    """Another leads: look again when the Lease changes, at `until` at the latest."""

    until: float


class Lost(msgspec.Struct, frozen=True):
    """We led, and no longer do."""

    why: str


Step = Acquire | Renew | Wait | Lost


def seen_next(seen: Seen, found: Record | None, now: float) -> Seen:
    """What is known after a look at the Lease; `found` is None when it does not exist."""
    if found is None:
        return msgspec.structs.replace(seen, there=False)
    return Seen(found, seen.since if found == seen.record else now, there=True)


def decide(me: str, seen: Seen, until: float | None, now: float) -> Step:
    """The next step of the candidate `me`, which leads until `until`; None: it does not lead."""
    if until is not None:
        return _as_leader(me, seen, until, now)
    if seen.record.holder in ("", me):
        return Acquire()
    ends = seen.since + seen.record.seconds
    return Wait(ends) if now < ends else Acquire()


def _as_leader(me: str, seen: Seen, until: float, now: float) -> Step:
    if seen.there and seen.record.holder != me:
        return Lost(f"{seen.record.holder or 'nobody'} holds it now")
    if now >= until:
        return Lost(f"it has not been renewed for {RENEW_SECONDS:g} seconds")
    return Renew()


def held(me: str, before: Record, at: str) -> Record:
    """What `me` writes to take the Lease, and to keep it: after `before`, at the time of day `at`."""
    kept = before.holder == me
    transitions = before.lease_transitions
    return Record(
        holder_identity=me,
        lease_duration_seconds=LEASE_SECONDS,
        acquire_time=(before.acquire_time if kept else None) or at,
        renew_time=at,
        lease_transitions=0 if transitions is None else transitions + (not kept),
    )


def released(before: Record, at: str) -> Record:
    """What its holder writes when it stops: anybody may take the Lease at once."""
    return msgspec.structs.replace(before, holder_identity="", lease_duration_seconds=1, renew_time=at)
