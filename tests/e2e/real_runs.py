"""What the tests on real containers do with a cluster: apply, wait, look, and read results from S3.

Rule 1: only kubectl and S3, as a user has them; nothing is imported from MapRun.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import boto3
from botocore.config import Config

from tests.cluster import Cluster, S3Server
from tests.operator_process import eventually

SUCCEEDED_KEYS: Final = [
    *("ExecutionArn", "Input", "InputDetails", "Name", "Output", "OutputDetails", "RedriveCount", "RedriveStatus"),
    *("RedriveStatusReason", "StartDate", "StateMachineArn", "Status", "StopDate"),
]
FAILED_KEYS: Final = [
    *("Cause", "Error", "ExecutionArn", "Input", "InputDetails", "Name", "OutputDetails", "RedriveCount"),
    *("RedriveStatus", "StartDate", "StateMachineArn", "Status", "StopDate"),
]

Json = dict[str, Any]


@dataclass(frozen=True)
class Project:
    """A namespace of a real cluster, with the Secret `s3` in it."""

    cluster: Cluster
    namespace: str

    def create(self) -> Project:
        """Make the namespace and the Secret, where they are not there yet."""
        server = s3_of(self.cluster)
        keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3"}, "stringData": keys})
        return self

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """What kubectl says in this namespace."""
        return self.cluster.kubectl(
            "--request-timeout=20s", "--namespace", self.namespace, *arguments, input=input
        ).stdout

    def apply(self, manifest: Json) -> None:
        # By the server: kubectl would keep a copy in an annotation, which has no room for large inputs.
        self.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(manifest))

    def run(self, name: str, **spec: Any) -> None:
        """Apply a MapRun of this spec."""
        self.apply({"apiVersion": "maprun.dev/v1alpha1", "kind": "MapRun", "metadata": {"name": name}, "spec": spec})

    def get(self, name: str) -> Json:
        """A MapRun, as JSON."""
        found: Json = json.loads(self.kubectl("get", "mapruns", name, "-o", "json"))
        return found

    def status(self, name: str) -> Json:
        status: Json = self.get(name).get("status", {})
        return status

    def condition(self, name: str) -> Json:
        """Its condition `Succeeded`; without one, that of a run that nobody looked at yet."""
        return next(iter(self.status(name).get("conditions", [])), {"status": "Unknown", "reason": "", "message": ""})

    def ended(self, name: str, seconds: float = 120.0) -> Json:
        """Wait for the run's end; returns its status."""
        eventually(lambda: self.condition(name)["status"] != "Unknown", seconds, lambda: self.story(name))
        return self.status(name)

    def finished(self, name: str) -> int:
        """How many of its child executions have ended."""
        counts = self.status(name).get("executionCounts", {})
        return sum(counts.get(state, 0) for state in ("succeeded", "failed", "timedOut", "aborted"))

    def story(self, name: str) -> str:
        """What a user would look at to see how a run fares."""
        looks = (("get", "mapruns", "-o", "wide"), ("describe", "mapruns", name), ("get", "jobs,pods"))
        return "\n".join(f"$ kubectl {' '.join(look)}\n{self.kubectl(*look)}" for look in looks)


@dataclass(frozen=True)
class Results:
    """The result files of one run: parsed and raw, by the name behind the run's folder."""

    manifest: Json
    raw: dict[str, bytes]

    def records(self, category: str) -> list[Json]:
        """All records of SUCCEEDED, FAILED or PENDING."""
        return [record for name, data in self.raw.items() if name.startswith(category) for record in json.loads(data)]


def without_crd(cluster: Cluster) -> None:
    """As before any installation: tests that ran earlier may have brought the CRD with kubectl, which helm would not
    take over.
    """
    cluster.kubectl("delete", "crd", "mapruns.maprun.dev", "--ignore-not-found", "--timeout=60s")


def s3_of(cluster: Cluster) -> S3Server:
    """The cluster's S3 server, which a cluster with a real node must have."""
    assert cluster.s3 is not None
    assert cluster.s3.endpoint_from_pods is not None
    return cluster.s3


def s3_client(cluster: Cluster) -> Any:
    """A client of the cluster's S3 server, from outside."""
    server = s3_of(cluster)
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(connect_timeout=5, read_timeout=20),
    )


def remove_buckets(cluster: Cluster, names: Iterable[str]) -> None:
    """Remove buckets with all that is in them."""
    client = s3_client(cluster)
    for name in names:
        for entry in client.list_objects_v2(Bucket=name).get("Contents", []):
            client.delete_object(Bucket=name, Key=entry["Key"])
        client.delete_bucket(Bucket=name)


def s3_spec(cluster: Cluster) -> Json:
    """`spec.s3` of a run: the address that pods and the test's own process both reach."""
    server = s3_of(cluster)
    return {"endpoint": server.endpoint_from_pods, "region": server.region, "credentialsSecretRef": {"name": "s3"}}


def results_of(cluster: Cluster, status: Json) -> Results:
    """The files that the status of an ended run leads to. All of them stand in the manifest, with their sizes."""
    client = s3_client(cluster)
    bucket, key = status["resultWriterDetails"]["bucket"], status["resultWriterDetails"]["key"]
    folder = key.removesuffix("manifest.json")
    names = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket, Prefix=folder)["Contents"]]
    files = {name.removeprefix(folder): client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names}
    text = files.pop("manifest.json")
    manifest: Json = json.loads(text)
    assert text.decode() == compact(manifest)
    listed = {row["Key"]: row["Size"] for rows in manifest["ResultFiles"].values() for row in rows}
    assert listed == {folder + name: len(data) for name, data in files.items()}
    return Results(manifest, files)


def compact(value: Any) -> str:
    """JSON without a space, in the order of the value."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def template(image: str, command: list[str], *, volumes: list[Json] | None = None, **container: Any) -> Json:
    """A `jobTemplate` whose pods go quickly. `container` is more of the only container, `main`."""
    main = {"name": "main", "image": image, "command": command, **container}
    pod = {"terminationGracePeriodSeconds": 1, "containers": [main], "volumes": volumes or []}
    return {"spec": {"template": {"spec": pod}}}
