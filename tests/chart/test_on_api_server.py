"""The chart on a real API server: all its objects are accepted, the rights are what they say, and a release comes and
goes as it should.

Rule 1: nothing stays behind in the session's cluster but the resource definition, which others use as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chart import prometheus_operator
from tests.chart.on_server import Helm, apply, binding, create, namespace
from tests.chart.rendering import NAMESPACE, Json, Manifests, Refused, render
from tests.chart.value_sets import SETS
from tests.cluster import Cluster
from tests.operator_process import eventually

TEAMS: Final = ("team-a", "team-b")
DRY: Final = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-")
GUARD: Final = "guard-maprun"  # a name of its own for what is tried in earnest
PEOPLE: Final = {"alice": "edit", "bob": f"{GUARD}-edit", "carol": "view", "dan": "admin"}
LIFE: Final = "chart-life"


@pytest.fixture(scope="module")
def server(cluster_fake: Cluster) -> Iterator[Cluster]:
    """A cluster with the chart's namespaces, as locked up as can be, and with the Prometheus operator's definitions."""
    crds = [word for path in prometheus_operator.definitions() for word in ("-f", str(path))]
    namespaces = [namespace(name) for name in (NAMESPACE, *TEAMS)]
    apply(cluster_fake, namespaces)
    cluster_fake.kubectl("apply", "--server-side", *crds)
    cluster_fake.kubectl("wait", "--for=condition=Established", "--timeout=30s", *crds)
    yield cluster_fake
    cluster_fake.kubectl("delete", "--timeout=30s", *crds)
    cluster_fake.kubectl("delete", "namespace", NAMESPACE, *TEAMS, "--timeout=60s")


def warnings(cluster: Cluster, manifests: Manifests) -> list[str]:
    """What the API server warns of when it is asked to make these objects; an error is raised."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests.objects})
    done = cluster.kubectl(*DRY, input=text)
    assert done.stdout.count("serverside-applied") == len(manifests.objects)
    return done.stderr.splitlines()


every_set = pytest.mark.parametrize("values", [pytest.param(values, id=name) for name, values in SETS.items()])


@every_set
def test_every_object_is_accepted_without_a_warning(server: Cluster, helm: Path, values: Json) -> None:
    assert warnings(server, render(helm, values)) == []


@every_set
def test_the_pod_is_let_into_a_locked_namespace(server: Cluster, helm: Path, values: Json) -> None:
    """As the controller manager would make it of the Deployment."""
    template = render(helm, values).pod
    template["spec"].pop("serviceAccountName")
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "try", "namespace": NAMESPACE}}
    eventually(lambda: server.kubectl("get", "-n", NAMESPACE, "serviceaccount", "default", check=False).returncode == 0)
    done = server.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))
    assert done.stderr == ""


def test_what_is_not_locked_up_is_told(server: Cluster, helm: Path) -> None:
    """The trial above can fail."""
    told = warnings(server, render(helm, {"podSecurityContext": {"runAsNonRoot": False}}))
    assert any("runAsNonRoot" in line for line in told)


@pytest.fixture(scope="module")
def people(server: Cluster, helm: Path) -> Iterator[Cluster]:
    """The chart's policy and roles, and people of team-a with one role each."""
    manifests = render(helm, {"fullnameOverride": GUARD, "namespaces": list(TEAMS[:1])})
    kinds = ("CustomResourceDefinition", "ClusterRole", "Role", "RoleBinding", "ServiceAccount")
    policy = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    mine = [each for kind in (*kinds, *policy) for each in manifests.of(kind)]
    bindings = [binding(name, role, team) for name, role in PEOPLE.items() for team in TEAMS]
    apply(server, mine + bindings)
    eventually(lambda: server.kubectl("get", "mapruns.maprun.dev", check=False).returncode == 0)
    yield server
    for each in (*mine, *bindings):
        if each["kind"] != "CustomResourceDefinition":
            where = ["-n", each["metadata"]["namespace"]] if "namespace" in each["metadata"] else []
            server.kubectl("delete", each["kind"], each["metadata"]["name"], *where, "--timeout=30s")


def may(cluster: Cluster, who: str, verb: str, resource: str, team: str = TEAMS[0]) -> bool:
    """Whether the API server would let somebody."""
    name, _, part = resource.partition("/")
    more = [f"--subresource={part}"] if part else []
    done = cluster.kubectl("auth", "can-i", verb, name, *more, "-n", team, f"--as={who}", check=False)
    return done.stdout.strip() == "yes"


@pytest.mark.parametrize(
    ("who", "verbs", "resource", "expected"),
    [
        pytest.param("carol", "get list watch", "mapruns", True, id="view sees runs"),
        pytest.param("carol", "create update patch delete deletecollection", "mapruns", False, id="view changes none"),
        pytest.param("alice", "get list watch create update patch delete", "mapruns", True, id="edit makes runs"),
        pytest.param("alice", "deletecollection", "mapruns", True, id="edit deletes all of them"),
        pytest.param("alice", "patch update", "mapruns/status", False, id="edit writes no status"),
        pytest.param("dan", "create delete", "mapruns", True, id="admin makes runs"),
        pytest.param("bob", "get list watch create update patch delete", "mapruns", True, id="the role by itself"),
        pytest.param("bob", "create", "jobs.batch", False, id="the role by itself gives nothing else"),
        pytest.param("bob", "patch update", "mapruns/status", False, id="the role by itself writes no status"),
        pytest.param("nobody", "get list create", "mapruns", False, id="nobody else"),
    ],
)
def test_the_roles_of_people(people: Cluster, who: str, verbs: str, resource: str, expected: bool) -> None:
    """Roles are joined to the cluster's own by a controller, a moment later."""

    def as_expected(verb: str) -> bool:
        return may(people, who, verb, resource) == expected

    for verb in verbs.split():
        eventually(partial(as_expected, verb), 30)


@pytest.mark.parametrize(
    ("verb", "resource", "team", "expected"),
    [
        ("list", "mapruns", "team-a", True),
        ("create", "jobs.batch", "team-a", True),
        ("get", "secrets", "team-a", True),
        ("list", "mapruns", "team-b", False),
        ("get", "secrets", "team-b", False),
        ("get", "secrets", "kube-system", False),
        ("list", "customresourcedefinitions", "team-a", False),
        ("list", "namespaces", "team-a", False),
    ],
)
def test_an_operator_of_one_namespace_reaches_no_other(
    people: Cluster, verb: str, resource: str, team: str, expected: bool
) -> None:
    operator = f"system:serviceaccount:{NAMESPACE}:{GUARD}"
    assert may(people, operator, verb, resource, team) == expected


def test_a_run_needs_the_right_to_create_jobs(people: Cluster) -> None:
    """bob may create runs but no Jobs; alice may do both. The policy is in force a moment after it was made."""
    eventually(lambda: create(people, "bob", "team-a").returncode != 0, 60)
    told = create(people, "bob", "team-a").stderr
    assert "Forbidden" in told
    assert "a MapRun runs Jobs, and bob may not create Jobs in the namespace team-a: ask its administrator" in told
    eventually(
        lambda: create(people, "alice", "team-a").returncode == 0, 30, lambda: create(people, "alice", "team-a").stderr
    )
    assert create(people, "dan", "team-a").returncode == 0


def test_the_policy_leaves_other_namespaces_alone(people: Cluster) -> None:
    """This operator drives runs of team-a only."""
    assert create(people, "bob", "team-b").returncode == 0


def test_the_policy_has_no_error_in_its_types(people: Cluster) -> None:
    def policy() -> Json:
        name = f"{GUARD}-creator-may-create-jobs"
        found: Json = json.loads(people.kubectl("get", "validatingadmissionpolicy", name, "-o", "json").stdout)
        return found

    eventually(lambda: policy().get("status", {}).get("observedGeneration") == policy()["metadata"]["generation"], 30)
    assert policy()["status"].get("typeChecking", {}) == {}


@pytest.fixture(scope="module")
def release(server: Cluster, helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helm]:
    """helm, for a release in a namespace of its own."""
    apply(server, [namespace(LIFE)])
    yield Helm(helm, server, tmp_path_factory.mktemp("helm"), LIFE)
    server.kubectl("delete", "namespace", LIFE, "--timeout=60s")


def left(cluster: Cluster) -> set[str]:
    """What there is of the release, as kind/name."""
    kinds = (
        "deployments,services,serviceaccounts,configmaps,persistentvolumeclaims,networkpolicies,poddisruptionbudgets,"
        "roles,rolebindings,jobs"
    )
    wide = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,crds"
    label = ("-l", "app.kubernetes.io/instance=life", "-o", "name")
    found = cluster.kubectl("get", f"{kinds},{wide}", "-n", LIFE, *label).stdout.split()
    return {re.sub(r"\.[a-z0-9.]+/", "/", name) for name in found}


CRD: Final = "customresourcedefinition/mapruns.maprun.dev"
CLAIM: Final = "persistentvolumeclaim/life-maprun-state"
FAILING: Final = r"podAnnotations.maprun\.dev/test-outcome=fail"
"""Pods end badly, also the one that leaves before an uninstallation."""


def test_a_release_comes_changes_and_goes(server: Cluster, release: Helm) -> None:
    """The definition may be there already, from other tests: so it is taken over. Who leaves before an uninstallation
    must have ended well, unless nobody is asked.
    """
    said = release.put("install", "life", options=["--take-ownership"])
    assert len(re.findall(r"^ +kubectl ", said, re.MULTILINE)) == 3
    assert f"keeps\nits state on the volume {CLAIM.partition('/')[2]}." in said
    assert {CRD, CLAIM, "deployment/life-maprun", "clusterrole/life-maprun-edit"} <= left(server)

    said = release.put("upgrade", "life", "state.url=s3://bucket/prefix", "networkPolicy.enabled=true")
    assert "its state in s3://bucket/prefix." in said
    assert "The volume life-maprun-state is there still" in said
    assert {CLAIM, "networkpolicy/life-maprun"} <= left(server)
    spec = json.loads(server.kubectl("get", "-n", LIFE, "deployment", "life-maprun", "-o", "json").stdout)["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (2, "RollingUpdate")
    variables = {each["name"]: each.get("value") for each in spec["template"]["spec"]["containers"][0]["env"]}
    assert variables["MAPRUN_STATE"] == "s3://bucket/prefix"

    release.run("uninstall", "life")
    assert left(server) == {CRD, CLAIM}
    uid = claim(server)["uid"]

    release.put("install", "life")
    assert claim(server)["uid"] == uid
    release.put("upgrade", "life", "state.volume.keep=false", FAILING)
    with pytest.raises(Refused, match="BackoffLimitExceeded"):
        release.run("uninstall", "life")
    assert {CRD, CLAIM, "deployment/life-maprun", "job/life-maprun-leave"} <= left(server)
    release.run("uninstall", "life", "--no-hooks")
    server.kubectl("delete", "job", "life-maprun-leave", "-n", LIFE, "--timeout=30s")
    eventually(lambda: left(server) == {CRD}, 60, lambda: str(left(server)))


def claim(cluster: Cluster) -> dict[str, Any]:
    """The metadata of the release's volume claim."""
    found = json.loads(cluster.kubectl("get", "-n", LIFE, CLAIM, "-o", "json").stdout)
    metadata: dict[str, Any] = found["metadata"]
    return metadata
