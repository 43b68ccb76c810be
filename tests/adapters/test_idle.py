"""Finished runs cost nothing: an operator lists them when it starts, and never asks for one of them again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from bench.idle import runs
from maprun.adapters.cluster import ClusterClient
from maprun.model import PLURAL
from tests.adapters.job_runs import install
from tests.adapters.operator_runs import spaces, spec, verdict
from tests.adapters.service_account import bind, calls, kubeconfig
from tests.chart.rendering import NAMESPACE, render
from tests.cluster.cluster import Cluster
from tests.operator_process import OperatorProcess, eventually

FINISHED: Final = "idle-finished"
LIVE: Final = "idle-live"
COUNT: Final = 120  # more than the operator lists at once


@pytest.fixture(scope="module")
def operator(cluster_fake: Cluster, helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """An operator that started when the finished runs were there, as a ServiceAccount with the chart's rights."""
    cluster, folder = install(cluster_fake), tmp_path_factory.mktemp("idle")
    for name in (NAMESPACE, FINISHED, LIVE):
        cluster.kubectl("create", "namespace", name, check=False)  # that of the chart may be there: others use it too
    made = render(helm)
    roles = [each for each in made.of("ClusterRole") if each["metadata"]["name"] == "maprun-operator"]
    bind(cluster, NAMESPACE, [*roles, *made.of("ClusterRoleBinding")])
    asyncio.run(fill(cluster))
    with OperatorProcess(folder, kubeconfig(cluster, NAMESPACE, folder), f"file://{folder}/state") as process:
        yield process
    cluster.kubectl("delete", "clusterrole,clusterrolebinding", "maprun-operator")
    for name in (FINISHED, LIVE):
        cluster.kubectl("delete", "namespace", name, "--wait=false")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")  # others make it anew


async def fill(cluster: Cluster) -> None:
    client = await ClusterClient.connect(str(cluster.kubeconfig))
    try:
        await runs.make(client, FINISHED, COUNT)
    finally:
        await client.close()


async def test_no_request_is_about_a_finished_run(operator: OperatorProcess, cluster_fake: Cluster) -> None:
    async with spaces(cluster_fake, LIVE) as (space,):
        # What a live run asks for shows that the log tells all, and gives the operator the time to ask for more.
        for _ in range(3):
            run = await space.create(spec(list(range(5)), pod={"duration": "1s"}, maxConcurrency=2))
            assert verdict(await run.ended()) == "True"
    eventually(lambda: any(call.namespace == LIVE for call in calls(cluster_fake, NAMESPACE)))
    asked = list(calls(cluster_fake, NAMESPACE))
    assert [call for call in asked if call.namespace == FINISHED] == []
    wide = {call.right.verb for call in asked if call.right.resource == PLURAL and not call.namespace}
    assert wide <= {"list", "watch"}
