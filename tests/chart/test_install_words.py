"""Commands of docs/install.md that hold the reader's own names, with names filled in: the guide's own test leaves them
out.

Rule 1: nothing stays behind in the session's cluster but the resource definition, which others use as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.chart.on_server import HELLO, apply, namespace
from tests.cluster import Cluster
from tests.e2e.guide import BLOCK, GUIDE
from tests.e2e.shell import Shell
from tests.operator_process import eventually
from tools import crd

TEAM: Final = "team-a"
YOURS: Final = {
    "IMAGE": "registry.example.com/you/maprun:7",
    "AWS_ENDPOINT_URL_S3": "https://s3.example.com",
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "id",
    "AWS_SECRET_ACCESS_KEY": "key",
}
APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
OF_THE_CLUSTER: Final = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"


@pytest.fixture
def shell(cluster_fake: Cluster, helm: Path, tmp_path: Path) -> Shell:
    """A reader's shell, with the resource definition in the cluster."""
    cluster_fake.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(crd.TARGET))
    cluster_fake.kubectl("wait", "--for=condition=Established", "--timeout=60s", f"-f={crd.TARGET}")
    return Shell(tmp_path, cluster_fake, helm, YOURS)


def block(words: str) -> str:
    """The guide's only block of the reader's own that has these words."""
    [found] = [
        each["commands"] for each in BLOCK.finditer(GUIDE.read_text()) if each["yours"] and words in str(each[0])
    ]
    return str(found)


@pytest.fixture
def team(cluster_fake: Cluster) -> Iterator[Cluster]:
    """A namespace that hangs in its deletion: no operator takes the finalizer off its run."""
    body = {**HELLO, "metadata": {"name": "orders", "namespace": TEAM, "finalizers": ["maprun.dev/operator"]}}
    apply(cluster_fake, [namespace(TEAM)])
    apply(cluster_fake, [body])
    cluster_fake.kubectl("delete", "namespace", TEAM, "--wait=false")
    yield cluster_fake
    gone = ("delete", "namespace", TEAM, "--ignore-not-found", "--timeout=60s")
    cluster_fake.kubectl(*gone)


def test_a_namespace_that_hangs_in_its_deletion_is_let_go(shell: Shell, team: Cluster) -> None:
    def phase() -> str:
        return team.kubectl("get", "namespace", TEAM, "--ignore-not-found", "-o", "jsonpath={.status}").stdout

    eventually(lambda: "NamespaceFinalizersRemaining" in phase(), 60, phase)
    shell.run(block("kubectl patch").replace("NAME", "orders"))
    eventually(lambda: not phase(), 60, phase)


@pytest.fixture
def installed(shell: Shell, cluster_fake: Cluster) -> Iterator[Cluster]:
    """The operator without Helm, with its state in S3, as the guide says."""
    shell.run(block("deploy/s3-state"))
    yield cluster_fake
    cluster_fake.kubectl("annotate", "-f", str(crd.TARGET), f"{APPLIED}-")  # others apply the definition server-side
    cluster_fake.kubectl("delete", OF_THE_CLUSTER, "-l", "app.kubernetes.io/part-of=maprun", "--timeout=30s")
    cluster_fake.kubectl("delete", "namespace", "maprun", "--timeout=60s")


def test_the_operator_without_helm_gets_its_state_from_the_secret(installed: Cluster) -> None:
    """As the kubelet makes the environment: of an entry in the Secret, what the Deployment does not set."""
    found = json.loads(installed.kubectl("get", "-n", "maprun", "deployment,secret", "-o", "json").stdout)["items"]
    [deployment] = [each for each in found if each["kind"] == "Deployment"]
    [secret] = [each for each in found if each["metadata"]["name"] == "maprun-s3"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == YOURS["IMAGE"]
    assert container["envFrom"] == [{"secretRef": {"name": "maprun-s3"}}]
    assert set(secret["data"]) == {*YOURS, "MAPRUN_STATE"} - {"IMAGE"}
    assert not set(secret["data"]) & {each["name"] for each in container["env"]}
