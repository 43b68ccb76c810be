"""Values that do not fit together, each with its sentence; values that are wrong by themselves, each with its path."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chart.rendering import CHART, KUBERNETES, Json, Refused, render, template, with_image

TOGETHER: Final = "These values do not fit together:\n- "
MONITORED: Final = {"serviceMonitor": {"enabled": True}}
ROLE: Final = {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/maprun"}}
IN_S3: Final = {"url": "s3://bucket/prefix"}
EVERYWHERE: Final = ["ReadWriteMany"]
OF_A_SERVER: Final = "oneOperatorOfARun"
"""The check that looks into the cluster: test_two_releases.py."""

CONTRADICTIONS: Final[tuple[tuple[str, Json, str], ...]] = (
    # name of the check, values, how its sentence begins
    ("imageRepository", {"image": {"repository": ""}}, "image.repository: name your image"),
    ("imageRepositoryHasNoTag", {"image": {"repository": "a.example.com:5000/b:1"}}, "image.repository: a.example.com"),
    ("imageRepositoryHasNoTag", {"image": {"repository": "b@sha256:0"}}, "image.repository: b@sha256:0 has a tag"),
    ("stateUrl", {"state": {"url": "file:///var/lib/maprun"}}, "state.url: file:///var/lib/maprun is not of the form"),
    ("stateUrl", {"state": {"url": "s3:///prefix"}}, "state.url: s3:///prefix is not of the form"),
    ("stateUrl", {"state": {"url": "s3://b u/x"}}, "state.url: s3://b u/x is not of the form"),
    ("stateUrl", {"state": {"url": "s3://b/x y"}}, "state.url: s3://b/x y is not of the form"),
    ("stateUrl", {"state": {"url": "s3://b/x?y"}}, "state.url: s3://b/x?y is not of the form"),
    ("oneState", {"state": {**IN_S3, "volume": {"existingClaim": "c"}}}, "state.volume.existingClaim: the state is in"),
    ("operatorsShareTheState", {"replicas": 2}, "replicas: 2 operators run on different nodes, which cannot all mount"),
    (
        *("operatorsShareTheState", {"replicas": 3, "state": {"volume": {"accessModes": ["ReadWriteOncePod"]}}}),
        "replicas: 3 operators run on different nodes, which cannot all mount a volume with ReadWriteOncePod; keep",
    ),
    (
        *("operatorsShareTheState", {"replicas": 2, "state": {"volume": {"existingClaim": "mine"}}}),
        "replicas: 2 operators run on different nodes, which cannot all mount a volume with ReadWriteOnce; keep",
    ),
    ("s3Urls", {"s3": {"endpoint": "s3.example.com:9000"}}, "s3.endpoint: must be http://host or https://host"),
    ("s3Urls", {"s3": {"allowedEndpoints": ["https://a.example.com", "b"]}}, "s3.allowedEndpoints[1]: must be http"),
    ("s3Urls", {"s3": {"allowedEndpoints": ["https://a.example.com/b"]}}, "s3.allowedEndpoints[0]: must be http"),
    (
        *("oneSourceOfCredentials", {"state": IN_S3, "s3": {"existingSecret": "k"}, "serviceAccount": ROLE}),
        "s3.existingSecret: its keys would be used and the role",
    ),
    ("credentialsAreUsed", {"s3": {"existingSecret": "k"}}, "s3.existingSecret: nothing would use its keys"),
    ("sharedCredentialsExist", {"s3": {"shareCredentials": True}}, "s3.shareCredentials: there is nothing to share"),
    ("serviceAccountName", {"serviceAccount": {"create": False}}, "serviceAccount.name: name the ServiceAccount"),
    (
        *("serviceAccountAnnotations", {"serviceAccount": {**ROLE, "create": False, "name": "a"}}),
        "serviceAccount.annotations: with serviceAccount.create=false",
    ),
    (
        *("oneMonitor", {"metrics": {**MONITORED, "podMonitor": {"enabled": True}}}),
        "metrics.serviceMonitor, metrics.podMonitor: with both",
    ),
    ("serviceOfMonitor", {"metrics": {**MONITORED, "service": {"enabled": False}}}, "metrics.serviceMonitor: it finds"),
    (
        *("monitorIsLetIn", {"metrics": MONITORED, "networkPolicy": {"enabled": True}}),
        "networkPolicy.ingressFrom: Prometheus could not reach",
    ),
    (
        *("drainsGoThrough", {"podDisruptionBudget": {"enabled": True, "maxUnavailable": 0}}),
        "podDisruptionBudget.maxUnavailable: 0 would block",
    ),
    (
        *("drainsGoThrough", {"podDisruptionBudget": {"enabled": True, "maxUnavailable": "0%"}}),
        "podDisruptionBudget.maxUnavailable: 0 would block",
    ),
    (
        *("noKeysInValues", {"extraEnv": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "secret"}]}),
        "extraEnv: AWS_SECRET_ACCESS_KEY would lie open",
    ),
    (
        *("ownVariables", {"extraEnv": [{"name": "MAPRUN_STATE", "value": "s3://b"}]}),
        "extraEnv: MAPRUN_STATE is set by the chart; use the value state.url",
    ),
    (
        *("ownVariables", {"extraEnv": [{"name": "MAPRUN_LEASE", "value": "a/b"}]}),
        "extraEnv: MAPRUN_LEASE is set by the chart; use the value fullnameOverride",
    ),
    (
        "ownVariables",
        {
            "state": IN_S3,
            "s3": {"existingSecret": "k"},
            "extraEnv": [{"name": "AWS_ACCESS_KEY_ID", "valueFrom": {"secretKeyRef": {"name": "k", "key": "a"}}}],
        },
        "extraEnv: AWS_ACCESS_KEY_ID is set by the chart; use the value s3.existingSecret",
    ),
    ("ownVolumes", {"extraVolumes": [{"name": "state", "emptyDir": {}}]}, "extraVolumes: the name state is taken"),
    ("ownLabels", {"podLabels": {"app.kubernetes.io/name": "mine"}}, "commonLabels, podLabels: app.kubernetes.io/name"),
    ("ownLabels", {"commonLabels": {"helm.sh/chart": "x"}}, "commonLabels, podLabels: helm.sh/chart"),
)

SOUND: Final[tuple[tuple[str, Json], ...]] = (
    # near a contradiction, and none
    ("one operator on a volume", {"replicas": 1}),
    ("one operator with its state in S3", {"replicas": 1, "state": IN_S3}),
    ("three operators with their state in S3", {"replicas": 3, "state": IN_S3}),
    ("two operators on a volume of all nodes", {"replicas": 2, "state": {"volume": {"accessModes": EVERYWHERE}}}),
    (
        "two operators on a volume of all nodes that is there already",
        {"replicas": 2, "state": {"volume": {"existingClaim": "mine", "accessModes": EVERYWHERE}}},
    ),
    ("a registry with a port has no tag", {"image": {"repository": "a.example.com:5000/b/c"}}),
    (
        "an account of one's own has credentials",
        {"s3": {"shareCredentials": True}, "serviceAccount": {"create": False, "name": "a"}},
    ),
    ("keys from somewhere else", {"s3": {"shareCredentials": True}, "extraEnvFrom": [{"secretRef": {"name": "k"}}]}),
    (
        "annotations that give no role",
        {"state": IN_S3, "s3": {"existingSecret": "k"}, "serviceAccount": {"annotations": {"a": "b"}}},
    ),
    (
        "a Prometheus that is let in",
        {"metrics": MONITORED, "networkPolicy": {"enabled": True, "ingressFrom": [{"podSelector": {}}]}},
    ),
    (
        "a key by reference",
        {"extraEnv": [{"name": "AWS_ACCESS_KEY_ID", "valueFrom": {"secretKeyRef": {"name": "k", "key": "a"}}}]},
    ),
    ("a label of all that the pod has otherwise", {"commonLabels": {"a": "b"}, "podLabels": {"a": "c"}}),
    ("a bucket and no prefix", {"state": {"url": "s3://my-bucket.of_mine"}}),
    ("a prefix of several parts", {"state": {"url": "s3://bucket/team=1/maps/"}}),
    ("the largest units", {"state": {"volume": {"size": "1Ei"}}, "resources": {"limits": {"memory": "2E"}}}),
    ("a budget that is off", {"podDisruptionBudget": {"maxUnavailable": 0}}),
)

WRONG: Final[tuple[tuple[Json, str], ...]] = (
    # values that are wrong by themselves, where and how they are told
    ({"imag": {}}, "at '': additional properties 'imag' not allowed"),
    ({"image": {"tga": "1"}}, "at '/image': additional properties 'tga' not allowed"),
    ({"state": {"volume": {"sise": "1Gi"}}}, "at '/state/volume': additional properties 'sise' not allowed"),
    ({"s3": {"secretKey": "s"}}, "at '/s3': additional properties 'secretKey' not allowed"),
    ({"metrics": {"serviceMonitor": {"on": True}}}, "at '/metrics/serviceMonitor': additional properties 'on'"),
    ({"networkPolicy": {"egress": {"port": 1}}}, "at '/networkPolicy/egress': additional properties 'port'"),
    ({"resources": {"request": {}}}, "at '/resources': additional properties 'request' not allowed"),
    ({"affinity": {"pod": {}}}, "at '/affinity': additional properties 'pod' not allowed"),
    ({"replicaCount": 2}, "at '': additional properties 'replicaCount' not allowed"),
    ({"replicas": 0}, "at '/replicas'"),
    ({"replicas": "2"}, "at '/replicas'"),
    ({"childrenPerNamespace": -1}, "at '/childrenPerNamespace': minimum: got -1, want 0"),
    ({"childrenInAll": "many"}, "at '/childrenInAll': got string, want integer"),
    ({"childrenPerRun": 0}, "at '/childrenPerRun': minimum: got 0, want 1"),
    ({"childrenPerRun": 10_001}, "at '/childrenPerRun': maximum"),
    ({"childrenPerRun": "100"}, "at '/childrenPerRun': got string, want integer"),
    ({"crds": {"enabled": "false"}}, "at '/crds/enabled': got string, want boolean"),
    ({"image": {"pullPolicy": "always"}}, "at '/image/pullPolicy': value must be one of"),
    ({"image": {"tag": 1.2}}, "at '/image/tag': got number, want string"),
    ({"image": {"digest": "1234"}}, "at '/image/digest': '1234' does not match pattern"),
    ({"imagePullSecrets": ["registry"]}, "at '/imagePullSecrets/0': got string, want object"),
    ({"namespaces": "team-a"}, "at '/namespaces': got string, want array"),
    ({"namespaces": ["*"]}, "at '/namespaces/0': '*' does not match pattern"),
    ({"namespaces": ["a", "a"]}, "at '/namespaces': items at 0 and 1 are equal"),
    ({"state": {"volume": {"size": "10 GB"}}}, "at '/state/volume/size': '10 GB' does not match pattern"),
    ({"state": {"volume": {"accessModes": ["ReadOnlyMany"]}}}, "at '/state/volume/accessModes/0': value must be one"),
    ({"metrics": {"port": 80}}, "at '/metrics/port': minimum: got 80"),
    ({"metrics": {"podMonitor": {"interval": "fast"}}}, "at '/metrics/podMonitor/interval': 'fast' does not match"),
    ({"metrics": {"prometheusRule": {"runbookUrl": "a/"}}}, "at '/metrics/prometheusRule/runbookUrl': 'a/' does not"),
    ({"podDisruptionBudget": {"maxUnavailable": "many"}}, "at '/podDisruptionBudget/maxUnavailable'"),
    ({"podLabels": {"a": 1}}, "at '/podLabels/a': got number, want string"),
    ({"extraEnv": [{"value": "x"}]}, "at '/extraEnv/0': missing property 'name'"),
    ({"extraEnv": {"A": "b"}}, "at '/extraEnv': got object, want array"),
    ({"terminationGracePeriodSeconds": 5}, "at '/terminationGracePeriodSeconds': minimum: got 5, want 15"),
)


def refusal(helm: Path, values: Json, kubernetes: str = KUBERNETES) -> str:
    """What helm says against the values."""
    with pytest.raises(Refused) as caught:
        template(helm, values, kubernetes=kubernetes)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "sentence"), [pytest.param(values, said, id=f"{name}: {said}") for name, values, said in CONTRADICTIONS]
)
def test_a_contradiction_is_told_in_a_sentence(helm: Path, values: Json, sentence: str) -> None:
    """And it is the only one that is told."""
    _, _, told = refusal(helm, with_image(values)).partition(TOGETHER)
    lines = [line for line in told.partition("\n\n")[0].splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith(sentence)


def test_every_check_has_a_row() -> None:
    text = (CHART / "templates/_checks.tpl").read_text()
    defined = re.findall(r'define "maprun\.check\.(\w+)"', text)
    listed = re.findall(r'"(\w+)"', text[text.index("range list") : text.index("$problems = concat")])
    assert listed == defined
    assert {name for name, _, _ in CONTRADICTIONS} | {OF_A_SERVER} == set(listed)


def test_all_contradictions_are_told_at_once(helm: Path) -> None:
    volumes = [{"name": "state", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    told = refusal(helm, {"state": {"url": "nowhere"}, "extraVolumes": volumes})
    found = re.findall(r"^- ([\w.]+):", told, re.MULTILINE)
    assert found == ["image.repository", "state.url", "extraVolumes", "extraVolumes"]


@pytest.mark.parametrize("values", [pytest.param(values, id=name) for name, values in SOUND])
def test_what_only_looks_like_a_contradiction_is_none(helm: Path, values: Json) -> None:
    assert render(helm, values).of("Deployment")


@pytest.mark.parametrize(("values", "told"), [pytest.param(values, told, id=told) for values, told in WRONG])
def test_a_wrong_value_is_told_with_its_path(helm: Path, values: Any, told: str) -> None:
    assert told in refusal(helm, with_image(values))


def test_a_password_in_a_url_is_not_told(helm: Path) -> None:
    assert "hunter2" not in refusal(helm, with_image({"s3": {"endpoint": "https://me:hunter2@s3.example.com"}}))


def test_an_older_kubernetes_is_refused(helm: Path) -> None:
    assert "requires kubeVersion: >= 1.31" in refusal(helm, with_image({}), "1.30.9")
