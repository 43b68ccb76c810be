"""A running cluster as tests see it: use it, break parts of it, change it."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from . import binaries, containerd, control_plane, fake_nodes, kueue, s3
from . import state as states
from .commands import Done, run
from .paths import ClusterError, Unavailable
from .processes import Process, Supervisor, end, wait_for
from .s3 import S3Server
from .state import REAL_NODE_NAME, ControllerManager, Nodes, State


@dataclass(frozen=True)
class Cluster:
    """A running cluster. `state_dir` and `admin_token` are None for one that we did not start."""

    kubeconfig: Path
    server: str
    admin_token: str | None
    s3: S3Server | None
    state_dir: Path | None
    nodes: Nodes | None = None

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> Done:
        """Run kubectl against this cluster; output is captured, a failure raises with what it said."""
        command = [self._kubectl_program(), f"--kubeconfig={self.kubeconfig}", *arguments]
        return run(command, stdin=input, environment=self._kubectl_environment(), check=check)

    def _kubectl_program(self) -> str:
        if self.state_dir is not None:
            return str(binaries.kubernetes(binaries.CONTROL_PLANE)["kubectl"])
        found = shutil.which("kubectl")
        if found is None:
            raise Unavailable("kubectl is not on PATH, and the cluster is not one of ours")
        return found

    def _kubectl_environment(self) -> dict[str, str]:
        """kubectl keeps what it learned of a server under its address, and a later cluster may get the same port."""
        if self.state_dir is None:
            return {}
        return {"KUBECACHEDIR": str(self.state_dir / "kubectl-cache"), "KUBERC": "off"}

    def load_image(self, archive: Path) -> None:
        """Bring a container image archive (docker or OCI layout) to the real node."""
        state = self._state()
        if not state.real:
            raise ClusterError("only a real node holds images; fake nodes run none")
        containerd.load(archive)

    def components(self) -> list[str]:
        return self._supervisor().names()

    def kill(self, component: str) -> None:
        """End a component at once, as a crash would."""
        process = self._supervisor().process(component)
        if process is None:
            raise ClusterError(f"{component} does not run; this cluster has {', '.join(self.components())}")
        end([process], 0.0, signal.SIGKILL)

    def start(self, component: str) -> None:
        """Start a component again, as it was started before; returns when it is ready."""
        self._supervisor().restart(component)
        self._await(component)

    def restart_apiserver(self) -> None:
        """Crash the API server and start it again: every watch breaks, nothing that was answered is lost."""
        self.kill("kube-apiserver")
        self.start("kube-apiserver")

    def set_controller_manager(self, flavour: ControllerManager) -> None:
        """Replace the controller manager by one of the other flavour."""
        state, supervisor = self._state(), self._supervisor()
        supervisor.stop("kube-controller-manager", grace_seconds=1)
        programs = binaries.kubernetes(binaries.CONTROL_PLANE)
        control_plane.start_controller_manager(state, supervisor, programs, flavour)
        control_plane.await_controllers(state, supervisor)
        replace(state, controller_manager=flavour).save()

    def add_fake_nodes(self, count: int) -> None:
        """Add so many fake nodes to those that are there; a cluster that had none gets its kwok first."""
        state, supervisor = self._state(), self._supervisor()
        if "kwok" not in supervisor.names():
            fake_nodes.start(state, supervisor, binaries.tool(binaries.KWOK))
        present = self.kubectl("get", "nodes", "-l", fake_nodes.LABEL, "-o", "name").stdout.split()
        manifest = fake_nodes.manifest(len(present), count, tainted=state.real)
        self.kubectl("create", "-f", "-", input=manifest)
        self.await_nodes_ready()

    def use_stages(self, stages: Path) -> None:
        """Let fake nodes follow another file of kwok stages from now on."""
        supervisor = self._supervisor()
        supervisor.stop("kwok", grace_seconds=3)
        fake_nodes.start(self._state(), supervisor, binaries.tool(binaries.KWOK), stages)

    def start_kueue(self) -> None:
        """Install Kueue and start its controller: from then on every Job passes its webhooks."""
        kueue.start(self._state(), self._supervisor(), self.kubectl)

    def process(self, component: str) -> Process | None:
        """The process of a component, to read its use of memory and processor from /proc."""
        return self._supervisor().process(component)

    def log(self, component: str) -> Path:
        return self._supervisor().log(component)

    @property
    def audit_log(self) -> Path:
        """What ServiceAccounts asked of the API server: an `audit.k8s.io/v1` Event in each line."""
        return self._state().state_dir / control_plane.AUDIT_LOG

    def await_nodes_ready(self) -> None:
        """Until every node, fake or real, takes pods."""

        def ready() -> bool:
            nodes = json.loads(self.kubectl("get", "nodes", "-o", "json").stdout)["items"]
            names = {node["metadata"]["name"] for node in nodes}
            awaited = {REAL_NODE_NAME} if self.nodes in ("real", "both") else set()
            return names >= awaited and all(_node_ready(node) for node in nodes)

        if not wait_for(ready, 120):
            component = "kwok" if self.nodes == "fake" else "kubelet"
            raise self._supervisor().failed(component, "did not make its nodes ready")

    def _await(self, component: str) -> None:
        state, supervisor = self._state(), self._supervisor()
        waits: dict[str, Callable[[], None]] = {
            "etcd": lambda: control_plane.await_etcd(state, supervisor),
            "kube-apiserver": lambda: control_plane.await_apiserver(state, supervisor),
            "kube-controller-manager": lambda: control_plane.await_controllers(state, supervisor),
            "kube-scheduler": lambda: control_plane.await_controllers(state, supervisor),
            "kueue": lambda: kueue.await_ready(state, supervisor),
            "versitygw": lambda: s3.await_ready(supervisor, state.ports["s3"]),
        }
        waits.get(component, lambda: None)()

    def _state(self) -> State:
        state = None if self.state_dir is None else states.load(self.state_dir)
        if state is None:
            raise ClusterError("this works only with a cluster that tests.cluster started, and that still runs")
        return state

    def _supervisor(self) -> Supervisor:
        return Supervisor(self._state().state_dir)


def _node_ready(node: dict[str, dict[str, list[dict[str, str]]]]) -> bool:
    """Ready, and the taint that new nodes carry is off: the scheduler uses it."""
    conditions = node["status"].get("conditions", [])
    taints = [taint["key"] for taint in node["spec"].get("taints", [])]
    ready = any(row["type"] == "Ready" and row["status"] == "True" for row in conditions)
    return ready and not any(key.startswith("node.kubernetes.io/") for key in taints)
