"""What a cluster is, as a file in its state directory: its name, its kind, its ports and its tokens.

Everything that `down` needs is in the state directory, so any later process can end a cluster that another one
started.
"""

from __future__ import annotations

import dataclasses
import json
import random
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .paths import ClusterError, clusters_dir

Nodes = Literal["none", "fake", "real", "both"]
ControllerManager = Literal["stock", "tuned"]

# The bridge of the real node. The API server announces it even where there is no bridge: then nobody dials it.
BRIDGE_ADDRESS = "10.244.0.1"
POD_NETWORK = "10.244.0.0/16"
SERVICE_NETWORK = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
REAL_NODE_NAME = "maprun-real"

# token holder -> (user, groups), as the API server's token file has them
USERS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{REAL_NODE_NAME}", "system:nodes"),
}
_PORTS = (
    "apiserver",
    "etcd",
    "etcd-peer",
    "controller-manager",
    "scheduler",
    "kwok",
    "s3",
    "kubelet",
    "kubelet-health",
    "proxy-health",
    "proxy-metrics",
    "kueue-webhook",
    "kueue-health",
)


@dataclass(frozen=True)
class State:
    """The saved facts of one cluster."""

    name: str
    state_dir: Path
    nodes: Nodes
    controller_manager: ControllerManager
    s3: bool
    ports: dict[str, int]
    tokens: dict[str, str]

    @property
    def real(self) -> bool:
        return self.nodes in ("real", "both")

    @property
    def fake(self) -> bool:
        return self.nodes in ("fake", "both")

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.ports['apiserver']}"

    def file(self, *parts: str) -> Path:
        """A path in the state directory; its folder exists afterwards."""
        path = self.state_dir.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, *parts: str, text: str) -> Path:
        """Write a file that only this user may read: many hold tokens."""
        path = self.file(*parts)
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def save(self) -> None:
        facts = dataclasses.asdict(self)
        del facts["state_dir"]
        self.write("cluster.json", text=json.dumps(facts, indent=1))


def directory(name: str) -> Path:
    if not name.replace("-", "").isalnum():
        raise ClusterError(f"{name!r} is no cluster name: letters, digits and - only")
    return clusters_dir() / name


def create(name: str, nodes: Nodes, controller_manager: ControllerManager, s3: bool) -> State:
    """A new state directory, with free ports and fresh tokens."""
    path = directory(name)
    path.mkdir(parents=True, mode=0o700, exist_ok=True)  # a start that died early may have left it
    tokens = {user: secrets.token_hex(16) for user in USERS}
    state = State(name, path, nodes, controller_manager, s3, _free_ports(), tokens)
    state.save()
    return state


def load(path: Path) -> State | None:
    """The cluster of a state directory; None where there is none."""
    try:
        facts = json.loads((path / "cluster.json").read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return State(state_dir=path, **facts)


def saved() -> list[State]:
    """Every cluster that has a state directory, by name."""
    found = (load(path) for path in sorted(clusters_dir().glob("*")))
    return [state for state in found if state is not None]


def _free_ports() -> dict[str, int]:
    """Ports that nobody listens on. Below the range for outgoing connections and node ports, so that they stay free."""
    chosen: dict[str, int] = {}
    candidates = iter(random.sample(range(20000, 29999), 500))
    for name in _PORTS:
        chosen[name] = next(port for port in candidates if _free(port))
    return chosen


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True
