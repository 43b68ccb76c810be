"""Keys, prefixes and names that try to lead elsewhere, against a real S3 server and a real directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
import pytest

from maprun.adapters import s3
from maprun.adapters.directory import DirectoryStore
from maprun.adapters.s3 import S3Store
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import DirectoryBuckets, open_store
from maprun.core import results
from maprun.errors import StoreError, StoreUnavailable
from maprun.model import MapRunSpec
from maprun.ports import Store
from tests.cluster.s3 import S3Server

BESIDE: Final = b"of somebody else"
KEPT: Final = "secret/x"  # the object beside, seen from its own root

CLIMBING: Final = {
    "up": "../{beside}/secret/x",
    "up twice": "../../{beside}/secret/x",
    "up from a folder": "a/../../{beside}/secret/x",
    "up behind a slash": "/../{beside}/secret/x",
    "up behind dots": "./.././{beside}/secret/x",
    "up to the bucket's name": "..",
}
HARMLESS: Final = {
    "percent-encoded dots": "%2e%2e/{beside}/secret/x",
    "a percent-encoded slash": "..%2f{beside}%2fsecret/x",
    "backslashes": "..\\{beside}\\secret\\x",
    "a query": "a?prefix=../{beside}",
    "a fragment": "a#../{beside}",
    "another full stop": "．．/{beside}/secret/x",
    "a line's end": "a\r\nHost: {beside}",
    "a plus and a blank": "a+b c",
    "letters of all kinds": "ö/😀/نص",
}
NEVER: Final = {"NUL": "a\0b", "half a character": "a\ud800", "a lone NUL": "\0"}


class Place:
    """A store over `bucket`, and an object beside it that no key of the store may reach."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.bucket, self.beside = (f"{name}-{uuid4().hex[:8]}" for name in ("mine", "beside"))
        for name in (self.bucket, self.beside):
            client.create_bucket(Bucket=name)
        client.put_object(Bucket=self.beside, Key=KEPT, Body=BESIDE)
        self.store = S3Store(client, self.bucket)

    def untouched(self) -> bool:
        """True when the bucket beside holds what it held."""
        listed = self.client.list_objects_v2(Bucket=self.beside)["Contents"]
        body = self.client.get_object(Bucket=self.beside, Key=KEPT)["Body"].read()
        return [each["Key"] for each in listed] == [KEPT] and body == BESIDE


@pytest.fixture(scope="module")
def access(s3_server: S3Server) -> S3Access:
    return S3Access(s3_server.endpoint, s3_server.region, s3_server.access_key, s3_server.secret_key)


@pytest.fixture(scope="module")
def place(access: S3Access) -> Place:
    return Place(s3.client(access))


def attacks(store: Store, key: str) -> Iterator[object]:
    """Everything that a run, or its state, does with a key."""
    for attempt in (
        lambda: store.read(key),
        lambda: store.open(key).close(),
        lambda: store.create(key, b"forged"),
        lambda: store.write(key, [b"forged"], ""),
        lambda: store.delete(key),
    ):
        try:
            yield attempt()
        except StoreError as error:
            yield error


@pytest.mark.parametrize("key", CLIMBING.values(), ids=CLIMBING)
def test_a_key_that_climbs_is_never_sent_to_s3(place: Place, key: str) -> None:
    for answer in attacks(place.store, key.format(beside=place.beside)):
        assert isinstance(answer, StoreError)
        assert "with its .. the key leads out of its bucket" in str(answer)
        assert place.bucket in str(answer)
    assert place.untouched()


@pytest.mark.parametrize("key", NEVER.values(), ids=NEVER)
def test_a_key_that_cannot_be_is_refused_and_never_waited_for(place: Place, key: str) -> None:
    for answer in (*attacks(place.store, key), *listings(place.store, key)):
        assert isinstance(answer, StoreError)
        assert not isinstance(answer, StoreUnavailable)
        assert str(answer).isprintable()


def listings(store: Store, prefix: str) -> Iterator[object]:
    try:
        yield list(store.list(prefix))
    except StoreError as error:
        yield error


@pytest.mark.parametrize("key", HARMLESS.values(), ids=HARMLESS)
def test_a_key_that_only_looks_so_is_an_object_of_its_own_bucket(place: Place, key: str) -> None:
    key = key.format(beside=place.beside)
    assert place.store.write(key, [b"mine"], "") == 4
    assert place.store.read(key) == b"mine"
    assert key in [each.key for each in place.store.list()]
    assert place.untouched()


@pytest.mark.parametrize("key", ["a" * 1025, "ö" * 513, f"{'a/' * 512}b"], ids=["letters", "bytes", "folders"])
def test_a_key_that_is_too_long_is_told(place: Place, key: str) -> None:
    for answer in list(attacks(place.store, key))[:4]:
        assert isinstance(answer, StoreError)
        assert "longer than 1,024 bytes" in str(answer)


@pytest.mark.parametrize("prefix", [*CLIMBING.values(), "/", "./", "secret", ""], ids=[*CLIMBING, *"/.s", "all"])
def test_a_listing_stays_in_its_bucket(place: Place, prefix: str) -> None:
    assert KEPT not in [each.key for each in place.store.list(prefix.format(beside=place.beside))]


def test_a_server_may_resolve_a_path_within_the_bucket(place: Place) -> None:
    """Why the operator's state is compared with what a key means, too (core/places.py)."""
    place.store.write("folder/inner", [b"data"], "")
    with suppress(StoreError):  # AWS has no such object
        assert place.store.read("x/../folder/inner") == b"data"


@pytest.mark.parametrize("prefix", ["../{beside}", "..", "a/../../{beside}/secret", "/..", "./.."])
def test_a_result_prefix_that_climbs_is_refused(place: Place, prefix: str) -> None:
    key = results.folder(prefix.format(beside=place.beside), "uid") + "manifest.json"
    for answer in attacks(place.store, key):
        assert "leads out of its bucket" in str(answer)
    assert place.untouched()


@pytest.mark.parametrize("key", [*CLIMBING.values(), *NEVER.values()], ids=[*CLIMBING, *NEVER])
def test_a_state_in_s3_stays_below_its_prefix(place: Place, access: S3Access, key: str) -> None:
    """As it would be, if a name in a state's path could climb."""
    store = open_store(f"s3://{place.bucket}/runs/one", access)
    place.store.write("runs/two/secret/x", [BESIDE], "")
    for answer in attacks(store, f"../{key}".format(beside=place.beside)):
        assert not isinstance(answer, bytes)
    assert place.untouched()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two directory buckets."""
    for name in ("mine", "beside"):
        (tmp_path / name / "secret").mkdir(parents=True)
    (tmp_path / "beside" / KEPT).write_bytes(BESIDE)
    return tmp_path


@pytest.mark.parametrize("key", [*CLIMBING.values(), *NEVER.values()], ids=[*CLIMBING, *NEVER])
def test_a_directory_is_never_left(directory: Path, key: str) -> None:
    key = key.format(beside="beside")
    for store in (DirectoryBuckets(directory).bucket("mine"), DirectoryStore(directory / "mine" / "state")):
        for answer in attacks(store, key):
            assert isinstance(answer, StoreError)
            assert str(answer).isprintable()
    assert [str(each.relative_to(directory)) for each in directory.rglob("*") if each.is_file()] == [f"beside/{KEPT}"]
    assert (directory / "beside" / KEPT).read_bytes() == BESIDE


@pytest.mark.parametrize("key", [*("/etc/passwd", "a//b", "a/", "./a", ".", "", "a/./b"), "a" * 4096])
def test_a_directory_has_no_such_file(directory: Path, key: str) -> None:
    for answer in list(attacks(DirectoryBuckets(directory).bucket("mine"), key))[:4]:
        assert isinstance(answer, StoreError)


@pytest.mark.parametrize("key", HARMLESS.values(), ids=HARMLESS)
def test_a_key_that_only_looks_so_is_a_file_of_its_own_directory(directory: Path, key: str) -> None:
    store = DirectoryBuckets(directory).bucket("mine")
    store.write(key, [b"mine"], "")
    assert [each.key for each in store.list()] == [key]
    assert [each.name for each in directory.iterdir()] in (["mine", "beside"], ["beside", "mine"])


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../beside", "/etc", "mine\0"])
def test_a_bucket_is_no_path(directory: Path, name: str) -> None:
    with pytest.raises(StoreError, match="a bucket name has no /"):
        DirectoryBuckets(directory).bucket(name)


@pytest.mark.parametrize("bucket", ["..", "../x", "a/b", ".hidden", "a%2fb", "A", "ab", "a" * 64, "a\nb", "a?b", "a@b"])
def test_the_bucket_of_a_run_is_a_name(bucket: str) -> None:
    writer = {"resource": "s3:putObject", "parameters": {"bucket": bucket}}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"itemProcessor": {"jobTemplate": {}}, "resultWriter": writer}, MapRunSpec)
