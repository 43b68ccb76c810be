"""`ports.Store` over a directory: for local runs, and for the operator's own volume.

Rule 1: what a call promised to write survives a power cut: file and directory are synced before it returns.
Rule 2: a reader never sees half an object: contents appear under their name complete, or not at all.
Rule 3: a key never leads out of the root: no `..`, no empty part, no absolute path, no NUL.
Rule 4: as on S3 there are no folders: they appear with the first key inside and vanish with the last.
Rule 5: several processes may use one directory: no one's folder or half-written file is taken away while it writes. A
        writer holds a lock on its file, and a crash lets go of it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from maprun.core import places
from maprun.errors import AccessDenied, AlreadyExists, Changed, NotFound, StoreError, StoreUnavailable
from maprun.ports import ObjectInfo, Reading

CHUNK: Final = 1 << 18  # bytes of one read
TEMPORARY: Final = ".maprun-tmp-"  # files that are being written; never listed
CLAIMS: Final = 100  # tries to write into a folder that others remove
FULL: Final = {errno.ENOSPC, errno.EDQUOT}
RETRYABLE: Final = FULL | {errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ETIMEDOUT}


class DirectoryStore:
    """Keys are relative paths below `root`; `title` names the store in messages (default: the root).

    The root is made by the first write. Listing an absent one gives nothing, or, with `must_exist`, `NotFound`.
    """

    def __init__(self, root: Path, title: str = "", must_exist: bool = False) -> None:
        self._root = root
        self._title = title or f"directory {root}"
        self._must_exist = must_exist

    def read(self, key: str) -> bytes:
        """All bytes of the file. `NotFound` when absent."""
        with self._errors(key):
            return self._path(key).read_bytes()

    def open(self, key: str, if_match: str = "", version: str = "") -> Reading:
        """The file as a stream of 256 KiB chunks.

        `Changed` when it is not the version `if_match`, or changes while read. `StoreError` for a `version`.
        """
        if version:
            raise StoreError(f"{self._title}: key {key!r}: a directory keeps no versions; leave versionId out")
        return _FileReading.of(self, key, if_match)

    def read_at(self, key: str, offset: int, length: int, if_match: str) -> bytes:
        """A part of the file."""
        reading = _FileReading.of(self, key, if_match)
        try:
            return reading.part(offset, length)
        finally:
            reading.close()

    def create(self, key: str, data: bytes) -> None:
        """Write durably if absent, by a hard link: atomic and exclusive. The same bytes there count as our own."""
        with self._errors(key):
            path = self._path(key)
            with self._temporary(path) as (file, temporary):
                file.write(data)
                _sync(file)
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    if path.is_dir() or path.read_bytes() != data:
                        raise
                _sync_directory(path.parent)

    def write(self, key: str, chunks: Iterable[bytes], content_type: str) -> int:
        """Write or replace by a rename; returns the size in bytes. `content_type` has no place in a directory."""
        with self._errors(key):
            path = self._path(key)
            with self._temporary(path) as (file, temporary):
                size = sum(file.write(chunk) for chunk in chunks)
                _sync(file)
                os.replace(temporary, path)
                with suppress(FileNotFoundError):  # deleted since, and the folder with it
                    _sync_directory(path.parent)
            return size

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """Files whose key begins with `prefix` and is greater than `start_after`, in the order of their UTF-8 bytes."""
        self._check_text(prefix)
        with self._errors(prefix):
            if not self._must_exist and not self._root.exists():
                return
            yield from self._walk(os.fsencode(self._root), b"", os.fsencode(prefix), os.fsencode(start_after))

    def folders(self, prefix: str = "") -> Iterator[str]:
        """The folders directly in the folder `prefix`."""
        self._check_text(prefix)
        with self._errors(prefix):
            try:
                entries = _ordered(os.fsencode(self._path(prefix[:-1]) if prefix else self._root))
            except FileNotFoundError:
                return
        yield from (prefix + self._key(name) for name, _ in entries if name.endswith(b"/"))

    def delete(self, key: str) -> None:
        """Remove the file, and the folders that this leaves empty."""
        with self._errors(key):
            path = self._path(key)
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
                self._prune(path.parent)

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if "\0" in key or any(part in ("", ".", "..") for part in parts) or parts[-1].startswith(TEMPORARY):
            raise StoreError(f"{self._title}: key {key!r} cannot be a file: no empty part, no . or .., no NUL")
        self._check_text(key)
        return self._root.joinpath(*parts)

    def _check_text(self, key: str) -> None:
        if problem := places.text_problem(key):
            raise StoreError(f"{self._title}: key {key!a}: {problem}")

    def _walk(self, directory: bytes, base: bytes, prefix: bytes, after: bytes) -> Iterator[ObjectInfo]:
        try:
            entries = _ordered(directory)
        except FileNotFoundError:
            if base:
                return  # a folder that was removed while we listed
            raise
        for name, entry in entries:
            key = base + name
            if name.endswith(b"/"):
                if (key.startswith(prefix) or prefix.startswith(key)) and (key > after or after.startswith(key)):
                    yield from self._walk(entry.path, key, prefix, after)
            elif key.startswith(prefix) and key > after:
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    if stat.S_ISREG(status.st_mode):
                        yield ObjectInfo(self._key(key), status.st_size, _etag(status), round(status.st_mtime, 3))

    def _key(self, name: bytes) -> str:
        try:
            return name.decode()
        except UnicodeDecodeError:
            raise StoreError(f"{self._title}: the name {name!r} is not UTF-8, as a key must be; rename it") from None

    @contextmanager
    def _temporary(self, path: Path) -> Iterator[tuple[BinaryIO, Path]]:
        try:
            file, temporary = _claimed(path.parent)
        except (FileExistsError, NotADirectoryError):
            raise StoreError(f"{self._title}: a part of {path} is a file, so nothing can lie below it") from None
        try:
            with file:
                yield file, temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _prune(self, directory: Path) -> None:
        """Remove empty folders upwards; what an interrupted write left goes with them."""
        with suppress(OSError):
            while directory != self._root:
                names = os.listdir(directory)
                if not all(name.startswith(TEMPORARY) for name in names):
                    return
                for name in names:
                    _discard(directory / name)
                directory.rmdir()  # refused while somebody writes there
                directory = directory.parent

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._explained(key, error) from error

    def _explained(self, key: str, error: OSError) -> StoreError:
        what = f"{self._title}: key {key!r}"
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return NotFound(f"{what} does not exist" if self._root.is_dir() else f"{self._title} does not exist")
        if isinstance(error, FileExistsError):
            return AlreadyExists(f"{what} exists already")
        if isinstance(error, IsADirectoryError):
            return NotFound(f"{what} is a folder, not an object")
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            return AccessDenied(f"{what}: no permission ({error.strerror}); check owner and mode of the directory")
        if error.errno in RETRYABLE:
            return StoreUnavailable(f"{what}: {error.strerror}" + ("; free some space" if error.errno in FULL else ""))
        return StoreError(f"{what}: {error.strerror or error}")


class _FileReading:
    """An open file: `etag` and `size` at the time of opening."""

    @classmethod
    def of(cls, store: DirectoryStore, key: str, if_match: str) -> _FileReading:
        """Open the file, in the version `if_match` ("": any)."""
        with store._errors(key):
            file = store._path(key).open("rb", buffering=0)
            try:
                return cls(store, key, file, if_match)
            except BaseException:
                file.close()
                raise

    def __init__(self, store: DirectoryStore, key: str, file: BinaryIO, if_match: str) -> None:
        status = os.fstat(file.fileno())
        self._store, self._key, self._file = store, key, file
        self.etag = _etag(status)
        self.size = status.st_size
        if if_match:
            self._check(if_match)

    def __iter__(self) -> Iterator[bytes]:
        with self._store._errors(self._key):
            while chunk := self._file.read(CHUNK):
                yield chunk
            self._check(self.etag)

    def part(self, offset: int, length: int) -> bytes:
        """The bytes from there on."""
        with self._store._errors(self._key):
            data = os.pread(self._file.fileno(), length, offset)
            self._check(self.etag)
        if len(data) != length:
            raise StoreError(f"{self._store._title}: key {self._key!r}: it ends at byte {offset + len(data)}")
        return data

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _check(self, etag: str) -> None:
        now = _etag(os.fstat(self._file.fileno()))
        if now != etag:
            raise Changed(f"{self._store._title}: key {self._key!r} changed: it was {etag}, now it is {now}")


def _etag(status: os.stat_result) -> str:
    """A fingerprint that costs no read: time of the last change and size."""
    return f'"{status.st_mtime_ns:x}-{status.st_size:x}"'


def _ordered(directory: bytes) -> list[tuple[bytes, os.DirEntry[bytes]]]:
    """A folder's entries, folders with a `/` behind their name: sorted so, whole keys come in byte order.

    A linked folder is not entered: it could lead round in a circle.
    """
    hidden = os.fsencode(TEMPORARY)
    with os.scandir(directory) as entries:
        names = ((entry.name + b"/" if entry.is_dir(follow_symlinks=False) else entry.name, entry) for entry in entries)
        return sorted((pair for pair in names if not pair[0].startswith(hidden)), key=lambda pair: pair[0])


def _claimed(directory: Path) -> tuple[BinaryIO, Path]:
    """A new file to write, in a directory that is made if need be, and that stays as long as the file is open."""
    for _ in range(CLAIMS):
        temporary = directory / f"{TEMPORARY}{secrets.token_hex(8)}"
        with suppress(FileNotFoundError):  # somebody removed the last key of the directory meanwhile
            _make(directory)
            file = temporary.open("xb")
            with suppress(OSError):  # a file system without locks: then nobody takes the file away either
                fcntl.flock(file, fcntl.LOCK_EX)
            if temporary.exists():
                return file, temporary
            file.close()
    raise StoreUnavailable(f"directory {directory}: it is gone each time that it is made")


def _discard(temporary: Path) -> None:
    """Remove a file that nobody writes any more."""
    with temporary.open("r+b") as file, suppress(BlockingIOError):  # NFS locks only what may be written
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink()


def _make(directory: Path) -> None:
    """Make the directory and those above it, each synced into its parent. `FileNotFoundError`: others removed it."""
    if directory.is_dir():
        return
    _make(directory.parent)
    with suppress(FileExistsError):
        directory.mkdir()
        _sync_directory(directory.parent)
    if not stat.S_ISDIR(directory.stat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
