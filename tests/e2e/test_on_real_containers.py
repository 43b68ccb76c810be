"""The operator beside a cluster whose containers are real: the airports example, and what a child sees and says.

Rule 1: everything is started at once and each test waits for its own run, so that runs that cannot go on stand beside
        others that do, and the whole takes as long as the slowest.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster import Cluster
from tests.cluster.paths import REPOSITORY
from tests.e2e import contract, real_runs
from tests.e2e.contract import FAILURES, INPUTS, LOGGED, MISSING, OUTPUTS
from tests.e2e.real_runs import Json, Project, Results
from tests.operator_process import OperatorProcess, eventually

AIRPORTS: Final = 54  # of 130: two that fail on purpose, six that work at the second attempt
CONCURRENCY: Final = 20
BUCKETS: Final = (contract.BUCKET, "airports-data", "airports-results")
DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z")


@pytest.fixture(scope="module")
def operator(cluster_real: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One operator outside, with its state in a directory."""
    folder = tmp_path_factory.mktemp("operator")
    cluster_real.kubectl("apply", "-f", str(REPOSITORY / "crds"))
    with OperatorProcess(folder, cluster_real.kubeconfig, f"file://{folder}/state") as process:
        yield process
        assert "Traceback" not in process.log, process.log


@pytest.fixture(scope="module")
def project(cluster_real: Cluster, operator: OperatorProcess) -> Iterator[Project]:
    """A namespace with every run of this file but the airports, all started."""
    client = real_runs.s3_client(cluster_real)
    for bucket in BUCKETS:
        client.create_bucket(Bucket=bucket)
    project = Project(cluster_real, "contract").create()
    contract.start(project)
    yield project
    for namespace in ("airports", project.namespace):
        cluster_real.kubectl("delete", "mapruns", "--all", f"--namespace={namespace}", "--timeout=30s")
    real_runs.remove_buckets(cluster_real, BUCKETS)


@pytest.fixture(scope="module")
def files(project: Project) -> Results:
    """The results of the run whose children write files."""
    return real_runs.results_of(project.cluster, project.ended("files"))


@pytest.fixture(scope="module")
def logs(project: Project) -> Results:
    """The results of the run whose children write logs."""
    return real_runs.results_of(project.cluster, project.ended("logs"))


@pytest.fixture(scope="module")
def airports(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The namespace of the ended example. On the way, its Jobs are counted again and again."""
    airports = Project(project.cluster, "airports").create()
    example = edited_example(project.cluster, tmp_path_factory.mktemp("examples"))
    data = REPOSITORY / "examples/airports/airports.json"
    real_runs.s3_client(project.cluster).upload_file(str(data), "airports-data", "airports.json")
    airports.kubectl("apply", "-k", str(example))
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, len(airports.kubectl("get", "jobs", "-o", "name").split()))
        return bool(airports.condition("airports")["status"] != "Unknown")

    eventually(done, 120, lambda: airports.story("airports"))
    assert 1 < most <= CONCURRENCY
    return airports


@pytest.fixture(scope="module")
def status(airports: Project) -> Json:
    return airports.status("airports")


@pytest.fixture(scope="module")
def results(airports: Project, status: Json) -> Results:
    return real_runs.results_of(airports.cluster, status)


def test_the_status_counts_every_airport_and_names_the_failures(status: Json) -> None:
    assert status["itemCounts"] == status["executionCounts"]
    counts = {state: count for state, count in status["itemCounts"].items() if count}
    assert counts == {"succeeded": AIRPORTS - 2, "failed": 2, "total": AIRPORTS, "resultsWritten": AIRPORTS}
    assert status["retries"] == 6
    [failure] = status["failures"]
    assert (failure["error"], failure["count"]) == ("AirportHasNickname", 2)
    assert "is also called" in failure["cause"]


def test_every_airport_is_in_the_result_files_exactly_once_and_in_order(results: Results) -> None:
    airports = json.loads((REPOSITORY / "examples/airports/airports.json").read_text())[:AIRPORTS]
    succeeded, failed = (
        [json.loads(record["Input"]) for record in results.records(category)] for category in ("SUCCEEDED", "FAILED")
    )
    expected = [{"number": number, "airport": airport} for number, airport in enumerate(airports)]
    assert succeeded == [item for item in expected if not item["airport"]["NNAME"]]
    assert failed == [item for item in expected if item["airport"]["NNAME"]]
    outputs = [json.loads(record["Output"]) for record in results.records("SUCCEEDED")]
    assert outputs == [{"body": item["airport"]} for item in succeeded]


def test_the_manifest_has_aws_shape(results: Results, status: Json) -> None:
    assert list(results.manifest) == ["DestinationBucket", "MapRunArn", "ResultFiles"]
    assert results.manifest["DestinationBucket"] == "airports-results"
    assert results.manifest["MapRunArn"] == status["mapRunArn"]
    assert list(results.manifest["ResultFiles"]) == ["FAILED", "PENDING", "SUCCEEDED"]
    assert sorted(results.raw) == ["FAILED_0.json", "SUCCEEDED_0.json"]
    assert status["resultWriterDetails"]["key"].startswith("airports/")
    details = {"Bucket": "airports-results", "Key": status["resultWriterDetails"]["key"]}
    assert status["output"] == {"MapRunArn": status["mapRunArn"], "ResultWriterDetails": details}


def test_the_records_have_aws_shape(results: Results) -> None:
    for name, keys in (("SUCCEEDED_0.json", real_runs.SUCCEEDED_KEYS), ("FAILED_0.json", real_runs.FAILED_KEYS)):
        records = json.loads(results.raw[name])
        assert results.raw[name].decode() == real_runs.compact(records)
        for record in records:
            assert list(record) == keys
            assert DATE.fullmatch(record["StartDate"])
            assert DATE.fullmatch(record["StopDate"])
            assert record["StartDate"] <= record["StopDate"]
            assert (record["InputDetails"], record["OutputDetails"]) == ({"Included": True}, {"Included": True})
            assert record["RedriveCount"] == 0
            assert record["ExecutionArn"].endswith(":" + record["Name"])


def test_kubectl_tells_the_story(airports: Project) -> None:
    story = airports.story("airports")
    print(story)
    [row] = [line for line in story.splitlines() if line.startswith("airports ")]
    assert row.split()[1:5] == ["Succeeded", str(AIRPORTS), "0", str(AIRPORTS - 2)]
    for reason in ("Started", "Planned", "ChildFailed", "Succeeded"):
        assert re.search(rf"^ +(Normal|Warning) +{reason} ", story, re.MULTILINE), reason


def test_nothing_is_left_of_the_children(airports: Project) -> None:
    eventually(lambda: not airports.kubectl("get", "jobs,pods,secrets", "-l", "maprun.dev/run-uid", "-o", "name"), 60)


def edited_example(cluster: Cluster, folder: Path) -> Path:
    """The example for an S3 server of one's own, with what its README tells to write into it, and fewer airports."""
    shutil.copytree(REPOSITORY / "examples", folder, dirs_exist_ok=True)
    server, example = real_runs.s3_of(cluster), folder / "airports-own-s3"
    (example / "s3.env").write_text(
        f"AWS_ACCESS_KEY_ID={server.access_key}\nAWS_SECRET_ACCESS_KEY={server.secret_key}\n"
    )
    kustomization = (example / "kustomization.yaml").read_text()
    fewer = f"      - {{op: add, path: /spec/itemReader/readerConfig/maxItems, value: {AIRPORTS}}}\n"
    (example / "kustomization.yaml").write_text(
        kustomization.replace("http://s3.example.com:9000", str(server.endpoint_from_pods)) + fewer
    )
    return example


@pytest.mark.parametrize("row", INPUTS)
def test_a_child_gets_its_input_byte_for_byte(files: Results, row: str) -> None:
    number = list(INPUTS).index(row)
    record = child_record(files.records("SUCCEEDED"), number)
    told, sent = json.loads(record["Output"]), record["Input"].encode()
    assert json.loads(sent) == INPUTS[row]
    assert told["sha256"] == sha256(sent).hexdigest()
    assert told["same"] is (True if len(sent) <= 32 * 1024 else None)
    assert told["variables"] == ["files", str(number), "1", "1"]


@pytest.mark.parametrize("row", OUTPUTS)
def test_what_a_child_writes_is_its_output(files: Results, row: str) -> None:
    record = child_record(files.records("SUCCEEDED"), len(INPUTS) + list(OUTPUTS).index(row))
    assert record["Output"] == OUTPUTS[row][1]


@pytest.mark.parametrize("row", FAILURES)
def test_a_failed_child_says_why(files: Results, row: str) -> None:
    _, error, cause = FAILURES[row]
    record = child_record(files.records("FAILED"), len(INPUTS) + len(OUTPUTS) + list(FAILURES).index(row))
    assert (record["Status"], record["Error"]) == ("FAILED", error)
    assert re.search(cause, record["Cause"]), record["Cause"]


@pytest.mark.parametrize("row", LOGGED)
def test_the_last_line_of_the_log_is_the_output(logs: Results, row: str) -> None:
    record = child_record(logs.records("SUCCEEDED"), list(LOGGED).index(row))
    assert record["Output"] == LOGGED[row][1]


def test_a_child_that_takes_too_long_is_timed_out(project: Project) -> None:
    status = project.ended("slow")
    assert status["executionCounts"]["timedOut"] == 1
    assert status["failures"][0]["error"] == "States.Timeout"


@pytest.mark.parametrize("what", MISSING)
def test_a_child_that_cannot_start_says_what_is_missing(project: Project, what: str) -> None:
    status = project.ended(f"missing-{what}")
    assert status["conditions"][0]["reason"] == "ToleratedFailureThresholdExceeded"
    [failure] = status["failures"]
    assert failure["error"] == "Job.StartFailed"
    assert re.search(MISSING[what][1], failure["cause"]), failure["cause"]


def test_a_child_whose_volume_is_missing_waits_for_it_and_says_so(project: Project) -> None:
    """It may still come, so nothing fails; and the run can be deleted at any time."""
    message = 'FailedMount: MountVolume.SetUp failed for volume "settings" : configmap "nothing-here" not found'
    eventually(
        lambda: message in project.condition("missing-volume")["message"], 90, lambda: project.story("missing-volume")
    )
    assert "ChildrenWaiting" in project.story("missing-volume")
    project.kubectl("delete", "mapruns", "missing-volume", "--timeout=30s")
    eventually(lambda: not project.kubectl("get", "jobs,pods", "-l", "maprun.dev/run=missing-volume", "-o", "name"))


def child_record(records: list[Json], number: int) -> Json:
    """The record of the child with that number."""
    found: Any = next((record for record in records if record["Name"].endswith(f"-{number}")), None)
    assert found is not None, f"child {number} is not among {[record['Name'] for record in records]}"
    return dict(found)
