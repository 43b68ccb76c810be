"""What a cluster that has ended left behind: nothing, or this is a bug of `down`. The tests and the fixtures look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import containerd, machine, network
from .cluster import Cluster
from .processes import Process


def processes_of(cluster: Cluster) -> list[Process]:
    """To be asked while the cluster runs, for `find` afterwards. A real node's containers and shims are among them."""
    found = [process for name in cluster.components() if (process := cluster.process(name)) is not None]
    if cluster.nodes in ("real", "both"):
        found += containerd.shims() + machine.container_processes()
    return found


def find(state_dir: Path, processes: Sequence[Process], real: bool) -> list[str]:
    """One line for each thing that should be gone."""
    found = [f"process {process.pid}" for process in processes if process.alive()]
    places = [state_dir]
    if real:
        places += [containerd.RUN_DIR, Path(f"/sys/class/net/{network.BRIDGE}"), *machine.cgroups()]
        found += [f"packet filter chain {chain}" for chain in network.kubernetes_chains()]
    found += [f"path {place}" for place in places if place.exists()]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    below = tuple(f"{place}/" for place in (*places, containerd.store()))
    found += [f"mount {point}" for line in mounts if (point := line.split()[4]).startswith(below)]
    return found
