"""Measure what finished runs cost an operator that has nothing else to do: requests to the API server, memory and
processor time, and how much longer its start takes.

The operator is a process of this Python, on a cluster with fake nodes; its requests are counted by itself and by the
API server's audit log.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.idle import runs
from bench.usage import usage_of
from maprun.adapters.cluster import ClusterClient
from tests.adapters.job_runs import install
from tests.adapters.service_account import bind, kubeconfig
from tests.cluster import Cluster, started
from tests.operator_process import OperatorProcess

NAMESPACE = "idle"
SETTLE_SECONDS = 20.0  # kopf keeps a task for each object for a moment
KINDS = ("watch", "list", "get", "create", "patch", "update", "delete")


class Measured(msgspec.Struct, frozen=True):
    """One operator: bytes, seconds, and requests by verb, as the operator and as the audit log count them."""

    memory: int
    ready: float
    start_processor: float
    idle_processor: float
    counted: dict[str, float]
    audited: dict[str, int]


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000, help="finished runs (default 1000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for which requests are counted (default 60)")
    options = parser.parse_args()
    with started("fake", s3=False) as cluster:
        install(cluster)
        cluster.kubectl("create", "namespace", NAMESPACE)
        grants = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "idle"},
            "subjects": [_subject()],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        }
        bind(cluster, NAMESPACE, [grants])
        none = measured(cluster, options.seconds)
        asyncio.run(_fill(cluster, options.runs))
        many = measured(cluster, options.seconds)
        _print(options.runs, options.seconds, none, many)


def _subject() -> dict[str, str]:
    return {"kind": "ServiceAccount", "name": "maprun", "namespace": NAMESPACE}


async def _fill(cluster: Cluster, count: int) -> None:
    client = await ClusterClient.connect(str(cluster.kubeconfig))
    try:
        await runs.make(client, NAMESPACE, count)
    finally:
        await client.close()


def measured(cluster: Cluster, seconds: float) -> Measured:
    """One operator from its start, left alone."""
    with tempfile.TemporaryDirectory() as folder:
        config = kubeconfig(cluster, NAMESPACE, Path(folder))
        operator = OperatorProcess(Path(folder), config, f"file://{folder}/state")
        began = time.monotonic()
        with operator:
            ready = time.monotonic() - began
            time.sleep(SETTLE_SECONDS)
            before, at, audited = operator.metrics(), usage_of(operator.pid), _audit(cluster)
            time.sleep(seconds)
            after, then = operator.metrics(), usage_of(operator.pid)
            counted = {kind: _requests(after, kind) - _requests(before, kind) for kind in KINDS}
            return Measured(
                _resident(operator.pid),
                ready,
                at.processor,
                then.processor - at.processor,
                counted,
                dict(_audit(cluster) - audited),
            )


def _requests(metrics: dict[str, float], verb: str) -> float:
    prefix = "maprun_api_requests_total{"
    return sum(value for name, value in metrics.items() if name.startswith(prefix) and f'verb="{verb}"' in name)


def _audit(cluster: Cluster) -> Counter[str]:
    found = Counter[str]()
    for line in cluster.audit_log.read_text().splitlines():
        if line.endswith("}") and f"{NAMESPACE}:maprun" in line:
            event = json.loads(line)
            found[event["verb"]] += event["stage"] != "ResponseStarted"  # a watch is told twice
    return found


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) * 1024


def _print(count: int, seconds: float, none: Measured, many: Measured) -> None:
    print(f"{'':52}{'0 runs':>10}{f'{count:,} runs':>14}")
    _row("resident memory, MB", [each.memory / 1e6 for each in (none, many)], 1)
    _row("process started to /readyz, s", [each.ready for each in (none, many)], 2)
    _row(
        f"processor, from the start to {SETTLE_SECONDS:.0f} s behind it, s",
        [e.start_processor for e in (none, many)],
        2,
    )
    _row(f"processor, in the {seconds:.0f} s after that, s", [each.idle_processor for each in (none, many)], 2)
    for kind in KINDS:
        _row(f"{kind} requests in these {seconds:.0f} s, by /metrics", [each.counted[kind] for each in (none, many)], 0)
    for kind in KINDS:
        _row(f"{kind} requests, by the audit log", [each.audited.get(kind, 0) for each in (none, many)], 0)
    print(f"memory for each finished run: {(many.memory - none.memory) / count / 1e3:.1f} KB")


def _row(words: str, values: Sequence[float], digits: int) -> None:
    print(f"{words:52}{values[0]:10.{digits}f}{values[1]:14.{digits}f}")


if __name__ == "__main__":
    main()
