"""Nodes that kwok pretends: the control plane is real, only the containers are not. For scale and for exact failures.

What becomes of a pod is said by a file of kwok stages; `stages/outcomes.yaml` is the one used by default, and tells
which annotations a pod may carry. A benchmark may bring its own file.
"""

from __future__ import annotations

import json
from pathlib import Path

from .paths import HERE
from .processes import Supervisor, wait_for
from .state import State

OUTCOMES = HERE / "stages" / "outcomes.yaml"
LABEL = "maprun.dev/fake-node"
TAINT = "kwok.x-k8s.io/node"
_ANNOTATION = "kwok.x-k8s.io/node"


def start(state: State, supervisor: Supervisor, kwok: Path, stages: Path = OUTCOMES) -> None:
    command: list[str | Path] = [
        kwok,
        f"--kubeconfig={state.state_dir / 'kubeconfig'}",
        f"--config={stages.resolve()}",
        f"--manage-nodes-with-annotation-selector={_ANNOTATION}=fake",
        "--node-lease-duration-seconds=40",
        f"--server-address=127.0.0.1:{state.ports['kwok']}",
    ]
    # kwok also reads a configuration from the home directory: not one that a developer has for something else
    supervisor.start("kwok", command, {"KWOK_WORKDIR": str(state.state_dir / "kwok")})
    # It has no state of its own to wait for, but over a bad configuration it ends at once.
    if wait_for(lambda: not supervisor.alive("kwok"), 0.3):
        raise supervisor.failed("kwok", "ended by itself")


def manifest(first: int, count: int, tainted: bool) -> str:
    """Node objects number first … first + count - 1, as JSON for kubectl."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [_node(first + i, tainted) for i in range(count)]})


def _node(number: int, tainted: bool) -> dict[str, object]:
    name = f"fake-{number:05d}"
    room = {"cpu": "1k", "memory": "4Ti", "pods": "10k", "ephemeral-storage": "4Ti"}
    taints = [{"key": TAINT, "value": "fake", "effect": "NoSchedule"}] if tainted else []
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {_ANNOTATION: "fake"},
            "labels": {LABEL: "true", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": taints},
        "status": {"allocatable": room, "capacity": room},
    }
