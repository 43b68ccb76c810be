"""No credential is in anything that MapRun writes or says: every place is searched for every form of every secret."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
import yaml
import zstandard

from maprun.adapters.cluster import ClusterClient
from maprun.model import GROUP, PLURAL, VERSION
from tests.adapters.job_runs import install
from tests.adapters.operator_runs import Buckets, Json, Run, Space, access, condition, reader, spaces, spec, writer
from tests.adapters.other_servers import Answer, other_server
from tests.cluster.cluster import Cluster
from tests.cluster.s3 import S3Server
from tests.operator_process import SOURCES, OperatorProcess

PLACE: Final = "leaks"
WRONG_ID: Final = "WRONGKEYID0NOBODY0MAY0SEE"
WRONG_KEY: Final = "wrong/secret+key=that nobody may see".replace(" ", "~")
TOKEN: Final = "session/token+that=nobody~may~see"
PASSWORD: Final = "password-in-a-url"
LARGE: Final = "x" * 40_000


def forms(secret: str) -> set[bytes]:
    """The secret as it is, in Base64 (wherever it begins in a longer text), as part of a URL, in JSON, and in hex."""
    raw = secret.encode()
    shifted = {base64.b64encode(b"\0" * skip + raw)[4 if skip else 0 : -4] for skip in range(3)}
    return {raw, quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode(), raw.hex().encode()} | shifted


def secrets_of(server: S3Server) -> dict[str, str]:
    return {
        "the right secret key": server.secret_key,
        "a wrong secret key": WRONG_KEY,
        "a wrong key id": WRONG_ID,
        "a session token": TOKEN,
        "a password in a URL": PASSWORD,
    }


@pytest.fixture(scope="module")
def server(cluster_fake: Cluster) -> Iterator[S3Server]:
    install(cluster_fake)
    assert cluster_fake.s3 is not None
    cluster_fake.kubectl("create", "namespace", PLACE)
    yield cluster_fake.s3
    cluster_fake.kubectl("delete", "namespace", PLACE, "--wait=false")


@pytest.fixture(scope="module")
def buckets(server: S3Server) -> Iterator[Buckets]:
    with closing(Buckets(server)) as made:
        yield made


@pytest.fixture(scope="module")
def state(buckets: Buckets) -> str:
    return buckets.make()


@pytest.fixture(scope="module")
def operator(
    cluster_fake: Cluster, server: S3Server, state: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(folder, cluster_fake.kubeconfig, f"s3://{state}", [], server) as process:
        yield process


@pytest.fixture(scope="module")
def said(
    operator: OperatorProcess, cluster_fake: Cluster, server: S3Server, buckets: Buckets, state: str
) -> dict[str, bytes]:
    """Everything that was written and said, by where, after runs that went well and runs that did not."""
    results = buckets.make(data=[{"text": LARGE}, {"text": "b"}])
    shown = asyncio.run(seen(cluster_fake, server, results, operator))
    for bucket in (state, results):
        for key in buckets.keys(bucket):
            body = buckets.read(bucket, key)
            shown[f"s3://{bucket}/{key}"] = zstandard.decompress(body) if key.endswith(".zst") else body
    shown["metrics"] = operator.get("/metrics")[1].encode()
    cluster_fake.kubectl("delete", "mapruns", "--all", "-n", PLACE)
    operator.terminate()
    shown["log"] = operator.log.encode()
    return shown


async def seen(cluster: Cluster, server: S3Server, bucket: str, operator: OperatorProcess) -> dict[str, bytes]:
    """Drive the runs; what the API server then has, but for the Secrets themselves."""
    async with spaces(cluster, PLACE) as (space,):
        good = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        bad = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": WRONG_KEY}
        await space.secret(good)
        await space.secret(bad, "bad")
        await space.secret({"AWS_ACCESS_KEY_ID": WRONG_ID, "AWS_SECRET_ACCESS_KEY": WRONG_KEY}, "stranger")
        await space.secret(good | {"AWS_SESSION_TOKEN": TOKEN}, "token")
        await space.secret(bad | {"AWS_SESSION_TOKEN": f"{TOKEN}\n{TOKEN}"}, "broken")
        with other_server(Answer(200, b"<html>", {"ETag": '"1"'})) as service:
            runs = await started(space, server, bucket, service.endpoint)
            await asyncio.gather(*(run.until(has_said) for run in runs))
        return await everything(space)  # the runs stay a while: with them goes their state, which is to be read


def has_said(status: Json) -> object:
    """The run has ended, or waits and says for what."""
    told = condition(status)
    under_way = told.get("reason") in (None, "Planning", "Running", "Exporting") and told.get("status") != "False"
    return told and (told["status"] == "True" or not under_way or "the server has a problem" in told["message"])


async def started(space: Space, server: S3Server, bucket: str, service: str) -> list[Run]:
    """One run for each way in which credentials are used, well or badly."""
    read, listed, written = reader(bucket, "data.json"), reader(bucket), writer(bucket)
    specs = [
        spec(itemReader=read, resultWriter=written, s3=access(server)),
        *(spec(itemReader=read, s3=access(server, name)) for name in ("bad", "stranger", "token", "broken")),
        *(spec(itemReader=listed, s3=access(server, name)) for name in ("bad", "stranger", "token")),
        *(spec([1], resultWriter=written, s3=access(server, name)) for name in ("bad", "stranger", "token")),
        spec(itemReader=read, s3=access(server) | {"endpoint": service}),
        spec(itemReader=listed, s3=access(server, "token") | {"endpoint": service}),
        spec(itemReader=read, s3=access(server) | {"endpoint": "http://s3.example.com:99999"}),
        spec(itemReader=read, s3=access(server) | {"region": "-"}),
        spec(itemReader=read),  # the operator's own are not shared
    ]
    return [await space.create(each) for each in specs]


async def everything(space: Space) -> dict[str, bytes]:
    """All runs, events, Jobs and pods of the namespace."""
    client: ClusterClient = space.client
    paths = {
        "runs": space.path(PLURAL, group=f"{GROUP}/{VERSION}"),
        "events": space.path("events"),
        "jobs": space.path("jobs", group="batch/v1"),
        "pods": space.path("pods"),
    }
    return {name: await client.request("GET", path) for name, path in paths.items()}


def found(text: bytes, server: S3Server) -> list[str]:
    """The secrets that are in a text, in whatever form."""
    return [name for name, secret in secrets_of(server).items() for form in forms(secret) if form in text]


def test_nothing_that_the_operator_wrote_or_said_holds_a_credential(said: dict[str, bytes], server: S3Server) -> None:
    assert {name: found(text, server) for name, text in said.items() if found(text, server)} == {}


def test_all_places_were_searched_and_none_was_empty(said: dict[str, bytes], state: str) -> None:
    """Else the test above could not fail."""
    assert all(said.values())
    for place in ("/spec.json", "/plan/", "/journal/", "SUCCEEDED_0.json", "manifest.json"):
        assert any(place in name for name in said), place
    told = said["runs"].decode()
    for part in (
        "the server refuses the signature",
        "the server does not know the access key id",
        "this operator does not share its own S3 credentials",
        "must be one word of ASCII",
        "spec.s3.endpoint: must be http://host or https://host",
        "endpoint or region has no valid form",
    ):
        assert part in told
    assert b"cannot start" in said["log"]
    assert any(LARGE.encode() in text for name, text in said.items() if name.startswith(f"s3://{state}"))


def test_the_search_finds_each_form(server: S3Server) -> None:
    for secret in secrets_of(server).values():
        texts = [secret, quote(secret, safe=""), secret.encode().hex(), json.dumps({"a": secret})]
        texts += [base64.b64encode(f"{before}{secret} and more".encode()).decode() for before in ("", "a", "ab", "abc")]
        assert all(found(text.encode(), server) for text in texts)


RUN: Final = """
apiVersion: maprun.dev/v1alpha1
kind: MapRun
metadata: {name: here}
spec: {}
"""


def here(folder: Path, environment: dict[str, str], endpoint: str, made: Json) -> bytes:
    """`maprun run` of this spec as a process: everything that it printed and left on the disk."""
    body = yaml.safe_load(RUN) | {"spec": made}
    (folder / "run.yaml").write_text(json.dumps(body))
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    words = [sys.executable, "-m", "maprun", "run", "run.yaml", "--s3-endpoint", endpoint, "--state", "state"]
    own |= {"PYTHONPATH": str(SOURCES)} | environment
    done = subprocess.run(words, cwd=folder, env=own, capture_output=True, timeout=60, check=False)
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    plain = [zstandard.decompress(each) if each[:4] == b"\x28\xb5\x2f\xfd" else each for each in files]
    return b"\n".join([done.stdout, done.stderr, *plain])


LOCAL: Final = {"name": "main", "image": "any", "command": ["sh", "-c", "true"]}


@pytest.mark.parametrize(
    ("change", "endpoint", "told"),
    [
        pytest.param({}, "", b"here SUCCEEDED", id="the right keys"),
        pytest.param({"AWS_SECRET_ACCESS_KEY": WRONG_KEY}, "", b"the server refuses the signature", id="a wrong key"),
        pytest.param({"AWS_ACCESS_KEY_ID": WRONG_ID}, "", b"does not know the access key id", id="a wrong id"),
        pytest.param({"AWS_SESSION_TOKEN": TOKEN}, "", b"the session token is not valid", id="a wrong token"),
        pytest.param({}, f"http://user:{PASSWORD}@127.0.0.1:9", b"no valid form", id="a password in the endpoint"),
    ],
)
def test_a_run_here_shows_no_credential(
    tmp_path: Path, server: S3Server, buckets: Buckets, change: dict[str, str], endpoint: str, told: bytes
) -> None:
    bucket = buckets.make(data=[1])
    made = spec(itemReader=reader(bucket, "data.json"), resultWriter=writer(bucket))
    made["itemProcessor"]["jobTemplate"]["spec"]["template"]["spec"]["containers"] = [LOCAL]
    text = here(tmp_path, server.environment() | change, endpoint or server.endpoint, made)
    assert told in text
    assert found(text, server) == []


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        pytest.param({"AWS_ENDPOINT_URL_S3": f"http://user:{PASSWORD}@127.0.0.1:9"}, "no valid form", id="its own"),
        pytest.param({"MAPRUN_S3_ENDPOINTS": f"http://user:{PASSWORD}@a.example.com"}, "each must be", id="the list"),
        pytest.param({"AWS_SECRET_ACCESS_KEY": WRONG_KEY}, "the server refuses the signature", id="a wrong key"),
    ],
)
def test_an_operator_that_cannot_start_shows_no_credential(
    tmp_path: Path, cluster_fake: Cluster, server: S3Server, environment: dict[str, str], told: str
) -> None:
    process = OperatorProcess(tmp_path, cluster_fake.kubeconfig, "s3://state-of-nobody", [], server, environment)
    with pytest.raises(AssertionError, match="the operator ended with exit code 2"), process:
        pass
    assert told in process.log
    assert found(process.log.encode(), server) == []
