"""What a user does with MapRun, step by step: image, helm install, runs, metrics, helm upgrade, helm uninstall.

`make e2e` goes all the way (test_journey.py), `make demo-cluster` to the first finished run (tools/demo_cluster.py).

Rule 1: a command is run as it is shown. Two steps are no commands: the image comes to the node without a registry, and
        the buckets are made by a client of S3.
Rule 2: each step may be done again, on a cluster where it is done already.
"""

from __future__ import annotations

import contextlib
import json
import re
import textwrap
from pathlib import Path
from typing import Final

from tests.cluster import Cluster, images
from tests.cluster.paths import REPOSITORY
from tests.e2e import real_runs
from tests.e2e.real_runs import Json, Project
from tests.e2e.shell import Shell
from tests.operator_process import SAMPLE

IMAGE: Final = "localhost/maprun:dev"
OPERATOR: Final = "maprun"  # the release, its namespace and its Deployment
# The examples run in a namespace of the name that `maprun run` gives its own runs, so that both write the same ARNs.
RUNS: Final = "local"
BUCKETS: Final = ("maprun-state", "airports-data", "airports-results", "inventory-data", "inventory-results")
EXAMPLES: Final = ("airports", "inventory")  # besides hello, which the chart's notes start
NOTED: Final = re.compile(r"^ +((?:kubectl|helm) .*)$", re.MULTILINE)


class Journey:
    """One user of one cluster with a real node and S3; `folder` is where they work. `airports` bounds that example."""

    def __init__(self, cluster: Cluster, folder: Path, helm: Path, airports: int) -> None:
        self.cluster = cluster
        self.runs = Project(cluster, RUNS)
        self.operator = Project(cluster, OPERATOR)
        self.server = real_runs.s3_of(cluster)
        self.shell = Shell(folder, cluster, helm, self.server.environment())
        self._airports = airports
        self._image_key = ""

    def do(self, command: str) -> str:
        """Show a command, run it, show what it prints, and return that."""
        print(f"\n  $ {command}", flush=True)
        shown = self.shell.run(command)
        print(textwrap.indent(shown, "    "), end="", flush=True)
        return shown

    def bring_image(self) -> None:
        """Build the image from the Dockerfile and load it into the node."""
        step("The image, built from the Dockerfile and loaded into the node")
        archive = images.build(REPOSITORY, IMAGE)
        self.cluster.load_image(archive.path)
        self._image_key = archive.key
        print(f"  {IMAGE}: {archive.path.stat().st_size / 1e6:.0f} MB, not compressed")

    def fill_buckets(self) -> None:
        """Make the buckets, with the data of the examples."""
        step(f"Buckets and data, on the S3 server at {self.server.endpoint}")
        client = real_runs.s3_client(self.cluster)
        for bucket in BUCKETS:
            with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                client.create_bucket(Bucket=bucket)
            for path in data_of(bucket):
                client.upload_file(str(path), bucket, path.name)
                print(f"  s3://{bucket}/{path.name}")

    def make_namespaces(self) -> None:
        """One for the operator and one for runs, each with S3 keys and the Pod Security Standard `restricted`."""
        step("Namespaces, with S3 keys for the operator and for the runs")
        for namespace, secret in ((OPERATOR, "maprun-s3"), (RUNS, "s3")):
            self.do(f"kubectl create namespace {namespace} --dry-run=client --output=yaml | kubectl apply -f -")
            keys = (f'--from-literal={key}="${key}"' for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
            made = f"kubectl create secret generic {secret} --namespace {namespace} {' '.join(keys)}"
            self.do(f"{made} --dry-run=client --output=yaml | kubectl apply -f -")
        restricted = "pod-security.kubernetes.io/enforce=restricted"
        self.do(f"kubectl label namespace {OPERATOR} {RUNS} {restricted} --overwrite")

    def install(self) -> None:
        """`helm install`, with the state in S3; where it is installed, an upgrade."""
        step("helm install, with the state in S3")
        values = {
            "image": {"repository": IMAGE.partition(":")[0], "tag": IMAGE.partition(":")[2]},
            "state": {"url": "s3://maprun-state/cluster"},
            "s3": {
                "endpoint": self.server.endpoint_from_pods,
                "region": self.server.region,
                "existingSecret": "maprun-s3",
            },
            # The tag stays the same; so the pod is replaced where the image has changed.
            "podAnnotations": {"image-archive": self._image_key},
        }
        self.write("values.yaml", values)
        self.helm("upgrade" if self.installed() else "install", "--values values.yaml")

    def installed(self) -> bool:
        """Whether there is a release."""
        return bool(json.loads(self.shell.run(f"helm list --namespace {OPERATOR} --output json")))

    def helm(self, verb: str, options: str) -> None:
        """`helm install` or `helm upgrade`, until the operator is ready."""
        self.do(f"helm {verb} {OPERATOR} charts/maprun --namespace {OPERATOR} {options} --wait --timeout 2m")

    def follow_notes(self) -> dict[str, str]:
        """Run each command that the chart's notes name, in their order; returns what each of them printed."""
        step("The commands of the chart's notes")
        notes = self.do(f"helm get notes {OPERATOR} --namespace {OPERATOR}")
        return {command: self.do(ending(command)) for command in NOTED.findall(notes)}

    def start_examples(self) -> None:
        """Apply the examples that use S3."""
        step(f"The examples {' and '.join(EXAMPLES)}")
        self.write_overlays()
        for name in EXAMPLES:
            self.do(f"kubectl apply -k my-runs/{name}")

    def write_overlays(self) -> None:
        """The kustomizations `my-runs/NAME`, which say where S3 is."""
        for name in EXAMPLES:
            self.write(f"my-runs/{name}/kustomization.yaml", self.overlay(name))

    def overlay(self, name: str) -> Json:
        """The kustomization of an example for this cluster."""
        patch: list[Json] = [{"op": "add", "path": "/spec/s3", "value": real_runs.s3_spec(self.cluster)}]
        if name == "airports":
            path = "/spec/itemReader/readerConfig/maxItems"
            patch.append({"op": "add", "path": path, "value": self._airports})
        patches = [{"target": {"kind": "MapRun"}, "patch": json.dumps(patch)}]
        return {"resources": [f"../../examples/{name}"], "namespace": RUNS, "patches": patches}

    def write(self, name: str, value: Json) -> None:
        """A file of the user's own. JSON is YAML, too."""
        path = self.shell.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=2) + "\n")

    def metrics(self) -> dict[str, float]:
        """Every series of /metrics of the operator that leads, by its name with labels as they are written there."""
        pods = json.loads(self.operator.kubectl("get", "pods", "-o", "json"))["items"]
        for name in (pod["metadata"]["name"] for pod in pods):
            text = self.shell.run(f"kubectl get --raw /api/v1/namespaces/{OPERATOR}/pods/{name}:8080/proxy/metrics")
            found = {found["series"]: float(found["value"]) for found in SAMPLE.finditer(text)}
            if found["maprun_leader"]:
                return found
        raise AssertionError(f"none of {len(pods)} operators leads")


def ending(command: str) -> str:
    """The command, as one that ends: a person would end a watch by hand."""
    return f"timeout 3 {command} || test $? = 124" if command.endswith("--watch") else command


def step(title: str) -> None:
    """What comes now, for whoever watches."""
    print(f"\n== {title}", flush=True)


def data_of(bucket: str) -> list[Path]:
    """The files of the examples that lie in a bucket."""
    found = {
        "airports-data": [REPOSITORY / "examples/airports/airports.json"],
        "inventory-data": sorted((REPOSITORY / "examples/inventory/data").iterdir()),
    }
    return found.get(bucket, [])
