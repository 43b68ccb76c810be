"""Where the endpoint of a run leads: to an S3 server or nowhere, and what something else answers is told to nobody."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from botocore import endpoint

from maprun import planning
from maprun.adapters import s3, s3_guard
from maprun.adapters.s3 import S3Store
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import BucketsRef
from maprun.core.scheduling import PlanView
from maprun.errors import AccessDenied, NotFound, StoreError, StoreUnavailable
from maprun.model import MapRunSpec
from maprun.planning import PlannerProcess, PlanRequest
from tests.adapters.other_servers import Answer, OtherServer, other_server
from tests.cluster.s3 import S3Server
from tests.operator_process import eventually

PRIVATE = "what-the-other-service-keeps-to-itself"
METADATA = 169 << 24 | 254 << 16 | 169 << 8 | 254


def store(url: str, **fields: Any) -> S3Store:
    """A bucket behind an endpoint; every test has a client of its own."""
    client = s3.client(S3Access(url, "us-east-1", f"KEY{uuid4().hex}", "made-up-secret", **fields))
    CLIENTS.append(client)
    return S3Store(client, "data")


CLIENTS: list[Any] = []


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every client that the test made is closed behind it. boto3 does not wait between its tries."""
    monkeypatch.setattr(endpoint, "time", SimpleNamespace(sleep=lambda seconds: None))
    yield
    while CLIENTS:
        CLIENTS.pop().close()


Use = Callable[[S3Store], object]
READ: Use = lambda store: store.read("a/key")  # noqa: E731 - rows
LIST: Use = lambda store: list(store.list("a/"))  # noqa: E731 - rows
USES: dict[str, Use] = {
    "read": READ,
    "list": LIST,
    "create": lambda store: store.create("a/key", b"x"),
    "write": lambda store: store.write("a/key", [b"x"], ""),
    "write nothing": lambda store: store.write("a/key", [], ""),
    "delete": lambda store: store.delete("a/key"),
}


@pytest.fixture
def beside() -> Iterator[OtherServer]:
    """Something that listens on this machine, beside the operator."""
    with other_server(Answer(200, b"[1, 2]", {"ETag": '"1"'})) as server:
        yield server


HERE = ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"]  # noqa: S104 - not bound to


@pytest.mark.parametrize("host", HERE)
def test_in_a_pod_nothing_of_the_pod_is_reached(beside: OtherServer, host: str) -> None:
    made = store(f"http://{host}:{beside.port}", guarded=True)
    for use in USES.values():
        with pytest.raises(AccessDenied, match=r"of bucket data, .* leads to .*, which no run may reach"):
            use(made)
    assert beside.connections == 0


def test_on_somebodys_own_machine_loopback_is_reached(beside: OtherServer) -> None:
    assert store(beside.endpoint, guarded=True, loopback=True).read("key") == b"[1, 2]"


def test_the_operators_own_endpoint_is_not_guarded(beside: OtherServer) -> None:
    assert store(beside.endpoint).read("key") == b"[1, 2]"


class Names:
    """A resolver that answers one address after the other, and the last one from then on."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    def __call__(self, host: str, port: int, *_: object, **__: object) -> list[tuple[Any, ...]]:
        address = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(["169.254.169.254"], id="link-local"),
        pytest.param(["::ffff:169.254.169.254"], id="link-local, mapped into IPv6"),
        pytest.param(["fd00:ec2::254"], id="the metadata service of AWS in IPv6"),
        pytest.param(["127.0.0.1"], id="loopback"),
    ],
)
def test_a_name_is_judged_by_its_addresses(
    beside: OtherServer, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Names(*addresses))
    with pytest.raises(AccessDenied, match="which no run may reach") as refused:
        store(f"http://s3.example.com:{beside.port}", guarded=True).read("key")
    assert beside.connections == 0
    assert not any(address in str(refused.value) for address in addresses)


def test_a_name_whose_address_changes_in_between_leads_nowhere(
    beside: OtherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer is looked at, the second one connected to: not a byte is sent to that."""
    monkeypatch.setattr(s3_guard, "_addresses", lambda *_: ["192.0.2.1"])
    monkeypatch.setattr(socket, "getaddrinfo", Names("127.0.0.1"))
    with pytest.raises(AccessDenied, match="leads to the operator's own pod"):
        store(f"http://s3.example.com:{beside.port}", guarded=True).read("key")
    eventually(lambda: beside.connections)
    assert beside.requests == []


def test_an_endpoint_with_tls_is_guarded_too(beside: OtherServer) -> None:
    with pytest.raises(AccessDenied, match="leads to the operator's own pod"):
        store(f"https://127.0.0.1:{beside.port}", guarded=True).read("key")
    assert beside.connections == 0


@pytest.mark.parametrize(
    ("here", "there", "loopback", "refused"),
    [
        pytest.param("10.1.2.3", "10.1.2.3", False, True, id="the pod's own address, in a pod"),
        pytest.param("10.1.2.3", "10.1.2.4", False, False, id="another pod"),
        pytest.param("10.1.2.3", "10.1.2.3", True, False, id="this machine's own address, outside of a pod"),
    ],
)
def test_a_connection_to_ones_own_address(here: str, there: str, loopback: bool, refused: bool) -> None:
    made = (s3_guard._Guarded if loopback else s3_guard._GuardedInPod)("s3.example.com")
    if refused:
        with pytest.raises(s3_guard.Forbidden):
            made._check_connected(here, there)
    else:
        made._check_connected(here, there)


def test_behind_a_proxy_it_is_the_proxy_that_connects(beside: OtherServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", beside.endpoint)
    monkeypatch.setenv("NO_PROXY", "")
    assert store("http://s3.example.com", guarded=True).read("key") == b"[1, 2]"
    assert beside.requests == ["GET http://s3.example.com/data/key HTTP/1.1"]


def reads(bucket: str, key: str = "rows.json") -> MapRunSpec:
    config = {"inputType": "JSON"}
    reader = {"resource": "s3:getObject", "parameters": {"bucket": bucket, "key": key}, "readerConfig": config}
    return msgspec.convert({"itemReader": reader, "itemProcessor": {"jobTemplate": {}}}, MapRunSpec)


async def planned(tmp_path: Path, access: S3Access) -> PlanView:
    """The end of planning in its own process."""
    request = PlanRequest(f"file://{tmp_path}/state", reads("data"), {}, buckets=BucketsRef(access=access))
    return [view async for view in PlannerProcess().run(request)][-1]


@pytest.mark.parametrize(
    ("host", "what"),
    [
        pytest.param(str(METADATA), "a link-local address", id="a link-local address as one number"),
        pytest.param("[::ffff:a9fe:a9fe]", "a link-local address", id="a link-local address mapped into IPv6"),
        pytest.param("localhost", "the operator's own pod", id="loopback"),
    ],
)
async def test_the_planning_process_is_guarded(tmp_path: Path, host: str, what: str) -> None:
    access = S3Access(f"http://{host}:9", "us-east-1", "KEY", "made-up-secret", guarded=True)
    failure = (await planned(tmp_path, access)).failure
    assert failure is not None
    assert f"leads to {what}, which no run may reach: name another endpoint" in failure.cause


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_another_host_is_not_followed(beside: OtherServer, status: int) -> None:
    headers = {"Location": f"{beside.endpoint}/data/a/key", "x-amz-bucket-region": "eu-central-1"}
    with other_server(Answer(status, b"", headers)) as server:
        made = store(server.endpoint, guarded=True, loopback=True)
        for use in USES.values():
            with pytest.raises(StoreError):
                use(made)
    assert beside.connections == 0


XML = '<?xml version="1.0"?>'


def listing(text: str) -> bytes:
    return f"{XML}<ListBucketResult>{text}</ListBucketResult>".encode()


def error(text: str) -> bytes:
    return f"{XML}<Error>{text}</Error>".encode()


ANSWERS = {
    "text": Answer(200, PRIVATE.encode(), {"ETag": '"1"'}),
    "JSON without an ETag": Answer(200, json.dumps({"token": PRIVATE}).encode()),
    "HTML": Answer(200, f"<html><p>{PRIVATE}</html>".encode(), {"ETag": '"1"'}),
    "XML of another kind": Answer(200, f"{XML}<a><b>{PRIVATE}</b></a>".encode()),
    "an error with status 200": Answer(200, error(f"<Code>{PRIVATE} x</Code>")),
    "a code of two words": Answer(400, error(f"<Code>{PRIVATE} {PRIVATE}</Code>")),
    "a message": Answer(400, error(f"{PRIVATE}<Message>{PRIVATE}</Message>")),
    "an error that is a text": Answer(400, f"{XML}<a><Error>{PRIVATE}</Error></a>".encode()),
    "forbidden": Answer(403, PRIVATE.encode()),
    "not found": Answer(404, f"<html><p>{PRIVATE}</html>".encode()),
    "a teapot": Answer(418, json.dumps({"message": PRIVATE}).encode()),
    "half a listing": Answer(200, listing(f"<Contents><Key>{PRIVATE}</Key></Contents>")),
    "a listing without its next page": Answer(200, listing(f"<IsTruncated>true</IsTruncated><Name>{PRIVATE}</Name>")),
    "a size that is no number": Answer(200, listing(f"<Contents><Size>{PRIVATE}</Size></Contents>")),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_what_something_else_answers_is_in_no_error(answer: Answer) -> None:
    with other_server(answer) as server:
        made = store(server.endpoint, guarded=True, loopback=True)
        told = {name: said_by(use, made) for name, use in USES.items()}
        assert len(server.requests) >= len(USES)
    assert any(told.values())
    assert PRIVATE not in str(told)
    assert all(re.search("bucket data, (key a/key|prefix 'a/')", each) for each in told.values() if each)


def said_by(use: Use, made: S3Store) -> str:
    """The error; "" when it is content with the answer."""
    try:
        use(made)
    except StoreError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("answer", "use", "kind", "told"),
    [
        pytest.param("JSON without an ETag", READ, StoreError, "not that of an S3 server", id="no ETag"),
        pytest.param("text", LIST, StoreUnavailable, "the server has a problem", id="no listing, for boto3 a problem"),
        pytest.param("half a listing", LIST, StoreError, "not that of an S3 server", id="half of one"),
        pytest.param("a code of two words", READ, StoreError, "(no code, HTTP 400)", id="a code of two words"),
        pytest.param("not found", READ, NotFound, "HTTP 404", id="not found"),
    ],
)
def test_it_is_told_what_it_is(answer: str, use: Use, kind: type[StoreError], told: str) -> None:
    with other_server(ANSWERS[answer]) as server, pytest.raises(kind) as refused:
        use(store(server.endpoint, guarded=True, loopback=True))
    assert told in str(refused.value)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_a_run_that_reads_it_ends_without_showing_it(
    tmp_path: Path, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    with other_server(answer) as server:
        access = S3Access(server.endpoint, "us-east-1", "KEY", "made-up-secret", guarded=True, loopback=True)
        view = await planned(tmp_path, access)
    # What is neither JSON nor an error is a dataset that cannot be read: at most one character is shown.
    assert view.failure is not None
    assert PRIVATE not in msgspec.json.encode(view).decode() + caplog.text


@pytest.mark.parametrize(
    "access",
    [
        pytest.param(S3Access("http://user:hidden-password@s3.example.com", "us-east-1"), id="a password in the URL"),
        pytest.param(S3Access("http://bad host hidden-password", "us-east-1"), id="a URL that is none"),
        pytest.param(S3Access("http://s3.example.com:port-hidden-password", "us-east-1"), id="a port that is none"),
        pytest.param(S3Access("", "-hidden-password/x"), id="a region that is none"),
    ],
)
def test_access_without_a_valid_form_is_told_without_showing_it(access: S3Access) -> None:
    """As it may stand in the operator's own settings, or pass a CRD that somebody changed."""
    with pytest.raises(StoreError, match="endpoint or region has no valid form") as refused:
        s3.client(access)
    assert "hidden-password" not in str(refused.value)


def test_the_operators_own_credentials_still_come_from_a_metadata_service(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Workload identity: the service that has them is on loopback here, link-local in a cloud."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    handed = {"AccessKeyId": s3_server.access_key, "SecretAccessKey": s3_server.secret_key, "Token": ""}
    handed |= {"Expiration": "2099-01-01T00:00:00Z"}
    with other_server(Answer(200, json.dumps(handed).encode())) as service:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{service.endpoint}/credentials")
        client = s3.client(S3Access(s3_server.endpoint, f"{s3_server.region}"))
        bucket = f"own-{uuid4().hex[:8]}"
        client.create_bucket(Bucket=bucket)
        S3Store(client, bucket).create("key", b"data")
        client.close()
        s3.client.cache_clear()
    assert service.requests == ["GET /credentials HTTP/1.1"]


def test_the_planner_of_these_tests_is_the_real_one() -> None:
    assert planning.MODULE == "maprun.planning"
