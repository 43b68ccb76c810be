"""The S3 store against a real server: the rules of `ports.Store`, what a broken connection does, what errors say."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from maprun.adapters import s3
from maprun.adapters.journal import Journal
from maprun.adapters.plans import PlanReader
from maprun.adapters.s3 import S3Store
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import BucketsRef, open_store
from maprun.errors import AccessDenied, AlreadyExists, Changed, Fenced, NotFound, StoreError, StoreUnavailable
from maprun.model import MapRunSpec
from maprun.planning import PlannerProcess, PlanRequest
from maprun.records import ChildStatus, Opened, Outcome
from tests.cluster.s3 import S3Server


@pytest.fixture
def access(s3_server: S3Server) -> S3Access:
    return S3Access(s3_server.endpoint, s3_server.region, s3_server.access_key, s3_server.secret_key)


@pytest.fixture
def bucket(access: S3Access) -> str:
    name = f"test-{uuid4().hex[:12]}"
    s3.client(access).create_bucket(Bucket=name)
    return name


@pytest.fixture
def store(access: S3Access, bucket: str) -> S3Store:
    return S3Store(s3.client(access), bucket)


def raw(access: S3Access, bucket: str, key: str) -> Any:
    return s3.client(access).head_object(Bucket=bucket, Key=key)


def test_what_is_created_can_be_read(store: S3Store) -> None:
    store.create("a/b/ö c", b"data")
    assert store.read("a/b/ö c") == b"data"


def test_the_same_bytes_again_are_a_success_and_others_are_refused(store: S3Store) -> None:
    store.create("key", b"data")
    store.create("key", b"data")
    with pytest.raises(AlreadyExists, match=r"key key exists already"):
        store.create("key", b"other")
    assert store.read("key") == b"data"


def test_of_many_creators_exactly_one_wins(store: S3Store) -> None:
    lost: list[int] = []
    start = threading.Barrier(4)

    def create(number: int) -> None:
        start.wait()
        try:
            store.create("key", b"%d" % number)
        except AlreadyExists:
            lost.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lost) == 3
    assert int(store.read("key")) not in lost


@pytest.mark.parametrize(
    ("chunks", "size"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([b"", b"one", b""], 3, id="one part"),
        pytest.param([b"x" * 5_000_000] * 4, 20_000_000, id="three parts"),
        pytest.param([b"x" * s3.PART], s3.PART, id="exactly one part"),
    ],
)
def test_write_streams_any_length(
    store: S3Store, access: S3Access, bucket: str, chunks: list[bytes], size: int
) -> None:
    store.create("key", b"before")
    assert store.write("key", iter(chunks), "application/x-test") == size
    assert store.read("key") == b"".join(chunks)
    head = raw(access, bucket, "key")
    assert (head["ContentLength"], head["ContentType"]) == (size, "application/x-test")


def test_a_write_that_breaks_leaves_what_was_there_and_no_upload(store: S3Store, access: S3Access, bucket: str) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x" * (s3.PART + 1)
        raise RuntimeError("the generator broke")

    store.create("key", b"before")
    with pytest.raises(RuntimeError):
        store.write("key", chunks(), "text/plain")
    assert store.read("key") == b"before"
    assert not s3.client(access).list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_a_listing_follows_all_pages(store: S3Store, access: S3Access, bucket: str) -> None:
    client = s3.client(access)
    keys = [f"rows/{number:04}" for number in range(1006)]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    client.put_object(Bucket=bucket, Key="other", Body=b"")
    assert [info.key for info in store.list("rows/")] == keys
    assert [info.key for info in store.list("rows/", start_after="rows/1003")] == ["rows/1004", "rows/1005"]


def test_folders_are_those_directly_below_a_prefix(store: S3Store, access: S3Access, bucket: str) -> None:
    client = s3.client(access)
    for key in ("a/key", "a/b/key", "a/b/c/key", "a-b/key", "file"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert list(store.folders()) == ["a-b/", "a/"]
    assert list(store.folders("a/")) == ["a/b/"]
    assert list(store.folders("none/")) == []
    assert list(S3Store(client, bucket, "a/").folders()) == ["b/"]


def test_a_listing_tells_size_time_and_a_quoted_etag(store: S3Store, access: S3Access, bucket: str) -> None:
    store.create("key", b"data")
    (info,) = store.list()
    head = raw(access, bucket, "key")
    assert (info.key, info.size, info.storage_class) == ("key", 4, "STANDARD")
    assert info.etag == head["ETag"]
    assert re.fullmatch('"[^"]+"', info.etag)
    assert abs(info.modified - head["LastModified"].timestamp()) < 1


def test_keys_are_relative_to_the_prefix(access: S3Access, bucket: str, store: S3Store) -> None:
    inner = open_store(f"s3://{bucket}/runs/one", access)
    inner.create("plan/1", b"data")
    store.create("runs/one-more", b"")
    assert [info.key for info in inner.list()] == ["plan/1"]
    assert [info.key for info in inner.list("plan/", start_after="plan/0")] == ["plan/1"]
    assert list(inner.list("plan/", start_after="plan/1")) == []
    assert store.read("runs/one/plan/1") == b"data"
    inner.delete("plan/1")
    inner.delete("plan/1")
    assert [info.key for info in open_store(f"s3://{bucket}", access).list()] == ["runs/one-more"]


def test_an_object_is_read_in_the_version_that_was_asked_for(store: S3Store) -> None:
    store.create("key", b"data")
    with closing(store.open("key")) as first:
        assert (first.size, b"".join(first)) == (4, b"data")
    store.open("key", if_match=first.etag).close()
    store.write("key", [b"other"], "")
    with pytest.raises(Changed, match=r"key key changed"):
        store.open("key", if_match=first.etag)
    with pytest.raises(Changed, match=r"key key changed"):
        store.read_at("key", 0, 2, first.etag)


def test_a_part_is_read_in_the_version_that_was_opened(store: S3Store) -> None:
    store.create("key", b"0123456789")
    with closing(store.open("key")) as reading:
        etag = reading.etag
    assert [store.read_at("key", *part, etag) for part in ((0, 10), (3, 4), (9, 1))] == [b"0123456789", b"3456", b"9"]
    with pytest.raises(StoreError, match="2 bytes instead of 4 from byte 8 on"):
        store.read_at("key", 8, 4, etag)
    with pytest.raises(NotFound):
        store.read_at("other", 0, 1, etag)


class Proxy:
    """Hands bytes on to the server, and cuts a connection after `cut_after` bytes of answer while `cuts` is above 0.

    With `stubborn` nothing at all comes through any more after the first cut.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.cuts, self.cut_after, self.made, self.stubborn = 0, 0, 0, False
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                self._start(self._pump, near, far, False)
                self._start(self._pump, far, near, True)

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if answers and self.cuts and passed + len(data) > self.cut_after:
                    self.cuts -= 1
                    self.made += 1
                    target.sendall(data[: max(0, self.cut_after - passed)])
                    self.cut_after = 0 if self.stubborn else self.cut_after
                    break
                target.sendall(data)
                passed += len(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join()
        for end in self._sockets:
            end.close()


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    host, port = s3_server.endpoint.removeprefix("http://").split(":")
    with closing(Proxy((host, int(port)))) as proxy:
        yield proxy


@pytest.fixture
def through_proxy(proxy: Proxy, access: S3Access, bucket: str) -> Iterator[S3Store]:
    client = s3.client(msgspec.structs.replace(access, endpoint=proxy.endpoint))
    yield S3Store(client, bucket)
    client.close()


PATTERN = b"".join(b"%07d\n" % number for number in range(250_000))


def test_a_cut_connection_is_gone_on_behind_the_last_byte(store: S3Store, through_proxy: S3Store, proxy: Proxy) -> None:
    store.write("key", [PATTERN], "")
    proxy.cuts, proxy.cut_after = 3, 500_000
    with closing(through_proxy.open("key")) as reading:
        assert b"".join(reading) == PATTERN
    assert proxy.made == 3


def test_a_part_goes_on_behind_a_cut_too(store: S3Store, through_proxy: S3Store, proxy: Proxy) -> None:
    store.write("key", [PATTERN], "")
    with closing(store.open("key")) as reading:
        etag = reading.etag
    proxy.cuts, proxy.cut_after = 2, 500_000
    assert through_proxy.read_at("key", 1000, 1_500_000, etag) == PATTERN[1000:1_501_000]
    assert proxy.made == 2


def test_an_object_that_changes_behind_a_cut_is_noticed(store: S3Store, through_proxy: S3Store, proxy: Proxy) -> None:
    store.write("key", [PATTERN], "")
    proxy.cuts, proxy.cut_after = 1, 500_000
    with closing(through_proxy.open("key")) as reading:
        chunks = iter(reading)
        next(chunks)
        store.write("key", [PATTERN[::-1]], "")
        with pytest.raises(Changed):
            list(chunks)


def test_a_connection_that_never_holds_is_unavailable(store: S3Store, through_proxy: S3Store, proxy: Proxy) -> None:
    store.write("key", [PATTERN], "")
    proxy.cuts, proxy.cut_after, proxy.stubborn = 10_000, 500_000, True
    with closing(through_proxy.open("key")) as reading, pytest.raises(StoreUnavailable, match="key key"):
        list(reading)


def test_a_lost_answer_to_a_create_is_no_loss(store: S3Store, through_proxy: S3Store, proxy: Proxy) -> None:
    """The server wrote, the answer never came: the repeated request finds our own bytes."""
    proxy.cuts, proxy.cut_after = 1, 0
    through_proxy.create("key", b"data")
    assert proxy.made == 1
    assert store.read("key") == b"data"


async def test_a_run_is_planned_and_recorded_on_s3(access: S3Access, bucket: str, store: S3Store) -> None:
    """Dataset, plan and journal in one bucket; the second operator gets the journal, the first is stopped."""
    rows = [{"n": number} for number in range(1_500)]
    store.write("rows.json", [msgspec.json.encode({"rows": rows})], "application/json")
    spec = {
        "itemReader": {
            "resource": "s3:getObject",
            "parameters": {"bucket": bucket, "key": "rows.json"},
            "readerConfig": {"inputType": "JSON", "itemsPointer": "/rows"},
        },
        "itemProcessor": {"jobTemplate": {}},
    }
    url = f"s3://{bucket}/state/run"
    request = PlanRequest(url, msgspec.convert(spec, MapRunSpec), {}, access, BucketsRef(access=access))
    views = [view async for view in PlannerProcess().run(request)]
    assert [view.children for view in views] == [100, 1_100, 1_500]
    run = open_store(url, access)
    assert [msgspec.json.decode(each.input) for each in PlanReader(run).batches()] == rows
    first, second = Journal(run), Journal(run)
    for journal, writer in ((first, "first"), (second, "second")):
        seen = [record async for records in journal.open(writer, 1.0) for record in records]
    assert seen == [Opened("first", 1.0), Opened("second", 1.0)]
    with pytest.raises(Fenced):
        await first.append([Outcome(0, 1, ChildStatus.SUCCEEDED)])
    assert await second.append([Outcome(0, 1, ChildStatus.FAILED)]) == 3
    await first.close()
    await second.close()


Use = Callable[[S3Store], object]


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda store: store.read("some/key"), id="read"),
        pytest.param(lambda store: list(store.list("some/key")), id="list"),
        pytest.param(lambda store: store.create("some/key", b""), id="create"),
        pytest.param(lambda store: store.write("some/key", [b"x"], ""), id="write"),
        pytest.param(lambda store: store.delete("some/key"), id="delete"),
    ],
)
@pytest.mark.parametrize(
    ("change", "bucket_name", "error", "message"),
    [
        pytest.param({}, "absent-bucket", NotFound, "the bucket does not exist", id="a missing bucket"),
        pytest.param(
            {"access_key_id": "NOBODY"}, None, AccessDenied, "check the access key id", id="an unknown key id"
        ),
        pytest.param({"secret_access_key": "wrong-secret"}, None, AccessDenied, "check the", id="a wrong secret"),
        pytest.param({}, "Not_A_Bucket!", StoreError, "not a valid", id="no bucket name"),
    ],
)
def test_an_error_says_what_to_do_and_shows_no_secret(
    access: S3Access, bucket: str, use: Use, change: dict[str, str], bucket_name: str | None, error: type, message: str
) -> None:
    client = s3.client(msgspec.structs.replace(access, **change))
    with pytest.raises(error, match=message) as caught:
        use(S3Store(client, bucket_name or bucket))
    assert (bucket_name or bucket) in str(caught.value)
    assert "some/key" in str(caught.value)
    assert not re.search(r"wrong-secret|maprun-test-secret|NOBODY", str(caught.value))


def test_a_missing_key_is_told(store: S3Store, bucket: str) -> None:
    with pytest.raises(NotFound, match=f"bucket {bucket}, key none: the object does not exist: check the key"):
        store.open("none")


def test_a_server_that_is_not_there_is_unavailable(unused_tcp_port: int) -> None:
    access = S3Access(f"http://127.0.0.1:{unused_tcp_port}", "us-east-1", "AKIDEXAMPLE", "hidden-secret")
    store = BucketsRef(access=access).open().bucket("data")
    with pytest.raises(StoreUnavailable, match=r"cannot connect to http://127\.0\.0\.1:\d+: check that the endpoint"):
        store.read("key")
