"""What every reader gives: items in blocks, and the errors of a dataset in the run's words.

Rule 1: whatever is wrong with the dataset is `RunFailed`, names the object, and points at the field of the spec; only
        `StoreUnavailable` passes through.
Rule 2: an error comes behind the items before it, so that what is read never depends on how it is cut into blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from maprun.errors import AccessDenied, Changed, MapRunError, RunFailed, StatesError, StoreError, StoreUnavailable

ITEMS: Final = 1_000  # most items of a block that is made here
SPAN: Final = 1 << 16  # bytes of a dataset behind which such a block ends
FIELD: Final = "spec.itemReader.parameters"
SECRET: Final = "spec.s3.credentialsSecretRef names the Secret with the credentials"
AGAIN: Final = (
    "the items planned so far are of the older version; start a new run, and replace the object only between runs"
)
DATASET: Final = "The dataset"  # how the core calls an object whose name it does not know

T = TypeVar("T")

Values: TypeAlias = tuple[Sequence[Any], list[str] | None]
"""Some items of one object, in order, never none; their keys, where the dataset is an object."""


class Resume(msgspec.Struct, frozen=True):
    """Where reading goes on: behind `item` items, at the reader's `bookmark`, in the version `fingerprint` ("" any)."""

    item: int = 0
    bookmark: str = ""
    fingerprint: str = ""


class Block(msgspec.Struct, frozen=True):
    """Some items of a dataset, in order, never none.

    `uri`: their `$$.Map.Item.Source`. `first`: the place of the first over the whole dataset, from 0. `keys`: where
    the dataset is an object. `behind`: the bookmark behind each item; one string is the same behind each.
    """

    uri: str
    first: int
    values: Sequence[Any]
    keys: list[str] | None = None
    behind: str | list[str] = ""

    def upto(self, count: int) -> Block:
        """The first `count` items of it."""
        if count >= len(self.values):
            return self
        keys = None if self.keys is None else self.keys[:count]
        behind = self.behind if isinstance(self.behind, str) else self.behind[:count]
        return Block(self.uri, self.first, self.values[:count], keys, behind)


class Source(msgspec.Struct, frozen=True):
    """An opened dataset: `fingerprint` is its version, "" where it has none; `blocks` runs once."""

    fingerprint: str
    blocks: Generator[Block]


def grouped(things: Iterator[T], read: Callable[[], int] = lambda: 0) -> Iterator[list[T]]:
    """The things in lists of at most 1,000, none empty. A list ends early where `read`, a count of bytes, has moved on
    by 64 KiB.
    """
    while True:
        group, error = _group(things, read)
        if group:
            yield group
        if error:
            raise error
        if not group:
            return


def _group(things: Iterator[T], read: Callable[[], int]) -> tuple[list[T], MapRunError | None]:
    group: list[T] = []
    until = read() + SPAN
    try:
        for thing in things:
            group.append(thing)
            if len(group) == ITEMS or read() >= until:
                break
    except MapRunError as error:
        return group, error
    return group, None


def behind(parts: Iterator[Values], skip: int) -> Iterator[Values]:
    """The items past the first `skip`."""
    for values, keys in parts:
        if skip >= len(values):
            skip -= len(values)
        elif skip:
            yield values[skip:], keys and keys[skip:]
            skip = 0
        else:
            yield values, keys


@contextmanager
def reader_errors(uri: str = DATASET, hint: str = "", owner: str = "") -> Iterator[None]:
    """What goes wrong as the error of AWS. `hint` tells the field to look at; `owner` is the account asked for."""
    try:
        yield
    except RunFailed as failed:
        raise _named(failed, uri).with_hint(hint) from None
    except StoreUnavailable:
        raise
    except StoreError as error:
        raise RunFailed(StatesError.ITEM_READER_FAILED, f"{FIELD}: {error}{_advice(error, owner)}") from error


def _named(failed: RunFailed, uri: str) -> RunFailed:
    """The same error about the object of that name, unless its text is AWS's own."""
    cause = failed.failure.cause
    if not cause.startswith(DATASET):
        return failed
    return RunFailed(failed.failure.error, uri + cause.removeprefix(DATASET), failed.reason)


def _advice(error: StoreError, owner: str) -> str:
    if isinstance(error, Changed):
        return f"; {AGAIN}"
    if isinstance(error, AccessDenied):
        return f"; {SECRET}" + (f"; {FIELD}.expectedBucketOwner must own the bucket: {owner}" if owner else "")
    return ""
