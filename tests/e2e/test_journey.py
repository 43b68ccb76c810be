"""MapRun as its users meet it, from the Dockerfile to `helm uninstall`; `make e2e` shows each step.

Rule 1: the tests follow the order of the journey; each asks for the steps that it stands on as fixtures.
Rule 2: what a run comes to is judged by the same run on this machine (here.py), and by nothing that was written down.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster import Cluster
from tests.e2e import here, journey, real_runs
from tests.e2e.audited import Audited
from tests.e2e.journey import EXAMPLES, OPERATOR, RUNS, Journey, step
from tests.e2e.operator_pod import log_of, nothing_refused, refusals, start_rarer
from tests.e2e.real_runs import Json, Project
from tests.operator_process import eventually

SOME: Final = 34  # of the 130 airports: one that fails on purpose, four that work at the second attempt
KEPT: Final = {"customresourcedefinition mapruns.maprun.dev", "apiservice v1alpha1.maprun.dev"}  # one brings the other
NAME: Final = re.compile(r'^maprun_run_start_time_seconds\{name="(?P<name>[^"]+)"')
# What comes and goes by itself.
RESTLESS: Final = ("events", "events.events.k8s.io", "endpoints", "componentstatuses", "leases.coordination.k8s.io")


@pytest.fixture(scope="module")
def user(cluster_real: Cluster, helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    """A user with the image on the node, and buckets."""
    if cluster_real.state_dir is None:
        pytest.skip("loads an image into the node and looks into it: needs the test cluster's own node")
    real_runs.without_crd(cluster_real)
    user = Journey(cluster_real, tmp_path_factory.mktemp("journey"), helm, SOME)
    user.bring_image()
    user.fill_buckets()
    user.make_namespaces()
    yield user
    # After a failure there may be runs whose finalizer waits for an operator: the cluster's own end is theirs.
    for what in (
        ("namespaces", OPERATOR, RUNS, "rarer", "upgraded"),
        ("customresourcedefinitions", "mapruns.maprun.dev"),
    ):
        cluster_real.kubectl("delete", *what, "--ignore-not-found", "--timeout=60s", check=False)
    real_runs.remove_buckets(cluster_real, journey.BUCKETS)


@pytest.fixture(scope="module")
def before(user: Journey) -> set[str]:
    """Every object that there was before `helm install`."""
    return objects(user.cluster)


@pytest.fixture(scope="module")
def refused_before(user: Journey) -> Counter[str]:
    """What the API server had refused before the operator came."""
    return refusals(user.cluster)


@pytest.fixture(scope="module")
def installed(user: Journey, before: set[str], refused_before: Counter[str]) -> Journey:
    """The user, with the operator installed."""
    user.install()
    return user


@pytest.fixture(scope="module")
def notes(installed: Journey) -> dict[str, str]:
    """What the commands of the notes printed."""
    return installed.follow_notes()


@pytest.fixture(scope="module")
def rarer(installed: Journey, notes: dict[str, str]) -> Project:
    """A namespace with runs that need rarer rights, beside the examples."""
    return start_rarer(installed.cluster)


@pytest.fixture(scope="module")
def statuses(installed: Journey, notes: dict[str, str], rarer: Project) -> dict[str, Json]:
    """The status of each example, all ended; by its namespace and name."""
    installed.start_examples()
    found = {"default/hello": Project(installed.cluster, "default").ended("hello")}
    found |= {f"{RUNS}/{name}": installed.runs.ended(name) for name in EXAMPLES}
    installed.do("kubectl get mapruns --all-namespaces --output wide")
    return found


def test_helm_tells_what_was_installed(installed: Journey, notes: dict[str, str]) -> None:
    """The release is deployed, and each command of its notes does what the notes say."""
    release = json.loads(installed.shell.run(f"helm status {OPERATOR} --namespace {OPERATOR} --output json"))
    assert release["info"]["status"] == "deployed"
    rollout, apply, watch = notes.values()
    assert "successfully rolled out" in rollout
    assert "maprun.maprun.dev/hello created" in apply
    assert any(line.split()[:2] == ["default", "hello"] for line in watch.splitlines()), watch


def test_the_pod_is_as_locked_up_as_its_namespace_wants(installed: Journey) -> None:
    """The namespace admits nothing that breaks the standard `restricted`; the state is where it was put."""
    namespace = json.loads(installed.operator.kubectl("get", "namespace", OPERATOR, "-o", "json"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert "keeps its state in s3://maprun-state/cluster" in installed.operator.kubectl(
        "logs", f"deployment/{OPERATOR}"
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_result_files_are_those_of_the_same_run_here(
    installed: Journey, statuses: dict[str, Json], name: str, tmp_path: Path
) -> None:
    """Byte for byte, manifest included."""
    status = statuses[f"{RUNS}/{name}"]
    manifest = installed.shell.folder / f"examples/{name}/applied.yaml"
    manifest.write_text(installed.shell.run(f"kubectl kustomize my-runs/{name}"))
    status_here = here.run_here(manifest, installed.server.environment(), tmp_path / "state")
    assert status["executionCounts"] == status_here["executionCounts"]
    results, results_here = (
        here.comparable(real_runs.results_of(installed.cluster, each), each) for each in (status, status_here)
    )
    assert sorted(results) == sorted(results_here)
    for file, data in results.items():
        assert data == results_here[file], file


def test_the_output_is_that_of_the_same_run_here(installed: Journey, statuses: dict[str, Json], tmp_path: Path) -> None:
    """Of the example without S3, whose outputs are in the status."""
    manifest = installed.shell.folder / "examples/hello/applied.yaml"
    manifest.write_text(installed.shell.run("kubectl kustomize examples/hello"))
    status_here = here.run_here(manifest, installed.server.environment(), tmp_path / "state")
    assert statuses["default/hello"]["output"] == status_here["output"]


def test_the_metrics_count_what_the_statuses_count(installed: Journey, statuses: dict[str, Json]) -> None:
    step("The metrics, against the counts of the statuses")
    metrics = installed.metrics()
    for namespace, expected in totals(statuses).items():
        for name, value in expected.items():
            series = f'maprun_{name}{{namespace="{namespace}"}}'
            print(f"  {series} {value}")
            assert metrics[series] == value, series
        assert metrics[f'maprun_map_runs_open{{namespace="{namespace}"}}'] == 0
    live = {found["name"] for series in metrics if (found := NAME.search(series))}
    assert live == {"stuck"}, "series of runs that have ended vanish"


def totals(statuses: dict[str, Json]) -> dict[str, Json]:
    """What the counters of each namespace must be, by the statuses of the runs in it."""
    found: dict[str, Json] = {}
    for run, status in statuses.items():
        counts, total = status["executionCounts"], found.setdefault(run.partition("/")[0], {})
        ended = {name: counts[name] for name in ("succeeded", "failed", "aborted")} | {"timed_out": counts["timedOut"]}
        adds = {f"executions_{name}_total": count for name, count in ended.items()}
        adds |= {"executions_started_total": counts["total"], "execution_duration_seconds_count": counts["total"]}
        adds |= {"retries_total": status["retries"], "attempts_started_total": counts["total"] + status["retries"]}
        for name, count in adds.items():
            total[name] = total.get(name, 0) + count
    return found


def test_what_needs_rarer_rights_works_and_nothing_is_refused(
    installed: Journey, rarer: Project, statuses: dict[str, Json], refused_before: Counter[str]
) -> None:
    assert rarer.ended("large")["output"] == [100_002]
    eventually(lambda: "FailedMount" in rarer.condition("stuck")["message"], 90, lambda: rarer.story("stuck"))
    log_of(installed.operator)
    nothing_refused(installed.cluster, refused_before)


def test_a_run_survives_helm_upgrade(installed: Journey, statuses: dict[str, Json], tmp_path: Path) -> None:
    """Both operators are replaced in mid-run. The run goes on, and no handler runs without need."""
    step("helm upgrade in mid-run")
    run = Audited(Project(installed.cluster, "upgraded").create(), tmp_path, SOME).start()
    run.finished_at_least(10)
    assert 'maprun_run_concurrency_limit{name="airports",namespace="upgraded"}' in installed.metrics()
    before, leader = pods_of(installed.operator), leader_of(installed.operator)
    installed.do("kubectl get mapruns --namespace upgraded")
    installed.helm("upgrade", "--values values.yaml --set childrenPerRun=500")
    run.ended()
    eventually(lambda: len(pods_of(installed.operator)) == 2 and not before & pods_of(installed.operator), 60)
    assert leader_of(installed.operator) not in ("", leader)
    # The new operator counts from 0: what it started, the old one had not.
    assert installed.metrics().get('maprun_executions_started_total{namespace="upgraded"}', 0) < SOME
    installed.do("kubectl get mapruns --namespace upgraded")


def leader_of(operator: Project) -> str:
    """Who leads, as the Lease says."""
    return operator.kubectl("get", "lease", OPERATOR, "-o", "jsonpath={.spec.holderIdentity}")


def pods_of(project: Project) -> set[str]:
    """The uids of its pods."""
    return set(project.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}").split())


def test_after_the_uninstall_only_the_crd_is_left(
    installed: Journey, before: set[str], statuses: dict[str, Json]
) -> None:
    """A live run does not hold it up, and goes without an operator; the CRD stays, by choice; nothing else does."""
    step("Uninstall")
    assert Project(installed.cluster, "rarer").get("stuck")["metadata"]["finalizers"]
    told = installed.do(f"helm uninstall {OPERATOR} --namespace {OPERATOR} --wait --timeout 2m")
    assert "mapruns.maprun.dev" in told
    installed.do("kubectl delete mapruns --all --all-namespaces --timeout=60s")
    for folder in ("examples/hello", *(f"my-runs/{name}" for name in EXAMPLES)):
        installed.do(f"kubectl delete -k {folder} --ignore-not-found")
    installed.do("kubectl delete namespace rarer upgraded --ignore-not-found --timeout=60s")
    eventually(lambda: objects(installed.cluster) - before == KEPT, 60, lambda: left(installed.cluster, before))
    installed.do("kubectl delete crd mapruns.maprun.dev --timeout=60s")
    eventually(lambda: objects(installed.cluster) <= before, 60, lambda: left(installed.cluster, before))


def left(cluster: Cluster, before: set[str]) -> str:
    """What is there that was not, a line each."""
    return "\n".join(sorted(objects(cluster) - before))


def objects(cluster: Cluster) -> set[str]:
    """Every object of the cluster, as `KIND NAMESPACE/NAME` in small letters."""
    kinds = set(cluster.kubectl("api-resources", "--verbs=list", "--output=name").stdout.split()).difference(RESTLESS)
    columns = "KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name"
    rows = cluster.kubectl(
        *("get", ",".join(sorted(kinds)), "--all-namespaces", "--no-headers", f"--output=custom-columns={columns}")
    )
    return {" ".join(row.lower().split()).replace("<none> ", "") for row in rows.stdout.splitlines()}
