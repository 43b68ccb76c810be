"""Items out of a ConfigMap and out of a Secret, on a real API server, with a real operator and no S3 at all."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import AsyncIterator, Iterator
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.adapters.job_runs import install
from tests.adapters.operator_runs import Json, Space, condition, spaces, spec, verdict
from tests.cluster.cluster import Cluster
from tests.operator_process import OperatorProcess

PLACE: Final = "local-data"
CSV: Final = "id,name\n1,Bonn\n2,Oslo\n3,Rome\n"
FIRST_ROW: Final = {"inputType": "CSV", "csvHeaderLocation": "FIRST_ROW"}
HIDDEN: Final = "nobody-may-see-this-value"


@pytest.fixture(scope="module")
def cluster(cluster_fake: Cluster) -> Iterator[Cluster]:
    install(cluster_fake)
    cluster_fake.kubectl("create", "namespace", PLACE)
    yield cluster_fake
    cluster_fake.kubectl("delete", "namespace", PLACE, "--wait=false")


@pytest.fixture(scope="module")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(folder, cluster.kubeconfig, f"file://{folder}/state") as process:
        yield process


@pytest.fixture
async def space(cluster: Cluster, operator: OperatorProcess) -> AsyncIterator[Space]:
    async with spaces(cluster, PLACE) as (made,):
        yield made


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2, 3]}), file)
    return file.getvalue()


def reads(resource: str, name: str, key: str, config: Json) -> Json:
    """A spec that reads this value."""
    return spec(itemReader={"resource": resource, "parameters": {"name": name, "key": key}, "readerConfig": config})


async def put(space: Space, resource: str, name: str, key: str, value: str | bytes) -> None:
    """Make a ConfigMap or Secret of one key."""
    binary = isinstance(value, bytes)
    data = {key: base64.b64encode(value).decode() if isinstance(value, bytes) else value}
    fields = ("data", "binaryData") if resource == "configmap" else ("stringData", "data")
    await space.client.request("POST", space.path(f"{resource}s"), {"metadata": {"name": name}, fields[binary]: data})


@pytest.mark.parametrize(
    ("resource", "value", "key", "config", "count"),
    [
        pytest.param("configmap", CSV, "cities.csv", FIRST_ROW, 3, id="CSV of a ConfigMap"),
        pytest.param("configmap", gzip.compress(CSV.encode()), "cities.csv.gz", FIRST_ROW, 3, id="compressed"),
        pytest.param("configmap", parquet(), "cities.parquet", {"inputType": "PARQUET"}, 3, id="Parquet"),
        pytest.param("secret", '[{"id":1},{"id":2}]', "cities.json", {"inputType": "JSON"}, 2, id="JSON of a Secret"),
    ],
)
async def test_a_run_reads_its_namespaces_data(
    space: Space, resource: str, value: str | bytes, key: str, config: Json, count: int
) -> None:
    await put(space, resource, key, key, value)
    status = await (await space.create(reads(resource, key, key, config))).ended()
    assert verdict(status) == "True", condition(status)
    assert status["itemCounts"]["succeeded"] == status["itemCounts"]["total"] == count


@pytest.mark.parametrize(
    ("resource", "name", "before", "reason", "told"),
    [
        pytest.param(
            "configmap", "later", "", "ConfigMapNotFound", "there is no ConfigMap later in", id="no ConfigMap"
        ),
        pytest.param("secret", "later", "", "SecretNotFound", "there is no Secret later in", id="no Secret"),
        pytest.param(
            "configmap", "half", "a", "ConfigMapNotUsable", "has no key cities.csv", id="a ConfigMap without it"
        ),
        pytest.param("secret", "half", HIDDEN, "SecretNotUsable", "has no key cities.csv", id="a Secret without it"),
    ],
)
async def test_what_is_not_there_is_waited_for(
    space: Space, operator: OperatorProcess, resource: str, name: str, before: str, reason: str, told: str
) -> None:
    if before:
        await put(space, resource, name, "other", before)
    run = await space.create(reads(resource, name, "cities.csv", FIRST_ROW))
    said = condition(await run.until(lambda status: condition(status).get("reason") == reason))
    assert said["status"] == "Unknown"
    assert told in said["message"]
    assert "the run then goes on by itself" in said["message"]
    assert reason in [event.reason for event in await run.events()]
    if before:
        await space.client.request("DELETE", space.path(f"{resource}s", name))
    await put(space, resource, name, "cities.csv", CSV)
    assert verdict(await run.ended()) == "True"
    assert HIDDEN not in operator.log


@pytest.mark.parametrize(
    ("value", "config"),
    [
        pytest.param(f'["{HIDDEN}" 1]', {"inputType": "JSON"}, id="json"),
        pytest.param(f"{HIDDEN},{HIDDEN}\n1,2\n", FIRST_ROW, id="csv"),
        pytest.param(f"{HIDDEN} but no Parquet", {"inputType": "PARQUET"}, id="parquet"),
    ],
)
async def test_no_value_of_a_broken_secret_is_told(
    space: Space, operator: OperatorProcess, request: pytest.FixtureRequest, value: str, config: Json
) -> None:
    name = f"broken-{request.node.callspec.id}"
    await put(space, "secret", name, "data", value)
    run = await space.create(reads("secret", name, "data", config))
    status = await run.ended()
    assert condition(status)["reason"] == "ItemReaderFailed"
    assert f"secret://{name}/data" in json.dumps(status) or "duplicates" in json.dumps(status)
    events = await space.client.request("GET", space.path("events"))
    told = json.dumps(await run.get()) + events.decode() + operator.log
    for form in (HIDDEN, base64.b64encode(HIDDEN.encode()).decode()[:-4]):
        assert form not in told
