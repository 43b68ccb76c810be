"""The operator as a plain process of this Python."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.start.measured import SECONDS, Measured, first_status, waiting_run
from maprun.adapters.cluster import ClusterClient
from tests.cluster import Cluster
from tests.operator_process import SOURCES, OperatorProcess

PAUSE = 0.01


async def measure(cluster: Cluster) -> Measured:
    """One start of an operator with nothing in its state store."""
    imports = await asyncio.to_thread(_imports)
    client = await ClusterClient.connect(str(cluster.kubeconfig))
    with tempfile.TemporaryDirectory() as folder:
        operator = OperatorProcess(Path(folder), cluster.kubeconfig, f"file://{folder}/state")
        try:
            async with waiting_run(client) as name:
                seen = asyncio.create_task(first_status(client, name))
                began = time.time()
                operator.start()
                ready = await asyncio.to_thread(_ready, operator)
                reconciled = await asyncio.wait_for(seen, SECONDS)
            await asyncio.to_thread(operator.terminate)
        finally:
            operator.kill()
            await client.close()
    return Measured(reconciled - began, ready - began, imports)


def _imports() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import uvloop, maprun.cli.operate"], cwd=SOURCES, check=True)
    return time.monotonic() - began


def _ready(operator: OperatorProcess) -> float:
    operator.await_ready(SECONDS)
    return time.time()
