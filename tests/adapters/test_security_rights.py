"""RBAC, both ways: every right of the chart is used by a run-through, and nothing is asked for that is not granted.

A right that is taken from the chart's rules makes its row fail; one that is added has no row, or is never used.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import pytest

from maprun.adapters.cluster import ApiError
from maprun.model import GROUP, PLURAL
from tests.adapters.job_runs import install
from tests.adapters.operator_runs import (
    Buckets,
    Json,
    Space,
    access,
    condition,
    reader,
    secret_of,
    spaces,
    spec,
    until,
    verdict,
    writer,
)
from tests.adapters.service_account import ACCOUNT, Call, Right, bind, calls, kubeconfig, rights_of
from tests.chart.rendering import NAMESPACE, render
from tests.cluster.cluster import Cluster
from tests.operator_process import SOURCES, OperatorProcess, eventually

WIDE, LOCKED = "rights-wide", "rights-locked"
MINE, MINE_TOO, OTHERS = "rights-mine", "rights-mine-too", "rights-others"
CRDS: Final = "apiextensions.k8s.io"
LEASES: Final = ("coordination.k8s.io", "leases")
LEASE: Final = "maprun"  # as the chart names it
SAID: Final = ("MAPRUN_NAMESPACES", "MAPRUN_LEASE")
LARGE: Final = "x" * 40_000  # an item that does not fit an annotation
BOUND: Final = 90.0  # seconds until a pod that does not start is asked about, and more

RIGHTS: Final = {
    Right(GROUP, PLURAL, "list"): "the runs that are there at the start",
    Right(GROUP, PLURAL, "watch"): "runs that come and change",
    Right(GROUP, PLURAL, "get"): "whether there is a status yet, before the first one is written",
    Right(GROUP, PLURAL, "patch"): "the finalizer of a run that is under way",
    Right(GROUP, PLURAL, "delete"): "a run whose time after its end is over",
    Right(GROUP, f"{PLURAL}/status", "patch"): "the status",
    Right("batch", "jobs", "list"): "the children that are there at the start",
    Right("batch", "jobs", "watch"): "children that end",
    Right("batch", "jobs", "create"): "a child",
    Right("batch", "jobs", "get"): "a Job that has the name already",
    Right("batch", "jobs", "delete"): "a child that has ended",
    Right("", "pods", "list"): "the pods that are there at the start",
    Right("", "pods", "watch"): "how a child's pod ends",
    Right("", "pods/log", "get"): "an output that is in the log",
    Right("", "secrets", "get"): "the S3 credentials that a run names",
    Right("", "secrets", "create"): "an input above 32 KiB",
    Right("", "secrets", "delete"): "that input when the child has ended",
    Right("", "configmaps", "get"): "the items that a run names",
    Right("", "events", "list"): "why a pod does not start",
    Right("events.k8s.io", "events", "create"): "the story of a run",
    Right(CRDS, "customresourcedefinitions", "list"): "a CRD that is installed after the operator",
    Right(CRDS, "customresourcedefinitions", "watch"): "a CRD that is installed after the operator",
}
LEADING: Final = {
    Right(*LEASES, "get"): "who leads",
    Right(*LEASES, "create"): "the Lease, when there is none yet",
    Right(*LEASES, "update"): "that this operator leads, and goes on to",
    Right(*LEASES, "watch"): "when the one that leads has gone",
}
"""What a Role in the operator's own namespace grants."""

ALL: Final = RIGHTS | LEADING


@pytest.fixture(scope="module")
def cluster(cluster_fake: Cluster) -> Iterator[Cluster]:
    install(cluster_fake)
    assert cluster_fake.s3 is not None
    names = (NAMESPACE, WIDE, LOCKED, MINE, MINE_TOO, OTHERS)
    for name in names:
        cluster_fake.kubectl("create", "namespace", name, check=False)  # that of the chart may be there: others use it
    cluster_fake.kubectl("label", "namespace", LOCKED, "pod-security.kubernetes.io/enforce=restricted")
    yield cluster_fake
    for name in names:
        cluster_fake.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def role(helm: Path) -> Json:
    """The operator's ClusterRole."""
    return next(each for each in render(helm).of("ClusterRole") if each["metadata"]["name"] == "maprun-operator")


@pytest.fixture(scope="module")
def leading(helm: Path) -> Json:
    """The operator's Role in its own namespace."""
    found: Json = render(helm).the("Role")
    return found


@pytest.fixture(scope="module")
def used(
    cluster: Cluster, helm: Path, role: Json, leading: Json, tmp_path_factory: pytest.TempPathFactory
) -> list[Call]:
    """What an operator with the chart's rights asked for, while it drove runs that need each of them. Another stood by
    first, and then it.
    """
    made = render(helm)
    bind(cluster, NAMESPACE, [role, leading, *made.of("ClusterRoleBinding"), *made.of("RoleBinding")])
    folder = tmp_path_factory.mktemp("wide")
    config = kubeconfig(cluster, NAMESPACE, folder)
    operator = OperatorProcess(folder, config, f"file://{folder}/state", [f"--lease={NAMESPACE}/{LEASE}"])
    try:
        with operator, operator.twin(tmp_path_factory.mktemp("twin")):
            asyncio.run(drive(cluster, WIDE, LOCKED))
            asked = set(ALL)
            with suppress(AssertionError):  # the row of what is missing tells it
                eventually(lambda: asked <= {each.right for each in calls(cluster, NAMESPACE)}, BOUND)
    finally:
        cluster.kubectl("delete", "clusterrole,clusterrolebinding", "maprun-operator")
    return list(calls(cluster, NAMESPACE))


async def drive(cluster: Cluster, name: str, locked: str = "") -> None:
    """Runs that need each right, in a namespace and in one where only restricted pods may be."""
    assert cluster.s3 is not None
    async with spaces(cluster, *filter(None, (name, locked))) as (space, *more):
        await space.secret(secret_of(cluster.s3))
        await taken(space, "late-0-1")
        logs = spec([1], processor={"output": {"from": "Logs"}})
        with closing(Buckets(cluster.s3)) as buckets:
            bucket = buckets.make(data=[{"text": LARGE}])
        large = spec(itemReader=reader(bucket, "data.json"), resultWriter=writer(bucket), s3=access(cluster.s3))
        runs = [await space.create(large, "large"), await space.create(spec([1]), "late")]
        body = {"metadata": {"name": "data"}, "data": {"items.json": "[1]"}}
        with suppress(ApiError):
            await space.client.request("POST", space.path("configmaps"), body)
        config = {"resource": "configmap", "parameters": {"name": "data", "key": "items.json"}}
        runs += [await space.create(spec(itemReader={**config, "readerConfig": {"inputType": "JSON"}}))]
        left = [await space.create(logs), *[await each.create(spec([1])) for each in more]]
        with suppress(AssertionError):  # with a right too few a run waits: its row tells it
            await runs[1].until(lambda status: "late-0-1 is taken" in condition(status).get("message", ""), 20)
        with suppress(ApiError):
            await space.client.request("DELETE", space.path("jobs", "late-0-1", "batch/v1"))
        for run in runs:
            with suppress(AssertionError):
                assert verdict(await run.ended(30)) == "True"
        if more:
            with suppress(AssertionError):
                await left[-1].until(lambda status: "PodSecurity" in condition(status).get("message", ""), BOUND)
        await expires(space)
        for run in left:
            await run.delete()


async def expires(space: Space) -> None:
    """A run that deletes itself."""
    run = await space.create(spec([1], ttlSecondsAfterFinished=1), "brief")
    with suppress(AssertionError):
        await until(run.gone, 30)


async def taken(space: Space, name: str) -> None:
    """A Job of somebody else that has a child's name."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "handler"}]}}
    pod = template | {"metadata": {"annotations": {"maprun.dev/test-outcome": "hang"}}}
    body = {"metadata": {"name": name}, "spec": {"template": pod}}
    await space.client.request("POST", space.path("jobs", group="batch/v1"), body)


@pytest.mark.parametrize("right", ALL, ids=lambda right: f"{right}: {ALL[right]}")
def test_a_right_is_granted_and_used(role: Json, leading: Json, used: list[Call], right: Right) -> None:
    assert right in rights_of(leading if right in LEADING else role)
    mine = [call for call in used if call.right == right]
    assert mine, "nothing needs it"
    assert all(call.allowed for call in mine)


def test_every_right_that_is_granted_has_a_row(role: Json, leading: Json) -> None:
    assert sorted(rights_of(role)) == sorted(RIGHTS)
    assert sorted(rights_of(leading)) == sorted(LEADING)


def test_of_leases_it_touches_its_own_only(used: list[Call]) -> None:
    assert {call.namespace for call in used if call.right in LEADING} == {NAMESPACE}


def test_nothing_that_is_asked_for_is_refused(used: list[Call]) -> None:
    """In a namespace of another test, which is just being deleted, nobody may create anything."""
    places = {"", NAMESPACE, WIDE, LOCKED, MINE, MINE_TOO, OTHERS}
    assert [call for call in used if call.namespace in places and (not call.allowed or call.code == 403)] == []
    assert [call for call in used if not call.allowed] == []


def test_the_roles_of_a_namespace_grant_the_same_but_for_what_is_the_clusters(helm: Path) -> None:
    made = render(helm, {"namespaces": [MINE, MINE_TOO]})
    expected = sorted(right for right in RIGHTS if right.group != CRDS)
    rights = {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in made.of("Role")}
    assert {place: sorted(rights_of(each)) for place, each in rights.items()} == {
        (MINE, "maprun-operator"): expected,
        (MINE_TOO, "maprun-operator"): expected,
        (NAMESPACE, "maprun-leader"): sorted(LEADING),
    }
    assert not [each for each in made.of("ClusterRole") if each["metadata"]["name"] == "maprun-operator"]
    assert not made.of("ClusterRoleBinding")


@pytest.fixture(scope="module")
def namespaced(cluster: Cluster, helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """An operator that has Roles in two namespaces and no right in the cluster; its account is in the first of them."""
    made = render(helm, {"namespaces": [MINE, MINE_TOO]})
    bindings = made.of("RoleBinding")
    for each in bindings:
        each["subjects"][0]["namespace"] = MINE
    bind(cluster, MINE, [*made.of("Role"), *bindings])
    folder = tmp_path_factory.mktemp("namespaced")
    environment = {name: str(made.env[name]) for name in SAID}
    config = kubeconfig(cluster, MINE, folder)
    with OperatorProcess(folder, config, f"file://{folder}/state", environment=environment) as process:
        yield process


@pytest.fixture
async def places(cluster: Cluster) -> AsyncIterator[list[Space]]:
    async with spaces(cluster, MINE, MINE_TOO, OTHERS) as made:
        yield made


async def test_an_operator_of_two_namespaces_needs_no_right_in_the_cluster(
    cluster: Cluster, namespaced: OperatorProcess, places: list[Space]
) -> None:
    *mine, others = places
    untouched = await others.create(spec([1]))
    for space in mine:
        await drive(cluster, space.name)
        assert verdict(await (await space.create(spec([1, 2]))).ended()) == "True"
    assert "status" not in await untouched.get()
    assert "finalizers" not in (await untouched.get())["metadata"]
    asked = list(calls(cluster, MINE))
    assert [call for call in asked if not call.allowed or call.code == 403] == []
    assert {call.namespace for call in asked if call.right not in LEADING} == {MINE, MINE_TOO}
    assert {call.namespace for call in asked if call.right in LEADING} == {NAMESPACE}
    assert {call.right for call in asked} <= set(ALL)
    assert "Traceback" not in namespaced.log
    assert "permission" not in namespaced.log


@pytest.mark.parametrize(
    ("namespace", "expected"), [(MINE, "yes"), (MINE_TOO, "yes"), (OTHERS, "no"), ("kube-system", "no")]
)
@pytest.mark.parametrize("what", [("get", "secrets"), ("create", "jobs.batch"), ("patch", f"{PLURAL}.{GROUP}")])
def test_whatever_it_is_made_to_ask_ends_at_its_namespaces(
    cluster: Cluster, namespaced: OperatorProcess, namespace: str, expected: str, what: tuple[str, str]
) -> None:
    who = f"--as=system:serviceaccount:{MINE}:{ACCOUNT}"
    answer = cluster.kubectl("auth", "can-i", *what, who, f"--namespace={namespace}", check=False)
    assert answer.stdout.strip() == expected


async def test_who_leaves_before_an_uninstallation_needs_no_other_right(
    cluster: Cluster, namespaced: OperatorProcess, places: list[Space], tmp_path: Path
) -> None:
    """With the same account, while the operator drives a run."""
    run = await places[0].create(spec([1], pod={"outcome": "hang"}))
    await run.until(lambda status: status.get("executionCounts", {}).get("running"))
    words = ["leave", f"--lease={NAMESPACE}/{LEASE}", f"--namespace={MINE}", f"--namespace={MINE_TOO}"]
    config = kubeconfig(cluster, MINE, tmp_path)
    command = [sys.executable, "-m", "maprun", *words, f"--kubeconfig={config}"]
    done = await asyncio.to_thread(subprocess.run, command, cwd=SOURCES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finalizers" not in (await run.get())["metadata"]
    assert not namespaced.alive, "the operator stops when another takes its Lease"
    assert [call for call in calls(cluster, MINE) if not call.allowed or call.code == 403] == []
    await run.delete()
    await until(run.gone, 30)
