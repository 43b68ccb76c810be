"""Values, and what they become in the manifests: a row for each value that there is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.chart.rendering import ABSENT, CHART, IMAGE, NAMESPACE, Json, Manifests, lint, render, template, with_image
from tests.chart.value_sets import MONITORING, SETS
from tests.cluster.paths import REPOSITORY
from tools import chart

POD: Final = "/spec/template/spec"
CONTAINER: Final = f"{POD}/containers/0"
KEYS: Final = {"existingSecret": "maprun-s3"}
ROLE: Final = {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/maprun"}
CLUSTER_SCOPED: Final = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
IN_S3: Final = {"url": "s3://b/p"}
EVERYWHERE: Final = {"volume": {"accessModes": ["ReadWriteMany"]}}
NEXT_FIRST: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
SPREAD: Final = {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}


def nested(path: str, value: Any) -> Json:
    """`a.b` and a value as the values that set it."""
    head, _, rest = path.partition(".")
    return {head: nested(rest, value) if rest else value}


ROWS: Final = (
    # path of the value, what it is set to, further values, kind, JSON pointer into it, what stands there
    ("nameOverride", "batch", {}, "Deployment", "/metadata/name", "maprun-batch"),
    ("nameOverride", "batch", {}, "Service", "/spec/selector/app.kubernetes.io~1name", "batch"),
    ("fullnameOverride", "mine", {}, "Deployment", "/metadata/name", "mine"),
    ("fullnameOverride", "mine", {}, "PersistentVolumeClaim", "/metadata/name", "mine-state"),
    ("commonLabels", {"team": "data"}, {}, "ValidatingAdmissionPolicyBinding", "/metadata/labels/team", "data"),
    ("commonLabels", {"team": "data"}, {}, "Deployment", "/spec/template/metadata/labels/team", "data"),
    ("commonLabels", {"team": "data"}, {}, "Deployment", "/spec/selector/matchLabels/team", ABSENT),
    ("image.repository", "a.example.com:5000/b/c", {}, "Deployment", f"{CONTAINER}/image", "a.example.com:5000/b/c:V"),
    ("image.tag", "7", {}, "Deployment", f"{CONTAINER}/image", f"{IMAGE}:7"),
    ("image.digest", "sha256:" + "a" * 64, {}, "Deployment", f"{CONTAINER}/image", f"{IMAGE}@sha256:" + "a" * 64),
    ("image.pullPolicy", "Always", {}, "Deployment", f"{CONTAINER}/imagePullPolicy", "Always"),
    ("imagePullSecrets", [{"name": "r"}], {}, "Deployment", f"{POD}/imagePullSecrets", [{"name": "r"}]),
    ("namespaces", [], {}, "ClusterRoleBinding", "/subjects/0/name", "maprun"),
    ("namespaces", ["a"], {}, "ClusterRoleBinding", "", ABSENT),
    (
        *("namespaces", ["a", "b"], {}, "ValidatingAdmissionPolicy"),
        "/spec/matchConstraints/namespaceSelector/matchExpressions/0/values",
        ["a", "b"],
    ),
    ("replicas", "", {}, "Deployment", "/spec/replicas", 1),
    ("replicas", "", {}, "Deployment", "/spec/strategy", {"type": "Recreate"}),
    ("replicas", "", {"state": IN_S3}, "Deployment", "/spec/replicas", 2),
    ("replicas", "", {"state": IN_S3}, "Deployment", "/spec/strategy", NEXT_FIRST),
    ("replicas", "", {"state": EVERYWHERE}, "Deployment", "/spec/replicas", 2),
    ("replicas", "", {"state": EVERYWHERE}, "Deployment", "/spec/strategy", NEXT_FIRST),
    ("replicas", 3, {"state": IN_S3}, "Deployment", "/spec/replicas", 3),
    ("replicas", 1, {"state": IN_S3}, "Deployment", "/spec/strategy", NEXT_FIRST),
    ("childrenPerNamespace", 0, {}, "env", "MAPRUN_NAMESPACE_CEILING", ABSENT),
    ("childrenPerNamespace", 1_000_000, {}, "env", "MAPRUN_NAMESPACE_CEILING", "1000000"),
    ("childrenInAll", 0, {}, "env", "MAPRUN_CLUSTER_CEILING", ABSENT),
    ("childrenInAll", 500, {}, "env", "MAPRUN_CLUSTER_CEILING", "500"),
    ("childrenPerRun", 10_000, {}, "env", "MAPRUN_CEILING", "10000"),
    ("state.url", "s3://b/p", {}, "env", "MAPRUN_STATE", "s3://b/p"),
    ("state.url", "s3://b/p", {}, "PersistentVolumeClaim", "", ABSENT),
    ("state.url", "s3://b/p", {}, "Deployment", f"{POD}/volumes/1", ABSENT),
    ("state.url", "s3://b/p", {}, "Deployment", f"{CONTAINER}/volumeMounts/1", ABSENT),
    ("state.url", "", {}, "env", "MAPRUN_STATE", ABSENT),
    ("state.keepWhenRunIsDeleted", False, {}, "env", "MAPRUN_KEEP_STATE", ABSENT),
    ("state.keepWhenRunIsDeleted", True, {}, "env", "MAPRUN_KEEP_STATE", "true"),
    ("state.volume.size", "7Gi", {}, "PersistentVolumeClaim", "/spec/resources/requests/storage", "7Gi"),
    ("state.volume.storageClass", "", {}, "PersistentVolumeClaim", "/spec/storageClassName", ABSENT),
    ("state.volume.storageClass", "fast", {}, "PersistentVolumeClaim", "/spec/storageClassName", "fast"),
    ("state.volume.storageClass", "-", {}, "PersistentVolumeClaim", "/spec/storageClassName", ""),
    (
        *("state.volume.accessModes", ["ReadWriteMany"], {}, "PersistentVolumeClaim"),
        *("/spec/accessModes", ["ReadWriteMany"]),
    ),
    ("state.volume.existingClaim", "mine", {}, "PersistentVolumeClaim", "", ABSENT),
    (
        *("state.volume.existingClaim", "mine", {}, "Deployment"),
        *(f"{POD}/volumes/1/persistentVolumeClaim/claimName", "mine"),
    ),
    (
        *("state.volume.keep", True, {}, "PersistentVolumeClaim"),
        *("/metadata/annotations/helm.sh~1resource-policy", "keep"),
    ),
    ("state.volume.keep", False, {}, "PersistentVolumeClaim", "/metadata/annotations", ABSENT),
    ("s3.endpoint", "https://s3.example.com", {}, "env", "AWS_ENDPOINT_URL_S3", "https://s3.example.com"),
    ("s3.region", "eu-central-1", {}, "env", "AWS_REGION", "eu-central-1"),
    *(
        (
            *("s3.existingSecret", "k", {"state": {"url": "s3://b"}}, "env", key),
            {"secretKeyRef": {"name": "k", "key": key, **more}},
        )
        for key, more in {
            "AWS_ACCESS_KEY_ID": {},
            "AWS_SECRET_ACCESS_KEY": {},
            "AWS_SESSION_TOKEN": {"optional": True},
        }.items()
    ),
    ("s3.shareCredentials", True, {"s3": KEYS}, "env", "MAPRUN_SHARE_S3_CREDENTIALS", "true"),
    ("s3.shareCredentials", False, {}, "env", "MAPRUN_SHARE_S3_CREDENTIALS", ABSENT),
    (
        *("s3.allowedEndpoints", ["https://a.example.com", "https://b.example.com"], {}, "env", "MAPRUN_S3_ENDPOINTS"),
        "https://a.example.com https://b.example.com",
    ),
    ("serviceAccount.create", False, {"serviceAccount": {"name": "mine"}}, "ServiceAccount", "", ABSENT),
    ("serviceAccount.name", "mine", {}, "ServiceAccount", "/metadata/name", "mine"),
    ("serviceAccount.name", "mine", {}, "Deployment", f"{POD}/serviceAccountName", "mine"),
    ("serviceAccount.name", "mine", {}, "ClusterRoleBinding", "/subjects/0/name", "mine"),
    ("serviceAccount.annotations", ROLE, {}, "ServiceAccount", "/metadata/annotations", ROLE),
    ("serviceAccount.annotations", ROLE, {}, "Deployment", f"{POD}/securityContext/fsGroup", 65532),
    ("crds.enabled", False, {}, "CustomResourceDefinition", "", ABSENT),
    (
        *("crds.keep", True, {}, "CustomResourceDefinition"),
        *("/metadata/annotations/helm.sh~1resource-policy", "keep"),
    ),
    ("crds.keep", False, {}, "CustomResourceDefinition", "/metadata/annotations", ABSENT),
    ("rbac.create", False, {}, "ClusterRoleBinding", "", ABSENT),
    ("rbac.create", False, {"namespaces": ["a"]}, "RoleBinding", "", ABSENT),
    ("admissionPolicy.enabled", False, {}, "ValidatingAdmissionPolicy", "", ABSENT),
    ("admissionPolicy.enabled", False, {}, "ValidatingAdmissionPolicyBinding", "", ABSENT),
    ("admissionPolicy.enabled", True, {}, "ValidatingAdmissionPolicy", "/spec/failurePolicy", "Fail"),
    ("admissionPolicy.enabled", True, {}, "ValidatingAdmissionPolicyBinding", "/spec/validationActions", ["Deny"]),
    ("metrics.port", 9090, {}, "env", "MAPRUN_PORT", "9090"),
    ("metrics.port", 9090, {}, "Deployment", f"{CONTAINER}/ports/0/containerPort", 9090),
    ("metrics.port", 9090, {}, "Service", "/spec/ports/0/port", 9090),
    ("metrics.service.enabled", False, {}, "Service", "", ABSENT),
    ("metrics.service.annotations", {"a": "b"}, {}, "Service", "/metadata/annotations", {"a": "b"}),
    ("metrics.serviceMonitor.enabled", True, {}, "ServiceMonitor", "/spec/endpoints/0/honorLabels", True),
    ("metrics.serviceMonitor.enabled", True, {}, "ServiceMonitor", "/spec/endpoints/0/port", "http"),
    ("metrics.serviceMonitor.enabled", True, {}, "ServiceMonitor", "/spec/endpoints/0/interval", ABSENT),
    ("metrics.serviceMonitor.enabled", False, {}, "ServiceMonitor", "", ABSENT),
    (
        *("metrics.serviceMonitor.interval", "15s", {"metrics": {"serviceMonitor": {"enabled": True}}}),
        *("ServiceMonitor", "/spec/endpoints/0/interval", "15s"),
    ),
    (
        *("metrics.serviceMonitor.labels", {"release": "p"}, {"metrics": {"serviceMonitor": {"enabled": True}}}),
        *("ServiceMonitor", "/metadata/labels/release", "p"),
    ),
    ("metrics.podMonitor.enabled", True, {}, "PodMonitor", "/spec/podMetricsEndpoints/0/honorLabels", True),
    ("metrics.podMonitor.enabled", False, {}, "PodMonitor", "", ABSENT),
    (
        *("metrics.podMonitor.interval", "15s", {"metrics": {"podMonitor": {"enabled": True}}}),
        *("PodMonitor", "/spec/podMetricsEndpoints/0/interval", "15s"),
    ),
    (
        *("metrics.podMonitor.labels", {"release": "p"}, {"metrics": {"podMonitor": {"enabled": True}}}),
        *("PodMonitor", "/metadata/labels/release", "p"),
    ),
    ("metrics.prometheusRule.enabled", False, {}, "PrometheusRule", "", ABSENT),
    (
        *("metrics.prometheusRule.labels", {"release": "p"}, {"metrics": {"prometheusRule": {"enabled": True}}}),
        *("PrometheusRule", "/metadata/labels/release", "p"),
    ),
    ("metrics.dashboard.enabled", False, {}, "ConfigMap", "", ABSENT),
    ("metrics.dashboard.enabled", True, {}, "ConfigMap", "/metadata/labels/grafana_dashboard", "1"),
    (
        *("metrics.dashboard.labels", {"mine": "2"}, {"metrics": {"dashboard": {"enabled": True}}}),
        *("ConfigMap", "/metadata/labels/mine", "2"),
    ),
    (
        *("metrics.dashboard.annotations", {"grafana_folder": "B"}, {"metrics": {"dashboard": {"enabled": True}}}),
        *("ConfigMap", "/metadata/annotations", {"grafana_folder": "B"}),
    ),
    ("networkPolicy.enabled", False, {}, "NetworkPolicy", "", ABSENT),
    ("networkPolicy.enabled", True, {}, "NetworkPolicy", "/spec/policyTypes", ["Ingress"]),
    ("networkPolicy.enabled", True, {}, "NetworkPolicy", "/spec/ingress", ABSENT),
    (
        *("networkPolicy.ingressFrom", MONITORING, {"networkPolicy": {"enabled": True}}, "NetworkPolicy"),
        *("/spec/ingress", [{"ports": [{"protocol": "TCP", "port": "http"}], "from": MONITORING}]),
    ),
    (
        *("networkPolicy.egress.enabled", True, {"networkPolicy": {"enabled": True}}, "NetworkPolicy"),
        *("/spec/policyTypes", ["Ingress", "Egress"]),
    ),
    (
        *("networkPolicy.egress.ports", [8443], {"networkPolicy": {"enabled": True, "egress": {"enabled": True}}}),
        *("NetworkPolicy", "/spec/egress/1/ports", [{"protocol": "TCP", "port": 8443}]),
    ),
    (
        *(
            "networkPolicy.egress.extra",
            [{"to": []}],
            {"networkPolicy": {"enabled": True, "egress": {"enabled": True}}},
        ),
        *("NetworkPolicy", "/spec/egress/2", {"to": []}),
    ),
    ("podDisruptionBudget.enabled", False, {}, "PodDisruptionBudget", "", ABSENT),
    ("podDisruptionBudget.enabled", True, {}, "PodDisruptionBudget", "/spec/maxUnavailable", 1),
    (
        *("podDisruptionBudget.maxUnavailable", "50%", {"podDisruptionBudget": {"enabled": True}}),
        *("PodDisruptionBudget", "/spec/maxUnavailable", "50%"),
    ),
    ("leaveHook.enabled", False, {}, "Job", "", ABSENT),
    ("leaveHook.enabled", True, {}, "Job", "/metadata/annotations/helm.sh~1hook", "pre-delete"),
    ("leaveHook.enabled", True, {}, "Job", f"{CONTAINER}/args", ["leave", f"--lease={NAMESPACE}/maprun"]),
    ("namespaces", ["a", "b"], {}, "Job", f"{CONTAINER}/args/3", "--namespace=b"),
    ("nodeSelector", {"a": "b"}, {}, "Job", f"{POD}/nodeSelector", {"a": "b"}),
    ("podLabels", {"a": "b"}, {}, "Job", "/spec/template/metadata/labels/a", "b"),
    ("podAnnotations", {"a": "b"}, {}, "Job", "/spec/template/metadata/annotations", {"a": "b"}),
    ("extraEnv", [{"name": "A", "value": "b"}], {}, "Job", f"{CONTAINER}/env", [{"name": "A", "value": "b"}]),
    ("fullnameOverride", "mine", {}, "env", "MAPRUN_LEASE", f"{NAMESPACE}/mine"),
    ("priorityClassName", "high", {}, "Deployment", f"{POD}/priorityClassName", "high"),
    ("resources", {"limits": {"memory": "2Gi"}}, {}, "Deployment", f"{CONTAINER}/resources/limits/memory", "2Gi"),
    ("resources", {"limits": {"memory": "2Gi"}}, {}, "Deployment", f"{CONTAINER}/resources/requests/cpu", "100m"),
    ("resources", {"limits": None}, {}, "Deployment", f"{CONTAINER}/resources/limits", ABSENT),
    ("podSecurityContext", {"fsGroup": 7}, {}, "Deployment", f"{POD}/securityContext/fsGroup", 7),
    ("podSecurityContext", {"runAsUser": None}, {}, "Deployment", f"{POD}/securityContext/runAsUser", ABSENT),
    ("securityContext", {"privileged": False}, {}, "Deployment", f"{CONTAINER}/securityContext/privileged", False),
    ("podLabels", {"a": "b"}, {}, "Deployment", "/spec/template/metadata/labels/a", "b"),
    ("podAnnotations", {"a": "b"}, {}, "Deployment", "/spec/template/metadata/annotations", {"a": "b"}),
    ("extraEnv", [{"name": "A", "value": "b"}], {}, "env", "A", "b"),
    (
        *("extraEnvFrom", [{"secretRef": {"name": "a"}}], {}, "Deployment"),
        *(f"{CONTAINER}/envFrom", [{"secretRef": {"name": "a"}}]),
    ),
    (
        *("extraVolumes", [{"name": "a", "emptyDir": {}}], {}, "Deployment"),
        *(f"{POD}/volumes/2", {"name": "a", "emptyDir": {}}),
    ),
    (
        *("extraVolumeMounts", [{"name": "a", "mountPath": "/a"}], {}, "Deployment"),
        *(f"{CONTAINER}/volumeMounts/2", {"name": "a", "mountPath": "/a"}),
    ),
    ("nodeSelector", {"a": "b"}, {}, "Deployment", f"{POD}/nodeSelector", {"a": "b"}),
    ("tolerations", [{"key": "a"}], {}, "Deployment", f"{POD}/tolerations", [{"key": "a"}]),
    ("affinity", {"podAffinity": {}}, {}, "Deployment", f"{POD}/affinity", {"podAffinity": {}}),
    (
        *("topologySpreadConstraints", [SPREAD], {}, "Deployment"),
        f"{POD}/topologySpreadConstraints/0/labelSelector/matchLabels",
        {"app.kubernetes.io/name": "maprun", "app.kubernetes.io/instance": "maprun"},
    ),
    (
        *("topologySpreadConstraints", [{**SPREAD, "labelSelector": {"matchLabels": {"a": "b"}}}], {}, "Deployment"),
        *(f"{POD}/topologySpreadConstraints/0/labelSelector", {"matchLabels": {"a": "b"}}),
    ),
    ("terminationGracePeriodSeconds", 60, {}, "Deployment", f"{POD}/terminationGracePeriodSeconds", 60),
)
ELSEWHERE: Final = {"rbac.aggregate", "metrics.prometheusRule.runbookUrl"}
"""Values with a test of their own, below."""


def together(values: Json, more: Json) -> Json:
    """Both, merged."""
    both = {**values}
    for key, value in more.items():
        both[key] = together(both.get(key, {}), value) if isinstance(value, dict) else value
    return both


@pytest.mark.parametrize(
    ("path", "value", "more", "kind", "pointer", "expected"),
    [pytest.param(*row, id=f"{row[0]}={json.dumps(row[1])}: {row[3]} {row[4]}") for row in ROWS],
)
def test_a_value_becomes_what_its_sentence_says(
    helm: Path, path: str, value: Any, more: Json, kind: str, pointer: str, expected: Any
) -> None:
    manifests = render(helm, together(more, nested(path, value)))
    found = manifests.env.get(pointer, ABSENT) if kind == "env" else manifests.at(kind, pointer)
    if path == "image.repository":
        expected = expected.removesuffix("V") + app_version()
    assert found == expected


def test_every_value_has_a_row() -> None:
    """So that no value is without effect."""
    there = {each.path for each in chart.values((CHART / "values.yaml").read_text()) if each.default}
    assert {row[0] for row in ROWS} | ELSEWHERE == there


@pytest.mark.parametrize("values", [pytest.param(values, id=name) for name, values in SETS.items()])
def test_helm_finds_nothing_to_mend(helm: Path, values: Json) -> None:
    said = lint(helm, with_image(values))
    assert "0 chart(s) failed" in said
    assert "WARNING" not in said


@pytest.mark.parametrize("values", [pytest.param(values, id=name) for name, values in SETS.items()])
def test_every_object_is_labelled_and_has_one_home(helm: Path, values: Json) -> None:
    manifests = render(helm, values)
    for each in manifests.objects:
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == labels["app.kubernetes.io/part-of"] == "maprun"
        assert labels["app.kubernetes.io/instance"] == "maprun"
        assert labels["app.kubernetes.io/component"] == "operator"
        assert labels["app.kubernetes.io/version"] == app_version()
        assert ("namespace" in each["metadata"]) != (each["kind"] in CLUSTER_SCOPED)
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in manifests.objects]
    assert len(names) == len(set(names))


SELECTING: Final = ("Deployment", "Service", "ServiceMonitor", "NetworkPolicy", "PodDisruptionBudget")


@pytest.mark.parametrize("kind", SELECTING)
def test_what_selects_finds_the_pod_or_the_service(helm: Path, kind: str) -> None:
    manifests = render(helm, SETS["all at once"])
    target = manifests.the("Service") if kind == "ServiceMonitor" else manifests.pod
    assert chosen_by(manifests, kind, target["metadata"]["labels"])


def chosen_by(manifests: Manifests, kind: str, labels: dict[str, str]) -> bool:
    """Whether the only object of the kind selects what has these labels."""
    spec = manifests.the(kind)["spec"]
    selector = spec.get("podSelector", spec.get("selector"))
    wanted = [each for each in selector.get("matchExpressions", ()) if each["operator"] == "In"]
    exactly = selector.get("matchLabels", {} if wanted else selector)
    return exactly.items() <= labels.items() and all(labels.get(each["key"]) in each["values"] for each in wanted)


def test_the_operator_is_locked_up(helm: Path) -> None:
    spec = render(helm).pod["spec"]
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert render(helm).the("ServiceAccount")["automountServiceAccountToken"] is False


def test_who_leaves_is_as_locked_up_and_never_taken_for_the_operator(helm: Path) -> None:
    """Nothing selects its pod but the network policy, which lets it reach the API server."""
    manifests = render(helm, SETS["all at once"])
    job, operator = manifests.the("Job")["spec"], manifests.pod["spec"]
    pod = job["template"]["spec"]
    for field in ("securityContext", "serviceAccountName", "imagePullSecrets", "tolerations", "affinity"):
        assert pod[field] == operator[field]
    for field in ("image", "securityContext", "resources"):
        assert pod["containers"][0][field] == operator["containers"][0][field]
    labels = job["template"]["metadata"]["labels"]
    finds = {kind: chosen_by(manifests, kind, labels) for kind in SELECTING}
    assert finds == {kind: kind == "NetworkPolicy" for kind in SELECTING}


def test_an_uninstallation_never_hangs_on_who_leaves(helm: Path) -> None:
    """helm gives a hook five minutes."""
    job = render(helm).the("Job")["spec"]
    assert job["activeDeadlineSeconds"] < 300
    assert job["backoffLimit"] == 1
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_of_leases_the_operator_reaches_its_own(helm: Path) -> None:
    """In its own namespace, whatever namespaces it watches. A name that is only being created cannot be asked for."""
    for namespaces in ([], ["team-a"]):
        manifests = render(helm, {"namespaces": namespaces})
        [role] = [each for each in manifests.of("Role") if each["metadata"]["name"] == "maprun-leader"]
        [binding] = [each for each in manifests.of("RoleBinding") if each["metadata"]["name"] == "maprun-leader"]
        assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == NAMESPACE
        assert binding["roleRef"]["name"] == "maprun-leader"
        names = {verb: rule.get("resourceNames") for rule in role["rules"] for verb in rule["verbs"]}
        assert {verb for verb, name in names.items() if name is None} == {"create"}
        assert [name for name in names.values() if name not in (None, ["maprun"])] == []
        assert manifests.env["MAPRUN_LEASE"] == f"{NAMESPACE}/maprun"


def test_two_operators_only_wish_for_nodes_of_their_own(helm: Path) -> None:
    """So that a cluster of one node has both; in an update the new ones are counted by themselves."""
    constraints = render(helm, {"state": IN_S3}).pod["spec"]["topologySpreadConstraints"]
    assert {each["topologyKey"] for each in constraints} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    assert {each["whenUnsatisfiable"] for each in constraints} == {"ScheduleAnyway"}
    assert all(each["matchLabelKeys"] == ["pod-template-hash"] for each in constraints)
    labels = render(helm).pod["metadata"]["labels"].items()
    assert all(each["labelSelector"]["matchLabels"].items() <= labels for each in constraints)


def test_without_the_whole_cluster_there_is_nothing_of_the_cluster(helm: Path) -> None:
    manifests = render(helm, SETS["two namespaces, and nothing of the cluster's"])
    assert not {each["kind"] for each in manifests.objects} & CLUSTER_SCOPED
    assert manifests.env["MAPRUN_NAMESPACES"] == "team-a team-b"
    everywhere = render(helm)
    [cluster_role] = [each for each in everywhere.of("ClusterRole") if each["metadata"]["name"] == "maprun-operator"]
    definitions = [rule for rule in cluster_role["rules"] if rule["apiGroups"] == ["apiextensions.k8s.io"]]
    roles = [each for each in manifests.of("Role") if each["metadata"]["name"] == "maprun-operator"]
    assert [each["metadata"]["namespace"] for each in roles] == ["team-a", "team-b"]
    bindings = [each for each in manifests.of("RoleBinding") if each["metadata"]["name"] == "maprun-operator"]
    assert [each["metadata"]["namespace"] for each in bindings] == ["team-a", "team-b"]
    for each in bindings:
        assert (each["roleRef"]["kind"], each["roleRef"]["name"]) == ("Role", "maprun-operator")
        assert [(who["name"], who["namespace"]) for who in each["subjects"]] == [("maprun", NAMESPACE)]
    for role in roles:
        assert role["rules"] == [rule for rule in cluster_role["rules"] if rule not in definitions]


@pytest.mark.parametrize("aggregate", [True, False])
def test_the_roles_of_people_join_those_of_the_cluster(helm: Path, aggregate: bool) -> None:
    roles = {
        each["metadata"]["name"]: each for each in render(helm, {"rbac": {"aggregate": aggregate}}).of("ClusterRole")
    }
    assert ({"maprun-view", "maprun-edit"} <= roles.keys()) == aggregate
    if aggregate:
        joins = "rbac.authorization.k8s.io/aggregate-to-"
        found = {
            name: {key.removeprefix(joins) for key in roles[name]["metadata"]["labels"] if key.startswith(joins)}
            for name in roles
        }
        assert found == {"maprun-view": {"view"}, "maprun-edit": {"edit", "admin"}, "maprun-operator": set()}


def test_the_definition_is_the_generated_one(helm: Path) -> None:
    generated = yaml.safe_load((REPOSITORY / "crds/maprun.dev_mapruns.yaml").read_text())
    rendered = render(helm).the("CustomResourceDefinition")
    assert rendered["spec"] == generated["spec"]
    assert rendered["metadata"]["name"] == generated["metadata"]["name"]


def test_the_dashboard_arrives_as_it_is(helm: Path) -> None:
    manifests = render(helm, {"metrics": {"dashboard": {"enabled": True}}})
    data = manifests.the("ConfigMap")["data"]
    assert json.loads(data["maprun.json"]) == json.loads((CHART / "files/dashboard.json").read_text())


@pytest.mark.parametrize(
    ("url", "expected"),
    [(None, "docs/runbooks/"), ("https://wiki.example.com/maprun", "https://wiki.example.com/maprun/")],
)
def test_each_alert_links_to_its_runbook(helm: Path, url: str | None, expected: str) -> None:
    rule = {"enabled": True, **({"runbookUrl": url} if url else {})}
    groups = render(helm, {"metrics": {"prometheusRule": rule}}).the("PrometheusRule")["spec"]["groups"]
    written = (CHART / "files/rules.yaml").read_text()
    assert groups == yaml.safe_load(written.replace("RUNBOOKS", expected.removesuffix("/")))["groups"]
    alerts = [each for group in groups for each in group["rules"] if "alert" in each]
    assert alerts
    for each in alerts:
        assert each["annotations"]["runbook_url"] == f"{expected}{each['alert']}.md"


@pytest.mark.parametrize(
    ("endpoint", "allowed", "ports"),
    [
        pytest.param("", [], {443, 6443}, id="AWS"),
        pytest.param("http://s3.example.com:9000", [], {443, 6443, 9000}, id="a port in the URL"),
        pytest.param("http://s3.example.com", [], {443, 6443, 80}, id="http without a port"),
        pytest.param("https://s3.example.com/", [], {443, 6443}, id="https without a port"),
        pytest.param("", ["https://a.example.com:9443"], {443, 6443, 9443}, id="an endpoint of runs"),
        pytest.param("http://[2001:db8::1]:9000", [], {443, 6443, 9000}, id="an address with colons"),
    ],
)
def test_the_way_out_leads_to_s3_too(helm: Path, endpoint: str, allowed: list[str], ports: set[int]) -> None:
    s3 = {"endpoint": endpoint, "allowedEndpoints": allowed}
    values = {"s3": s3, "networkPolicy": {"enabled": True, "egress": {"enabled": True}}}
    dns, rest = render(helm, values).the("NetworkPolicy")["spec"]["egress"]
    assert {each["port"] for each in rest["ports"]} == ports
    assert {(each["protocol"], each["port"]) for each in dns["ports"]} >= {("UDP", 53), ("TCP", 53)}


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("maprun", "maprun"),
        ("team-maprun", "team-maprun"),
        ("batch", "batch-maprun"),
        pytest.param("r" * 53, "r" * 50, id="the longest name of a release"),
    ],
)
def test_the_release_gives_the_name(helm: Path, release: str, name: str) -> None:
    manifests = render(helm, release=release)
    assert manifests.the("Deployment")["metadata"]["name"] == name
    assert manifests.the("Service")["metadata"]["name"] == name
    assert all(len(each["metadata"]["name"]) <= 253 for each in manifests.objects)
    assert all(len(value) <= 63 for each in manifests.objects for value in each["metadata"]["labels"].values())


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"childrenPerRun": 7}, id="a setting of the operator"),
        pytest.param({"namespaces": ["a"]}, id="its namespaces"),
        pytest.param({"state": {"url": "s3://b"}}, id="its state"),
        pytest.param({"s3": {"endpoint": "https://s3.example.com"}}, id="its S3 server"),
        pytest.param({"s3": {**KEYS, "shareCredentials": True}}, id="its credentials"),
        pytest.param({"image": {"tag": "7"}}, id="its image"),
        pytest.param({"resources": {"limits": {"memory": "2Gi"}}}, id="its resources"),
    ],
)
def test_a_setting_that_changes_starts_the_operator_anew(helm: Path, values: Json) -> None:
    assert render(helm, values).pod != render(helm).pod


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(
            {"metrics": {"dashboard": {"enabled": True}, "prometheusRule": {"enabled": True}}}, id="monitoring"
        ),
        pytest.param({"networkPolicy": {"enabled": True}}, id="a network policy"),
        pytest.param({"crds": {"keep": False}}, id="what stays"),
        pytest.param({"state": {"volume": {"size": "20Gi"}}}, id="a larger volume"),
    ],
)
def test_what_is_not_the_operator_s_leaves_it_running(helm: Path, values: Json) -> None:
    assert render(helm, values).pod == render(helm).pod


def test_a_newer_chart_of_the_same_operator_leaves_it_running(helm: Path, tmp_path: Path) -> None:
    newer = tmp_path / "maprun"
    shutil.copytree(CHART, newer)
    described = (newer / "Chart.yaml").read_text()
    (newer / "Chart.yaml").write_text(described.replace("\nversion: ", "\nversion: 9"))
    text = template(helm, with_image({}), chart=newer)
    manifests = Manifests([each for each in yaml.safe_load_all(text) if each])
    assert manifests.the("Deployment")["metadata"]["labels"]["helm.sh/chart"].startswith("maprun-9")
    assert manifests.pod == render(helm).pod


@pytest.mark.parametrize(("enabled", "count"), [(True, 1), (False, 0)])
def test_the_chart_is_fit_to_be_part_of_another(helm: Path, tmp_path: Path, enabled: bool, count: int) -> None:
    """Helm gives a dependency the keys `global` and that of its condition."""
    platform = tmp_path / "platform"
    shutil.copytree(CHART, platform / "charts/maprun")
    dependency = {"name": "maprun", "version": "*-0", "condition": "maprun.enabled"}
    (platform / "Chart.yaml").write_text(
        json.dumps({"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]})
    )
    values = {"global": {"team": "data"}, "maprun": {"enabled": enabled, "image": {"repository": IMAGE}}}
    text = template(helm, values, release="platform", chart=platform)
    assert text.count("kind: Deployment") == count


def app_version() -> str:
    """The operator's version, as the chart says it."""
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"])
