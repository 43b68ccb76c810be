"""The operator as who it is in a cluster: a ServiceAccount with the rules of the chart and no other right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.cluster.cluster import Cluster

Json = dict[str, Any]
ACCOUNT: Final = "maprun"


class Right(NamedTuple):
    """One verb on one resource."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f".{self.group}" if self.group else "")


@dataclass(frozen=True)
class Call:
    """A request as the API server's audit log has it. `namespace` is "" for one that goes to the whole cluster."""

    right: Right
    namespace: str
    code: int
    allowed: bool


def rights_of(role: Json) -> list[Right]:
    """What a Role or ClusterRole grants, one by one."""
    return [
        Right(group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def bind(cluster: Cluster, namespace: str, objects: list[Json]) -> None:
    """Make the ServiceAccount and its roles and bindings, in the namespace `namespace` and beyond."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}}
    bundle = {"apiVersion": "v1", "kind": "List", "items": [account, *objects]}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(bundle))


def kubeconfig(cluster: Cluster, namespace: str, folder: Path) -> Path:
    """A kubeconfig of the ServiceAccount."""
    config = json.loads(cluster.kubeconfig.read_text())
    token = cluster.kubectl("create", "token", ACCOUNT, "-n", namespace, "--duration=1h").stdout.strip()
    for user in config["users"]:
        user["user"] = {"token": token}
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


def calls(cluster: Cluster, namespace: str) -> Iterator[Call]:
    """Everything that the ServiceAccount of the namespace asked for, but for what everyone may ask: what there is."""
    user = f"system:serviceaccount:{namespace}:{ACCOUNT}"
    for line in cluster.audit_log.read_text().splitlines():
        event = json.loads(line) if line.endswith("}") else {"user": {}}  # the last one may be half written
        if event["user"].get("username") != user or "objectRef" not in event:
            continue
        place = event["objectRef"]
        resource = "/".join(filter(None, (place["resource"], place.get("subresource"))))
        allowed = event.get("annotations", {}).get("authorization.k8s.io/decision") == "allow"
        code = event.get("responseStatus", {}).get("code", 0)
        yield Call(Right(place.get("apiGroup", ""), resource, event["verb"]), place.get("namespace", ""), code, allowed)
