"""Measure how soon an operator does something about a MapRun that was there before it: its first status.

Without --image the operator is a process of this Python, on a cluster with fake nodes. With --image the image is built
from this repository and run as a pod on the machine's real node (needs root); then time runs from the start of the
process in the container.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.start import container, process
from bench.start.measured import Measured
from tests.cluster import Cluster, attach, images, started
from tests.cluster.paths import REPOSITORY
from tools import crd

IMAGE = "localhost/maprun:dev"


def main() -> None:
    """Read the options, measure, print."""
    options = _options()
    if options.kubeconfig:
        _measure(attach(options.kubeconfig), options)
        return
    with started("real" if options.image else "fake", s3=False) as cluster:
        _measure(cluster, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often it is started (default 5)")
    parser.add_argument("--image", action="store_true", help="measure the image, as a pod on a real node")
    parser.add_argument("--kubeconfig", type=Path, help="measure on this cluster instead of one of our own")
    return parser.parse_args()


def _measure(cluster: Cluster, options: argparse.Namespace) -> None:
    cluster.kubectl("apply", "--server-side", "-f", str(crd.TARGET))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", f"-f={crd.TARGET}")
    if options.image:
        cluster.load_image(images.build(REPOSITORY, IMAGE).path)
    once = container.measure if options.image else process.measure
    rounds = [asyncio.run(once(cluster)) for _ in range(options.rounds)]
    print(f"{'':44}{'least':>8}{'median':>8}{'most':>8}   seconds, {options.rounds} rounds")
    for words, pick in ROWS:
        _print(words, [value for each in rounds if (value := pick(each)) is not None])


ROWS: list[tuple[str, Callable[[Measured], float | None]]] = [
    ("imports alone, in a process of their own", lambda each: each.imports),
    ("creation of the pod to start of the process", lambda each: each.scheduled),
    ("start of the process to /readyz", lambda each: each.ready),
    ("start of the process to the run's first status", lambda each: each.reconciled),
]


def _print(words: str, values: Sequence[float]) -> None:
    if values:
        print(f"{words:46}{min(values):6.2f}{statistics.median(values):8.2f}{max(values):8.2f}")


if __name__ == "__main__":
    main()
