"""A real Kubernetes, and a real S3 server, for tests and benchmarks, as one command and as a library.

    from tests.cluster import started

    with started("fake") as cluster:
        cluster.kubectl("get", "nodes")

Kinds of nodes: `none` (a control plane alone), `fake` (kwok), `real` (containers; one such cluster a machine), `both`
(then the fake nodes carry a taint, so that only pods that tolerate it go there). README.md beside this file tells the
rest.
"""

from .cluster import Cluster
from .lifecycle import attach, down, started, up
from .paths import ClusterError
from .s3 import S3Server
from .state import ControllerManager, Nodes

__all__ = ["Cluster", "ClusterError", "ControllerManager", "Nodes", "S3Server", "attach", "down", "started", "up"]
