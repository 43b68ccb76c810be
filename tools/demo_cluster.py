"""`make demo-cluster`: a cluster on this machine, MapRun installed with Helm, and a first run; all of it stays.

Rule 1: the steps are those of the end-to-end test (tests/e2e/journey.py), up to the first finished run.
Rule 2: it may be called again: what is there stays, what has changed since is upgraded.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from tests.cluster import Cluster, binaries
from tests.cluster.lifecycle import up
from tests.cluster.paths import ClusterError
from tests.e2e.journey import OPERATOR, Journey, step
from tests.e2e.real_runs import Project

NAME: Final = "demo"
AIRPORTS: Final = 130
HELP: Final = """
The cluster stays. In your shell:
  eval "$({python} -m tests.cluster env --name {name})"

To look around:
  kubectl get mapruns --all-namespaces
  kubectl describe maprun hello
  helm status {operator} --namespace {operator}

For 130 airports, their data and results in S3:
  kubectl apply -k {folder}/my-runs/airports && kubectl get mapruns --all-namespaces --watch

To take it down:
  make demo-cluster-down
"""


def main() -> int:
    """The exit code: 1 with a sentence where it cannot run."""
    if os.geteuid() != 0:
        print("make demo-cluster runs real containers, which needs root: sudo make demo-cluster")
        return 1
    try:
        show(up(NAME, "real"))
    except (ClusterError, AssertionError) as error:
        print(f"\nerror: {error}\nTo take the cluster down: make demo-cluster-down")
        return 1
    return 0


def show(cluster: Cluster) -> None:
    """The steps, on a cluster that is up."""
    assert cluster.state_dir is not None, "the cluster is one of ours"
    journey = Journey(cluster, cluster.state_dir / NAME, binaries.tool(binaries.HELM), AIRPORTS)
    journey.bring_image()
    journey.fill_buckets()
    journey.make_namespaces()
    journey.install()
    journey.follow_notes()
    step("The first run")
    Project(cluster, "default").ended("hello")
    journey.do("kubectl get mapruns")
    journey.do("kubectl get maprun hello --output jsonpath='{.status.output}{\"\\n\"}'")
    journey.write_overlays()
    words = {"python": os.path.relpath(sys.executable), "name": NAME, "operator": OPERATOR}
    print(HELP.format(**words, folder=journey.shell.folder))


if __name__ == "__main__":
    sys.exit(main())
