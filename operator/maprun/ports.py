"""What the engine asks of the outside: the Protocols that adapters fulfil and tests fake.

Rule 1: these are the engine's words. Kubernetes, S3 and the file system do not show through.
Rule 2: `Store` is synchronous (the engine calls it in threads); everything else is awaited on the event loop and never
        blocks it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from maprun.core.progress import Progress
from maprun.core.scheduling import Observation, PlanView
from maprun.core.status import Snapshot
from maprun.model import MapRunSpec
from maprun.records import Attempt, Batch, Exported, Outcome, Record, Redriven, Verdict


class ObjectInfo(msgspec.Struct, frozen=True):
    """One listed object. `etag` keeps its double quotes, `modified` is in seconds since the epoch, `size` in bytes."""

    key: str
    size: int
    etag: str
    modified: float
    storage_class: str = "STANDARD"


class Reading(Protocol):
    """An object opened for reading: its ETag and its bytes, in chunks of some 64 KiB to 1 MiB, once."""

    etag: str
    size: int

    def __iter__(self) -> Iterator[bytes]: ...
    def close(self) -> None: ...


class RandomAccess(Protocol):
    """One version of an object, read at any place, `size` bytes long. Errors as those of a `Store`."""

    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """So many bytes from an offset on, all inside the object."""


class Store(Protocol):
    """Keys and bytes: one bucket, or one prefix of it, or one directory. Thread-safe.

    Errors: `NotFound`, `AccessDenied`, `AlreadyExists`, `Changed`, `StoreUnavailable`, other `StoreError`; each message
    names bucket and key.
    """

    def read(self, key: str) -> bytes:
        """All bytes of a small object."""

    def open(self, key: str, if_match: str = "", version: str = "") -> Reading:
        """The object as a stream. `if_match` is an ETag: another version raises `Changed`, also when it changes while
        reading. `version` is the id of a version in a store that keeps versions; "" is the newest.
        """

    def read_at(self, key: str, offset: int, length: int, if_match: str) -> bytes:
        """So many bytes from an offset on, all inside the object, of the version with the ETag `if_match`."""

    def create(self, key: str, data: bytes) -> None:
        """Write durably, only if the key is absent; else `AlreadyExists`. A retry whose first try took effect
        succeeds (same bytes).
        """

    def write(self, key: str, chunks: Iterable[bytes], content_type: str) -> int:
        """Write or replace atomically from a stream of any length, without holding it in memory; returns the size in
        bytes.
        """

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key begins with `prefix` and is greater than `start_after`, in key order (UTF-8 bytes),
        all pages.
        """

    def folders(self, prefix: str = "") -> Iterator[str]:
        """The beginnings of keys from `prefix` (empty, or ending in `/`) up to and with the next `/`, each once, in
        order: what lies below is not looked at.
        """

    def delete(self, key: str) -> None:
        """Remove the key; an absent key is fine."""


class Launcher(Protocol):
    """Starts and observes the attempts of one run. What is running is observed, never remembered."""

    async def open(self) -> None:
        """Learn what exists already (attempts of an earlier operator); returns when `observe` is complete."""

    def observe(self) -> Observation:
        """The present state; cheap."""

    def launch(self, attempt: Attempt, batch: Batch) -> None:
        """Begin to start the attempt. It counts as active at once; a start that fails for good shows as a finished
        FAILED outcome.
        """

    def cancel(self, attempt: Attempt) -> None:
        """Begin to stop a running attempt and remove it."""

    def withdraw(self, attempt: Attempt) -> None:
        """Do not start an attempt that is `starting`: it is not active any more, and may be launched again. Where it
        is too late for that, it goes on.
        """

    def reap(self, attempt: Attempt) -> None:
        """Begin to remove a finished attempt whose outcome is durable."""

    async def changed(self) -> None:
        """Returns when `observe` would tell something new since the last call of it."""

    async def close(self) -> None:
        """Stop observing; leaves the attempts as they are."""


class Journal(Protocol):
    """The append-only record of a run. Its writer is alone: whoever opens it later fences the earlier one off."""

    @property
    def progress(self) -> Progress:
        """The fold of every durable record."""

    async def open(self) -> None:
        """Fence off earlier writers and fold everything that was written. Raises `Fenced` if others keep opening it."""

    def append(self, records: Sequence[Record]) -> Awaitable[None]:
        """Queue records, in order; awaiting the answer returns when they are durable and folded, or raises `Fenced`."""

    async def close(self) -> None:
        """Write what is queued, and stop."""


class Plan(Protocol):
    """The plan of a run: read from the dataset once, then immutable."""

    def views(self) -> AsyncGenerator[PlanView, None]:
        """What is durable now, then each step of reading on, until the plan is sealed or reading failed. Closing it
        ends the reading.
        """
        ...

    async def batches(self, children: Sequence[int]) -> Sequence[Batch]:
        """The batches of these children, in that order; they are durable."""
        ...

    def enter(self, redrive: int, plan: int) -> None:
        """From now on the plan is as redrive number `redrive` (0: the first life) has it, `plan` as in `Progress`:
        reading that failed in an earlier round goes on behind what is durable. Called before `views`.
        """


class Exporter(Protocol):
    """Writes the results of a run that has its verdict."""

    async def export(self, progress: Progress, verdict: Verdict, plan: PlanView) -> Exported:
        """Write the result files and the manifest, or build the inline output. Repeating it writes the same bytes."""
        ...


class Redriver(Protocol):
    """Finds what a redrive runs again."""

    async def redriven(self, progress: Progress, spec: MapRunSpec, at: float) -> Redriven | None:
        """The record that begins the next redrive of an exported run, by the spec's `redriveFilter`; None when
        everything has succeeded, so that there is nothing to redrive.
        """
        ...


class Allowance(msgspec.Struct, frozen=True):
    """Most children that a run may have now; `why` it is less than it would have, in words for the user."""

    children: int
    why: str = ""


class Capacity(Protocol):
    """One run's part of what all runs share: the ceilings of its namespace and of the cluster."""

    def ask(self, live: int, wanted: int) -> Allowance:
        """How many children the run may have until it asks again; it has `live` and would have `wanted`, at least
        `live`. Never less than `live`: nobody takes a running child away.
        """

    def close(self) -> None:
        """The run needs nothing any more."""


class Unlimited:
    """A `Capacity` without ceilings."""

    def ask(self, live: int, wanted: int) -> Allowance:
        """All that is wanted."""
        return Allowance(max(live, wanted))

    def close(self) -> None:
        """Nothing to give back."""


class Reporter(Protocol):
    """Tells the world. Never blocks and never fails: what cannot be told now is told later or dropped."""

    def launched(self, attempt: Attempt) -> None:
        """An attempt is being started."""

    def recorded(self, outcome: Outcome) -> None:
        """An outcome became durable."""

    def progressed(self, snapshot: Snapshot) -> None:
        """The present state; called often."""

    async def finished(self, snapshot: Snapshot) -> None:
        """The final state; returns when it has been told."""


class Observer:
    """Counts what the machinery does, for the operator's health. Called on the event loop and in threads alike; never
    blocks and never fails. This one counts nothing; another overrides what it counts.

    Times in seconds; a `status` is that of HTTP, 0 when no answer came.
    """

    def api_called(self, verb: str, status: int, seconds: float) -> None:
        """The API server answered one request; `verb` is one of get, list, watch, create, patch, delete."""

    def write_waited(self, seconds: float) -> None:
        """A write to the API server had to wait for its turn."""

    def write_throttled(self, reason: str) -> None:
        """The API server put a create off: `too_many_requests` (429) or `quota`."""

    def watch_restarted(self, resource: str) -> None:
        """The watch of `resource` (a plural) broke, or could not begin, and is tried again."""

    def journal_queued(self, records: int) -> None:
        """So many more records wait to become durable; fewer, when negative."""

    def journal_flushed(self, seconds: float, records: int) -> None:
        """A segment of so many records became durable, `seconds` after its write began."""

    def journal_failed(self) -> None:
        """A try to write a segment failed."""

    def s3_called(self, operation: str, status: int, seconds: float) -> None:
        """S3 answered one request of an operation (`GetObject`, …)."""


UNOBSERVED: Final = Observer()
