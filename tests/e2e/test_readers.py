"""Readers and result formats on real containers: what lies in S3 comes to the children, and back again, item by item.

Rule 1: all runs are started at once; each test waits for its own.
Rule 2: children give back what they got, so that what is in the results is what was in the dataset.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import pyarrow as arrow
import pyarrow.parquet as pq
import pytest
import yaml

from tests.cluster import Cluster, images
from tests.cluster.paths import REPOSITORY
from tests.e2e import real_runs
from tests.e2e.real_runs import Json, Project
from tests.operator_process import OperatorProcess

DATA: Final = "readers-data"
RESULTS: Final = "readers-results"
EXAMPLE: Final = REPOSITORY / "examples/orders"
BUCKETS: Final = (DATA, RESULTS, "orders-data", "orders-results")

ROWS: Final = [
    {"order": f"A-{number}", "text": f'line "{number}"\nof, two | \\ü', "amount": f"{number}.50"}
    for number in range(230)
]
LISTED: Final = [
    [{"Bucket": "photos", "Key": f"in/{file}/{number}%20.jpg", "Size": str(number)} for number in range(count)]
    for file, count in enumerate((12, 8))
]
TABLE: Final = arrow.table(
    {
        "id": range(30),
        "town": [f"town {number}" for number in range(30)],
        "price": arrow.array([Decimal(number) / 4 for number in range(30)], arrow.decimal128(9, 2)),
        "tags": [["a"] * (number % 3) for number in range(30)],
    }
)

PRICED: Final = """
import json, os
event = json.load(open(os.environ["MAPRUN_INPUT"], encoding="utf-8"))
rate = event["BatchInput"]["rate"]
print("a line before the last one")
print(json.dumps([item | {"amount": rate * float(item["amount"])} for item in event["Items"]]))
"""
ITEMS: Final = ["sed", "-e", 's/^{"Items"://', "-e", "s/}$//"]  # the list inside a batch


def child(image: str, command: list[str]) -> Json:
    """A processor whose output is the last line that it prints; `$(MAPRUN_INPUT)` in its command is Kubernetes's."""
    return {"jobTemplate": real_runs.template(image, command), "output": {"from": "Logs"}}


def reader(key: str, **config: Any) -> Json:
    return {"resource": "s3:getObject", "parameters": {"bucket": DATA, "key": key}, "readerConfig": config}


def writer(**config: str) -> Json:
    parameters = {"bucket": RESULTS, "prefix": "readers"}
    return {"resource": "s3:putObject", "parameters": parameters, "writerConfig": config}


def upload(client: Any) -> None:
    """The datasets: a CSV file, an inventory of two files, and a Parquet file of three row groups."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(ROWS[0]), escapechar="\\", lineterminator="\r\n")
    table.writeheader()
    table.writerows(ROWS)
    manifest = {
        "sourceBucket": "photos",
        "destinationBucket": f"arn:aws:s3:::{DATA}",
        "version": "2016-11-30",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size",
        "files": [{"key": f"inventory/data/{file}.csv.gz", "size": 1, "MD5checksum": ""} for file in range(2)],
    }
    objects = {"orders.csv": text.getvalue().encode(), "inventory/manifest.json": json.dumps(manifest).encode()}
    for file, rows in enumerate(LISTED):
        lines = "".join(f'"{row["Bucket"]}","{row["Key"]}","{row["Size"]}"\n' for row in rows)
        objects[f"inventory/data/{file}.csv.gz"] = gzip.compress(lines.encode())
    sink = io.BytesIO()
    pq.write_table(TABLE, sink, row_group_size=10)
    objects["towns.parquet"] = sink.getvalue()
    for key, body in objects.items():
        client.put_object(Bucket=DATA, Key=key, Body=body)
    client.upload_file(str(EXAMPLE / "orders.csv"), "orders-data", "orders.csv")


def start(project: Project) -> None:
    """All runs of this file, side by side."""
    s3 = real_runs.s3_spec(project.cluster)
    project.run(
        "csv",
        s3=s3,
        input={"rate": 2},
        itemReader=reader("orders.csv", inputType="CSV", csvHeaderLocation="FIRST_ROW"),
        itemBatcher={"maxItemsPerBatch": 50, "batchInput": {"rate.$": "$.rate"}},
        itemProcessor=child(images.PYTHON, ["python3", "-c", PRICED]),
        resultWriter=writer(transformation="FLATTEN", outputType="JSONL"),
    )
    project.run(
        "inventory",
        s3=s3,
        itemReader=reader("inventory/manifest.json", manifestType="S3_INVENTORY"),
        itemBatcher={"maxItemsPerBatch": 8},
        itemProcessor=child(images.BUSYBOX, [*ITEMS, "$(MAPRUN_INPUT)"]),
    )
    project.run(
        "parquet",
        s3=s3,
        queryLanguage="JSONata",
        input={"most": 7},
        itemReader={
            "resource": "s3:getObject",
            "arguments": {"bucket": DATA, "key": "{% 'towns' & '.parquet' %}"},
            "readerConfig": {"inputType": "PARQUET"},
        },
        itemBatcher={"maxItemsPerBatch": "{% $states.input.most %}"},
        itemProcessor=child(images.BUSYBOX, ["cat", "$(MAPRUN_INPUT)"]),
        resultWriter={
            "resource": "s3:putObject",
            "arguments": {"bucket": RESULTS, "prefix": "readers"},
            "writerConfig": {"transformation": "COMPACT", "outputType": "PARQUET"},
        },
    )


def start_example(project: Project) -> None:
    """examples/orders as it is, with the address of S3."""
    handler = {"handler.py": (EXAMPLE / "handler.py").read_text("utf-8")}
    project.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "orders-handler"}, "data": handler})
    example = yaml.safe_load((EXAMPLE / "orders.yaml").read_text("utf-8"))
    project.run("orders", **example["spec"], s3=real_runs.s3_spec(project.cluster))


@pytest.fixture(scope="module")
def project(cluster_real: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A namespace with every run of this file, all started, and an operator outside that drives them."""
    folder = tmp_path_factory.mktemp("operator")
    client = real_runs.s3_client(cluster_real)
    for bucket in BUCKETS:
        client.create_bucket(Bucket=bucket)
    upload(client)
    cluster_real.kubectl("apply", "-f", str(REPOSITORY / "crds"))
    project = Project(cluster_real, "readers").create()
    with OperatorProcess(folder, cluster_real.kubeconfig, f"file://{folder}/state") as process:
        start(project)
        start_example(project)
        yield project
        project.kubectl("delete", "mapruns", "--all", "--timeout=30s")
        assert "Traceback" not in process.log, process.log
    real_runs.remove_buckets(cluster_real, BUCKETS)


def counted(status: Json) -> tuple[Json, Json]:
    """The counts of items and of child executions that are not 0."""
    items, children = (
        {state: count for state, count in status[kind].items() if count} for kind in ("itemCounts", "executionCounts")
    )
    return items, children


def succeeded(items: int, children: int) -> tuple[Json, Json]:
    """The counts of a run in which all went well; one record is written for each child."""
    return tuple(  # type: ignore[return-value]
        {"succeeded": count, "total": count, "resultsWritten": count} for count in (items, children)
    )


def test_a_csv_file_in_batches_of_fifty_comes_back_as_one_line_an_order(project: Project) -> None:
    status = project.ended("csv")
    assert counted(status) == succeeded(230, 5)
    results = real_runs.results_of(project.cluster, status)
    assert list(results.raw) == ["SUCCEEDED_0.jsonl"]
    text = results.raw["SUCCEEDED_0.jsonl"].decode()
    assert text.endswith("\n")
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines == [row | {"amount": 2 * float(row["amount"])} for row in ROWS]


def test_an_inventory_is_read_over_all_its_files_and_batches_go_over_their_borders(project: Project) -> None:
    status = project.ended("inventory")
    assert counted(status) == succeeded(20, 3)
    rows = [row for rows in LISTED for row in rows]
    assert status["output"] == [rows[:8], rows[8:16], rows[16:]]


def test_a_parquet_file_goes_to_children_as_json_and_their_outputs_into_a_parquet_file(project: Project) -> None:
    status = project.ended("parquet")
    assert counted(status) == succeeded(30, 5)
    results = real_runs.results_of(project.cluster, status)
    assert list(results.raw) == ["SUCCEEDED_0.parquet"]
    table = pq.read_table(io.BytesIO(results.raw["SUCCEEDED_0.parquet"]))
    assert table.column_names == ["Items", "_rescued_data"]
    assert table["_rescued_data"].null_count == table.num_rows == 5
    batches = table["Items"].to_pylist()
    assert [len(batch) for batch in batches] == [7, 7, 7, 7, 2]
    rows = [row | {"price": float(row["price"])} for row in TABLE.to_pylist()]
    assert [item for batch in batches for item in batch] == rows


def test_the_example_gives_one_line_for_each_order(project: Project) -> None:
    status = project.ended("orders")
    assert counted(status) == succeeded(530, 11)
    text = real_runs.results_of(project.cluster, status).raw["SUCCEEDED_0.jsonl"].decode()
    answers = [json.loads(line) for line in text.splitlines()]
    with (EXAMPLE / "orders.csv").open(encoding="utf-8", newline="") as file:
        assert [answer["order"] for answer in answers] == [row["order"] for row in csv.DictReader(file)]
    assert [answer["order"] for answer in answers if "problem" in answer] == ["A-0077", "A-0210", "A-0399"]
    assert (EXAMPLE / "README.md").read_text("utf-8").count(f"\n{text.splitlines()[0]}\n") == 1
