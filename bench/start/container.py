"""The operator as a pod of the image, as strictly confined as the chart does it.

Rule 1: the node is this machine, so that the start of its process is read to the hundredth from /proc; the API server
        knows whole seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from bench.start.measured import SECONDS, Measured, first_status, waiting_run
from maprun.adapters.cluster import ClusterClient
from tests.cluster import Cluster

IMAGE = "localhost/maprun:dev"
COMMAND = b"/maprun\0operator\0"
NAME = "bench-start"
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": NAME, "namespace": "default"},
    "spec": {
        "serviceAccountName": NAME,
        "securityContext": {"runAsNonRoot": True, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "operator",
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "args": ["operator"],
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "scratch", "mountPath": "/tmp", "subPath": "tmp"},  # noqa: S108  # of the container
                    {"name": "scratch", "mountPath": "/var/lib/maprun", "subPath": "state"},
                ],
            }
        ],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    },
}


async def measure(cluster: Cluster) -> Measured:
    """One start of a pod, with rights to everything and an empty state store."""
    _prepare(cluster)
    client = await ClusterClient.connect(str(cluster.kubeconfig))
    try:
        async with waiting_run(client) as name:
            seen = asyncio.create_task(first_status(client, name))
            created = time.time()
            await asyncio.to_thread(cluster.kubectl, "apply", "-f", "-", input=json.dumps(POD))
            reconciled = await asyncio.wait_for(seen, SECONDS)
            began = _started()
        await asyncio.to_thread(cluster.kubectl, "delete", "pod", NAME, "--timeout=60s")
    finally:
        await client.close()
    return Measured(reconciled - began, scheduled=began - created)


def _prepare(cluster: Cluster) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": "default"}}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": NAME},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": "default"}],
    }
    for manifest in (account, binding):
        cluster.kubectl("apply", "-f", "-", input=json.dumps(manifest))


def _started() -> float:
    """When the youngest operator on this machine was started, as `time.time()`."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - uptime + max(_ages())


def _ages() -> list[float]:
    """The start of each operator in a container, in seconds since the machine's start."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if COMMAND in (process / "cmdline").read_bytes():
                # Behind the command, which may hold spaces: state is field 3, the start is field 22.
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                found.append(int(fields[19]) / os.sysconf("SC_CLK_TCK"))
        except OSError:
            continue  # it has just ended
    return found
