"""What one namespace can do to another, or to the operator, through runs: on a real API server and S3 server.

The operator here keeps its state in S3, shares its credentials, and allows one other endpoint: what is refused is
refused although everything is within its reach.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from maprun.adapters.cluster import ApiError
from tests.adapters.job_runs import install
from tests.adapters.operator_runs import (
    Buckets,
    Json,
    Run,
    Space,
    condition,
    reader,
    secret_of,
    spaces,
    spec,
    until,
    verdict,
    writer,
)
from tests.adapters.other_servers import Answer, OtherServer, other_server
from tests.cluster.cluster import Cluster
from tests.cluster.paths import REPOSITORY
from tests.cluster.s3 import S3Server
from tests.operator_process import OperatorProcess

HERE, THERE, LOCKED = "tenant-here", "tenant-there", "tenant-locked"
PREFIX: Final = "maprun/prod"
READER, WRITER = "spec.itemReader.parameters", "spec.resultWriter.parameters"
HANG: Final = {"outcome": "hang"}


@pytest.fixture(scope="module")
def server(cluster_fake: Cluster) -> Iterator[S3Server]:
    install(cluster_fake)
    for name in (HERE, THERE, LOCKED):
        cluster_fake.kubectl("create", "namespace", name)
    cluster_fake.kubectl("label", "namespace", LOCKED, "pod-security.kubernetes.io/enforce=restricted")
    assert cluster_fake.s3 is not None
    yield cluster_fake.s3
    for name in (HERE, THERE, LOCKED):
        cluster_fake.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def beside() -> Iterator[OtherServer]:
    """A service that answers with JSON, and is not in the operator's list."""
    with other_server(Answer(200, b'[{"token": "of-another-service"}]', {"ETag": '"1"'})) as service:
        yield service


@pytest.fixture(scope="module")
def state(server: S3Server) -> Iterator[str]:
    """The bucket of the operator's state, with something else in it, too."""
    with closing(Buckets(server)) as buckets:
        bucket = buckets.make()
        buckets.s3.put_object(Bucket=bucket, Key="data/rows.json", Body=b"[1]")
        yield bucket


@pytest.fixture(scope="module")
def elsewhere(server: S3Server) -> str:
    """The same S3 server, by another name."""
    return server.endpoint.replace("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def operator(
    cluster_fake: Cluster, server: S3Server, state: str, elsewhere: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    folder = tmp_path_factory.mktemp("operator")
    options = ["--share-s3-credentials"]
    environment = {"MAPRUN_S3_ENDPOINTS": f"http://s3.example.com {elsewhere}"}
    with OperatorProcess(
        folder, cluster_fake.kubeconfig, f"s3://{state}/{PREFIX}", options, server, environment
    ) as process:
        yield process
        assert "Traceback" not in process.log


@pytest.fixture
async def places(operator: OperatorProcess, cluster_fake: Cluster, server: S3Server) -> AsyncIterator[list[Space]]:
    async with spaces(cluster_fake, HERE, THERE) as made:
        await made[1].secret(secret_of(server), "of-there")
        await made[0].secret(secret_of(server), "of-here")
        yield made


def s3(endpoint: str) -> Json:
    return {"endpoint": endpoint, "credentialsSecretRef": {"name": "of-here"}}


NAMES: Final = [
    *("../../tenant-there/secrets/of-there", "..", "tenant-there/of-there", "/of-there", "tenant-there%2fof-there"),
    *("%2e%2e%2f%2e%2e%2ftenant-there%2fsecrets%2fof-there", "of-there?x", "of-there#x", "of\\there", "of-there\n"),
    *("tenant-there:of-there", "tenant-there,of-there", "OF-THERE", ""),
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_the_name_of_a_secret_is_no_path(places: list[Space], name: str) -> None:
    made = spec(itemReader=reader("data", "rows.json"), s3={"credentialsSecretRef": {"name": name}})
    with pytest.raises(ApiError) as refused:
        await places[0].create(made)
    assert "spec.s3.credentialsSecretRef.name: Invalid value" in refused.value.message


@pytest.mark.parametrize("field", ["namespace", "uid", "apiVersion"])
async def test_a_reference_has_no_other_field(places: list[Space], field: str) -> None:
    made = spec(itemReader=reader("data"), s3={"credentialsSecretRef": {"name": "of-there", field: THERE}})
    with pytest.raises(ApiError, match=f'unknown field "spec.s3.credentialsSecretRef.{field}"'):
        await places[0].create(made)


async def test_a_secret_of_another_namespace_is_none(places: list[Space], state: str) -> None:
    here, there = places
    made = spec(itemReader=reader(state, "data/rows.json"), s3={"credentialsSecretRef": {"name": "of-there"}})
    run, beside = await here.create(made), await there.create(made)
    assert verdict(await beside.ended()) == "True"
    told = "there is no Secret of-there in the namespace tenant-here"
    await run.until(lambda status: told in condition(status).get("message", ""))
    await run.delete()


@pytest.mark.parametrize(
    "endpoint",
    [
        *(
            "http://user:password@s3.example.com",
            "http://s3.example.com/a",
            "http://s3.example.com?a",
            "s3.example.com",
        ),
        *(
            "http://s3.example.com#a",
            "ftp://s3.example.com",
            "file:///etc/passwd",
            "http://s3.example.com\n",
            "http://",
        ),
    ],
)
async def test_the_api_server_refuses_what_is_no_endpoint(places: list[Space], endpoint: str) -> None:
    with pytest.raises(ApiError) as refused:
        await places[0].create(spec(itemReader=reader("data"), s3=s3(endpoint)))
    assert "spec.s3.endpoint: Invalid value" in refused.value.message


async def test_an_own_endpoint_demands_an_own_secret(places: list[Space], elsewhere: str) -> None:
    with pytest.raises(ApiError, match="credentialsSecretRef: Invalid value: is required with an endpoint"):
        await places[0].create(spec(itemReader=reader("data"), s3={"endpoint": elsewhere}))


async def test_an_endpoint_of_the_list_is_used(places: list[Space], state: str, elsewhere: str) -> None:
    made = spec(itemReader=reader(state, "data/rows.json"), s3=s3(f"{elsewhere}/"))
    assert verdict(await (await places[0].create(made)).ended()) == "True"


ALLOWED: Final = "it must be one of http://localhost:"


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        pytest.param("http://127.0.0.1:{beside}", ALLOWED, id="a service beside it"),
        pytest.param("http://169.254.169.254", ALLOWED, id="the metadata service"),
        pytest.param("https://kubernetes.default.svc", ALLOWED, id="the API server"),
        pytest.param("http://s3.example.com:99999", "must be http://host or https://host", id="a port that is none"),
    ],
)
async def test_an_endpoint_beyond_the_list_ends_the_run(
    places: list[Space], beside: OtherServer, state: str, endpoint: str, told: str
) -> None:
    before = beside.connections
    made = spec(itemReader=reader(state, "data/rows.json"), s3=s3(endpoint.format(beside=beside.port)))
    said = condition(await (await places[0].create(made)).ended())
    assert (said["status"], said["reason"]) == ("False", "EndpointNotAllowed")
    assert "States.Runtime: spec.s3.endpoint: " in said["message"]
    assert told in said["message"]
    assert "of-another-service" not in json.dumps(said)
    assert beside.connections == before


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"itemReader": {"key": f"{PREFIX}/x"}}, f"{READER}.key", id="a key in it"),
        pytest.param({"itemReader": {"key": f"a/../{PREFIX}/x"}}, f"{READER}.key", id="a key that leads into it"),
        pytest.param({"itemReader": {}}, f"{READER}.prefix", id="a listing of its bucket"),
        pytest.param({"itemReader": {"prefix": "mapr"}}, f"{READER}.prefix", id="a listing that has it inside"),
        pytest.param({"itemReader": {"prefix": f"{PREFIX}/a"}}, f"{READER}.prefix", id="a listing inside of it"),
        pytest.param({"resultWriter": {"prefix": PREFIX}}, f"{WRITER}.prefix", id="results in it"),
    ],
)
@pytest.mark.parametrize("secret", [False, True], ids=["shared credentials", "a Secret"])
async def test_the_operators_state_is_out_of_reach(
    places: list[Space], state: str, fields: dict[str, Json], field: str, secret: bool
) -> None:
    own = {"s3": {"credentialsSecretRef": {"name": "of-here"}}} if secret else {}
    said = condition(await (await places[0].create(spec([1], **touching(state, fields), **own))).ended())
    assert (said["status"], said["reason"]) == ("False", "StateNotAllowed")
    assert f"{field}: " in said["message"]
    assert f"meets s3://{state}/{PREFIX}/, where the operator keeps the state of all runs; " in said["message"]
    assert "or another bucket" in said["message"]


def touching(bucket: str, fields: dict[str, Json]) -> dict[str, Any]:
    if "resultWriter" in fields:
        return {"resultWriter": writer(bucket, fields["resultWriter"]["prefix"])}
    made = reader(bucket, fields["itemReader"].get("key", ""))
    made["parameters"] |= fields["itemReader"]
    return {"itemReader": made}


async def test_what_lies_beside_the_state_can_be_used(places: list[Space], state: str, server: S3Server) -> None:
    made = spec(itemReader=reader(state, "data/rows.json"), resultWriter=writer(state, "maprun/results"))
    status = await (await places[0].create(made)).ended()
    assert verdict(status) == "True"
    with closing(Buckets(server)) as buckets:
        assert len(buckets.results(status).records("SUCCEEDED")) == 1


@pytest.mark.parametrize("prefix", ["../{state}/maprun/prod", "a/../../{state}"])
async def test_results_do_not_climb_out_of_their_bucket(
    places: list[Space], state: str, prefix: str, server: S3Server
) -> None:
    with closing(Buckets(server)) as buckets:
        bucket = buckets.make()
        run = await places[0].create(spec([1], resultWriter=writer(bucket, prefix.format(state=state))))
        said = condition(await run.ended())
        assert said["reason"] == "ResultWriterFailed"
        assert "with its .. the key leads out of its bucket" in said["message"]
        assert buckets.keys(bucket) == []
        assert all(run.uid not in key or key.startswith(f"{PREFIX}/") for key in buckets.keys(state))


async def test_a_list_that_is_narrowed_stops_no_run_for_good(
    places: list[Space], operator: OperatorProcess, elsewhere: str, state: str, tmp_path: Path
) -> None:
    """Under way, a run goes on without its buckets until an administrator changes that back; it is not ended for it."""
    made = spec(pod=HANG, itemReader=reader(state, "data/rows.json"), s3=s3(elsewhere))
    run = await places[0].create(made)
    await run.until(lambda status: status.get("itemCounts", {}).get("running") == 1)
    operator.terminate()
    narrow = operator.twin(tmp_path)
    narrow._environment = operator._environment | {"MAPRUN_S3_ENDPOINTS": "http://s3.example.com"}
    try:
        narrow.start().await_ready()
        await run.until(lambda status: "is not allowed on this operator" in condition(status).get("message", ""))
        assert verdict(await run.status()) == "Unknown"
        assert len(await run.jobs()) == 1
    finally:
        narrow.terminate()
        operator.start().await_ready()
    await run.until(lambda status: "not allowed" not in condition(status)["message"])
    await run.delete()


async def forge(space: Space, run: Run) -> None:
    """A Job that says it is the run's first child, with an output."""
    labels = {f"maprun.dev/{key}": value for key, value in (("run-uid", run.uid), ("child", "0"), ("attempt", "1"))}
    metadata = {"labels": labels, "annotations": {"maprun.dev/test-message": '"forged"'}}
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "handler"}]}
    job = {"metadata": {"name": "forged", "labels": labels}, "spec": {"template": {"metadata": metadata, "spec": pod}}}
    await space.client.request("POST", space.path("jobs", group="batch/v1"), job)


async def test_nobody_makes_outcomes_for_a_run_of_another_namespace(places: list[Space]) -> None:
    """The run's uid is no secret to whoever may see the run; its children are those of its own namespace."""
    here, there = places
    run = await here.create(spec([1], pod={"duration": "3s", "message": '"true"'}))
    await run.until(lambda status: status.get("itemCounts", {}).get("running") == 1)
    await forge(there, run)

    async def over() -> bool:
        job = json.loads(await there.client.request("GET", there.path("jobs", "forged", "batch/v1")))
        return bool(job.get("status", {}).get("succeeded"))

    await until(over)
    status = await run.ended()
    assert status["output"] == ["true"]
    assert await over()


def conforming() -> Json:
    """The pod spec that docs/security.md shows."""
    page = (REPOSITORY / "docs/security.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    made: Json = yaml.safe_load(block)
    return made


async def test_a_namespace_that_enforces_restricted(operator: OperatorProcess, cluster_fake: Cluster) -> None:
    """The Job is taken and its pods are refused: the condition says why; a template that conforms runs."""
    async with spaces(cluster_fake, LOCKED) as (locked,):
        run = await locked.create(spec([1, 2]))
        good = spec([1, 2])
        good["itemProcessor"]["jobTemplate"]["spec"]["template"]["spec"] = conforming()
        assert verdict(await (await locked.create(good)).ended()) == "True"
        status = await run.until(lambda status: "PodSecurity" in condition(status).get("message", ""), 90)
        told = condition(status)["message"]
        assert 'violates PodSecurity "restricted:latest"' in told
        assert 'container "main" must set securityContext.allowPrivilegeEscalation=false' in told
        assert "spec.itemProcessor.jobTemplate must keep to the Pod Security Standard of the namespace" in told
        await run.delete()
