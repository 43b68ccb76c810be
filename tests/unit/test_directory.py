"""The directory store against the rules of `ports.Store`; tests/adapters/test_s3.py has the same rows for S3."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maprun.adapters.directory import TEMPORARY, DirectoryStore
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import BucketsRef, open_store
from maprun.errors import AccessDenied, AlreadyExists, Changed, NotFound, StoreError, StoreUnavailable

NAMES = st.text("abz-./0", min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_what_is_created_can_be_read(store: DirectoryStore) -> None:
    store.create("a/b/c", b"data")
    assert store.read("a/b/c") == b"data"


def test_the_same_bytes_again_are_a_success_and_others_are_refused(store: DirectoryStore) -> None:
    store.create("key", b"data")
    store.create("key", b"data")
    with pytest.raises(AlreadyExists, match="key 'key' exists already"):
        store.create("key", b"other")
    assert store.read("key") == b"data"


def test_of_many_creators_exactly_one_wins(store: DirectoryStore) -> None:
    lost: list[int] = []
    start = threading.Barrier(8)

    def create(number: int) -> None:
        start.wait()
        try:
            store.create("key", b"%d" % number)
        except AlreadyExists:
            lost.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lost) == 7
    assert int(store.read("key")) not in lost


def test_a_created_key_is_durable_before_it_is_told(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contents are synced before they get their name, the name before the call returns; so is a new folder's."""
    steps: list[str] = []
    sync, link = os.fsync, os.link

    def noted_sync(descriptor: int) -> None:
        steps.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.split("-")[0])
        sync(descriptor)

    def noted_link(source: Path, target: Path) -> None:
        steps.append(f"link {target.name}")
        link(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "link", noted_link)
    store.create("plan/key", b"data")
    parent = steps[0].removeprefix("sync ")
    assert steps == [f"sync {parent}", "sync store", "sync .maprun", "link key", "sync plan"]


def test_a_file_whose_name_is_no_key_is_told_by_name(store: DirectoryStore, tmp_path: Path) -> None:
    store.create("key", b"data")
    (tmp_path / "store" / os.fsdecode(b"z\xff")).touch()
    with pytest.raises(StoreError, match=r"z\\xff.* is not UTF-8"):
        list(store.list())


def test_write_replaces_and_returns_the_size(store: DirectoryStore, tmp_path: Path) -> None:
    assert store.write("a/key", iter([b"one", b"two"]), "text/plain") == 6
    assert store.write("a/key", iter([]), "text/plain") == 0
    assert store.read("a/key") == b""
    assert files(tmp_path / "store") == ["a", "a/key"]


def test_a_write_that_breaks_leaves_what_was_there(store: DirectoryStore, tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("the generator broke")

    store.create("key", b"before")
    with pytest.raises(RuntimeError):
        store.write("key", chunks(), "text/plain")
    assert store.read("key") == b"before"
    assert files(tmp_path / "store") == ["key"]


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("../key", id="up"),
        pytest.param("a/../../key", id="up from the inside"),
        pytest.param("/etc/passwd", id="absolute"),
        pytest.param("a//b", id="an empty part"),
        pytest.param("a/", id="a folder"),
        pytest.param("", id="empty"),
        pytest.param(".", id="the root itself"),
        pytest.param("a\0b", id="with a NUL"),
        pytest.param(f"a/{TEMPORARY}b", id="the name of a file being written"),
    ],
)
def test_a_key_never_leads_out_of_the_root(store: DirectoryStore, key: str) -> None:
    for use in (
        store.read,
        store.open,
        store.delete,
        lambda key: store.create(key, b""),
        lambda key: store.write(key, [], ""),
    ):
        with pytest.raises(StoreError, match="cannot be a file"):
            use(key)


@given(
    st.sets(st.lists(NAMES.filter(lambda n: "/" not in n), min_size=1, max_size=3).map("/".join), max_size=8),
    NAMES,
    NAMES,
)
@settings(max_examples=60, deadline=None)
def test_a_listing_is_in_byte_order_and_bounded_by_prefix_and_start(
    tmp_path_factory: pytest.TempPathFactory, keys: set[str], prefix: str, after: str
) -> None:
    store = DirectoryStore(tmp_path_factory.mktemp("store"))
    made: list[str] = []
    for key in sorted(keys):  # a file and a folder cannot have one name
        if not any(other.startswith(key + "/") or key.startswith(other + "/") for other in made):
            store.create(key, key.encode())
            made.append(key)
    assert [info.key for info in store.list()] == sorted(made, key=str.encode)
    assert [i.key for i in store.list(prefix, after)] == sorted(k for k in made if k.startswith(prefix) and k > after)


def test_a_listing_tells_size_time_and_a_quoted_etag(store: DirectoryStore, tmp_path: Path) -> None:
    store.create("key", b"data")
    os.utime(tmp_path / "store" / "key", (1_790_204_286, 1_790_204_286))
    (info,) = store.list()
    assert (info.size, info.modified, info.storage_class) == (4, 1_790_204_286.0, "STANDARD")
    reading = store.open("key")
    assert info.etag == reading.etag
    assert info.etag.startswith('"')
    assert info.etag.endswith('"')
    reading.close()


def test_what_is_no_file_or_only_half_written_is_not_listed(store: DirectoryStore, tmp_path: Path) -> None:
    root = tmp_path / "store"
    store.create("a/key", b"")
    (root / "a" / f"{TEMPORARY}1234").write_bytes(b"half")
    (root / "empty").mkdir()
    (root / "round").symlink_to(root, target_is_directory=True)
    (root / "linked").symlink_to(root / "a" / "key")
    assert [info.key for info in store.list()] == ["a/key", "linked"]


def test_a_store_that_was_never_written_is_empty_but_a_bucket_must_exist(tmp_path: Path) -> None:
    assert list(DirectoryStore(tmp_path / "none").list()) == []
    with pytest.raises(NotFound, match="bucket none does not exist"):
        list(BucketsRef(root=str(tmp_path)).open().bucket("none").list())


def test_folders_are_those_directly_below_a_prefix(store: DirectoryStore, tmp_path: Path) -> None:
    assert list(store.folders()) == []
    for key in ("a/key", "a/b/key", "a/b/c/key", "a-b/key", "file"):
        store.create(key, b"")
    assert list(store.folders()) == ["a-b/", "a/"]
    assert list(store.folders("a/")) == ["a/b/"]
    assert list(store.folders("none/")) == list(store.folders("a/b/c/")) == []


def test_delete_takes_empty_folders_and_leftovers_with_it(store: DirectoryStore, tmp_path: Path) -> None:
    root = tmp_path / "store"
    store.create("a/b/key", b"")
    store.create("a/other", b"")
    (root / "a" / "b" / f"{TEMPORARY}1234").write_bytes(b"of a crash")
    store.delete("a/b/key")
    assert files(root) == ["a", "a/other"]
    store.delete("a/b/key")
    store.delete("a/other")
    assert files(root) == []
    store.create("a/b/key", b"again")


def test_leftovers_go_where_only_what_may_be_written_can_be_locked(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS makes a lock of a whole range of bytes of it; see flock(2)."""
    lock = fcntl.flock

    def nfs(file: BinaryIO, operation: int) -> None:
        if operation & fcntl.LOCK_EX and fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", nfs)
    store.create("a/key", b"")
    (tmp_path / "store" / "a" / f"{TEMPORARY}1234").write_bytes(b"of a crash")
    store.delete("a/key")
    assert files(tmp_path / "store") == []


def test_a_delete_leaves_what_somebody_else_is_writing(store: DirectoryStore, tmp_path: Path) -> None:
    other = DirectoryStore(tmp_path / "store")

    def chunks() -> Iterator[bytes]:
        yield b"one "
        other.delete("a/b/key")
        yield b"two"

    store.create("a/b/key", b"")
    store.write("a/b/stream", chunks(), "text/plain")
    assert store.read("a/b/stream") == b"one two"
    assert files(tmp_path / "store") == ["a", "a/b", "a/b/stream"]


def test_writers_and_deleters_of_one_folder_never_disturb_each_other(store: DirectoryStore, tmp_path: Path) -> None:
    """As when two operators start at once, and each tries the store."""
    failed: list[StoreError] = []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        own = DirectoryStore(tmp_path / "store")
        start.wait()
        try:
            for turn in range(150):
                key = f"a/b/{number}-{turn}"
                own.create(key, b"first")
                with pytest.raises(AlreadyExists):
                    own.create(key, b"second")
                own.write(key, [b"third"], "text/plain")
                own.delete(key)
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert files(tmp_path / "store") == []


def test_an_object_is_read_in_the_version_that_was_asked_for(store: DirectoryStore) -> None:
    store.create("key", b"data")
    first = store.open("key")
    store.open("key", if_match=first.etag).close()
    store.write("key", [b"other data"], "")
    with pytest.raises(Changed, match="key 'key' changed"):
        store.open("key", if_match=first.etag)
    with pytest.raises(Changed, match="key 'key' changed"):
        store.read_at("key", 0, 2, first.etag)
    assert b"".join(first) == b"data"  # a replaced file stays readable for those who have it open
    first.close()


def test_a_part_is_read_in_the_version_that_was_opened(store: DirectoryStore) -> None:
    store.create("key", b"0123456789")
    (info,) = store.list()
    etag = info.etag
    assert [store.read_at("key", *part, etag) for part in ((0, 10), (3, 4), (9, 1))] == [b"0123456789", b"3456", b"9"]
    with pytest.raises(StoreError, match="it ends at byte 10"):
        store.read_at("key", 8, 4, etag)
    with pytest.raises(NotFound):
        store.read_at("other", 0, 1, etag)


def test_a_file_that_changes_while_it_is_read_is_noticed(store: DirectoryStore, tmp_path: Path) -> None:
    store.create("key", b"x" * 1_000_000)
    reading = store.open("key")
    chunks = iter(reading)
    next(chunks)
    with (tmp_path / "store" / "key").open("ab") as file:
        file.write(b"more")
    with pytest.raises(Changed):
        list(chunks)
    reading.close()


@pytest.mark.parametrize(
    ("make", "key", "error", "message"),
    [
        pytest.param("store/", "key", NotFound, "key 'key' does not exist", id="an absent key"),
        pytest.param("", "key", NotFound, "store does not exist", id="an absent root"),
        pytest.param("store/key/", "key", NotFound, "is a folder", id="a folder"),
        pytest.param("store/a", "a/key", NotFound, "does not exist", id="below a file"),
    ],
)
def test_reading_fails_for(tmp_path: Path, make: str, key: str, error: type[StoreError], message: str) -> None:
    if make.endswith("/"):
        (tmp_path / make).mkdir(parents=True)
    elif make:
        (tmp_path / make).parent.mkdir(parents=True)
        (tmp_path / make).write_bytes(b"")
    with pytest.raises(error, match=message):
        DirectoryStore(tmp_path / "store").read(key)


def test_nothing_can_lie_below_a_file(store: DirectoryStore) -> None:
    store.create("a", b"")
    with pytest.raises(StoreError, match="is a file") as caught:
        store.create("a/b", b"")
    assert not isinstance(caught.value, AlreadyExists)


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        pytest.param(errno.EACCES, AccessDenied, "check owner and mode", id="no permission"),
        pytest.param(errno.EROFS, AccessDenied, "check owner and mode", id="a read-only volume"),
        pytest.param(errno.ENOSPC, StoreUnavailable, "free some space", id="a full disk: trying again later is right"),
        pytest.param(errno.EIO, StoreUnavailable, "key 'key'", id="a disk error"),
        pytest.param(errno.ENAMETOOLONG, StoreError, "key 'key'", id="anything else"),
    ],
)
def test_an_error_of_the_file_system_becomes(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, number: int, error: type[StoreError], message: str
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match=message) as caught:
        store.create("key", b"")
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "url",
    [
        "",
        "data",
        "/data",
        "file://host/data",
        "file:data",
        "s3:///prefix",
        "https://host/bucket",
        "s3://bucket/a?b",
        "s3://b#c",
    ],
)
def test_a_store_url_is_one_of_two_forms(url: str) -> None:
    with pytest.raises(StoreError, match="expected file:///directory or s3://bucket/prefix"):
        open_store(url)


def test_a_file_url_may_escape_characters(tmp_path: Path) -> None:
    open_store(f"file://{tmp_path}/a%20b").create("key", b"data")
    assert (tmp_path / "a b" / "key").read_bytes() == b"data"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\0"])
def test_a_bucket_is_one_directory_below_the_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="a bucket name has no /"):
        BucketsRef(root=str(tmp_path)).open().bucket(name)


def test_secrets_never_show() -> None:
    access = S3Access("http://localhost", "r", "AKIDEXAMPLE", "hidden-secret", "hidden-token")
    assert "hidden" not in f"{access!r} {access} {BucketsRef(access=access)!r}"
    assert "AKIDEXAMPLE" not in repr(access)
