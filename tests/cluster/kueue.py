"""Kueue in a cluster of ours: its own controller as a process, with the CRDs, webhooks and rights that it installs.

In a cluster it is a pod behind a Service, and a kubelet mounts its certificate. Here that Service is another name for
this machine, which the API server follows, too, and still wants the certificate of the Service's name; and what a
kubelet would mount is written to files from the same Secret. So Kueue manages its certificates itself, as it does
everywhere.

Only Jobs are queued, so only Jobs and Kueue's own kinds have webhooks; all Jobs of the cluster have them, also those
of other tests.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import binaries
from .commands import Done
from .control_plane import await_address
from .paths import ClusterError
from .processes import Supervisor, wait_for
from .state import State

NAME = "kueue"
_NAMESPACE = "kueue-system"
_ACCOUNT = "kueue-controller-manager"
_SECRET = "kueue-webhook-server-cert"
_QUEUED = {"batch", "kueue.x-k8s.io"}  # API groups
# Its pod, and a server of metrics and one of lists, for which nobody asks here.
_NOT_HERE = {"Deployment", "ConfigMap", "APIService", "Service"}
_CERTIFICATE = ("tls.crt", "tls.key")
_SECONDS = 60.0

Json = dict[str, Any]
Kubectl = Callable[..., Done]


def start(state: State, supervisor: Supervisor, kubectl: Kubectl) -> None:
    """Install it and start its controller; returns when it is ready. `kubectl` runs one command in the cluster."""
    built = binaries.kueue()
    rendered = kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", str(built / "kueue.yaml"))
    items = [_here(item, state) for item in _items(rendered.stdout) if item["kind"] not in _NOT_HERE]
    kubectl("create", "-f", "-", input=_list([*items, _service()]))
    kubectl("wait", "crd", "--all", "--for=condition=Established", f"--timeout={_SECONDS:.0f}s")
    supervisor.start(
        NAME,
        [built / "kueue", f"--config={_configuration(state)}", "--zap-log-level=2"],
        {"KUBECONFIG": str(_kubeconfig(state, kubectl))},
    )
    if not wait_for(lambda: not supervisor.alive(NAME) or _mounted(state, kubectl), _SECONDS):
        raise supervisor.failed(NAME, "made no certificate")
    await_ready(state, supervisor)


def await_ready(state: State, supervisor: Supervisor) -> None:
    await_address(supervisor, NAME, f"http://127.0.0.1:{state.ports['kueue-health']}/readyz")


def _items(text: str) -> list[Json]:
    """kubectl writes one object behind the other."""
    found: list[Json] = []
    while text := text.lstrip():
        item, end = json.JSONDecoder().raw_decode(text)
        found += item["items"] if item["kind"] == "List" else [item]
        text = text[end:]
    return found


def _list(items: list[Json]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _here(item: Json, state: State) -> Json:
    """The object with webhooks that lead to our port, those of other kinds of work left out."""
    if item["kind"] == "CustomResourceDefinition":
        webhook = item["spec"].get("conversion", {}).get("webhook")
        return item if webhook is None else _dialled(item, [webhook["clientConfig"]], state)
    if "webhooks" not in item:
        return item
    item["webhooks"] = [each for each in item["webhooks"] if _groups(each) <= _QUEUED]
    if not item["webhooks"]:
        raise ClusterError(f"Kueue's {item['metadata']['name']} has no webhook for Jobs")
    return _dialled(item, [each["clientConfig"] for each in item["webhooks"]], state)


def _groups(webhook: Json) -> set[str]:
    return {group for rule in webhook["rules"] for group in rule["apiGroups"]}


def _dialled(item: Json, clients: list[Json], state: State) -> Json:
    for client in clients:
        client["service"]["port"] = state.ports["kueue-webhook"]
    return item


def _service() -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kueue-webhook-service", "namespace": _NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }


def _configuration(state: State) -> Path:
    """All is at its defaults but the addresses, and that no second one waits for its place."""
    settings = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{state.ports['kueue-health']}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {
            "host": "127.0.0.1",
            "port": state.ports["kueue-webhook"],
            "certDir": str(_certificates(state)),
        },
        "leaderElection": {"leaderElect": False},
        "featureGates": {"VisibilityOnDemand": False},  # a server of its own at a fixed port
        "integrations": {"frameworks": ["batch/job"]},
    }
    return state.write(NAME, "configuration.json", text=json.dumps(settings, indent=1))


def _kubeconfig(state: State, kubectl: Kubectl) -> Path:
    """For the ServiceAccount that its own installation gives rights to."""
    config = json.loads((state.state_dir / "kubeconfig").read_text())
    token = kubectl("create", "token", _ACCOUNT, f"--namespace={_NAMESPACE}", "--duration=24h").stdout.strip()
    config["users"][0]["user"] = {"token": token}
    return state.write(NAME, "kubeconfig", text=json.dumps(config, indent=1))


def _certificates(state: State) -> Path:
    return state.state_dir / NAME / "certificates"


def _mounted(state: State, kubectl: Kubectl) -> bool:
    """Do what a kubelet does with the Secret of a volume; False while Kueue has not filled it."""
    answer = kubectl("get", "secret", _SECRET, f"--namespace={_NAMESPACE}", "-o", "json").stdout
    data = json.loads(answer).get("data", {})
    if not all(data.get(name) for name in _CERTIFICATE):
        return False
    for name in reversed(_CERTIFICATE):  # Kueue looks for the certificate: it comes last
        state.write(NAME, "certificates", name, text=base64.b64decode(data[name]).decode())
    return True
