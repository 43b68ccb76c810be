"""The same Jobs through a MapRun: a real operator process, told by a resource, with its journal on a directory.

Rule 1: the time runs from the apply of the MapRun to the completion in its status: plan, journal and results are in it.
Rule 2: processor time and memory are those of the operator process and of the processes that it started.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench.usage import usage_of
from maprun.adapters.cluster import ClusterClient
from maprun.model import API_VERSION, GROUP, KIND, PLURAL, VERSION

RUNS = f"/apis/{GROUP}/{VERSION}/namespaces/default/{PLURAL}"
READY_SECONDS = 60.0
POLL_SECONDS = 0.1
ROOT = Path(__file__).resolve().parents[2]


class Measured(msgspec.Struct, frozen=True):
    """Seconds for all children, and what the operator used meanwhile: processor seconds, and peak bytes in all."""

    seconds: float
    processor: float
    memory: int


async def measure(kubeconfig: str, template: dict[str, Any], children: int, live: int) -> Measured:
    """One MapRun of so many children through a fresh operator."""
    with tempfile.TemporaryDirectory() as state, _operator(kubeconfig, state) as (process, port):
        await _ready(process, port)
        before = usage_of(process.pid)
        client = await ClusterClient.connect(kubeconfig)
        try:
            seconds = await _through(client, template, children, live)
        finally:
            await client.close()
        after = usage_of(process.pid)
    return Measured(seconds, after.processor - before.processor, max(after.memory, before.memory))


async def _through(client: ClusterClient, template: dict[str, Any], children: int, live: int) -> float:
    name = f"bench-{uuid.uuid4().hex[:6]}"
    spec = {"input": list(range(children)), "maxConcurrency": live, "itemProcessor": {"jobTemplate": template}}
    began = time.monotonic()
    await client.request(
        "POST", RUNS, {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
    )
    while not (status := await _status(client, name)).get("completionTime"):
        await asyncio.sleep(POLL_SECONDS)
    taken = time.monotonic() - began
    await client.request("DELETE", f"{RUNS}/{name}")
    if status["executionCounts"]["succeeded"] != children:
        raise SystemExit(f"the run ended with {status}")
    return taken


async def _status(client: ClusterClient, name: str) -> dict[str, Any]:
    status: dict[str, Any] = msgspec.json.decode(await client.request("GET", f"{RUNS}/{name}")).get("status") or {}
    return status


@contextmanager
def _operator(kubeconfig: str, state: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """An operator process, and the port of its probes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "maprun", "operator", "--kubeconfig", kubeconfig, "--state", f"file://{state}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    with subprocess.Popen([*command, "--port", str(port)], env=environment, stderr=subprocess.PIPE) as process:
        try:
            yield process, port
        finally:
            process.terminate()
            told = process.stderr.read().decode() if process.stderr else ""
            if process.wait() not in (0, -15):
                sys.stderr.write(told)


async def _ready(process: subprocess.Popen[bytes], port: int) -> None:
    """Until the operator says that it is ready."""
    async with asyncio.timeout(READY_SECONDS):
        while process.poll() is None:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(POLL_SECONDS)
                continue
            writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            if answer.split(b" ", 2)[1:2] == [b"200"]:
                return
            await asyncio.sleep(POLL_SECONDS)
    raise SystemExit("the operator did not start")
