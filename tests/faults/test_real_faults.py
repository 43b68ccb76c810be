"""Faults among real containers, whose handlers keep the books themselves: a line in a file for each attempt."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster import Cluster, images
from tests.cluster.paths import REPOSITORY
from tests.e2e import real_runs
from tests.e2e.audited import Audited
from tests.e2e.real_runs import Project, template
from tests.faults.scenarios import scenario
from tests.operator_process import OperatorProcess, eventually

AIRPORTS: Final = 34
BUCKETS: Final = ("airports-data", "airports-results")
CRASHES: Final = (2, 8, 14, 20)  # when so many children have ended
CHILDREN: Final = 6
NOTE: Final = 'echo "$MAPRUN_CHILD_INDEX:$MAPRUN_ATTEMPT" >> /audit/lines && sleep 6'


@pytest.fixture
def operator(cluster_real: Cluster, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator of the real cluster, not started."""
    cluster_real.kubectl("apply", "-f", str(REPOSITORY / "crds"))
    process = OperatorProcess(tmp_path, cluster_real.kubeconfig, f"file://{tmp_path}/state")
    yield process
    process.kill()
    assert "Traceback" not in process.log, process.log


@scenario("crashes among real containers")
def test_crashes_among_real_containers(cluster_real: Cluster, operator: OperatorProcess, tmp_path: Path) -> None:
    client = real_runs.s3_client(cluster_real)
    for bucket in BUCKETS:
        client.create_bucket(Bucket=bucket)
    client.upload_file(str(REPOSITORY / "examples/airports/airports.json"), BUCKETS[0], "airports.json")
    project = Project(cluster_real, "faults-books").create()
    try:
        books = tmp_path / "books"
        books.mkdir()
        run = Audited(project, books, AIRPORTS).start()
        for count in CRASHES:
            operator.start()
            run.finished_at_least(count)
            operator.kill()
        operator.start()
        run.ended()
    finally:
        project.kubectl("delete", "mapruns", "--all", "--timeout=30s")
        real_runs.remove_buckets(cluster_real, BUCKETS)


@scenario("a real kubelet evicts pods")
def test_a_real_eviction(cluster_real: Cluster, operator: OperatorProcess, tmp_path: Path) -> None:
    """Only the evicted child begins again, in another pod of the same Job; no retry is spent, as none is allowed."""
    books = tmp_path / "books"
    books.mkdir()
    books.chmod(0o777)
    project = Project(cluster_real, "faults-evicted").create()
    volume = {"name": "audit", "hostPath": {"path": str(books)}}
    work = template(
        images.BUSYBOX, ["sh", "-c", NOTE], volumes=[volume], volumeMounts=[{"name": "audit", "mountPath": "/audit"}]
    )
    with operator:
        project.run("evicted", input=list(range(CHILDREN)), itemProcessor={"jobTemplate": work})
        lines = books / "lines"
        eventually(lambda: lines.exists() and len(lines.read_text().split()) == CHILDREN, told=lambda: operator.log)
        pods = json.loads(project.kubectl("get", "pods", "-l", "maprun.dev/child=0", "-o", "json"))["items"]
        name = pods[0]["metadata"]["name"]
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        path = f"/api/v1/namespaces/{project.namespace}/pods/{name}/eviction"
        project.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(body))
        status = project.ended("evicted")
        project.kubectl("delete", "mapruns", "--all", "--timeout=30s")
    assert status["itemCounts"]["succeeded"] == CHILDREN
    assert status["retries"] == 0
    assert Counter(lines.read_text().split()) == Counter(["0:1", *(f"{child}:1" for child in range(CHILDREN))])
