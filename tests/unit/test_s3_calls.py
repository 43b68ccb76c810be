"""Requests to S3 are counted one by one, in this process and in the planning process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import BucketsRef, open_store
from maprun.core import selection
from maprun.errors import NotFound, StoreError, StoreUnavailable
from maprun.model import MapRunSpec, RunRef
from maprun.planning import PlannerProcess, PlanRequest
from tests.unit.counted import Counted

MISSING = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
SLOW = b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>"


class Server(ThreadingHTTPServer):
    """Answers each request with the next of `answers`, (status, body), then with the last of them."""

    answers: list[tuple[int, bytes]]

    @property
    def access(self) -> S3Access:
        return S3Access(f"http://127.0.0.1:{self.server_port}", "us-east-1", "AKIDEXAMPLE", "secret")


class Answer(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, body = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        self.send_response(status)
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_DELETE = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_request_is_counted_with_its_operation_and_status(server: Server) -> None:
    told = Counted()
    store = open_store("s3://data/state", server.access, told)
    server.answers = [(200, b"{}"), (404, MISSING), (200, b"")]
    assert store.read("a.json") == b"{}"
    with pytest.raises(NotFound):
        store.read("b.json")
    store.create("c.json", b"1")
    assert told.s3 == [("GetObject", 200), ("GetObject", 404), ("PutObject", 200)]


def test_what_boto_repeats_is_counted_each_time(server: Server) -> None:
    told = Counted()
    server.answers = [(503, SLOW), (200, b"")]
    open_store("s3://data", server.access, told).create("a.json", b"1")
    assert told.s3 == [("PutObject", 503), ("PutObject", 200)]


def test_a_server_that_is_away_counts_as_no_answer(unused_tcp_port: int) -> None:
    told = Counted()
    access = S3Access(f"http://127.0.0.1:{unused_tcp_port}", "us-east-1", "AKIDEXAMPLE", "secret")
    with pytest.raises(StoreUnavailable):
        open_store("s3://data", access, told).delete("a.json")
    assert set(told.s3) == {("DeleteObject", 0)}


def test_a_request_that_was_never_sent_is_not_counted(server: Server) -> None:
    told = Counted()
    with pytest.raises(StoreError):
        open_store("s3://no_bucket_has_such_a_name!", server.access, told).read("a.json")
    assert told.s3 == []


async def test_the_requests_of_the_planning_process_are_counted_here(server: Server, tmp_path: Path) -> None:
    told = Counted()
    server.answers = [(200, b"[1,2,3]")]
    reader = {"resource": "s3:getObject", "parameters": {"bucket": "data", "key": "a.json"}}
    reader |= {"readerConfig": {"inputType": "JSON"}}
    spec = msgspec.convert({"itemProcessor": {"jobTemplate": {}}, "itemReader": reader}, MapRunSpec)
    context = selection.context_for(RunRef("lab", "airports", "uid", 1_790_000_000.0), spec, 1_790_000_000.0)
    buckets = BucketsRef(access=server.access)
    request = PlanRequest(f"file://{tmp_path}/state", spec, context, buckets=buckets)
    async with aclosing(PlannerProcess(observer=told).run(request)) as views:
        seals = [view.seal async for view in views]
    assert seals[-1] is not None
    assert seals[-1].items == 3
    assert told.s3 == [("GetObject", 200)]
