"""Measure Jobs a second through a MapRun against the raw floor of the same cluster, in turns, on fake nodes.

Without --kubeconfig a cluster of its own is started, with a controller manager whose limits are far away (tuned) or as
everybody has it (stock: 20 requests a second, 5 Jobs at once).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from pathlib import Path
from typing import Any

from bench.jobs import floor, through
from maprun.model import MapRunSpec
from maprun.model_processing import ItemProcessor
from tests.cluster import Cluster, attach, started
from tools import crd

FLAVOURS = ["tuned", "stock"]
TEMPLATE: dict[str, Any] = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}}}


def main() -> None:
    """Read the options, measure, print."""
    options = _options()
    if options.kubeconfig:
        _measure(attach(options.kubeconfig), options.children, options, "as it is")
        return
    for flavour in options.controller_manager or FLAVOURS:
        with started("fake", flavour, s3=False) as cluster:
            children = options.stock_children if flavour == "stock" else options.children
            _measure(cluster, children, options, flavour)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.jobs", description=__doc__)
    parser.add_argument("--children", type=int, default=1000, help="Jobs of each measurement (default 1000)")
    parser.add_argument("--live", type=int, default=100, help="Jobs at once (default 100)")
    parser.add_argument("--rounds", type=int, default=2, help="how often both are measured, in turns (default 2)")
    parser.add_argument("--stock-children", type=int, default=150, help="the same, with stock limits (default 150)")
    parser.add_argument("--controller-manager", choices=FLAVOURS, action="append", help="only this one (default both)")
    parser.add_argument("--kubeconfig", type=Path, help="measure on this cluster instead of one of our own")
    return parser.parse_args()


def _measure(cluster: Cluster, children: int, options: argparse.Namespace, flavour: str) -> None:
    cluster.kubectl("apply", "--server-side", "-f", str(crd.TARGET))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", f"-f={crd.TARGET}")
    spec = MapRunSpec(item_processor=ItemProcessor(job_template=TEMPLATE))
    config, live = str(cluster.kubeconfig), options.live
    print(f"{children} one-pod Jobs, {live} live, kube-controller-manager {flavour}", flush=True)
    floors, runs = [], []
    for number in range(1, options.rounds + 1):
        floors.append(children / asyncio.run(floor.measure(config, spec, children, live)))
        print(f"round {number}: floor      {floors[-1]:7.1f} Jobs/s", flush=True)
        runs.append(asyncio.run(through.measure(config, TEMPLATE, children, live)))
        print(f"round {number}: MapRun     {_told(runs[-1], children)}", flush=True)
    best, mine = statistics.median(floors), statistics.median(children / run.seconds for run in runs)
    print(f"median:  floor {best:.1f} Jobs/s, MapRun {mine:.1f} Jobs/s, ratio {mine / best:.2f}")


def _told(run: through.Measured, children: int) -> str:
    rate, processor, memory = children / run.seconds, 1000 * run.processor / children, run.memory / 2**20
    return f"{rate:7.1f} Jobs/s, operator {processor:.2f} ms of CPU a child, {memory:.0f} MiB at its peak"


if __name__ == "__main__":
    main()
