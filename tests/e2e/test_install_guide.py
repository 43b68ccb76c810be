"""docs/install.md followed to the letter, with this repository's image: the operator as a pod, with its own rights.

Rule 1: the operator may do what deploy/operator/rights.yaml says and no more; a single refusal is a failure, in its log
        or in what the API server counts.
Rule 2: the tests follow the order of the guide; each asks for the sections that it stands on as fixtures.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.cluster import Cluster, images, machine
from tests.cluster.paths import REPOSITORY
from tests.e2e import contract, real_runs
from tests.e2e.guide import Guide
from tests.e2e.real_runs import Json, Project
from tests.operator_process import eventually

IMAGE: Final = "localhost/maprun:dev"
AIRPORTS: Final = (
    54  # of the run whose operator is killed: two that fail on purpose, six that work at the second attempt
)
REFUSED: Final = re.compile(r"forbidden|\b403\b|permission|Traceback", re.IGNORECASE)
REFUSAL: Final = re.compile(r'apiserver_request_total\{code="403"(?!.*resource="configmaps")')
OPERATOR: Final = b"/maprun\0operator"


@pytest.fixture(scope="module")
def guide(cluster_real: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guide]:
    """The guide, its image on the node, and a volume for the operator's state, as a storage class would give."""
    if cluster_real.state_dir is None:
        pytest.skip("loads an image into the node and looks into it: needs the test cluster's own node")
    cluster_real.load_image(images.build(REPOSITORY, IMAGE).path)
    volume = tmp_path_factory.mktemp("volume")
    os.chown(volume, 65532, 65532)
    claim = {"namespace": "maprun", "name": "maprun-state"}
    spec = {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"], "claimRef": claim}
    Project(cluster_real, "maprun").apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "guide"},
            "spec": {**spec, "hostPath": {"path": str(volume)}, "persistentVolumeReclaimPolicy": "Retain"},
        }
    )
    server = real_runs.s3_of(cluster_real)
    yours = {**server.environment(), "AWS_ENDPOINT_URL_S3": str(server.endpoint_from_pods), "IMAGE": IMAGE}
    yield Guide(tmp_path_factory.mktemp("guide"), cluster_real, yours)
    cluster_real.kubectl("delete", "persistentvolume", "guide", "--timeout=30s")
    real_runs.remove_buckets(cluster_real, ("airports-data", "airports-results", "maprun-state"))


@pytest.fixture(scope="module")
def refused_before(cluster_real: Cluster) -> Counter[str]:
    """What the API server had refused before the operator came."""
    return refusals(cluster_real)


@pytest.fixture(scope="module")
def operator(cluster_real: Cluster, guide: Guide, refused_before: Counter[str]) -> Project:
    """The namespace of the installed operator, which keeps its state on a volume."""
    guide.follow("Install")
    return Project(cluster_real, "maprun")


def refusals(cluster: Cluster) -> Counter[str]:
    """What the API server refused to anybody, and how often. (Namespaces that go away get no ConfigMap any more.)"""
    metrics = cluster.kubectl("get", "--raw", "/metrics").stdout
    rows = [row.rsplit(" ", 1) for row in metrics.splitlines() if REFUSAL.match(row)]
    return Counter({series: int(count) for series, count in rows})


@pytest.fixture(scope="module")
def first_run(cluster_real: Cluster, guide: Guide, operator: Project) -> Project:
    """The guide's first run, which has ended."""
    guide.follow("First run")
    return Project(cluster_real, "default")


@pytest.fixture(scope="module")
def state_in_s3(guide: Guide, operator: Project, first_run: Project) -> Project:
    """The operator, which now keeps its state in S3."""
    guide.follow("State in S3")
    return operator


@pytest.fixture(scope="module")
def rarer(state_in_s3: Project) -> Project:
    """Runs that need an input in a Secret, an output from a log, and the events of a pod that does not start."""
    rarer = Project(state_in_s3.cluster, "rarer").create()
    rarer.run("stuck", input=[1], itemProcessor={"jobTemplate": contract.without_volume()})
    count = real_runs.template(images.BUSYBOX, ["sh", "-c", "wc -c < $MAPRUN_INPUT"])
    rarer.run("large", input=["x" * 100_000], itemProcessor={"jobTemplate": count, "output": {"from": "Logs"}})
    return rarer


def log_of(operator: Project) -> str:
    """The log of the operator's pod as it is now. In it nothing was refused."""
    log = operator.kubectl("logs", "deployment/maprun")
    assert not REFUSED.search(log), log
    return log


def test_the_operator_pod_is_as_locked_up_as_the_guide_says(operator: Project) -> None:
    [pod] = json.loads(operator.kubectl("get", "pods", "-o", "json"))["items"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
    namespace = json.loads(operator.kubectl("get", "namespace", "maprun", "-o", "json"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert "keeps its state in file:///var/lib/maprun" in log_of(operator)


def test_the_first_run_ends_as_the_guide_says(guide: Guide, operator: Project, first_run: Project) -> None:
    results = real_runs.results_of(first_run.cluster, first_run.status("airports"))
    assert (len(results.records("SUCCEEDED")), len(results.records("FAILED"))) == (17, 1)
    shown = guide.follow("Look around")
    assert re.search(r"^airports +Succeeded +18 ", shown, re.MULTILINE)
    assert real_runs.compact(results.manifest) in shown
    assert re.search(r"^maprun_\w+", shown, re.MULTILINE)
    log_of(operator)


def test_a_killed_operator_goes_on_where_it_was(state_in_s3: Project, rarer: Project, tmp_path: Path) -> None:
    """Killed by a signal, then taken away with its pod, and `rarer` beside it. No handler runs without need."""
    audit = tmp_path / "audit"
    audit.mkdir()
    killed = start_audited(state_in_s3.cluster, audit)
    finished_at_least(killed, 10)
    kill_operator()
    operator_is_back(state_in_s3, restarts=1)
    finished_at_least(killed, 25)
    state_in_s3.kubectl("delete", "pods", "--all", "--grace-period=0", "--force")
    status = killed.ended("airports")
    assert status["itemCounts"]["succeeded"] == AIRPORTS - 2
    results = real_runs.results_of(killed.cluster, status)
    numbers = [
        json.loads(record["Input"])["number"] for record in results.records("SUCCEEDED") + results.records("FAILED")
    ]
    assert sorted(numbers) == list(range(AIRPORTS))
    handled = Counter((audit / "lines").read_text().split())
    airports = json.loads((REPOSITORY / "examples/airports/airports.json").read_text())[:AIRPORTS]
    attempts = {f"{number}:1" for number in numbers}
    attempts |= {f"{number}:2" for number, airport in enumerate(airports) if airport["REGION"] == "Nagasaki"}
    assert handled == dict.fromkeys(attempts, 1)
    assert "keeps its state in s3://maprun-state/my-cluster" in log_of(state_in_s3)


def start_audited(cluster: Cluster, audit: Path) -> Project:
    """The airports example; each attempt of a child first appends a line to a file on the node."""
    killed = Project(cluster, "killed").create()
    example = REPOSITORY / "examples/airports"
    killed.kubectl("create", "configmap", "airports-handler", f"--from-file={example}/handler.py")
    spec: Json = yaml.safe_load((example / "airports.yaml").read_text())["spec"]
    spec["s3"] = real_runs.s3_spec(cluster)
    spec["maxConcurrency"] = 10
    spec["itemReader"]["readerConfig"]["maxItems"] = AIRPORTS
    pod = spec["itemProcessor"]["jobTemplate"]["spec"]["template"]["spec"]
    pod["volumes"].append({"name": "audit", "hostPath": {"path": str(audit)}})
    pod["containers"][0]["volumeMounts"].append({"name": "audit", "mountPath": "/audit"})
    note = 'echo "$MAPRUN_CHILD_INDEX:$MAPRUN_ATTEMPT" >> /audit/lines; exec python3 /app/handler.py'
    pod["containers"][0]["command"] = ["sh", "-c", note]
    killed.run("airports", **spec)
    return killed


def finished_at_least(project: Project, count: int) -> None:
    eventually(lambda: project.finished("airports") >= count, 90, lambda: project.story("airports"))


def kill_operator() -> None:
    """SIGKILL to the operator's own process, seen from the node."""
    found = [each.pid for each in machine.container_processes() if OPERATOR in command_of(each.pid)]
    assert found
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def command_of(pid: int) -> bytes:
    """The words of a process, with zero bytes between them; none of one that has just ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def operator_is_back(operator: Project, restarts: int) -> None:
    def ready() -> bool:
        [pod] = json.loads(operator.kubectl("get", "pods", "-o", "json"))["items"]
        status = pod["status"]["containerStatuses"][0]
        return bool(status["ready"]) and status["restartCount"] == restarts

    eventually(ready, 60, lambda: operator.kubectl("describe", "pods"))


def test_what_needs_rarer_rights_works_as_well(
    rarer: Project, state_in_s3: Project, refused_before: Counter[str]
) -> None:
    assert rarer.ended("large")["output"] == [100_002]
    eventually(lambda: "FailedMount" in rarer.condition("stuck")["message"], 90, lambda: rarer.story("stuck"))
    log_of(state_in_s3)
    assert refusals(rarer.cluster) - refused_before == Counter()


def test_after_the_uninstall_nothing_is_left(guide: Guide, state_in_s3: Project) -> None:
    guide.follow("Uninstall")
    cluster = state_in_s3.cluster
    eventually(
        lambda: "maprun" not in cluster.kubectl("get", "namespaces,crds,clusterroles,clusterrolebindings").stdout
    )
    ours = ("-l", "maprun.dev/run-uid", "-o", "name")  # the cluster is shared: other tests have Jobs of their own
    assert cluster.kubectl("get", "jobs,pods,secrets", "--all-namespaces", *ours).stdout == ""
    assert guide.unread == []
