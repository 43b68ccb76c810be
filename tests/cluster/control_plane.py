"""etcd, the API server, the controller manager and the scheduler: real ones, each a process of its own.

The controller manager comes in two flavours. `stock` has the limits that Kubernetes ships with (20 requests a second,
5 Jobs at once): what a user's cluster does. `tuned` has limits far away: what MapRun itself can do. The scheduler's
limits are far away in both, as the controller manager's are met long before.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from . import certificates
from .processes import Supervisor, wait_for
from .state import BRIDGE_ADDRESS, POD_NETWORK, SERVICE_NETWORK, USERS, ControllerManager, State

_TUNED = [
    "--kube-api-qps=1000",
    "--kube-api-burst=2000",
    "--concurrent-job-syncs=50",
    "--concurrent-gc-syncs=50",
    "--concurrent-namespace-syncs=20",
    "--concurrent-ttl-after-finished-syncs=50",
]
_READY_SECONDS = 90.0
AUDIT_LOG = "audit.log"
# Who asked for what, one line each: of ServiceAccounts other than those of Kubernetes itself.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}

Programs = dict[str, Path]


def prepare(state: State) -> None:
    """Certificates, the token file and one kubeconfig for each user of the API server."""
    certificates.make(state)
    lines = [f'{state.tokens[holder]},{user},{user},"{groups}"' for holder, (user, groups) in USERS.items()]
    state.write("pki", "tokens.csv", text="\n".join(lines) + "\n")
    for holder in USERS:
        state.write(f"{holder}.kubeconfig", text=_kubeconfig(state, holder))
    (state.state_dir / "admin.kubeconfig").replace(state.state_dir / "kubeconfig")


def _kubeconfig(state: State, holder: str) -> str:
    authority = base64.b64encode((state.state_dir / "pki" / "ca.crt").read_bytes()).decode()
    name = f"maprun-{state.name}"
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": state.server, "certificate-authority-data": authority}}],
            "users": [{"name": holder, "user": {"token": state.tokens[holder]}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": holder, "namespace": "default"}}],
        },
        indent=1,
    )


def start_etcd(state: State, supervisor: Supervisor, programs: Programs) -> None:
    client, peer = (f"http://127.0.0.1:{state.ports[port]}" for port in ("etcd", "etcd-peer"))
    command: list[str | Path] = [
        programs["etcd"],
        f"--data-dir={state.state_dir / 'etcd'}",
        "--unsafe-no-fsync",  # the data need not outlive the machine, and disks of test machines are slow
        "--quota-backend-bytes=8589934592",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--log-level=warn",
    ]
    supervisor.start("etcd", command)
    await_etcd(state, supervisor)


def await_etcd(state: State, supervisor: Supervisor) -> None:
    await_address(supervisor, "etcd", f"http://127.0.0.1:{state.ports['etcd']}/health")


def start_apiserver(state: State, supervisor: Supervisor, programs: Programs) -> None:
    pki = state.state_dir / "pki"
    policy = state.write("audit-policy.json", text=json.dumps(_AUDIT_POLICY, indent=1))
    command: list[str | Path] = [
        programs["kube-apiserver"],
        f"--audit-policy-file={policy}",
        f"--audit-log-path={state.state_dir / AUDIT_LOG}",
        f"--etcd-servers=http://127.0.0.1:{state.ports['etcd']}",
        f"--secure-port={state.ports['apiserver']}",
        f"--bind-address={'0.0.0.0' if state.real else '127.0.0.1'}",  # noqa: S104 - pods come in by the bridge
        f"--advertise-address={BRIDGE_ADDRESS}",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        f"--cert-dir={pki}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--token-auth-file={pki / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-account.key'}",
        f"--service-account-signing-key-file={pki / 'service-account.key'}",
        f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
    ]
    supervisor.start("kube-apiserver", command)
    await_apiserver(state, supervisor)


def await_apiserver(state: State, supervisor: Supervisor) -> None:
    await_address(supervisor, "kube-apiserver", f"{state.server}/readyz", state)


def start_controller_manager(
    state: State, supervisor: Supervisor, programs: Programs, flavour: ControllerManager
) -> None:
    pki = state.state_dir / "pki"
    command: list[str | Path] = [
        programs["kube-controller-manager"],
        *_client_of_apiserver(state, "controller-manager"),
        "--use-service-account-credentials",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--service-account-private-key-file={pki / 'service-account.key'}",
        f"--cluster-cidr={POD_NETWORK}",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--allocate-node-cidrs=false",
        # it creates the folder, and the default one is the machine's
        f"--flex-volume-plugin-dir={state.state_dir / 'volume-plugins'}",
        *(_TUNED if flavour == "tuned" else []),
    ]
    supervisor.start("kube-controller-manager", command)


def start_scheduler(state: State, supervisor: Supervisor, programs: Programs) -> None:
    settings = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {
            "kubeconfig": str(state.state_dir / "scheduler.kubeconfig"),
            "qps": 1000,
            "burst": 2000,
        },
    }
    path = state.write("scheduler.json", text=json.dumps(settings, indent=1))
    command: list[str | Path] = [programs["kube-scheduler"], f"--config={path}", *_own_endpoint(state, "scheduler")]
    supervisor.start("kube-scheduler", command)


def await_controllers(state: State, supervisor: Supervisor) -> None:
    """Until both report ready, and the default service account is there: pods are refused before."""
    for name, port in (("kube-controller-manager", "controller-manager"), ("kube-scheduler", "scheduler")):
        await_address(supervisor, name, f"https://127.0.0.1:{state.ports[port]}/healthz")
    account = f"{state.server}/api/v1/namespaces/default/serviceaccounts/default"
    await_address(supervisor, "kube-controller-manager", account, state)


def _client_of_apiserver(state: State, holder: str) -> list[str]:
    kubeconfig = state.state_dir / f"{holder}.kubeconfig"
    return [f"--kubeconfig={kubeconfig}", "--leader-elect=false", *_own_endpoint(state, holder)]


def _own_endpoint(state: State, holder: str) -> list[str]:
    """Where health and metrics are; the API server decides who may read the metrics."""
    kubeconfig = state.state_dir / f"{holder}.kubeconfig"
    return [
        "--bind-address=127.0.0.1",
        f"--secure-port={state.ports[holder]}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
    ]


def await_address(supervisor: Supervisor, name: str, url: str, state: State | None = None) -> None:
    """Until the address answers 200; an error with the log's end when the process dies or the time is over."""
    answered = wait_for(lambda: not supervisor.alive(name) or answers(url, state), _READY_SECONDS)
    if not supervisor.alive(name):
        raise supervisor.failed(name, "ended by itself")
    if not answered:
        raise supervisor.failed(name, f"is not ready after {_READY_SECONDS:.0f} s ({url} does not answer 200)")


def answers(url: str, state: State | None = None) -> bool:
    """True when the address answers 200; `state` for the API server, which wants to know who asks."""
    request = urllib.request.Request(url)  # noqa: S310 - the addresses are ours
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a health port has a certificate of its own
    if state is not None:
        request.add_header("Authorization", f"Bearer {state.tokens['admin']}")
        context = ssl.create_default_context(cafile=state.state_dir / "pki" / "ca.crt")
    try:
        with urllib.request.urlopen(request, timeout=2, context=context) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
