"""Which store a URL means (`file:///directory`, `s3://bucket/prefix`), and how buckets are reached by name.

Rule 1: this module knows the names of the implementations, and imports boto3 only when S3 is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from maprun.adapters.directory import DirectoryStore
from maprun.adapters.s3_access import S3Access
from maprun.core.places import Place
from maprun.errors import StoreError, StoreUnavailable
from maprun.ports import UNOBSERVED, Observer, Store

FORMS: Final = "expected file:///directory or s3://bucket/prefix"


class Buckets(Protocol):
    """The buckets that a run may name, each as a `Store` over the whole bucket. Thread-safe."""

    def bucket(self, name: str, owner: str = "") -> Store:
        """The bucket of that name, which the account `owner` must own ("": any). That it is missing, or another's,
        shows only when it is used.
        """


class BucketsRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where buckets lie, as a value for another process: directories under `root`, a path; else S3 through `access`,
    without the keys of `state`. `held`: why none can be reached yet, and then none is, by whatever credentials.
    """

    root: str = ""
    access: S3Access = S3Access()
    state: Place | None = None
    held: str = ""

    def open(self, observer: Observer = UNOBSERVED) -> Buckets:
        """The buckets that this value means."""
        if self.held:
            return HeldBuckets()
        return DirectoryBuckets(Path(self.root)) if self.root else S3Buckets(self.access, observer, self.state)


class S3Buckets:
    """S3 buckets by name, all through one client; what lies in `state` is kept from whoever uses them."""

    def __init__(self, access: S3Access, observer: Observer = UNOBSERVED, state: Place | None = None) -> None:
        self._access, self._observer, self._state = access, observer, state

    def bucket(self, name: str, owner: str = "") -> Store:
        """The bucket of that name."""
        from maprun.adapters import s3

        return s3.S3Store(s3.client(self._access, self._observer), name, owner=owner, kept=self._state)


class HeldBuckets:
    """No bucket can be reached until something outside is mended, which is told elsewhere."""

    def bucket(self, name: str, owner: str = "") -> Store:
        """Raises `StoreUnavailable`."""
        raise StoreUnavailable(f"bucket {name}: it cannot be asked for until then")


class DirectoryBuckets:
    """For runs without S3: the bucket `data` is the directory `<root>/data`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def bucket(self, name: str, owner: str = "") -> Store:
        """The directory of that name; a directory belongs to no account. `StoreError`: the name would leave the
        root.
        """
        if not name or "/" in name or "\0" in name or name in (".", ".."):
            raise StoreError(f"bucket {name!r}: a bucket name has no / and is neither . nor ..")
        return DirectoryStore(self._root / name, title=f"bucket {name}", must_exist=True)


def open_store(url: str, access: S3Access = S3Access(), observer: Observer = UNOBSERVED) -> Store:
    """The store at a URL: `file:///absolute/directory`, `s3://bucket`, or `s3://bucket/prefix`.

    A `/` behind the prefix is implied. `StoreError` for any other form. Nothing is created or contacted yet.
    """
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise StoreError(f"store {url!r}: {FORMS}, without ? and #")
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return DirectoryStore(Path(unquote(parts.path)))
    if place := s3_place(url):
        from maprun.adapters import s3

        return s3.S3Store(s3.client(access, observer), place.bucket, place.prefix)
    raise StoreError(f"store {url!r}: {FORMS}")


def s3_place(url: str) -> Place | None:
    """Bucket and prefix of a store in S3; None for any other."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        return None
    inside = parts.path.strip("/")
    return Place(parts.netloc, inside and inside + "/")
