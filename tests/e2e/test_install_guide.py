"""docs/install.md followed to the letter, with this repository's image: the operator as a pod, with its own rights.

Rule 1: the operator may do what the chart's rights.yaml says and no more; a single refusal is a failure, in its log
        or in the API server's audit log, but for what an operator asks for whose rights a section takes away.
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

from tests.cluster import Cluster, images, machine
from tests.cluster.paths import REPOSITORY
from tests.e2e import real_runs
from tests.e2e.audited import Audited
from tests.e2e.guide import Guide
from tests.e2e.operator_pod import log_of, nothing_refused, refusals
from tests.e2e.real_runs import Project
from tests.e2e.shell import Shell
from tests.operator_process import eventually

AIRPORTS: Final = 54  # of the run whose operator is killed
IMAGE: Final = "localhost/maprun:dev"
OPERATOR: Final = b"/maprun\0operator"
OPERATORS: Final = 2  # with the state in S3

# Helm takes the ClusterRole away before the old operators have gone: the old standby may lead once more for a moment.
NARROWED: Final = ("list jobs ", "list pods ")
KINDS: Final = (
    *("namespaces", "customresourcedefinitions", "clusterroles", "clusterrolebindings"),
    *("validatingadmissionpolicies", "validatingadmissionpolicybindings", "persistentvolumeclaims"),
)


@pytest.fixture(scope="module")
def guide(cluster_real: Cluster, helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guide]:
    """The guide, with its image on the node."""
    if cluster_real.state_dir is None:
        pytest.skip("loads an image into the node and looks into it: needs the test cluster's own node")
    real_runs.without_crd(cluster_real)
    cluster_real.load_image(images.build(REPOSITORY, IMAGE).path)
    server = real_runs.s3_of(cluster_real)
    yours = {**server.environment(), "AWS_ENDPOINT_URL_S3": str(server.endpoint_from_pods), "IMAGE": IMAGE}
    yield Guide(Shell(tmp_path_factory.mktemp("guide"), cluster_real, helm, yours))
    real_runs.remove_buckets(cluster_real, ("airports-data", "airports-results", "maprun-state"))


@pytest.fixture(scope="module")
def volumes(cluster_real: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A volume for the state of each of the two installations, as a storage class would give."""
    names = ("with-helm", "without-helm")
    for name in names:
        folder = tmp_path_factory.mktemp(name)
        os.chown(folder, 65532, 65532)
        claim = {"namespace": "maprun", "name": "maprun-state"}
        spec = {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"], "claimRef": claim}
        spec |= {"hostPath": {"path": str(folder)}, "persistentVolumeReclaimPolicy": "Retain"}
        volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}
        Project(cluster_real, "default").apply(volume)
    yield
    cluster_real.kubectl("delete", "persistentvolumes", *names, "--timeout=30s")


@pytest.fixture(scope="module")
def refused_before(cluster_real: Cluster) -> Counter[str]:
    """What the API server had refused before the operator came."""
    return refusals(cluster_real)


@pytest.fixture(scope="module")
def operator(cluster_real: Cluster, guide: Guide, volumes: None, refused_before: Counter[str]) -> Project:
    """The namespace of the installed operator, which keeps its state on a volume."""
    guide.follow("Install")
    return Project(cluster_real, "maprun")


@pytest.fixture(scope="module")
def first_run(cluster_real: Cluster, guide: Guide, operator: Project) -> tuple[Project, str]:
    """The namespace of the guide's first runs, which have ended, and what the commands printed."""
    return Project(cluster_real, "default"), guide.follow("First run")


@pytest.fixture(scope="module")
def state_in_s3(guide: Guide, operator: Project, first_run: tuple[Project, str]) -> Project:
    """The operator, which now keeps its state in S3."""
    guide.follow("State in S3")
    return operator


@pytest.fixture(scope="module")
def namespaced(guide: Guide, state_in_s3: Project) -> Project:
    """The operator, which now has two namespaces only."""
    guide.follow("Namespaces only")
    return state_in_s3


@pytest.fixture(scope="module")
def outside(namespaced: Project, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """A run in a namespace that is none of the two."""
    return Audited(Project(namespaced.cluster, "killed").create(), tmp_path_factory.mktemp("audit"), AIRPORTS).start()


@pytest.fixture(scope="module")
def upgraded(guide: Guide, namespaced: Project, outside: Audited) -> Project:
    """The operator, which is there for all namespaces again."""
    guide.follow("Upgrade")
    return namespaced


def test_the_operator_pod_is_as_locked_up_as_the_guide_says(operator: Project) -> None:
    [pod] = json.loads(operator.kubectl("get", "pods", "-o", "json"))["items"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
    namespace = json.loads(operator.kubectl("get", "namespace", "maprun", "-o", "json"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert "keeps its state in file:///var/lib/maprun" in log_of(operator)


def test_the_first_runs_end_as_the_guide_says(guide: Guide, operator: Project, first_run: tuple[Project, str]) -> None:
    runs, shown = first_run
    assert runs.status("hello")["output"] == json.loads(shown[shown.index("[") : shown.index("]") + 1])
    results = real_runs.results_of(runs.cluster, runs.status("airports"))
    assert (len(results.records("SUCCEEDED")), len(results.records("FAILED"))) == (17, 1)
    shown = guide.follow("Look around")
    assert re.search(r"^airports +Succeeded +18 ", shown, re.MULTILINE)
    assert re.search(r"^STATUS: deployed$", shown, re.MULTILINE)
    assert real_runs.compact(results.manifest) in shown
    assert 'maprun_map_runs_finished_total{namespace="default",status="succeeded"} 2.0' in shown
    log_of(operator)


def test_an_operator_of_some_namespaces_leaves_the_others_alone(namespaced: Project, outside: Audited) -> None:
    """A run of its own has ended, and the one that was there before is as nobody's."""
    cluster = namespaced.cluster
    assert Project(cluster, "team-a").status("hello")["itemCounts"]["succeeded"] == 8
    inside = Project(cluster, "default")
    inside.run("inside", input=[1], itemProcessor={"jobTemplate": real_runs.template(images.BUSYBOX, ["true"])})
    inside.ended("inside")
    assert "status" not in outside.project.get("airports")
    roles = cluster.kubectl("get", "clusterroles", "-o", "name").stdout.split()
    assert "clusterrole.rbac.authorization.k8s.io/maprun-operator" not in roles
    log_of(namespaced)


def test_killed_operators_go_on_where_they_were(
    upgraded: Project, outside: Audited, refused_before: Counter[str]
) -> None:
    """Killed by a signal, then taken away with their pods, both at a time. No handler runs without need."""
    outside.finished_at_least(10)
    kill_operator()
    operator_is_back(upgraded, restarts=1)
    outside.finished_at_least(25)
    upgraded.kubectl("delete", "pods", "--all", "--grace-period=0", "--force")
    outside.ended()
    assert "keeps its state in s3://maprun-state/my-cluster" in log_of(upgraded)
    nothing_refused(upgraded.cluster, refused_before, but=NARROWED)


def kill_operator() -> None:
    """SIGKILL to each operator's own process, seen from the node."""
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
        pods = json.loads(operator.kubectl("get", "pods", "-o", "json"))["items"]
        statuses = [each for pod in pods for each in pod["status"].get("containerStatuses", ())]
        return [(each["ready"], each["restartCount"]) for each in statuses] == [(True, restarts)] * OPERATORS

    eventually(ready, 60, lambda: operator.kubectl("describe", "pods"))


@pytest.fixture(scope="module")
def uninstalled(guide: Guide, upgraded: Project) -> Project:
    """Where the operator was."""
    live = Project(upgraded.cluster, "team-a")
    live.run("live", input=[1], itemProcessor={"jobTemplate": real_runs.template(images.BUSYBOX, ["sleep", "3600"])})
    eventually(lambda: live.status("live").get("executionCounts", {}).get("running"), 60, lambda: live.story("live"))
    guide.follow("Uninstall")
    return upgraded


def test_after_the_uninstall_nothing_is_left(uninstalled: Project) -> None:
    """Though a run was live all the time."""
    nothing_is_left(uninstalled.cluster)


def nothing_is_left(cluster: Cluster) -> None:
    """No object of the operator, and no Job, pod or Secret of a run."""
    eventually(lambda: "maprun" not in cluster.kubectl("get", ",".join(KINDS), "--all-namespaces").stdout)
    ours = ("-l", "maprun.dev/run-uid", "-o", "name")  # the cluster is shared: other tests have Jobs of their own
    assert cluster.kubectl("get", "jobs,pods,secrets", "--all-namespaces", *ours).stdout == ""


def test_without_helm_it_works_as_well_and_leaves_nothing(
    guide: Guide, uninstalled: Project, refused_before: Counter[str]
) -> None:
    shown = guide.follow("Without Helm")
    assert "maprun.maprun.dev/hello condition met" in shown
    nothing_is_left(uninstalled.cluster)
    # It went together with its rights: the Lease that it gives back at the end may be out of its reach by then.
    nothing_refused(uninstalled.cluster, refused_before, but=(*NARROWED, "get leases", "update leases"))
    assert guide.unread == []
