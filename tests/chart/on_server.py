"""What tests of the chart do on an API server: make objects, give people roles, install releases, create runs.

Rule 1: helm keeps its files in a folder of the test's, and reports what it said also when it refuses.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chart.rendering import CHART, IMAGE, Json, Refused
from tests.cluster import Cluster
from tests.cluster.commands import Done

LOCKED: Final = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
HELM_SECONDS: Final = 120.0
RBAC: Final = "rbac.authorization.k8s.io"
HELLO: Final = {
    "apiVersion": "maprun.dev/v1alpha1",
    "kind": "MapRun",
    "spec": {
        "input": [1],
        "itemProcessor": {
            "jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "handler"}]}}}}
        },
    },
}


def namespace(name: str) -> Json:
    """A namespace, as locked up as can be."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LOCKED}}


def binding(name: str, role: str, team: str) -> Json:
    """Gives a person a role in a team's namespace."""
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": team},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": name}],
    }


def apply(cluster: Cluster, objects: list[Json]) -> Done:
    """Make the objects."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    return cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)


def create(cluster: Cluster, who: str, team: str) -> Done:
    """What the API server says to somebody who creates a MapRun; nothing comes of it."""
    body = {**HELLO, "metadata": {"name": f"of-{who}", "namespace": team}}
    options = ("create", "--dry-run=server", f"--as={who}", "-f", "-")
    return cluster.kubectl(*options, input=json.dumps(body), check=False)


@dataclass(frozen=True)
class Helm:
    """helm, for releases in one namespace of a cluster; `who` acts, if not the administrator."""

    program: Path
    cluster: Cluster
    home: Path
    namespace: str
    who: str = ""

    def put(self, verb: str, release: str, *settings: str, options: Sequence[str] = ()) -> str:
        """`helm install` or `upgrade` of this chart; returns what it said. Errors: `Refused`."""
        given = (f"image.repository={IMAGE}", *settings)
        return self.run(verb, release, str(CHART), *options, *(word for each in given for word in ("--set", each)))

    def run(self, *words: str) -> str:
        """What helm said. Errors: `Refused`."""
        own = {f"HELM_{kind}_HOME": str(self.home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        where = (f"--kubeconfig={self.cluster.kubeconfig}", f"--namespace={self.namespace}")
        command = [str(self.program), *words, *where, *([f"--kube-as-user={self.who}"] if self.who else [])]
        environment = {**os.environ, **own}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=HELM_SECONDS, check=False
        )
        if done.returncode != 0:
            raise Refused(done.stderr + done.stdout)
        return done.stdout
