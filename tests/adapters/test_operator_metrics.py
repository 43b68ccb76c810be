"""The metrics of a real operator: every documented one is there, they read well, and its calls are all counted."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.adapters.job_runs import install
from tests.adapters.operator_runs import (
    Buckets,
    Run,
    Space,
    access,
    reader,
    secret_of,
    spaces,
    spec,
    until,
    verdict,
    writer,
)
from tests.cluster.cluster import Cluster
from tests.operator_process import OperatorProcess

SPACE: Final = "runs-measured"
DOC: Final = Path(__file__).parents[2] / "docs" / "metrics.md"
ITEMS: Final = 6


@pytest.fixture(scope="module")
def buckets(cluster_fake: Cluster) -> Iterator[Buckets]:
    assert cluster_fake.s3 is not None
    with closing(Buckets(cluster_fake.s3)) as buckets:
        yield buckets


@pytest.fixture(scope="module")
def operator(
    cluster_fake: Cluster, buckets: Buckets, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """An operator that keeps its state in S3."""
    install(cluster_fake)
    cluster_fake.kubectl("create", "namespace", SPACE)
    folder = tmp_path_factory.mktemp("operator")
    state = f"s3://{buckets.make()}/state"
    with OperatorProcess(folder, cluster_fake.kubeconfig, state, [f"--namespace={SPACE}"], cluster_fake.s3) as process:
        yield process
        assert "Traceback" not in process.log
    cluster_fake.kubectl("delete", "namespace", SPACE, "--wait=false")


async def begun(space: Space, cluster: Cluster, buckets: Buckets, duration: str) -> Run:
    """A run that reads its items from S3 and writes its results there; its children last so long, and fail."""
    assert cluster.s3 is not None
    await space.secret(secret_of(cluster.s3))
    bucket = buckets.make(rows=list(range(ITEMS)))
    made = spec(
        pod={"outcome": "fail", "exit-code": "42", "duration": duration},
        itemReader=reader(bucket, "rows.json"),
        resultWriter=writer(bucket),
        s3=access(cluster.s3),
        maxConcurrency=2,
        toleratedFailurePercentage="100",
    )
    return await space.create(made)


def documented() -> set[str]:
    """The metrics that docs/metrics.md lists."""
    return set(re.findall(r"^\| `(maprun_\w+)` \|", DOC.read_text(), re.MULTILINE))


def exported(body: str) -> dict[str, float]:
    """For each metric, by the name in the documentation, the sum of its samples."""
    sums: dict[str, float] = {}
    for family in parse_text(body):
        name = family.name + ("_total" if family.type == "counter" else "")
        sums[name] = sums.get(name, 0.0) + sum(sample.value for sample in family.samples)
    return sums


async def test_an_operator_with_a_live_run_exports_every_documented_metric_and_promtool_finds_no_fault(
    operator: OperatorProcess, cluster_fake: Cluster, buckets: Buckets, prometheus: Path
) -> None:
    async with spaces(cluster_fake, SPACE) as (space,):
        run = await begun(space, cluster_fake, buckets, "1s")
        await run.until(lambda status: status.get("itemCounts", {}).get("failed", 0) >= 2)
        code, body = operator.get("/metrics")
        assert code == 200
        await run.delete()
    assert documented() <= set(exported(body))
    check = [str(prometheus.with_name("promtool")), "check", "metrics"]
    found = await asyncio.to_thread(
        subprocess.run, check, input=body, text=True, capture_output=True, check=False, timeout=30
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


async def test_a_run_moves_the_metrics_of_all_that_it_needs(
    operator: OperatorProcess, cluster_fake: Cluster, buckets: Buckets
) -> None:
    before = operator.metrics()
    async with spaces(cluster_fake, SPACE) as (space,):
        run = await begun(space, cluster_fake, buckets, "0.1s")
        assert verdict(await run.ended()) == "True"
        await until(lambda: _unseen(operator, run))
    after = operator.metrics()
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    assert grown[f'maprun_attempts_failed_total{{error="States.TaskFailed",namespace="{SPACE}"}}'] >= ITEMS
    assert grown['maprun_api_requests_total{code="201",verb="create"}'] >= ITEMS
    assert grown['maprun_api_requests_total{code="200",verb="delete"}'] >= ITEMS
    assert grown['maprun_api_requests_total{code="200",verb="patch"}'] > 0
    assert grown['maprun_api_request_duration_seconds_count{verb="create"}'] >= ITEMS
    assert grown["maprun_event_loop_lag_seconds_count"] > 0
    assert grown["maprun_journal_records_total"] >= ITEMS
    # Read by the planning process, written by the journal, the plan and the results.
    assert grown['maprun_s3_requests_total{code="200",operation="GetObject"}'] >= 1
    assert grown['maprun_s3_requests_total{code="200",operation="PutObject"}'] >= 3
    assert grown['maprun_s3_requests_total{code="200",operation="CompleteMultipartUpload"}'] >= 1
    assert grown['maprun_s3_request_duration_seconds_count{operation="PutObject"}'] >= 3
    assert after['maprun_queue_depth{queue="journal_records"}'] == after['maprun_queue_depth{queue="api_writes"}'] == 0
    assert after["maprun_api_write_rate"] >= 1
    assert after["maprun_run_restarts_total"] == after["maprun_journal_errors_total"] == 0


async def _unseen(operator: OperatorProcess, run: Run) -> bool:
    """True when nothing of the run is exported any more."""
    return f'name="{run.name}"' not in operator.get("/metrics")[1]


def test_the_calls_of_the_library_that_watches_runs_are_counted(operator: OperatorProcess) -> None:
    """Jobs, pods and runs of one namespace: each is listed once and then watched."""
    metrics = operator.metrics()
    assert metrics['maprun_api_requests_total{code="200",verb="list"}'] >= 3
    assert metrics['maprun_api_requests_total{code="200",verb="watch"}'] >= 3
