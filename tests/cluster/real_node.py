"""One node with real containers: containerd, kubelet and kube-proxy on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from . import containerd, images, machine
from .cluster import Cluster
from .commands import search_path
from .control_plane import answers
from .processes import Supervisor, wait_for
from .state import BRIDGE_ADDRESS, POD_NETWORK, REAL_NODE_NAME, State

Programs = dict[str, Path]

KUBELET_STARTS = 5
KUBELET_SECONDS = 20.0


def steps(
    state: State, supervisor: Supervisor, programs: Programs, cluster: Cluster
) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is to be done, with a title each, in order. The bridge and the control plane are there before."""
    yield "images", lambda: _ignore(images.standard())
    yield "containerd", lambda: _start_containerd(state, supervisor)
    yield "images into containerd", _load_images
    yield "kubelet, kube-proxy", lambda: _start_node(state, supervisor, programs)
    yield "the real node is ready", cluster.await_nodes_ready


def _ignore(result: object) -> None:
    del result


def _start_containerd(state: State, supervisor: Supervisor) -> None:
    fresh = not supervisor.alive("containerd")
    containerd.start(state, supervisor)
    if fresh and not supervisor.alive("kubelet"):
        containerd.remove_containers()


def _load_images() -> None:
    for archive in images.standard():
        containerd.load(archive.path)


def _start_node(state: State, supervisor: Supervisor, programs: Programs) -> None:
    kubelet: list[str | Path] = [
        programs["kubelet"],
        f"--config={state.write('kubelet.json', text=json.dumps(_kubelet(state), indent=1))}",
        f"--kubeconfig={state.state_dir / 'kubelet.kubeconfig'}",
        f"--hostname-override={REAL_NODE_NAME}",
        f"--node-ip={BRIDGE_ADDRESS}",
        f"--root-dir={state.state_dir / 'kubelet'}",
        f"--cert-dir={state.state_dir / 'kubelet-pki'}",
    ]
    settings = state.write("kube-proxy.json", text=json.dumps(_kube_proxy(state), indent=1))
    _start_kubelet(state, supervisor, kubelet)
    supervisor.start("kube-proxy", [programs["kube-proxy"], f"--config={settings}"], {"PATH": search_path()})


def _start_kubelet(state: State, supervisor: Supervisor, command: list[str | Path]) -> None:
    """Again when it ends at once, as a machine's service manager would: containerd answers a moment before its part
    for Kubernetes does, and the kubelet does not wait for that.
    """
    url = f"http://127.0.0.1:{state.ports['kubelet-health']}/healthz"
    for _ in range(KUBELET_STARTS):
        supervisor.start("kubelet", command, {"PATH": search_path()})
        wait_for(lambda: not supervisor.alive("kubelet") or answers(url), KUBELET_SECONDS)
        if supervisor.alive("kubelet"):
            return


def _kubelet(state: State) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{containerd.SOCKET}",
        "address": BRIDGE_ADDRESS,
        "port": state.ports["kubelet"],
        "readOnlyPort": 0,
        "healthzPort": state.ports["kubelet-health"],
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(state.state_dir / "pki" / "ca.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{machine.CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "maxPods": 250,
        "podLogsDir": str(state.state_dir / "pod-logs"),
        "volumePluginDir": str(state.state_dir / "volume-plugins"),
        # No room for caution on a test machine: a pod is not refused because the disk is nearly full.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,  # an image that is removed could not be pulled again
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "eventRecordQPS": 0,
        "shutdownGracePeriod": "0s",
    }


def _kube_proxy(state: State) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": REAL_NODE_NAME,
        "clientConnection": {"kubeconfig": str(state.state_dir / "kube-proxy.kubeconfig")},
        "clusterCIDR": POD_NETWORK,
        "healthzBindAddress": f"127.0.0.1:{state.ports['proxy-health']}",
        "metricsBindAddress": f"127.0.0.1:{state.ports['proxy-metrics']}",
        # Answers from a pod to a pod on the same bridge would not pass the machine's packet filter, which must turn the
        # Service's address back; with the bridge's address as the sender they do.
        "iptables": {"masqueradeAll": True, "minSyncPeriod": "0s"},
        # 0 leaves the machine's own connection tracking settings alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
