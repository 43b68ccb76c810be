"""Ways in, through a real operator on a real API server and a real S3 server: from a spec to what children get."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest

from tests.adapters.job_runs import install
from tests.adapters.operator_runs import (
    Buckets,
    Json,
    Run,
    Space,
    access,
    condition,
    secret_of,
    spaces,
    spec,
    writer,
)
from tests.cluster.cluster import Cluster
from tests.operator_process import OperatorProcess

PLACE: Final = "readers-run"
CSV: Final = {"inputType": "CSV", "csvHeaderLocation": "FIRST_ROW"}
LONG: Final = 60_000  # rows before the broken one: seconds of reading, so that children are running by then


@pytest.fixture(scope="module")
def operator(cluster_fake: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One operator of the namespace, for the whole file."""
    install(cluster_fake)
    cluster_fake.kubectl("create", "namespace", PLACE)
    folder = tmp_path_factory.mktemp("operator")
    state = f"file://{folder}/state"
    with OperatorProcess(folder, cluster_fake.kubeconfig, state, [f"--namespace={PLACE}"]) as process:
        yield process
        assert "Traceback" not in process.log
    cluster_fake.kubectl("delete", "namespace", PLACE, "--wait=false")


@pytest.fixture
async def here(operator: OperatorProcess, cluster_fake: Cluster) -> AsyncIterator[Space]:
    async with spaces(cluster_fake, PLACE) as (space,):
        yield space


class Data:
    """A bucket with datasets, which results go to as well, in reach of runs of the namespace."""

    def __init__(self, here: Space, buckets: Buckets, s3: Json) -> None:
        self.name = buckets.make()
        self._here, self._buckets, self._s3 = here, buckets, s3

    def put(self, key: str, content: bytes) -> None:
        self._buckets.s3.put_object(Bucket=self.name, Key=key, Body=content)

    def reader(self, key: str, form: str = "parameters", **config: Any) -> Json:
        call = {"bucket": self.name, "key": key}
        return {"resource": "s3:getObject", form: call, "readerConfig": config}

    async def run(self, **fields: Any) -> Run:
        """A run with the bucket's credentials."""
        return await self._here.create(spec(s3=self._s3, **fields))

    async def inputs(self, **fields: Any) -> tuple[list[Any], Json]:
        """What the children of a run got, in order, by its result files; and its status."""
        status = await (await self.run(resultWriter=writer(self.name), **fields)).ended()
        assert condition(status)["status"] == "True", condition(status)
        return [json.loads(record["Input"]) for record in self.records(status, "SUCCEEDED")], status

    def records(self, status: Json, category: str) -> list[Json]:
        return self._buckets.results(status).records(category)


@pytest.fixture
async def data(here: Space, buckets: Buckets, cluster_fake: Cluster) -> Data:
    assert cluster_fake.s3 is not None
    await here.secret(secret_of(cluster_fake.s3))
    return Data(here, buckets, access(cluster_fake.s3))


def counted(status: Json, kind: str) -> Json:
    """The counts of an `item` or `execution` that are not 0; none before there are any."""
    counts = status.get(f"{kind}Counts", {})
    return {state: count for state, count in counts.items() if count and state != "resultsWritten"}


async def test_csv_with_given_headers_and_pipes_selected_and_in_batches(data: Data) -> None:
    data.put("towns", b'id|town\n1|"Biel|Bienne"\n2\n3|Chur|GR\n4|a\\|b\n5|\n')
    given: Json = {"csvHeaderLocation": "GIVEN", "csvHeaders": ["id", "town"], "csvDelimiter": "PIPE"}
    inputs, status = await data.inputs(
        input={"country": "CH"},
        itemReader=data.reader("towns", inputType="CSV", maxItems=5, **given),
        itemSelector={
            "name.$": "States.Format('{} {}', $.country, $$.Map.Item.Value.town)",
            "number.$": "States.MathAdd($$.Map.Item.Index, 100)",
        },
        itemBatcher={"maxItemsPerBatch": 2, "batchInput": {"of.$": "$.country"}},
    )
    named = [
        {"name": f"CH {town}", "number": 100 + number}
        for number, town in enumerate(["town", "Biel|Bienne", "", "Chur", "a|b"])
    ]
    assert inputs == [{"BatchInput": {"of": "CH"}, "Items": named[at : at + 2]} for at in (0, 2, 4)]
    assert counted(status, "item") == {"succeeded": 5, "total": 5}
    assert counted(status, "execution") == {"succeeded": 3, "total": 3}


async def test_compressed_json_lines(data: Data) -> None:
    data.put("in.jsonl.gz", gzip.compress(b'{"n":1}\n\n[2.50,"two"]\n') + gzip.compress(b"null\n"))
    inputs, _ = await data.inputs(itemReader=data.reader("in.jsonl.gz", inputType="JSONL"))
    assert inputs == [{"n": 1}, [2.5, "two"], None]


async def test_the_contents_of_three_objects_are_one_dataset(data: Data) -> None:
    for key, content in (("in/", ""), ("in/a.csv", "n\n1\n2\n"), ("in/b.csv", "m,n\n3,4\n"), ("in/c.csv", "n\n")):
        data.put(key, content.encode())
    call = {"bucket.$": "$.bucket", "prefix.$": "States.Format('{}/', $.folder)"}
    config = {"transformation": "LOAD_AND_FLATTEN", **CSV}
    inputs, status = await data.inputs(
        input={"bucket": data.name, "folder": "in"},
        itemReader={"resource": "s3:listObjectsV2", "parameters": call, "readerConfig": config},
        itemSelector={"at.$": "$$.Map.Item.Index", "from.$": "$$.Map.Item.Source", "row.$": "$$.Map.Item.Value"},
    )
    assert inputs == [
        {"at": 0, "from": f"s3://{data.name}/in/a.csv", "row": {"n": "1"}},
        {"at": 1, "from": f"s3://{data.name}/in/a.csv", "row": {"n": "2"}},
        {"at": 2, "from": f"s3://{data.name}/in/b.csv", "row": {"m": "3", "n": "4"}},
    ]
    assert status["itemCounts"] == status["executionCounts"]


async def test_a_run_in_jsonata(data: Data) -> None:
    data.put("in-7.json", b'{"towns": [{"name": "Bern"}, {"name": "Chur"}, {"name": "Thun"}]}')
    reader = data.reader("{% 'in-' & $states.input.number & '.json' %}", "arguments", inputType="JSON")
    reader["readerConfig"] |= {"itemsPointer": "/towns", "maxItems": "{% $states.input.number - 5 %}"}
    run = await data.run(
        pod={"message": '{"seen": 1}'},
        queryLanguage="JSONata",
        input={"number": 7},
        itemReader=reader,
        itemSelector={"name": "{% $uppercase($states.context.Map.Item.Value.name) %}"},
        maxConcurrency="{% $states.input.number %}",
        output={"sum": "{% $sum($states.result.seen) %}", "given": "{% $states.input.number %}"},
    )
    status = await run.ended()
    assert (status["output"], status["maxConcurrency"]) == ({"sum": 2, "given": 7}, 7)


@pytest.mark.parametrize(
    ("fields", "reason", "told"),
    [
        pytest.param(
            {"maxItemsPath": "$.most"},
            "ItemReaderFailed",
            "States.ItemReaderFailed: field MaxItems must be positive",
            id="a negative maxItems is the reader's error, without the sentence about the state",
        ),
        pytest.param(
            {"maxItemsPath": "$.half"},
            "RuntimeError",
            "States.Runtime: An error occurred while executing the state 'NAME' (entered at the event id #2). "
            'The MaxItemsPath field refers to value "1.5" which is not a valid integer: $.half',
            id="half an item is an error of evaluation, behind that sentence",
        ),
    ],
)
async def test_errors_in_the_words_of_aws(data: Data, fields: Json, reason: str, told: str) -> None:
    data.put("in.json", b"[1]")
    reader = data.reader("in.json", inputType="JSON", **fields)
    run = await data.run(input={"most": -1, "half": "1.5"}, itemReader=reader)
    status = await run.ended()
    assert condition(status)["reason"] == reason
    assert condition(status)["message"].startswith(told.replace("NAME", run.name))
    assert counted(status, "item") == {}


async def test_a_broken_row_far_into_the_file_ends_the_run_with_its_line(data: Data) -> None:
    """Children start long before it is read. Those that run are aborted, the others that are planned stay pending."""
    data.put("long.csv", b"n\n" + b"".join(b"%d\n" % number for number in range(LONG + 3)) + b"caf\xe9\n")
    run = await data.run(
        pod={"outcome": "hang"},
        queryLanguage="JSONata",
        itemReader=data.reader("long.csv", "arguments", **CSV),
        itemSelector={"n": "{% $number($states.context.Map.Item.Value.n) + 1 %}"},
        itemBatcher={"maxItemsPerBatch": 10},
        maxConcurrency=5,
        resultWriter={
            "resource": "s3:putObject",
            "arguments": {"bucket": data.name, "prefix": "out"},
            "writerConfig": {"outputType": "JSON"},
        },
    )
    status = await run.ended()
    byte = 2 + sum(len(str(number)) + 1 for number in range(LONG + 3)) + len("caf")
    assert condition(status)["reason"] == "ItemReaderFailed"
    assert condition(status)["message"].startswith(
        f"States.ItemReaderFailed: s3://{data.name}/long.csv cannot be read as CSV at line {LONG + 5}: "
        f"byte {byte} of the file, 0xe9, is not UTF-8."
    )
    planned = LONG // 10  # whole batches in front of the broken row
    assert counted(status, "execution") == {"aborted": 5, "pending": planned - 5, "total": planned}
    assert counted(status, "item") == {"aborted": 50, "pending": LONG - 50, "total": LONG}
    failed, pending = data.records(status, "FAILED"), data.records(status, "PENDING")
    assert [record["Status"] for record in failed] == ["ABORTED"] * 5
    inputs = [json.loads(record["Input"])["Items"] for record in [*failed, *pending]]
    assert [item["n"] for items in inputs for item in items] == list(range(1, LONG + 1))


async def test_items_from_a_config_map(here: Space) -> None:
    """Without any S3. It is waited for, as anything that the run needs and that is not there yet."""
    reader = {"resource": "configmap", "parameters": {"name": "towns", "key": "towns.csv"}, "readerConfig": CSV}
    run = await here.create(spec(itemReader=reader, itemSelector={"t.$": "$$.Map.Item.Source"}, pod={"message": "1"}))
    waiting = await run.until(lambda status: "towns" in condition(status).get("message", ""))
    assert condition(waiting)["status"] == "Unknown"
    body = {"metadata": {"name": "towns"}, "data": {"towns.csv": "town\nBern\nChur\n"}}
    await here.client.request("POST", here.path("configmaps"), body)
    status = await run.ended()
    assert status["output"] == [1, 1]
    assert counted(status, "item") == {"succeeded": 2, "total": 2}
