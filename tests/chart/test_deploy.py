"""deploy/: the same operator without helm, for `kubectl apply -k`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.chart.rendering import Json, Manifests, render
from tests.cluster import Cluster, binaries
from tests.cluster.paths import REPOSITORY
from tools import chart

IMAGE: Final = "registry.example.com/you/maprun"
OF_HELM: Final = ("helm.sh", "managed-by", "Helm")
BASES: Final = ("deploy", "deploy/s3-state")

Build = Callable[[str], Manifests]


@pytest.fixture
def build(cluster_fake: Cluster, tmp_path: Path) -> Build:
    """What kustomize makes of a folder, with the user's own image, as in docs/install.md."""

    def built(base: str) -> Manifests:
        resources = [os.path.relpath(REPOSITORY / base, tmp_path)]
        mine = {"resources": resources, "images": [{"name": "maprun", "newName": IMAGE, "newTag": "7"}]}
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(mine))
        return Manifests(list(yaml.safe_load_all(cluster_fake.kubectl("kustomize", str(tmp_path)).stdout)))

    return built


def test_it_is_what_the_chart_makes(helm: Path) -> None:
    assert list(chart.outdated(chart.deployed(helm))) == [], "run `make generate`"


def test_the_rights_say_why(helm: Path) -> None:
    """With the comments of the chart, and without a word of helm's."""
    texts = chart.deployed(helm)
    assert "# itemProcessor.output.from: Logs" in texts[chart.DEPLOY / "rights.yaml"]
    assert not [word for text in texts.values() for word in OF_HELM if word in text]


@pytest.mark.parametrize("base", BASES)
def test_the_image_is_the_user_s(build: Build, base: str) -> None:
    assert build(base).pod["spec"]["containers"][0]["image"] == f"{IMAGE}:7"


@pytest.mark.parametrize("base", BASES)
def test_the_namespace_takes_only_pods_that_are_locked_up(build: Build, base: str) -> None:
    namespace = build(base).the("Namespace")["metadata"]
    assert namespace["name"] == "maprun"
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("base", BASES)
def test_it_is_complete(helm: Path, build: Build, base: str) -> None:
    """What helm would make is there, without its hook; the volume only where the state lies on it."""
    wanted = {key(each) for each in render(helm, {"leaveHook": {"enabled": False}}).objects} | {("Namespace", "maprun")}
    without = {("PersistentVolumeClaim", "maprun-state")} if base == "deploy/s3-state" else set()
    assert {key(each) for each in build(base).objects} == wanted - without


def key(each: Json) -> tuple[str, str]:
    """Kind and name."""
    return each["kind"], each["metadata"]["name"]


@pytest.mark.parametrize(("base", "state"), [("deploy", {}), ("deploy/s3-state", {"url": "s3://bucket/prefix"})])
def test_there_are_as_many_operators_as_helm_would_make(helm: Path, build: Build, base: str, state: Json) -> None:
    made, wanted = (each.the("Deployment")["spec"] for each in (build(base), render(helm, {"state": state})))
    assert (made["replicas"], made["strategy"]) == (wanted["replicas"], wanted["strategy"])


def test_the_state_lies_on_the_volume(build: Build) -> None:
    spec = build("deploy").pod["spec"]
    assert {"name": "state", "persistentVolumeClaim": {"claimName": "maprun-state"}} in spec["volumes"]
    assert {"name": "state", "mountPath": "/var/lib/maprun"} in spec["containers"][0]["volumeMounts"]


def test_the_state_lies_in_s3_and_the_secret_says_where(build: Build) -> None:
    """Nothing else sets what the Secret may set: it would win over the Secret."""
    manifests = build("deploy/s3-state")
    [container] = manifests.pod["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "maprun-s3"}}]
    assert not [name for name in manifests.env if name.startswith("AWS_") or name == "MAPRUN_STATE"]
    assert [each["name"] for each in manifests.pod["spec"]["volumes"]] == ["tmp"]
    assert [each["name"] for each in container["volumeMounts"]] == ["tmp"]


def test_the_check_tells_what_to_do_about_an_old_file(
    helm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chart, "DEPLOYED", (*chart.DEPLOYED, "childrenPerRun=7"))
    assert chart.main(["--check"]) == 1
    assert capsys.readouterr().out == "deploy/operator/deployment.yaml does not match the chart: run `make generate`\n"


def test_the_check_says_what_it_leaves_out_without_helm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(binaries, "missing_tools", lambda wanted: [each.name for each in wanted])
    assert chart.main(["--check"]) == 0
    assert "deploy/operator is not checked: there is no helm" in capsys.readouterr().out


def test_it_is_rendered_for_the_oldest_kubernetes_that_the_chart_is_for() -> None:
    described = yaml.safe_load((REPOSITORY / chart.CHART / "Chart.yaml").read_text())
    assert described["kubeVersion"] == f">= {chart.OLDEST}-0"
